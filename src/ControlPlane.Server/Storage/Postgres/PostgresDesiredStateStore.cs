using System.Data;
using System.Data.Common;
using System.Globalization;
using DbUp;
using DbUp.Postgresql;
using Npgsql;
using NpgsqlTypes;

namespace ControlPlane.Server.Storage.Postgres;

/// <summary>
/// The desired state in PostgreSQL 14 or later, for any number of servers. A commit is one batch in one round trip, which the server runs as one transaction;
/// its NOTIFY carries the revision only, and each server reads what changed.
/// </summary>
internal sealed partial class PostgresDesiredStateStore : SqlDesiredStateStore
{
    private const string Channel = "controlplane_revision";

    // Any number that no other application in the database is likely to use: "envoy" in ASCII.
    private const long MigrationLock = 0x656e766f79;

    // Together they bound what a caller waits for a database that does not answer, at about five seconds. A command that is too slow is cancelled on the
    // server; where that is silent Npgsql tries for long to reach it, and the caller does not wait for the end of that.
    private const int ConnectSeconds = 3;
    private const int CommandSeconds = 3;
    private const int CancellationMilliseconds = 500;
    private static readonly TimeSpan CallerPatience = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan LeasePatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan OutcomePatience = TimeSpan.FromMilliseconds(1500);
    private static readonly TimeSpan OutcomeRetry = TimeSpan.FromMilliseconds(100);

    // A large batch may take its time: one more second for each this many documents.
    private const int DocumentsPerSecond = 1000;

    private const string Columns = "kind, name, uid, generation, revision, created_at, updated_at, managed_by, json";

    // The row lock of head is what lines up all writers. The statements after the first act only if the revision is this very commit's:
    // where another write came first, none does anything.
    private const string Advance = """
        WITH advanced AS (UPDATE head SET revision = revision + 1 WHERE revision = $1 RETURNING revision)
        INSERT INTO revisions (revision, commit_id, author, reason, at, trace_id, notes) SELECT revision, $2, $3, $4, $5, $6, $7 FROM advanced
        """;

    private const string End = $"""
        INSERT INTO history ({Columns}, until)
        SELECT d.kind, d.name, d.uid, d.generation, d.revision, d.created_at, d.updated_at, d.managed_by, d.json, r.revision
        FROM revisions r, unnest($3, $4) AS k (kind, name) JOIN documents d ON d.kind = k.kind AND d.name = k.name
        WHERE r.revision = $1 AND r.commit_id = $2
        """;

    private const string Put = $"""
        INSERT INTO documents ({Columns})
        SELECT w.kind, w.name, w.uid, w.generation, r.revision, w.created_at, w.updated_at, w.managed_by, w.json::json
        FROM revisions r, unnest($3, $4, $5, $6, $7, $8, $9, $10) AS w (kind, name, uid, generation, created_at, updated_at, managed_by, json)
        WHERE r.revision = $1 AND r.commit_id = $2
        ON CONFLICT (kind, name) DO UPDATE SET uid = excluded.uid, generation = excluded.generation, revision = excluded.revision,
            created_at = excluded.created_at, updated_at = excluded.updated_at, managed_by = excluded.managed_by, json = excluded.json
        """;

    private const string Delete = """
        DELETE FROM documents d USING revisions r, unnest($3, $4) AS k (kind, name)
        WHERE r.revision = $1 AND r.commit_id = $2 AND d.kind = k.kind AND d.name = k.name
        """;

    private const string Notify = $"SELECT pg_notify('{Channel}', revision::text) FROM revisions WHERE revision = $1 AND commit_id = $2";

    private readonly NpgsqlDataSource _dataSource;

    public PostgresDesiredStateStore(NpgsqlConnectionStringBuilder connection, TimeProvider time, ILogger<PostgresDesiredStateStore> logger)
        : base($"postgres://{connection.Host}:{connection.Port}/{connection.Database}", time, logger)
    {
        var given = new DbConnectionStringBuilder { ConnectionString = connection.ConnectionString };
        var settings = new NpgsqlConnectionStringBuilder(connection.ConnectionString)
        {
            ApplicationName = connection.ApplicationName ?? "controlplane",
        };
        Default("Timeout", () => settings.Timeout = ConnectSeconds);
        Default("Command Timeout", () => settings.CommandTimeout = CommandSeconds);
        Default("Cancellation Timeout", () => settings.CancellationTimeout = CancellationMilliseconds);
        Default("Maximum Pool Size", () => settings.MaxPoolSize = 32);
        Default("Max Auto Prepare", () => settings.MaxAutoPrepare = 32);
        Default("Auto Prepare Min Usages", () => settings.AutoPrepareMinUsages = 2);
        _dataSource = new NpgsqlDataSourceBuilder(settings.ConnectionString).Build();

        void Default(string keyword, Action set)
        {
            if (!given.ContainsKey(keyword))
            {
                set();
            }
        }
    }

    /// <inheritdoc/>
    protected override Task UpgradeAsync(CancellationToken cancellationToken) =>
        TranslateAsync(async () =>
        {
            await using var connection = await _dataSource.OpenConnectionAsync(cancellationToken);
            await using var takeLock = new NpgsqlCommand("SELECT pg_advisory_lock($1)", connection)
            {
                CommandTimeout = 60,
                Parameters = { new NpgsqlParameter { Value = MigrationLock } },
            };
            await takeLock.ExecuteNonQueryAsync(cancellationToken);
            try
            {
                await using var findSchema = new NpgsqlCommand("SELECT current_schema()", connection);
                if (await findSchema.ExecuteScalarAsync(cancellationToken) is not string schema)
                {
                    throw new StoreUnavailableException($"{Description}: no schema of the search path exists; create it");
                }

                return await Task.Run(
                    () =>
                    {
                        var result = DeployChanges
                            .To.PostgresqlDatabase(new PostgresqlConnectionManager(_dataSource))
                            .WithScriptsEmbeddedInAssembly(
                                typeof(PostgresDesiredStateStore).Assembly,
                                name => name.Contains(".Postgres.Migrations.", StringComparison.Ordinal)
                            )
                            .JournalToPostgresqlTable(schema, "controlplane_migrations")
                            .WithTransaction()
                            .WithVariablesDisabled()
                            .LogToNowhere()
                            .Build()
                            .PerformUpgrade();
                        return result.Successful ? result : throw result.Error;
                    },
                    cancellationToken
                );
            }
            finally
            {
                await using var release = new NpgsqlCommand("SELECT pg_advisory_unlock($1)", connection)
                {
                    Parameters = { new NpgsqlParameter { Value = MigrationLock } },
                };
                await release.ExecuteNonQueryAsync(CancellationToken.None);
            }
        });

    /// <inheritdoc/>
    public override ValueTask DisposeAsync() => _dataSource.DisposeAsync();

    /// <inheritdoc/>
    protected override async Task<bool> TryCommitAsync(WriteBatch batch, CancellationToken cancellationToken)
    {
        var commitId = Guid.NewGuid();
        var large = TimeSpan.FromSeconds((batch.Writes.Count + batch.Deletes.Count) / DocumentsPerSecond);
        for (var attempt = 1; ; attempt++)
        {
            var connection = await _dataSource.OpenConnectionAsync(cancellationToken);
            var processId = connection.ProcessID;
            try
            {
                return await PatientlyAsync(_ => ExecuteCommitAsync(connection, batch, commitId, large), CallerPatience + large);
            }
            catch (Exception e) when (e is ConnectionBrokenException or TimeoutException)
            {
                if (await WasCommittedAsync(batch.BaseRevision + 1, commitId, processId, e))
                {
                    return true;
                }

                if (attempt > 1 || e is TimeoutException)
                {
                    throw;
                }

                // The connection had died in the pool, as after a restart of the database.
            }
        }
    }

    /// <summary>Executes the batch and closes the connection.</summary>
    /// <exception cref="ConnectionBrokenException">It is not known whether the commit was made; after any other exception it was not.</exception>
    private static async Task<bool> ExecuteCommitAsync(NpgsqlConnection connection, WriteBatch batch, Guid commitId, TimeSpan large)
    {
        await using (connection)
        {
            await using var commit = CommitBatch(connection, batch, commitId);
            commit.Timeout = CommandSeconds + (int)large.TotalSeconds;
            try
            {
                await commit.ExecuteNonQueryAsync(CancellationToken.None);
                return commit.BatchCommands[0].RecordsAffected > 0;
            }
            catch (Exception e) when (connection.State != ConnectionState.Open)
            {
                throw new ConnectionBrokenException(e);
            }
        }
    }

    /// <inheritdoc/>
    protected override async Task RestoreAsync(BackupReader backup, CancellationToken cancellationToken)
    {
        await using var connection = await _dataSource.OpenConnectionAsync(cancellationToken);
        await using var transaction = await connection.BeginTransactionAsync(cancellationToken);
        await using var setHead = new NpgsqlCommand("UPDATE head SET revision = $1, oldest = $2 WHERE revision = 0", connection)
        {
            Parameters =
            {
                new NpgsqlParameter<long> { TypedValue = backup.Revision },
                new NpgsqlParameter<long> { TypedValue = backup.Oldest },
            },
        };
        if (await setHead.ExecuteNonQueryAsync(cancellationToken) == 0)
        {
            throw StoreNotEmpty();
        }

        await using (
            var copy = await connection.BeginBinaryImportAsync(
                "COPY revisions (revision, commit_id, author, reason, at, trace_id, notes) FROM STDIN (FORMAT BINARY)",
                cancellationToken
            )
        )
        {
            var commitId = Guid.NewGuid();
            await foreach (var r in backup.ReadRevisionsAsync(cancellationToken))
            {
                await copy.WriteRowAsync(
                    cancellationToken,
                    r.Revision,
                    commitId,
                    r.Author,
                    r.Reason,
                    r.At.ToUniversalTime(),
                    r.TraceId,
                    r.Notes
                );
            }

            await copy.CompleteAsync(cancellationToken);
        }

        await using (
            var copy = await connection.BeginBinaryImportAsync(
                $"COPY history ({Columns}, until) FROM STDIN (FORMAT BINARY)",
                cancellationToken
            )
        )
        {
            await foreach (var (document, until) in backup.ReadHistoryAsync(cancellationToken))
            {
                await WriteStateAsync(copy, document);
                await copy.WriteAsync(until, cancellationToken);
            }

            await copy.CompleteAsync(cancellationToken);
        }

        await using (
            var copy = await connection.BeginBinaryImportAsync($"COPY documents ({Columns}) FROM STDIN (FORMAT BINARY)", cancellationToken)
        )
        {
            await foreach (var document in backup.ReadDocumentsAsync(cancellationToken))
            {
                await WriteStateAsync(copy, document);
            }

            await copy.CompleteAsync(cancellationToken);
        }

        await using var analyze = new NpgsqlCommand("ANALYZE revisions, history, documents", connection) { CommandTimeout = 600 };
        await analyze.ExecuteNonQueryAsync(cancellationToken);
        await using var notify = new NpgsqlCommand($"SELECT pg_notify('{Channel}', revision::text) FROM head", connection);
        await notify.ExecuteNonQueryAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);

        async Task WriteStateAsync(NpgsqlBinaryImporter copy, StoredDocument d)
        {
            await copy.StartRowAsync(cancellationToken);
            await copy.WriteAsync(d.Key.Kind.ToString(), cancellationToken);
            await copy.WriteAsync(d.Key.Name, cancellationToken);
            await copy.WriteAsync(d.Uid, cancellationToken);
            await copy.WriteAsync(d.Generation, cancellationToken);
            await copy.WriteAsync(d.Revision, cancellationToken);
            await copy.WriteAsync(d.CreatedAt.ToUniversalTime(), cancellationToken);
            await copy.WriteAsync(d.UpdatedAt.ToUniversalTime(), cancellationToken);
            await copy.WriteAsync(d.ManagedBy, cancellationToken);
            await copy.WriteAsync(d.Json, NpgsqlDbType.Json, cancellationToken);
        }
    }

    /// <inheritdoc/>
    protected override async Task ListenAsync(Action<long> signal, CancellationToken cancellationToken)
    {
        await using var connection = await _dataSource.OpenConnectionAsync(cancellationToken);
        connection.Notification += (_, notification) =>
        {
            // Whoever may connect to the database may notify: what is no number is not from a server.
            if (long.TryParse(notification.Payload, CultureInfo.InvariantCulture, out var revision))
            {
                signal(revision);
            }
        };
        await using var listen = new NpgsqlCommand($"LISTEN {Channel}", connection);
        await listen.ExecuteNonQueryAsync(cancellationToken);
        await using var head = new NpgsqlCommand("SELECT revision FROM head", connection);
        while (true)
        {
            var revision = (long)(await head.ExecuteScalarAsync(cancellationToken))!;
            using var poll = new CancellationTokenSource(PollInterval, Time);
            using var wait = CancellationTokenSource.CreateLinkedTokenSource(poll.Token, cancellationToken);
            signal(revision);
            try
            {
                while (true)
                {
                    await connection.WaitAsync(wait.Token);
                }
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested) { }
        }
    }

    /// <inheritdoc/>
    protected override async Task<DbConnection> OpenAsync(CancellationToken cancellationToken) =>
        await _dataSource.OpenConnectionAsync(cancellationToken);

    /// <inheritdoc/>
    protected override async Task<T> ReadAsync<T>(Func<Action, Task<T>> read)
    {
        try
        {
            return await PatientlyAsync(read, CallerPatience);
        }
        catch (NpgsqlException e) when (PostgresFaults.IsConnectionLost(e))
        {
            // Npgsql empties its pool when a connection in it proves dead, so that the second is a new one.
            return await PatientlyAsync(read, CallerPatience);
        }
    }

    /// <inheritdoc/>
    protected override async Task<DbTransaction> BeginSnapshotAsync(DbConnection connection, CancellationToken cancellationToken) =>
        await connection.BeginTransactionAsync(IsolationLevel.RepeatableRead, cancellationToken);

    /// <inheritdoc/>
    protected override async Task<int> ExecuteAsync(
        string sql,
        (string Name, object Value)[] parameters,
        CancellationToken cancellationToken
    )
    {
        await using var connection = await _dataSource.OpenConnectionAsync(cancellationToken);
        await using var command = Command(connection, sql, parameters);
        command.CommandTimeout = 30;
        return await command.ExecuteNonQueryAsync(cancellationToken);
    }

    /// <inheritdoc/>
    protected override string? WhyUnavailable(Exception exception) =>
        PostgresFaults.WhyUnavailable(exception is ConnectionBrokenException ? exception.InnerException! : exception);

    private static NpgsqlBatch CommitBatch(NpgsqlConnection connection, WriteBatch batch, Guid commitId)
    {
        var revision = batch.BaseRevision + 1;
        var commit = new NpgsqlBatch(connection)
        {
            Timeout = CommandSeconds + ((batch.Writes.Count + batch.Deletes.Count) / DocumentsPerSecond),
        };
        Add(Advance, batch.BaseRevision, commitId, batch.Author, batch.Reason, batch.At, batch.TraceId, batch.Notes);
        var keys = batch.Writes.Select(d => d.Key).Concat(batch.Deletes).ToList();
        if (keys.Count > 0)
        {
            Add(End, revision, commitId, keys.Select(k => k.Kind.ToString()).ToArray(), keys.Select(k => k.Name).ToArray());
        }

        if (batch.Writes.Count > 0)
        {
            var writes = batch.Writes;
            Add(
                Put,
                revision,
                commitId,
                writes.Select(d => d.Key.Kind.ToString()).ToArray(),
                writes.Select(d => d.Key.Name).ToArray(),
                writes.Select(d => d.Uid).ToArray(),
                writes.Select(d => d.Generation).ToArray(),
                writes.Select(d => d.CreatedAt).ToArray(),
                writes.Select(d => d.UpdatedAt).ToArray(),
                writes.Select(d => d.ManagedBy).ToArray(),
                writes.Select(d => d.Json).ToArray()
            );
        }

        if (batch.Deletes.Count > 0)
        {
            Add(
                Delete,
                revision,
                commitId,
                batch.Deletes.Select(k => k.Kind.ToString()).ToArray(),
                batch.Deletes.Select(k => k.Name).ToArray()
            );
        }

        Add(Notify, revision, commitId);
        return commit;

        void Add(string sql, params ReadOnlySpan<object> values)
        {
            var command = new NpgsqlBatchCommand(sql);
            foreach (var value in values)
            {
                command.Parameters.Add(new NpgsqlParameter { Value = value });
            }

            commit.BatchCommands.Add(command);
        }
    }

    /// <summary>Waits for an operation until it has ended or said that the answer has begun, but no longer; what is abandoned ends by itself.</summary>
    private async Task<T> PatientlyAsync<T>(Func<Action, Task<T>> operation, TimeSpan patience)
    {
        var answered = new TaskCompletionSource();
        var running = operation(() => answered.TrySetResult());
        await Task.WhenAny(running, answered.Task).WaitAsync(patience, Time);
        return await running;
    }

    /// <summary>
    /// Finds out how a commit ended whose connection broke. The server process that ran it is ended first: it might commit later otherwise, as when it
    /// still waits for a lock.
    /// </summary>
    private async Task<bool> WasCommittedAsync(long revision, Guid commitId, int processId, Exception cause)
    {
        using var patience = new CancellationTokenSource(OutcomePatience, Time);
        while (true)
        {
            try
            {
                await using var connection = await _dataSource.OpenConnectionAsync(patience.Token);
                await using var end = new NpgsqlCommand(
                    "SELECT bool_and(pg_terminate_backend(pid, 1000)) FROM pg_stat_activity WHERE pid = $1 AND usename = current_user AND datname = current_database()",
                    connection
                )
                {
                    Parameters = { new NpgsqlParameter<int> { TypedValue = processId } },
                };
                if (await end.ExecuteScalarAsync(patience.Token) is not false)
                {
                    await using var find = new NpgsqlCommand(
                        "SELECT count(*) FROM revisions WHERE revision = $1 AND commit_id = $2",
                        connection
                    )
                    {
                        Parameters =
                        {
                            new NpgsqlParameter<long> { TypedValue = revision },
                            new NpgsqlParameter<Guid> { TypedValue = commitId },
                        },
                    };
                    return await find.ExecuteScalarAsync(patience.Token) is > 0L;
                }
            }
            catch (Exception e) when (e is OperationCanceledException || WhyUnavailable(e) is not null)
            {
                // The database is still away, or patience is at its end: see below.
            }

            if (patience.IsCancellationRequested)
            {
                throw new StoreUnavailableException(
                    $"{Description}: the connection was lost during a write, and whether it was written is not known ({WhyUnavailable(cause)})",
                    cause
                )
                {
                    IsOutcomeUnknown = true,
                };
            }

            await Task.Delay(OutcomeRetry, Time);
        }
    }

    /// <summary>A connection broke while a commit was under way.</summary>
    private sealed class ConnectionBrokenException(Exception cause) : Exception(cause.Message, cause);
}
