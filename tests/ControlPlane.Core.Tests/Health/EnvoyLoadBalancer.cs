namespace ControlPlane.Core.Tests.Health;

/// <summary>Envoy's load-balancer arithmetic (health design 1.4): what each endpoint gets of the requests of one Envoy.</summary>
internal static class EnvoyLoadBalancer
{
    private const int Overprovisioning = 140;

    /// <summary>An endpoint as the load balancer sees it.</summary>
    public readonly record struct Host(
        string Id,
        bool IsHealthy,
        bool IsDraining = false,
        bool IsDegraded = false,
        long Weight = 1,
        int Priority = 0,
        string Zone = ""
    );

    /// <summary>min(100, ⌊140·h / (N − X)⌋).</summary>
    public static int Availability(int available, int hosts) => hosts > 0 ? Math.Min(100, Overprovisioning * available / hosts) : 0;

    /// <summary>The load of each priority in percent, and those that are in panic.</summary>
    public static (IReadOnlyDictionary<int, int> Loads, IReadOnlySet<int> Panic) Priorities(IEnumerable<Host> hosts, int panicThreshold)
    {
        var groups = hosts.GroupBy(h => h.Priority).OrderBy(g => g.Key).ToList();
        var healthy = groups.ToDictionary(
            g => g.Key,
            g => Availability(g.Count(h => h.IsHealthy && !h.IsDegraded), g.Count(h => !h.IsDraining))
        );
        var degraded = groups.ToDictionary(g => g.Key, g => Availability(g.Count(h => h.IsDegraded), g.Count(h => !h.IsDraining)));
        var total = Math.Min(100, healthy.Values.Sum() + degraded.Values.Sum());
        var panic = groups
            .Where(g =>
            {
                var n = g.Count(h => !h.IsDraining);
                var available = g.Count(h => h.IsHealthy || h.IsDegraded);
                return total < 100 && (n == 0 || 100 * available / (double)n < panicThreshold);
            })
            .Select(g => g.Key)
            .ToHashSet();
        var loads = groups.ToDictionary(g => g.Key, _ => 0);
        var rest = 100;
        foreach (var available in total > 0 ? new[] { healthy, degraded } : [])
        {
            foreach (var g in groups)
            {
                var load = Math.Min(rest, 100 * available[g.Key] / total);
                loads[g.Key] += load;
                rest -= load;
            }
        }
        if (rest > 0 && groups.Find(g => healthy[g.Key] + degraded[g.Key] > 0) is { } first)
        {
            loads[first.Key] += rest;
        }
        return (loads, panic);
    }

    /// <summary>The share of each endpoint; the empty id is "no healthy upstream".</summary>
    /// <param name="hosts">The endpoints.</param>
    /// <param name="locality">Weights of zones under locality-weighted load balancing; null without.</param>
    /// <param name="spraysWhenNothingIsLeft">Panic threshold 1: spread over all rather than refuse.</param>
    public static Dictionary<string, double> Shares(
        IReadOnlyList<Host> hosts,
        IReadOnlyDictionary<string, double>? locality = null,
        bool spraysWhenNothingIsLeft = true
    )
    {
        if (!hosts.Any(h => h.IsHealthy))
        {
            return spraysWhenNothingIsLeft && hosts.Count > 0
                ? hosts.ToDictionary(h => h.Id, _ => 1.0 / hosts.Count)
                : new Dictionary<string, double> { [""] = 1.0 };
        }
        var shares = new Dictionary<string, double>();
        var (loads, _) = Priorities(hosts, panicThreshold: 0);
        foreach (var group in hosts.GroupBy(h => h.Priority).Where(g => loads[g.Key] > 0))
        {
            var zones = locality is null ? [(Share: 1.0, Hosts: group.Where(h => h.IsHealthy).ToList())] : ByLocality([.. group], locality);
            foreach (var (share, healthy) in zones)
            {
                double weight = healthy.Sum(h => h.Weight);
                foreach (var host in healthy)
                {
                    shares[host.Id] = shares.GetValueOrDefault(host.Id) + (loads[group.Key] / 100.0 * share * host.Weight / weight);
                }
            }
        }
        return shares;
    }

    /// <summary>Locality weight · min(1, 1.4·h/N).</summary>
    private static List<(double Share, List<Host> Hosts)> ByLocality(List<Host> hosts, IReadOnlyDictionary<string, double> locality)
    {
        var zones = hosts
            .GroupBy(h => h.Zone)
            .Select(z =>
            {
                var healthy = z.Where(h => h.IsHealthy).ToList();
                var n = z.Count(h => !h.IsDraining);
                var effective = n > 0 ? locality.GetValueOrDefault(z.Key) * Math.Min(1, 1.4 * healthy.Count / n) : 0;
                return (Effective: effective, Healthy: healthy);
            })
            .ToList();
        var total = zones.Sum(z => z.Effective);
        return [.. zones.Where(z => z.Effective > 0).Select(z => (z.Effective / total, z.Healthy))];
    }
}
