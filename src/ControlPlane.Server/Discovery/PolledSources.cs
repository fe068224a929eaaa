using System.Text.Json.Nodes;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// Resources name the aggregated stream as the source of what they need (<c>ConfigSource.ads</c>). A proxy that polls has none and refuses such a resource ("ADS must be
/// configured to support an ADS config source"), so it is told to poll for those, too.
/// </summary>
internal static class PolledSources
{
    /// <summary>The static cluster of the control plane in a bootstrap that polls (<c>envoy/edge-rest.yaml</c>).</summary>
    private const string Cluster = "xds_cluster";

    /// <summary>Puts polled sources in the place of the stream, everywhere in messages as JSON.</summary>
    public static void Replace(JsonNode? node)
    {
        if (node is JsonObject members)
        {
            if (IsStream(members))
            {
                members.Remove("ads");
                members["apiConfigSource"] = new JsonObject
                {
                    ["apiType"] = "REST",
                    ["transportApiVersion"] = "V3",
                    ["clusterNames"] = new JsonArray(Cluster),
                    ["refreshDelay"] = "1s",
                    ["requestTimeout"] = "5s",
                };
                return;
            }
            foreach (var (_, value) in members)
            {
                Replace(value);
            }
        }
        else if (node is JsonArray items)
        {
            foreach (var item in items)
            {
                Replace(item);
            }
        }
    }

    /// <summary>Whether an object is a ConfigSource of the stream. Only that message has these members; what users put into metadata looks different.</summary>
    private static bool IsStream(JsonObject members) =>
        members["ads"] is JsonObject { Count: 0 } && members.All(m => m.Key is "ads" or "resourceApiVersion" or "initialFetchTimeout");
}
