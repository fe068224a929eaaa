using System.Collections.Immutable;
using ControlPlane.Core.Health;

namespace ControlPlane.Core.Tests.Health;

/// <summary>What the ledger takes, what it drops, and what it forgets.</summary>
public sealed class EvidenceLedgerTests
{
    private readonly HealthAggregator _aggregator = new();
    private double _t = 1;

    public EvidenceLedgerTests()
    {
        _aggregator.SetUpstream("u", HealthPolicy.Default, [new() { Id = "x" }, new() { Id = "y" }, new() { Id = "z" }], Now);
        _aggregator.Ledger.Connect("a1", "a", isOurs: true, Now);
    }

    private DateTimeOffset Now => Simulation.Time(_t);

    private EvidenceOutcome Check(
        string author = "a1",
        string upstream = "u",
        string endpoint = "x",
        bool passed = true,
        double ttl = 17,
        string digest = "",
        FailureClass failure = FailureClass.Refused,
        string zone = "a"
    ) =>
        _aggregator.Ledger.Record(
            new CheckResult
            {
                Upstream = upstream,
                Endpoint = endpoint,
                Author = author,
                Zone = zone,
                Passed = passed,
                Class = passed ? FailureClass.None : failure,
                TimeToLive = TimeSpan.FromSeconds(ttl),
                CheckDigest = digest,
            },
            Now
        );

    private EvidenceOutcome Load(string envoy, params ImmutableArray<EndpointLoad> loads) =>
        _aggregator.Ledger.Record(
            new LoadReport
            {
                Upstream = "u",
                Author = envoy,
                Interval = TimeSpan.FromSeconds(10),
                Endpoints = loads,
            },
            Now
        );

    [Fact]
    public void An_order_acts_as_long_as_the_wall_clock_says_also_after_the_clock_was_set_back()
    {
        Evaluate(86_400);
        Evaluate(-86_400);
        Assert.Equal(EvidenceOutcome.Accepted, OrderUnhealthy());
        Evaluate();
        var why = _aggregator.ExplainEndpoint("u", "x")!;
        Assert.Equal((PublishedStatus.Unhealthy, OverrideOrder.ForceUnhealthy), (why.Status, why.Override?.Order));
        Evaluate(61);
        Assert.Null(_aggregator.ExplainEndpoint("u", "x")!.Override);
    }

    [Fact]
    public void An_order_that_a_glitch_of_the_clock_ended_acts_again_when_the_clock_is_right()
    {
        Assert.Equal(EvidenceOutcome.Accepted, OrderUnhealthy());
        Evaluate();
        Evaluate(86_400);
        Evaluate(-86_400);
        Assert.Equal(OverrideOrder.ForceUnhealthy, _aggregator.ExplainEndpoint("u", "x")!.Override?.Order);
    }

    [Fact]
    public void What_was_remembered_by_a_clock_that_ran_ahead_holds_nothing_out_longer_than_from_now()
    {
        Evaluate();
        var memory = _aggregator.Remember("u")!;
        var x = memory.Endpoints[0] with { Penalty = 1000, PenaltyAt = Now.AddDays(1), Since = Now.AddDays(1), UpSince = Now.AddDays(1) };
        _aggregator.Restore("u", memory with { Endpoints = [x] }, Now);
        var restored = _aggregator.Remember("u")!.Endpoints[0];
        Assert.Equal((Now, Now, Now, 1000), (restored.PenaltyAt, restored.Since, restored.UpSince, restored.Penalty));
    }

    private EvidenceOutcome OrderUnhealthy() =>
        _aggregator.Ledger.Record(
            new Override
            {
                Upstream = "u",
                Endpoint = "x",
                Author = "alice",
                Order = OverrideOrder.ForceUnhealthy,
                StartedAt = Now,
                ExpiresAt = Now.AddSeconds(60),
            },
            Now
        );

    private HealthChanges Evaluate(double seconds = 0.5)
    {
        _t += seconds;
        return _aggregator.Evaluate(Now);
    }

    [Fact]
    public void Zones_that_one_author_makes_up_take_no_place_from_those_of_others()
    {
        for (var i = 0; i < EvidenceLedger.MaxZones; i++)
        {
            Assert.Equal(EvidenceOutcome.Accepted, Check("liar", zone: $"made-up-{i}"));
        }
        Check("honest", zone: "real");
        Evaluate();
        Assert.Equal(["", "real"], ZonesOf("x"));
    }

    [Fact]
    public void Zones_in_which_nothing_stands_any_more_make_room_for_others()
    {
        for (var i = 0; i < EvidenceLedger.MaxZones; i++)
        {
            Check($"c{i / 10}", zone: $"old-{i}", ttl: 1);
        }
        Check("late", endpoint: "y", zone: "new");
        Evaluate();
        Assert.Equal([""], ZonesOf("y"));
        for (var minutes = 0; minutes < 12; minutes++)
        {
            Evaluate(60);
        }
        Check("late", endpoint: "y", zone: "new");
        Check("c0", endpoint: "y", zone: "newer");
        Evaluate();
        Assert.Equal(["new", "newer"], ZonesOf("y"));
    }

    private IEnumerable<string> ZonesOf(string endpoint) => _aggregator.ExplainEndpoint("u", endpoint)!.Active.Zones.Select(z => z.Zone);

    [Fact]
    public void Evidence_about_what_is_not_there_is_dropped_and_says_so()
    {
        Assert.Equal(EvidenceOutcome.UnknownUpstream, Check(upstream: "other"));
        Assert.Equal(EvidenceOutcome.UnknownEndpoint, Check(endpoint: "other"));
        Assert.Equal(EvidenceOutcome.Expired, Check(ttl: 0));
        Assert.Equal(EvidenceOutcome.Expired, Check(ttl: -1));
        Assert.Equal(EvidenceOutcome.Accepted, Check());
    }

    [Fact]
    public void Evidence_of_a_check_that_was_changed_is_dropped_also_what_was_there()
    {
        _aggregator.SetUpstream("u", HealthPolicy.Default with { CheckDigest = "one" }, [new() { Id = "x" }], Now);
        Assert.Equal(EvidenceOutcome.OutdatedCheck, Check(digest: "two"));
        Assert.Equal(EvidenceOutcome.Accepted, Check(digest: "one"));
        Evaluate();
        Assert.Equal(1, _aggregator.ExplainEndpoint("u", "x")!.Active.Share);

        _aggregator.SetUpstream("u", HealthPolicy.Default with { CheckDigest = "two" }, [new() { Id = "x" }], Now);
        Evaluate();
        var why = _aggregator.ExplainEndpoint("u", "x")!;
        Assert.Null(why.Active.Share);
        Assert.Equal(PublishedStatus.Healthy, why.Status); // unknown is not bad
    }

    [Fact]
    public void What_has_expired_is_unknown_and_changes_nothing()
    {
        foreach (var endpoint in new[] { "x", "y", "z" })
        {
            Check(endpoint: endpoint);
        }
        Evaluate();
        Evaluate(60);
        var why = _aggregator.ExplainEndpoint("u", "x")!;

        Assert.Null(why.Active.Share);
        Assert.Equal((HealthState.Up, PublishedStatus.Healthy), (why.State, why.Status));
        Assert.Equal(HealthGuard.SourceLoss, Assert.Single(why.Guards).Guard);
    }

    [Fact]
    public void A_prober_of_ours_that_stopped_does_not_count_any_more_and_begins_anew_when_it_returns()
    {
        Check();
        Evaluate();
        _aggregator.Ledger.Disconnect("a1");
        Assert.Equal(EvidenceOutcome.Disconnected, Check());
        Evaluate();
        Assert.Null(_aggregator.ExplainEndpoint("u", "x")!.Active.Share);

        _aggregator.Ledger.Connect("a1", "a", isOurs: true, Now);
        Evaluate();
        Assert.Equal(1, _aggregator.ExplainEndpoint("u", "x")!.Active.Share);
    }

    [Fact]
    public void An_outside_observers_time_to_live_is_cut_at_ten_minutes()
    {
        Check("ext", ttl: 86_400);
        Evaluate();
        Evaluate(599);
        Assert.NotNull(_aggregator.ExplainEndpoint("u", "x")!.Active.Share);
        Evaluate(2);
        Assert.Null(_aggregator.ExplainEndpoint("u", "x")!.Active.Share);
    }

    [Fact]
    public void A_shorter_time_to_live_is_noticed_though_a_longer_one_was_there()
    {
        Check("ext", ttl: 500);
        Evaluate();
        Check("ext", ttl: 5);
        Evaluate();
        Evaluate(6);

        Assert.Null(_aggregator.ExplainEndpoint("u", "x")!.Active.Share);
    }

    [Fact]
    public void A_refusal_that_completes_a_FAIL_is_urgent()
    {
        Check();
        Evaluate();
        Check(passed: false);
        Check(passed: false);
        Assert.False(_aggregator.Ledger.IsUrgent);
        Check(passed: false);
        Assert.True(_aggregator.Ledger.IsUrgent);
    }

    [Fact]
    public void Load_reports_with_nonsense_in_them_count_only_what_makes_sense()
    {
        foreach (var endpoint in new[] { "x", "y", "z" })
        {
            Check(endpoint: endpoint);
        }
        Evaluate();
        var unknown = Enumerable.Range(0, 10_000).Select(k => new EndpointLoad($"unknown{k}", 5, 5));
        Assert.Equal(EvidenceOutcome.Accepted, Load("v0", [new("x", -5, 100), new("y", 10, -1), new("z", long.MaxValue, 1), .. unknown]));
        Assert.Equal(EvidenceOutcome.Accepted, Load("v1", [new("x", 7, 0), new("x", 3, 2)]));
        for (var k = 0; k < 30; k++)
        {
            Evaluate();
        }

        Assert.Equal((12L, 2L), Traffic("x"));
        Assert.Equal((0L, 0L), Traffic("y"));
        Assert.Equal((uint.MaxValue + 1L, 1L), Traffic("z"));

        (long, long) Traffic(string endpoint) =>
            (_aggregator.ExplainEndpoint("u", endpoint)!.Traffic.Requests, _aggregator.ExplainEndpoint("u", endpoint)!.Traffic.Errors);
    }

    [Fact]
    public void An_Envoy_that_sends_nothing_here_leaves_no_trace_and_one_that_falls_silent_is_forgotten()
    {
        Load("idle");
        Assert.Empty(_aggregator.Find("u")!.Evidence.Reporters);
        Load("v0", new EndpointLoad("x", 10, 0));
        Assert.Single(_aggregator.Find("u")!.Evidence.Reporters);
        for (var k = 0; k < 200; k++)
        {
            Evaluate();
        }
        Assert.Empty(_aggregator.Find("u")!.Evidence.Reporters);
        Assert.False(_aggregator.Find("u")!.Evidence.HasTraffic);
    }

    [Fact]
    public void An_outside_observer_that_is_silent_for_an_hour_is_forgotten()
    {
        Check("ext", ttl: 60);
        Evaluate();
        Assert.True(_aggregator.Ledger.TryFind("ext", out _));
        Evaluate(3700);
        Assert.False(_aggregator.Ledger.TryFind("ext", out _));
        Check("ext2", ttl: 60);
        Evaluate();
        Assert.Equal(
            ["a1", "ext2"],
            _aggregator.Find("u")!.Find("x")!.Evidence.Opinions.Observers.ToArray().Select(o => o.Author).Append("a1").Distinct().Order()
        );
    }

    [Fact]
    public void More_authors_than_the_ledger_keeps_are_turned_away()
    {
        var outcomes = Enumerable.Range(0, EvidenceLedger.MaxAuthors + 10).Select(k => Check($"ext{k}")).ToList();

        Assert.Equal(11, outcomes.Count(o => o == EvidenceOutcome.TooManyAuthors));
        Assert.Equal(EvidenceOutcome.Accepted, Check("a1"));
    }

    [Fact]
    public void A_clock_that_jumps_condemns_nobody()
    {
        foreach (var endpoint in new[] { "x", "y", "z" })
        {
            Check(endpoint: endpoint);
        }
        Evaluate();
        foreach (var jump in new[] { -3600, 7200, -100, 86_400 })
        {
            Assert.Empty(Evaluate(jump).Publications);
            Check();
            Assert.Empty(Evaluate().Publications);
        }
    }

    [Fact]
    public void An_order_that_has_ended_is_not_taken_and_the_newest_one_counts()
    {
        Check();
        Evaluate();
        Assert.Equal(EvidenceOutcome.Expired, Order(OverrideOrder.Disable, -1));
        Assert.Equal(EvidenceOutcome.Accepted, Order(OverrideOrder.Disable, 60));
        Assert.Equal(EvidenceOutcome.Accepted, Order(OverrideOrder.ForceUnhealthy, 60));
        Evaluate();
        Assert.Equal(PublishedStatus.Unhealthy, _aggregator.ExplainEndpoint("u", "x")!.Status);
        _aggregator.Ledger.ClearOverride("u", "x");
        Evaluate();
        Assert.Equal(PublishedStatus.Healthy, _aggregator.ExplainEndpoint("u", "x")!.Status);

        EvidenceOutcome Order(OverrideOrder order, double seconds) =>
            _aggregator.Ledger.Record(
                new Override
                {
                    Upstream = "u",
                    Endpoint = "x",
                    Author = "alice",
                    Order = order,
                    StartedAt = Now,
                    ExpiresAt = Now.AddSeconds(seconds),
                },
                Now
            );
    }

    [Fact]
    public void Evidence_stays_with_its_endpoint_when_the_list_changes()
    {
        foreach (var endpoint in new[] { "x", "y", "z" })
        {
            Check(endpoint: endpoint);
        }
        Load("v0", new("x", 10, 0), new("y", 0, 20), new("z", 30, 0));
        Evaluate();
        _aggregator.SetUpstream("u", HealthPolicy.Default, [new() { Id = "z" }, new() { Id = "n" }, new() { Id = "y" }], Now);
        for (var k = 0; k < 30; k++)
        {
            Evaluate();
        }

        Assert.Equal(30, _aggregator.ExplainEndpoint("u", "z")!.Traffic.Requests);
        Assert.Equal(20, _aggregator.ExplainEndpoint("u", "y")!.Traffic.Errors);
        Assert.Equal(0, _aggregator.ExplainEndpoint("u", "n")!.Traffic.Requests);
        Assert.Equal(["z", "y"], _aggregator.Published("u").Select(p => p.Id)); // n has not passed yet
        Assert.Null(_aggregator.ExplainEndpoint("u", "x"));
    }

    [Fact]
    public void An_upstream_that_is_removed_is_forgotten_with_all_that_was_known_of_it()
    {
        Check();
        Evaluate();
        _aggregator.RemoveUpstream("u");
        Evaluate();

        Assert.Null(_aggregator.Explain("u"));
        Assert.True(_aggregator.Published("u").IsDefault);
        Assert.Equal(EvidenceOutcome.UnknownUpstream, Check());
        Assert.Equal((0, 0, 0), (_aggregator.Fleet.Endpoints, _aggregator.Fleet.KnownEndpoints, _aggregator.Fleet.PassingEndpoints));
    }

    [Fact]
    public void Evaluating_when_nothing_changed_changes_nothing()
    {
        Check();
        Assert.NotSame(HealthChanges.None, Evaluate());
        Assert.Same(HealthChanges.None, Evaluate());
        Assert.Same(HealthChanges.None, Evaluate());
    }
}
