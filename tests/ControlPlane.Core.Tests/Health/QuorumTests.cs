using ControlPlane.Core.Health;
using CsCheck;

namespace ControlPlane.Core.Tests.Health;

/// <summary>The quorum of section 4.3: the 18 % rule, zone balance, and what few observers may decide.</summary>
public sealed class QuorumTests
{
    /// <summary>T47: passes needed among n observers of one zone so that they do not vote down: ⌊0.18·n⌋ + 1.</summary>
    [Fact]
    public void T47_The_18_percent_rule_for_one_to_twenty_observers()
    {
        int[] needed = [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4];
        for (var n = 1; n <= 20; n++)
        {
            for (var passes = 0; passes <= n; passes++)
            {
                // One or two are too few for a quorum: all must fail it, and more often.
                var vote = Vote(Enumerable.Range(0, n).Select(k => ("a", k < passes)), failures: n < 3 ? 5 : 3);
                var expected =
                    passes < needed[n - 1] ? ActiveVote.Down
                    : 2 * passes < n ? ActiveVote.Partial
                    : ActiveVote.Up;

                Assert.Equal((n, passes, expected), (n, passes, vote.Vote));
            }
        }
    }

    [Fact]
    public void Zones_count_alike_whatever_their_size()
    {
        // 9 of 1000, 0 of 3, 3 of 3: raw 1.2 %, balanced 33.6 %.
        var opinions = Enumerable
            .Range(0, 1000)
            .Select(k => ("a", k < 9))
            .Concat(Enumerable.Range(0, 3).Select(_ => ("b", false)))
            .Concat(Enumerable.Range(0, 3).Select(_ => ("c", true)));
        var (vote, share) = Vote(opinions);

        Assert.Equal(0.336, share, 3);
        Assert.Equal(ActiveVote.Partial, vote);
    }

    [Theory]
    [InlineData("FF PP PP", 0.667, nameof(ActiveVote.Partial))] // up but for zone a, which fails it whole
    [InlineData("FF FF PF", 0.167, nameof(ActiveVote.Down))]
    [InlineData("FF FF PP", 0.333, nameof(ActiveVote.Partial))]
    [InlineData("FF FF PPPPPPPPPPPPPPPPPPPPPF", 0.318, nameof(ActiveVote.Partial))] // twenty more that pass do not outvote two zones
    [InlineData("P F", 0.5, nameof(ActiveVote.Partial))]
    [InlineData("PFF", 0.333, nameof(ActiveVote.Partial))]
    [InlineData("PPF", 0.667, nameof(ActiveVote.Up))]
    [InlineData("PPP", 1, nameof(ActiveVote.Up))]
    public void The_traces_of_the_design(string zones, double share, string expected)
    {
        var opinions = zones.Split(' ').SelectMany((zone, z) => zone.Select(c => ($"z{z}", c == 'P')));
        var (vote, actual) = Vote(opinions);

        Assert.Equal(share, actual, 3);
        Assert.Equal(expected, vote.ToString());
    }

    [Fact]
    public void More_passes_never_make_a_vote_worse() =>
        Gen.Select(Gen.Int[0, 3], Gen.Bool)
            .Array[3, 12]
            .Sample(observers =>
            {
                var before = Vote(observers.Select(o => ($"z{o.Item1}", o.Item2)));
                for (var i = 0; i < observers.Length; i++)
                {
                    var better = observers.Select((o, k) => ($"z{o.Item1}", o.Item2 || k == i));
                    Assert.True(Rank(Vote(better).Vote) >= Rank(before.Vote), "one more pass made it worse");
                }
            });

    private static int Rank(ActiveVote vote) =>
        vote switch
        {
            ActiveVote.Down => 0,
            ActiveVote.Partial or ActiveVote.Suspect => 1,
            _ => 2,
        };

    [Fact]
    public void A_strict_quorum_lets_too_few_observers_take_nobody_out()
    {
        var s = new Simulation(
            1,
            new()
            {
                Endpoints = 3,
                Zones = [""],
                ObserversPerZone = 1,
                Policy = HealthPolicy.Default with { QuorumMode = QuorumMode.Strict },
            }
        );
        s.Set(Backend.Refused, "e1");
        s.Run(s.T + 60);

        Assert.Equal((HealthState.Suspect, HealthRule.TooFewObservers), (s.Explain("e1").State, s.Explain("e1").Rule));
        Assert.True(s.Published().Has("e1", PublishedStatus.Healthy));
    }

    /// <summary>The vote about an endpoint that was UP before its observers said this.</summary>
    private static (ActiveVote Vote, double Share) Vote(IEnumerable<(string Zone, bool Passes)> observers, int failures = 3)
    {
        var aggregator = new HealthAggregator();
        aggregator.SetUpstream("u", HealthPolicy.Default, [new() { Id = "x" }], Simulation.Time(0));
        var list = observers.Select((o, k) => (Author: $"o{k}", o.Zone, o.Passes)).ToList();
        foreach (var passes in new[] { true, false })
        {
            foreach (var (author, zone, _) in list.Where(o => passes || !o.Passes))
            {
                for (var k = 0; k < (passes ? 1 : failures); k++)
                {
                    aggregator.Ledger.Record(
                        new CheckResult
                        {
                            Upstream = "u",
                            Endpoint = "x",
                            Author = author,
                            Zone = zone,
                            Passed = passes,
                            Class = passes ? FailureClass.None : FailureClass.Timeout,
                            TimeToLive = TimeSpan.FromSeconds(17),
                        },
                        Simulation.Time(0)
                    );
                }
            }
            aggregator.Evaluate(Simulation.Time(passes ? 0.5 : 1));
        }
        var e = aggregator.Find("u")!.Find("x")!;
        return (e.Vote, e.Share);
    }
}
