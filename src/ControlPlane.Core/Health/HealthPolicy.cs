using System.Collections.Immutable;

namespace ControlPlane.Core.Health;

/// <summary>How the health of one upstream's endpoints is decided. The defaults are the model's (section 4.11 of the health design).</summary>
public sealed record HealthPolicy
{
    /// <summary>The defaults.</summary>
    public static HealthPolicy Default { get; } = new();

    /// <summary>Whether anything probes the endpoints. Without checks a new endpoint is UP at once, and traffic alone can condemn it.</summary>
    public bool HasChecks { get; init; } = true;

    /// <summary>
    /// Names the present form of the checks. Evidence that names another one is dropped: it was gathered by a check that is no more. Evidence that names
    /// none (an outside observer's) always counts.
    /// </summary>
    public string CheckDigest { get; init; } = "";

    /// <summary>Time between probes of one observer, 0.2 s to 60 s.</summary>
    public TimeSpan ProbeInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Time between probes while a change is pending, 0.1 s to 10 s.</summary>
    public TimeSpan ProbeEdgeInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest wait for a probe's answer, 0.05 s to 10 s.</summary>
    public TimeSpan ProbeTimeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long the result of one of our own probes counts: three intervals and the timeout. After that the observer's opinion is unknown.</summary>
    public TimeSpan ProbeTimeToLive => (3 * ProbeInterval) + ProbeTimeout;

    /// <summary>Consecutive failures after which an observer says FAIL, 2 to 10.</summary>
    public int Fall { get; init; } = 3;

    /// <summary>The same where fewer observers exist than a quorum needs, and traffic shows no failure; at least <see cref="Fall"/>.</summary>
    public int FallOfFew { get; init; } = 5;

    /// <summary>Consecutive passes after which an observer says PASS again, 2 to 10. The very first pass is enough.</summary>
    public int Rise { get; init; } = 2;

    /// <summary>Balanced share of PASS up to which the observers vote down: the 18 % rule.</summary>
    public double DownShare { get; init; } = 0.18;

    /// <summary>Balanced share of PASS from which the observers vote up.</summary>
    public double UpShare { get; init; } = 0.50;

    /// <summary>What happens where fewer observers exist than a quorum needs.</summary>
    public QuorumMode QuorumMode { get; init; } = QuorumMode.Auto;

    /// <summary>Requests that traffic must show to veto the observers.</summary>
    public int VetoMinimumRequests { get; init; } = 50;

    /// <summary>Lower bound (Wilson, 95 %) of the success rate from which traffic vetoes the observers.</summary>
    public double VetoSuccess { get; init; } = 0.90;

    /// <summary>Load-report windows that a SOFT verdict on a busy endpoint waits for traffic to speak.</summary>
    public int VetoWaitWindows { get; init; } = 2;

    /// <summary>Who judges what traffic shows.</summary>
    public OutlierPolicy OutlierPolicy { get; init; } = OutlierPolicy.Fleet;

    /// <summary>Parameters of <see cref="OutlierPolicy.Fleet"/>; what traffic a window needs to be judged counts for every policy.</summary>
    public FleetOutlierParameters FleetOutlier { get; init; } = FleetOutlierParameters.Default;

    /// <summary>Parameters of <see cref="OutlierPolicy.Envoy"/> and <see cref="OutlierPolicy.Grpc"/>.</summary>
    public EnvoyOutlierParameters EnvoyOutlier { get; init; } = EnvoyOutlierParameters.Default;

    /// <summary>Shortest stay in DOWN of an endpoint that its observers condemned; its recovery can be seen.</summary>
    public TimeSpan HoldActive { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Shortest stay in DOWN of an endpoint that traffic condemned, times the number of such ejections in a row: ejected, it yields no evidence.</summary>
    public TimeSpan HoldBase { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The longest that <see cref="HoldBase"/> grows to.</summary>
    public TimeSpan HoldMax { get; init; } = TimeSpan.FromSeconds(300);

    /// <summary>Flap damping (RFC 2439 form).</summary>
    public FlapDampingParameters FlapDamping { get; init; } = FlapDampingParameters.Default;

    /// <summary>Percent of the endpoints of a priority that SOFT verdicts must leave routable (guard G2), 0 to 100.</summary>
    public int MinimumHealthyPercent { get; init; } = 60;

    /// <summary>Percent of the eligible endpoints that may newly go within ten seconds (guard G5); at least one.</summary>
    public int VelocityPercent { get; init; } = 10;

    /// <summary>More than this percent of the eligible endpoints condemned within 30 s is a mass freeze (guard G6).</summary>
    public int MassPercent { get; init; } = 50;

    /// <summary>How long the weight of an endpoint that recovered is ramped (guard G9); zero is at once.</summary>
    public TimeSpan RampTime { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long a drained endpoint is DRAINING before it is left out.</summary>
    public TimeSpan DrainTime { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>What is published when all endpoints are condemned and that is confirmed; null is <see cref="TotalFailurePolicy.Spray"/> with one priority, else <see cref="TotalFailurePolicy.Fallback"/>.</summary>
    public TotalFailurePolicy? OnTotalFailure { get; init; }

    /// <summary>Locality-weighted or zone-aware load balancing: guard G2 then protects each zone by itself, and a zone of condemned endpoints loses locality weight.</summary>
    public bool BalancesLocalities { get; init; }

    /// <summary>The load balancer does not look at weights (Random): what a guard keeps routable is then published DEGRADED instead of light.</summary>
    public bool IgnoresWeights { get; init; }
}

/// <summary>What holds for the whole fleet: observers, load reports, and the guards that look at all upstreams together.</summary>
public sealed record FleetHealthPolicy
{
    /// <summary>The defaults.</summary>
    public static FleetHealthPolicy Default { get; } = new();

    /// <summary>Time between evaluations, 0.1 s to 1 s. SOFT verdicts must hold for two of them.</summary>
    public TimeSpan EvaluationInterval { get; init; } = TimeSpan.FromSeconds(0.5);

    /// <summary>Time between an Envoy's load reports, and the length of a window; 1 s to 60 s.</summary>
    public TimeSpan LoadReportInterval { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Zones of observers that make a quorum.</summary>
    public int QuorumZones { get; init; } = 2;

    /// <summary>Observers that make a quorum, wherever they are.</summary>
    public int QuorumObservers { get; init; } = 3;

    /// <summary>Share of an observer's verdicts that the others contradict from which its FAILs do not count any more.</summary>
    public double QuarantineShare { get; init; } = 0.5;

    /// <summary>Endpoints that an observer must share with at least two others before it can be quarantined.</summary>
    public int QuarantineEndpoints { get; init; } = 5;

    /// <summary>Shortest quarantine, and how long an observer must have been in line before it ends.</summary>
    public TimeSpan QuarantineTime { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Percent of all endpoints that may newly go within ten seconds (guard G5); at least three.</summary>
    public int VelocityPercent { get; init; } = 5;

    /// <summary>More than this percent of all endpoints condemned within 30 s is a mass freeze everywhere (guard G6), if it is also …</summary>
    public int MassPercent { get; init; } = 20;

    /// <summary>… at least this many endpoints …</summary>
    public int MassEndpoints { get; init; } = 10;

    /// <summary>… in at least this many upstreams.</summary>
    public int MassUpstreams { get; init; } = 3;
}

/// <summary>What few observers may decide.</summary>
public enum QuorumMode
{
    /// <summary>Where fewer observers exist than a quorum needs, all that there are must agree, more slowly.</summary>
    Auto,

    /// <summary>Fewer observers than a quorum never vote down.</summary>
    Strict,
}

/// <summary>What is published when every endpoint is condemned, none passes, and that is confirmed.</summary>
public enum TotalFailurePolicy
{
    /// <summary>All HEALTHY: trying is better than refusing.</summary>
    Spray,

    /// <summary>All UNHEALTHY: callers learn at once. The only way in which inference empties an upstream, since a person chose it.</summary>
    FailFast,

    /// <summary>The next priority takes over; as <see cref="Spray"/> where there is none left.</summary>
    Fallback,
}

/// <summary>Who judges what traffic shows.</summary>
public enum OutlierPolicy
{
    /// <summary>Each endpoint against all the others together, on merged counts, with absolute bounds.</summary>
    Fleet,

    /// <summary>Envoy's success rate and failure percentage, on merged counts.</summary>
    Envoy,

    /// <summary>gRPC's success rate and failure percentage (A50), on merged counts.</summary>
    Grpc,
}

/// <summary>Parameters of the fleet's outlier detection (section 4.6).</summary>
public sealed record FleetOutlierParameters
{
    /// <summary>The defaults.</summary>
    public static FleetOutlierParameters Default { get; } = new();

    /// <summary>Standard errors that an endpoint's error rate must lie above that of the others.</summary>
    public double Deviations { get; init; } = 4;

    /// <summary>Least difference of the error rates.</summary>
    public double Gap { get; init; } = 0.05;

    /// <summary>How far the lower bound (Wilson, 95 %) of the error rate must lie above that of the others.</summary>
    public double Margin { get; init; } = 0.02;

    /// <summary>Requests without which a window is not judged.</summary>
    public int MinimumRequests { get; init; } = 50;

    /// <summary>Difference of the error rates from which an endpoint goes DOWN instead of losing weight.</summary>
    public double DownGap { get; init; } = 0.25;

    /// <summary>Error rate from which an endpoint goes DOWN instead of losing weight.</summary>
    public double DownRate { get; init; } = 0.5;
}

/// <summary>Parameters of flap damping (section 4.5).</summary>
public sealed record FlapDampingParameters
{
    /// <summary>The defaults.</summary>
    public static FlapDampingParameters Default { get; } = new();

    /// <summary>Time in which a penalty halves.</summary>
    public TimeSpan HalfLife { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>Penalty from which an endpoint stays DOWN although it passes.</summary>
    public double Suppress { get; init; } = 3000;

    /// <summary>Penalty below which it may come back.</summary>
    public double Reuse { get; init; } = 750;

    /// <summary>Largest penalty; it bounds how long an endpoint can be held.</summary>
    public double Ceiling { get; init; } = 24_000;
}

/// <summary>An endpoint as the health model knows it.</summary>
public sealed record HealthTarget
{
    /// <summary>The endpoint's id in its upstream.</summary>
    public required string Id { get; init; }

    /// <summary>Where it is reached, in any form that is equal for equal addresses. The same id at another address is another host, of which nothing is known.</summary>
    public string Address { get; init; } = "";

    /// <summary>The zone that it runs in; empty is a zone, too: the unnamed one.</summary>
    public string Zone { get; init; } = "";

    /// <summary>0 is used first.</summary>
    public int Priority { get; init; }

    /// <summary>The user's weight, from 1.</summary>
    public uint Weight { get; init; } = 1;

    /// <summary>
    /// Why no observer may reach it, as the rest of a sentence (its address is refused as a probe target, or its checks are off): it is UP without a pass, and only traffic can
    /// condemn it. Null if one may.
    /// </summary>
    public string? NotChecked { get; init; }

    /// <summary>Whether no observer may reach it.</summary>
    public bool IsUnchecked => NotChecked is not null;
}

/// <summary>The steps of a weight that was cut or is ramped, as shares of 1 (sections 4.6, 4.7).</summary>
internal static class WeightSteps
{
    public static readonly ImmutableArray<double> All = [0.10, 0.25, 0.50, 0.75, 1.0];

    /// <summary>The highest step that is not above a share; the lowest one where all are.</summary>
    public static double Below(double share)
    {
        var result = All[0];
        foreach (var step in All)
        {
            if (share >= step - 1e-9)
            {
                result = step;
            }
        }
        return result;
    }

    /// <summary>The next higher step.</summary>
    public static double Above(double step)
    {
        foreach (var candidate in All)
        {
            if (candidate > step)
            {
                return candidate;
            }
        }
        return 1.0;
    }

    /// <summary>The nearest step; the lower one of two that are equally near.</summary>
    public static double Nearest(double share)
    {
        var result = All[0];
        foreach (var step in All)
        {
            if (Math.Abs(step - share) < Math.Abs(result - share))
            {
                result = step;
            }
        }
        return result;
    }
}
