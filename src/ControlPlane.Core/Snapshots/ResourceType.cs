using System.Collections.Frozen;
using System.Collections.Immutable;

namespace ControlPlane.Core.Snapshots;

/// <summary>
/// An xDS resource type. The order of <see cref="All"/> is the order in which one change is pushed (make before break, rule O-01):
/// what is referred to goes before what refers to it.
/// </summary>
public sealed class ResourceType
{
    /// <summary>CDS.</summary>
    public static readonly ResourceType Cluster = new(0, "CDS", "envoy.config.cluster.v3.Cluster", isFullState: true);

    /// <summary>EDS.</summary>
    public static readonly ResourceType Endpoints = new(1, "EDS", "envoy.config.endpoint.v3.ClusterLoadAssignment");

    /// <summary>SDS.</summary>
    public static readonly ResourceType Secret = new(2, "SDS", "envoy.extensions.transport_sockets.tls.v3.Secret");

    /// <summary>LDS.</summary>
    public static readonly ResourceType Listener = new(3, "LDS", "envoy.config.listener.v3.Listener", isFullState: true);

    /// <summary>ECDS.</summary>
    public static readonly ResourceType ExtensionConfig = new(4, "ECDS", "envoy.config.core.v3.TypedExtensionConfig");

    /// <summary>RDS.</summary>
    public static readonly ResourceType Route = new(5, "RDS", "envoy.config.route.v3.RouteConfiguration");

    /// <summary>VHDS, Delta only.</summary>
    public static readonly ResourceType VirtualHost = new(6, "VHDS", "envoy.config.route.v3.VirtualHost");

    /// <summary>RTDS.</summary>
    public static readonly ResourceType Runtime = new(7, "RTDS", "envoy.service.runtime.v3.Runtime");

    /// <summary>SRDS.</summary>
    public static readonly ResourceType ScopedRoute = new(8, "SRDS", "envoy.config.route.v3.ScopedRouteConfiguration");

    /// <summary>Every type, in push order; <see cref="Index"/> is the position.</summary>
    public static readonly ImmutableArray<ResourceType> All =
    [
        Cluster,
        Endpoints,
        Secret,
        Listener,
        ExtensionConfig,
        Route,
        VirtualHost,
        Runtime,
        ScopedRoute,
    ];

    private static readonly FrozenDictionary<string, ResourceType> ByUrl = All.ToFrozenDictionary(t => t.TypeUrl);

    private ResourceType(int index, string shortName, string fullName, bool isFullState = false)
    {
        Index = index;
        ShortName = shortName;
        FullName = fullName;
        TypeUrl = "type.googleapis.com/" + fullName;
        IsFullState = isFullState;
    }

    /// <summary>Position in <see cref="All"/>, from 0: an index for arrays per type.</summary>
    public int Index { get; }

    /// <summary>The field's abbreviation, for example <c>CDS</c>; used in logs, metrics and the API.</summary>
    public string ShortName { get; }

    /// <summary>Full protobuf name of the message.</summary>
    public string FullName { get; }

    /// <summary>The <c>type_url</c> on the wire.</summary>
    public string TypeUrl { get; }

    /// <summary>
    /// LDS and CDS: a state-of-the-world response lists everything and absence is deletion (S-06); an empty first request is a wildcard (S-01, D-01).
    /// </summary>
    public bool IsFullState { get; }

    /// <summary>Finds a type by its <c>type_url</c>; null for types that this server does not know (T-05).</summary>
    public static ResourceType? Find(string typeUrl) => ByUrl.GetValueOrDefault(typeUrl);

    /// <inheritdoc/>
    public override string ToString() => ShortName;
}
