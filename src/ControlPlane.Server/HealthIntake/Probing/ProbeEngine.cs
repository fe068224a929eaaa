using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>
/// Probes endpoints by the ten thousand, each at its own times, and tells what came of it. One tick every twenty milliseconds begins what is due and ends what takes too long; the
/// rest happens when the kernel has news. Knows nothing of verdicts.
/// </summary>
internal sealed partial class ProbeEngine : IAsyncDisposable
{
    /// <summary>Time between two ticks.</summary>
    public static readonly TimeSpan TickTime = TimeSpan.FromMilliseconds(20);

    /// <summary>A tick that comes so late says that this process, not the endpoints, was away (section 4.2 of the health model).</summary>
    internal static readonly TimeSpan LateTick = TimeSpan.FromMilliseconds(250);

    /// <summary>How long a doubt lasts.</summary>
    internal static readonly TimeSpan DoubtTime = TimeSpan.FromSeconds(30);

    private const double MaxDoubt = 8;

    /// <summary>How long a new endpoint is probed at the edge interval until it passes (4.8).</summary>
    private static readonly TimeSpan NewIsUrgentFor = TimeSpan.FromSeconds(60);

    /// <summary>Probes that one tick begins. A burst (ten thousand new endpoints) then takes half a second, and ticks stay in time.</summary>
    private const int MaxStarts = 400;

    /// <summary>Intervals are shortened by up to this share, never lengthened: what is said about detection times holds.</summary>
    private const double Jitter = 0.1;

    private readonly string _author;
    private readonly string _zone;
    private readonly Action<IReadOnlyList<HealthEvidence>> _record;
    private readonly Action<double> _doubt;
    private readonly ProbeMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Random _random;
    private readonly SelfProbe? _self;
    private readonly Action<ProbeTarget, TimeSpan> _beginTime;
    private readonly ProbeWorkspaces _workspaces = new();
    private readonly long _startedAt;
    private readonly ITimer _timer;

    // Of the tick alone; there is one at a time.
    private int _isTicking;
    private readonly List<WheelEntry> _due = [];
    private readonly Queue<ProbeTarget> _ready = [];
    private readonly List<ProbeTarget> _starting = [];
    private readonly List<ProbeTarget> _overdue = [];

    // Guarded by the lock, which is held for moments and never across anything that waits.
    private readonly Lock _lock = new();
    private readonly TimerWheel _wheel = new(0);
    private readonly Dictionary<string, Dictionary<string, ProbeTarget>> _upstreams = [];
    private List<HealthEvidence> _results = [];
    private int _running;
    private double _doubtLevel;
    private double _newDoubt;
    private long _doubtUntil;
    private ProbeTarget? _selfTarget;
    private bool _isRunning;
    private bool _isStopped;
    private TaskCompletionSource? _idle;

    /// <summary>Creates an engine, which begins when it is given something to probe.</summary>
    /// <param name="zone">The zone that its probes are made from; empty is the unnamed one.</param>
    /// <param name="record">Takes results, a batch per tick; is called on a thread of the pool and must not wait.</param>
    /// <param name="doubt">Told when the engine has reason to doubt itself, and how much, 0 to 8.</param>
    /// <param name="metrics">Counts probes.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Takes what should not happen.</param>
    /// <param name="self">What is probed to know whether this process is sound; the engine disposes it. Null does without.</param>
    /// <param name="random">Spreads probes over time; null for any.</param>
    public ProbeEngine(
        string zone,
        Action<IReadOnlyList<HealthEvidence>> record,
        Action<double> doubt,
        ProbeMetrics metrics,
        TimeProvider time,
        ILogger logger,
        SelfProbe? self = null,
        Random? random = null
    )
    {
        _author = AuthorOf(zone);
        _zone = zone;
        _record = record;
        _doubt = doubt;
        _metrics = metrics;
        _time = time;
        _logger = logger;
        _random = random ?? new Random();
        _beginTime = BeginTime;
        _startedAt = time.GetTimestamp();
        _self = self;
        _timer = time.CreateTimer(_ => Tick(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>The id under which the probers of a zone speak, whichever server runs them.</summary>
    public static string AuthorOf(string zone) => zone.Length == 0 ? "prober" : "prober/" + zone;

    /// <summary>
    /// Sets who is probed of an upstream, and how. Endpoints that are new, or are checked differently than before, are probed at once; the others stay at their times.
    /// </summary>
    public void Set(ProbePlan plan)
    {
        var leaving = new List<ProbeTarget>();
        lock (_lock)
        {
            if (_isStopped)
            {
                return;
            }
            if (!_isRunning)
            {
                // Nothing waits: the wheel has only to be brought to the present.
                _wheel.Advance(NowTick(), []);
            }
            var before = _upstreams.GetValueOrDefault(plan.Upstream);
            var after = new Dictionary<string, ProbeTarget>(plan.Endpoints.Length, StringComparer.Ordinal);
            foreach (var endpoint in plan.Endpoints)
            {
                if (before is not null && before.TryGetValue(endpoint.Id, out var known) && IsSame(known, plan, endpoint))
                {
                    known.Plan = plan;
                    after[endpoint.Id] = known;
                    before.Remove(endpoint.Id);
                }
                else
                {
                    var target = after[endpoint.Id] = new ProbeTarget(plan, endpoint, _wheel.Tick);
                    _wheel.Set(target, NowTick());
                }
            }
            if (before is not null)
            {
                leaving.AddRange(before.Values);
            }
            Leave(leaving);
            if (after.Count > 0)
            {
                _upstreams[plan.Upstream] = after;
            }
            else
            {
                _upstreams.Remove(plan.Upstream);
            }
            Run(leaving);
        }
        End(leaving);
    }

    /// <summary>Probes nothing of an upstream any more.</summary>
    public void Remove(string upstream)
    {
        List<ProbeTarget> leaving;
        lock (_lock)
        {
            if (!_upstreams.Remove(upstream, out var targets))
            {
                return;
            }
            leaving = [.. targets.Values];
            Leave(leaving);
            Run(leaving);
        }
        End(leaving);
    }

    /// <summary>This process has reason to doubt what it sees: for half a minute its probes get more time.</summary>
    /// <param name="level">How much, 0 to 8: timeouts are multiplied by one more than this.</param>
    public void Doubt(double level)
    {
        lock (_lock)
        {
            AddDoubt(level);
        }
    }

    /// <summary>Stops, and waits for what runs to end.</summary>
    public async ValueTask DisposeAsync()
    {
        await _timer.DisposeAsync();
        List<ProbeTarget> leaving;
        Task idle;
        lock (_lock)
        {
            _isStopped = true;
            leaving = [.. _upstreams.Values.SelectMany(u => u.Values)];
            Leave(leaving);
            _upstreams.Clear();
            if (_selfTarget is not null)
            {
                Leave([_selfTarget]);
                leaving.Add(_selfTarget);
            }
            _idle = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            if (_running == 0)
            {
                _idle.SetResult();
            }
            idle = _idle.Task;
        }
        End(leaving);
        await idle;
        if (_self is not null)
        {
            await _self.DisposeAsync();
        }
    }

    /// <summary>Ticks as long as there is something to probe. Without, the clock may jump as it likes.</summary>
    private void Run(List<ProbeTarget> leaving)
    {
        var runs = _upstreams.Count > 0;
        if (runs == _isRunning)
        {
            return;
        }
        _isRunning = runs;
        _timer.Change(runs ? TickTime : Timeout.InfiniteTimeSpan, TickTime);
        if (!runs)
        {
            if (_selfTarget is not null)
            {
                Leave([_selfTarget]);
                leaving.Add(_selfTarget);
                _selfTarget = null;
            }
            return;
        }
        if (_self is not null)
        {
            _selfTarget = new ProbeTarget(_self.Plan, _self.Plan.Endpoints[0], _wheel.Tick);
            _wheel.Set(_selfTarget, _wheel.Tick);
        }
    }

    private static bool IsSame(ProbeTarget known, ProbePlan plan, ProbeEndpoint endpoint) =>
        known.Plan.Policy.CheckDigest == plan.Policy.CheckDigest
        && known.Endpoint.Ways.Length == endpoint.Ways.Length
        && known
            .Endpoint.Ways.Zip(endpoint.Ways)
            .All(w => w.First.Probes.AsSpan().SequenceEqual(w.Second.Probes.AsSpan(), ProbeComparer.Instance));

    private static void Leave(List<ProbeTarget> leaving)
    {
        foreach (var target in leaving)
        {
            target.IsRemoved = true;
            TimerWheel.Cancel(target);
        }
    }

    private static void End(List<ProbeTarget> leaving)
    {
        foreach (var target in leaving)
        {
            if (target.IsRunning)
            {
                target.EndTime();
            }
            else
            {
                target.CloseKept();
            }
        }
    }

    private long NowTick() => (long)(_time.GetElapsedTime(_startedAt) / TickTime);

    private static long Ticks(TimeSpan time) => Math.Max(1, (long)Math.Ceiling(time / TickTime));

    private void Tick()
    {
        if (Interlocked.Exchange(ref _isTicking, 1) == 1)
        {
            return;
        }
        List<HealthEvidence>? results;
        double doubt;
        lock (_lock)
        {
            var now = NowTick();
            var late = (now - _wheel.Tick - 1) * TickTime;
            var wasAway = late >= LateTick;
            if (wasAway)
            {
                AddDoubt(late / LateTick);
            }
            _wheel.Advance(now, _due);
            foreach (var entry in _due)
            {
                var target = (ProbeTarget)entry;
                if (!target.IsRunning)
                {
                    _ready.Enqueue(target);
                }
                else if (wasAway)
                {
                    // Its answer may have come while this process was away.
                    _wheel.Set(target, now + Ticks(target.Plan.Policy.ProbeTimeout));
                }
                else
                {
                    _overdue.Add(target);
                }
            }
            _due.Clear();
            while (_starting.Count < MaxStarts && _ready.TryDequeue(out var target))
            {
                if (target.IsRemoved)
                {
                    continue;
                }
                _metrics.Began((now - target.DueTick) * TickTime);
                target.IsRunning = true;
                _running++;
                _wheel.Set(target, now + Ticks(Allowed(target.Endpoint.Ways[0].Probes[0].Timeout)));
                _starting.Add(target);
            }
            results = null;
            if (_results.Count > 0)
            {
                results = _results;
                _results = new List<HealthEvidence>(results.Count);
            }
            (doubt, _newDoubt) = (_newDoubt, 0);
        }
        foreach (var target in _overdue)
        {
            target.EndTime();
        }
        _overdue.Clear();
        foreach (var target in _starting)
        {
            _ = RunAsync(target);
        }
        _starting.Clear();
        if (results is not null)
        {
            _record(results);
        }
        if (doubt > 0)
        {
            _doubt(doubt);
        }
        Volatile.Write(ref _isTicking, 0);
    }

    private async Task RunAsync(ProbeTarget target)
    {
        target.BeginTime();
        var begunAt = _time.GetUtcNow();
        var workspace = _workspaces.Take();
        ProbeOutcome outcome;
        try
        {
            outcome = await new ProbeRun(target, workspace, _workspaces, _time, _beginTime).RunAsync();
            _workspaces.Return(workspace);
        }
        catch (Exception e)
        {
            // A fault of this code must neither end the process nor condemn an endpoint.
            LogFault(_logger, e, target.Plan.Upstream, target.Endpoint.Id);
            outcome = ProbeOutcome.OurFault("the probe could not be made");
        }
        Complete(target, outcome, begunAt);
    }

    private void Complete(ProbeTarget target, ProbeOutcome outcome, DateTimeOffset begunAt)
    {
        lock (_lock)
        {
            target.IsRunning = false;
            _running--;
            if (!target.IsRemoved)
            {
                var interval = target.Plan.Policy.ProbeInterval;
                var isFirstPass = false;
                if (_self is not null && ReferenceEquals(target.Plan, _self.Plan))
                {
                    target.Count(outcome.Passed);
                    if (_self.Judge(outcome) is > 0 and var level)
                    {
                        AddDoubt(level);
                    }
                }
                else if (outcome.Class is { } failure)
                {
                    isFirstPass = target.Count(outcome.Passed);
                    _results.Add(ResultOf(target, outcome, failure, begunAt));
                }
                else
                {
                    AddDoubt(1);
                }
                var wait =
                    // Endpoints that came together are spread over the interval.
                    isFirstPass ? interval * _random.NextDouble()
                    : LooksCloser(target) ? target.Plan.Policy.ProbeEdgeInterval
                    : interval * (1 - (Jitter * _random.NextDouble()));
                _wheel.Set(target, NowTick() + Ticks(wait));
            }
            if (_running == 0)
            {
                _idle?.TrySetResult();
            }
        }
        _metrics.Ended(outcome);
        if (target.IsRemoved)
        {
            target.CloseKept();
        }
    }

    private CheckResult ResultOf(ProbeTarget target, ProbeOutcome outcome, FailureClass failure, DateTimeOffset begunAt) =>
        new()
        {
            Upstream = target.Plan.Upstream,
            Endpoint = target.Endpoint.Id,
            Author = _author,
            Zone = _zone,
            Passed = outcome.Passed,
            Class = failure,
            Text = outcome.Text,
            BegunAt = begunAt,
            TimeToLive = target.Plan.Policy.ProbeTimeToLive,
            CheckDigest = target.Plan.Policy.CheckDigest,
        };

    private bool LooksCloser(ProbeTarget target) =>
        target.IsChangePending || (!target.HasPassed && (_wheel.Tick - target.AddedTick) * TickTime < NewIsUrgentFor);

    private void BeginTime(ProbeTarget target, TimeSpan timeout)
    {
        lock (_lock)
        {
            if (!target.IsRemoved)
            {
                _wheel.Set(target, NowTick() + Ticks(Allowed(timeout)));
                target.BeginTime();
            }
        }
    }

    private TimeSpan Allowed(TimeSpan timeout) => _wheel.Tick < _doubtUntil ? timeout * (1 + _doubtLevel) : timeout;

    private void AddDoubt(double level)
    {
        level = Math.Min(level, MaxDoubt);
        _doubtLevel = _wheel.Tick < _doubtUntil ? Math.Max(_doubtLevel, level) : level;
        _doubtUntil = _wheel.Tick + Ticks(DoubtTime);
        _newDoubt = Math.Max(_newDoubt, level);
    }

    [LoggerMessage(
        7001,
        LogLevel.Error,
        "A probe of endpoint {Endpoint} of {Upstream} failed by a fault of this server, and says nothing of the endpoint"
    )]
    private static partial void LogFault(ILogger logger, Exception exception, string upstream, string endpoint);

    /// <summary>Whether two probes of one form of the checks do the same.</summary>
    private sealed class ProbeComparer : IEqualityComparer<Probe>
    {
        public static readonly ProbeComparer Instance = new();

        public bool Equals(Probe? x, Probe? y) =>
            Equals(x!.Target, y!.Target) && HostOf(x) == HostOf(y) && x.Tls?.Material == y.Tls?.Material;

        public int GetHashCode(Probe obj) => obj.Target.GetHashCode();

        private static string HostOf(Probe probe) => (probe as HttpProbe)?.Host ?? (probe as GrpcProbe)?.Authority ?? "";
    }
}
