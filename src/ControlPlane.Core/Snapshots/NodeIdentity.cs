using System.Collections.Immutable;

namespace ControlPlane.Core.Snapshots;

/// <summary>
/// What the server keeps of Envoy's <c>Node</c> message (config.core.v3.Node): taken from the first message of a stream and never the whole,
/// which weighs 61 KB (T-02, P-04).
/// </summary>
public sealed record NodeIdentity
{
    /// <summary><c>Node.id</c>.</summary>
    public required string Id { get; init; }

    /// <summary><c>Node.cluster</c>.</summary>
    public string Cluster { get; init; } = "";

    /// <summary><c>Node.locality.region</c>.</summary>
    public string Region { get; init; } = "";

    /// <summary><c>Node.locality.zone</c>.</summary>
    public string Zone { get; init; } = "";

    /// <summary><c>Node.locality.sub_zone</c>.</summary>
    public string SubZone { get; init; } = "";

    /// <summary>
    /// <c>Node.metadata</c>, flattened: nested keys joined by a dot, scalars as their JSON text without quotes. Bounded: what a node group can select by.
    /// </summary>
    public ImmutableSortedDictionary<string, string> Metadata { get; init; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary><c>Node.user_agent_name</c>, for example <c>envoy</c> or <c>gRPC C-core</c>.</summary>
    public string UserAgent { get; init; } = "";

    /// <summary>The version of the client, for example <c>1.40.0</c>; empty where the node does not say.</summary>
    public string UserAgentVersion { get; init; } = "";

    /// <summary><c>Node.client_features</c>.</summary>
    public ImmutableArray<string> ClientFeatures { get; init; } = [];

    /// <summary>
    /// Names and type URLs of the extensions that the node announced; null where it announced none (nothing is known then).
    /// Nodes that announce the same share one instance.
    /// </summary>
    public ImmutableHashSet<string>? Extensions { get; init; }
}
