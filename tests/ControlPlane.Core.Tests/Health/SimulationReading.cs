using System.Collections.Immutable;
using ControlPlane.Core.Health;

namespace ControlPlane.Core.Tests.Health;

/// <summary>What scenarios ask of a simulation, and the bounds of the design's test plan in seconds.</summary>
internal static class SimulationReading
{
    /// <summary>A refusal: interval, two edges, two evaluations, merging, slack.</summary>
    public const double RefusedBound = 9.5;

    /// <summary>A blackhole: three timeouts more.</summary>
    public const double TimeoutBound = 15.5;

    /// <summary>Back in PROBATION.</summary>
    public const double RecoveryBound = 7.5;

    /// <summary>Two windows of load reports, and the report's own delay.</summary>
    public const double TrafficBound = 35;

    /// <summary>An operator's order.</summary>
    public const double OrderBound = 2;

    /// <summary>Seconds from a moment to the first publication that satisfies a condition; null if none does.</summary>
    public static double? When(
        this Simulation s,
        double since,
        Func<ImmutableArray<PublishedEndpoint>, bool> condition,
        string? zone = null
    )
    {
        foreach (var (t, view, endpoints) in s.History)
        {
            if (t >= since && view == zone && !endpoints.IsDefault && condition(endpoints))
            {
                return Math.Round(t - since, 2);
            }
        }
        return null;
    }

    /// <summary>What was published to everyone after a moment.</summary>
    public static IEnumerable<(double T, ImmutableArray<PublishedEndpoint> Endpoints)> Publications(this Simulation s, double since = -1) =>
        s.History.Where(h => h.T > since && h.Zone is null).Select(h => (h.T, h.Endpoints));

    public static int Changes(this Simulation s, double since) => s.Publications(since).Count();

    public static EndpointExplanation Explain(this Simulation s, string id, string? zone = null) =>
        s.Aggregator.ExplainEndpoint(Simulation.Upstream, id, zone)!;

    public static double FailingBetween(this Simulation s, double from, double to)
    {
        var shares = s.FailingShares.Where(f => f.T > from && f.T <= to).Select(f => f.Share).ToList();
        return shares.Count > 0 ? shares.Average() : 0;
    }

    /// <summary>Seconds from a moment to each entry of an endpoint into a state.</summary>
    public static List<double> Entered(this Simulation s, string id, HealthState state, double since) =>
        [
            .. s
                .Steps.Where(x => x.Step.Endpoint == id && x.Step.To == state && x.Step.From != state)
                .Select(x => Math.Round(x.T - since, 1)),
        ];

    /// <summary>Up and down in turn, beginning with down.</summary>
    public static void Flap(this Simulation s, string id, double up, double down, double from, double to)
    {
        for (var t = from; t < to; t += up + down)
        {
            s.At(t, () => s.Set(Backend.Refused, id));
            s.At(t + down, () => s.Set(Backend.Ok, id));
        }
    }

    // What a publication says.

    public static PublishedEndpoint? Of(this ImmutableArray<PublishedEndpoint> endpoints, string id)
    {
        foreach (var e in endpoints)
        {
            if (e.Id == id)
            {
                return e;
            }
        }
        return null;
    }

    public static bool Has(this ImmutableArray<PublishedEndpoint> endpoints, string id, PublishedStatus status, ulong? weight = null) =>
        endpoints.Of(id) is { } e && e.Status == status && (weight is null || e.Weight == weight);

    public static Func<ImmutableArray<PublishedEndpoint>, bool> Is(string id, PublishedStatus status, ulong? weight = null) =>
        p => p.Has(id, status, weight);

    public static Func<ImmutableArray<PublishedEndpoint>, bool> AllUnhealthy(params IEnumerable<string> ids) =>
        p => ids.All(id => p.Has(id, PublishedStatus.Unhealthy));

    public static int Count(this ImmutableArray<PublishedEndpoint> endpoints, PublishedStatus status) =>
        endpoints.Count(e => e.Status == status);

    /// <summary>All HEALTHY at the user's weight, which is 1.</summary>
    public static bool IsAsWritten(this ImmutableArray<PublishedEndpoint> endpoints) =>
        endpoints.All(e => e is { Status: PublishedStatus.Healthy, Weight: 1 });

    /// <summary>All HEALTHY at one weight.</summary>
    public static bool IsEqual(this ImmutableArray<PublishedEndpoint> endpoints) =>
        endpoints.All(e => e.Status == PublishedStatus.Healthy && e.Weight == endpoints[0].Weight);

    /// <summary>It came, and in time.</summary>
    public static void ShouldBeWithin(this double? seconds, double bound)
    {
        Assert.NotNull(seconds);
        Assert.InRange(seconds.Value, 0, bound);
    }
}
