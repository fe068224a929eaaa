using Envoy.Config.Core.V3;

namespace ControlPlane.Core.Compilation;

/// <summary>Lets a proxy call a gRPC service at one of our upstreams.</summary>
internal static class UpstreamGrpcService
{
    public static GrpcService New(string upstream) => new() { EnvoyGrpc = new GrpcService.Types.EnvoyGrpc { ClusterName = upstream } };
}
