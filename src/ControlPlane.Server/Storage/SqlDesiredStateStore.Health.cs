using System.Data.Common;

namespace ControlPlane.Server.Storage;

internal abstract partial class SqlDesiredStateStore : IHealthStore
{
    /// <inheritdoc/>
    public async Task<IReadOnlyList<StoredHealth>> LoadHealthAsync(DateTimeOffset after, CancellationToken cancellationToken)
    {
        await EnsureMigratedAsync(cancellationToken);
        return await QueryAsync(
            "SELECT upstream, updated_at, json FROM health WHERE updated_at > @after",
            [("after", after.ToUniversalTime())],
            row => new StoredHealth(row.GetString(0), row.GetFieldValue<DateTimeOffset>(1), row.GetString(2)),
            cancellationToken
        );
    }

    /// <inheritdoc/>
    public async Task WriteHealthAsync(HealthBatch batch, CancellationToken cancellationToken)
    {
        await EnsureMigratedAsync(cancellationToken);
        await TranslateAsync(async () =>
        {
            await WriteStoredHealthAsync(
                batch with
                {
                    Upstreams = [.. batch.Upstreams.Select(u => u with { UpdatedAt = WriteBatch.ToMicrosecond(u.UpdatedAt) })],
                    Transitions = [.. batch.Transitions.Select(t => t with { At = WriteBatch.ToMicrosecond(t.At) })],
                },
                cancellationToken
            );
            return true;
        });
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<StoredTransition>> ListTransitionsAsync(
        string? upstream,
        DateTimeOffset from,
        DateTimeOffset to,
        long beforeId,
        int limit,
        CancellationToken cancellationToken
    )
    {
        await EnsureMigratedAsync(cancellationToken);
        return await QueryAsync(
            $"""
            SELECT id, upstream, at, json FROM health_transitions
            WHERE id < @before AND at >= @from AND at < @to{(upstream is null ? "" : " AND upstream = @upstream")}
            ORDER BY id DESC LIMIT @limit
            """,
            [
                ("before", beforeId),
                ("from", from.ToUniversalTime()),
                ("to", to.ToUniversalTime()),
                ("limit", limit),
                .. OfUpstream(upstream),
            ],
            ReadTransition,
            cancellationToken
        );
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<StoredTransition>> ListTransitionsAfterAsync(
        string? upstream,
        long afterId,
        int limit,
        CancellationToken cancellationToken
    )
    {
        await EnsureMigratedAsync(cancellationToken);
        return await QueryAsync(
            $"""
            SELECT id, upstream, at, json FROM health_transitions
            WHERE id > @after{(upstream is null ? "" : " AND upstream = @upstream")} ORDER BY id LIMIT @limit
            """,
            [("after", afterId), ("limit", limit), .. OfUpstream(upstream)],
            ReadTransition,
            cancellationToken
        );
    }

    /// <inheritdoc/>
    public async Task<long> PruneTransitionsAsync(DateTimeOffset olderThan, int keep, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(keep);
        await EnsureMigratedAsync(cancellationToken);
        var pruned = 0L;
        long deleted;
        do
        {
            deleted = await TranslateAsync(() =>
                ExecuteAsync(
                    """
                    DELETE FROM health_transitions WHERE id IN (
                        SELECT id FROM health_transitions
                        WHERE at < @olderThan OR id <= (SELECT id FROM health_transitions ORDER BY id DESC LIMIT 1 OFFSET @keep)
                        ORDER BY id LIMIT @chunk
                    )
                    """,
                    [("olderThan", olderThan.ToUniversalTime()), ("keep", keep), ("chunk", PruneChunk)],
                    cancellationToken
                )
            );
            pruned += deleted;
        } while (deleted == PruneChunk);
        return pruned;
    }

    /// <summary>Migrates where that has not been done since the database was last away: a server that began with its last-good file has not yet.</summary>
    protected async Task EnsureMigratedAsync(CancellationToken cancellationToken)
    {
        if (!_isMigrated)
        {
            await MigrateAsync(cancellationToken);
        }
    }

    /// <summary>Writes a batch of health in one transaction.</summary>
    protected abstract Task WriteStoredHealthAsync(HealthBatch batch, CancellationToken cancellationToken);

    private static (string Name, object Value)[] OfUpstream(string? upstream) => upstream is null ? [] : [("upstream", upstream)];

    private static StoredTransition ReadTransition(DbDataReader row) =>
        new(row.GetInt64(0), row.GetString(1), row.GetFieldValue<DateTimeOffset>(2), row.GetString(3));
}
