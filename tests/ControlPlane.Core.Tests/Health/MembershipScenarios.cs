using System.Collections.Immutable;
using ControlPlane.Core.Health;
using static ControlPlane.Core.Tests.Health.SimulationReading;

namespace ControlPlane.Core.Tests.Health;

/// <summary>
/// Flapping, operators, new and leaving endpoints, priorities, zones and restarts; rows of the test plan in section 6 of the health design, by their numbers.
/// </summary>
public sealed class MembershipScenarios
{
    private static readonly ImmutableArray<string> First = ["e0", "e1", "e2", "e3"];
    private static readonly ImmutableDictionary<int, int> TwoPriorities = ImmutableDictionary.CreateRange(
        Enumerable.Range(4, 4).Select(k => KeyValuePair.Create(k, 1))
    );

    // ---------------------------------------------------------------- flapping

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T26_A_fast_flap_is_suppressed_at_the_fourth_drop(int seed)
    {
        var s = new Simulation(seed);
        var t = s.T;
        s.Flap("e1", 10, 10, t, t + 200);
        s.Run(t + 200);

        var drops = s.Entered("e1", HealthState.Down, t);
        Assert.Equal(4, drops.Count);
        Assert.InRange(drops[3], 0, 80);
        Assert.Equal(0, s.Changes(t + 80));
        var why = s.Explain("e1");
        Assert.True(why.IsSuppressed);
        Assert.InRange(why.Penalty, 750, 24_000);
        Assert.Contains("flap penalty", why.Sentence, StringComparison.Ordinal);
        Assert.NotNull(why.Next);
    }

    [Fact]
    public void T27_A_flap_that_stops_comes_back_once_its_penalty_has_decayed()
    {
        var s = new Simulation(1);
        s.Flap("e1", 10, 10, s.T, s.T + 80);
        s.Run(s.T + 80);
        s.Set(Backend.Ok, "e1");
        var t = s.T;
        var expected = s.Explain("e1").Next!.At;
        s.Run(t + 700);

        var back = s.When(t, Is("e1", PublishedStatus.Healthy));
        back.ShouldBeWithin(600);
        Assert.Equal(expected, Simulation.Time(t + back!.Value), TimeSpan.FromSeconds(1));
        s.When(t, p => p.IsAsWritten()).ShouldBeWithin(back.Value + 61);
    }

    [Fact]
    public void T28_A_slow_flap_is_never_suppressed()
    {
        var s = new Simulation(1);
        var suppressed = false;
        s.Flap("e1", 60, 60, s.T, s.T + 1800);
        s.OnTick.Add(() => suppressed |= s.Aggregator.Find("u")!.Find("e1")!.IsSuppressed);
        s.Run(s.T + 1800);

        Assert.False(suppressed);
    }

    // ---------------------------------------------------------------- operators

    [Fact]
    public void T29_A_drained_endpoint_is_DRAINING_for_its_time_and_then_left_out()
    {
        var s = new Simulation(1);
        var t = s.T;
        s.Order("e1", OverrideOrder.Drain);
        s.Run(t + 10);
        Assert.Equal((HealthRule.Operator, "it is left out"), (s.Explain("e1").Rule, s.Explain("e1").Next!.Text));
        Assert.StartsWith("e1 is DRAINING by order of alice (drain until", s.Explain("e1").Sentence, StringComparison.Ordinal);
        s.Run(t + 40);

        s.When(t, Is("e1", PublishedStatus.Draining)).ShouldBeWithin(OrderBound);
        Assert.InRange(s.When(t, p => p.Of("e1") is null)!.Value, 29.5, 31);
        s.Clear("e1");
        s.Run(s.T + 5);
        Assert.True(s.Published().Has("e1", PublishedStatus.Healthy, 1));
    }

    [Fact]
    public void T30_A_dead_endpoint_that_is_forced_healthy_takes_traffic_until_the_order_ends()
    {
        var s = new Simulation(1);
        s.Set(Backend.Refused, "e1");
        s.Run(s.T + 20);
        var t = s.T;
        s.Order("e1", OverrideOrder.ForceHealthy, seconds: 60);
        s.Run(t + 30);
        Assert.Equal("the order ends", s.Explain("e1").Next!.Text);
        Assert.Matches(
            "^e1 is HEALTHY by order of alice \\(force healthy until .*\\): because\\. The evidence says DOWN: 6 of 6",
            s.Explain("e1").Sentence
        );
        s.Run(t + 80);

        s.When(t, Is("e1", PublishedStatus.Healthy)).ShouldBeWithin(OrderBound);
        Assert.InRange(s.When(t, Is("e1", PublishedStatus.Unhealthy))!.Value, 60, 62);
    }

    [Fact]
    public void An_order_is_published_at_once_and_is_urgent()
    {
        var s = new Simulation(1);
        s.Order("e1", OverrideOrder.Disable);
        Assert.True(s.Aggregator.Ledger.IsUrgent);
        var change = s.Aggregator.Evaluate(s.Now.AddMilliseconds(20));

        var publication = Assert.Single(change.Publications);
        Assert.True(publication.IsUrgent);
        Assert.Null(publication.Endpoints.Of("e1"));
        Assert.False(s.Aggregator.Ledger.IsUrgent);
    }

    [Fact]
    public void Operators_may_take_out_all_endpoints()
    {
        var s = new Simulation(1);
        foreach (var id in s.Registry.Keys)
        {
            s.Order(id, OverrideOrder.Disable);
        }
        s.Run(s.T + 1);

        Assert.Empty(s.Published());
    }

    [Fact]
    public void A_frozen_endpoint_stays_as_it_is_until_the_order_ends()
    {
        var s = new Simulation(1);
        s.Set(Backend.Refused, "e2");
        s.Run(s.T + 20);
        s.Order("e1", OverrideOrder.Freeze, seconds: 100);
        s.Order("e2", OverrideOrder.Freeze, seconds: 100);
        s.Run(s.T + 1);
        var t = s.T;
        s.Set(Backend.Refused, "e1");
        s.Set(Backend.Ok, "e2");
        s.Run(t + 60);
        s.Restart();
        s.Run(t + 95);
        Assert.Equal("it thaws, and the evidence decides again", s.Explain("e1").Next!.Text);
        Assert.True(s.Published().Has("e1", PublishedStatus.Healthy));
        Assert.True(s.Published().Has("e2", PublishedStatus.Unhealthy));
        s.Run(t + 105);

        Assert.True(s.Published().Has("e1", PublishedStatus.Unhealthy));
        Assert.True(s.Published().Has("e2", PublishedStatus.Healthy));
    }

    [Fact]
    public void A_frozen_endpoint_keeps_its_cut_weight()
    {
        var s = new Simulation(1, new() { Rate = 60 }) { Background = 0.01 };
        s.Set(Backend.Gray, 0.11, "e1");
        s.Run(s.T + 40);
        Assert.True(s.Published().Has("e1", PublishedStatus.Healthy, 50));
        s.Order("e1", OverrideOrder.Freeze, seconds: 200);
        s.Set(Backend.Ok, "e1");
        s.Run(s.T + 150);
        Assert.True(s.Published().Has("e1", PublishedStatus.Healthy, 50));
        s.Clear("e1");
        s.Run(s.T + 1);

        Assert.True(s.Published().IsAsWritten());
    }

    // ---------------------------------------------------------------- membership

    [Fact]
    public void T39_An_empty_list_from_the_registry_is_refused()
    {
        var s = new Simulation(1);
        var t = s.T;
        Assert.False(s.Aggregator.SetUpstream("u", HealthPolicy.Default, [], s.Now));
        s.Run(t + 10);
        Assert.Equal(0, s.Changes(t));

        Assert.True(s.Aggregator.SetUpstream("u", HealthPolicy.Default, [], s.Now, mayEmpty: true));
        Assert.Empty(Assert.Single(s.Aggregator.Evaluate(s.Now).Publications).Endpoints);
    }

    [Fact]
    public void T40_New_endpoints_are_published_at_full_weight_from_their_first_pass()
    {
        var s = new Simulation(1, new() { Rate = 60 });
        var t = s.T;
        for (var k = 6; k < 60; k++)
        {
            s.Make($"e{k}", "abc".Substring(k % 3, 1));
        }
        s.Register();
        s.Run(t + 20);

        s.When(t, p => p.Length == 60 && p.IsAsWritten()).ShouldBeWithin(1.5);
        Assert.All(s.Publications(t), p => Assert.True(p.Endpoints.IsAsWritten()));
    }

    [Fact]
    public void T41_A_rolling_deploy_that_drains_first_fails_no_request()
    {
        var s = new Simulation(1, new() { Rate = 60 });
        var t = s.T;
        for (var j = 0; j < 6; j++)
        {
            var (k, old, fresh) = (j, $"e{j}", $"n{j}");
            s.At(t + (60 * k), () => s.Order(old, OverrideOrder.Drain));
            s.At(
                t + (60 * k) + 31,
                () =>
                {
                    s.Make(fresh, "abc".Substring(k % 3, 1));
                    s.Set(Backend.Refused, old, fresh);
                    s.Register(drop: old);
                }
            );
            s.At(t + (60 * k) + 40, () => s.Set(Backend.Ok, fresh));
        }
        var least = int.MaxValue;
        s.OnTick.Add(() => least = Math.Min(least, s.Published().Count(PublishedStatus.Healthy)));
        s.Run(t + 400);

        Assert.InRange(least, 4, 6);
        Assert.Equal(0, s.Failed, 6);
    }

    [Fact]
    public void T41_Three_that_are_replaced_under_new_addresses_fail_no_request_once_they_are_gone_from_the_list()
    {
        var s = new Simulation(1, new() { Endpoints = 3, Rate = 60 });
        var t = s.T;
        for (var j = 0; j < 3; j++)
        {
            var (k, old, fresh) = (j, $"e{j}", $"n{j}");
            s.At(
                t + (30 * k) + 0.25,
                () =>
                {
                    s.Make(fresh, "abc".Substring(k % 3, 1));
                    s.Set(Backend.Refused, fresh);
                    s.Register(drop: old);
                    s.Set(Backend.Refused, old);
                }
            );
            s.At(t + (30 * k) + 10, () => s.Set(Backend.Ok, fresh));
        }
        s.Run(t + 120);

        Assert.Equal(0, s.Failed, 6);
        Assert.Empty(s.BrokenInvariants);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T51_A_new_upstream_with_a_wrong_check_path_is_published_and_never_empty(int seed)
    {
        var s = new Simulation(
            seed,
            new()
            {
                Endpoints = 3,
                Cold = true,
                Rate = 20,
            }
        );
        s.Set(Backend.WrongPath, s.Registry.Keys);
        s.Run(150);

        s.When(0, p => p.Length == 3 && p.IsEqual()).ShouldBeWithin(OrderBound);
        Assert.All(s.Publications(), p => Assert.Equal(3, p.Endpoints.Length));
        Assert.True(s.Published().IsEqual());
        Assert.Equal(HealthRule.NeverPassed, s.Explain("e0").Rule);
        Assert.Contains("although nobody has passed it yet", s.Explain("e0").Sentence, StringComparison.Ordinal);
        Assert.Contains(s.Incidents, i => i.Incident is { Kind: IncidentKind.MassFreeze, IsOn: true });
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void A_new_upstream_whose_endpoints_pass_is_published_whole_from_the_beginning_and_is_no_incident(int seed)
    {
        var s = new Simulation(
            seed,
            new()
            {
                Endpoints = 3,
                Cold = true,
                Rate = 20,
            }
        );
        s.Run(60);

        s.When(0, p => p.Length == 3 && p.IsEqual()).ShouldBeWithin(OrderBound);
        Assert.All(s.Registry.Keys, e => Assert.Equal(HealthState.Up, s.Explain(e).State));
        Assert.Empty(s.Incidents);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T56_No_request_goes_to_a_new_endpoint_that_has_not_started(int seed)
    {
        var s = new Simulation(
            seed,
            new()
            {
                Endpoints = 3,
                Rate = 100,
                TotalRate = 300,
                Jitter = 0.1,
            }
        );
        var t = s.T;
        var start = Enumerable.Range(3, 97).ToDictionary(k => $"e{k}", k => t + 20 + (0.05 * k));
        foreach (var (id, at) in start)
        {
            s.Make(id, "a");
            s.Set(Backend.Refused, id);
            s.At(at, () => s.Set(Backend.Ok, id));
        }
        s.Register();
        s.Run(t + 10);
        Assert.Matches("^e50 is left out: nobody has passed it yet", s.Explain("e50").Sentence);
        Assert.Equal("3 of 100 endpoints of u take requests; 97 not passed yet.", s.Aggregator.Explain("u")!.Sentence);
        s.Run(t + 60);

        foreach (var (id, at) in start)
        {
            s.When(at, Is(id, PublishedStatus.Healthy)).ShouldBeWithin(3);
        }
        Assert.Equal(0, s.Failed);
        Assert.All(s.Publications(t), p => Assert.True(p.Endpoints.IsAsWritten()));
    }

    [Fact]
    public void T56_New_endpoints_take_over_at_full_weight_where_most_of_the_old_ones_are_dead()
    {
        var s = new Simulation(
            1,
            new()
            {
                Endpoints = 3,
                Rate = 60,
                Jitter = 0.1,
            }
        );
        s.Set(Backend.Refused, "e0", "e1");
        s.Run(s.T + 60);
        var t = s.T;
        for (var k = 3; k < 12; k++)
        {
            s.Make($"e{k}", "abc".Substring(k % 3, 1));
        }
        s.Register();
        s.Run(t + 20);

        s.When(t, p => Enumerable.Range(2, 10).All(k => p.Has($"e{k}", PublishedStatus.Healthy, 1))).ShouldBeWithin(3);
        Assert.Equal(0, s.FailingBetween(t, t + 20));
    }

    [Fact]
    public void T57_In_a_new_upstream_those_that_passed_take_over_without_ramp_or_penalty()
    {
        var s = new Simulation(
            1,
            new()
            {
                Endpoints = 3,
                Cold = true,
                Rate = 20,
            }
        );
        s.Set(Backend.Refused, s.Registry.Keys);
        for (var j = 0; j < 3; j++)
        {
            var id = $"e{j}";
            s.At(20 + (3 * j), () => s.Set(Backend.Ok, id));
        }
        s.Run(60);

        var published = s.Publications().ToList();
        Assert.Equal(3, published[0].Endpoints.Length);
        Assert.Equal(["e0"], published[1].Endpoints.Select(e => e.Id));
        Assert.InRange(published[1].T, 20, 22.5);
        Assert.InRange(published[^1].T, 26, 28.5);
        Assert.All(published, p => Assert.True(p.Endpoints.IsAsWritten()));
        Assert.Equal(0, s.Explain("e0").Penalty);
    }

    [Fact]
    public void Without_checks_and_for_endpoints_that_no_observer_may_reach_a_new_one_is_up_at_once()
    {
        var aggregator = new HealthAggregator();
        aggregator.Ledger.Connect("a1", "a", isOurs: true, Simulation.Time(0));
        aggregator.SetUpstream("none", HealthPolicy.Default with { HasChecks = false }, [new() { Id = "x" }], Simulation.Time(0));
        aggregator.SetUpstream(
            "refused",
            HealthPolicy.Default,
            [new() { Id = "x", NotChecked = "169.254.1.1 is a link-local address, which is never probed" }, new() { Id = "y" }],
            Simulation.Time(0)
        );
        aggregator.Evaluate(Simulation.Time(0.5));

        Assert.Equal(HealthRule.NoChecks, aggregator.ExplainEndpoint("none", "x")!.Rule);
        Assert.Equal(
            (HealthState.Up, HealthRule.NoChecks),
            (aggregator.ExplainEndpoint("refused", "x")!.State, aggregator.ExplainEndpoint("refused", "x")!.Rule)
        );
        Assert.Equal(HealthState.New, aggregator.ExplainEndpoint("refused", "y")!.State);
        Assert.Contains(
            "nobody checks it (169.254.1.1 is a link-local address, which is never probed), and",
            aggregator.ExplainEndpoint("refused", "x")!.Sentence,
            StringComparison.Ordinal
        );
    }

    // ---------------------------------------------------------------- priorities and zones

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T50_A_dead_priority_goes_whole_and_at_once_where_the_next_one_is_well(int seed)
    {
        var s = new Simulation(
            seed,
            new()
            {
                Endpoints = 8,
                Rate = 30,
                Priorities = TwoPriorities,
            }
        );
        var t = s.T;
        s.Set(Backend.Refused, First);
        s.Run(t + 40);

        s.When(t, AllUnhealthy(First)).ShouldBeWithin(RefusedBound);
        Assert.DoesNotContain(s.Publications(t), p => p.Endpoints.Any(e => e.Weight == 10));
        Assert.DoesNotContain(s.Incidents, i => i.Incident.Kind == IncidentKind.MassFreeze);
        s.Set(Backend.Ok, First);
        t = s.T;
        s.Run(t + 300);
        Assert.NotNull(s.When(t, p => p.IsAsWritten()));
    }

    [Theory, InlineData(1, 0, RefusedBound), InlineData(2, 0, RefusedBound), InlineData(1, 30, 17), InlineData(2, 30, 17)]
    public void T52_A_priority_without_a_good_endpoint_goes_although_the_next_one_is_half_dead(int seed, double rate, double bound)
    {
        var s = new Simulation(
            seed,
            new()
            {
                Endpoints = 8,
                Rate = rate,
                Jitter = 0.1,
                Priorities = TwoPriorities,
            }
        );
        s.Set(Backend.Refused, "e4", "e5");
        s.Run(s.T + 60);
        var t = s.T;
        s.Set(Backend.Error500, First);
        s.Run(t + 60);

        s.When(t, AllUnhealthy(First)).ShouldBeWithin(bound);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T53_A_zone_of_one_does_not_replace_a_zone_of_nine(int seed)
    {
        var s = new Simulation(
            seed,
            new()
            {
                Endpoints = 10,
                Rate = 4,
                Jitter = 0.1,
                BackendZones = ["a", .. Enumerable.Repeat("b", 9)],
                Zones = ["a", "b"],
            }
        );
        var t = s.T;
        s.Set(Backend.WrongPath, Enumerable.Range(1, 9).Select(k => $"e{k}"));
        s.Run(t + 200);

        Assert.True(s.Publications(t).Min(p => p.Endpoints.Count(PublishedStatus.Healthy)) >= 6, "less than the minimum stayed");
    }

    [Fact]
    public void Under_locality_weights_each_zone_keeps_its_minimum_and_a_demoted_zone_loses_locality_weight()
    {
        var s = new Simulation(
            1,
            new()
            {
                Endpoints = 8,
                Zones = ["a", "b"],
                Policy = HealthPolicy.Default with { BalancesLocalities = true, MinimumHealthyPercent = 90 },
            }
        )
        {
            LocalityWeights = new() { ["a"] = 1, ["b"] = 1 },
        };
        s.Set(Backend.Error500, "e0", "e2");
        s.Run(s.T + 150);
        Assert.Contains(
            s.Explain("e2").Guards.Concat(s.Explain("e0").Guards),
            g => g.Guard is HealthGuard.MinimumHealthy or HealthGuard.MinimumHealthyOfZone
        );

        // Now all of zone a, while in zone b one has failed, so that b is not well enough to replace it.
        s.Set(Backend.Error500, "e4", "e6", "e1");
        s.Run(s.T + 60);
        var factors = s.Aggregator.Find("u")!.Everyone.LocalityFactors;
        Assert.Equal(0.1, factors["a"]);
        Assert.False(factors.ContainsKey("b"));
    }

    [Fact]
    public void T74_A_hit_in_PROBATION_does_not_halve_an_idle_endpoint_for_ever()
    {
        var s = new Simulation(
            1,
            new()
            {
                Endpoints = 8,
                Rate = 60,
                Priorities = TwoPriorities,
            }
        );
        s.Set(Backend.Refused, [.. First, "e4"]);
        s.Run(s.T + 30);
        s.Set(Backend.Gray, 0.4, "e4");
        s.At(s.T + 40, () => s.Set(Backend.Ok, [.. First, "e4"]));
        var t = s.T + 40;
        s.Run(t + 400);

        Assert.True(s.Published().IsAsWritten());
        Assert.InRange(s.Publications().Last().T - t, 0, 200);
    }

    // ---------------------------------------------------------------- restarts

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T37_Another_process_goes_on_where_the_first_one_was(int seed)
    {
        var s = new Simulation(seed, new() { Rate = 20, Jitter = 0.1 });
        s.Set(Backend.Refused, "e1");
        s.Run(s.T + 40);
        var t = s.T;
        s.Restart();
        s.Run(t + 60);

        Assert.Equal(0, s.Changes(t));
        Assert.True(s.Published().Has("e1", PublishedStatus.Unhealthy));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T69_A_restart_after_a_thaw_changes_nothing(int seed)
    {
        var s = new Simulation(seed, new() { Rate = 60, External = true });
        s.AddObserver("own", "a", isOurs: true);
        var t = s.T;
        s.Set(Backend.Refused, First);
        s.Run(t + 28);
        Assert.True(AllUnhealthy(First)(s.Published()));
        s.Restart();
        s.Run(t + 60);

        Assert.Equal(0, s.Changes(t + 28));
    }

    [Fact]
    public void A_restart_in_the_middle_of_a_freeze_keeps_the_freeze()
    {
        var s = new Simulation(1);
        var t = s.T;
        s.Set(Backend.Error500, First);
        s.Run(t + 15);
        Assert.All(First, id => Assert.Equal(HealthGuard.MassFreeze, s.Explain(id).Guards[0].Guard));
        s.Restart();
        s.Run(t + 60);

        Assert.Equal(0, s.Changes(t + 15));
        Assert.NotNull(s.Aggregator.Explain("u")!.FrozenSince);
    }
}
