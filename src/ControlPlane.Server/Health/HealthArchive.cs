using System.Collections.Immutable;
using System.Threading.Channels;
using ControlPlane.Core.Health;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.HealthIntake.DnsResolution;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Health;

/// <summary>How long transitions are kept. One is forgotten when either limit says so.</summary>
public sealed record TransitionRetention
{
    /// <summary>Younger ones are kept. Positive; 7 days unless said.</summary>
    public TimeSpan Age { get; init; } = TimeSpan.FromDays(7);

    /// <summary>Of all upstreams together, the newest this many are kept. At least 1; 100,000 unless said.</summary>
    public int Count { get; init; } = 100_000;
}

/// <summary>
/// Writes down what the health model remembers, within a second of each change: into the store, and into the last-good file for a start without it. Never in the way of a
/// decision: while the store is away what changes is gathered, the newest state of each upstream only, and written when it is back. Of several servers the one that decides
/// writes. What an upstream's names resolve to is remembered with it.
/// </summary>
internal sealed partial class HealthArchive : BackgroundService
{
    /// <summary>Transitions that wait for the store at most; older ones are dropped first.</summary>
    internal const int MaxWaiting = 10_000;

    /// <summary>Between two gatherings and two writes of the store: what changes meanwhile is taken together.</summary>
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(200);

    /// <summary>Between two attempts while the store is away.</summary>
    private static readonly TimeSpan Retry = TimeSpan.FromSeconds(1);

    /// <summary>How often everything is compared with what was written. What decays by time alone is told by no change.</summary>
    private static readonly TimeSpan Sweep = TimeSpan.FromMinutes(1);

    /// <summary>How far the clocks of servers may lie apart for one to find what the other has written.</summary>
    private static readonly TimeSpan ClockSkew = TimeSpan.FromMinutes(1);

    private static readonly TimeSpan PruneInterval = TimeSpan.FromHours(1);

    private static readonly TimeSpan MaxFilePause = TimeSpan.FromMinutes(1);

    /// <summary>The file is written so rarely that writing takes at most this share of the time.</summary>
    private const double FileShare = 0.2;

    /// <summary>Upstreams that are asked for at a time, so that the keeper is never held up for long.</summary>
    private const int Chunk = 100;

    private readonly IHealthStore _store;
    private readonly LastGoodHealthFile _file;
    private readonly HealthKeeper _keeper;
    private readonly CurrentVerdicts _verdicts;
    private readonly CurrentState _current;
    private readonly NameResolver _names;
    private readonly HealthLeadership _leadership;
    private readonly TransitionRetention _retention;
    private readonly TimeProvider _time;
    private readonly ILogger<HealthArchive> _logger;

    private readonly Lock _lock = new();
    private readonly Signal _gather = new();
    private readonly Signal _write = new();
    private readonly Signal _writeFile = new();
    private HashSet<string> _marked = [];
    private List<StoredTransition> _happened = [];

    // Changed under the lock, read without it.
    private ImmutableDictionary<string, StoredHealth> _newest = ImmutableDictionary<string, StoredHealth>.Empty;
    private Dictionary<string, StoredHealth> _unwritten = [];
    private Queue<StoredTransition> _waiting = new();
    private ImmutableArray<ChannelWriter<HealthBatch>> _followers = [];
    private bool _isStoreAway;

    public HealthArchive(
        IHealthStore store,
        LastGoodHealthFile file,
        HealthKeeper keeper,
        CurrentVerdicts verdicts,
        CurrentState current,
        NameResolver names,
        HealthLeadership leadership,
        TransitionRetention retention,
        TimeProvider time,
        ILogger<HealthArchive> logger
    )
    {
        _store = store;
        _file = file;
        _keeper = keeper;
        _verdicts = verdicts;
        _current = current;
        _names = names;
        _leadership = leadership;
        _retention = retention;
        _time = time;
        _logger = logger;
    }

    /// <summary>What is remembered of everything now.</summary>
    public ImmutableDictionary<string, StoredHealth> Newest => Volatile.Read(ref _newest);

    /// <summary>Whether something waits for the store.</summary>
    internal bool IsBehind
    {
        get
        {
            lock (_lock)
            {
                return _marked.Count + _happened.Count + _unwritten.Count + _waiting.Count > 0;
            }
        }
    }

    /// <summary>
    /// Reads what an earlier process remembered: of each upstream the newer of what the store and the file say. The file is ahead where that process died while the store was
    /// away.
    /// </summary>
    public async Task<HealthMemory?> RecallAsync(CancellationToken cancellationToken)
    {
        var newest = ImmutableDictionary.CreateBuilder<string, StoredHealth>(StringComparer.Ordinal);
        var ahead = new Dictionary<string, StoredHealth>(StringComparer.Ordinal);
        foreach (var stored in await _file.LoadAsync(cancellationToken))
        {
            newest[stored.Upstream] = ahead[stored.Upstream] = stored;
        }

        try
        {
            foreach (var stored in await _store.LoadHealthAsync(DateTimeOffset.MinValue, cancellationToken))
            {
                if (!newest.TryGetValue(stored.Upstream, out var known) || known.UpdatedAt <= stored.UpdatedAt)
                {
                    newest[stored.Upstream] = stored;
                    ahead.Remove(stored.Upstream);
                }
            }
        }
        catch (StoreUnavailableException e)
        {
            LogRecalledFromFile(newest.Count, e.Message);
        }

        lock (_lock)
        {
            _newest = newest.ToImmutable();
            _unwritten = ahead;
        }

        if (ahead.Count > 0)
        {
            _write.Set();
        }

        return newest.Count == 0 ? null : StoredHealthJson.Read(newest.Values, (upstream, e) => LogUnreadable(upstream, e.Message));
    }

    /// <summary>
    /// Reads what another server has written to the store and told nobody here: one that is not heard, or that has just died. Nothing where the store is away.
    /// </summary>
    public async Task<HealthMemory> CatchUpAsync(CancellationToken cancellationToken)
    {
        var known = Newest;
        var newest = known.IsEmpty ? DateTimeOffset.MinValue : known.Values.Max(s => s.UpdatedAt) - ClockSkew;
        List<StoredHealth> newer;
        try
        {
            newer =
            [
                .. (await _store.LoadHealthAsync(newest, cancellationToken)).Where(s =>
                    !known.TryGetValue(s.Upstream, out var here) || here.UpdatedAt < s.UpdatedAt
                ),
            ];
        }
        catch (StoreUnavailableException)
        {
            newer = [];
        }

        if (newer.Count > 0)
        {
            Adopt(newer, isWhole: false);
        }

        return StoredHealthJson.Read(newer, (upstream, e) => LogUnreadable(upstream, e.Message));
    }

    /// <summary>Something about upstreams is new, and these transitions happened.</summary>
    public void Mark(IReadOnlyCollection<string> upstreams, IReadOnlyList<HealthTransitionView> transitions)
    {
        lock (_lock)
        {
            _marked.UnionWith(upstreams);
            // Without the observers that spoke, what is remembered of an upstream would look as if nobody ever had.
            _marked.Add(StoredHealthJson.Fleet);

            foreach (var transition in transitions)
            {
                _happened.Add(new StoredTransition(transition.Id, transition.Upstream, transition.At, StoredHealthJson.Write(transition)));
            }
        }

        _gather.Set();
    }

    /// <summary>Anything may be new.</summary>
    public void MarkAll() => Mark([.. _current.Desired.List(ResourceKind.Upstream).Keys, .. Newest.Keys], []);

    /// <summary>Tells everything that is gathered from now on. A follower that does not keep up is ended, by the completion of its channel.</summary>
    /// <returns>Ends it.</returns>
    public IDisposable Subscribe(ChannelWriter<HealthBatch> follower)
    {
        lock (_lock)
        {
            _followers = _followers.Add(follower);
        }

        return new Subscription(this, follower);
    }

    /// <summary>Takes what another server decided: it writes the store, and this one its own file.</summary>
    public void Adopt(IReadOnlyCollection<StoredHealth> decided, bool isWhole)
    {
        lock (_lock)
        {
            var newest = isWhole ? ImmutableDictionary.CreateBuilder<string, StoredHealth>(StringComparer.Ordinal) : _newest.ToBuilder();
            foreach (var stored in decided)
            {
                if (stored.Json is null)
                {
                    newest.Remove(stored.Upstream);
                }
                else
                {
                    newest[stored.Upstream] = stored;
                }
            }

            _newest = newest.ToImmutable();
            _marked = [];
            _happened = [];
            _unwritten = [];
            _waiting = new();
        }

        _writeFile.Set();
    }

    /// <inheritdoc/>
    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        // The keeper, which was started before, still runs.
        if (_current.Loaded.IsCompletedSuccessfully)
        {
            await GatherAsync(cancellationToken);
        }

        await base.StopAsync(cancellationToken);
        if (ExecuteTask is null)
        {
            return;
        }

        await WriteFileAsync();
        try
        {
            while (await TryWriteAsync(cancellationToken)) { }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // No time is left. The file has the verdicts; transitions of the last moments are lost.
            LogStoreAway("the server stops");
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await _current.Loaded.WaitAsync(stoppingToken);
        _names.Changed += MarkNames;
        try
        {
            await Task.WhenAll(
                RunAsync(_gather, GatherAsync, stoppingToken),
                WriteStoreAsync(stoppingToken),
                WriteFilesAsync(stoppingToken),
                EveryAsync(
                    Sweep,
                    () =>
                    {
                        MarkAll();
                        return Task.CompletedTask;
                    },
                    stoppingToken
                ),
                EveryAsync(PruneInterval, () => PruneAsync(stoppingToken), stoppingToken)
            );
        }
        finally
        {
            _names.Changed -= MarkNames;
        }
    }

    private void MarkNames(string upstream) => Mark([upstream], []);

    private async Task RunAsync(Signal signal, Func<CancellationToken, Task> work, CancellationToken cancellationToken)
    {
        while (true)
        {
            await signal.WaitAsync(cancellationToken);
            await work(cancellationToken);
            await Task.Delay(Pause, _time, cancellationToken);
        }
    }

    private async Task EveryAsync(TimeSpan interval, Func<Task> work, CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(interval, _time);
        while (await timer.WaitForNextTickAsync(cancellationToken))
        {
            await work();
        }
    }

    /// <summary>Asks the keeper for what is remembered of all that was marked.</summary>
    private async Task GatherAsync(CancellationToken cancellationToken)
    {
        HashSet<string> marked;
        List<StoredTransition> happened;
        lock (_lock)
        {
            (marked, happened) = (_marked, _happened);
            _marked = [];
            _happened = [];
        }

        if (!_leadership.Role.Leads)
        {
            // Another server decides, and knows better.
            return;
        }

        var changed = new List<StoredHealth>();
        foreach (var names in marked.Chunk(Chunk))
        {
            var memories = await _keeper.AskAsync(
                model =>
                    names
                        .Select(name =>
                            (Name: name, Memory: name == StoredHealthJson.Fleet ? (object)model.Remember() : model.Remember(name))
                        )
                        .ToList(),
                cancellationToken
            );
            foreach (var (name, memory) in memories)
            {
                if (Renew(name, memory) is { } stored)
                {
                    changed.Add(stored);
                }
            }
        }

        if (changed.Count + happened.Count == 0)
        {
            return;
        }

        lock (_lock)
        {
            foreach (var stored in changed)
            {
                _newest = stored.Json is null ? _newest.Remove(stored.Upstream) : _newest.SetItem(stored.Upstream, stored);
                _unwritten[stored.Upstream] = stored;
            }

            foreach (var transition in happened)
            {
                _waiting.Enqueue(transition);
            }

            while (_waiting.Count > MaxWaiting)
            {
                _waiting.Dequeue();
            }
        }

        foreach (var follower in _followers)
        {
            if (!follower.TryWrite(new HealthBatch(changed, happened)))
            {
                follower.TryComplete();
            }
        }

        _write.Set();
        _writeFile.Set();
    }

    /// <summary>What is to be written of an upstream; null if that is written already.</summary>
    private StoredHealth? Renew(string name, object? memory)
    {
        var names = _names.Remember(name);
        var json =
            memory is FleetMemory fleet ? StoredHealthJson.Write(fleet)
            : memory is null && names is null ? null
            : StoredHealthJson.Write(
                new RememberedUpstream(
                    (UpstreamMemory?)memory,
                    _current.Desired.Find(new ResourceKey(ResourceKind.Upstream, name))?.Uid,
                    _verdicts.Find(name) is { IsLarge: true },
                    names
                )
            );
        var known = Newest.GetValueOrDefault(name);
        if (known?.Json == json)
        {
            return null;
        }

        // Of two servers' words the later one counts, so this one must be later than what it replaces, whatever the clock says.
        var now = WriteBatch.ToMicrosecond(_time.GetUtcNow());
        return new StoredHealth(
            name,
            known is not null && known.UpdatedAt >= now ? known.UpdatedAt + TimeSpan.FromMicroseconds(1) : now,
            json
        );
    }

    private async Task WriteStoreAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await _write.WaitAsync(cancellationToken);
            while (await TryWriteAsync(cancellationToken)) { }
            await Task.Delay(_isStoreAway ? Retry : Pause, _time, cancellationToken);
            if (_isStoreAway)
            {
                _write.Set();
            }
        }
    }

    /// <summary>Writes the next batch.</summary>
    /// <returns>Whether something was written, so that there may be more.</returns>
    private async Task<bool> TryWriteAsync(CancellationToken cancellationToken)
    {
        const int Most = 1000;
        HealthBatch batch;
        lock (_lock)
        {
            batch = new HealthBatch([.. _unwritten.Values.Take(Most)], [.. _waiting.Take(Most)]);
        }

        if (batch.Upstreams.Count + batch.Transitions.Count == 0)
        {
            return false;
        }

        try
        {
            await _store.WriteHealthAsync(batch, cancellationToken);
        }
        catch (StoreUnavailableException e)
        {
            if (!_isStoreAway)
            {
                LogStoreAway(e.Message);
            }

            _isStoreAway = true;
            return false;
        }

        lock (_lock)
        {
            foreach (var stored in batch.Upstreams)
            {
                // What changed meanwhile is written again.
                if (_unwritten.TryGetValue(stored.Upstream, out var now) && ReferenceEquals(now, stored))
                {
                    _unwritten.Remove(stored.Upstream);
                }
            }

            // Not by the greatest id: those of another server, which this one followed, may lie between.
            var written = batch.Transitions.Select(t => t.Id).ToHashSet();
            while (_waiting.TryPeek(out var next) && written.Contains(next.Id))
            {
                _waiting.Dequeue();
            }
        }

        if (_isStoreAway)
        {
            LogStoreBack();
        }

        _isStoreAway = false;
        return true;
    }

    private async Task WriteFilesAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await _writeFile.WaitAsync(cancellationToken);
            var started = _time.GetTimestamp();
            await WriteFileAsync();
            var pause = _time.GetElapsedTime(started) / FileShare;
            await Task.Delay(
                pause < Pause ? Pause
                    : pause > MaxFilePause ? MaxFilePause
                    : pause,
                _time,
                cancellationToken
            );
        }
    }

    private Task WriteFileAsync() => _file.WriteAsync(Newest);

    private async Task PruneAsync(CancellationToken cancellationToken)
    {
        try
        {
            await _store.PruneTransitionsAsync(_time.GetUtcNow() - _retention.Age, _retention.Count, cancellationToken);
        }
        catch (StoreUnavailableException e)
        {
            LogNotPruned(e.Message);
        }
    }

    private sealed class Subscription(HealthArchive archive, ChannelWriter<HealthBatch> follower) : IDisposable
    {
        public void Dispose()
        {
            lock (archive._lock)
            {
                archive._followers = archive._followers.Remove(follower);
            }
        }
    }

    /// <summary>Holds at most one token: that there is something to do.</summary>
    private sealed class Signal
    {
        private readonly Channel<bool> _channel = Channel.CreateBounded<bool>(
            new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite }
        );

        public void Set() => _channel.Writer.TryWrite(true);

        public ValueTask<bool> WaitAsync(CancellationToken cancellationToken) => _channel.Reader.ReadAsync(cancellationToken);
    }

    [LoggerMessage(
        8101,
        LogLevel.Warning,
        "What is remembered of the health of {Upstreams} upstreams is read from the last-good file: {Reason}"
    )]
    private partial void LogRecalledFromFile(int upstreams, string reason);

    [LoggerMessage(
        8102,
        LogLevel.Error,
        "What was remembered of the health of {Upstream} cannot be read, and it is decided about anew: {Reason}"
    )]
    private partial void LogUnreadable(string upstream, string reason);

    [LoggerMessage(8103, LogLevel.Warning, "Verdicts go on, and are written down when the store is back: {Reason}")]
    private partial void LogStoreAway(string reason);

    [LoggerMessage(8104, LogLevel.Information, "The store takes verdicts again")]
    private partial void LogStoreBack();

    [LoggerMessage(8105, LogLevel.Warning, "Old transitions were not forgotten, and will be tried again in an hour: {Reason}")]
    private partial void LogNotPruned(string reason);
}
