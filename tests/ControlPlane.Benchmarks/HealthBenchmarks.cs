using System.Collections.Immutable;
using BenchmarkDotNet.Attributes;
using ControlPlane.Core.Health;

namespace ControlPlane.Benchmarks;

/// <summary>
/// What it costs to decide the health of 100 000 endpoints: 5 000 upstreams of 20, six observers in three zones, four Envoys that report load to each.
/// Goals on one core: a pass in which everything changed ≤ 250 ms, one in which nothing did ≤ 5 ms.
/// </summary>
[MemoryDiagnoser]
public class HealthBenchmarks
{
    private const int Upstreams = 5_000;
    private const int EndpointsPerUpstream = 20;

    private static readonly string[] Zones = ["a", "b", "c"];
    private static readonly string[] Observers = ["a1", "b1", "c1", "a2", "b2", "c2"];
    private static readonly string[] Envoys = ["v0", "v1", "v2", "v3"];

    /// <summary>What is measured is a flap; damping would end it.</summary>
    private static readonly HealthPolicy Undamped = HealthPolicy.Default with { FlapDamping = new() { Suppress = double.MaxValue } };

    private readonly string[] _upstreams = [.. Enumerable.Range(0, Upstreams).Select(k => $"upstream-{k}")];
    private readonly string[] _endpoints = [.. Enumerable.Range(0, EndpointsPerUpstream).Select(k => $"10.0.0.{k}:8080")];
    private HealthAggregator _aggregator = null!;
    private DateTimeOffset _now;
    private bool _isFailing;

    private enum Mood
    {
        Good,
        Refused,
        OneZoneFails,
        FirstIsRefused,
    }

    /// <summary>Every endpoint is up, with fresh evidence.</summary>
    [GlobalSetup]
    public void Build()
    {
        _now = new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
        _aggregator = new HealthAggregator();
        for (var k = 0; k < Observers.Length; k++)
        {
            _aggregator.Ledger.Connect(Observers[k], Zones[k % 3], isOurs: true, _now);
        }
        foreach (var upstream in _upstreams)
        {
            var targets = _endpoints.Select((id, k) => new HealthTarget { Id = id, Zone = Zones[k % 3] });
            _aggregator.SetUpstream(upstream, Undamped, [.. targets], _now);
        }
        for (var k = 0; k < 8; k++)
        {
            Pass(seconds: 10);
            Probe(Mood.Good, times: 1);
            Report(Mood.Good);
            Evaluate();
        }
        _isFailing = false;
        Expect(Upstreams * EndpointsPerUpstream, HealthState.Up);
    }

    /// <summary>New evidence of both kinds about every endpoint, and the window of load reports is over: all are refused, or all come back.</summary>
    [IterationSetup(Target = nameof(EverythingFailsOrRecovers))]
    public void ChangeEverything()
    {
        _isFailing = !_isFailing;
        var mood = _isFailing ? Mood.Refused : Mood.Good;
        Pass(seconds: 10);
        Probe(mood, times: 3);
        Report(mood);
    }

    /// <summary>Every verdict changes.</summary>
    [Benchmark]
    [InvocationCount(1)]
    public int EverythingFailsOrRecovers() => Evaluate();

    /// <summary>New evidence of both kinds about every endpoint: one zone fails all, or passes all again; nobody's state is DOWN.</summary>
    [IterationSetup(Target = nameof(EveryEndpointIsDoubted))]
    public void ChangeOneZone()
    {
        _isFailing = !_isFailing;
        Pass(seconds: 10);
        Probe(_isFailing ? Mood.OneZoneFails : Mood.Good, times: 3);
        Report(Mood.Good);
    }

    /// <summary>Every verdict is PARTIAL, or up again.</summary>
    [Benchmark]
    [InvocationCount(1)]
    public int EveryEndpointIsDoubted() => Evaluate();

    /// <summary>The first endpoint of every upstream is refused, or comes back; the window of load reports is over.</summary>
    [IterationSetup(Target = nameof(EveryAssignmentChanges))]
    public void ChangeOneOfEach()
    {
        _isFailing = !_isFailing;
        Pass(seconds: 10);
        Probe(_isFailing ? Mood.FirstIsRefused : Mood.Good, times: 3);
        Report(Mood.Good);
    }

    /// <summary>A new assignment for each of 5 000 upstreams.</summary>
    [Benchmark]
    [InvocationCount(1)]
    public int EveryAssignmentChanges() => Evaluate();

    /// <summary>Every piece of evidence is renewed, and says what it said before.</summary>
    [IterationSetup(Target = nameof(EverythingIsRenewed))]
    public void RenewEverything()
    {
        Pass(seconds: 5);
        Probe(Mood.Good, times: 1);
    }

    /// <summary>An evaluation while everything is well.</summary>
    [Benchmark]
    [InvocationCount(1)]
    public int EverythingIsRenewed() => Evaluate();

    /// <summary>An evaluation in which nothing was said and no time has come.</summary>
    [Benchmark]
    public int NothingChanged() => Evaluate();

    /// <summary>One probe result that says what the last one said.</summary>
    [Benchmark]
    public EvidenceOutcome RecordOneCheck() => _aggregator.Ledger.Record(Check(_upstreams[7], _endpoints[7], 3, Mood.Good), _now);

    /// <summary>One Envoy's report about the 20 endpoints of an upstream.</summary>
    [Benchmark]
    public EvidenceOutcome RecordOneReport() => _aggregator.Ledger.Record(Load(_upstreams[7], 3, Mood.Good), _now);

    /// <summary>Time passes as it does in a server: with an evaluation every half second, or the aggregator would doubt itself.</summary>
    private void Pass(int seconds)
    {
        for (var k = 1; k < 2 * seconds; k++)
        {
            _now = _now.AddSeconds(0.5);
            Evaluate();
        }
        _now = _now.AddSeconds(0.5);
    }

    private int Evaluate() => _aggregator.Evaluate(_now).Publications.Length;

    private void Probe(Mood mood, int times)
    {
        foreach (var upstream in _upstreams)
        {
            foreach (var endpoint in _endpoints)
            {
                for (var observer = 0; observer < Observers.Length; observer++)
                {
                    for (var k = 0; k < times; k++)
                    {
                        _aggregator.Ledger.Record(Check(upstream, endpoint, observer, mood), _now);
                    }
                }
            }
        }
    }

    private CheckResult Check(string upstream, string endpoint, int observer, Mood mood)
    {
        var fails = mood switch
        {
            Mood.Refused => true,
            Mood.OneZoneFails => observer % 3 == 0,
            Mood.FirstIsRefused => endpoint == _endpoints[0],
            _ => false,
        };
        return new CheckResult
        {
            Upstream = upstream,
            Endpoint = endpoint,
            Author = Observers[observer],
            Zone = Zones[observer % 3],
            Passed = !fails,
            Class = fails ? FailureClass.Refused : FailureClass.None,
            BegunAt = _now,
            TimeToLive = TimeSpan.FromSeconds(17),
        };
    }

    private void Report(Mood mood)
    {
        foreach (var upstream in _upstreams)
        {
            for (var envoy = 0; envoy < Envoys.Length; envoy++)
            {
                _aggregator.Ledger.Record(Load(upstream, envoy, mood), _now);
            }
        }
    }

    private LoadReport Load(string upstream, int envoy, Mood mood) =>
        new()
        {
            Upstream = upstream,
            Author = Envoys[envoy],
            Zone = Zones[envoy % 3],
            Interval = TimeSpan.FromSeconds(10),
            Endpoints = mood == Mood.Refused ? AllFail : AllSucceed,
        };

    private ImmutableArray<EndpointLoad> AllSucceed =>
        field.IsDefault ? field = [.. _endpoints.Select(id => new EndpointLoad(id, 25, 1))] : field;

    private ImmutableArray<EndpointLoad> AllFail =>
        field.IsDefault ? field = [.. _endpoints.Select(id => new EndpointLoad(id, 0, 26))] : field;

    private void Expect(int endpoints, HealthState state)
    {
        var found = _upstreams.Sum(name => _aggregator.Explain(name)!.Endpoints.Count(e => e.State == state));
        if (found != endpoints)
        {
            throw new InvalidOperationException($"{found} endpoints are {state}, not {endpoints}: the benchmark measures something else.");
        }
    }
}
