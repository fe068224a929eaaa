using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Upstreams;

/// <summary>Rules of the load-balancing block.</summary>
internal static class LoadBalancingValidator
{
    private const uint LargestRing = 8 * 1024 * 1024;
    private const uint LargestMaglevTable = 5_000_011;
    private const string At = "/spec/loadBalancing";

    public static void Validate(LoadBalancingSpec spec, ProblemCollector problems)
    {
        OnlyFor(spec.LeastRequest, "leastRequest", spec, problems, LoadBalancingAlgorithm.LeastRequest);
        OnlyFor(spec.RingHash, "ringHash", spec, problems, LoadBalancingAlgorithm.RingHash);
        OnlyFor(spec.Maglev, "maglev", spec, problems, LoadBalancingAlgorithm.Maglev);
        OnlyFor(
            spec.HashBalanceFactor,
            "hashBalanceFactor",
            spec,
            problems,
            LoadBalancingAlgorithm.RingHash,
            LoadBalancingAlgorithm.Maglev
        );
        OnlyFor(spec.SlowStart, "slowStart", spec, problems, LoadBalancingAlgorithm.RoundRobin, LoadBalancingAlgorithm.LeastRequest);

        if (spec.LeastRequest is { } leastRequest)
        {
            problems.InRange($"{At}/leastRequest/choiceCount", leastRequest.ChoiceCount, 2u, uint.MaxValue);
            problems.InRange($"{At}/leastRequest/activeRequestBias", leastRequest.ActiveRequestBias, 0, 1_000_000);
        }
        if (spec.RingHash is { } ring)
        {
            problems.InRange($"{At}/ringHash/minimumRingSize", ring.MinimumRingSize, 1u, LargestRing);
            problems.InRange($"{At}/ringHash/maximumRingSize", ring.MaximumRingSize, 1u, LargestRing);
            if (ring.MinimumRingSize > ring.MaximumRingSize)
            {
                problems.Error(
                    $"{At}/ringHash/minimumRingSize",
                    "ring-size-order",
                    $"The minimum ring size {ring.MinimumRingSize} is above the maximum {ring.MaximumRingSize}: Envoy refuses such a cluster, and holds back its answers for all others."
                );
            }
        }
        if (spec.Maglev is { } maglev && problems.InRange($"{At}/maglev/tableSize", maglev.TableSize, 2u, LargestMaglevTable))
        {
            if (!IsPrime(maglev.TableSize))
            {
                problems.Error(
                    $"{At}/maglev/tableSize",
                    "maglev-table-not-prime",
                    $"{maglev.TableSize} is not a prime number, and a Maglev table must have prime size: {NextPrime(maglev.TableSize)} is the next."
                );
            }
        }
        if (spec.HashBalanceFactor is { } factor)
        {
            problems.InRange($"{At}/hashBalanceFactor", factor, 100u, uint.MaxValue, "it is a percentage of the average load");
        }
        if (spec.SlowStart is { } slowStart)
        {
            problems.Positive($"{At}/slowStart/window", slowStart.Window);
            if (!(slowStart.Aggression > 0 && double.IsFinite(slowStart.Aggression)))
            {
                problems.Error($"{At}/slowStart/aggression", "out-of-range", "The aggression must be above 0; 1 grows linearly.");
            }
            problems.InRange($"{At}/slowStart/minimumWeightPercent", slowStart.MinimumWeightPercent, 0, 100);
        }
        if (spec.OverprovisioningFactor == 0)
        {
            problems.Error(
                $"{At}/overprovisioningFactor",
                "out-of-range",
                "The overprovisioning factor must be above 0; 140 is the default, 100 adds nothing."
            );
        }
        ValidateLocality(spec.Locality, problems);
        if (spec.Subsets is { } subsets)
        {
            ValidateSubsets(subsets, problems);
        }
    }

    private static void ValidateLocality(LocalityAwarenessSpec spec, ProblemCollector problems)
    {
        if (spec.ZoneAware is { } zoneAware)
        {
            if (spec.Mode != LocalityMode.ZoneAware)
            {
                problems.Error($"{At}/locality/zoneAware", "not-for-this-mode", "These settings need 'mode: zoneAware'.");
            }
            problems.InRange($"{At}/locality/zoneAware/routingEnabledPercent", zoneAware.RoutingEnabledPercent, 0, 100);
        }
        if (spec.Weights.Length > 0 && spec.Mode != LocalityMode.Weighted)
        {
            problems.Error($"{At}/locality/weights", "not-for-this-mode", "Locality weights need 'mode: weighted'.");
        }
        var seen = new HashSet<LocalitySpec>();
        ulong sum = 0;
        for (var i = 0; i < spec.Weights.Length; i++)
        {
            var weight = spec.Weights[i];
            sum += weight.Weight;
            if (weight.Weight == 0)
            {
                problems.Error(
                    $"{At}/locality/weights/{i}/weight",
                    "out-of-range",
                    "A locality's weight is at least 1: Envoy refuses 0. To send nothing there, disable its endpoints."
                );
            }
            if (!seen.Add(weight.Locality))
            {
                problems.Error($"{At}/locality/weights/{i}/locality", "duplicate-locality", "This locality has a weight already.");
            }
        }
        if (sum > uint.MaxValue)
        {
            problems.Error(
                $"{At}/locality/weights",
                "weight-sum",
                $"The weights add up to {sum}; Envoy counts to {uint.MaxValue}. Only their ratio matters: make them smaller."
            );
        }
    }

    private static void ValidateSubsets(SubsetsSpec spec, ProblemCollector problems)
    {
        if (spec.Selectors.Length == 0)
        {
            problems.Error(
                $"{At}/subsets/selectors",
                "selector-required",
                "Subsets need at least one selector with the metadata keys to divide by."
            );
        }
        var seen = new HashSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < spec.Selectors.Length; i++)
        {
            var keys = spec.Selectors[i].Keys;
            if (keys.Length == 0 || keys.Any(string.IsNullOrEmpty))
            {
                problems.Error(
                    $"{At}/subsets/selectors/{i}/keys",
                    "selector-keys",
                    "A selector needs at least one key, and no key may be empty."
                );
            }
            else if (keys.Distinct(StringComparer.Ordinal).Count() != keys.Length)
            {
                problems.Error($"{At}/subsets/selectors/{i}/keys", "selector-keys", "A selector names each key once.");
            }
            else if (!seen.Add(string.Join('\0', keys.Order(StringComparer.Ordinal))))
            {
                problems.Error($"{At}/subsets/selectors/{i}/keys", "duplicate-selector", "Another selector has the same keys.");
            }
        }
        var usesDefault =
            spec.Fallback == SubsetFallback.DefaultSubset || spec.Selectors.Any(s => s.Fallback == SubsetFallback.DefaultSubset);
        if (usesDefault != spec.DefaultSubset.Count > 0)
        {
            problems.Error(
                $"{At}/subsets/defaultSubset",
                "default-subset",
                usesDefault
                    ? "The fallback 'defaultSubset' needs the metadata of that subset here."
                    : "No fallback uses the default subset: set 'fallback: defaultSubset', or leave it out."
            );
        }
    }

    private static void OnlyFor(
        object? block,
        string name,
        LoadBalancingSpec spec,
        ProblemCollector problems,
        params LoadBalancingAlgorithm[] policies
    )
    {
        if (block is not null && !policies.Contains(spec.Policy))
        {
            problems.Error(
                $"{At}/{name}",
                "not-for-this-policy",
                $"These settings have no effect with the policy '{Camel(spec.Policy)}': they are for {string.Join(" and ", policies.Select(p => $"'{Camel(p)}'"))}."
            );
        }
    }

    private static string Camel(LoadBalancingAlgorithm policy)
    {
        var name = policy.ToString();
        return char.ToLowerInvariant(name[0]) + name[1..];
    }

    private static bool IsPrime(uint n)
    {
        if (n < 4)
        {
            return n > 1;
        }
        if (n % 2 == 0)
        {
            return false;
        }
        for (uint d = 3; d * d <= n; d += 2)
        {
            if (n % d == 0)
            {
                return false;
            }
        }
        return true;
    }

    // 5000011, the largest table, is itself prime: there always is a next one in range.
    private static uint NextPrime(uint n)
    {
        while (!IsPrime(n))
        {
            n++;
        }
        return n;
    }
}
