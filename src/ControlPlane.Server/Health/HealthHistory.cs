using System.Collections.Immutable;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Api;

namespace ControlPlane.Server.Health;

/// <summary>
/// What the health model did lately, for those who ask why and those who wait. Follows the keeper, keeps the newest transitions, and marks for the archive what is to be
/// written down.
/// </summary>
internal sealed class HealthHistory : BackgroundService
{
    /// <summary>Transitions that are kept in memory; the store keeps more.</summary>
    public const int Kept = 10_000;

    private readonly Lock _lock = new();
    private readonly HealthKeeper _keeper;
    private readonly HealthArchive _archive;
    private readonly TimeProvider _time;
    private readonly Queue<HealthTransitionView> _recent = [];
    private readonly Dictionary<string, Upstream> _upstreams = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _stop = new();
    private readonly Watchers<HealthTransitionView> _watchers = new();
    private IAsyncEnumerator<HealthNews>? _feed;
    private Task<bool>? _next;
    private long _floor;
    private long _lastId;

    public HealthHistory(HealthKeeper keeper, HealthArchive archive, TimeProvider time)
    {
        _keeper = keeper;
        _archive = archive;
        _time = time;
        _floor = time.GetUtcNow().ToUnixTimeMilliseconds();
        KeptSince = time.GetUtcNow();
    }

    /// <summary>From this moment on every transition is in <see cref="Recent"/>.</summary>
    public DateTimeOffset KeptSince { get; private set; }

    /// <summary>Takes transitions that another server made.</summary>
    public void Follow(IReadOnlyList<HealthTransitionView> transitions)
    {
        foreach (var transition in transitions)
        {
            _lastId = Math.Max(_lastId, transition.Id);
        }

        Take(transitions.Select(t => t.Upstream).ToHashSet(StringComparer.Ordinal), transitions, isEveryone: false);
    }

    /// <summary>Stands for what can be said about an upstream now; it is another number after each change, and grows while the process lives.</summary>
    public long IndexOf(string upstream)
    {
        lock (_lock)
        {
            return _upstreams.TryGetValue(upstream, out var known) ? Math.Max(known.Index, _floor) : _floor;
        }
    }

    /// <summary>Completes when an upstream's index is another one than given; at once if it is.</summary>
    public Task ChangeAsync(string upstream, long index)
    {
        lock (_lock)
        {
            if (!_upstreams.TryGetValue(upstream, out var known))
            {
                known = _upstreams[upstream] = new Upstream();
            }

            if (Math.Max(known.Index, _floor) != index)
            {
                return Task.CompletedTask;
            }

            known.Waiting ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return known.Waiting.Task;
        }
    }

    /// <summary>The transitions in memory, oldest first.</summary>
    public ImmutableArray<HealthTransitionView> Recent()
    {
        lock (_lock)
        {
            return [.. _recent];
        }
    }

    /// <summary>Yields transitions from the call on. Ends by itself when the reader falls a thousand behind.</summary>
    public IAsyncEnumerable<HealthTransitionView> WatchAsync(CancellationToken cancellationToken) =>
        _watchers.WatchAsync(cancellationToken);

    /// <summary>Listens from now on: the model's first evaluation is not to be missed.</summary>
    public override Task StartAsync(CancellationToken cancellationToken)
    {
        Listen();
        return base.StartAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        // Where a start failed nobody has stopped it: the base cancels first, and that is passed on.
        base.Dispose();
        _stop.Dispose();
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await using var registration = stoppingToken.Register(_stop.Cancel);
        try
        {
            while (true)
            {
                while (await _next!)
                {
                    Take(_feed!.Current);
                    _next = _feed.MoveNextAsync().AsTask();
                }

                // Fallen behind: what happened meanwhile is not known one by one.
                await _feed!.DisposeAsync();
                Listen();
                Take([], [], isEveryone: true);
                _archive.MarkAll();
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The end of the process.
        }
    }

    private void Listen()
    {
        _feed = _keeper.WatchAsync(_stop.Token).GetAsyncEnumerator(_stop.Token);
        _next = _feed.MoveNextAsync().AsTask();
    }

    private void Take(HealthNews news)
    {
        var changes = news.Changes;
        var touched = new HashSet<string>(StringComparer.Ordinal);
        touched.UnionWith(changes.Publications.Select(p => p.Upstream));
        touched.UnionWith(changes.Transitions.Select(t => t.Upstream));
        touched.UnionWith(changes.Incidents.Select(i => i.Upstream));
        touched.UnionWith(changes.Guards.Select(g => g.Upstream));
        HealthTransitionView[] transitions =
        [
            .. changes.Transitions.Zip(news.Reasons, (step, reason) => HealthViews.Of(step, NextId(step.At), reason)),
        ];
        Take([.. touched, .. news.Redefined], transitions, isEveryone: !changes.Observers.IsEmpty);
        if (!ReferenceEquals(changes, HealthChanges.None))
        {
            _archive.Mark(touched, transitions);
        }
    }

    /// <summary>Ids are microseconds since 1970, so that they grow over restarts and from server to server, too.</summary>
    private long NextId(DateTimeOffset at) =>
        _lastId = Math.Max(_lastId + 1, (at.UtcTicks - DateTimeOffset.UnixEpoch.UtcTicks) / TimeSpan.TicksPerMicrosecond);

    private void Take(HashSet<string> touched, IReadOnlyList<HealthTransitionView> transitions, bool isEveryone)
    {
        var waiting = new List<TaskCompletionSource>();
        lock (_lock)
        {
            var now = _time.GetUtcNow().ToUnixTimeMilliseconds();
            foreach (var name in touched)
            {
                if (!_upstreams.TryGetValue(name, out var upstream))
                {
                    upstream = _upstreams[name] = new Upstream();
                }

                upstream.Index = Math.Max(Math.Max(upstream.Index, _floor) + 1, now);
                Wake(upstream);
            }

            if (isEveryone)
            {
                // Whom the model believes is part of every explanation.
                _floor = Math.Max(_upstreams.Values.Select(u => u.Index).DefaultIfEmpty(_floor).Max() + 1, now);
                foreach (var upstream in _upstreams.Values)
                {
                    Wake(upstream);
                }
            }

            foreach (var transition in transitions)
            {
                _recent.Enqueue(transition);
                if (_recent.Count > Kept)
                {
                    KeptSince = _recent.Dequeue().At + TimeSpan.FromTicks(1);
                }

                _watchers.Tell(transition);
            }
        }

        waiting.ForEach(w => w.TrySetResult());

        void Wake(Upstream upstream)
        {
            if (upstream.Waiting is { } source)
            {
                waiting.Add(source);
                upstream.Waiting = null;
            }
        }
    }

    private sealed class Upstream
    {
        public long Index { get; set; }

        public TaskCompletionSource? Waiting { get; set; }
    }
}
