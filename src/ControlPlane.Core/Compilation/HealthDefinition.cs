using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Core.Compilation;

/// <summary>What a spec means to the health model: how health is decided, and about whom.</summary>
public static class HealthDefinition
{
    /// <summary>How the health of an upstream is decided.</summary>
    public static HealthPolicy PolicyOf(UpstreamSpec spec)
    {
        var health = spec.Health;
        var policy = new HealthPolicy
        {
            HasChecks = !health.Checks.IsEmpty,
            CheckDigest = CheckDigestOf(spec),
            DownShare = health.Quorum.DownShare,
            UpShare = health.Quorum.UpShare,
            QuorumMode = health.Quorum.Mode == QuorumRule.Strict ? QuorumMode.Strict : QuorumMode.Auto,
            VetoMinimumRequests = (int)health.Veto.MinimumRequests,
            VetoSuccess = health.Veto.SuccessRate,
            VetoWaitWindows = (int)health.Veto.WaitWindows,
            OutlierPolicy = health.Outlier.Policy switch
            {
                FleetOutlierPolicy.Envoy => OutlierPolicy.Envoy,
                FleetOutlierPolicy.Grpc => OutlierPolicy.Grpc,
                _ => OutlierPolicy.Fleet,
            },
            FleetOutlier = Fleet(health.Outlier),
            EnvoyOutlier = Envoy(health.Outlier),
            HoldActive = health.Hold.Active,
            HoldBase = health.Hold.Passive,
            HoldMax = health.Hold.MaxPassive,
            FlapDamping = new FlapDampingParameters
            {
                HalfLife = health.FlapDamping.HalfLife,
                Suppress = health.FlapDamping.Suppress,
                Reuse = health.FlapDamping.Reuse,
                Ceiling = health.FlapDamping.Ceiling,
            },
            MinimumHealthyPercent = (int)health.MinimumHealthyPercent,
            VelocityPercent = (int)health.Guards.VelocityPercent,
            MassPercent = (int)health.Guards.MassPercent,
            RampTime = health.RampTime,
            DrainTime = spec.Drain.Time,
            OnTotalFailure = health.OnTotalFailure switch
            {
                TotalFailureAction.Spray => TotalFailurePolicy.Spray,
                TotalFailureAction.FailFast => TotalFailurePolicy.FailFast,
                TotalFailureAction.Fallback => TotalFailurePolicy.Fallback,
                _ => null,
            },
            BalancesLocalities = spec.LoadBalancing.Locality.Mode != LocalityMode.Ignore,
            IgnoresWeights = spec.LoadBalancing.Policy == LoadBalancingAlgorithm.Random,
        };
        return health.Checks.IsEmpty ? policy : WithTimesOf(health.Checks, policy);
    }

    /// <summary>The endpoints that are decided about, in the order of their registry.</summary>
    /// <param name="spec">The upstream.</param>
    /// <param name="registered">The upstream's objects of kind Endpoint by id; used with source registration.</param>
    /// <param name="probes">What may be probed.</param>
    public static ImmutableArray<HealthTarget> TargetsOf(
        UpstreamSpec spec,
        IEnumerable<KeyValuePair<string, EndpointSpec>> registered,
        ProbeTargetPolicy probes
    ) =>
        [
            .. EndpointLifecycle
                .Of(spec, registered)
                .DistinctBy(e => e.Key, StringComparer.Ordinal)
                .Select(e => new HealthTarget
                {
                    Id = e.Key,
                    Zone = e.Value.Locality?.Zone ?? "",
                    Priority = e.Value.Priority,
                    Weight = e.Value.Weight,
                    IsUnchecked = ProbeCompiler.Refusal(spec, e.Value, probes) is not null,
                }),
        ];

    /// <summary>The order that an operator's object stands for.</summary>
    public static OverrideOrder OrderOf(OverrideAction action) =>
        action switch
        {
            OverrideAction.Drain => OverrideOrder.Drain,
            OverrideAction.Disable => OverrideOrder.Disable,
            OverrideAction.ForceHealthy => OverrideOrder.ForceHealthy,
            OverrideAction.ForceUnhealthy => OverrideOrder.ForceUnhealthy,
            OverrideAction.Freeze => OverrideOrder.Freeze,
            _ => throw new ArgumentOutOfRangeException(nameof(action), action, null),
        };

    /// <summary>
    /// Names the present form of the checks: everything that decides what a check does. Evidence of another form is dropped
    /// (<see cref="CheckResult.CheckDigest"/>). Empty without checks.
    /// </summary>
    public static string CheckDigestOf(UpstreamSpec spec)
    {
        if (spec.Health.Checks.IsEmpty)
        {
            return "";
        }
        var relevant = new UpstreamSpec
        {
            Endpoints = new EndpointsSpec(),
            Protocol = spec.Protocol,
            Tls = spec.Tls,
            Health = new HealthSpec { Checks = spec.Health.Checks },
        };
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(CanonicalForm.Write(relevant))))[..16];
    }

    /// <summary>One endpoint has one opinion per observer, so where checks differ the slowest and the most patient one counts.</summary>
    private static HealthPolicy WithTimesOf(ImmutableArray<HealthCheckSpec> checks, HealthPolicy policy) =>
        policy with
        {
            ProbeInterval = checks.Max(c => c.Interval),
            ProbeEdgeInterval = checks.Max(c => c.EdgeInterval),
            ProbeTimeout = checks.Max(c => c.Timeout),
            Fall = (int)checks.Max(c => c.Fall),
            FallOfFew = Math.Max(policy.FallOfFew, (int)checks.Max(c => c.Fall)),
            Rise = (int)checks.Max(c => c.Rise),
        };

    private static FleetOutlierParameters Fleet(FleetOutlierSpec spec) =>
        new()
        {
            Deviations = spec.Deviations,
            Gap = spec.Gap,
            Margin = spec.Margin,
            MinimumRequests = (int)spec.MinimumRequests,
            DownGap = spec.DownGap,
            DownRate = spec.DownRate,
        };

    private static EnvoyOutlierParameters Envoy(FleetOutlierSpec spec) =>
        new()
        {
            SuccessRateMinimumHosts = Count(spec.SuccessRate.MinimumHosts),
            SuccessRateRequestVolume = Count(spec.SuccessRate.RequestVolume),
            SuccessRateStdevFactor = Count(spec.SuccessRate.StdevFactor),
            FailurePercentageThreshold = spec.FailurePercentage.Threshold,
            FailurePercentageMinimumHosts = Count(spec.FailurePercentage.MinimumHosts),
            FailurePercentageRequestVolume = Count(spec.FailurePercentage.RequestVolume),
        };

    private static int Count(uint value) => (int)Math.Min(value, int.MaxValue);
}
