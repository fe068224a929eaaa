using System.Collections.Immutable;
using ControlPlane.Core.Health;
using Host = ControlPlane.Core.Tests.Health.EnvoyLoadBalancer.Host;

namespace ControlPlane.Core.Tests.Health;

/// <summary>How a simulated backend behaves.</summary>
internal enum Backend
{
    Ok,

    /// <summary>Nothing listens.</summary>
    Refused,

    /// <summary>Packets are dropped.</summary>
    Blackhole,

    /// <summary>Probes and requests are answered 500.</summary>
    Error500,

    /// <summary>The certificate is not accepted.</summary>
    Tls,

    /// <summary>Only the health path is wrong: probes get 404, requests succeed.</summary>
    WrongPath,

    /// <summary>Probes and requests time out by chance.</summary>
    Slow,

    /// <summary>Probes pass, requests fail by chance.</summary>
    Gray,
}

/// <summary>What a simulated observer does.</summary>
internal enum ObserverMode
{
    Honest,

    /// <summary>Says nothing.</summary>
    Dead,

    /// <summary>Reaches nobody.</summary>
    CutOff,

    /// <summary>Says FAIL of everything.</summary>
    AllFail,

    /// <summary>Says PASS of everything.</summary>
    AllPass,
}

/// <summary>What is simulated.</summary>
internal sealed record SimulationOptions
{
    /// <summary>Backends e0, e1, … of the upstream <c>u</c>.</summary>
    public int Endpoints { get; init; } = 6;

    /// <summary>Zones of observers, Envoys and backends, in turn; one empty name is a fleet without zones.</summary>
    public ImmutableArray<string> Zones { get; init; } = ["a", "b", "c"];

    /// <summary>Zones of the backends, where they differ.</summary>
    public ImmutableArray<string> BackendZones { get; init; } = [];

    /// <summary>Observers per zone.</summary>
    public int ObserversPerZone { get; init; } = 2;

    /// <summary>Observers are not ours.</summary>
    public bool External { get; init; }

    /// <summary>Envoys.</summary>
    public int Envoys { get; init; } = 6;

    /// <summary>Requests per second to each endpoint of priority 0; 0 is an idle upstream.</summary>
    public double Rate { get; init; }

    /// <summary>Requests per second to all together, where that does not follow from <see cref="Rate"/>.</summary>
    public double? TotalRate { get; init; }

    /// <summary>Requests per second that a backend bears; 0 is without limit.</summary>
    public double Capacity { get; init; }

    /// <summary>Priority of the endpoints, by index.</summary>
    public ImmutableDictionary<int, int> Priorities { get; init; } = ImmutableDictionary<int, int>.Empty;

    /// <summary>Further upstreams of 6, without traffic, probed by the same observers.</summary>
    public int OtherUpstreams { get; init; }

    /// <summary>Jitter of the probe interval, as a share.</summary>
    public double Jitter { get; init; }

    /// <summary>Envoys eject locally, with the small budgets of 4.6.</summary>
    public bool Reflex { get; init; }

    /// <summary>Measure what would have failed, had it been done otherwise.</summary>
    public bool MeasuresBaselines { get; init; }

    /// <summary>Do not run the first 20 s.</summary>
    public bool Cold { get; init; }

    public HealthPolicy Policy { get; init; } = HealthPolicy.Default;
}

/// <summary>
/// Backends, observers and Envoys around an aggregator, on passed-in time: observers probe as the aggregator asks, Envoys send requests by what is published
/// and report what became of them. Same seed, same run.
/// </summary>
internal sealed class Simulation
{
    public const string Upstream = "u";
    private const double Tick = 0.5;
    private static readonly DateTimeOffset Origin = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly double Interval = HealthPolicy.Default.ProbeInterval.TotalSeconds;

    private readonly SimulationOptions _options;
    private readonly Random _random;
    private readonly PriorityQueue<Event, (double, long)> _queue = new();
    private readonly Dictionary<string, ImmutableArray<HealthTarget>> _others = [];
    private readonly HashSet<(string, string, string)> _spread = [];
    private readonly List<(string Envoy, string Zone, double Phase)> _envoys = [];
    private readonly Dictionary<string, Dictionary<string, (double Ok, double Err)>> _sinceReport = [];
    private readonly Dictionary<(string Zone, string Endpoint), (double Until, int Times)> _ejected = [];
    private readonly Dictionary<(string Zone, string Endpoint), double> _failedThere = [];
    private readonly Dictionary<string, PlainChecker> _plain = [];
    private readonly Dictionary<string, (Override Order, double Until)> _orders = [];
    private long _sequence;
    private double _nextTick = Tick;

    public Simulation(int seed, SimulationOptions? options = null)
    {
        _options = options ?? new SimulationOptions();
        _random = new Random(seed);
        Aggregator = new HealthAggregator();
        for (var k = 0; k < _options.Endpoints; k++)
        {
            var zone = _options.BackendZones.IsEmpty ? _options.Zones[k % _options.Zones.Length] : _options.BackendZones[k];
            Make($"e{k}", zone, _options.Priorities.GetValueOrDefault(k));
        }
        for (var j = 0; j < _options.OtherUpstreams; j++)
        {
            var endpoints = Enumerable
                .Range(0, 6)
                .Select(k => new HealthTarget { Id = $"o{j}.{k}", Zone = _options.Zones[k % _options.Zones.Length] })
                .ToImmutableArray();
            _others.Add($"o{j}", endpoints);
            Aggregator.SetUpstream($"o{j}", HealthPolicy.Default, endpoints, Now);
            foreach (var e in endpoints)
            {
                Backends.Add(e.Id, new BackendState(e.Zone));
            }
        }
        Aggregator.SetUpstream(Upstream, _options.Policy, [.. Registry.Values], Now);
        foreach (var zone in _options.Zones)
        {
            for (var j = 1; j <= _options.ObserversPerZone; j++)
            {
                AddObserver($"{zone}{j}", zone, !_options.External);
            }
        }
        for (var k = 0; k < _options.Envoys; k++)
        {
            var envoy = ($"v{k}", _options.Zones[k % _options.Zones.Length], k * 10.0 / _options.Envoys % 10);
            _envoys.Add(envoy);
            _sinceReport.Add(envoy.Item1, []);
        }
        if (!_options.Cold)
        {
            Run(20);
            Requests = Failed = FailedAllHealthy = FailedPlainChecker = 0;
            FailingShares.Clear();
        }
    }

    /// <summary>Seconds since the beginning.</summary>
    public double T { get; private set; }

    public HealthAggregator Aggregator { get; private set; }

    public DateTimeOffset Now => Time(T);

    public Dictionary<string, BackendState> Backends { get; } = [];

    /// <summary>What the registry lists of <c>u</c>, in its order.</summary>
    public Dictionary<string, HealthTarget> Registry { get; } = [];

    public Dictionary<string, (string Zone, bool IsOurs)> Observers { get; } = [];

    public Dictionary<string, ObserverMode> Modes { get; } = [];

    /// <summary>Intervals of observers that go their own way.</summary>
    public Dictionary<string, double> OwnInterval { get; } = [];

    /// <summary>Pairs of zones (observers and Envoys, backends) without a connection.</summary>
    public HashSet<(string From, string To)> Cut { get; } = [];

    /// <summary>Until when the process does not run.</summary>
    public double PausedUntil { get; set; } = -1;

    /// <summary>Requests per second to all together; null follows the options.</summary>
    public double? TotalRate { get; set; }

    /// <summary>Share of all requests that fails anyway.</summary>
    public double Background { get; set; }

    /// <summary>The one Envoy that sees errors.</summary>
    public string? ErrorsOnlyAt { get; set; }

    /// <summary>Endpoints that no load report mentions.</summary>
    public HashSet<string> Unreported { get; } = [];

    /// <summary>Weights of zones, under locality-weighted load balancing.</summary>
    public Dictionary<string, double>? LocalityWeights { get; set; }

    /// <summary>Called at every tick.</summary>
    public List<Action> OnTick { get; } = [];

    // What was measured.
    public List<(double T, string? Zone, ImmutableArray<PublishedEndpoint> Endpoints)> History { get; } = [];
    public List<(double T, HealthTransition Step)> Steps { get; } = [];
    public List<(double T, HealthIncident Incident)> Incidents { get; } = [];
    public List<(double T, ObserverChange Change)> ObserverChanges { get; } = [];
    public List<(double T, double Share)> FailingShares { get; } = [];
    public List<string> BrokenInvariants { get; } = [];
    public double Requests { get; private set; }
    public double Failed { get; private set; }

    /// <summary>Requests that would have failed with every endpoint HEALTHY.</summary>
    public double FailedAllHealthy { get; private set; }

    /// <summary>Requests that would have failed with a plain checker (fall 3, rise 2) and panic 0.</summary>
    public double FailedPlainChecker { get; private set; }

    public static DateTimeOffset Time(double t) => Origin.AddTicks((long)Math.Round(t * TimeSpan.TicksPerSecond));

    // ---------------------------------------------------------------- the parts

    public void Make(string id, string zone, int priority = 0, uint weight = 1)
    {
        Backends[id] = new BackendState(zone);
        Registry[id] = new HealthTarget
        {
            Id = id,
            Zone = zone,
            Priority = priority,
            Weight = weight,
        };
    }

    /// <summary>The registry sends its list; what is new is probed at once.</summary>
    public bool Register(params string[] drop)
    {
        foreach (var id in drop)
        {
            Registry.Remove(id);
        }
        var before = Aggregator.Find(Upstream)!.Endpoints.Select(e => e.Target.Id).ToHashSet();
        var isTaken = Aggregator.SetUpstream(Upstream, _options.Policy, [.. Registry.Values], Now);
        foreach (var id in isTaken ? Registry.Keys.Where(id => !before.Contains(id)) : [])
        {
            foreach (var observer in Observers.Keys)
            {
                Push(T + (0.05 * _random.NextDouble()), () => Probe(observer, Upstream, id));
            }
        }
        return isTaken;
    }

    public void AddObserver(string author, string zone, bool isOurs)
    {
        Observers[author] = (zone, isOurs);
        Aggregator.Ledger.Connect(author, zone, isOurs, Now);
        foreach (var (upstream, endpoints) in _others.Append(new(Upstream, [.. Registry.Values])))
        {
            foreach (var e in endpoints)
            {
                Push(T + (0.05 * _random.NextDouble()), () => Probe(author, upstream, e.Id));
            }
        }
    }

    public void Set(Backend mode, double chance, params IEnumerable<string> ids)
    {
        foreach (var id in ids)
        {
            Backends[id].Mode = mode;
            Backends[id].Chance = chance;
        }
    }

    public void Set(Backend mode, params IEnumerable<string> ids) => Set(mode, 0, ids);

    /// <summary>Does something at a moment, also while the process is paused.</summary>
    public void At(double t, Action action) => Push(t, new Event(_ => action(), IsOfProcess: false));

    public void Order(string id, OverrideOrder order, double seconds = 3600)
    {
        var given = new Override
        {
            Upstream = Upstream,
            Endpoint = id,
            Author = "alice",
            Order = order,
            Reason = "because",
            StartedAt = Now,
            ExpiresAt = Time(T + seconds),
        };
        _orders[id] = (given, T + seconds);
        Aggregator.Ledger.Record(given, Now);
    }

    public void Clear(string id)
    {
        _orders.Remove(id);
        Aggregator.Ledger.ClearOverride(Upstream, id);
    }

    /// <summary>The process is replaced by another one, which is told what was remembered and what operators have ordered. Its own probers connect again.</summary>
    public void Restart()
    {
        var fleet = Stored.RoundTrip(Aggregator.Remember());
        var memories = _others.Keys.Append(Upstream).ToDictionary(name => name, name => Stored.RoundTrip(Aggregator.Remember(name)!));
        Aggregator = new HealthAggregator();
        Aggregator.Restore(fleet, Now);
        foreach (var (name, endpoints) in _others)
        {
            Aggregator.SetUpstream(name, HealthPolicy.Default, endpoints, Now);
        }
        Aggregator.SetUpstream(Upstream, _options.Policy, [.. Registry.Values], Now);
        foreach (var (name, memory) in memories)
        {
            Aggregator.Restore(name, memory, Now);
        }
        foreach (var (order, _) in _orders.Values.Where(o => o.Until > T && Registry.ContainsKey(o.Order.Endpoint)))
        {
            Aggregator.Ledger.Record(order, Now);
        }
        foreach (var (author, (zone, isOurs)) in Observers)
        {
            if (isOurs)
            {
                Aggregator.Ledger.Connect(author, zone, isOurs, Now);
            }
        }
    }

    /// <summary>Evidence from outside the simulated observers' routine.</summary>
    public void Report(string author, string endpoint, bool passed, FailureClass failure = FailureClass.None, double? begun = null) =>
        Aggregator.Ledger.Record(
            new CheckResult
            {
                Upstream = Upstream,
                Endpoint = endpoint,
                Author = author,
                Zone = Observers[author].Zone,
                Passed = passed,
                Class = failure,
                BegunAt = Time(begun ?? T),
                TimeToLive = HealthPolicy.Default.ProbeTimeToLive,
            },
            Now
        );

    public void ReportLoad(string envoy, string zone, params ImmutableArray<EndpointLoad> loads) =>
        Aggregator.Ledger.Record(
            new LoadReport
            {
                Upstream = Upstream,
                Author = envoy,
                Zone = zone,
                Interval = TimeSpan.FromSeconds(10),
                Endpoints = loads,
            },
            Now
        );

    // ---------------------------------------------------------------- probing

    private void Push(double t, Action action) => Push(t, new Event(_ => action()));

    private void Push(double t, Event what) => _queue.Enqueue(what, (t, _sequence++));

    private void Probe(string author, string upstream, string id)
    {
        if (Aggregator.Find(upstream)?.Find(id) is null || !Observers.TryGetValue(author, out var observer))
        {
            return;
        }
        var mode = Modes.GetValueOrDefault(author);
        if (mode == ObserverMode.Dead || !Aggregator.Ledger.TryFind(author, out var known) || !known.IsPresent)
        {
            Push(T + Interval, () => Probe(author, upstream, id));
            return;
        }
        var timeout = HealthPolicy.Default.ProbeTimeout.TotalSeconds * Aggregator.TimeoutFactor(author, Now);
        var (failure, duration) = Backends[id].Probe(_random, timeout);
        if (Cut.Contains((observer.Zone, Backends[id].Zone)) || mode == ObserverMode.CutOff)
        {
            (failure, duration) = (FailureClass.Timeout, timeout);
        }
        (failure, duration) = mode switch
        {
            ObserverMode.AllFail => (FailureClass.Refused, 0.002),
            ObserverMode.AllPass => (FailureClass.None, 0.002),
            _ => (failure, duration),
        };
        var begun = T;
        // In flight while the process is paused: nobody is there to take the answer in time.
        Push(T + duration, new Event(wasHeld => Result(author, upstream, id, wasHeld ? FailureClass.Timeout : failure, begun)));
    }

    private void Result(string author, string upstream, string id, FailureClass failure, double begun)
    {
        if (Observers.TryGetValue(author, out var observer) && Aggregator.Find(upstream)?.Find(id) is not null)
        {
            var own = OwnInterval.TryGetValue(author, out var seconds);
            Aggregator.Ledger.Record(
                new CheckResult
                {
                    Upstream = upstream,
                    Endpoint = id,
                    Author = author,
                    Zone = observer.Zone,
                    Passed = failure == FailureClass.None,
                    Class = failure,
                    Text = Backends[id].Text(failure),
                    BegunAt = Time(begun),
                    TimeToLive = own ? TimeSpan.FromSeconds(1.5 * seconds) : HealthPolicy.Default.ProbeTimeToLive,
                },
                Now
            );
            if (upstream == Upstream && author == Observers.Keys.First())
            {
                (_plain.TryGetValue(id, out var plain) ? plain : _plain[id] = new PlainChecker()).Add(failure == FailureClass.None);
            }
        }
        Push(T + Step(author, upstream, id), () => Probe(author, upstream, id));
    }

    private double Step(string author, string upstream, string id)
    {
        var isOwn = OwnInterval.TryGetValue(author, out var own);
        var isAtEdge = !isOwn && Aggregator.ProbesAtEdge(author, upstream, id);
        var step =
            isOwn ? own
            : isAtEdge ? HealthPolicy.Default.ProbeEdgeInterval.TotalSeconds
            : Interval;
        if (!isAtEdge && _spread.Add((author, upstream, id)))
        {
            step *= _random.NextDouble(); // the first ones at once, then at a random phase
        }
        return _options.Jitter > 0 ? step * (1 + (_options.Jitter * ((_random.NextDouble() * 2) - 1))) : step;
    }

    // ---------------------------------------------------------------- traffic

    /// <summary>What an Envoy of a zone has.</summary>
    public ImmutableArray<PublishedEndpoint> Published(string? zone = null) =>
        Aggregator.Published(Upstream, zone) is { IsDefault: false } published ? published : [];

    private Dictionary<string, double> SharesOf(string zone)
    {
        var hosts = Published(zone)
            .Where(p => Registry.ContainsKey(p.Id))
            .Select(p => new Host(
                p.Id,
                p.Status == PublishedStatus.Healthy && !(_ejected.TryGetValue((zone, p.Id), out var e) && e.Until > T),
                p.Status == PublishedStatus.Draining,
                Weight: (long)p.Weight,
                Priority: Registry[p.Id].Priority,
                Zone: Registry[p.Id].Zone
            ))
            .ToList();
        var u = Aggregator.Find(Upstream)!;
        var factors = (u.View(zone) ?? u.Everyone).LocalityFactors;
        var weights = LocalityWeights?.ToDictionary(w => w.Key, w => w.Value * factors.GetValueOrDefault(w.Key, 1.0));
        return EnvoyLoadBalancer.Shares(hosts, weights, u.OnTotalFailure != TotalFailurePolicy.FailFast);
    }

    private double FailingShare(string zone, string id, double load) =>
        Cut.Contains((zone, Backends[id].Zone)) ? 1.0 : Backends[id].FailingShare(load, _options.Capacity);

    private void SendTraffic()
    {
        if (_options.Rate <= 0)
        {
            return;
        }
        var total = TotalRate ?? _options.TotalRate ?? (_options.Rate * Math.Max(1, Registry.Values.Count(e => e.Priority == 0)));
        var perEnvoy = total * Tick / _envoys.Count;
        var shares = _envoys.Select(e => e.Zone).Distinct().ToDictionary(z => z, SharesOf);
        var loads = new Dictionary<string, double>();
        foreach (var (_, zone, _) in _envoys)
        {
            foreach (var (id, share) in shares[zone])
            {
                loads[id] = loads.GetValueOrDefault(id) + (share * perEnvoy / Tick);
            }
        }
        var failed = 0.0;
        foreach (var (envoy, zone, _) in _envoys)
        {
            foreach (var (id, share) in shares[zone])
            {
                if (id.Length == 0)
                {
                    failed += share * perEnvoy;
                    continue;
                }
                var p = FailingShare(zone, id, loads[id]);
                p = ErrorsOnlyAt is null || ErrorsOnlyAt == envoy ? p : 0;
                p = Math.Min(1, p + Background);
                var (ok, err) = _sinceReport[envoy].GetValueOrDefault(id);
                _sinceReport[envoy][id] = (ok + (share * perEnvoy * (1 - p)), err + (share * perEnvoy * p));
                failed += share * perEnvoy * p;
                if (_options.Reflex && p >= 0.95)
                {
                    EjectLocally(zone, id, share * perEnvoy);
                }
            }
        }
        Requests += perEnvoy * _envoys.Count;
        Failed += failed;
        FailingShares.Add((T, failed / (perEnvoy * _envoys.Count)));
        if (_options.MeasuresBaselines)
        {
            MeasureBaselines(total, perEnvoy);
        }
    }

    /// <summary>Consecutive errors in Envoy, with the small budgets of 4.6.</summary>
    private void EjectLocally(string zone, string id, double failures)
    {
        var key = (zone, id);
        _failedThere[key] = _failedThere.GetValueOrDefault(key) + failures;
        if (_failedThere[key] < 5 || Backends[id].Mode is Backend.Gray or Backend.Slow)
        {
            return;
        }
        _failedThere[key] = 0;
        var hosts = Published(zone).Count(p => Registry.ContainsKey(p.Id));
        var active = _ejected.Count(e => e.Key.Zone == zone && e.Value.Until > T);
        var (until, times) = _ejected.GetValueOrDefault(key);
        if (100 * (active + 1) / hosts <= (hosts <= 9 ? 34 : 10) && until <= T)
        {
            _ejected[key] = (T + Math.Min(15 * (times + 1), 60), times + 1);
        }
    }

    private void MeasureBaselines(double total, double perEnvoy)
    {
        var u = Aggregator.Find(Upstream)!;
        var present = Registry
            .Values.Where(e => u.Find(e.Id) is { } known && !EndpointHealth.IsRemovedByPerson(known.Order(Instant.Of(Now))))
            .ToList();
        FailedAllHealthy += FailedIf(_ => true, true);
        FailedPlainChecker += FailedIf(id => _plain.TryGetValue(id, out var plain) && plain.Passes, false);

        double FailedIf(Func<string, bool> isHealthy, bool sprays)
        {
            var hosts = present.Select(e => new Host(e.Id, isHealthy(e.Id), Priority: e.Priority, Zone: e.Zone)).ToList();
            return _envoys
                .GroupBy(e => e.Zone)
                .Sum(zone =>
                    EnvoyLoadBalancer
                        .Shares(hosts, LocalityWeights, sprays)
                        .Sum(s =>
                            perEnvoy * zone.Count() * s.Value * (s.Key.Length > 0 ? FailingShare(zone.Key, s.Key, s.Value * total) : 1.0)
                        )
                );
        }
    }

    /// <summary>Each Envoy reports every ten seconds, at its own phase: whole requests, errors with binomial noise.</summary>
    private void SendReports()
    {
        foreach (var (envoy, zone, phase) in _envoys)
        {
            var age = T - phase;
            if (_options.Rate <= 0 || Math.Floor((age / 10) + 1e-9) <= Math.Floor(((age - Tick) / 10) + 1e-9))
            {
                continue;
            }
            var loads = ImmutableArray.CreateBuilder<EndpointLoad>();
            foreach (var (id, (ok, err)) in _sinceReport[envoy])
            {
                var exact = ok + err;
                if (exact <= 0 || Unreported.Contains(id))
                {
                    continue;
                }
                var n = (long)exact + (_random.NextDouble() < exact - Math.Floor(exact) ? 1 : 0);
                var p = err / exact;
                var noise = p is > 0 and < 1 ? Gauss() * Math.Sqrt(n * p * (1 - p)) : 0;
                var errors = Math.Clamp((long)Math.Round((n * p) + noise), 0, n);
                if (n > 0)
                {
                    loads.Add(new EndpointLoad(id, n - errors, errors));
                }
            }
            _sinceReport[envoy].Clear();
            ReportLoad(envoy, zone, loads.ToImmutable());
        }
    }

    private double Gauss() => Math.Sqrt(-2 * Math.Log(1 - _random.NextDouble())) * Math.Cos(2 * Math.PI * _random.NextDouble());

    // ---------------------------------------------------------------- time

    /// <summary>Runs until a moment.</summary>
    public void Run(double until)
    {
        while (_nextTick <= until + 1e-9)
        {
            while (_queue.TryPeek(out var action, out var due) && due.Item1 <= _nextTick)
            {
                _queue.Dequeue();
                if (action.IsOfProcess && PausedUntil > due.Item1)
                {
                    Push(PausedUntil + 0.001, action with { WasHeld = true });
                    continue;
                }
                T = due.Item1;
                action.Run(action.WasHeld);
            }
            T = _nextTick;
            SendTraffic();
            if (T >= PausedUntil)
            {
                SendReports();
                Evaluate();
            }
            foreach (var action in OnTick.ToArray())
            {
                action();
            }
            _nextTick = Math.Round(_nextTick + Tick, 6);
        }
    }

    private void Evaluate()
    {
        var changes = Aggregator.Evaluate(Now);
        History.AddRange(changes.Publications.Where(p => p.Upstream == Upstream).Select(p => (T, p.Zone, p.Endpoints)));
        Steps.AddRange(changes.Transitions.Where(s => s.Upstream == Upstream).Select(s => (T, s)));
        Incidents.AddRange(changes.Incidents.Where(i => i.Upstream == Upstream).Select(i => (T, i)));
        ObserverChanges.AddRange(changes.Observers.Select(o => (T, o)));
        WatchInvariants();
    }

    /// <summary>Never 0 routable by inference, weights from 1, every condemned endpoint has a cause.</summary>
    private void WatchInvariants()
    {
        var u = Aggregator.Find(Upstream)!;
        var byPeople = u.Endpoints.All(e => EndpointHealth.IsRemovedByPerson(e.Order(Instant.Of(Now))));
        foreach (var view in u.ZoneViews.Prepend(u.Everyone))
        {
            if (
                !byPeople
                && u.OnTotalFailure != TotalFailurePolicy.FailFast
                && !view.Published.Any(p => p.Status == PublishedStatus.Healthy)
            )
            {
                BrokenInvariants.Add($"t={T}: nothing routable in the view of {view.Zone ?? "everyone"}");
            }
            if (view.Published.Any(p => p.Weight < 1))
            {
                BrokenInvariants.Add($"t={T}: a weight below 1");
            }
        }
        BrokenInvariants.AddRange(
            u.Endpoints.Where(e => e.State == HealthState.Down && e.Cause == HealthCause.None)
                .Select(e => $"t={T}: {e.Target.Id} is DOWN without a cause")
        );
    }

    /// <summary>Something that happens.</summary>
    /// <param name="Run">What; told whether it was held up.</param>
    /// <param name="IsOfProcess">It waits while the process is paused.</param>
    /// <param name="WasHeld">It did.</param>
    private readonly record struct Event(Action<bool> Run, bool IsOfProcess = true, bool WasHeld = false);

    /// <summary>A plain checker: three failures are down, two passes are up.</summary>
    private sealed class PlainChecker
    {
        private int _fails;
        private int _passes;
        private bool _isKnown;

        public bool Passes { get; private set; }

        public void Add(bool passed)
        {
            (_fails, _passes) = passed ? (0, _passes + 1) : (_fails + 1, 0);
            if (passed && (!_isKnown || _passes >= 2))
            {
                (Passes, _isKnown) = (true, true);
            }
            else if (!passed && _fails >= 3)
            {
                (Passes, _isKnown) = (false, true);
            }
        }
    }
}

/// <summary>One simulated server.</summary>
internal sealed class BackendState(string zone)
{
    public string Zone { get; } = zone;

    public Backend Mode { get; set; }

    public double Chance { get; set; }

    /// <summary>What a probe finds, and how long it takes.</summary>
    public (FailureClass Failure, double Duration) Probe(Random random, double timeout) =>
        Mode switch
        {
            Backend.Ok or Backend.Gray => (FailureClass.None, 0.002),
            Backend.Slow => random.NextDouble() < Chance ? (FailureClass.Timeout, timeout) : (FailureClass.None, 0.5),
            Backend.Blackhole => (FailureClass.Timeout, timeout),
            Backend.Refused => (FailureClass.Refused, 0.002),
            Backend.Tls => (FailureClass.Tls, 0.002),
            _ => (FailureClass.Status, 0.002),
        };

    public string Text(FailureClass failure) =>
        failure switch
        {
            FailureClass.Status => Mode == Backend.WrongPath ? "HTTP 404" : "HTTP 500",
            FailureClass.Tls => "certificate has expired",
            _ => "",
        };

    /// <summary>Share of its requests that fails.</summary>
    public double FailingShare(double load, double capacity)
    {
        var p = Mode switch
        {
            Backend.Ok or Backend.WrongPath => 0,
            Backend.Slow or Backend.Gray => Chance,
            _ => 1.0,
        };
        return capacity > 0 && load > capacity ? 1 - ((1 - p) * capacity / load) : p;
    }
}
