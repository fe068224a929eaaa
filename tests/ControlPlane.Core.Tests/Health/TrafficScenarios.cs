using System.Collections.Immutable;
using ControlPlane.Core.Health;
using static ControlPlane.Core.Tests.Health.SimulationReading;

namespace ControlPlane.Core.Tests.Health;

/// <summary>What real traffic tells; rows of the test plan in section 6 of the health design, by their numbers.</summary>
public sealed class TrafficScenarios
{
    private static (Simulation Simulation, double T) Gray(
        int seed,
        double chance,
        string id = "e1",
        double seconds = 60,
        double background = 0.01,
        SimulationOptions? options = null
    )
    {
        var s = new Simulation(seed, options ?? new() { Rate = 60 }) { Background = background };
        var t = s.T;
        s.Set(Backend.Gray, chance, id);
        s.Run(t + seconds);
        return (s, t);
    }

    [Fact]
    public void T7_A_host_that_traffic_ejected_and_that_fails_in_its_ramp_is_held_twice_as_long()
    {
        var (s, t) = Gray(1, 0.3, seconds: 36, background: 0);
        var first = s.When(t, Is("e1", PublishedStatus.Unhealthy));
        first.ShouldBeWithin(TrafficBound);
        s.Run(t + first!.Value + 300);

        var downs = s.Entered("e1", HealthState.Down, t);
        var probations = s.Entered("e1", HealthState.Probation, t);
        Assert.InRange(downs[1] - probations[0], 0, 35);
        Assert.InRange(probations[1] - downs[1], 59.5, 62);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T17_A_third_of_the_requests_failing_takes_a_host_out_though_its_checks_pass(int seed)
    {
        var (s, t) = Gray(seed, 0.29, seconds: 45);

        s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(TrafficBound);
        var why = s.Explain("e1");
        Assert.Equal((HealthRule.FleetOutlier, HealthCause.Passive, 1), (why.Rule, why.Cause, why.Ejections));
        Assert.Equal(1, why.Active.Share);
        Assert.Contains("requests to it", why.Sentence, StringComparison.Ordinal);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T18_A_smaller_share_cuts_the_weight_and_clean_windows_give_it_back(int seed)
    {
        var (s, t) = Gray(seed, 0.11, seconds: 60);
        s.When(t, Is("e1", PublishedStatus.Healthy, 50)).ShouldBeWithin(TrafficBound);
        var why = s.Explain("e1");
        Assert.Equal(0.5, why.Traffic.Cut);
        Assert.True(why.Traffic.IsOutlier);
        Assert.InRange(why.Traffic.ErrorRate, 0.08, 0.16);
        Assert.InRange(why.Traffic.ReferenceRate, 0.005, 0.02);
        Assert.Contains("its weight cut to 50 %", why.Sentence, StringComparison.Ordinal);

        t = s.T;
        s.Set(Backend.Ok, "e1");
        s.Run(t + 100);
        Assert.NotNull(s.When(t, Is("e1", PublishedStatus.Healthy, 75)));
        s.When(t, p => p.IsAsWritten()).ShouldBeWithin(60);
        Assert.Equal(
            [(HealthState.Up, 0.5), (HealthState.Up, 0.75), (HealthState.Up, 1)],
            s.Steps.Where(x => x.Step.Endpoint == "e1" && x.Step.Cut is not null).Select(x => (x.Step.To, x.Step.Cut!.Value)).TakeLast(3)
        );
    }

    [Fact]
    public void Errors_of_one_that_is_out_are_not_said_to_be_everywhere()
    {
        var s = new Simulation(1, new() { Endpoints = 3, Rate = 60 });
        s.Set(Backend.Refused, "e1");
        s.Run(s.T + 60);

        Assert.True(s.Published().Has("e1", PublishedStatus.Unhealthy));
        Assert.DoesNotContain(s.Incidents, i => i.Incident.Kind == IncidentKind.UniformErrors);
    }

    [Fact]
    public void T19_Errors_everywhere_alike_eject_nobody_and_are_an_incident()
    {
        var s = new Simulation(1, new() { Rate = 60 });
        var t = s.T;
        s.Set(Backend.Gray, 0.2, s.Registry.Keys);
        s.Run(t + 60);

        Assert.Equal(0, s.Changes(t));
        Assert.Contains(s.Incidents, i => i.Incident is { Kind: IncidentKind.UniformErrors, IsOn: true });
        Assert.Equal(
            "6 of 6 endpoints of u take requests; requests fail everywhere alike, so nobody is singled out.",
            s.Aggregator.Explain("u")!.Sentence
        );
    }

    [Fact]
    public void T20_Errors_that_one_Envoy_has_eject_nobody_and_name_it()
    {
        var s = new Simulation(1, new() { Rate = 60 }) { ErrorsOnlyAt = "v0" };
        var t = s.T;
        s.Set(Backend.Gray, 0.9, "e1");
        s.Run(t + 60);

        Assert.Equal(0, s.Changes(t));
        var traffic = s.Explain("e1").Traffic;
        Assert.Equal(("v0", false), (traffic.Client, traffic.IsOutlier));
        Assert.Equal("v0", traffic.Evidence[0].Author);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T21_Twenty_Envoys_that_each_see_too_little_find_it_together(int seed)
    {
        var (s, t) = Gray(seed, 0.115, id: "e0", background: 0.005, options: new() { Rate = 60, Envoys = 20 });

        s.When(t, p => p.Of("e0") is { Status: PublishedStatus.Healthy, Weight: 25 or 50 or 75 }).ShouldBeWithin(TrafficBound);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T22_Three_of_eight_are_all_found_and_go_within_the_budget_of_traffic(int seed)
    {
        var s = new Simulation(seed, new() { Endpoints = 8, Rate = 50 }) { Background = 0.005 };
        ImmutableArray<string> three = ["e0", "e1", "e2"];
        var t = s.T;
        s.Set(Backend.Gray, 0.4, three);
        GuardExplanation? guard = null;
        s.OnTick.Add(() => guard ??= Down(s.Published(), 2) ? three.SelectMany(id => s.Explain(id).Guards).Single() : null);
        s.Run(t + 60);

        var first = s.When(t, p => Down(p, 1));
        var second = s.When(t, p => Down(p, 2));
        first.ShouldBeWithin(TrafficBound);
        Assert.InRange(second!.Value - first!.Value, 0, 10.5);
        Assert.Equal((HealthGuard.PassiveBudget, "UNHEALTHY"), (guard!.Guard, guard.Overruled));

        bool Down(ImmutableArray<PublishedEndpoint> p, int count) =>
            three.Count(id => p.Has(id, PublishedStatus.Unhealthy)) == count
            && three.Count(id => p.Has(id, PublishedStatus.Healthy, 10)) == 3 - count;
    }

    [Fact]
    public void T45_A_locality_that_reports_nothing_is_unknown_not_healthy()
    {
        var s = new Simulation(1, new() { Rate = 60 });
        var t = s.T;
        s.Unreported.Add("e1");
        s.Set(Backend.Refused, "e1");
        s.Run(t + 60);

        s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(RefusedBound);
        Assert.Equal(HealthRule.ActiveQuorum, s.Explain("e1").Rule);
    }

    [Fact]
    public void T46_Duplicate_reports_and_skewed_clocks_change_nothing()
    {
        var s = new Simulation(1, new() { Rate = 60 });
        var t = s.T;
        s.ReportLoad("v0", "a", new EndpointLoad("e1", 50, 0));
        s.ReportLoad("v0", "a", new EndpointLoad("e1", 50, 0));
        s.Report("a1", "e1", passed: true, begun: t - 300);
        s.Report("a2", "e1", passed: true, begun: t + 300);
        s.Run(t + 30);

        Assert.Equal(0, s.Changes(t));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T63_A_thin_endpoint_is_judged_on_several_windows_together(int seed)
    {
        var (s, t) = Gray(seed, 1.0, seconds: 200, background: 0.005, options: new() { Rate = 1 });

        s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(130);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T64_One_of_two_is_demoted_but_never_removed_by_traffic(int seed)
    {
        var (s, t) = Gray(seed, 1.0, id: "e0", background: 0, options: new() { Endpoints = 2, Rate = 60 });

        s.When(t, Is("e0", PublishedStatus.Healthy, 10)).ShouldBeWithin(TrafficBound);
        Assert.DoesNotContain(s.Publications(), p => p.Endpoints.Has("e0", PublishedStatus.Unhealthy));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T73_Half_that_fail_are_found_although_the_median_is_one_of_them(int seed)
    {
        var s = new Simulation(seed, new() { Rate = 60 }) { Background = 0.005 };
        ImmutableArray<string> three = ["e0", "e1", "e2"];
        var t = s.T;
        s.Set(Backend.Gray, 1.0, three);
        s.Run(t + 60);

        s.When(
                t,
                p =>
                    three.All(id => p.Has(id, PublishedStatus.Unhealthy) || p.Has(id, PublishedStatus.Healthy, 10))
                    && new[] { "e3", "e4", "e5" }.All(id => p.Has(id, PublishedStatus.Healthy))
            )
            .ShouldBeWithin(TrafficBound);
        Assert.True(s.Publications(t).Max(p => p.Endpoints.Count(PublishedStatus.Unhealthy)) <= 1, "more than G4 allows");
    }

    /// <summary>
    /// Of the model's known weaknesses: a cut weight stayed for ever where so little traffic was left that no windows together held enough to judge. Absence
    /// of evidence is unknown, not bad, so the weight rises a step whenever as many windows as are kept could not be judged.
    /// </summary>
    [Fact]
    public void A_cut_weight_comes_back_where_too_little_traffic_is_left_to_judge()
    {
        var busy = new SimulationOptions { Rate = 60, TotalRate = 360 };
        var (s, _) = Gray(1, 0.11, options: busy);
        Assert.True(s.Published().Has("e1", PublishedStatus.Healthy, 50));
        s.Set(Backend.Ok, "e1");
        s.TotalRate = 0.6;
        var t = s.T;
        s.Run(t + 300);

        s.When(t, p => p.IsAsWritten()).ShouldBeWithin(200);
    }

    /// <summary>
    /// Of the model's known weaknesses: where most endpoints were gray, the few good ones got nearly all traffic. Gray endpoints that answer some of their
    /// requests now make up what is missing to the share that must stay healthy.
    /// </summary>
    [Fact]
    public void Where_most_are_gray_they_keep_a_share_of_the_traffic()
    {
        var s = new Simulation(1, new() { Endpoints = 12, Rate = 60 });
        var t = s.T;
        s.Set(Backend.Gray, 0.35, Enumerable.Range(0, 8).Select(k => $"e{k}"));
        s.Run(t + 60);

        var gray = s.Published()
            .Where(p => p.Status == PublishedStatus.Healthy && p.Id is "e0" or "e1" or "e2" or "e3" or "e4" or "e5" or "e6" or "e7");
        Assert.Contains(gray, p => p.Weight is >= 25 and <= 65);
        Assert.DoesNotContain(gray, p => p.Weight == 10);
    }

    [Fact]
    public void Under_the_policies_of_Envoy_and_gRPC_a_host_far_below_the_mean_goes()
    {
        foreach (var policy in new[] { OutlierPolicy.Envoy, OutlierPolicy.Grpc })
        {
            var options = new SimulationOptions
            {
                Endpoints = 8,
                Rate = 60,
                Policy = HealthPolicy.Default with { OutlierPolicy = policy },
            };
            var (s, t) = Gray(1, 0.3, background: 0.01, options: options);

            s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(TrafficBound);
        }
    }
}
