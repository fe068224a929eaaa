using System.Collections.Immutable;

namespace ControlPlane.Resources.Upstreams;

/// <summary>How an endpoint is chosen for a request.</summary>
public sealed record LoadBalancingSpec
{
    /// <summary>The algorithm. Proxyless gRPC clients accept only round robin and ring hash (G-06).</summary>
    public LoadBalancingAlgorithm Policy { get; init; } = LoadBalancingAlgorithm.RoundRobin;

    /// <summary>Parameters of <see cref="LoadBalancingAlgorithm.LeastRequest"/>.</summary>
    public LeastRequestSpec? LeastRequest { get; init; }

    /// <summary>Parameters of <see cref="LoadBalancingAlgorithm.RingHash"/>.</summary>
    public RingHashSpec? RingHash { get; init; }

    /// <summary>Parameters of <see cref="LoadBalancingAlgorithm.Maglev"/>.</summary>
    public MaglevSpec? Maglev { get; init; }

    /// <summary>
    /// Percent of the average load above which an endpoint passes requests on to the next one (bounded load), from 100; null has no bound. Ring hash and Maglev only.
    /// <c>ConsistentHashingLbConfig.hash_balance_factor</c>.
    /// </summary>
    public uint? HashBalanceFactor { get; init; }

    /// <summary>Sends new endpoints less at first; round robin and least request only. Envoy starts it when an endpoint joins or its active check passes again.</summary>
    public SlowStartSpec? SlowStart { get; init; }

    /// <summary>What the endpoints' localities mean for the choice.</summary>
    public LocalityAwarenessSpec Locality { get; init; } = new();

    /// <summary>
    /// Percent by which the healthy share of a priority, or of a weighted locality, is multiplied before traffic spills over to the next: at 140, when less than 71 % are
    /// healthy. Above 0. <c>ClusterLoadAssignment.Policy.overprovisioning_factor</c>.
    /// </summary>
    public uint OverprovisioningFactor { get; init; } = 140;

    /// <summary>Restricts routes that ask for it to the endpoints with certain metadata; null has no subsets.</summary>
    public SubsetsSpec? Subsets { get; init; }
}

/// <summary>Load-balancing algorithms; <c>Cluster.LbPolicy</c>.</summary>
public enum LoadBalancingAlgorithm
{
    /// <summary>In turn, by weight.</summary>
    RoundRobin,

    /// <summary>The one with the fewest requests of some picked at random.</summary>
    LeastRequest,

    /// <summary>At random; ignores weights.</summary>
    Random,

    /// <summary>By the route's hash policy on a ring (Ketama).</summary>
    RingHash,

    /// <summary>By the route's hash policy in a fixed table: faster than a ring, moves more keys when endpoints change.</summary>
    Maglev,
}

/// <summary>Parameters of least request.</summary>
public sealed record LeastRequestSpec
{
    /// <summary>Endpoints that are compared, from 2. <c>LeastRequestLbConfig.choice_count</c>.</summary>
    public uint ChoiceCount { get; init; } = 2;

    /// <summary>How strongly active requests lower a weight where weights differ; 0 ignores them. <c>LeastRequestLbConfig.active_request_bias</c>.</summary>
    public double ActiveRequestBias { get; init; } = 1;
}

/// <summary>Parameters of ring hash.</summary>
public sealed record RingHashSpec
{
    /// <summary>Least entries of the ring, 1 to 8388608. <c>RingHashLbConfig.minimum_ring_size</c>.</summary>
    public uint MinimumRingSize { get; init; } = 1024;

    /// <summary>Most entries of the ring, not less than the minimum, up to 8388608. <c>RingHashLbConfig.maximum_ring_size</c>.</summary>
    public uint MaximumRingSize { get; init; } = 8 * 1024 * 1024;

    /// <summary>The hash function of the ring.</summary>
    public RingHashFunction HashFunction { get; init; } = RingHashFunction.XxHash;
}

/// <summary>Hash functions of a ring.</summary>
public enum RingHashFunction
{
    /// <summary>xxHash, Envoy's default.</summary>
    XxHash,

    /// <summary>MurmurHash2, compatible with std:hash of GNU libstdc++.</summary>
    MurmurHash2,
}

/// <summary>Parameters of Maglev.</summary>
public sealed record MaglevSpec
{
    /// <summary>Entries of the table: a prime up to 5000011, well above the number of endpoints. <c>MaglevLbConfig.table_size</c>.</summary>
    public uint TableSize { get; init; } = 65537;
}

/// <summary>Slow start.</summary>
public sealed record SlowStartSpec
{
    /// <summary>How long an endpoint takes to reach its full share; above 0.</summary>
    public required TimeSpan Window { get; init; }

    /// <summary>1 grows linearly, more grows faster at first; above 0. <c>SlowStartConfig.aggression</c>.</summary>
    public double Aggression { get; init; } = 1;

    /// <summary>Share at the start, in percent, 0 to 100. <c>SlowStartConfig.min_weight_percent</c>.</summary>
    public double MinimumWeightPercent { get; init; } = 10;
}

/// <summary>What localities mean for the choice of an endpoint.</summary>
public sealed record LocalityAwarenessSpec
{
    /// <summary>The way localities are used.</summary>
    public LocalityMode Mode { get; init; } = LocalityMode.Ignore;

    /// <summary>Parameters of <see cref="LocalityMode.ZoneAware"/>.</summary>
    public ZoneAwareSpec? ZoneAware { get; init; }

    /// <summary>Weights of <see cref="LocalityMode.Weighted"/>; a locality that is not listed weighs as much as its endpoints together.</summary>
    public ImmutableArray<LocalityWeightSpec> Weights { get; init; } = [];
}

/// <summary>Ways of using localities.</summary>
public enum LocalityMode
{
    /// <summary>All endpoints of a priority are alike.</summary>
    Ignore,

    /// <summary>Prefers endpoints of the proxy's own zone, as far as that keeps the load even. Works only where the proxy's bootstrap sets <c>local_cluster_name</c>.</summary>
    ZoneAware,

    /// <summary>Splits traffic over the localities by weight, and then inside each.</summary>
    Weighted,
}

/// <summary>Parameters of zone-aware routing; <c>CommonLbConfig.ZoneAwareLbConfig</c>.</summary>
public sealed record ZoneAwareSpec
{
    /// <summary>Percent of requests that prefer the zone, 0 to 100.</summary>
    public double RoutingEnabledPercent { get; init; } = 100;

    /// <summary>Number of healthy endpoints below which zones are ignored.</summary>
    public uint MinimumClusterSize { get; init; } = 6;
}

/// <summary>The weight of one locality.</summary>
public sealed record LocalityWeightSpec
{
    /// <summary>The locality.</summary>
    public required LocalitySpec Locality { get; init; }

    /// <summary>Its weight in every priority, from 1. <c>LocalityLbEndpoints.load_balancing_weight</c>.</summary>
    public required uint Weight { get; init; }
}

/// <summary>Subsets; <c>Cluster.LbSubsetConfig</c>.</summary>
public sealed record SubsetsSpec
{
    /// <summary>The sets of metadata keys that make subsets; at least one.</summary>
    public required ImmutableArray<SubsetSelectorSpec> Selectors { get; init; }

    /// <summary>What a route gets whose subset is empty, or that asks for none.</summary>
    public SubsetFallback Fallback { get; init; } = SubsetFallback.None;

    /// <summary>The metadata of the subset that <see cref="SubsetFallback.DefaultSubset"/> means.</summary>
    public ImmutableSortedDictionary<string, string> DefaultSubset { get; init; } = ImmutableSortedDictionary<string, string>.Empty;
}

/// <summary>One set of metadata keys; every combination of their values is a subset.</summary>
public sealed record SubsetSelectorSpec
{
    /// <summary>The keys; at least one, without duplicates.</summary>
    public required ImmutableArray<string> Keys { get; init; }

    /// <summary>What a route gets whose subset is empty; null is the fallback of all subsets.</summary>
    public SubsetFallback? Fallback { get; init; }
}

/// <summary>What happens where a subset has no endpoint. A subset whose endpoints are all unhealthy does not fall back.</summary>
public enum SubsetFallback
{
    /// <summary>The request fails: 503, no healthy upstream.</summary>
    None,

    /// <summary>Any endpoint.</summary>
    AnyEndpoint,

    /// <summary>The endpoints of the default subset.</summary>
    DefaultSubset,
}
