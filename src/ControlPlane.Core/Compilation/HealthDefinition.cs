using System.Collections.Immutable;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using ControlPlane.Resources;
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

    /// <summary>The endpoints of an upstream by id, in the order of their registry.</summary>
    public static IEnumerable<KeyValuePair<string, EndpointSpec>> EndpointsOf(string name, UpstreamSpec spec, DesiredState desired) =>
        EndpointLifecycle
            .Of(
                spec,
                desired.Children(ResourceKind.Endpoint, name).Select(e => KeyValuePair.Create(e.Key, (EndpointSpec)e.Value.Manifest.Spec))
            )
            .DistinctBy(e => e.Key, StringComparer.Ordinal);

    /// <summary>The endpoints that are decided about, in the order of their registry.</summary>
    /// <param name="spec">The upstream.</param>
    /// <param name="endpoints">Its endpoints.</param>
    /// <param name="targets">What our own probers may reach; null where others check.</param>
    public static ImmutableArray<HealthTarget> TargetsOf(
        UpstreamSpec spec,
        IEnumerable<KeyValuePair<string, EndpointSpec>> endpoints,
        ProbeTargetPolicy? targets
    ) =>
        [
            .. endpoints.Select(e => new HealthTarget
            {
                Id = e.Key,
                Address = AddressOf(e.Value),
                Zone = e.Value.Locality?.Zone ?? "",
                Priority = e.Value.Priority,
                Weight = e.Value.Weight,
                NotChecked = ProbeCompiler.Refusal(spec, e.Value, targets),
            }),
        ];

    private static string AddressOf(EndpointSpec endpoint) =>
        string.Join(
            ' ',
            endpoint
                .AdditionalAddresses.Select(a => (a.Address, a.Port))
                .Prepend((endpoint.Address, endpoint.Port))
                .Select(a => string.Create(CultureInfo.InvariantCulture, $"{a.Address}:{a.Port}"))
        );

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
