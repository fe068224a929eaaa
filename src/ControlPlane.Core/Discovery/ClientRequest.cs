using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Discovery;

/// <summary>The two forms of the protocol. They differ in how a client says what it wants and in what a response must hold.</summary>
public enum XdsProtocol
{
    /// <summary>State of the world: a request lists all names, a response of CDS or LDS lists all resources.</summary>
    Sotw,

    /// <summary>Incremental: requests and responses say what differs.</summary>
    Delta,
}

/// <summary>
/// A <c>DiscoveryRequest</c> or <c>DeltaDiscoveryRequest</c>, as far as this server acts on it. Locators, dynamic parameters and resource errors
/// are ignored (D-32).
/// </summary>
public sealed record ClientRequest
{
    /// <summary><c>type_url</c>; may be empty on the service of one type (T-04).</summary>
    public string TypeUrl { get; init; } = "";

    /// <summary><c>response_nonce</c>: the response that this answers; empty for none.</summary>
    public string Nonce { get; init; } = "";

    /// <summary><c>error_detail.message</c>; null unless the request is a refusal (S-10).</summary>
    public string? Error { get; init; }

    /// <summary>State of the world: <c>version_info</c>, the version that the client last accepted.</summary>
    public string VersionInfo { get; init; } = "";

    /// <summary>State of the world: <c>resource_names</c>, all of them. Delta: <c>resource_names_subscribe</c>, those that are new.</summary>
    public ImmutableArray<string> Names { get; init; } = [];

    /// <summary>Delta: <c>resource_names_unsubscribe</c>.</summary>
    public ImmutableArray<string> Unsubscribed { get; init; } = [];

    /// <summary>Delta: <c>initial_resource_versions</c>, what the client holds from an earlier stream, by canonical name
    /// (<see cref="ResourceName.Canonical"/>); null for none.</summary>
    public IReadOnlyDictionary<string, string>? InitialVersions { get; init; }

    /// <summary>Who asks; null where the message carries no node, or the stream knew it already (T-02).</summary>
    public NodeIdentity? Node { get; init; }
}
