using ControlPlane.Core.Health;
using Host = ControlPlane.Core.Tests.Health.EnvoyLoadBalancer.Host;

namespace ControlPlane.Core.Tests.Health;

/// <summary>T47: the worked examples W1 to W8 of the health design (2.4), computed by hand from Envoy's and gRPC's rules.</summary>
public sealed class OutlierVectorTests
{
    private static readonly EnvoyOutlierParameters Envoy = EnvoyOutlierParameters.Default;

    private static (double? Threshold, int[] Outliers) SuccessRate(params double[] percents) =>
        SuccessRate(percents.Select(p => new RequestCounts((long)Math.Round(10 * p), 1000 - (long)Math.Round(10 * p))).ToArray());

    private static (double? Threshold, int[] Outliers) SuccessRate(RequestCounts[] counts)
    {
        var isOutlier = new bool[counts.Length];
        var threshold = EnvoyOutlierDetection.SuccessRate(Envoy, counts, new bool[counts.Length], isOutlier);
        return (threshold, [.. Enumerable.Range(0, counts.Length).Where(i => isOutlier[i])]);
    }

    private static OutlierJudgement[] Judge(params RequestCounts[] counts)
    {
        var judgements = new OutlierJudgement[counts.Length];
        OutlierStatistics.Judge(FleetOutlierParameters.Default, counts, new bool[counts.Length], judgements);
        return judgements;
    }

    private static RequestCounts Of(long total, long errors) => new(total - errors, errors);

    [Fact]
    public void W1_The_success_rate_uses_the_population_deviation()
    {
        var (threshold, outliers) = SuccessRate(50, 100, 100, 100, 100);

        Assert.Equal(52, threshold!.Value, 9);
        Assert.Equal([0], outliers);
    }

    [Fact]
    public void W1_Envoys_default_budget_ejects_none_of_five_and_gRPCs_ejects_one()
    {
        Assert.False(EnvoyOutlierDetection.MayEject(Envoy, 0, 5));
        Assert.True(EnvoyOutlierDetection.MayEject(Envoy with { AlwaysEjectOneHost = true }, 0, 5));
        Assert.False(EnvoyOutlierDetection.MayEject(Envoy with { AlwaysEjectOneHost = true }, 1, 5));
        Assert.True(EnvoyOutlierDetection.MayEjectInGrpc(Envoy, 0, 5));
    }

    [Fact]
    public void W2_Two_equally_bad_of_eight_mask_each_other_and_a_harmless_one_of_a_tight_cluster_is_flagged()
    {
        Assert.Equal(57.0910, SuccessRate(60, 60, 100, 100, 100, 100, 100, 100).Threshold!.Value, 3);
        Assert.Empty(SuccessRate(60, 60, 100, 100, 100, 100, 100, 100).Outliers);
        Assert.Equal(69.8654, SuccessRate(60, 100, 100, 100, 100, 100, 100, 100).Threshold!.Value, 3);
        Assert.Equal([0], SuccessRate(60, 100, 100, 100, 100, 100, 100, 100).Outliers);
        Assert.Equal(97.235, SuccessRate(99.2, 99.5, 98.9, 99.4, 99.1, 97.0).Threshold!.Value, 3);
        Assert.Equal([5], SuccessRate(99.2, 99.5, 98.9, 99.4, 99.1, 97.0).Outliers);
    }

    [Fact]
    public void W3_An_ejection_ends_at_a_tick_and_the_next_one_before_the_multiplier_decayed_lasts_twice_as_long()
    {
        var ejection = new EnvoyEjection(Envoy);
        ejection.Eject(At(12.3));
        var released = new List<double>();
        for (var t = 20; t <= 120; t += 10)
        {
            if (t == 60)
            {
                Assert.Equal(1, ejection.Multiplier);
                ejection.Eject(At(55));
            }
            var was = ejection.IsEjected;
            ejection.Tick(At(t));
            if (was && !ejection.IsEjected)
            {
                released.Add(t);
            }
        }
        Assert.Equal([50, 120], released);
        Assert.Equal(2, ejection.Multiplier);
        ejection.Tick(At(130));
        Assert.Equal(1, ejection.Multiplier);
    }

    [Fact]
    public void W3_Consecutive_ejections_grow_to_the_longest_time_and_the_multiplier_stops_at_eleven()
    {
        var ejection = new EnvoyEjection(Envoy);
        var durations = new List<double>();
        for (var k = 0; k < 12; k++)
        {
            ejection.Eject(At(1000 * k));
            durations.Add(ejection.Duration.TotalSeconds);
        }
        Assert.Equal([30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300], durations);
        Assert.Equal(11, ejection.Multiplier);
        for (var k = 0; k < 40; k++)
        {
            ejection.Tick(At(20_000 + (10 * k)));
        }
        Assert.Equal(0, ejection.Multiplier);
    }

    [Fact]
    public void W4_A_500_sets_the_gateway_counter_back_but_not_that_of_5xx()
    {
        var failures = new ConsecutiveFailures(Envoy);
        int[] answers = [503, 500, 503, 503, 503, 503, 503];

        var fired = answers.Select(failures.Count).ToList();
        Assert.Equal(4, fired.FindIndex(f => f.Server));
        Assert.Equal(6, fired.FindIndex(f => f.Gateway));
        Assert.Equal(2, fired.Count(f => f.Server) + fired.Count(f => f.Gateway));
    }

    [Theory]
    [InlineData(8, 100, false)]
    [InlineData(7, 98, false)]
    [InlineData(5, 70, false)]
    [InlineData(4, 56, true)]
    public void W5_One_priority_of_ten_panics_strictly_below_half(int healthy, int availability, bool panics)
    {
        var hosts = Enumerable.Range(0, 10).Select(k => new Host($"h{k}", k < healthy)).ToList();

        Assert.Equal(availability, EnvoyLoadBalancer.Availability(healthy, 10));
        Assert.Equal(panics, EnvoyLoadBalancer.Priorities(hosts, 50).Panic.Contains(0));
    }

    [Fact]
    public void W5_DRAINING_leaves_the_denominators_and_UNHEALTHY_stays_in_them()
    {
        var draining = Enumerable.Range(0, 10).Select(k => new Host($"h{k}", k < 2, IsDraining: k >= 2)).ToList();
        var unhealthy = Enumerable.Range(0, 10).Select(k => new Host($"h{k}", k < 2)).ToList();

        Assert.Empty(EnvoyLoadBalancer.Priorities(draining, 50).Panic);
        Assert.Equal([0], EnvoyLoadBalancer.Priorities(unhealthy, 50).Panic);
    }

    [Theory, InlineData(15, false), InlineData(14, true)]
    public void W5_A_threshold_above_71_percent_acts_as_71(int healthy, bool panics)
    {
        var hosts = Enumerable.Range(0, 20).Select(k => new Host($"h{k}", k < healthy)).ToList();

        Assert.Equal(panics, EnvoyLoadBalancer.Priorities(hosts, 80).Panic.Contains(0));
    }

    [Fact]
    public void W5_Load_spills_to_degraded_and_to_the_next_priority()
    {
        List<Host> hosts =
        [
            .. Enumerable.Range(0, 4).Select(k => new Host($"a{k}", true)),
            new Host("a4", false, IsDegraded: true),
            .. Enumerable.Range(5, 4).Select(k => new Host($"a{k}", false)),
            .. Enumerable.Range(9, 3).Select(k => new Host($"a{k}", false, IsDraining: true)),
            .. Enumerable.Range(0, 2).Select(k => new Host($"b{k}", true, Priority: 1)),
            .. Enumerable.Range(2, 3).Select(k => new Host($"b{k}", false, Priority: 1)),
        ];
        var (loads, panic) = EnvoyLoadBalancer.Priorities(hosts, 50);

        Assert.Equal(62, EnvoyLoadBalancer.Availability(4, 9));
        Assert.Equal(15, EnvoyLoadBalancer.Availability(1, 9));
        Assert.Equal(56, EnvoyLoadBalancer.Availability(2, 5));
        Assert.Equal((62, 38), (loads[0], loads[1]));
        Assert.Empty(panic);
    }

    [Fact]
    public void W6_Merged_counts_find_what_no_Envoy_can_see_alone()
    {
        long[] errors = [72, 3, 2, 4, 3, 3];
        RequestCounts[] counts = [.. errors.Select(e => Of(600, e))];

        // 30 requests per Envoy and window: too few for any of its detectors.
        Assert.Null(SuccessRate([.. errors.Select(_ => Of(30, 3))]).Threshold);
        var (threshold, outliers) = SuccessRate(counts);
        Assert.Equal(89.438, threshold!.Value, 3);
        Assert.Equal([0], outliers);

        var judgements = Judge(counts);
        Assert.Equal((0.120, 0.005), (judgements[0].Rate, judgements[0].Reference));
        Assert.Equal(16.75, judgements[0].Deviations, 2);
        Assert.True(judgements[0].IsOutlier);
        Assert.All(judgements[1..], j => Assert.True(j is { IsOutlier: false, Deviations: <= -3.0 }));
        var (low, high) = OutlierStatistics.Wilson(72, 600);
        Assert.Equal(0.0964, low, 4);
        Assert.Equal(0.1484, high, 4);
        Assert.Equal(0.5, OutlierStatistics.CutFactor(FleetOutlierParameters.Default, judgements[0].Gap));
    }

    [Fact]
    public void W7_Three_of_eight_that_mask_each_other_for_Envoy_are_found_against_the_median()
    {
        long[] errors = [200, 200, 200, 1, 2, 2, 2, 3];
        RequestCounts[] counts = [.. errors.Select(e => Of(500, e))];

        var (threshold, outliers) = SuccessRate(counts);
        Assert.Equal(48.32, threshold!.Value, 2);
        Assert.Empty(outliers);
        var judgements = Judge(counts);
        Assert.Equal([true, true, true, false, false, false, false, false], judgements.Select(j => j.IsOutlier));
        Assert.Equal(26.64, judgements[0].Deviations, 2);
        Assert.Equal(0.395, judgements[0].Gap, 9);
    }

    [Theory]
    [InlineData(5, 10, 0, 1)]
    [InlineData(10, 10, 1, 1)]
    [InlineData(20, 10, 2, 2)]
    [InlineData(3, 50, 1, 2)]
    [InlineData(3, 67, 2, 3)]
    [InlineData(7, 30, 2, 3)]
    public void W8_The_budgets_of_Envoy_and_gRPC_differ_by_when_they_look(int hosts, double percent, int envoy, int grpc)
    {
        var parameters = Envoy with { MaxEjectionPercent = percent };

        Assert.Equal(envoy, Most(EnvoyOutlierDetection.MayEject));
        Assert.Equal(grpc, Most(EnvoyOutlierDetection.MayEjectInGrpc));

        int Most(Func<EnvoyOutlierParameters, int, int, bool> mayEject)
        {
            var ejected = 0;
            while (mayEject(parameters, ejected, hosts))
            {
                ejected++;
            }
            return ejected;
        }
    }

    [Fact]
    public void The_failure_percentage_counts_its_threshold_in_Envoy_and_not_in_gRPC()
    {
        RequestCounts[] counts = [Of(100, 85), Of(100, 0), Of(100, 0), Of(100, 0), Of(100, 0)];
        var (envoy, grpc) = (new bool[5], new bool[5]);
        EnvoyOutlierDetection.FailurePercentage(Envoy, isGrpc: false, counts, new bool[5], envoy);
        EnvoyOutlierDetection.FailurePercentage(Envoy, isGrpc: true, counts, new bool[5], grpc);

        Assert.Equal([true, false, false, false, false], envoy);
        Assert.DoesNotContain(true, grpc);
        EnvoyOutlierDetection.FailurePercentage(Envoy, isGrpc: false, counts.AsSpan(0, 4), new bool[4], grpc);
        Assert.DoesNotContain(true, grpc); // four of the five that it wants
    }

    /// <summary>Of k of N equally bad, the rest equally good: found if √((N − k)/k) exceeds the factor, that is below 21.7 %.</summary>
    [Fact]
    public void The_success_rate_is_blind_from_a_fifth_that_fail_alike()
    {
        for (var bad = 1; bad < 50; bad++)
        {
            var counts = Enumerable.Range(0, 100).Select(k => k < bad ? Of(1000, 400) : Of(1000, 10)).ToArray();

            Assert.Equal(bad < 21.7, SuccessRate(counts).Outliers.Length > 0);
        }
    }

    [Theory]
    [InlineData(50, 50, 0.929)]
    [InlineData(48, 50, 0.865)]
    [InlineData(190, 200, 0.910)]
    public void The_lower_bound_of_the_veto(long successes, long total, double low) =>
        Assert.Equal(low, OutlierStatistics.Wilson(successes, total).Low, 3);

    [Fact]
    public void The_upper_bound_of_a_HARD_verdict() => Assert.Equal(0.161, OutlierStatistics.Wilson(0, 20).High, 3);

    [Theory]
    [InlineData(0.05, 0.75)]
    [InlineData(0.115, 0.5)]
    [InlineData(0.2, 0.25)]
    [InlineData(0.24, 0.1)]
    [InlineData(0.15625, 0.25)] // half way between two steps: the lower one
    public void The_weight_that_is_left_follows_the_gap(double gap, double factor) =>
        Assert.Equal(factor, OutlierStatistics.CutFactor(FleetOutlierParameters.Default, gap));

    [Fact]
    public void Errors_must_be_broad_unless_few_Envoys_report()
    {
        var reporters = Enumerable.Range(0, 20).Select(k => new LoadReporter($"v{k}")).ToArray();
        (LoadReporter, RequestCounts)[] broad = [.. reporters.Select(r => (r, Of(30, 3)))];
        (LoadReporter, RequestCounts)[] one = [.. reporters.Select((r, k) => (r, k == 0 ? Of(30, 30) : Of(30, 0)))];
        (LoadReporter, RequestCounts)[] most = [.. reporters.Select((r, k) => (r, Of(60, k == 7 ? 60 : 3)))];

        Assert.Null(OutlierStatistics.NarrowSource(broad, 20));
        Assert.Equal("v0", OutlierStatistics.NarrowSource(one, 20)!.Envoy);
        Assert.Equal("v7", OutlierStatistics.NarrowSource(most, 20)!.Envoy);
        Assert.Null(OutlierStatistics.NarrowSource(one, 3));
    }

    private static Instant At(double seconds) => Instant.Of(Simulation.Time(seconds));
}
