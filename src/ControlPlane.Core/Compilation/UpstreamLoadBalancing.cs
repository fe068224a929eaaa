using ControlPlane.Resources.Upstreams;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Type.V3;
using Google.Protobuf.WellKnownTypes;
using CommonLbConfig = Envoy.Config.Cluster.V3.Cluster.Types.CommonLbConfig;
using LbPolicy = Envoy.Config.Cluster.V3.Cluster.Types.LbPolicy;
using LbSubsetConfig = Envoy.Config.Cluster.V3.Cluster.Types.LbSubsetConfig;
using RingHashLbConfig = Envoy.Config.Cluster.V3.Cluster.Types.RingHashLbConfig;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Compiles how an endpoint is chosen, to the fields of the cluster itself: they say the same as <c>load_balancing_policy</c>, and every gRPC client knows
/// them (G-06).
/// </summary>
internal static class UpstreamLoadBalancing
{
    public static void AddTo(Cluster cluster, UpstreamSpec spec)
    {
        var balancing = spec.LoadBalancing;
        cluster.CommonLbConfig = Common(spec);
        switch (balancing.Policy)
        {
            case LoadBalancingAlgorithm.RoundRobin:
                cluster.LbPolicy = LbPolicy.RoundRobin;
                if (balancing.SlowStart is { } slowStart)
                {
                    cluster.RoundRobinLbConfig = new Cluster.Types.RoundRobinLbConfig { SlowStartConfig = SlowStart(slowStart) };
                }
                break;
            case LoadBalancingAlgorithm.LeastRequest:
                cluster.LbPolicy = LbPolicy.LeastRequest;
                cluster.LeastRequestLbConfig = LeastRequest(balancing);
                break;
            case LoadBalancingAlgorithm.Random:
                cluster.LbPolicy = LbPolicy.Random;
                break;
            case LoadBalancingAlgorithm.RingHash:
                cluster.LbPolicy = LbPolicy.RingHash;
                cluster.RingHashLbConfig = RingHash(balancing.RingHash ?? new RingHashSpec());
                break;
            case LoadBalancingAlgorithm.Maglev:
                cluster.LbPolicy = LbPolicy.Maglev;
                cluster.MaglevLbConfig = new Cluster.Types.MaglevLbConfig { TableSize = (balancing.Maglev ?? new MaglevSpec()).TableSize };
                break;
        }
        if (balancing.Subsets is { } subsets)
        {
            cluster.LbSubsetConfig = Subsets(subsets, balancing.Locality.Mode);
        }
    }

    private static CommonLbConfig Common(UpstreamSpec spec)
    {
        var common = new CommonLbConfig
        {
            HealthyPanicThreshold = new Percent { Value = UpstreamHealth.PanicThreshold(spec.Health) },
            // An endpoint that was not checked yet is no loss of capacity: it must not push the others towards panic.
            IgnoreNewHostsUntilFirstHc = !spec.Health.Checks.IsEmpty && !spec.IsCentral(),
        };
        var locality = spec.LoadBalancing.Locality;
        switch (locality.Mode)
        {
            case LocalityMode.Ignore:
                // Said aloud: where the bootstrap names a local cluster, Envoy's default is to prefer its own zone.
                common.ZoneAwareLbConfig = new CommonLbConfig.Types.ZoneAwareLbConfig { RoutingEnabled = new Percent { Value = 0 } };
                break;
            case LocalityMode.ZoneAware:
                var zoneAware = locality.ZoneAware ?? new ZoneAwareSpec();
                common.ZoneAwareLbConfig = new CommonLbConfig.Types.ZoneAwareLbConfig
                {
                    RoutingEnabled = new Percent { Value = zoneAware.RoutingEnabledPercent },
                    MinClusterSize = zoneAware.MinimumClusterSize,
                };
                break;
            case LocalityMode.Weighted:
                common.LocalityWeightedLbConfig = new CommonLbConfig.Types.LocalityWeightedLbConfig();
                break;
        }
        if (spec.LoadBalancing.HashBalanceFactor is { } factor)
        {
            common.ConsistentHashingLbConfig = new CommonLbConfig.Types.ConsistentHashingLbConfig { HashBalanceFactor = factor };
        }
        return common;
    }

    private static Cluster.Types.LeastRequestLbConfig LeastRequest(LoadBalancingSpec balancing)
    {
        var spec = balancing.LeastRequest ?? new LeastRequestSpec();
        return new Cluster.Types.LeastRequestLbConfig
        {
            ChoiceCount = spec.ChoiceCount,
            ActiveRequestBias = Unless(1, spec.ActiveRequestBias, "upstream.active_request_bias"),
            SlowStartConfig = balancing.SlowStart is { } slowStart ? SlowStart(slowStart) : null,
        };
    }

    private static Cluster.Types.SlowStartConfig SlowStart(SlowStartSpec spec) =>
        new()
        {
            SlowStartWindow = spec.Window.ToDuration(),
            Aggression = Unless(1, spec.Aggression, "upstream.slow_start_aggression"),
            MinWeightPercent = new Percent { Value = spec.MinimumWeightPercent },
        };

    /// <summary>A number that Envoy wants together with a runtime key, by which an operator of a proxy can override it.</summary>
    private static RuntimeDouble? Unless(double standard, double value, string runtimeKey) =>
        value == standard ? null : new RuntimeDouble { DefaultValue = value, RuntimeKey = runtimeKey };

    private static RingHashLbConfig RingHash(RingHashSpec spec) =>
        new()
        {
            MinimumRingSize = spec.MinimumRingSize,
            MaximumRingSize = spec.MaximumRingSize,
            HashFunction =
                spec.HashFunction == RingHashFunction.MurmurHash2
                    ? RingHashLbConfig.Types.HashFunction.MurmurHash2
                    : RingHashLbConfig.Types.HashFunction.XxHash,
        };

    private static LbSubsetConfig Subsets(SubsetsSpec spec, LocalityMode mode)
    {
        var config = new LbSubsetConfig
        {
            FallbackPolicy = spec.Fallback switch
            {
                SubsetFallback.AnyEndpoint => LbSubsetConfig.Types.LbSubsetFallbackPolicy.AnyEndpoint,
                SubsetFallback.DefaultSubset => LbSubsetConfig.Types.LbSubsetFallbackPolicy.DefaultSubset,
                _ => LbSubsetConfig.Types.LbSubsetFallbackPolicy.NoFallback,
            },
            DefaultSubset = spec.DefaultSubset.IsEmpty ? null : UpstreamAssignment.Struct(spec.DefaultSubset),
            // Without these a weighted locality keeps its share of a subset of which it has one endpoint, or none.
            LocalityWeightAware = mode == LocalityMode.Weighted,
            ScaleLocalityWeight = mode == LocalityMode.Weighted,
        };
        config.SubsetSelectors.AddRange(spec.Selectors.Select(Selector));
        return config;
    }

    private static LbSubsetConfig.Types.LbSubsetSelector Selector(SubsetSelectorSpec spec)
    {
        var selector = new LbSubsetConfig.Types.LbSubsetSelector
        {
            FallbackPolicy = spec.Fallback switch
            {
                null => LbSubsetConfig.Types.LbSubsetSelector.Types.LbSubsetSelectorFallbackPolicy.NotDefined,
                SubsetFallback.AnyEndpoint => LbSubsetConfig.Types.LbSubsetSelector.Types.LbSubsetSelectorFallbackPolicy.AnyEndpoint,
                SubsetFallback.DefaultSubset => LbSubsetConfig.Types.LbSubsetSelector.Types.LbSubsetSelectorFallbackPolicy.DefaultSubset,
                _ => LbSubsetConfig.Types.LbSubsetSelector.Types.LbSubsetSelectorFallbackPolicy.NoFallback,
            },
        };
        selector.Keys.AddRange(spec.Keys);
        return selector;
    }
}
