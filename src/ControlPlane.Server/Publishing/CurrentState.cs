using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;

namespace ControlPlane.Server.Publishing;

/// <summary>
/// The desired state as this server knows it: read by everyone, written by the snapshot publisher alone. Kept in memory, so that reads and proxies are
/// served while the database is away.
/// </summary>
public sealed class CurrentState
{
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource _loaded = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Watchers<RevisionApplied> _watchers = new();
    private StatePair _pair = new(DesiredState.Empty, CompiledState.Empty);

    /// <summary>The desired state in force.</summary>
    public DesiredState Desired => Pair.Desired;

    /// <summary>What each object of <see cref="Desired"/> became.</summary>
    public CompiledState Compiled => Pair.Compiled;

    /// <summary>Both, of one moment.</summary>
    public StatePair Pair => Volatile.Read(ref _pair);

    /// <summary>Completes when the first complete state is there, from the database or from the last-good file. Nothing is served before.</summary>
    public Task Loaded => _loaded.Task;

    /// <summary>
    /// Yields every revision that is applied from now on. Ends by itself when the reader falls more than a thousand revisions behind; it then reads
    /// <see cref="Desired"/> and watches again.
    /// </summary>
    public IAsyncEnumerable<RevisionApplied> WatchAsync(CancellationToken cancellationToken) => _watchers.WatchAsync(cancellationToken);

    /// <summary>Puts a successor in force and tells the watchers; a successor of the same revision (time or a secret's file changed) is not told.</summary>
    internal void Advance(StatePair pair, ImmutableArray<StoredResource> written, ImmutableArray<StoredResource> deleted)
    {
        lock (_lock)
        {
            var before = _pair.Desired;
            Volatile.Write(ref _pair, pair);
            if (pair.Desired.Revision != before.Revision)
            {
                var applied = new RevisionApplied(pair.Desired.Revision, written, deleted, before);
                _watchers.Tell(applied);
            }
        }
    }

    /// <summary>Says that the first complete state is there.</summary>
    internal void SetLoaded() => _loaded.TrySetResult();
}

/// <summary>A desired state and what it compiled to.</summary>
public sealed record StatePair(DesiredState Desired, CompiledState Compiled);
