using System.Collections.Immutable;
using System.Globalization;

namespace ControlPlane.Resources.Upstreams;

/// <summary>
/// When the endpoints of an upstream count as healthy. What stands here besides <see cref="Checks"/>, <see cref="OutlierDetection"/>,
/// <see cref="PanicThresholdPercent"/> and <see cref="MinimumHealthyPercent"/> is for <see cref="HealthAuthority.Central"/>.
/// </summary>
public sealed record HealthSpec
{
    /// <summary>What <see cref="PanicThresholdPercent"/> is where proxies decide by themselves.</summary>
    public const uint DefaultPanicThresholdPercent = 50;

    /// <summary>
    /// Who decides. A new upstream that does not say so is <see cref="HealthAuthority.Central"/> where the server knows the endpoints, and that is stored with it; what is
    /// stored without a word is <see cref="HealthAuthority.Envoy"/>.
    /// </summary>
    public HealthAuthority? Authority { get; init; }

    /// <summary>Checks that an endpoint must pass, all of them; none leaves it to traffic alone. Under <see cref="HealthAuthority.Envoy"/> at most one.</summary>
    public ImmutableArray<HealthCheckSpec> Checks { get; init; } = [];

    /// <summary>What real traffic says about an endpoint to each proxy for itself; under central health it is the reflex that acts before the verdict comes.</summary>
    public OutlierDetectionSpec OutlierDetection { get; init; } = new();

    /// <summary>
    /// Percent of healthy endpoints below which a proxy ignores health and spreads over all of them, 0 to 100; 0 never does. Null is 50, and under central health
    /// 1 (0 where total failure is to fail fast): the verdicts are guarded already. With one priority, values above 71 (100 divided by the overprovisioning factor) act as 71.
    /// <c>CommonLbConfig.healthy_panic_threshold</c>.
    /// </summary>
    public uint? PanicThresholdPercent { get; init; }

    /// <summary>
    /// Percent of the endpoints, 0 to 100, that no inference from traffic may go below: it bounds what outlier detection ejects, and, under central health,
    /// what verdicts take out of a priority on evidence that may be wrong.
    /// </summary>
    public uint MinimumHealthyPercent { get; init; } = 60;

    /// <summary>When the observers of an endpoint agree.</summary>
    public QuorumSpec Quorum { get; init; } = new();

    /// <summary>When successful traffic overrules failing checks.</summary>
    public TrafficVetoSpec Veto { get; init; } = new();

    /// <summary>What the traffic of all proxies together says about an endpoint.</summary>
    public FleetOutlierSpec Outlier { get; init; } = new();

    /// <summary>How long an endpoint that was taken out stays out.</summary>
    public HoldSpec Hold { get; init; } = new();

    /// <summary>When an endpoint that comes and goes is kept out.</summary>
    public FlapDampingSpec FlapDamping { get; init; } = new();

    /// <summary>How fast verdicts may take endpoints out.</summary>
    public HealthGuardsSpec Guards { get; init; } = new();

    /// <summary>How long the weight of an endpoint that recovered is raised from a tenth to the whole, 0 to 1 h; 0 is at once.</summary>
    public TimeSpan RampTime { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>What is published when every endpoint is down and that is confirmed; null is spray with one priority, and fallback with several.</summary>
    public TotalFailureAction? OnTotalFailure { get; init; }
}

/// <summary>Who decides whether an endpoint is healthy.</summary>
public enum HealthAuthority
{
    /// <summary>Every proxy for itself, with its own checks and outlier detection.</summary>
    Envoy,

    /// <summary>The control plane, for all proxies alike, from its own checks, from the traffic of all of them, and from operators; sent by EDS.</summary>
    Central,
}

/// <summary>When the observers of an endpoint agree. Shares are balanced over the observers' zones.</summary>
public sealed record QuorumSpec
{
    /// <summary>What fewer observers than a quorum (two zones, or three observers) may decide.</summary>
    public QuorumRule Mode { get; init; } = QuorumRule.Auto;

    /// <summary>Share of passing observers up to which the endpoint is down, 0 to 0.49.</summary>
    public double DownShare { get; init; } = 0.18;

    /// <summary>Share of passing observers from which it is up, 0.5 to 1.</summary>
    public double UpShare { get; init; } = 0.5;
}

/// <summary>What few observers may decide.</summary>
public enum QuorumRule
{
    /// <summary>Where fewer exist than a quorum needs, all that there are must agree, more slowly.</summary>
    Auto,

    /// <summary>Fewer than a quorum never take an endpoint out.</summary>
    Strict,
}

/// <summary>When successful traffic overrules failing checks: a check that fails what serves requests looks at the wrong thing.</summary>
public sealed record TrafficVetoSpec
{
    /// <summary>Requests that a window of load reports must show, 10 to 1000000.</summary>
    public uint MinimumRequests { get; init; } = 50;

    /// <summary>Lower bound (Wilson, 95 %) of their success rate, 0.5 to 1.</summary>
    public double SuccessRate { get; init; } = 0.9;

    /// <summary>Windows that a verdict on a busy endpoint waits for traffic to speak, 0 to 6.</summary>
    public uint WaitWindows { get; init; } = 2;
}

/// <summary>What the traffic of all proxies together says about an endpoint.</summary>
public sealed record FleetOutlierSpec
{
    /// <summary>Who judges.</summary>
    public FleetOutlierPolicy Policy { get; init; } = FleetOutlierPolicy.Fleet;

    /// <summary>Standard errors that an endpoint's error rate must lie above that of the others, 2 to 10.</summary>
    public double Deviations { get; init; } = 4;

    /// <summary>Least difference of the error rates, 0.01 to 0.5.</summary>
    public double Gap { get; init; } = 0.05;

    /// <summary>How far the lower bound (Wilson, 95 %) of the error rate must lie above that of the others, 0 to 0.5.</summary>
    public double Margin { get; init; } = 0.02;

    /// <summary>Requests without which an endpoint is not judged, 10 to 1000000; for every policy.</summary>
    public uint MinimumRequests { get; init; } = 50;

    /// <summary>Difference of the error rates from which an endpoint is taken out instead of losing weight, above <see cref="Gap"/> and up to 1.</summary>
    public double DownGap { get; init; } = 0.25;

    /// <summary>Error rate from which an endpoint is taken out instead of losing weight, 0.1 to 1.</summary>
    public double DownRate { get; init; } = 0.5;

    /// <summary>Parameters of the policies <see cref="FleetOutlierPolicy.Envoy"/> and <see cref="FleetOutlierPolicy.Grpc"/>.</summary>
    public SuccessRateSpec SuccessRate { get; init; } = new();

    /// <inheritdoc cref="SuccessRate"/>
    public FailurePercentageSpec FailurePercentage { get; init; } = new();
}

/// <summary>Who judges what traffic shows.</summary>
public enum FleetOutlierPolicy
{
    /// <summary>Each endpoint against all the others together, with absolute bounds.</summary>
    Fleet,

    /// <summary>Envoy's success rate and failure percentage, on the counts of all proxies together.</summary>
    Envoy,

    /// <summary>Those of gRPC (gRFC A50), on the counts of all proxies together.</summary>
    Grpc,
}

/// <summary>How long an endpoint that was taken out stays out, at least.</summary>
public sealed record HoldSpec
{
    /// <summary>If its checks failed, 1 s to 10 min.</summary>
    public TimeSpan Active { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>If its traffic failed, times the number of such ejections in a row, 1 s to 1 h: without requests nothing shows that it is well again.</summary>
    public TimeSpan Passive { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The longest that <see cref="Passive"/> grows to, from <see cref="Passive"/> to 1 d.</summary>
    public TimeSpan MaxPassive { get; init; } = TimeSpan.FromSeconds(300);
}

/// <summary>
/// When an endpoint that comes and goes is kept out (as RFC 2439): each time it goes down adds 1000 to its penalty, which halves in a half-life.
/// </summary>
public sealed record FlapDampingSpec
{
    /// <summary>Time in which a penalty halves, 10 s to 1 h.</summary>
    public TimeSpan HalfLife { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>Penalty from which the endpoint stays out although it passes, 2000 to 100000.</summary>
    public double Suppress { get; init; } = 3000;

    /// <summary>Penalty below which it may come back, from 100 and below <see cref="Suppress"/>.</summary>
    public double Reuse { get; init; } = 750;

    /// <summary>Largest penalty, from <see cref="Suppress"/> to 1000000: it bounds how long an endpoint can be kept out.</summary>
    public double Ceiling { get; init; } = 24_000;
}

/// <summary>How fast verdicts may take endpoints out: what wants to take many at once is more likely a fault of the observers.</summary>
public sealed record HealthGuardsSpec
{
    /// <summary>Percent of the endpoints that may newly go within ten seconds, 1 to 100; at least one endpoint.</summary>
    public uint VelocityPercent { get; init; } = 10;

    /// <summary>More than this percent of the endpoints down within 30 s, 1 to 100, and none of them goes until it is confirmed.</summary>
    public uint MassPercent { get; init; } = 50;
}

/// <summary>What is published when every endpoint is down and that is confirmed.</summary>
public enum TotalFailureAction
{
    /// <summary>All healthy: trying is better than refusing.</summary>
    Spray,

    /// <summary>All unhealthy: callers get 503 at once.</summary>
    FailFast,

    /// <summary>The next priority takes over; as spray where there is none left.</summary>
    Fallback,
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

    /// <summary>Time between checks; above 0, 5 to 10 s is usual. Under central health 0.2 s to 60 s.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Time between checks while a change of the verdict is pending; above 0, at most <see cref="Interval"/>. Under central health 0.1 s to 10 s.</summary>
    public TimeSpan EdgeInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest wait for the answer; above 0. Under central health 0.05 s to 10 s.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Passes in a row that make an endpoint healthy again, 1 to 1000; under central health 2 to 10. The first pass of a new endpoint is enough.</summary>
    public uint Rise { get; init; } = 2;

    /// <summary>
    /// Failures in a row that make an endpoint unhealthy, 1 to 1000; under central health 2 to 10. To an Envoy that checks by itself an unexpected HTTP status that is not
    /// retriable is enough.
    /// </summary>
    public uint Fall { get; init; } = 3;

    /// <summary>The port to check, 1 to 65535; null is the endpoint's own.</summary>
    public int? Port { get; init; }

    /// <summary>
    /// Whether a connection is kept from check to check. Null leaves it to who checks: proxies keep it, the server makes a new one each time, which also finds endpoints that
    /// accept no more connections. TCP checks of the server always make one. <c>HealthCheck.reuse_connection</c>.
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

    /// <summary>
    /// Statuses that count towards <see cref="HealthCheckSpec.Fall"/> instead of failing the endpoint at once. To the server's own checks they make no difference: there every
    /// failure counts towards it.
    /// </summary>
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
    /// where that share or the panic threshold demands it: none of one or two endpoints, one of three, a third of many. Under central health null is 34 for up to
    /// nine endpoints and 10 for more.
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
