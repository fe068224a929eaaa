using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Secrets;

namespace ControlPlane.Resources.Upstreams;

/// <summary>
/// A service that proxies send requests to: where its endpoints are, how one is chosen, how it is spoken to, and when an endpoint counts as
/// healthy. Compiles to one Cluster and, unless Envoy resolves the endpoints itself, one ClusterLoadAssignment of the upstream's name.
/// </summary>
public sealed record UpstreamSpec : ResourceSpec, INodeScoped
{
    /// <summary>Names of the node groups that get this upstream; empty means every proxy.</summary>
    public ImmutableArray<string> NodeGroups { get; init; } = [];

    /// <summary>Longest time to establish a connection, TLS handshake included; above 0. <c>Cluster.connect_timeout</c>.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>What is spoken to the endpoints.</summary>
    public UpstreamProtocol Protocol { get; init; } = UpstreamProtocol.Http1;

    /// <summary>Limits and timers of HTTP connections; not for <see cref="UpstreamProtocol.Tcp"/>.</summary>
    public HttpConnectionSpec Http { get; init; } = new();

    /// <summary>TCP keepalive of the connections; null leaves it off, as Envoy does.</summary>
    public TcpKeepaliveSpec? Keepalive { get; init; }

    /// <summary>
    /// Soft limit of what is buffered per connection, in bytes. The default is Envoy's advice for upstreams that are not trusted; Envoy's own is 1 MiB.
    /// <c>Cluster.per_connection_buffer_limit_bytes</c>.
    /// </summary>
    public uint BufferLimitBytes { get; init; } = 32 * 1024;

    /// <summary>Where the endpoints come from.</summary>
    public required EndpointsSpec Endpoints { get; init; }

    /// <summary>How an endpoint is chosen.</summary>
    public LoadBalancingSpec LoadBalancing { get; init; } = new();

    /// <summary>Limits on what one proxy sends to this upstream at once.</summary>
    public CircuitBreakersSpec CircuitBreakers { get; init; } = new();

    /// <summary>TLS to the endpoints; null sends plaintext.</summary>
    public UpstreamTlsSpec? Tls { get; init; }

    /// <summary>When an endpoint counts as healthy, and who decides it.</summary>
    public HealthSpec Health { get; init; } = new();

    /// <summary>What happens to an endpoint that an operator drains.</summary>
    public DrainSpec Drain { get; init; } = new();

    /// <summary>Raw fields of the Cluster in proto-JSON, merged last.</summary>
    public JsonObject? Envoy { get; init; }

    /// <summary>Whether the control plane decides the health of the endpoints.</summary>
    public bool IsCentral() => Health.Authority == HealthAuthority.Central;

    /// <summary>A new upstream whose endpoints the server knows is under central health; one that is there stays under whom it is.</summary>
    public override ResourceSpec Settle(ResourceSpec? stored)
    {
        if (Health.Authority is not null || !Endpoints.AreOurs())
        {
            return this;
        }
        var authority = stored is UpstreamSpec before ? before.Health.Authority : HealthAuthority.Central;
        return authority is null ? this : this with { Health = Health with { Authority = authority } };
    }

    /// <inheritdoc/>
    public override IEnumerable<SpecReference> References()
    {
        for (var i = 0; i < NodeGroups.Length; i++)
        {
            yield return new SpecReference($"/spec/nodeGroups/{i}", new ResourceKey(ResourceKind.NodeGroup, NodeGroups[i]));
        }
        if (Tls?.CaSecret is { } ca)
        {
            yield return new SpecReference("/spec/tls/caSecret", new ResourceKey(ResourceKind.Secret, ca), SecretContent.ValidationContext);
        }
        if (Tls?.CertificateSecret is { } certificate)
        {
            yield return new SpecReference(
                "/spec/tls/certificateSecret",
                new ResourceKey(ResourceKind.Secret, certificate),
                SecretContent.Certificate
            );
        }
    }
}

/// <summary>What a proxy speaks to an upstream.</summary>
public enum UpstreamProtocol
{
    /// <summary>HTTP/1.1.</summary>
    Http1,

    /// <summary>HTTP/2, over TLS by ALPN, in plaintext with prior knowledge.</summary>
    Http2,

    /// <summary>HTTP/2 or HTTP/1.1, as the endpoint chooses by ALPN; needs TLS.</summary>
    Auto,

    /// <summary>gRPC: HTTP/2, and health checks speak the gRPC health protocol.</summary>
    Grpc,

    /// <summary>Bytes, for TCP listeners.</summary>
    Tcp,
}

/// <summary>
/// Limits and timers of the HTTP connections to an upstream; what is null is as Envoy has it. The HTTP/2 windows are Envoy's advice for upstreams that are not trusted;
/// raise them for large streams over long distances.
/// </summary>
public sealed record HttpConnectionSpec
{
    /// <summary>
    /// Closes a connection that had no request for so long; 0 never does, null is Envoy's 1 h. Keep it below the endpoints' own idle timeout, or
    /// requests meet connections that are just being closed. <c>HttpProtocolOptions.idle_timeout</c>.
    /// </summary>
    public TimeSpan? IdleTimeout { get; init; }

    /// <summary>Drains a connection after so long; null never does. <c>HttpProtocolOptions.max_connection_duration</c>.</summary>
    public TimeSpan? MaxConnectionDuration { get; init; }

    /// <summary>Longest life of one request and its response; null has no limit. <c>HttpProtocolOptions.max_stream_duration</c>.</summary>
    public TimeSpan? MaxStreamDuration { get; init; }

    /// <summary>Requests after which a connection is replaced, from 1; null has no limit. <c>HttpProtocolOptions.max_requests_per_connection</c>.</summary>
    public uint? MaxRequestsPerConnection { get; init; }

    /// <summary>HTTP/2 streams at once on one connection, 1 to 2147483647; null leaves it to the endpoint. <c>Http2ProtocolOptions.max_concurrent_streams</c>.</summary>
    public uint? MaxConcurrentStreams { get; init; }

    /// <summary>HTTP/2 flow-control window of a stream, in bytes, 65535 to 2147483647. <c>Http2ProtocolOptions.initial_stream_window_size</c>.</summary>
    public uint InitialStreamWindowBytes { get; init; } = 64 * 1024;

    /// <summary>HTTP/2 flow-control window of a connection, in bytes, 65535 to 2147483647. <c>Http2ProtocolOptions.initial_connection_window_size</c>.</summary>
    public uint InitialConnectionWindowBytes { get; init; } = 1024 * 1024;

    /// <summary>HTTP/2 pings that find dead connections; null sends none. <c>Http2ProtocolOptions.connection_keepalive</c>.</summary>
    public HttpKeepaliveSpec? Keepalive { get; init; }
}

/// <summary>HTTP/2 pings. Many servers close connections that ping more often than they allow.</summary>
public sealed record HttpKeepaliveSpec
{
    /// <summary>Time between pings, at least 1 ms.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The connection is closed when a ping is unanswered for so long; at least 1 ms.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>TCP keepalive (<c>core.v3.TcpKeepalive</c>), which finds peers that vanished without a word.</summary>
public sealed record TcpKeepaliveSpec
{
    /// <summary>Silence after which the first probe goes out; whole seconds, at least 1 s.</summary>
    public TimeSpan Time { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Time between probes; whole seconds, at least 1 s.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Unanswered probes after which the connection is dead, 1 to 127.</summary>
    public uint Probes { get; init; } = 3;
}

/// <summary>How endpoints leave.</summary>
public sealed record DrainSpec
{
    /// <summary>
    /// How long a drained endpoint is published as DRAINING (no new requests) before it is left out; 0 leaves it out at once. Choose it longer than the
    /// longest request.
    /// </summary>
    public TimeSpan Time { get; init; } = TimeSpan.FromSeconds(30);
}
