namespace ControlPlane.Resources;

/// <summary>The kinds of objects that people manage. A kind's name is the word in manifests, URLs, SQL and messages.</summary>
public enum ResourceKind
{
    /// <summary>A service: endpoint source, load balancing, timeouts, TLS, health. Compiles to one Cluster and one ClusterLoadAssignment of its name.</summary>
    Upstream,

    /// <summary>One registered endpoint of an upstream. A sub-resource: its name is <c>UPSTREAM/ID</c>.</summary>
    Endpoint,

    /// <summary>Virtual hosts and routes. Compiles to one RouteConfiguration of its name.</summary>
    RouteTable,

    /// <summary>An address with what happens to its connections. Compiles to one Listener of its name.</summary>
    Listener,

    /// <summary>A certificate with its key, or a validation context, by reference or inline. Served by SDS.</summary>
    Secret,

    /// <summary>Selects proxies by id, cluster, locality and metadata; objects name the groups they are for.</summary>
    NodeGroup,

    /// <summary>Any raw v3 resource, for what the friendly kinds do not say.</summary>
    EnvoyResource,

    /// <summary>An operator's expiring order about one endpoint. A sub-resource: its name is that of the endpoint, <c>UPSTREAM/ID</c>.</summary>
    Override,
}

/// <summary>Names an object: its kind and its name, flat and chosen by the user.</summary>
/// <param name="Kind">The object's kind.</param>
/// <param name="Name">The object's name; for <see cref="ResourceKind.Endpoint"/> and <see cref="ResourceKind.Override"/> <c>UPSTREAM/ID</c>.</param>
public readonly record struct ResourceKey(ResourceKind Kind, string Name)
{
    /// <summary>The upstream that a sub-resource belongs to; of any other object its own name.</summary>
    public string Parent => Name.IndexOf('/', StringComparison.Ordinal) is var at and >= 0 ? Name[..at] : Name;

    /// <summary>The part after the upstream's name in a sub-resource; of any other object its own name.</summary>
    public string Id => Name.IndexOf('/', StringComparison.Ordinal) is var at and >= 0 ? Name[(at + 1)..] : Name;

    /// <summary>Builds the key of an endpoint, or of the override of an endpoint.</summary>
    public static ResourceKey Sub(ResourceKind kind, string upstream, string id) => new(kind, $"{upstream}/{id}");

    /// <summary>The form that messages and logs use: <c>Kind/name</c>.</summary>
    public override string ToString() => $"{Kind}/{Name}";
}
