using System.Collections.Immutable;
using ControlPlane.Core.Health;
using static ControlPlane.Core.Tests.Health.SimulationReading;

namespace ControlPlane.Core.Tests.Health;

/// <summary>Endpoints that stop, one or many; rows of the test plan in section 6 of the health design, by their numbers.</summary>
public sealed class OutageScenarios
{
    private static readonly ImmutableArray<string> Four = ["e0", "e1", "e2", "e3"];

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T1_A_backend_that_stops_listening_alone_becomes_unhealthy(int seed)
    {
        var s = new Simulation(seed);
        var t = s.T;
        s.Set(Backend.Refused, "e1");
        s.Run(t + 20);

        s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(RefusedBound);
        Assert.Equal(1, s.Changes(t));
        var why = s.Explain("e1");
        Assert.Equal((HealthState.Down, HealthRule.ActiveQuorum, HealthCause.Active, true), (why.State, why.Rule, why.Cause, why.IsHard));
        Assert.Equal(0, why.Active.Share);
        Assert.Equal(["a", "b", "c"], why.Active.Zones.Select(z => z.Zone));
        Assert.All(why.Active.Zones, z => Assert.Equal((0, 2), (z.Passing, z.Failing)));
        Assert.Equal(5, why.Active.Evidence.Length);
        Assert.All(why.Active.Evidence, r => Assert.Equal(("FAIL", FailureClass.Refused), (r.Verdict, r.Class)));
        Assert.Empty(why.Guards);
        Assert.Equal(1000, why.Penalty, 200.0);
        Assert.Matches(
            "^e1 is UNHEALTHY since .*: 6 of 6 observers in 3 zones fail it \\(connection refused\\) \\(rule 5, hard\\)\\.$",
            why.Sentence
        );
        Assert.Equal("5 of 6 endpoints of u take requests; 1 condemned: e1 (connection refused).", s.Aggregator.Explain("u")!.Sentence);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T2_A_blackholed_backend_becomes_unhealthy_with_class_timeout(int seed)
    {
        var s = new Simulation(seed);
        var t = s.T;
        s.Set(Backend.Blackhole, "e1");
        s.Run(t + 30);

        s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(TimeoutBound);
        Assert.All(s.Explain("e1").Active.Evidence, r => Assert.Equal(FailureClass.Timeout, r.Class));
        Assert.False(s.Explain("e1").IsHard);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T4_A_backend_whose_check_answers_500_becomes_unhealthy(int seed)
    {
        var s = new Simulation(seed);
        var t = s.T;
        s.Set(Backend.Error500, "e1");
        s.Run(t + 20);

        s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(RefusedBound);
        Assert.Contains("(unexpected status: HTTP 500)", s.Explain("e1").Sentence, StringComparison.Ordinal);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T6_A_backend_that_recovers_is_ramped(int seed)
    {
        var s = new Simulation(seed);
        s.Set(Backend.Refused, "e1");
        s.Run(s.T + 30);
        var t = s.T;
        s.Set(Backend.Ok, "e1");
        var during = new List<EndpointExplanation>();
        s.At(t + 20, () => during.Add(s.Explain("e1")));
        s.Run(t + 90);

        s.When(t, Is("e1", PublishedStatus.Healthy)).ShouldBeWithin(RecoveryBound);
        s.When(t, p => p.IsAsWritten()).ShouldBeWithin(67.5);
        Assert.Equal<ulong>([10, 25, 50, 75, 1], s.Publications(t).Select(p => p.Endpoints.Of("e1")!.Value.Weight));
        Assert.Equal(HealthState.Probation, during[0].State);
        Assert.Equal(HealthGuard.Ramp, during[0].Guards.Single().Guard);
        Assert.Equal("UP at full weight", during[0].Next!.Text);
    }

    [Theory, InlineData(1, 0), InlineData(2, 0), InlineData(3, 0), InlineData(1, 60), InlineData(2, 60), InlineData(3, 60)]
    public void T8_When_all_backends_stop_nothing_is_emptied_and_it_is_one_incident(int seed, double rate)
    {
        var s = new Simulation(seed, new() { Rate = rate });
        var t = s.T;
        s.Set(Backend.Refused, s.Registry.Keys);
        UpstreamExplanation? frozen = null;
        s.At(t + RefusedBound, () => frozen = s.Aggregator.Explain("u"));
        s.Run(t + RefusedBound);
        Assert.True(s.Published().IsEqual());
        s.Run(t + 130);

        Assert.All(s.Publications(t + RefusedBound), p => Assert.True(p.Endpoints.IsEqual()));
        Assert.True(s.Publications(t).Max(p => p.Endpoints.Count(PublishedStatus.Unhealthy)) <= 2, "more than one zone was out");
        Assert.Contains(s.Incidents, i => i.Incident is { Kind: IncidentKind.MassFreeze, IsOn: true });
        Assert.Matches("^6 of 6 endpoints of u were condemned at once: 6 \\(connection refused\\)\\. Guard G6", frozen!.Sentence);
        Assert.All(frozen.Endpoints, e => Assert.Equal((HealthGuard.MassFreeze, "UNHEALTHY"), (e.Guards[0].Guard, e.Guards[0].Overruled)));
        Assert.Matches("^All 6 endpoints of u have failed: 6 \\(connection refused\\)\\. .*SPRAY", s.Aggregator.Explain("u")!.Sentence);
        Assert.Empty(s.BrokenInvariants);
    }

    [Theory]
    [InlineData(1, nameof(Backend.Refused), 60, RefusedBound, 4, RefusedBound + 20)]
    [InlineData(2, nameof(Backend.Refused), 60, RefusedBound, 4, RefusedBound + 20)]
    [InlineData(1, nameof(Backend.Error500), 60, 20, 4, 35)]
    [InlineData(2, nameof(Backend.Error500), 60, 20, 4, 35)]
    [InlineData(1, nameof(Backend.Refused), 0, RefusedBound, 4, RefusedBound + 61)]
    [InlineData(2, nameof(Backend.Refused), 0, RefusedBound, 4, RefusedBound + 61)]
    [InlineData(1, nameof(Backend.Error500), 0, RefusedBound, 2, RefusedBound + 71)]
    [InlineData(2, nameof(Backend.Error500), 0, RefusedBound, 2, RefusedBound + 71)]
    public void T9_Four_of_six_that_fail_are_first_demoted_then_removed_as_far_as_the_evidence_goes(
        int seed,
        string mode,
        double rate,
        double demotedBy,
        int removed,
        double removedBy
    )
    {
        var s = new Simulation(seed, new() { Rate = rate });
        var t = s.T;
        s.Set(Enum.Parse<Backend>(mode), Four);
        s.Run(t + 150);

        s.When(t, p => Four.All(id => p.Has(id, PublishedStatus.Healthy, 10))).ShouldBeWithin(demotedBy);
        s.When(t, p => p.Count(PublishedStatus.Unhealthy) == removed).ShouldBeWithin(removedBy);
        Assert.Equal(removed, s.Published().Count(PublishedStatus.Unhealthy));
        foreach (var kept in s.Published().Where(p => Four.Contains(p.Id) && p.Status == PublishedStatus.Healthy))
        {
            Assert.Equal((HealthGuard.MinimumHealthy, 10ul), (s.Explain(kept.Id).Guards[0].Guard, kept.Weight));
        }
    }

    [Fact]
    public void T10_The_only_endpoint_is_never_removed_by_inference()
    {
        var s = new Simulation(1, new() { Endpoints = 1, Rate = 60 });
        var t = s.T;
        s.Set(Backend.Refused, "e0");
        s.Run(t + 150);

        Assert.All(s.Publications(), p => Assert.True(p.Endpoints.Has("e0", PublishedStatus.Healthy)));
        Assert.Contains(HealthLint.SingleEndpoint, s.Explain("e0").Lints);
        Assert.Matches("^The only endpoint of u has failed: e0 \\(connection refused\\)\\.", s.Aggregator.Explain("u")!.Sentence);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T23_A_wrong_health_path_is_vetoed_by_traffic_that_succeeds(int seed)
    {
        var s = new Simulation(seed, new() { Rate = 60 });
        var t = s.T;
        s.Set(Backend.WrongPath, "e1");
        s.Run(t + 120);

        Assert.Equal(0, s.Changes(t));
        var why = s.Explain("e1");
        Assert.Equal((HealthState.Suspect, HealthRule.TrafficVeto), (why.State, why.Rule));
        Assert.Contains(HealthLint.CheckDisagreesWithTraffic, why.Lints);
        Assert.Matches(
            "^e1 stays HEALTHY although 6 of 6 observers .*HTTP 404.*so the check is wrong, not the endpoint \\(rule 4\\)\\.$",
            why.Sentence
        );
        Assert.Equal(
            "6 of 6 endpoints of u take requests; e1 failed by checks while requests succeed, so the checks are in doubt (rule 4).",
            s.Aggregator.Explain("u")!.Sentence
        );
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T24_A_wrong_health_path_everywhere_leaves_all_as_the_user_wrote_them(int seed)
    {
        var s = new Simulation(seed);
        var t = s.T;
        s.Set(Backend.WrongPath, s.Registry.Keys);
        s.Run(t + 120);

        Assert.True(s.Published().IsEqual());
        Assert.All(s.Publications(t + RefusedBound), p => Assert.True(p.Endpoints.IsEqual()));
        Assert.Contains(s.Incidents, i => i.Incident is { Kind: IncidentKind.MassFreeze, IsOn: true });
    }

    [Fact]
    public void T42_A_certificate_that_expires_makes_its_backend_unhealthy_and_says_so()
    {
        var s = new Simulation(1);
        var t = s.T;
        s.Set(Backend.Tls, "e1");
        s.Run(t + 20);

        s.When(t, Is("e1", PublishedStatus.Unhealthy)).ShouldBeWithin(RefusedBound);
        Assert.Contains("(TLS failed: certificate has expired)", s.Explain("e1").Sentence, StringComparison.Ordinal);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T60_Dead_endpoints_stay_out_when_the_check_of_the_last_good_one_breaks(int seed)
    {
        var s = new Simulation(
            seed,
            new()
            {
                Endpoints = 3,
                Rate = 0.5,
                Jitter = 0.1,
            }
        );
        s.Set(Backend.Refused, "e0", "e1");
        s.Run(s.T + 150);
        var t = s.T;
        s.Set(Backend.WrongPath, "e2");
        s.Run(t + 200);

        Assert.Equal(0, s.FailingBetween(t, t + 200));
        Assert.True(s.Published().Has("e2", PublishedStatus.Healthy));
    }

    [Fact]
    public void T61_While_the_last_good_one_flaps_the_dead_get_traffic_only_when_nothing_passes()
    {
        var s = new Simulation(1, new() { Endpoints = 3, Rate = 60 });
        s.Set(Backend.Refused, "e0");
        s.Run(s.T + 60);
        s.Set(Backend.Refused, "e1");
        s.Run(s.T + 60);
        var t = s.T;
        s.Flap("e2", 10, 10, t, t + 300);
        s.Run(t + 300);

        Assert.InRange(s.FailingBetween(t, t + 300), 0, 0.6); // half of the requests are its own failures
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T62_After_a_total_outage_the_first_one_back_takes_all_the_traffic(int seed)
    {
        var s = new Simulation(seed, new() { Rate = 60, Jitter = 0.1 });
        s.Set(Backend.Refused, s.Registry.Keys);
        s.Run(s.T + 120);
        var t = s.T;
        for (var j = 0; j < 6; j++)
        {
            var id = $"e{j}";
            s.At(t + (20 * j), () => s.Set(Backend.Ok, id));
        }
        s.Run(t + 120);

        s.When(t, p => p.Has("e0", PublishedStatus.Healthy) && p.Count(PublishedStatus.Unhealthy) == 5).ShouldBeWithin(RecoveryBound + 0.5);
        Assert.InRange(s.FailingBetween(t + 8, t + 120), 0, 0.02);
    }

    [Fact]
    public void T70_A_heavy_endpoint_in_a_freeze_gets_a_tenth_of_the_lightest_good_one()
    {
        var s = new Simulation(1, new() { Endpoints = 3, Rate = 60 });
        foreach (var (id, weight) in new[] { ("e0", 90u), ("e1", 5u), ("e2", 5u) })
        {
            s.Registry[id] = s.Registry[id] with { Weight = weight };
        }
        s.Register();
        s.Run(s.T + 10);
        var t = s.T;
        s.Set(Backend.Refused, "e0", "e1");
        s.Run(t + 60);

        Assert.Contains(
            s.Publications(t),
            p => p.Endpoints.Has("e0", PublishedStatus.Healthy, 50) && p.Endpoints.Has("e2", PublishedStatus.Healthy, 500)
        );
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void T72_The_silence_that_local_ejections_cause_does_not_end_an_agreement(int seed)
    {
        var s = new Simulation(
            seed,
            new()
            {
                Rate = 60,
                Reflex = true,
                Jitter = 0.1,
            }
        );
        var t = s.T;
        s.Set(Backend.Refused, Four);
        s.Run(t + 80);

        s.When(t, AllUnhealthy(Four)).ShouldBeWithin(45);
    }

    [Fact]
    public void FAIL_FAST_is_the_only_policy_that_empties_an_upstream()
    {
        var s = new Simulation(1, new() { Policy = HealthPolicy.Default with { OnTotalFailure = TotalFailurePolicy.FailFast } });
        s.Set(Backend.Refused, s.Registry.Keys);
        s.Run(s.T + 150);

        Assert.Equal(6, s.Published().Count(PublishedStatus.Unhealthy));
        Assert.Contains(s.Incidents, i => i.Incident is { Kind: IncidentKind.TotalFailure, IsOn: true });
    }

    [Fact]
    public void A_load_balancer_without_weights_is_told_DEGRADED_of_what_a_guard_keeps()
    {
        var s = new Simulation(1, new() { Policy = HealthPolicy.Default with { IgnoresWeights = true } });
        s.Set(Backend.Error500, Four);
        s.Run(s.T + 150);

        Assert.Equal(2, s.Published().Count(PublishedStatus.Degraded));
        Assert.Equal(2, s.Published().Count(PublishedStatus.Unhealthy));
        Assert.Equal(2, s.Published().Count(PublishedStatus.Healthy));
    }
}
