using System.Collections.Immutable;
using ControlPlane.Core.Health;
using CsCheck;

namespace ControlPlane.Core.Tests.Health;

/// <summary>What holds for any evidence, and what callers of the aggregator rely on.</summary>
public sealed class HealthAggregatorTests
{
    private static readonly DateTimeOffset Start = Simulation.Time(0);

    private static CheckResult Check(string author, string endpoint, FailureClass failure, string zone = "", string upstream = "u") =>
        new()
        {
            Upstream = upstream,
            Endpoint = endpoint,
            Author = author,
            Zone = zone,
            Passed = failure == FailureClass.None,
            Class = failure,
            TimeToLive = TimeSpan.FromSeconds(17),
        };

    [Fact]
    public void Evaluating_in_between_does_not_shorten_how_long_a_SOFT_verdict_must_hold()
    {
        var s = new Simulation(1, new() { Zones = [""], ObserversPerZone = 3 });
        var t = s.T;
        for (var k = 0; k < 3; k++)
        {
            foreach (var author in s.Observers.Keys)
            {
                s.Report(author, "e1", passed: false, FailureClass.Timeout);
            }
        }
        for (var k = 0; k < 20; k++)
        {
            s.Aggregator.Evaluate(Simulation.Time(t + (0.01 * k)));
        }
        Assert.Equal(HealthState.Up, s.Explain("e1").State);
        Assert.Equal("DOWN, if the evidence stays as it is", s.Explain("e1").Next!.Text);

        s.Aggregator.Evaluate(Simulation.Time(t + 0.5));
        Assert.Equal(HealthState.Down, s.Explain("e1").State);
    }

    [Fact]
    public void A_HARD_verdict_goes_out_with_the_evidence_that_made_it_and_is_urgent()
    {
        var s = new Simulation(1);
        for (var k = 0; k < 3; k++)
        {
            foreach (var author in s.Observers.Keys)
            {
                s.Report(author, "e1", passed: false, FailureClass.Unreachable);
            }
        }
        Assert.True(s.Aggregator.Ledger.IsUrgent);
        var publication = Assert.Single(s.Aggregator.Evaluate(Simulation.Time(s.T + 0.01)).Publications);

        Assert.True(publication.IsUrgent);
        Assert.True(publication.Endpoints.Has("e1", PublishedStatus.Unhealthy));
    }

    [Fact]
    public void T43_A_wrong_SNI_everywhere_leaves_routing_as_it_is()
    {
        var s = new Simulation(1);
        var t = s.T;
        s.Set(Backend.Tls, s.Registry.Keys);
        s.Run(t + 120);

        Assert.All(s.Publications(t + SimulationReading.RefusedBound), p => Assert.True(p.Endpoints.IsEqual()));
        Assert.Contains("(TLS failed)", s.Aggregator.Explain("u")!.Sentence, StringComparison.Ordinal);
    }

    [Fact]
    public void The_velocity_guard_lets_one_of_ten_go_and_then_the_next()
    {
        var s = new Simulation(1, new() { Endpoints = 10 });
        s.Set(Backend.Blackhole, "e0", "e1", "e2");
        var queued = new List<GuardExplanation>();
        s.OnTick.Add(() =>
            queued.AddRange(new[] { "e0", "e1", "e2" }.SelectMany(id => s.Explain(id).Guards).Where(g => g.Guard == HealthGuard.Velocity))
        );
        var t = s.T;
        s.Run(t + 60);

        var times = Enumerable.Range(1, 3).Select(k => s.When(t, p => p.Count(PublishedStatus.Unhealthy) == k)!.Value).ToList();
        Assert.InRange(times[1] - times[0], 9.5, 13);
        Assert.InRange(times[2] - times[1], 9.5, 13);
        Assert.All(queued, g => Assert.Equal("UNHEALTHY", g.Overruled));
        Assert.NotEmpty(queued);
    }

    [Fact]
    public void An_author_that_speaks_from_many_zones_is_still_one_observer()
    {
        var aggregator = new HealthAggregator();
        aggregator.SetUpstream("u", HealthPolicy.Default, [new() { Id = "x" }, new() { Id = "y" }, new() { Id = "z" }], Start);
        foreach (var author in new[] { "b", "c" })
        {
            foreach (var endpoint in new[] { "x", "y", "z" })
            {
                aggregator.Ledger.Record(Check(author, endpoint, FailureClass.None, zone: author), Start);
            }
        }
        aggregator.Evaluate(Start);
        for (var k = 0; k < 30; k++)
        {
            aggregator.Ledger.Record(Check("liar", "x", FailureClass.Refused, zone: $"z{k}"), Start); // late: it counts as arriving now
            aggregator.Evaluate(Start.AddSeconds(0.1 * k));
        }
        var why = aggregator.ExplainEndpoint("u", "x")!;

        Assert.Equal(3, why.Active.Zones.Length);
        Assert.Equal(PublishedStatus.Healthy, why.Status);
    }

    [Fact]
    public void An_observer_that_doubts_itself_weighs_half()
    {
        var s = new Simulation(1, new() { Zones = [""], ObserversPerZone = 3 });
        s.Modes["1"] = ObserverMode.AllFail;
        s.Run(s.T + 15);
        Assert.Equal(2.0 / 3, s.Explain("e0").Active.Share!.Value, 9);

        s.Aggregator.Ledger.Doubt("1", 2, s.Now);
        Assert.Equal(3, s.Aggregator.TimeoutFactor("1", s.Now));
        s.Run(s.T + 1);
        Assert.Equal(2.0 / 2.5, s.Explain("e0").Active.Share!.Value, 9);
        s.Run(s.T + 32);
        Assert.Equal(1, s.Aggregator.TimeoutFactor("1", s.Now));
    }

    [Fact]
    public void A_list_that_names_an_endpoint_twice_is_refused_and_changes_nothing()
    {
        var aggregator = new HealthAggregator();
        aggregator.SetUpstream("u", HealthPolicy.Default, [new() { Id = "x" }], Start);

        var error = Assert.Throws<ArgumentException>(() =>
            aggregator.SetUpstream("u", HealthPolicy.Default, [new() { Id = "y" }, new() { Id = "y" }], Start)
        );
        Assert.StartsWith("Upstream u lists the endpoint y more than once.", error.Message, StringComparison.Ordinal);
        aggregator.Evaluate(Start);
        Assert.Equal(["x"], aggregator.Published("u").Select(e => e.Id));
    }

    [Fact]
    public void Weights_of_any_size_keep_their_ratios()
    {
        var aggregator = new HealthAggregator();
        aggregator.SetUpstream(
            "u",
            HealthPolicy.Default,
            [new() { Id = "x", Weight = uint.MaxValue }, new() { Id = "y", Weight = uint.MaxValue }],
            Start
        );
        foreach (var endpoint in new[] { "x", "y" })
        {
            aggregator.Ledger.Record(Check("o", endpoint, FailureClass.None), Start);
        }
        aggregator.Evaluate(Start);
        for (var k = 0; k < 5; k++)
        {
            aggregator.Ledger.Record(Check("o", "x", FailureClass.Timeout), Start);
            aggregator.Ledger.Record(Check("o", "y", FailureClass.Timeout), Start);
        }
        aggregator.Evaluate(Start.AddSeconds(1));
        aggregator.Evaluate(Start.AddSeconds(2));
        for (var k = 0; k < 2; k++)
        {
            aggregator.Ledger.Record(Check("o", "y", FailureClass.None), Start.AddSeconds(3));
        }
        aggregator.Evaluate(Start.AddSeconds(3));

        // x is condemned and kept beside y, which passes again.
        Assert.Equal([10ul * uint.MaxValue, 100ul * uint.MaxValue], aggregator.Published("u").Select(e => e.Weight));
    }

    [Fact]
    public void A_prober_is_asked_to_hurry_while_a_change_is_pending()
    {
        var s = new Simulation(1);
        Assert.False(s.Aggregator.ProbesAtEdge("a1", "u", "e0"));
        s.Report("a1", "e0", passed: false, FailureClass.Timeout);
        Assert.True(s.Aggregator.ProbesAtEdge("a1", "u", "e0"));
        s.Report("a1", "e0", passed: true);
        Assert.False(s.Aggregator.ProbesAtEdge("a1", "u", "e0"));
        Assert.True(s.Aggregator.ProbesAtEdge("nobody", "u", "e0"));
        s.Make("n", "a");
        s.Register();
        Assert.True(s.Aggregator.ProbesAtEdge("a1", "u", "n"));
    }

    private static readonly Gen<Action<Fuzz>> Operation = Gen.OneOf(
        Gen.Select(Gen.Int[0, 5], Gen.Int[0, 4], Gen.Enum<FailureClass>(), Gen.Int[-2, 700], Gen.Int[-9000, 9000])
            .Select(x => (Action<Fuzz>)(f => f.Check(x.Item1, x.Item2, x.Item3, x.Item4, x.Item5))),
        Gen.Select(Gen.Int[0, 5], Gen.Int[0, 4], Gen.Long, Gen.Long, Gen.Int[-50, 100_000])
            .Select(x => (Action<Fuzz>)(f => f.Load(x.Item1, x.Item2, x.Item3, x.Item4, x.Item5))),
        Gen.Select(Gen.Int[0, 4], Gen.Enum<OverrideOrder>(), Gen.Int[-5, 60])
            .Select(x => (Action<Fuzz>)(f => f.Order(x.Item1, x.Item2, x.Item3))),
        Gen.Int[0, 4].Array[0, 5].Select(x => (Action<Fuzz>)(f => f.Set(x))),
        Gen.Double[-3700, 3700].Select(x => (Action<Fuzz>)(f => f.Evaluate(x))),
        Gen.Const<Action<Fuzz>>(f => f.Evaluate(0.5)),
        Gen.Const<Action<Fuzz>>(f => f.Evaluate(0.5)),
        Gen.Const<Action<Fuzz>>(f => f.Restart())
    );

    [Fact]
    public void No_evidence_however_odd_empties_an_upstream_or_breaks_the_aggregator() =>
        Operation
            .Array[1, 60]
            .Sample(
                operations =>
                {
                    var fuzz = new Fuzz();
                    foreach (var operation in operations)
                    {
                        operation(fuzz);
                    }
                },
                iter: 2000
            );

    /// <summary>An aggregator under arbitrary input, watched.</summary>
    private sealed class Fuzz
    {
        private HealthAggregator _aggregator = new();
        private string[] _endpoints = ["e0", "e1", "e2"];
        private readonly HashSet<string> _ordered = [];
        private double _t = 10;

        public Fuzz()
        {
            _aggregator.Ledger.Connect("o0", "a", isOurs: true, Now);
            Set([0, 1, 2]);
        }

        private DateTimeOffset Now => Simulation.Time(_t);

        public void Set(int[] endpoints)
        {
            string[] ids = [.. endpoints.Distinct().Select(k => $"e{k}")];
            if (
                _aggregator.SetUpstream(
                    "u",
                    HealthPolicy.Default,
                    [
                        .. ids.Select(
                            (id, k) =>
                                new HealthTarget
                                {
                                    Id = id,
                                    Zone = $"{k % 2}",
                                    Priority = k / 3,
                                }
                        ),
                    ],
                    Now
                )
            )
            {
                _endpoints = ids;
            }
            else
            {
                Assert.Empty(ids);
            }
        }

        public void Check(int author, int endpoint, FailureClass failure, int ttl, int begun) =>
            _aggregator.Ledger.Record(
                new CheckResult
                {
                    Upstream = "u",
                    Endpoint = $"e{endpoint}",
                    Author = $"o{author}",
                    Zone = $"{author % 3}",
                    Passed = failure == FailureClass.None,
                    Class = failure,
                    TimeToLive = TimeSpan.FromSeconds(ttl),
                    BegunAt = Now.AddSeconds(begun),
                },
                Now
            );

        public void Load(int envoy, int endpoint, long successes, long errors, int interval) =>
            _aggregator.Ledger.Record(
                new LoadReport
                {
                    Upstream = "u",
                    Author = $"v{envoy}",
                    Zone = $"{envoy % 3}",
                    Interval = TimeSpan.FromSeconds(interval),
                    Endpoints = [new($"e{endpoint}", successes, errors), new("other", 1, 1), new($"e{endpoint}", 7, 30)],
                },
                Now
            );

        public void Order(int endpoint, OverrideOrder order, int seconds)
        {
            _ordered.Add($"e{endpoint}");
            _aggregator.Ledger.Record(
                new Override
                {
                    Upstream = "u",
                    Endpoint = $"e{endpoint}",
                    Author = "alice",
                    Order = order,
                    StartedAt = Now.AddSeconds(seconds),
                    ExpiresAt = Now.AddSeconds(10 * seconds),
                },
                Now
            );
        }

        public void Evaluate(double seconds)
        {
            _t += seconds;
            _aggregator.Evaluate(Now);
            var published = _aggregator.Published("u");

            Assert.False(published.IsDefault);
            Assert.All(published, e => Assert.True(e.Weight >= 1));
            Assert.Subset(_endpoints.ToHashSet(), published.Select(e => e.Id).ToHashSet());
            if (!_endpoints.Any(_ordered.Contains))
            {
                Assert.Contains(published, e => e.Status == PublishedStatus.Healthy);
            }
            Assert.All(_aggregator.Explain("u")!.Endpoints, e => Assert.NotEmpty(e.Sentence));
        }

        public void Restart()
        {
            var (fleet, memory) = (Stored.RoundTrip(_aggregator.Remember()), Stored.RoundTrip(_aggregator.Remember("u")!));
            _aggregator = new HealthAggregator();
            _aggregator.Restore(fleet, Now);
            _aggregator.SetUpstream(
                "u",
                HealthPolicy.Default,
                [
                    .. _endpoints.Select(
                        (id, k) =>
                            new HealthTarget
                            {
                                Id = id,
                                Zone = $"{k % 2}",
                                Priority = k / 3,
                            }
                    ),
                ],
                Now
            );
            _aggregator.Restore("u", memory, Now);
            _aggregator.Ledger.Connect("o0", "a", isOurs: true, Now);
        }
    }
}
