using System.Collections.Immutable;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Compilation.Probes;

/// <summary>What a check does where its spec does not say so. The same for checks that proxies make and for those that the server makes.</summary>
internal static class CheckDefaults
{
    /// <summary>What an HTTP check speaks. Envoy would speak HTTP/1.1 to every cluster, and cannot negotiate.</summary>
    public static CheckCodec Codec(HttpCheckSpec check, UpstreamProtocol protocol) =>
        check.Codec ?? (protocol is UpstreamProtocol.Http2 or UpstreamProtocol.Grpc ? CheckCodec.Http2 : CheckCodec.Http1);

    /// <summary>
    /// What a check offers by ALPN where the upstream does not say so: only what it speaks, or a server that prefers the other would answer in that. Checks of the
    /// connection alone offer what requests do.
    /// </summary>
    public static ImmutableArray<string> Alpn(UpstreamSpec upstream, CheckCodec? codec) =>
        upstream.Tls is { Alpn: { IsEmpty: false } own } ? own
        : codec is { } spoken ? [spoken == CheckCodec.Http2 ? "h2" : "http/1.1"]
        : UpstreamTls.Alpn(upstream.Protocol);

    /// <summary>The host of a check that names none, where the SNI is none either or the endpoint has its own; null where one of these is the host.</summary>
    public static string? UnnamedHost(HealthCheckSpec check, UpstreamTlsSpec? tls, EndpointSpec endpoint)
    {
        if (check is not ({ Http: { Host: null } } or { Grpc: { Authority: null } }))
        {
            return null;
        }
        if (endpoint.Hostname is { } hostname)
        {
            return hostname;
        }
        if (tls?.Sni is not null)
        {
            return null;
        }
        if (NetworkAddress.IsUnix(endpoint.Address))
        {
            return "localhost";
        }
        return NetworkAddress.TryParseIp(endpoint.Address, out _) ? NetworkAddress.Join(endpoint.Address, endpoint.Port) : endpoint.Address;
    }

    /// <summary>The Host header, or authority, with which one endpoint is checked.</summary>
    public static string Host(HealthCheckSpec check, UpstreamTlsSpec? tls, EndpointSpec endpoint) =>
        endpoint.HealthCheck?.Hostname ?? UnnamedHost(check, tls, endpoint) ?? check.Http?.Host ?? check.Grpc?.Authority ?? tls?.Sni ?? "";
}
