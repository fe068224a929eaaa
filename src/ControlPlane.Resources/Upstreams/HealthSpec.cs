using System.Collections.Immutable;
using System.Globalization;

namespace ControlPlane.Resources.Upstreams;

/// <summary>When the endpoints of an upstream count as healthy.</summary>
public sealed record HealthSpec
{
    /// <summary>Who decides.</summary>
    public HealthAuthority Authority { get; init; } = HealthAuthority.Envoy;

    /// <summary>Checks that an endpoint must pass, all of them; none leaves it to traffic alone. Under <see cref="HealthAuthority.Envoy"/> at most one.</summary>
    public ImmutableArray<HealthCheckSpec> Checks { get; init; } = [];

    /// <summary>What real traffic says about an endpoint.</summary>
    public OutlierDetectionSpec OutlierDetection { get; init; } = new();

    /// <summary>
    /// Percent of healthy endpoints below which a proxy ignores health and spreads over all of them, 0 to 100; 0 never does. With one priority, values above
    /// 71 (100 divided by the overprovisioning factor) act as 71. <c>CommonLbConfig.healthy_panic_threshold</c>.
    /// </summary>
    public uint PanicThresholdPercent { get; init; } = 50;

    /// <summary>Percent of the endpoints that no inference from traffic may go below, 0 to 100: it bounds what outlier detection ejects.</summary>
    public uint MinimumHealthyPercent { get; init; } = 60;
}

/// <summary>Who decides whether an endpoint is healthy.</summary>
public enum HealthAuthority
{
    /// <summary>Every proxy for itself, with its own checks and outlier detection.</summary>
    Envoy,
}

/// <summary>An active check; exactly one of <see cref="Http"/>, <see cref="Grpc"/> and <see cref="Tcp"/> is given.</summary>
public sealed record HealthCheckSpec
{
    /// <summary>An HTTP request.</summary>
    public HttpCheckSpec? Http { get; init; }

    /// <summary>The gRPC health protocol (<c>grpc.health.v1.Health/Check</c>); for upstreams that speak HTTP/2.</summary>
    public GrpcCheckSpec? Grpc { get; init; }

    /// <summary>A TCP connection, with bytes to send and expect.</summary>
    public TcpCheckSpec? Tcp { get; init; }

    /// <summary>Time between checks; above 0, 5 to 10 s is usual.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Time between checks while a change of the verdict is pending; above 0, at most <see cref="Interval"/>.</summary>
    public TimeSpan EdgeInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest wait for the answer; above 0.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Passes in a row that make an endpoint healthy again, 1 to 1000. The first pass of a new endpoint is enough.</summary>
    public uint Rise { get; init; } = 2;

    /// <summary>Failures in a row that make an endpoint unhealthy, 1 to 1000. An unexpected HTTP status that is not retriable does so at once.</summary>
    public uint Fall { get; init; } = 3;

    /// <summary>The port to check, 1 to 65535; null is the endpoint's own.</summary>
    public int? Port { get; init; }

    /// <summary>
    /// Whether a connection is kept from check to check. Null leaves it to who checks: proxies keep it, the server makes a new one each time, which also finds endpoints that
    /// accept no more connections. <c>HealthCheck.reuse_connection</c>.
    /// </summary>
    public bool? ReuseConnection { get; init; }
}

/// <summary>An HTTP health check.</summary>
public sealed record HttpCheckSpec
{
    /// <summary>The path, with <c>/</c> first; a query is allowed.</summary>
    public required string Path { get; init; }

    /// <summary>
    /// The Host header. Null is, in this order, the endpoint's host name, the SNI, or the endpoint's address: never the cluster's name, which is what Envoy would send.
    /// </summary>
    public string? Host { get; init; }

    /// <summary>The method; any but CONNECT.</summary>
    public string Method { get; init; } = "GET";

    /// <summary>Headers to add.</summary>
    public ImmutableSortedDictionary<string, string> Headers { get; init; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>Statuses that pass, each <c>200</c> or <c>200-299</c> (both ends included), 100 to 599; empty is 200 alone.</summary>
    public ImmutableArray<string> ExpectedStatuses { get; init; } = [];

    /// <summary>Statuses that count towards <see cref="HealthCheckSpec.Fall"/> instead of failing the endpoint at once.</summary>
    public ImmutableArray<string> RetriableStatuses { get; init; } = [];

    /// <summary>HTTP/1.1 or HTTP/2; null is what the upstream speaks, and HTTP/1.1 where that is negotiated.</summary>
    public CheckCodec? Codec { get; init; }

    /// <summary>Reads <c>200</c> or <c>200-299</c>.</summary>
    /// <returns>The two ends, both included; null if the text is neither.</returns>
    public static (int First, int Last)? ParseStatuses(string text)
    {
        var ends = text.Split('-');
        return
            ends.Length <= 2
            && int.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out var first)
            && int.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out var last)
            && first is >= 100
            && last is <= 599
            && first <= last
            ? (first, last)
            : null;
    }
}

/// <summary>What an HTTP check speaks.</summary>
public enum CheckCodec
{
    /// <summary>HTTP/1.1.</summary>
    Http1,

    /// <summary>HTTP/2.</summary>
    Http2,
}

/// <summary>A gRPC health check.</summary>
public sealed record GrpcCheckSpec
{
    /// <summary>The service to ask about; empty is the server as a whole.</summary>
    public string Service { get; init; } = "";

    /// <summary>The authority; null as <see cref="HttpCheckSpec.Host"/>.</summary>
    public string? Authority { get; init; }
}

/// <summary>A TCP health check; without bytes a connection that is established passes.</summary>
public sealed record TcpCheckSpec
{
    /// <summary>What to send.</summary>
    public PayloadSpec? Send { get; init; }

    /// <summary>What the answer must contain, in this order.</summary>
    public ImmutableArray<PayloadSpec> Receive { get; init; } = [];
}

/// <summary>Bytes; exactly one member is given.</summary>
public sealed record PayloadSpec
{
    /// <summary>As text, sent as UTF-8.</summary>
    public string? Text { get; init; }

    /// <summary>As pairs of hexadecimal digits.</summary>
    public string? Hex { get; init; }
}

/// <summary>
/// What traffic says about an endpoint, judged by each proxy for itself; <c>cluster.v3.OutlierDetection</c>. An ejected endpoint gets no requests until
/// its time is over, whatever active checks say.
/// </summary>
public sealed record OutlierDetectionSpec
{
    /// <summary>Whether a proxy ejects at all.</summary>
    public bool Enabled { get; init; } = true;

    /// <summary>Failures to connect, timeouts and resets in a row that eject; from 1, null never.</summary>
    public uint? ConsecutiveLocalOriginFailures { get; init; } = 5;

    /// <summary>Answers 502, 503, 504 in a row that eject; from 1, null never.</summary>
    public uint? ConsecutiveGatewayFailures { get; init; } = 5;

    /// <summary>Answers 5xx in a row that eject; from 1. Null, the default, never does: an endpoint that refuses one client's broken requests is not broken.</summary>
    public uint? ConsecutiveServerErrors { get; init; }

    /// <summary>Ejects by success rate against the others; null never does, since Envoy's detector ejects healthy endpoints, too (it has no absolute bound).</summary>
    public SuccessRateSpec? SuccessRate { get; init; }

    /// <summary>Ejects by the percentage of failures; null never does.</summary>
    public FailurePercentageSpec? FailurePercentage { get; init; }

    /// <summary>Time between the passes that judge rates and end ejections; above 0.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a first ejection lasts; each further one lasts longer by this much. Above 0.</summary>
    public TimeSpan BaseEjectionTime { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Longest ejection; not below <see cref="BaseEjectionTime"/>.</summary>
    public TimeSpan MaxEjectionTime { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// Percent of the endpoints that may be ejected at once, 1 to 99 and not above 100 less the upstream's minimum healthy share. Null is 34, or less
    /// where that share or the panic threshold demands it: none of one or two endpoints, one of three, a third of many.
    /// </summary>
    public uint? MaxEjectionPercent { get; init; }
}

/// <summary>Success-rate ejection: an endpoint whose rate lies too far below the mean of all.</summary>
public sealed record SuccessRateSpec
{
    /// <summary>Endpoints with enough requests that there must be; from 3.</summary>
    public uint MinimumHosts { get; init; } = 5;

    /// <summary>Requests per endpoint and interval, at each proxy, from which an endpoint is judged.</summary>
    public uint RequestVolume { get; init; } = 100;

    /// <summary>Standard deviations below the mean, times 1000.</summary>
    public uint StdevFactor { get; init; } = 1900;
}

/// <summary>Failure-percentage ejection.</summary>
public sealed record FailurePercentageSpec
{
    /// <summary>Percent of failed requests from which an endpoint is ejected, 1 to 100.</summary>
    public uint Threshold { get; init; } = 85;

    /// <summary>Endpoints with enough requests that there must be.</summary>
    public uint MinimumHosts { get; init; } = 5;

    /// <summary>Requests per endpoint and interval, at each proxy, from which an endpoint is judged.</summary>
    public uint RequestVolume { get; init; } = 50;
}
