using System.Collections.Immutable;
using ControlPlane.Core.Health;
using static ControlPlane.Core.Tests.Health.SimulationReading;

namespace ControlPlane.Core.Tests.Health;

/// <summary>Observers that err, lie, vanish or are few; rows of the test plan in section 6 of the health design, by their numbers.</summary>
public sealed class ObserverScenarios
{
    [Fact]
    public void T3_A_single_lost_probe_changes_nothing()
    {
        var s = new Simulation(1);
        var t = s.T;
        s.Report("a1", "e1", passed: false, FailureClass.Timeout);
        s.Run(t + 30);

        Assert.Equal(0, s.Changes(t));
    }

    [Fact]
    public void T5_One_500_at_every_observer_and_then_200_changes_nothing()
    {
        var s = new Simulation(1);
        var t = s.T;
        foreach (var observer in s.Observers.Keys)
        {
            s.Report(observer, "e1", passed: false, FailureClass.Status);
        }
        s.Run(t + 30);

        Assert.Equal(0, s.Changes(t));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T11_Probers_of_a_zone_that_reach_nobody_are_quarantined_and_change_nothing(int seed)
    {
        var s = new Simulation(seed);
        var t = s.T;
        s.Modes["a1"] = s.Modes["a2"] = ObserverMode.CutOff;
        s.Run(t + 200);

        Assert.DoesNotContain(s.History, h => h.T > t);
        foreach (var author in new[] { "a1", "a2" })
        {
            Assert.InRange(s.ObserverChanges.First(o => o.Change is { IsQuarantined: true } && o.Change.Author == author).T - t, 0, 60);
        }
        Assert.Equal(["a1", "a2"], s.Explain("e0").Active.Quarantined);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T12_A_broken_link_between_zones_changes_only_the_view_of_the_zone_behind_it(int seed)
    {
        var s = new Simulation(seed);
        var t = s.T;
        s.Cut.Add(("a", "b"));
        s.Run(t + 100);

        s.When(t, AllUnhealthy("e1", "e4"), zone: "a").ShouldBeWithin(31);
        Assert.Equal(0, s.Changes(t));
        Assert.Empty(s.ObserverChanges);
        Assert.Equal(["a"], s.Aggregator.Explain("u")!.ZoneViews);
        Assert.EndsWith(
            "; proxies in zone a have a verdict of their own, since that zone does not reach all that others reach.",
            s.Aggregator.Explain("u")!.Sentence,
            StringComparison.Ordinal
        );
        var seenFromA = s.Aggregator.Explain("u", "a")!;
        Assert.Equal("4 of 6 endpoints of u take requests; 2 condemned: e1, e4 (not reached from this zone).", seenFromA.Sentence);
        Assert.Equal(HealthRule.LinkFault, seenFromA.Endpoints[1].Rule);
        Assert.Matches(
            "^e1 is UNHEALTHY for zone a: its zone b is not reached from this zone since .*, while others reach it",
            seenFromA.Endpoints[1].Sentence
        );
        s.Cut.Clear();
        s.Run(t + 200);
        Assert.Empty(s.Aggregator.Explain("u")!.ZoneViews);
        Assert.True(s.History.Last(h => h.Zone == "a").Endpoints.IsDefault);
    }

    [Fact]
    public void An_edge_whose_backends_all_stand_behind_a_broken_link_is_not_emptied()
    {
        var s = new Simulation(1, new() { BackendZones = ["b", "b", "b", "b", "b", "c"], Jitter = 0.1 });
        s.Cut.Add(("a", "b"));
        s.Run(s.T + 200);

        Assert.Contains(s.Published("a"), p => p.Status == PublishedStatus.Healthy);
        Assert.Equal(6, s.Published().Count(PublishedStatus.Healthy));
        Assert.Empty(s.BrokenInvariants);
    }

    [Fact]
    public void A_zone_view_outlives_a_restart_and_the_silence_of_its_observers()
    {
        var s = new Simulation(1);
        s.Cut.Add(("a", "b"));
        s.Run(s.T + 100);
        var t = s.T;
        s.Restart();
        s.Run(t + 30);
        s.Modes["a1"] = s.Modes["a2"] = ObserverMode.Dead;
        s.Run(t + 120);

        Assert.DoesNotContain(s.History, h => h.T > t && h.Zone == "a");
        Assert.Equal(2, s.Published("a").Count(PublishedStatus.Unhealthy));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T13_A_prober_that_fails_everything_is_quarantined_and_changes_nothing(int seed)
    {
        var s = new Simulation(seed);
        var t = s.T;
        s.Modes["a1"] = ObserverMode.AllFail;
        s.Run(t + 200);

        Assert.Equal(0, s.Changes(t));
        var change = Assert.Single(s.ObserverChanges);
        Assert.Equal(("a1", true), (change.Change.Author, change.Change.IsQuarantined));
        Assert.InRange(change.T - t, 0, 60);
    }

    [Fact]
    public void A_quarantined_prober_is_released_once_it_agrees_again()
    {
        var s = new Simulation(1);
        s.Modes["a1"] = ObserverMode.AllFail;
        s.Run(s.T + 60);
        s.Modes.Clear();
        s.Run(s.T + 120);

        Assert.Equal([true, false], s.ObserverChanges.Select(o => o.Change.IsQuarantined));
    }

    [Fact]
    public void A_prober_that_is_stuck_on_PASS_loses_its_weight()
    {
        var s = new Simulation(1, new() { Endpoints = 20 });
        s.Modes["a1"] = ObserverMode.AllPass;
        s.Set(Backend.Error500, Enumerable.Range(0, 8).Select(k => $"e{k}"));
        s.Run(s.T + 120);

        Assert.Contains(s.ObserverChanges, o => o.Change is { Author: "a1", IsStuck: true });
        Assert.Equal(["a1"], s.Explain("e0").Active.Stuck);
        Assert.Equal(0, s.Explain("e0").Active.Share);
    }

    [Theory, InlineData(1, 0), InlineData(2, 0), InlineData(3, 0), InlineData(1, 60), InlineData(2, 60), InlineData(3, 60)]
    public void T49_One_prober_alone_finds_a_backend_that_stops_listening(int seed, double rate)
    {
        var s = new Simulation(seed, OneProber with { Endpoints = 3, Rate = rate });
        var t = s.T;
        s.Set(Backend.Refused, "e1");
        s.Run(t + 30);

        s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(11.5);
        var why = s.Explain("e1");
        Assert.Equal((HealthRule.ActiveQuorum, 1), (why.Rule, why.Active.FewObservers));
        Assert.Contains(HealthLint.FewObservers, why.Lints);
        Assert.Contains("one observer fails it (connection refused)", why.Sentence, StringComparison.Ordinal);
    }

    [Fact]
    public void T49_Where_traffic_fails_too_one_prober_is_as_fast_as_a_quorum()
    {
        var times = new List<double?>();
        for (var seed = 1; seed <= 3; seed++)
        {
            var s = new Simulation(seed, OneProber with { Endpoints = 3, Rate = 60 });
            // The newest load report that shows the failure has come when the third probe fails.
            s.Run(27);
            var t = s.T;
            s.Set(Backend.Refused, "e1");
            s.Run(t + 30);
            times.Add(s.When(t, Is("e1", PublishedStatus.Unhealthy)));
        }
        Assert.All(times, time => time.ShouldBeWithin(RefusedBound));
    }

    [Theory]
    [InlineData(1, nameof(Backend.Refused))]
    [InlineData(2, nameof(Backend.Error500))]
    [InlineData(3, nameof(Backend.Blackhole))]
    public void T54_One_prober_and_traffic_together_may_take_two_of_three_out(int seed, string mode)
    {
        var s = new Simulation(seed, OneProber with { Endpoints = 3, Rate = 20, Jitter = 0.1 });
        var t = s.T;
        s.Set(Enum.Parse<Backend>(mode), "e0", "e1");
        s.Run(t + 60);

        s.When(t, AllUnhealthy("e0", "e1")).ShouldBeWithin(30);
        Assert.True(s.Explain("e0").IsHard);
    }

    [Fact]
    public void T54_Without_traffic_one_of_the_two_stays_demoted()
    {
        var s = new Simulation(1, OneProber with { Endpoints = 3, Jitter = 0.1 });
        s.Set(Backend.Refused, "e0", "e1");
        s.Run(s.T + 120);

        Assert.Equal(1, s.Published().Count(PublishedStatus.Unhealthy));
        Assert.Single(s.Published(), p => p is { Status: PublishedStatus.Healthy, Weight: 10 });
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3), InlineData(4), InlineData(5)]
    public void T55_A_backend_comes_back_though_one_zone_goes_on_failing_it(int seed)
    {
        var three = new Simulation(
            seed,
            new()
            {
                Endpoints = 3,
                ObserversPerZone = 1,
                Envoys = 3,
                Jitter = 0.1,
            }
        );
        three.Modes["c1"] = ObserverMode.AllFail;
        BackAfterStop(three, 60).ShouldBeWithin(RecoveryBound);

        var two = new Simulation(
            seed,
            new()
            {
                Zones = ["a", "b"],
                ObserversPerZone = 1,
                Envoys = 2,
                Jitter = 0.1,
                BackendZones = ["x", "a", "b", "a", "b", "a"],
            }
        );
        two.Cut.Add(("b", "x"));
        BackAfterStop(two, 120).ShouldBeWithin(70);
    }

    private static double? BackAfterStop(Simulation s, double wait)
    {
        s.Run(s.T + 30);
        s.Set(Backend.Refused, "e0");
        s.Run(s.T + 40);
        s.Set(Backend.Ok, "e0");
        var t = s.T;
        s.Run(t + wait);
        return s.When(t, Is("e0", PublishedStatus.Healthy));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T58_An_observer_that_passes_everything_does_not_keep_a_dead_endpoint_where_traffic_agrees(int seed)
    {
        var s = new Simulation(
            seed,
            new()
            {
                ObserversPerZone = 1,
                Rate = 2,
                Envoys = 3,
                Jitter = 0.1,
            }
        );
        var t = s.T;
        s.Modes["c1"] = ObserverMode.AllPass;
        s.Set(Backend.Refused, "e0");
        s.Run(t + 60);

        s.When(t, Is("e0", PublishedStatus.Unhealthy)).ShouldBeWithin(20);
    }

    [Fact]
    public void T58_Without_traffic_it_is_suspect()
    {
        var s = new Simulation(
            1,
            new()
            {
                ObserversPerZone = 1,
                Envoys = 3,
                Jitter = 0.1,
            }
        );
        s.Modes["c1"] = ObserverMode.AllPass;
        s.Set(Backend.Refused, "e0");
        s.Run(s.T + 60);

        var why = s.Explain("e0");
        Assert.Equal((HealthState.Suspect, HealthRule.Partial, PublishedStatus.Healthy), (why.State, why.Rule, why.Status));
        Assert.Equal(1.0 / 3, why.Active.Share!.Value, 9);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T65_A_fast_observer_does_not_make_the_others_look_wrong_in_an_outage(int seed)
    {
        var s = new Simulation(
            seed,
            new()
            {
                Zones = [""],
                ObserversPerZone = 3,
                External = true,
                Jitter = 0.1,
            }
        );
        var t = s.T;
        s.OwnInterval["1"] = 0.5;
        s.Set(Backend.Refused, s.Registry.Keys.Take(5));
        s.Run(t + 100);

        s.When(t, p => !p.IsAsWritten()).ShouldBeWithin(RefusedBound);
        Assert.Empty(s.ObserverChanges);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T66_Two_observers_decide_while_the_third_is_quarantined(int seed)
    {
        var s = new Simulation(
            seed,
            new()
            {
                Zones = [""],
                ObserversPerZone = 3,
                External = true,
                Jitter = 0.1,
            }
        );
        s.Modes["1"] = ObserverMode.AllFail;
        s.Run(s.T + 60);
        var t = s.T;
        s.Set(Backend.Refused, "e0");
        s.Run(t + 60);

        s.When(t, Is("e0", PublishedStatus.Unhealthy)).ShouldBeWithin(11.5);
        Assert.Equal(2, s.Explain("e0").Active.FewObservers);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T67_A_slow_outside_observer_does_not_keep_a_dead_endpoint_where_traffic_agrees(int seed)
    {
        var s = new Simulation(seed, OneProber with { Endpoints = 3, Envoys = 2, Rate = 2, Cold = true });
        s.OwnInterval["ext"] = 60;
        s.AddObserver("ext", "x", isOurs: false);
        s.Run(120);
        var t = s.T;
        s.Set(Backend.Refused, "e0");
        s.Run(t + 100);

        s.When(t, Is("e0", PublishedStatus.Unhealthy)).ShouldBeWithin(20);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T68_When_two_of_three_observers_vanish_the_third_decides_only_with_traffic(int seed)
    {
        var busy = TwoVanish(seed, rate: 3);
        var t = busy.T;
        busy.Set(Backend.Refused, "e0");
        busy.Run(t + 60);
        busy.When(t, Is("e0", PublishedStatus.Unhealthy)).ShouldBeWithin(20);

        var idle = TwoVanish(seed, rate: 0);
        t = idle.T;
        idle.Set(Backend.Refused, "e0");
        idle.Run(t + 500);
        var why = idle.Explain("e0");
        Assert.Equal((HealthState.Suspect, HealthRule.TooFewObservers), (why.State, why.Rule));
        var guard = Assert.Single(why.Guards, g => g.Guard == HealthGuard.SourceLoss);
        Assert.StartsWith("too few observers have spoken of it lately (x1, x2 have not), ", guard.Text, StringComparison.Ordinal);
        Assert.InRange((why.Next!.At - Simulation.Time(t)).TotalSeconds, 560, 610);
        Assert.Equal(
            "6 of 6 endpoints of u take requests; e0 held as published, since too few observers have spoken lately (guard G7).",
            idle.Aggregator.Explain("u")!.Sentence
        );
        idle.Run(t + 620);
        Assert.True(idle.Published().Has("e0", PublishedStatus.Unhealthy), "ten minutes later the third is the only one that there is");
    }

    private static Simulation TwoVanish(int seed, double rate)
    {
        var s = new Simulation(seed, OneProber with { Endpoints = 6, Envoys = 6, Rate = rate });
        s.AddObserver("x1", "", isOurs: false);
        s.AddObserver("x2", "", isOurs: false);
        s.Run(s.T + 20);
        s.Modes["x1"] = s.Modes["x2"] = ObserverMode.Dead;
        s.Run(s.T + 30);
        return s;
    }

    [Fact]
    public void An_outside_observer_of_something_else_does_not_slow_the_verdict_on_an_endpoint_after_a_restart_either()
    {
        var s = new Simulation(1, OneProber with { Endpoints = 3 });
        s.OwnInterval["ext"] = 5;
        s.Aggregator.Ledger.Record(
            new CheckResult
            {
                Upstream = Simulation.Upstream,
                Endpoint = "e0",
                Author = "ext",
                Zone = "x",
                Passed = true,
                TimeToLive = TimeSpan.FromSeconds(20),
            },
            s.Now
        );
        s.Run(s.T + 5);
        s.Restart();
        s.Run(s.T + 20);
        var t = s.T;
        s.Set(Backend.Refused, "e1");
        s.Run(t + 30);

        s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(11.5);
    }

    // The specification counts the observers of an upstream. One word about one endpoint would keep every other one of the upstream in service for ten minutes, dead or not.
    [Theory, InlineData("o0", "o0.0"), InlineData(Simulation.Upstream, "e0")]
    public void An_outside_observer_of_something_else_does_not_slow_the_verdict_on_an_endpoint(string upstream, string endpoint)
    {
        var s = new Simulation(1, OneProber with { Endpoints = 3, OtherUpstreams = 1 });
        s.Aggregator.Ledger.Record(
            new CheckResult
            {
                Upstream = upstream,
                Endpoint = endpoint,
                Author = "ext",
                Zone = "x",
                Passed = true,
                TimeToLive = TimeSpan.FromMinutes(5),
            },
            s.Now
        );
        var t = s.T;
        s.Set(Backend.Refused, "e1");
        s.Run(t + 30);

        s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(11.5);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T71_A_prober_host_that_was_paused_doubts_itself_and_changes_nothing(int seed)
    {
        foreach (var options in new[] { OneProber with { Endpoints = 3 }, new SimulationOptions() })
        {
            var s = new Simulation(seed, options with { Jitter = 0.1, Rate = 20 });
            var t = s.T;
            s.PausedUntil = t + 30;
            s.Run(t + 31);
            Assert.InRange(s.Aggregator.TimeoutFactor(s.Observers.Keys.First(), s.Now), 2, 9);
            s.Run(t + 100);

            Assert.Equal(0, s.Changes(t));
            Assert.Equal(1, s.Aggregator.TimeoutFactor(s.Observers.Keys.First(), s.Now));
        }
    }

    [Fact]
    public void T59_A_lost_zone_goes_in_every_upstream_without_a_freeze()
    {
        var s = new Simulation(1, new() { OtherUpstreams = 5, Jitter = 0.1 });
        var t = s.T;
        s.Set(Backend.Blackhole, s.Backends.Where(b => b.Value.Zone == "b").Select(b => b.Key));
        foreach (var observer in new[] { "b1", "b2" })
        {
            s.Modes[observer] = ObserverMode.Dead;
            s.Aggregator.Ledger.Disconnect(observer);
        }
        s.Run(t + 60);

        s.When(t, AllUnhealthy("e1", "e4")).ShouldBeWithin(TimeoutBound);
        Assert.Equal(2, s.Published().Count(PublishedStatus.Unhealthy));
        for (var j = 0; j < 5; j++)
        {
            Assert.Equal(2, s.Aggregator.Published($"o{j}").Count(PublishedStatus.Unhealthy));
        }
        Assert.Empty(s.Incidents);
    }

    private static SimulationOptions OneProber =>
        new()
        {
            Zones = [""],
            ObserversPerZone = 1,
            Envoys = 1,
        };
}
