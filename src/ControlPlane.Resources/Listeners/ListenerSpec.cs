using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Secrets;

namespace ControlPlane.Resources.Listeners;

/// <summary>
/// An address and what happens to its connections. Compiles to one Envoy Listener of the object's name. Every change of a listener makes Envoy drain all of
/// its connections; what changes often belongs into a <c>RouteTable</c>, whose changes cost none.
/// </summary>
/// <remarks>
/// A listener that accepts connections has an address and one default (<see cref="Http"/> or <see cref="Tcp"/>, with or without <see cref="Tls"/>), or
/// <see cref="FilterChains"/> selected by server name, or both. <see cref="ApiListener"/> and <see cref="GrpcServer"/> are for processes that are their own
/// proxy and stand alone.
/// </remarks>
public sealed record ListenerSpec : ResourceSpec, INodeScoped
{
    /// <summary>The node groups whose proxies may have this listener; empty means all.</summary>
    public ImmutableArray<string> NodeGroups { get; init; } = [];

    /// <summary>
    /// Where to listen: an IPv4 or IPv6 address (<c>0.0.0.0</c> and <c>::</c> are all), or <c>unix:</c> with a path. An address may be used by one listener
    /// of a proxy.
    /// </summary>
    public string? Address { get; init; }

    /// <summary>The TCP port, from 1 to 65535; not for <c>unix:</c>.</summary>
    public uint? Port { get; init; }

    /// <summary>Expects the PROXY protocol, versions 1 and 2, on every connection, and takes the client's address from it.</summary>
    public ProxyProtocolSpec? ProxyProtocol { get; init; }

    /// <summary>Terminates TLS on the default connections.</summary>
    public TlsTerminationSpec? Tls { get; init; }

    /// <summary>Serves the default connections as HTTP.</summary>
    public HttpSpec? Http { get; init; }

    /// <summary>Passes the bytes of the default connections on.</summary>
    public TcpSpec? Tcp { get; init; }

    /// <summary>Connections whose TLS server name is listed, each with what happens to them; all others fall to the default, and are closed if there is none.</summary>
    public ImmutableArray<FilterChainSpec> FilterChains { get; init; } = [];

    /// <summary>Where requests and connections are logged, for all that comes in here.</summary>
    public ImmutableArray<AccessLogSpec> AccessLogs { get; init; } = [];

    /// <summary>
    /// Bytes that a connection may hold in its read and write buffers before it is slowed down; from 1. 32 KiB is Envoy's advice for an edge; its own default
    /// is 1 MiB (<c>Listener.per_connection_buffer_limit_bytes</c>).
    /// </summary>
    public uint BufferLimitBytes { get; init; } = 32 * 1024;

    /// <summary>
    /// The most connections at a time on the default, and on each filter chain by itself; more are closed at once. No bound when not given (Envoy
    /// extension <c>envoy.filters.network.connection_limit</c>).
    /// </summary>
    public uint? MaxConnections { get; init; }

    /// <summary>For gRPC clients that are their own proxy: the object's name is the target they dial (<c>xds:///NAME</c>).</summary>
    public ApiListenerSpec? ApiListener { get; init; }

    /// <summary>
    /// For gRPC servers that take their configuration by xDS (gRPC proposal A36): the object's name is what the server's template gives, and the address is
    /// the one that it listens on.
    /// </summary>
    public GrpcServerSpec? GrpcServer { get; init; }

    /// <summary>Raw Listener in proto-JSON, merged over what is compiled from the rest.</summary>
    public JsonObject? Envoy { get; init; }

    /// <inheritdoc/>
    public override IEnumerable<SpecReference> References()
    {
        foreach (var (at, group) in NodeGroups.Index())
        {
            yield return new SpecReference($"/spec/nodeGroups/{at}", new ResourceKey(ResourceKind.NodeGroup, group));
        }
        IEnumerable<SpecReference>[] parts =
        [
            Tls?.References("/spec/tls") ?? [],
            Http?.References("/spec/http") ?? [],
            Tcp?.References("/spec/tcp") ?? [],
            FilterChains.Index().SelectMany(c => c.Item.References($"/spec/filterChains/{c.Index}")),
            AccessLogs.Index().SelectMany(l => l.Item.References($"/spec/accessLogs/{l.Index}")),
            ApiListener is null ? [] : [ToRouteTable("/spec/apiListener/routeTable", ApiListener.RouteTable)],
            GrpcServer is null ? [] : [ToRouteTable("/spec/grpcServer/routeTable", GrpcServer.RouteTable)],
        ];
        foreach (var reference in parts.SelectMany(p => p))
        {
            yield return reference;
        }
    }

    internal static SpecReference ToRouteTable(string pointer, string name) => new(pointer, new ResourceKey(ResourceKind.RouteTable, name));

    internal static SpecReference ToUpstream(string pointer, string name) => new(pointer, new ResourceKey(ResourceKind.Upstream, name));

    internal static SpecReference ToSecret(string pointer, string name, SecretContent content) =>
        new(pointer, new ResourceKey(ResourceKind.Secret, name), content);
}

/// <summary>Connections that ask for certain server names: exactly one of http and tcp, with TLS terminated or, for tcp, passed on as it is.</summary>
public sealed record FilterChainSpec
{
    /// <summary>
    /// The server names (SNI): exact (<c>shop.example</c>) or with a leading wildcard (<c>*.shop.example</c>, which does not hold <c>shop.example</c>
    /// itself). A name may stand once in the whole listener.
    /// </summary>
    public ImmutableArray<string> ServerNames { get; init; } = [];

    /// <summary>Terminates TLS; without it the bytes are passed on still encrypted.</summary>
    public TlsTerminationSpec? Tls { get; init; }

    /// <summary>Serves the connections as HTTP.</summary>
    public HttpSpec? Http { get; init; }

    /// <summary>Passes the bytes on.</summary>
    public TcpSpec? Tcp { get; init; }

    internal IEnumerable<SpecReference> References(string pointer) =>
        [
            .. Tls?.References($"{pointer}/tls") ?? [],
            .. Http?.References($"{pointer}/http") ?? [],
            .. Tcp?.References($"{pointer}/tcp") ?? [],
        ];
}

/// <summary>The PROXY protocol in front of a connection's own bytes (Envoy extension <c>envoy.filters.listener.proxy_protocol</c>).</summary>
public sealed record ProxyProtocolSpec
{
    /// <summary>
    /// Whether connections without it are served, too. Anyone who reaches the port can then choose either the address that he shows, so leave it off where
    /// others than the load balancer can reach it.
    /// </summary>
    public bool Optional { get; init; }
}

/// <summary>Passes bytes on to one upstream, or to several by weight: exactly one of upstream and upstreams.</summary>
public sealed record TcpSpec
{
    /// <summary>The one upstream.</summary>
    public string? Upstream { get; init; }

    /// <summary>Several upstreams, each with its share of the connections.</summary>
    public ImmutableArray<WeightedTcpUpstreamSpec> Upstreams { get; init; } = [];

    /// <summary>The longest pause in both directions; one hour when not given, <c>0s</c> is none.</summary>
    public TimeSpan? IdleTimeout { get; init; }

    /// <summary>The longest life of a connection; no bound when not given.</summary>
    public TimeSpan? MaxConnectionDuration { get; init; }

    /// <summary>How many endpoints are tried to connect to, at least 1.</summary>
    public uint MaxConnectAttempts { get; init; } = 1;

    /// <summary>Keeps clients of one address at one endpoint, for upstreams with ring hash or Maglev.</summary>
    public bool HashSourceIp { get; init; }

    internal IEnumerable<SpecReference> References(string pointer) =>
        [
            .. Upstream is null ? Array.Empty<SpecReference>() : [ListenerSpec.ToUpstream($"{pointer}/upstream", Upstream)],
            .. Upstreams.Index().Select(u => ListenerSpec.ToUpstream($"{pointer}/upstreams/{u.Index}/name", u.Item.Name)),
        ];
}

/// <summary>One upstream among several.</summary>
public sealed record WeightedTcpUpstreamSpec
{
    /// <summary>The upstream.</summary>
    public required string Name { get; init; }

    /// <summary>Its share of the connections: its weight divided by the sum of all; from 1.</summary>
    public required uint Weight { get; init; }
}

/// <summary>The Listener of a proxyless gRPC client: nothing but routes (<c>Listener.api_listener</c>, gRPC proposal A27).</summary>
public sealed record ApiListenerSpec
{
    /// <summary>The route table; one of its domains must be the target's name or <c>*</c>.</summary>
    public required string RouteTable { get; init; }

    /// <summary>Whether the table is sent inside the listener instead of by RDS.</summary>
    public bool InlineRouteTable { get; init; }

    /// <summary>The longest life of an RPC where the route says nothing; <c>0s</c> is none.</summary>
    public TimeSpan? MaxStreamDuration { get; init; }
}

/// <summary>The Listener of a proxyless gRPC server: one filter chain and its routes, and nothing that such servers refuse (gRPC proposal A36).</summary>
public sealed record GrpcServerSpec
{
    /// <summary>The route table; its routes say <c>nonForwarding</c>.</summary>
    public required string RouteTable { get; init; }

    /// <summary>Whether the table is sent inside the listener instead of by RDS.</summary>
    public bool InlineRouteTable { get; init; }
}
