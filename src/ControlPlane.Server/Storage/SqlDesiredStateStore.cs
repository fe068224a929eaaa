using System.Data.Common;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using ControlPlane.Resources;

namespace ControlPlane.Server.Storage;

/// <summary>
/// What the two databases have in common: the tables (see <c>Migrations/</c>) and every query that both understand. Each read is one statement, so that it is
/// consistent at one revision without a transaction. How to connect, commit, listen and restore is for the subclasses.
/// </summary>
internal abstract partial class SqlDesiredStateStore : IDesiredStateStore
{
    /// <summary>How often <see cref="WatchAsync"/> reads the newest revision although nobody signalled one.</summary>
    internal static readonly TimeSpan PollInterval = TimeSpan.FromSeconds(30);

    // Rows deleted per statement by a prune: on SQLite other writers wait meanwhile.
    private const int PruneChunk = 1000;

    private const string StateColumns = "s.kind, s.name, s.uid, s.generation, s.revision, s.created_at, s.updated_at, s.managed_by, s.json";
    private const string RevisionColumns = "r.revision, r.author, r.reason, r.at, r.trace_id, r.notes";
    private const int StateWidth = 9;
    private const int RevisionWidth = 6;

    private static readonly TimeSpan FirstReconnectDelay = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LastReconnectDelay = TimeSpan.FromSeconds(5);

    private volatile bool _isReachable;
    private volatile bool _isMigrated;

    /// <summary>Sets what both kinds of store need.</summary>
    protected SqlDesiredStateStore(string description, TimeProvider time, ILogger logger)
    {
        Description = description;
        Time = time;
        Logger = logger;
    }

    /// <inheritdoc/>
    public string Description { get; }

    /// <summary>The clock of polling and reconnecting.</summary>
    protected TimeProvider Time { get; }

    /// <summary>Where lost and regained connections are told.</summary>
    protected ILogger Logger { get; }

    /// <inheritdoc/>
    public async Task MigrateAsync(CancellationToken cancellationToken)
    {
        await UpgradeAsync(cancellationToken);
        _isMigrated = true;
    }

    /// <summary>Creates or migrates the schema.</summary>
    protected abstract Task UpgradeAsync(CancellationToken cancellationToken);

    /// <inheritdoc/>
    public abstract ValueTask DisposeAsync();

    /// <inheritdoc/>
    public async Task<StoredState> LoadAsync(CancellationToken cancellationToken)
    {
        var revision = 0L;
        var documents = await QueryAsync(
            $"SELECT h.revision, {StateColumns} FROM head h LEFT JOIN documents s ON TRUE",
            [],
            row =>
            {
                revision = row.GetInt64(0);
                return row.IsDBNull(1) ? null : ReadState(row, 1);
            },
            cancellationToken
        );
        return new StoredState(revision, documents);
    }

    /// <inheritdoc/>
    public async Task<StoredChanges?> ReadChangesAsync(long afterRevision, CancellationToken cancellationToken)
    {
        var revision = 0L;
        var oldest = 0L;
        var deleted = new HashSet<ResourceKey>();
        var written = await QueryAsync(
            $"""
            SELECT h.revision, h.oldest, c.* FROM head h LEFT JOIN (
                SELECT 0 AS deleted, {StateColumns} FROM documents s WHERE s.revision > @after
                UNION ALL
                SELECT 1 AS deleted, {StateColumns} FROM history s WHERE s.until > @after
                    AND NOT EXISTS (SELECT 1 FROM documents d WHERE d.kind = s.kind AND d.name = s.name)
            ) c ON TRUE
            """,
            [("after", afterRevision)],
            row =>
            {
                revision = row.GetInt64(0);
                oldest = row.GetInt64(1);
                if (row.IsDBNull(2))
                {
                    return null;
                }

                var state = ReadState(row, 3);
                if (row.GetInt32(2) == 0)
                {
                    return state;
                }

                deleted.Add(state.Key);
                return null;
            },
            cancellationToken
        );
        return afterRevision > revision || afterRevision < oldest - 1 ? null : new StoredChanges(revision, written, [.. deleted]);
    }

    /// <inheritdoc/>
    public async Task<RevisionInfo?> CommitAsync(WriteBatch batch, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var stored = batch.AsStored();
        return await TranslateAsync(() => TryCommitAsync(stored, cancellationToken))
            ? new RevisionInfo(stored.BaseRevision + 1, stored.Author, stored.Reason, stored.At, stored.TraceId, stored.Notes)
            : null;
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<RevisionInfo>> ListRevisionsAsync(long before, int limit, CancellationToken cancellationToken) =>
        await QueryAsync(
            $"""
            SELECT {RevisionColumns} FROM head h JOIN revisions r ON r.revision >= h.oldest
            WHERE r.revision < @before ORDER BY r.revision DESC LIMIT @limit
            """,
            [("before", before == 0 ? long.MaxValue : before), ("limit", limit)],
            row => ReadRevision(row, 0),
            cancellationToken
        );

    /// <inheritdoc/>
    public async Task<IReadOnlyDictionary<long, ChangedObjects>> SummarizeRevisionsAsync(
        long first,
        long last,
        int limit,
        CancellationToken cancellationToken
    )
    {
        var counts = new Dictionary<long, int>();
        var changed = await QueryAsync(
            """
            SELECT g.revision, g.kind, g.name, g.existed, g.present, g.count FROM (
                SELECT c.revision, c.kind, c.name, MAX(c.ended) AS existed, MAX(c.began) AS present,
                    ROW_NUMBER() OVER (PARTITION BY c.revision ORDER BY c.kind, c.name) AS place,
                    COUNT(*) OVER (PARTITION BY c.revision) AS count
                FROM (
                    SELECT s.revision, s.kind, s.name, 0 AS ended, 1 AS began FROM documents s WHERE s.revision BETWEEN @first AND @last
                    UNION ALL
                    SELECT s.revision, s.kind, s.name, 0, 1 FROM history s WHERE s.revision BETWEEN @first AND @last
                    UNION ALL
                    SELECT s.until, s.kind, s.name, 1, 0 FROM history s WHERE s.until BETWEEN @first AND @last
                ) c
                GROUP BY c.revision, c.kind, c.name
            ) g JOIN head h ON g.revision >= h.oldest
            WHERE g.place <= @limit ORDER BY g.revision, g.place
            """,
            [("first", first), ("last", last), ("limit", limit)],
            row =>
            {
                var revision = row.GetInt64(0);
                counts[revision] = (int)row.GetInt64(5);
                var key = new ResourceKey(Enum.Parse<ResourceKind>(row.GetString(1)), row.GetString(2));
                return new SummaryRow(revision, new ChangedObject(key, row.GetInt32(3) != 0, row.GetInt32(4) != 0));
            },
            cancellationToken
        );
        return changed
            .GroupBy(c => c.Revision)
            .ToDictionary(g => g.Key, g => new ChangedObjects(counts[g.Key], [.. g.Select(c => c.Object)]));
    }

    /// <inheritdoc/>
    public async Task<RevisionDetail?> GetRevisionAsync(long revision, CancellationToken cancellationToken)
    {
        RevisionInfo? info = null;
        var before = new Dictionary<ResourceKey, StoredDocument>();
        var after = new Dictionary<ResourceKey, StoredDocument>();
        await QueryAsync<object>(
            $"""
            SELECT {RevisionColumns}, {StateColumns} FROM head h JOIN revisions r ON r.revision = @revision AND r.revision >= h.oldest
            LEFT JOIN states s ON s.revision = @revision OR s.until = @revision
            """,
            [("revision", revision)],
            row =>
            {
                info ??= ReadRevision(row, 0);
                if (!row.IsDBNull(RevisionWidth))
                {
                    var state = ReadState(row, RevisionWidth);
                    (state.Revision == revision ? after : before).Add(state.Key, state);
                }

                return null;
            },
            cancellationToken
        );
        return info is null
            ? null
            : new RevisionDetail(
                info,
                [
                    .. before
                        .Keys.Union(after.Keys)
                        .OrderBy(k => k.Kind)
                        .ThenBy(k => k.Name, StringComparer.Ordinal)
                        .Select(k => new RevisionChange(k, before.GetValueOrDefault(k), after.GetValueOrDefault(k))),
                ]
            );
    }

    /// <inheritdoc/>
    public async Task<StoredState?> LoadAtAsync(long revision, CancellationToken cancellationToken)
    {
        var isKept = false;
        var documents = await QueryAsync(
            $"""
            SELECT {StateColumns} FROM head h JOIN revisions r ON r.revision = @revision AND r.revision >= h.oldest
            LEFT JOIN states s ON s.revision <= @revision AND (s.until IS NULL OR s.until > @revision)
            """,
            [("revision", revision)],
            row =>
            {
                isKept = true;
                return row.IsDBNull(0) ? null : ReadState(row, 0);
            },
            cancellationToken
        );
        return isKept ? new StoredState(revision, documents) : null;
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<HistoryEntry>> GetHistoryAsync(
        ResourceKey key,
        long before,
        int limit,
        CancellationToken cancellationToken
    )
    {
        var below = before == 0 ? long.MaxValue : before;
        var entries = new List<HistoryEntry>();
        long? newer = null;
        await QueryAsync<object>(
            $"""
            SELECT {RevisionColumns}, {StateColumns}, s.until, e.revision, e.author, e.reason, e.at, e.trace_id, e.notes
            FROM states s JOIN revisions r ON r.revision = s.revision LEFT JOIN revisions e ON e.revision = s.until
            WHERE s.kind = @kind AND s.name = @name AND s.revision < @below ORDER BY s.revision DESC LIMIT @limit
            """,
            [("kind", key.Kind.ToString()), ("name", key.Name), ("below", below), ("limit", limit)],
            row =>
            {
                // A state that ended although no other began then was deleted.
                const int until = RevisionWidth + StateWidth;
                if (!row.IsDBNull(until) && row.GetInt64(until) is var end && end != newer && end < below)
                {
                    entries.Add(new HistoryEntry(ReadRevision(row, until + 1), null));
                }

                var info = ReadRevision(row, 0);
                entries.Add(new HistoryEntry(info, ReadState(row, RevisionWidth)));
                newer = info.Revision;
                return null;
            },
            cancellationToken
        );
        return entries.Count > limit ? entries[..limit] : entries;
    }

    /// <inheritdoc/>
    public async Task<long> PruneAsync(DateTimeOffset olderThan, int keepRevisions, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(keepRevisions);
        var horizon = await QueryAsync(
            """
            SELECT h.oldest, h.revision, (
                SELECT r.revision FROM revisions r WHERE r.revision >= h.oldest AND r.at >= @olderThan ORDER BY r.revision LIMIT 1
            ) FROM head h
            """,
            [("olderThan", olderThan.ToUniversalTime())],
            row =>
            {
                var newest = row.GetInt64(1);
                return new Horizon(row.GetInt64(0), Math.Min(row.IsDBNull(2) ? newest + 1 : row.GetInt64(2), newest - keepRevisions + 1));
            },
            cancellationToken
        );
        var (oldest, newOldest) = horizon[0];
        if (newOldest > oldest)
        {
            // First the horizon, then the rows below it: no reader is promised what is being deleted.
            await ExecuteAsync("UPDATE head SET oldest = @oldest WHERE oldest < @oldest", [("oldest", newOldest)], cancellationToken);
        }

        // Also if the horizon did not move: an earlier prune may have been interrupted.
        await DeleteInChunksAsync(
            """
            DELETE FROM history WHERE (kind, name, revision) IN (
                SELECT s.kind, s.name, s.revision FROM head h JOIN history s ON s.until < h.oldest LIMIT @chunk
            )
            """,
            cancellationToken
        );
        // The revision that wrote a kept state stays, however old: the history of an object always says who wrote it.
        await DeleteInChunksAsync(
            """
            DELETE FROM revisions WHERE revision IN (
                SELECT r.revision FROM head h JOIN revisions r ON r.revision < h.oldest
                WHERE NOT EXISTS (SELECT 1 FROM documents s WHERE s.revision = r.revision)
                    AND NOT EXISTS (SELECT 1 FROM history s WHERE s.revision = r.revision) LIMIT @chunk
            )
            """,
            cancellationToken
        );
        return Math.Max(0, newOldest - oldest);
    }

    /// <inheritdoc/>
    public async Task BackupAsync(Stream destination, CancellationToken cancellationToken)
    {
        await TranslateAsync(async () =>
        {
            await using var connection = await OpenAsync(cancellationToken);
            await using var snapshot = await BeginSnapshotAsync(connection, cancellationToken);
            await using var writer = new BackupWriter(destination);
            await EachAsync(
                "SELECT revision, oldest FROM head",
                row => writer.WriteHeaderAsync(row.GetInt64(0), row.GetInt64(1), Time.GetUtcNow())
            );
            await EachAsync(
                $"SELECT {RevisionColumns} FROM revisions r ORDER BY r.revision",
                row => writer.WriteAsync(ReadRevision(row, 0))
            );
            await EachAsync(
                $"SELECT {StateColumns}, s.until FROM history s ORDER BY s.revision, s.kind, s.name",
                row => writer.WriteAsync(ReadState(row, 0), row.GetInt64(StateWidth))
            );
            await EachAsync(
                $"SELECT {StateColumns} FROM documents s ORDER BY s.revision, s.kind, s.name",
                row => writer.WriteAsync(ReadState(row, 0), until: null)
            );
            await writer.CompleteAsync(cancellationToken);
            return true;

            async Task EachAsync(string sql, Func<DbDataReader, ValueTask> write)
            {
                await using var command = Command(connection, sql, []);
                command.Transaction = snapshot;
                command.CommandTimeout = (int)TimeSpan.FromMinutes(10).TotalSeconds;
                await using var row = await command.ExecuteReaderAsync(cancellationToken);
                while (await row.ReadAsync(cancellationToken))
                {
                    await write(row);
                }
            }
        });
    }

    /// <inheritdoc/>
    public Task RestoreAsync(Stream source, CancellationToken cancellationToken) =>
        TranslateAsync(async () =>
        {
            using var backup = await BackupReader.OpenAsync(source, cancellationToken);
            await RestoreAsync(backup, cancellationToken);
            return true;
        });

    /// <inheritdoc/>
    public bool IsReachable => _isReachable;

    /// <inheritdoc/>
    public async IAsyncEnumerable<long> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // Holds the newest revision only: whoever reads slowly gets several commits as one signal.
        var signals = Channel.CreateBounded<long>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest });
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var listening = KeepListeningAsync(revision => signals.Writer.TryWrite(revision), stop.Token);
        _ = listening.ContinueWith(
            ended => signals.Writer.TryComplete(ended.Exception?.InnerException),
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default
        );
        try
        {
            await foreach (var revision in signals.Reader.ReadAllAsync(cancellationToken))
            {
                yield return revision;
            }
        }
        finally
        {
            await stop.CancelAsync();
            await listening.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task KeepListeningAsync(Action<long> signal, CancellationToken cancellationToken)
    {
        var delay = FirstReconnectDelay;
        while (true)
        {
            try
            {
                await TranslateAsync(async () =>
                {
                    await EnsureMigratedAsync(cancellationToken);
                    await ListenAsync(
                        revision =>
                        {
                            if (delay != FirstReconnectDelay)
                            {
                                LogRegained(Logger, Description);
                                delay = FirstReconnectDelay;
                            }

                            _isReachable = true;
                            signal(revision);
                        },
                        cancellationToken
                    );
                    return true;
                });
            }
            catch (Exception e) when (e is StoreUnavailableException or DbException)
            {
                // What answers next can be another database: one that came late, or was made anew.
                _isMigrated = false;
                _isReachable = false;
                if (delay == FirstReconnectDelay)
                {
                    LogLost(Logger, e.Message);
                }

                // Full jitter over the upper half, so that the servers of a fleet do not return in step.
                await Task.Delay(delay * (0.5 + (Random.Shared.NextDouble() / 2)), Time, cancellationToken);
                delay = delay * 2 < LastReconnectDelay ? delay * 2 : LastReconnectDelay;
            }
        }
    }

    /// <summary>Signals the newest revision now and after every commit, until the connection is lost (which throws) or the token is cancelled.</summary>
    protected abstract Task ListenAsync(Action<long> signal, CancellationToken cancellationToken);

    /// <summary>Writes a checked batch as one transaction.</summary>
    /// <returns>False if the newest revision is not the batch's base.</returns>
    protected abstract Task<bool> TryCommitAsync(WriteBatch batch, CancellationToken cancellationToken);

    /// <summary>Writes a whole backup in one transaction.</summary>
    protected abstract Task RestoreAsync(BackupReader backup, CancellationToken cancellationToken);

    /// <summary>Opens a connection to read from.</summary>
    protected abstract Task<DbConnection> OpenAsync(CancellationToken cancellationToken);

    /// <summary>Begins a transaction that sees one moment of the database.</summary>
    protected abstract Task<DbTransaction> BeginSnapshotAsync(DbConnection connection, CancellationToken cancellationToken);

    /// <summary>
    /// Runs a read, which calls its argument when the database has begun to answer. Where it can happen, guards against dead connections in the pool and
    /// against waiting for too long.
    /// </summary>
    protected virtual Task<T> ReadAsync<T>(Func<Action, Task<T>> read) => read(() => { });

    /// <summary>Executes one statement that writes; its transaction is its own.</summary>
    protected abstract Task<int> ExecuteAsync(string sql, (string Name, object Value)[] parameters, CancellationToken cancellationToken);

    /// <summary>What an exception says about the database's availability, without credentials; null if it is no matter of availability.</summary>
    protected abstract string? WhyUnavailable(Exception exception);

    /// <summary>Runs an operation, and turns faults of availability into <see cref="StoreUnavailableException"/>.</summary>
    protected async Task<T> TranslateAsync<T>(Func<Task<T>> operation)
    {
        try
        {
            var result = await operation();
            _isReachable = true;
            return result;
        }
        catch (StoreUnavailableException)
        {
            _isReachable = false;
            throw;
        }
        catch (Exception e) when (WhyUnavailable(e) is { } reason)
        {
            _isReachable = false;
            throw new StoreUnavailableException($"{Description}: {reason}", e);
        }
    }

    /// <summary>The newest revision.</summary>
    protected async Task<long> ReadHeadAsync(CancellationToken cancellationToken) =>
        (await QueryAsync("SELECT revision FROM head", [], row => row.GetInt64(0), cancellationToken))[0];

    /// <summary>Refuses a restore over what is there.</summary>
    protected InvalidOperationException StoreNotEmpty() =>
        new($"{Description} already holds revisions. Restore into an empty database or a new file.");

    /// <summary>Makes a command with named parameters.</summary>
    protected static DbCommand Command(DbConnection connection, string sql, ReadOnlySpan<(string Name, object Value)> parameters)
    {
        var command = connection.CreateCommand();
        command.CommandText = sql;
        foreach (var (name, value) in parameters)
        {
            var parameter = command.CreateParameter();
            parameter.ParameterName = name;
            parameter.Value = value;
            command.Parameters.Add(parameter);
        }

        return command;
    }

    private Task<List<T>> QueryAsync<T>(
        string sql,
        (string Name, object Value)[] parameters,
        Func<DbDataReader, T?> read,
        CancellationToken cancellationToken
    ) =>
        TranslateAsync(() =>
            ReadAsync(async answered =>
            {
                await using var connection = await OpenAsync(cancellationToken);
                await using var command = Command(connection, sql, parameters);
                await using var row = await command.ExecuteReaderAsync(cancellationToken);
                answered();
                var results = new List<T>();
                while (await row.ReadAsync(cancellationToken))
                {
                    if (read(row) is { } result)
                    {
                        results.Add(result);
                    }
                }

                return results;
            })
        );

    private async Task DeleteInChunksAsync(string sql, CancellationToken cancellationToken)
    {
        while (await TranslateAsync(() => ExecuteAsync(sql, [("chunk", PruneChunk)], cancellationToken)) == PruneChunk) { }
    }

    private static StoredDocument ReadState(DbDataReader row, int at) =>
        new(
            new ResourceKey(Enum.Parse<ResourceKind>(row.GetString(at)), row.GetString(at + 1)),
            row.GetGuid(at + 2),
            row.GetInt64(at + 3),
            row.GetInt64(at + 4),
            row.GetFieldValue<DateTimeOffset>(at + 5),
            row.GetFieldValue<DateTimeOffset>(at + 6),
            row.GetString(at + 7),
            row.GetString(at + 8)
        );

    private static RevisionInfo ReadRevision(DbDataReader row, int at) =>
        new(
            row.GetInt64(at),
            row.GetString(at + 1),
            row.GetString(at + 2),
            row.GetFieldValue<DateTimeOffset>(at + 3),
            row.GetString(at + 4),
            row.GetString(at + 5)
        );

    private sealed record SummaryRow(long Revision, ChangedObject Object);

    private sealed record Horizon(long Oldest, long NewOldest);

    [LoggerMessage(2101, LogLevel.Warning, "Lost the store's change feed; reconnecting until it answers. {Reason}")]
    private static partial void LogLost(ILogger logger, string reason);

    [LoggerMessage(2102, LogLevel.Information, "The change feed of {Store} works again")]
    private static partial void LogRegained(ILogger logger, string store);
}
