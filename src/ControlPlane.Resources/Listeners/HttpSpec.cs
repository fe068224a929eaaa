using System.Collections.Immutable;
using System.Text.Json.Nodes;

namespace ControlPlane.Resources.Listeners;

/// <summary>How connections are served as HTTP (Envoy's HttpConnectionManager). The defaults are Envoy's advice for a proxy at the edge.</summary>
public sealed record HttpSpec
{
    /// <summary>Which versions of HTTP are spoken. With TLS it also decides what is offered by ALPN.</summary>
    public HttpCodec Codec { get; init; }

    /// <summary>The route table.</summary>
    public required string RouteTable { get; init; }

    /// <summary>
    /// Whether the table is sent inside the listener instead of by RDS. Each of its changes then drains the listener's connections: for tables that never
    /// change, and for proxies that should be able to do without RDS.
    /// </summary>
    public bool InlineRouteTable { get; init; }

    /// <summary>
    /// Whether the filter for cross-origin rules is there. It does nothing until a route table has such rules, which can then be added without a change of
    /// the listener.
    /// </summary>
    public bool Cors { get; init; } = true;

    /// <summary>
    /// More HTTP filters, put in their places in the order of this list. The chain begins as <c>envoy.filters.http.cors</c> (unless <see cref="Cors"/> is
    /// false) and ends in <c>envoy.filters.http.router</c>.
    /// </summary>
    public ImmutableArray<HttpFilterSpec> Filters { get; init; } = [];

    /// <summary>Timeouts of connections and streams.</summary>
    public HttpTimeoutsSpec Timeouts { get; init; } = new();

    /// <summary>Bounds on what a client may send.</summary>
    public HttpLimitsSpec Limits { get; init; } = new();

    /// <summary>Flow control and concurrency of HTTP/2.</summary>
    public Http2Spec Http2 { get; init; } = new();

    /// <summary>Protocol upgrades that clients may ask for; a route can switch them off again.</summary>
    public ImmutableArray<HttpUpgrade> Upgrades { get; init; } = [];

    /// <summary>Whose address counts as the client's.</summary>
    public ClientAddressSpec ClientAddress { get; init; } = new();

    /// <summary>What is done to paths before they are matched.</summary>
    public PathNormalizationSpec PathNormalization { get; init; } = new();

    /// <summary>What is done to requests that have headers with an underscore, which many servers cannot tell from a hyphen.</summary>
    public UnderscoreHeaders HeadersWithUnderscores { get; init; }

    /// <summary>What the upstream is told about a client's certificate, in <c>x-forwarded-client-cert</c>.</summary>
    public ForwardClientCertificate ForwardClientCertificate { get; init; }

    /// <summary>What becomes of a response's <c>server</c> header. Header edits of a route come before it and cannot change the header.</summary>
    public ServerHeader ServerHeader { get; init; }

    /// <summary>Sends spans to an OpenTelemetry collector.</summary>
    public TracingSpec? Tracing { get; init; }

    internal IEnumerable<SpecReference> References(string pointer) =>
        [
            ListenerSpec.ToRouteTable($"{pointer}/routeTable", RouteTable),
            .. Tracing is null ? Array.Empty<SpecReference>() : [ListenerSpec.ToUpstream($"{pointer}/tracing/upstream", Tracing.Upstream)],
        ];
}

/// <summary>Which versions of HTTP are spoken.</summary>
public enum HttpCodec
{
    /// <summary>HTTP/1.1 and HTTP/2, by ALPN or by the first bytes.</summary>
    Auto,

    /// <summary>HTTP/1.1 alone.</summary>
    Http1,

    /// <summary>HTTP/2 alone, without TLS by prior knowledge.</summary>
    Http2,
}

/// <summary>A protocol upgrade.</summary>
public enum HttpUpgrade
{
    /// <summary>WebSocket, over HTTP/1.1 (RFC 6455) and HTTP/2 (RFC 8441).</summary>
    Websocket,

    /// <summary>CONNECT tunnels; a route must match them with <c>connect</c>.</summary>
    Connect,
}

/// <summary>What is done to requests that have headers with an underscore.</summary>
public enum UnderscoreHeaders
{
    /// <summary>The request is answered with 400, an HTTP/2 stream is reset.</summary>
    RejectRequest,

    /// <summary>The header is taken away.</summary>
    DropHeader,

    /// <summary>The header is passed on.</summary>
    Allow,
}

/// <summary>What becomes of a response's <c>server</c> header.</summary>
public enum ServerHeader
{
    /// <summary>It is <c>envoy</c>, whatever the upstream said.</summary>
    Overwrite,

    /// <summary>It is what the upstream said, else <c>envoy</c>.</summary>
    AppendIfAbsent,

    /// <summary>It is what the upstream said, and absent if it said nothing.</summary>
    PassThrough,
}

/// <summary>What becomes of <c>x-forwarded-client-cert</c>.</summary>
public enum ForwardClientCertificate
{
    /// <summary>Always taken away.</summary>
    Sanitize,

    /// <summary>Passed on if the client showed a certificate, else taken away.</summary>
    ForwardOnly,

    /// <summary>This connection's certificate (subject, URI and DNS names) is added to what came.</summary>
    AppendForward,

    /// <summary>This connection's certificate (subject, URI and DNS names) takes the place of what came.</summary>
    SanitizeSet,
}

/// <summary>One HTTP filter as raw typed configuration, and its place. At most one of first, before and after; without any it stands last before the router.</summary>
public sealed record HttpFilterSpec
{
    /// <summary>Unique in the chain; route tables address the filter by it in <c>typedPerFilterConfig</c>. Usually the extension's name.</summary>
    public required string Name { get; init; }

    /// <summary>The configuration in proto-JSON with its <c>@type</c>. Upstreams that it names are checked like any reference.</summary>
    public required JsonObject TypedConfig { get; init; }

    /// <summary>Stands before all filters that are in the chain so far, but after those that said so earlier in the list.</summary>
    public bool First { get; init; }

    /// <summary>Stands just before the filter of this name.</summary>
    public string? Before { get; init; }

    /// <summary>Stands just after the filter of this name.</summary>
    public string? After { get; init; }

    /// <summary>Whether the filter rests until a route switches it on by <c>typedPerFilterConfig</c>.</summary>
    public bool Disabled { get; init; }
}

/// <summary>Timeouts of connections and streams. Zero switches one off.</summary>
public sealed record HttpTimeoutsSpec
{
    /// <summary>From a request's first byte to its last; does not count the answer. Not for long uploads and streams of the client.</summary>
    public TimeSpan Request { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>From a request's first byte to the end of its headers. Envoy has none of its own.</summary>
    public TimeSpan RequestHeaders { get; init; }

    /// <summary>The longest pause of a stream in both directions. A route can say otherwise. Not for streams that may rest.</summary>
    public TimeSpan StreamIdle { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How long a connection without streams is kept.</summary>
    public TimeSpan ConnectionIdle { get; init; } = TimeSpan.FromHours(1);

    /// <summary>How long a connection is kept at most; it is then drained, not cut. Makes clients spread anew over several proxies.</summary>
    public TimeSpan ConnectionDuration { get; init; }

    /// <summary>The longest life of a stream.</summary>
    public TimeSpan StreamDuration { get; init; }

    /// <summary>Between the two GOAWAY frames that end an HTTP/2 connection.</summary>
    public TimeSpan Drain { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>Bounds on what a client may send.</summary>
public sealed record HttpLimitsSpec
{
    /// <summary>All request headers together, in KiB, from 1 to 8192; more is answered with 431.</summary>
    public uint MaxRequestHeadersKb { get; init; } = 60;

    /// <summary>The number of request headers, from 1; more is answered with 431.</summary>
    public uint MaxHeadersCount { get; init; } = 100;

    /// <summary>How many requests a connection may carry before it is drained; no bound when not given.</summary>
    public uint? MaxRequestsPerConnection { get; init; }
}

/// <summary>Flow control and concurrency of HTTP/2.</summary>
public sealed record Http2Spec
{
    /// <summary>Streams at a time on one connection, from 1 to 2^31-1.</summary>
    public uint MaxConcurrentStreams { get; init; } = 100;

    /// <summary>Bytes that a client may send on one stream unasked, from 65535 to 2^31-1.</summary>
    public uint InitialStreamWindowSize { get; init; } = 64 * 1024;

    /// <summary>Bytes that a client may send on one connection unasked, from 65535 to 2^31-1.</summary>
    public uint InitialConnectionWindowSize { get; init; } = 1024 * 1024;

    /// <summary>Finds dead clients by PING frames.</summary>
    public Http2KeepaliveSpec? Keepalive { get; init; }
}

/// <summary>PING frames that find dead peers.</summary>
public sealed record Http2KeepaliveSpec
{
    /// <summary>The pause between two, at least a millisecond.</summary>
    public required TimeSpan Interval { get; init; }

    /// <summary>How long an answer may take before the connection is closed, at least a millisecond.</summary>
    public required TimeSpan Timeout { get; init; }
}

/// <summary>Whose address counts as the client's.</summary>
public sealed record ClientAddressSpec
{
    /// <summary>
    /// Whether the connection's peer counts as the client and is added to <c>x-forwarded-for</c>, and headers by which only trusted proxies may speak are
    /// taken away. False makes the proxy believe what it is told: for sidecars behind a proxy of one's own.
    /// </summary>
    public bool UseRemoteAddress { get; init; } = true;

    /// <summary>
    /// How many proxies in front of this one are trusted: the client is that many steps from the right in <c>x-forwarded-for</c>
    /// (<c>HttpConnectionManager.xff_num_trusted_hops</c>).
    /// </summary>
    public uint TrustedHops { get; init; }

    /// <summary>Whether <c>x-forwarded-for</c> is passed on as it came.</summary>
    public bool SkipXffAppend { get; init; }
}

/// <summary>What is done to paths before they are matched. A path that proxy and server read differently gets past every rule on paths.</summary>
public sealed record PathNormalizationSpec
{
    /// <summary>Whether <c>.</c> and <c>..</c> are resolved and escapes written uniformly (RFC 3986).</summary>
    public bool Normalize { get; init; } = true;

    /// <summary>Whether several slashes become one.</summary>
    public bool MergeSlashes { get; init; } = true;

    /// <summary>What is done to <c>%2F</c> and <c>%5C</c>.</summary>
    public EscapedSlashes EscapedSlashes { get; init; }
}

/// <summary>What is done to escaped slashes in paths.</summary>
public enum EscapedSlashes
{
    /// <summary>The client is redirected to the unescaped path; gRPC requests are answered with INTERNAL.</summary>
    UnescapeAndRedirect,

    /// <summary>The path is unescaped and goes on.</summary>
    UnescapeAndForward,

    /// <summary>The request is answered with 400; gRPC requests with INTERNAL.</summary>
    Reject,

    /// <summary>The path stays as it is.</summary>
    Keep,
}

/// <summary>Spans for an OpenTelemetry collector over OTLP/gRPC (Envoy extension <c>envoy.tracers.opentelemetry</c>).</summary>
public sealed record TracingSpec
{
    /// <summary>The upstream of the collector; it must speak HTTP/2.</summary>
    public required string Upstream { get; init; }

    /// <summary>The service's name in the spans; the listener's name when not given.</summary>
    public string? ServiceName { get; init; }

    /// <summary>Percent of requests that are traced unasked, from 0 to 100.</summary>
    public double SamplingPercent { get; init; } = 100;

    /// <summary>Whether the call to the upstream gets a span of its own.</summary>
    public bool SpawnUpstreamSpan { get; init; } = true;
}
