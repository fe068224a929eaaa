using System.Runtime.CompilerServices;
using ControlPlane.Resources;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Telemetry;

/// <summary>Either kind of store, with each operation measured and traced.</summary>
internal sealed class MeasuredStore(IDesiredStateStore inner, StoreMetrics metrics, TimeProvider time) : IDesiredStateStore, IHealthStore
{
    private int _isDisposed;

    /// <inheritdoc/>
    public string Description => inner.Description;

    /// <inheritdoc/>
    public bool IsReachable => inner.IsReachable;

    /// <inheritdoc/>
    public Task MigrateAsync(CancellationToken cancellationToken) =>
        Measure(
            "migrate",
            async () =>
            {
                await inner.MigrateAsync(cancellationToken);
                return true;
            }
        );

    /// <inheritdoc/>
    public Task<StoredState> LoadAsync(CancellationToken cancellationToken) => Measure("load", () => inner.LoadAsync(cancellationToken));

    /// <inheritdoc/>
    public Task<StoredChanges?> ReadChangesAsync(long afterRevision, CancellationToken cancellationToken) =>
        Measure("read_changes", () => inner.ReadChangesAsync(afterRevision, cancellationToken));

    /// <inheritdoc/>
    public async IAsyncEnumerable<long> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var revision in inner.WatchAsync(cancellationToken))
        {
            metrics.Notified(revision);
            yield return revision;
        }
    }

    /// <inheritdoc/>
    public async Task<RevisionInfo?> CommitAsync(WriteBatch batch, CancellationToken cancellationToken)
    {
        var revision = await Measure(
            "commit",
            () => inner.CommitAsync(batch, cancellationToken),
            committed => committed is null ? "conflict" : "ok"
        );
        if (revision is not null)
        {
            metrics.Committed(revision.Revision);
        }

        return revision;
    }

    /// <inheritdoc/>
    public Task<IReadOnlyList<RevisionInfo>> ListRevisionsAsync(long before, int limit, CancellationToken cancellationToken) =>
        Measure("list_revisions", () => inner.ListRevisionsAsync(before, limit, cancellationToken));

    /// <inheritdoc/>
    public Task<IReadOnlyDictionary<long, ChangedObjects>> SummarizeRevisionsAsync(
        long first,
        long last,
        int limit,
        CancellationToken cancellationToken
    ) => Measure("summarize_revisions", () => inner.SummarizeRevisionsAsync(first, last, limit, cancellationToken));

    /// <inheritdoc/>
    public Task<RevisionDetail?> GetRevisionAsync(long revision, CancellationToken cancellationToken) =>
        Measure("get_revision", () => inner.GetRevisionAsync(revision, cancellationToken));

    /// <inheritdoc/>
    public Task<StoredState?> LoadAtAsync(long revision, CancellationToken cancellationToken) =>
        Measure("load_at", () => inner.LoadAtAsync(revision, cancellationToken));

    /// <inheritdoc/>
    public Task<IReadOnlyList<HistoryEntry>> GetHistoryAsync(
        ResourceKey key,
        long before,
        int limit,
        CancellationToken cancellationToken
    ) => Measure("get_history", () => inner.GetHistoryAsync(key, before, limit, cancellationToken));

    /// <inheritdoc/>
    public Task<long> PruneAsync(DateTimeOffset olderThan, int keepRevisions, CancellationToken cancellationToken) =>
        Measure("prune", () => inner.PruneAsync(olderThan, keepRevisions, cancellationToken));

    /// <inheritdoc/>
    public Task BackupAsync(Stream destination, CancellationToken cancellationToken) => inner.BackupAsync(destination, cancellationToken);

    /// <inheritdoc/>
    public Task RestoreAsync(Stream source, CancellationToken cancellationToken) => inner.RestoreAsync(source, cancellationToken);

    /// <summary>The lease of those that share the database; null where nobody does.</summary>
    public IHealthLease? Lease => inner as IHealthLease;

    private IHealthStore Health => (IHealthStore)inner;

    /// <inheritdoc/>
    public Task<IReadOnlyList<StoredHealth>> LoadHealthAsync(DateTimeOffset after, CancellationToken cancellationToken) =>
        Measure("load_health", () => Health.LoadHealthAsync(after, cancellationToken));

    /// <inheritdoc/>
    public Task WriteHealthAsync(HealthBatch batch, CancellationToken cancellationToken) =>
        Measure(
            "write_health",
            async () =>
            {
                await Health.WriteHealthAsync(batch, cancellationToken);
                return true;
            }
        );

    /// <inheritdoc/>
    public Task<IReadOnlyList<StoredTransition>> ListTransitionsAsync(
        string? upstream,
        DateTimeOffset from,
        DateTimeOffset to,
        long beforeId,
        int limit,
        CancellationToken cancellationToken
    ) => Measure("list_transitions", () => Health.ListTransitionsAsync(upstream, from, to, beforeId, limit, cancellationToken));

    /// <inheritdoc/>
    public Task<IReadOnlyList<StoredTransition>> ListTransitionsAfterAsync(
        string? upstream,
        long afterId,
        int limit,
        CancellationToken cancellationToken
    ) => Measure("list_transitions", () => Health.ListTransitionsAfterAsync(upstream, afterId, limit, cancellationToken));

    /// <inheritdoc/>
    public Task<long> PruneTransitionsAsync(DateTimeOffset olderThan, int keep, CancellationToken cancellationToken) =>
        Measure("prune_transitions", () => Health.PruneTransitionsAsync(olderThan, keep, cancellationToken));

    /// <inheritdoc/>
    public ValueTask DisposeAsync() =>
        // The container knows the store under several names, and disposes of each.
        Interlocked.Exchange(ref _isDisposed, 1) == 0
            ? inner.DisposeAsync()
            : ValueTask.CompletedTask;

    private async Task<T> Measure<T>(string operation, Func<Task<T>> run, Func<T, string>? resultOf = null)
    {
        using var activity = Tracing.Source.StartActivity("store " + operation);
        var startedAt = time.GetTimestamp();
        var result = "failed";
        try
        {
            var value = await run();
            result = resultOf?.Invoke(value) ?? "ok";
            return value;
        }
        catch (StoreUnavailableException)
        {
            result = "unavailable";
            throw;
        }
        catch (OperationCanceledException)
        {
            result = "cancelled";
            throw;
        }
        finally
        {
            metrics.Queried(operation, result, startedAt);
            activity?.SetTag("result", result);
        }
    }
}
