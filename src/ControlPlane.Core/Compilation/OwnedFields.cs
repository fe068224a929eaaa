using System.Text.Json.Nodes;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Validation;
using Envoy.Config.Endpoint.V3;
using Google.Protobuf;
using CdsCluster = Envoy.Config.Cluster.V3.Cluster;

namespace ControlPlane.Core.Compilation;

/// <summary>The fields of compiled messages that an overlay may not touch: the control plane lives by them.</summary>
internal static class OwnedFields
{
    /// <summary>How Envoy finds a cluster's endpoints.</summary>
    private static readonly string[] Discovery = ["type", "clusterType", "edsClusterConfig"];

    /// <summary>Says why a top-level field, or what an overlay has in it, belongs to the control plane; null where it does not.</summary>
    public static string? Explain(ResourceType type, IMessage message, string field, JsonNode? value)
    {
        if (message is LbEndpoint)
        {
            return ExplainEndpoint(field, value);
        }

        if (type == ResourceType.Endpoints)
        {
            return "Endpoints are managed through the API and cannot be overlaid. Write an EnvoyResource for an assignment of your own.";
        }

        if (Suggestion.SameWord(field, "name"))
        {
            return "The name is that of the object and cannot be changed by the overlay.";
        }

        if (type != ResourceType.Cluster)
        {
            return null;
        }

        if (Discovery.Any(f => Suggestion.SameWord(field, f)))
        {
            return "How the cluster finds its endpoints follows from spec.endpoints and cannot be changed by the overlay. Write an EnvoyResource for a cluster of another type.";
        }

        return Suggestion.SameWord(field, "loadAssignment")
            ? "The endpoints follow from spec.endpoints and cannot be changed by the overlay"
                + (
                    message is CdsCluster { LoadAssignment: null }
                        ? "; proxies get them by EDS and would take no notice of these. List them in spec.endpoints.static, or register them."
                        : ". List the names in spec.endpoints."
                )
            : null;
    }

    private static string? ExplainEndpoint(string field, JsonNode? value)
    {
        if (Suggestion.SameWord(field, "healthStatus"))
        {
            return "The health status follows from health and orders and cannot be changed by the overlay. Use :drain, :disable or :forceUnhealthy.";
        }

        if (Suggestion.SameWord(field, "loadBalancingWeight"))
        {
            return "The weight follows from spec.weight and from health and cannot be changed by the overlay. Set spec.weight.";
        }

        const string Address =
            "The address is that of the endpoint's spec and cannot be changed by the overlay. Set spec.address and spec.port.";
        return Suggestion.SameWord(field, "endpointName") ? Address
            : !Suggestion.SameWord(field, "endpoint") ? null
            : value is not JsonObject members || members.Any(m => Suggestion.SameWord(m.Key, "address")) ? Address
            : null;
    }
}
