using System.Collections.Immutable;
using System.Threading.Channels;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Health;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Telemetry;

namespace ControlPlane.Server.Health;

/// <summary>
/// Owns the health model: takes evidence from every source, evaluates it, and puts the verdicts in force. All others reach the model through its doors, from any thread: what
/// they hand in waits in one inbox, which a single loop empties.
/// </summary>
internal sealed partial class HealthKeeper : BackgroundService
{
    /// <summary>Pieces of evidence that wait at most: some seconds of the largest fleet. What comes on top is dropped; it would be replaced by newer evidence anyway.</summary>
    internal const int MaxPending = 200_000;

    /// <summary>How long an upstream's number of endpoints lies on the other side of the bound before its size class follows (section 4.6 of the health model).</summary>
    internal static readonly TimeSpan ResizeAfter = TimeSpan.FromMinutes(10);

    private static readonly TimeSpan ShortestTick = TimeSpan.FromSeconds(0.1);

    /// <summary>Transitions of one evaluation whose reasons name each observer and proxy; the further ones say what they add up to.</summary>
    internal const int MaxDetailedReasons = 200;

    private readonly CurrentVerdicts _verdicts;
    private readonly HealthMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger<HealthKeeper> _logger;
    private readonly ServerOptions _options;
    private readonly FleetHealthPolicy _policy;

    private readonly Channel<Action> _inbox = Channel.CreateUnbounded<Action>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Watchers<HealthNews> _watchers = new();
    private HashSet<string> _touched = [];
    private DesiredState _desired = DesiredState.Empty;
    private volatile bool _leads;
    private int _pending;
    private int _tickWaits;

    // What follows belongs to the loop, and before it runs to Begin.
    private readonly HealthAggregator _aggregator;
    private readonly PublicationPace _pace = new();
    private readonly Dictionary<string, FollowedUpstream> _followed = [];
    private readonly HashSet<string> _resizing = [];
    private readonly HashSet<string> _redefined = [];
    private bool _isEvaluationDue;
    private TimeSpan _tickInterval;
    private ITimer? _ticks;

    /// <summary>Creates a keeper that knows no upstream yet.</summary>
    public HealthKeeper(
        CurrentVerdicts verdicts,
        HealthMetrics metrics,
        TimeProvider time,
        HealthLeadership leadership,
        ServerOptions options,
        FleetHealthPolicy policy,
        ILogger<HealthKeeper> logger
    )
    {
        _verdicts = verdicts;
        _metrics = metrics;
        _time = time;
        _logger = logger;
        _options = options;
        _policy = policy;
        _aggregator = new HealthAggregator(policy);
        _tickInterval = policy.EvaluationInterval;
        _leads = leadership.Role.Leads;
    }

    /// <summary>Who talks to other servers, which is told the evidence while one of them decides. Set before the first evidence comes.</summary>
    public HealthPeers? Peers { get; set; }

    // ------------------------------------------------------------------------------------------------------------------ doors, for any thread

    /// <summary>Takes evidence. Never waits: what does not fit is counted and dropped.</summary>
    public void Record(IReadOnlyList<HealthEvidence> evidence)
    {
        if (_leads)
        {
            Enqueue(evidence, outcomes: null);
        }
        else
        {
            Peers?.Tell(evidence);
        }
    }

    /// <summary>Takes evidence and says what became of each piece, in order.</summary>
    /// <returns>Default if too much is waiting already: nothing was taken, and the author may try again later.</returns>
    public Task<ImmutableArray<EvidenceOutcome>> RecordAsync(IReadOnlyList<HealthEvidence> evidence, CancellationToken cancellationToken)
    {
        if (!_leads && Peers is { } peers)
        {
            return peers.TellAsync(evidence, cancellationToken);
        }

        var outcomes = new TaskCompletionSource<ImmutableArray<EvidenceOutcome>>(TaskCreationOptions.RunContinuationsAsynchronously);
        if (!Enqueue(evidence, outcomes))
        {
            outcomes.SetResult(default);
        }

        return outcomes.Task.WaitAsync(cancellationToken);
    }

    /// <summary>
    /// Asks the model. The question runs on the keeper's loop, after everything that was handed in before, and must be quick; what it returns must not be part of the model.
    /// </summary>
    public Task<T> AskAsync<T>(Func<HealthAggregator, T> question, CancellationToken cancellationToken)
    {
        var answer = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        _inbox.Writer.TryWrite(() =>
        {
            try
            {
                Settle();
                answer.SetResult(question(_aggregator));
            }
            catch (Exception e)
            {
                // The asker's fault, and the asker is told.
                answer.SetException(e);
            }
        });
        return answer.Task.WaitAsync(cancellationToken);
    }

    /// <summary>One of our own probers runs, before it says anything.</summary>
    /// <param name="author">Its stable id.</param>
    /// <param name="zone">Where it stands.</param>
    public void Connect(string author, string zone) =>
        _inbox.Writer.TryWrite(() => _aggregator.Ledger.Connect(author, zone, isOurs: true, _time.GetUtcNow()));

    /// <summary>One of our own probers has stopped: what it said does not count any more.</summary>
    public void Disconnect(string author) => _inbox.Writer.TryWrite(() => _aggregator.Ledger.Disconnect(author));

    /// <summary>One of our own probers has reason to doubt itself.</summary>
    /// <param name="author">Its id.</param>
    /// <param name="doubt">How much, 0 to 8.</param>
    public void Doubt(string author, double doubt) =>
        _inbox.Writer.TryWrite(() => _aggregator.Ledger.Doubt(author, doubt, _time.GetUtcNow()));

    /// <summary>
    /// Yields what each evaluation from now on changes. Ends by itself when the reader falls more than a thousand evaluations behind; it then asks for the present
    /// state and watches again.
    /// </summary>
    public IAsyncEnumerable<HealthNews> WatchAsync(CancellationToken cancellationToken) => _watchers.WatchAsync(cancellationToken);

    /// <summary>The desired state of upstreams has changed: who is to be decided about, by which policy, with which orders.</summary>
    /// <param name="desired">The state in force.</param>
    /// <param name="upstreams">The upstreams that may differ.</param>
    public void Follow(DesiredState desired, IEnumerable<string> upstreams)
    {
        lock (_lock)
        {
            _desired = desired;
            _touched.UnionWith(upstreams);
            if (_touched.Count == 0)
            {
                return;
            }
        }

        _inbox.Writer.TryWrite(static () => { });
    }

    /// <summary>Whether the model here is the one that decides: a moment after this server took over, and not while it does.</summary>
    public bool Leads => _leads;

    /// <summary>This server begins to decide, from what it published last, or leaves that to another one from now on.</summary>
    public void Lead(bool leads) =>
        // In its turn: what was adopted before is where it begins.
        _inbox.Writer.TryWrite(() => _isEvaluationDue = _leads = leads);

    /// <summary>Puts in force what another server decided, and goes on from there should this one have to decide.</summary>
    public void Adopt(HealthMemory decided) =>
        _inbox.Writer.TryWrite(() =>
        {
            if (_leads)
            {
                return;
            }

            Settle();
            DesiredState desired;
            lock (_lock)
            {
                desired = _desired;
            }

            if (decided.Fleet is { } fleet)
            {
                _aggregator.Restore(fleet, _time.GetUtcNow());
            }

            foreach (var name in decided.Upstreams.Keys)
            {
                Forget(name);
                Define(name, desired, decided);
            }

            _aggregator.Advance(_time.GetUtcNow());
            PutVerdictsOn([.. decided.Upstreams.Keys]);
        });

    /// <summary>
    /// Begins with the first complete state, before it is compiled: whoever was condemned when the last process stopped is still when the first proxy asks. Called once.
    /// </summary>
    public void Begin(DesiredState desired, HealthMemory? memory)
    {
        if (memory?.Fleet is { } fleet)
        {
            _aggregator.Restore(fleet, _time.GetUtcNow());
        }

        foreach (var name in desired.List(ResourceKind.Upstream).Keys)
        {
            Define(name, desired, memory);
        }

        // Probers that run already are there from the first decision on: without any, nothing would ever be checked.
        while (_inbox.Reader.TryRead(out var item))
        {
            item();
        }

        Evaluate();
        PutVerdictsOn(_followed.Keys);
        _begun.SetResult();
    }

    // ------------------------------------------------------------------------------------------------------------------ the loop

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await _begun.Task.WaitAsync(stoppingToken);
        await using var ticks = _time.CreateTimer(_ => Tick(), null, _tickInterval, _tickInterval);
        _ticks = ticks;
        SetTickInterval();
        while (await _inbox.Reader.WaitToReadAsync(stoppingToken))
        {
            while (_inbox.Reader.TryRead(out var item))
            {
                item();
            }

            Settle();
        }
    }

    /// <summary>Half the shortest edge interval, so that where probes hurry, verdicts do not wait (section 4.5 of the health model).</summary>
    private void SetTickInterval()
    {
        var interval = _policy.EvaluationInterval;
        foreach (var followed in _followed.Values)
        {
            var half = followed.Policy.ProbeEdgeInterval / 2;
            interval = followed.Policy.HasChecks && half < interval ? half : interval;
        }

        interval = interval > ShortestTick ? interval : ShortestTick;
        if (interval != _tickInterval)
        {
            _tickInterval = interval;
            _ticks?.Change(interval, interval);
        }
    }

    /// <summary>At most one tick waits: a loop that is late looks once.</summary>
    private void Tick()
    {
        if (Interlocked.Exchange(ref _tickWaits, 1) == 0)
        {
            _inbox.Writer.TryWrite(() =>
            {
                Volatile.Write(ref _tickWaits, 0);
                if (_leads)
                {
                    Resize();
                }

                _isEvaluationDue = true;
                Settle();
            });
        }
    }

    /// <summary>Brings the model in step with the desired state, and evaluates if something cannot wait or the time has come.</summary>
    private void Settle()
    {
        DefineTouched();
        if (_isEvaluationDue || _aggregator.Ledger.IsUrgent)
        {
            Evaluate();
        }

        if (_redefined.Count > 0)
        {
            // Also where what is published stayed: compilation must know about whom it was decided.
            PutVerdictsOn(_redefined);
            _watchers.Tell(new HealthNews(HealthChanges.None, []) { Redefined = [.. _redefined] });
            _redefined.Clear();
            SetTickInterval();
        }
    }

    private void DefineTouched()
    {
        HashSet<string> touched;
        DesiredState desired;
        lock (_lock)
        {
            (touched, desired) = (_touched, _desired);
            if (touched.Count > 0)
            {
                _touched = [];
            }
        }

        foreach (var name in touched)
        {
            // Another server's verdict may be here before the upstream is.
            var told = _leads || _followed.ContainsKey(name) ? null : Peers?.Recall(name);
            if (Define(name, desired, told))
            {
                _redefined.Add(name);
                _isEvaluationDue = true;
            }
        }
    }

    private void Evaluate()
    {
        _isEvaluationDue = false;
        var now = _time.GetUtcNow();
        if (!_leads)
        {
            // Whom another server distrusts is its to say; orders and penalties end here as well.
            _metrics.Quarantined(null);
            _aggregator.Advance(now);
            return;
        }

        var started = _time.GetTimestamp();
        var passed = _time.GetElapsedTime(0, started);
        var changes = _aggregator.Evaluate(now);
        foreach (var publication in changes.Publications)
        {
            _pace.Changed(publication.Upstream, publication.IsUrgent, passed);
        }

        PutVerdictsOn(_pace.TakeDue(passed));
        // Not only when one's standing changes: one in quarantine can be restored, or be forgotten.
        _metrics.Quarantined(_aggregator.QuarantinedObservers);
        _metrics.Evaluated(_time.GetElapsedTime(started));
        if (!ReferenceEquals(changes, HealthChanges.None))
        {
            Tell(changes);
        }
    }

    private void Tell(HealthChanges changes)
    {
        var reasons = ImmutableArray.CreateBuilder<EndpointExplanation?>(changes.Transitions.Length);
        foreach (var transition in changes.Transitions)
        {
            var rows = reasons.Count < MaxDetailedReasons ? EndpointExplanation.MaxRows : 0;
            var reason = _aggregator.ExplainEndpoint(transition.Upstream, transition.Endpoint, rows: rows);
            reasons.Add(reason);
            _metrics.Moved(transition);
            var level = transition.To == HealthState.Down ? LogLevel.Warning : LogLevel.Information;
            var (from, to, rule) = (transition.From.Name(), transition.To.Name(), transition.Rule.Name());
            LogTransition(level, transition.Upstream, transition.Endpoint, from, to, rule, reason?.Sentence ?? "");
        }

        foreach (var upstream in changes.Transitions.Select(t => t.Upstream).Distinct())
        {
            _metrics.Count(upstream, _aggregator.CountsOf(upstream));
        }

        foreach (var guard in changes.Guards)
        {
            _metrics.Guarded(guard.Guard);
        }

        foreach (var incident in changes.Incidents)
        {
            if (incident.IsOn)
            {
                LogIncident(incident.Upstream, incident.Kind, _aggregator.Explain(incident.Upstream)?.Sentence ?? "");
            }
            else
            {
                LogIncidentOver(incident.Upstream, incident.Kind);
            }
        }

        foreach (var observer in changes.Observers)
        {
            var level = observer is { IsQuarantined: false, IsStuck: false } ? LogLevel.Information : LogLevel.Warning;
            var standing = Standing(observer);
            LogObserver(level, observer.Author, standing);
        }

        var news = new HealthNews(changes, reasons.MoveToImmutable());
        _watchers.Tell(news);
    }

    private bool Enqueue(IReadOnlyList<HealthEvidence> evidence, TaskCompletionSource<ImmutableArray<EvidenceOutcome>>? outcomes)
    {
        if (Interlocked.Add(ref _pending, evidence.Count) > MaxPending)
        {
            Interlocked.Add(ref _pending, -evidence.Count);
            _metrics.Dropped(evidence);
            return false;
        }

        var receivedAt = _time.GetUtcNow();
        return _inbox.Writer.TryWrite(() => Take(evidence, receivedAt, outcomes));
    }

    private void Take(
        IReadOnlyList<HealthEvidence> evidence,
        DateTimeOffset receivedAt,
        TaskCompletionSource<ImmutableArray<EvidenceOutcome>>? outcomes
    )
    {
        // Evidence about an endpoint can be here as soon as the endpoint is.
        DefineTouched();
        Interlocked.Add(ref _pending, -evidence.Count);
        var results = outcomes is null ? null : ImmutableArray.CreateBuilder<EvidenceOutcome>(evidence.Count);
        foreach (var piece in evidence)
        {
            var outcome = _aggregator.Ledger.Record(piece, receivedAt);
            _metrics.Received(piece, outcome, receivedAt);
            results?.Add(outcome);
        }

        outcomes?.SetResult(results!.MoveToImmutable());
    }

    // ------------------------------------------------------------------------------------------------------------------ the desired state

    /// <summary>Tells the model what the desired state says of an upstream.</summary>
    /// <returns>Whether anything differs from what it was told before.</returns>
    private bool Define(string name, DesiredState desired, HealthMemory? memory)
    {
        var known = _followed.GetValueOrDefault(name);
        if (
            desired.Find(new ResourceKey(ResourceKind.Upstream, name)) is not { Manifest.Spec: UpstreamSpec spec } resource
            || !spec.IsCentral()
        )
        {
            return Forget(name);
        }

        var endpoints = desired.Children(ResourceKind.Endpoint, name);
        var orders = desired.Children(ResourceKind.Override, name);
        if (
            known is not null
            && ReferenceEquals(known.Resource, resource)
            && ReferenceEquals(known.Endpoints, endpoints)
            && ReferenceEquals(known.Orders, orders)
        )
        {
            return false;
        }

        if (known is not null && known.Resource.Uid != resource.Uid)
        {
            // Another upstream of the same name.
            Forget(name);
            known = null;
        }

        var now = _time.GetUtcNow();
        var policy = ReferenceEquals(known?.Resource, resource) ? known.Policy : HealthDefinition.PolicyOf(spec);
        var targets = HealthDefinition.TargetsOf(spec, HealthDefinition.EndpointsOf(name, spec, desired), _options.ProbeTargets);
        // What leaves an upstream without endpoints was confirmed when it was written.
        _aggregator.SetUpstream(name, policy, targets, now, mayEmpty: true);
        var remembered = memory?.Upstreams.GetValueOrDefault(name);
        if (remembered?.Uid is { } uid && uid != resource.Uid)
        {
            remembered = null;
        }

        if (remembered?.Memory is { } remains)
        {
            _aggregator.Restore(name, remains, now);
        }

        foreach (var (id, order) in orders)
        {
            var evidence = OrderOf(name, id, order);
            var outcome = _aggregator.Ledger.Record(evidence, now);
            if (!ReferenceEquals(known?.Orders.GetValueOrDefault(id), order))
            {
                _metrics.Received(evidence, outcome, now);
            }
        }

        foreach (var (id, _) in known?.Orders.Where(o => !orders.ContainsKey(o.Key)) ?? [])
        {
            _aggregator.Ledger.ClearOverride(name, id);
        }

        var isLarge = targets.Length >= UpstreamCompiler.LargeFrom;
        var wasLarge = known?.IsLarge ?? remembered?.IsLarge ?? isLarge;
        var followed = new FollowedUpstream(resource, endpoints, orders, policy, targets, wasLarge)
        {
            ResizeSince = wasLarge == isLarge ? null : known?.ResizeSince ?? now,
        };
        _followed[name] = followed;
        if (followed.ResizeSince is null)
        {
            _resizing.Remove(name);
        }
        else
        {
            _resizing.Add(name);
        }

        return true;
    }

    private bool Forget(string name)
    {
        _aggregator.RemoveUpstream(name);
        _pace.Forget(name);
        _resizing.Remove(name);
        return _followed.Remove(name);
    }

    private void Resize()
    {
        if (_resizing.Count == 0)
        {
            return;
        }

        var now = _time.GetUtcNow();
        var resized = _resizing.Where(name => now - _followed[name].ResizeSince >= ResizeAfter).ToList();
        foreach (var name in resized)
        {
            _followed[name] = _followed[name] with { IsLarge = !_followed[name].IsLarge, ResizeSince = null };
            _resizing.Remove(name);
        }

        PutVerdictsOn(resized);
    }

    private static Override OrderOf(string upstream, string endpoint, StoredResource resource)
    {
        var spec = (OverrideSpec)resource.Manifest.Spec;
        return new Override
        {
            Upstream = upstream,
            Endpoint = endpoint,
            Author = resource.ManagedBy,
            Order = HealthDefinition.OrderOf(spec.Action),
            Reason = spec.Reason,
            StartedAt = spec.StartedAt,
            ExpiresAt = spec.ExpiresAt,
        };
    }

    private void PutVerdictsOn(IReadOnlyCollection<string> upstreams)
    {
        _verdicts.Put([.. upstreams.Select(name => KeyValuePair.Create(name, VerdictOn(name)))]);
        foreach (var name in upstreams)
        {
            _metrics.Count(name, _aggregator.CountsOf(name));
        }
    }

    /// <summary>What the model says of an upstream now; null if it is not decided about, or nothing was published yet.</summary>
    private UpstreamVerdict? VerdictOn(string name)
    {
        if (!_followed.TryGetValue(name, out var followed))
        {
            return null;
        }

        VerdictView? everyone = null;
        var zones = ImmutableSortedDictionary.CreateBuilder<string, VerdictView>(StringComparer.Ordinal);
        foreach (var publication in _aggregator.PublicationsOf(name))
        {
            var view = new VerdictView(followed.Targets, publication.Endpoints, publication.LocalityFactors);
            if (publication.Zone is null)
            {
                everyone = view;
            }
            else
            {
                zones[publication.Zone] = view;
            }
        }

        return everyone is null
            ? null
            : new UpstreamVerdict
            {
                Everyone = everyone,
                Zones = zones.ToImmutable(),
                IsLarge = followed.IsLarge,
            };
    }

    /// <summary>An upstream as the model was told it last.</summary>
    private sealed record FollowedUpstream(
        StoredResource Resource,
        ImmutableSortedDictionary<string, StoredResource> Endpoints,
        ImmutableSortedDictionary<string, StoredResource> Orders,
        HealthPolicy Policy,
        ImmutableArray<HealthTarget> Targets,
        bool IsLarge
    )
    {
        /// <summary>Since when the number of endpoints speaks for the other size class; null if it does not.</summary>
        public DateTimeOffset? ResizeSince { get; init; }
    }

    [LoggerMessage(EventId = 8001, Message = "Endpoint {Endpoint} of {Upstream} went from {From} to {To} by rule {Rule}: {Reason}")]
    private partial void LogTransition(
        LogLevel level,
        string upstream,
        string endpoint,
        string from,
        string to,
        string rule,
        string reason
    );

    [LoggerMessage(8002, LogLevel.Warning, "Incident of {Upstream} began: {Incident}. {Reason}")]
    private partial void LogIncident(string upstream, IncidentKind incident, string reason);

    [LoggerMessage(8003, LogLevel.Information, "Incident of {Upstream} is over: {Incident}")]
    private partial void LogIncidentOver(string upstream, IncidentKind incident);

    private static string Standing(ObserverChange observer) =>
        (observer.IsQuarantined, observer.IsStuck) switch
        {
            (true, true) => "is in quarantine: neither its failures nor its passes count, because the others contradict both",
            (true, false) => "is in quarantine: its failures do not count, because the others contradict them; its passes do",
            (false, true) => "passes what the others fail: its passes do not count; its failures do",
            (false, false) => "agrees with the others again: all that it says counts",
        };

    [LoggerMessage(EventId = 8004, Message = "Observer {Observer} {Standing}")]
    private partial void LogObserver(LogLevel level, string observer, string standing);
}
