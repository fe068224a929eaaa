using System.Collections.Immutable;
using System.Diagnostics;
using System.Threading.Channels;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.Server.HealthIntake.DnsResolution;
using ControlPlane.Server.HealthIntake.Probing;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Telemetry;

namespace ControlPlane.Server.Publishing;

/// <summary>
/// Keeps this server in step with the desired state, and the proxies' snapshots in step with it. The only writer of <see cref="CurrentState"/> and of the snapshots.
/// </summary>
/// <remarks>
/// Six things can happen, and each ends in <see cref="PutAffected"/>: a change was admitted here; the store says that somebody wrote; time has come for a drain or an order to end;
/// a secret's file changed; a name resolves to something else; the verdict on an upstream's endpoints did. Putting a state in force marks what it touched; the publishing loop brings the snapshots in step: at once when it is idle, and merged with what
/// came in the meantime when it is not.
/// </remarks>
internal sealed partial class SnapshotPublisher : BackgroundService
{
    /// <summary>After a change of anything but endpoints was published the next one waits this long, and is merged with what comes meanwhile.</summary>
    private static readonly TimeSpan Pace = TimeSpan.FromMilliseconds(100);

    /// <summary>Time is looked at this often, whatever the next change: the clock can be set, and an order may end years ahead, further than timers count.</summary>
    private static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(1);

    private static readonly TimeSpan FirstLoadRetry = TimeSpan.FromSeconds(2);

    private readonly IDesiredStateStore _store;
    private readonly CurrentState _current;
    private readonly SnapshotViews _views;
    private readonly CurrentSnapshots _snapshots;
    private readonly DiscoveryServer _discovery;
    private readonly SecretFiles _secrets;
    private readonly CurrentVerdicts _verdicts;
    private readonly HealthKeeper _health;
    private readonly Prober _prober;
    private readonly NameResolver _names;
    private readonly HealthRecall _recall;
    private readonly LastGoodFile _lastGood;
    private readonly PublishingMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger<SnapshotPublisher> _logger;

    private readonly Lock _lock = new();
    private readonly Lane _changes = new(Pace);
    private readonly Lane _endpoints = new(TimeSpan.Zero);
    private readonly Channel<bool> _timerSignal = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite }
    );
    private readonly PriorityQueue<ResourceKey, DateTimeOffset> _due = new();
    private TaskCompletionSource? _published;
    private volatile string? _storeFault;
    private ImmutableHashSet<string> _zones = [];

    /// <summary>Creates the publisher.</summary>
    public SnapshotPublisher(
        IDesiredStateStore store,
        CurrentState current,
        SnapshotViews views,
        CurrentSnapshots snapshots,
        DiscoveryServer discovery,
        SecretFiles secrets,
        CurrentVerdicts verdicts,
        HealthKeeper health,
        Prober prober,
        NameResolver names,
        HealthRecall recall,
        LastGoodFile lastGood,
        PublishingMetrics metrics,
        TimeProvider time,
        ILogger<SnapshotPublisher> logger
    )
    {
        _store = store;
        _current = current;
        _views = views;
        _snapshots = snapshots;
        _discovery = discovery;
        _secrets = secrets;
        _verdicts = verdicts;
        _health = health;
        _prober = prober;
        _names = names;
        _recall = recall;
        _lastGood = lastGood;
        _metrics = metrics;
        _time = time;
        _logger = logger;
    }

    /// <summary>Why the state in force could not be brought in step with the store when it last signalled; null if it could.</summary>
    internal string? StoreFault => _storeFault;

    /// <summary>Completes when every change up to a revision is in the snapshots that the streams of proxies read.</summary>
    internal async Task PublishedAsync(long revision, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task next;
            lock (_lock)
            {
                if (_current.Desired.Revision >= revision && Math.Min(_changes.OldestRevision, _endpoints.OldestRevision) > revision)
                {
                    return;
                }

                _published ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                next = _published.Task;
            }

            await next.WaitAsync(cancellationToken);
        }
    }

    /// <summary>Puts an admitted and committed change in force.</summary>
    /// <param name="before">The state that the change was worked out against.</param>
    /// <param name="after">The successor, compiled already.</param>
    /// <param name="written">Objects that were written.</param>
    /// <param name="deleted">Objects that are gone, as they were.</param>
    internal void Advance(StatePair before, StatePair after, ImmutableArray<StoredResource> written, ImmutableArray<StoredResource> deleted)
    {
        lock (_lock)
        {
            if (_current.Desired.Revision >= after.Desired.Revision)
            {
                return; // the feed was faster
            }

            // Where time or a secret changed something meanwhile, the successor was compiled from what is no longer in force.
            var compiled = ReferenceEquals(_current.Pair, before) ? after.Compiled : null;
            Put(after.Desired, compiled, [.. written.Select(w => w.Key), .. deleted.Select(d => d.Key)], written, deleted);
        }
    }

    /// <summary>Reads from the store what was committed since the state in force, by whomever, and puts it in force.</summary>
    /// <exception cref="StoreUnavailableException">The store does not answer.</exception>
    internal async Task CatchUpAsync(CancellationToken cancellationToken)
    {
        var changes = await _store.ReadChangesAsync(_current.Desired.Revision, cancellationToken);
        var whole = changes is null ? await _store.LoadAsync(cancellationToken) : null;
        if (whole is { Revision: 0 })
        {
            throw Emptied(_current.Desired.Revision);
        }

        lock (_lock)
        {
            var desired = _current.Desired;
            if (whole is not null)
            {
                // The store cannot say what came after the state in force, which may not even be of its past: whatever differs is new.
                var kept = whole.Documents.Select(d => d.Key).ToHashSet();
                changes = new StoredChanges(
                    whole.Revision,
                    [
                        .. whole.Documents.Where(d =>
                            desired.Find(d.Key) is not { } known || known.Revision != d.Revision || known.Uid != d.Uid
                        ),
                    ],
                    [.. desired.All.Select(r => r.Key).Where(k => !kept.Contains(k))]
                );
            }
            else if (changes!.Revision <= desired.Revision)
            {
                return;
            }

            var written = Parse(changes.Written.Where(d => whole is not null || d.Revision > desired.Revision));
            var deleted = changes.Deleted.Select(desired.Find).OfType<StoredResource>().ToImmutableArray();
            var keys = deleted.Select(d => d.Key).ToList();
            Put(desired.Apply(changes.Revision, written, keys), null, [.. written.Select(w => w.Key), .. keys], written, deleted);
        }
    }

    /// <summary>Only a database that was made anew, or is another one, is behind us and has nothing. To follow it would take everything from every proxy.</summary>
    private StoreUnavailableException Emptied(long inForce) =>
        new(
            $"{_store.Description} is empty, and revision {inForce} is in force: restore a backup into it, or, to begin anew, stop the servers, remove {_lastGood.Path} of each and start them"
        );

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await LoadAsync(stoppingToken);
        _secrets.Changed += OnSecretChanged;
        _names.Changed += OnResolved;
        // Resolved before anybody listened.
        OnResolved([.. _names.Resolved.Keys]);

        try
        {
            await Task.WhenAll(
                FollowStoreAsync(stoppingToken),
                FollowTimeAsync(stoppingToken),
                FollowVerdictsAsync(stoppingToken),
                PublishAsync(_changes, stoppingToken),
                PublishAsync(_endpoints, stoppingToken)
            );
        }
        finally
        {
            _secrets.Changed -= OnSecretChanged;
            _names.Changed -= OnResolved;
        }
    }

    private async Task LoadAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                await _store.MigrateAsync(cancellationToken);
                var state = await _store.LoadAsync(cancellationToken);
                if (state.Revision == 0 && await _lastGood.LoadAsync(cancellationToken) is { Revision: > 0 } before)
                {
                    throw Emptied(before.Revision);
                }

                await PutFirstAsync(state, cancellationToken);
                LogLoaded(_logger, state.Documents.Count, state.Revision, _store.Description);
                return;
            }
            catch (StoreUnavailableException e)
            {
                _storeFault = e.Message;
                LogStoreUnavailable(_logger, _store.Description, e.Message);
                if (await _lastGood.LoadAsync(cancellationToken) is { } lastGood)
                {
                    await PutFirstAsync(lastGood, cancellationToken);
                    LogLoadedLastGood(_logger, lastGood.Documents.Count, lastGood.Revision);
                    return;
                }

                await Task.Delay(FirstLoadRetry, _time, cancellationToken);
            }
        }
    }

    private async Task PutFirstAsync(StoredState state, CancellationToken cancellationToken)
    {
        var resources = Parse(state.Documents);
        var desired = DesiredState.Empty.Apply(state.Revision, resources, []);
        var memory = await _recall(cancellationToken);
        if (memory is not null)
        {
            _names.Adopt(memory);
        }

        FollowNames(desired, desired.List(ResourceKind.Upstream).Keys);
        _health.Begin(desired.WithResolved(_names.Resolved), memory);
        lock (_lock)
        {
            _verdicts.TakeChanged();
            Put(desired, null, [.. resources.Select(r => r.Key)], resources, []);
            var (dirty, origin) = _changes.Take();
            Publish(dirty, origin);
        }

        _current.SetLoaded();
        _snapshots.MarkReady();
    }

    private async Task FollowStoreAsync(CancellationToken cancellationToken)
    {
        await foreach (var revision in _store.WatchAsync(cancellationToken))
        {
            // A lower one may be of a database that was restored: catching up finds out.
            if (revision == _current.Desired.Revision)
            {
                _storeFault = null;
                continue;
            }

            try
            {
                await CatchUpAsync(cancellationToken);
                _storeFault = null;
            }
            catch (StoreUnavailableException e)
            {
                // The watch makes its connection anew and signals then: nothing is lost.
                _storeFault = e.Message;
                LogStoreUnavailable(_logger, _store.Description, e.Message);
            }
        }
    }

    private async Task FollowTimeAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            TimeSpan? wait;
            lock (_lock)
            {
                var now = _time.GetUtcNow();
                var due = new HashSet<ResourceKey>();
                while (_due.TryPeek(out var key, out var at) && at <= now)
                {
                    _due.Dequeue();
                    due.Add(key);
                }

                if (due.Count > 0)
                {
                    Put(_current.Desired, null, due, [], []);
                }

                wait = _due.TryPeek(out _, out var next) ? TimeSpan.FromTicks(Math.Min((next - now).Ticks, LongestWait.Ticks)) : null;
            }

            var signalled = _timerSignal.Reader.WaitToReadAsync(cancellationToken).AsTask();
            if (wait is { } delay)
            {
                using var cancelDelay = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
                await Task.WhenAny(signalled, Task.Delay(delay, _time, cancelDelay.Token));
                await cancelDelay.CancelAsync();
            }
            else
            {
                await signalled;
            }

            cancellationToken.ThrowIfCancellationRequested();
            _timerSignal.Reader.TryRead(out _);
        }
    }

    private async Task FollowVerdictsAsync(CancellationToken cancellationToken)
    {
        await foreach (var _ in _verdicts.Changed.ReadAllAsync(cancellationToken))
        {
            lock (_lock)
            {
                var upstreams = _verdicts.TakeChanged().Select(name => new ResourceKey(ResourceKind.Upstream, name)).ToList();
                PutAffected(_current.Desired, null, CompiledState.Affected(_current.Desired, upstreams), [], [], _endpoints);
            }
        }
    }

    private void OnResolved(string upstream) => OnResolved([upstream]);

    private void OnResolved(IReadOnlyCollection<string> upstreams)
    {
        lock (_lock)
        {
            // An endpoint of each, whichever.
            Put(_current.Desired, null, [.. upstreams.Select(u => ResourceKey.Sub(ResourceKind.Endpoint, u, "resolved"))], [], []);
        }
    }

    private void OnSecretChanged(ResourceKey secret)
    {
        lock (_lock)
        {
            Put(_current.Desired, null, [secret], [], []);
        }
    }

    /// <summary>Puts a state in force and marks what it touched for publication.</summary>
    private void Put(
        DesiredState desired,
        CompiledState? compiled,
        IReadOnlyCollection<ResourceKey> touched,
        ImmutableArray<StoredResource> written,
        ImmutableArray<StoredResource> deleted
    )
    {
        var affected = CompiledState.Affected(desired, touched);
        var upstreams = affected.Where(k => k.Kind == ResourceKind.Upstream).Select(k => k.Name).ToList();
        FollowNames(desired, upstreams);
        if (!ReferenceEquals(desired.Resolved, _names.Resolved))
        {
            desired = desired.WithResolved(_names.Resolved);
            compiled = null;
        }

        var lane = touched.All(k => DesiredState.IsSubResource(k.Kind)) ? _endpoints : _changes;
        PutAffected(desired, compiled, affected, written, deleted, lane);
        _health.Follow(desired, upstreams);
        var users = affected.Where(k => k.Kind == ResourceKind.Secret).SelectMany(desired.Referrers);
        _prober.Follow(desired, upstreams.Concat(users.Where(k => k.Kind == ResourceKind.Upstream).Select(k => k.Name)));
        if (desired.Revision > 0)
        {
            _lastGood.Offer(desired.Revision, desired.All.Select(r => DocumentOf(r, CanonicalForm.Write(r.Manifest))));
        }
    }

    private void FollowNames(DesiredState desired, IEnumerable<string> upstreams)
    {
        foreach (var name in upstreams)
        {
            _names.Follow(name, (desired.Find(new ResourceKey(ResourceKind.Upstream, name))?.Manifest.Spec as UpstreamSpec)?.Endpoints);
        }
    }

    private void PutAffected(
        DesiredState desired,
        CompiledState? compiled,
        IReadOnlySet<ResourceKey> affected,
        ImmutableArray<StoredResource> written,
        ImmutableArray<StoredResource> deleted,
        Lane lane
    )
    {
        var started = _time.GetTimestamp();
        var inputs = new CompilationInputs(_time.GetUtcNow(), _secrets.Resolve) { Health = _verdicts.Find };
        compiled ??= _current.Compiled.Recompile(desired, affected, inputs);
        _current.Advance(new StatePair(desired, compiled), written, deleted);
        _metrics.SnapshotBuilt(_time.GetElapsedTime(started));
        foreach (var key in affected)
        {
            var result = compiled.Find(key);
            if (result is { IsRejected: true })
            {
                LogNotInForce(_logger, key.ToString(), string.Join("; ", result.Problems.Select(p => p.Message)));
            }

            if (key.Kind == ResourceKind.Secret)
            {
                if (desired.Find(key)?.Manifest.Spec is SecretSpec secret)
                {
                    _secrets.Watch(key, secret);
                }
                else
                {
                    _secrets.Unwatch(key);
                }
            }

            if (result?.NextChangeAt is { } at)
            {
                _due.Enqueue(key, at);
                _timerSignal.Writer.TryWrite(true);
            }
        }

        var committedAt = written.IsEmpty ? _time.GetUtcNow() : written.Min(w => w.UpdatedAt);
        lane.Mark(desired.Revision, affected, new Origin(committedAt, Activity.Current?.Context ?? default));
    }

    private async Task PublishAsync(Lane lane, CancellationToken cancellationToken)
    {
        while (await lane.Signal.Reader.WaitToReadAsync(cancellationToken))
        {
            lane.Signal.Reader.TryRead(out _);
            lock (_lock)
            {
                var (dirty, origin) = lane.Take();
                if (lane == _endpoints)
                {
                    // An upstream with a greater change under way goes out with that, so that nothing of a change is published before its time.
                    dirty.RemoveWhere(_changes.Holds);
                }

                Publish(dirty, origin);
                _published?.SetResult();
                _published = null;
            }

            if (lane.Pace > TimeSpan.Zero)
            {
                await Task.Delay(lane.Pace, _time, cancellationToken);
            }
        }
    }

    private void Publish(HashSet<ResourceKey> changed, Origin? origin)
    {
        if (origin is not null && changed.Count > 0)
        {
            using var span = Tracing.StartPublish(origin.Trace, _current.Desired.Revision);
            _views.Publish(_snapshots, changed, origin.CommittedAt);
            var zones = _verdicts.Zones;
            if (changed.Any(k => k.Kind == ResourceKind.NodeGroup) || !ReferenceEquals(zones, _zones))
            {
                _zones = zones;
                _discovery.ReassignNodes();
            }
        }
    }

    /// <summary>Where a change comes from.</summary>
    /// <param name="CommittedAt">When it was written.</param>
    /// <param name="Trace">The span in which it was; default if it is not traced.</param>
    private sealed record Origin(DateTimeOffset CommittedAt, ActivityContext Trace);

    /// <summary>What waits for publication, of one urgency.</summary>
    private sealed class Lane(TimeSpan pace)
    {
        private HashSet<ResourceKey> _dirty = [];

        // Of the change that waits longest; the others are merged with it.
        private Origin? _origin;

        /// <summary>How long the lane rests after a publication; what comes meanwhile is merged.</summary>
        public TimeSpan Pace { get; } = pace;

        /// <summary>Holds at most one signal: that something is dirty.</summary>
        public Channel<bool> Signal { get; } =
            Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

        /// <summary>The oldest revision of which something waits here; greater than any if nothing does.</summary>
        public long OldestRevision { get; private set; } = long.MaxValue;

        public bool Holds(ResourceKey key) => _dirty.Contains(key);

        public void Mark(long revision, IEnumerable<ResourceKey> keys, Origin origin)
        {
            _origin ??= origin;
            OldestRevision = Math.Min(OldestRevision, revision);
            _dirty.UnionWith(keys);
            Signal.Writer.TryWrite(true);
        }

        public (HashSet<ResourceKey> Dirty, Origin? Origin) Take()
        {
            var taken = (_dirty, _origin);
            _dirty = [];
            _origin = null;
            OldestRevision = long.MaxValue;
            return taken;
        }
    }

    /// <summary>The form in which the store keeps an object.</summary>
    internal static StoredDocument DocumentOf(StoredResource resource, string json) =>
        new(
            resource.Key,
            resource.Uid,
            resource.Generation,
            resource.Revision,
            resource.CreatedAt,
            resource.UpdatedAt,
            resource.ManagedBy,
            json
        );

    /// <summary>What the store keeps, of now or of the past, as an object.</summary>
    internal static StoredResource ResourceOf(StoredDocument document) =>
        new()
        {
            Manifest = CanonicalForm.Read(document.Json),
            Uid = document.Uid,
            Generation = document.Generation,
            Revision = document.Revision,
            CreatedAt = document.CreatedAt,
            UpdatedAt = document.UpdatedAt,
            ManagedBy = document.ManagedBy,
        };

    private static ImmutableArray<StoredResource> Parse(IEnumerable<StoredDocument> documents) => [.. documents.Select(ResourceOf)];

    [LoggerMessage(1001, LogLevel.Information, "Loaded {Objects} objects at revision {Revision} from {Store}")]
    private static partial void LogLoaded(ILogger logger, int objects, long revision, string store);

    [LoggerMessage(
        1002,
        LogLevel.Warning,
        "The store {Store} is unavailable: {Reason}. Proxies are served from memory; writes are refused until it answers"
    )]
    private static partial void LogStoreUnavailable(ILogger logger, string store, string reason);

    [LoggerMessage(
        1003,
        LogLevel.Warning,
        "Loaded {Objects} objects at revision {Revision} from the last-good file; the store will be followed when it answers"
    )]
    private static partial void LogLoadedLastGood(ILogger logger, int objects, long revision);

    [LoggerMessage(
        1004,
        LogLevel.Error,
        "{Object} does not compile and is not in force; its last good state is, if this server has had one: {Problems}"
    )]
    private static partial void LogNotInForce(ILogger logger, string @object, string problems);
}
