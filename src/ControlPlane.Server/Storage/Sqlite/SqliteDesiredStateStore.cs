using System.Data.Common;
using DbUp;
using DbUp.Sqlite.Helpers;
using Microsoft.Data.Sqlite;

namespace ControlPlane.Server.Storage.Sqlite;

/// <summary>
/// The desired state in one SQLite file, for one server process. A write-ahead log lets reads go on beside the one writer; a commit is on the disk
/// (<c>synchronous=FULL</c>) before it is answered.
/// </summary>
internal sealed partial class SqliteDesiredStateStore : SqlDesiredStateStore
{
    // How long SQLite itself waits where another process holds a lock on the file.
    private const int BusyMilliseconds = 4000;

    private readonly string _path;
    private readonly string _connectionString;
    private readonly long? _maximumPages;
    private bool _isMade;

    // The writer's connection and what is prepared on it belong to whoever holds the semaphore. After a fault both are made anew.
    private readonly SemaphoreSlim _writing = new(1, 1);
    private Writer? _writer;

    private TaskCompletionSource _committed = NewSignal();

    /// <summary>Names the file; it is made when something is first written.</summary>
    /// <param name="path">The file.</param>
    /// <param name="time">The clock of polling.</param>
    /// <param name="logger">Where a change feed that fails is told.</param>
    /// <param name="maximumPages">The most that the file may grow to, in pages of 4 KiB; beyond, it is as if the disk were full. Null for no limit.</param>
    public SqliteDesiredStateStore(string path, TimeProvider time, ILogger<SqliteDesiredStateStore> logger, long? maximumPages = null)
        : base("sqlite:" + path, time, logger)
    {
        _path = path;
        _maximumPages = maximumPages;
        _connectionString = new SqliteConnectionStringBuilder
        {
            DataSource = path,
            Mode = SqliteOpenMode.ReadWrite,
            DefaultTimeout = BusyMilliseconds / 1000,
        }.ConnectionString;
    }

    /// <inheritdoc/>
    protected override async Task UpgradeAsync(CancellationToken cancellationToken)
    {
        // Only here is a file made, and once: one that goes missing later is told, and not replaced by an empty one. One that exists is left to SQLite: to close
        // another handle on it would drop the locks that SQLite holds.
        if (!_isMade && !File.Exists(_path))
        {
            await TranslateAsync(async () =>
            {
                await PrivateFile.Open(_path, FileMode.OpenOrCreate).DisposeAsync();
                return true;
            });
        }

        await WriteAsync(
            writer =>
            {
                var result = DeployChanges
                    .To.SqliteDatabase(new SharedConnection(writer.Connection))
                    .WithScriptsEmbeddedInAssembly(
                        typeof(SqliteDesiredStateStore).Assembly,
                        name => name.Contains(".Sqlite.Migrations.", StringComparison.Ordinal)
                    )
                    .JournalToSqliteTable("controlplane_migrations")
                    .WithTransaction()
                    .WithVariablesDisabled()
                    .LogToNowhere()
                    .Build()
                    .PerformUpgrade();
                return result.Successful ? result : throw result.Error;
            },
            cancellationToken
        );
        _isMade = true;
    }

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await _writing.WaitAsync();
        _writer?.Dispose();
        _writer = null;
        using var pool = new SqliteConnection(_connectionString);
        SqliteConnection.ClearPool(pool);
    }

    /// <inheritdoc/>
    protected override async Task<bool> TryCommitAsync(WriteBatch batch, CancellationToken cancellationToken)
    {
        var isCommitted = await WriteAsync(writer => writer.TryCommit(batch), cancellationToken);
        if (isCommitted)
        {
            SignalCommit();
        }

        return isCommitted;
    }

    /// <inheritdoc/>
    protected override async Task RestoreAsync(BackupReader backup, CancellationToken cancellationToken)
    {
        await WriteAsync(
            async writer =>
            {
                await using var transaction = writer.Begin();
                if (!await writer.TryRestoreAsync(backup, cancellationToken))
                {
                    throw StoreNotEmpty();
                }

                await transaction.CommitAsync(cancellationToken);
                return true;
            },
            cancellationToken
        );
        SignalCommit();
    }

    /// <inheritdoc/>
    protected override Task<int> ExecuteAsync(string sql, (string Name, object Value)[] parameters, CancellationToken cancellationToken) =>
        WriteAsync(
            writer =>
            {
                using var command = Command(writer.Connection, sql, parameters);
                return command.ExecuteNonQuery();
            },
            cancellationToken
        );

    /// <inheritdoc/>
    protected override async Task ListenAsync(Action<long> signal, CancellationToken cancellationToken)
    {
        while (true)
        {
            var committed = Volatile.Read(ref _committed).Task;
            var revision = await ReadHeadAsync(cancellationToken);
            var next = committed.WaitAsync(PollInterval, Time, cancellationToken);
            signal(revision);
            try
            {
                await next;
            }
            catch (TimeoutException)
            {
                // Another process may have written: a restore beside a running server.
            }
        }
    }

    /// <inheritdoc/>
    protected override async Task<DbConnection> OpenAsync(CancellationToken cancellationToken)
    {
        var connection = new SqliteConnection(_connectionString);
        try
        {
            await connection.OpenAsync(cancellationToken);
            return connection;
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    /// <inheritdoc/>
    protected override Task<DbTransaction> BeginSnapshotAsync(DbConnection connection, CancellationToken cancellationToken) =>
        Task.FromResult<DbTransaction>(((SqliteConnection)connection).BeginTransaction(deferred: true));

    /// <inheritdoc/>
    protected override string? WhyUnavailable(Exception exception) =>
        exception switch
        {
            SqliteException e => e.SqliteErrorCode switch
            {
                SQLitePCL.raw.SQLITE_FULL => "the disk is full; nothing can be written until there is room",
                SQLitePCL.raw.SQLITE_READONLY => "the file is read-only; make it and its folder writable",
                SQLitePCL.raw.SQLITE_CANTOPEN or SQLitePCL.raw.SQLITE_PERM =>
                    "the file cannot be opened; check that its folder exists and is writable",
                SQLitePCL.raw.SQLITE_BUSY => "another process has kept the file locked for too long",
                SQLitePCL.raw.SQLITE_IOERR => "the disk reports an error",
                SQLitePCL.raw.SQLITE_CORRUPT or SQLitePCL.raw.SQLITE_NOTADB =>
                    "the file is damaged or no SQLite database; move it away and restore a backup",
                _ => null,
            },
            UnauthorizedAccessException or IOException => "the file cannot be created; check that its folder is writable",
            _ => null,
        };

    private Task<T> WriteAsync<T>(Func<Writer, T> write, CancellationToken cancellationToken) =>
        WriteAsync(writer => Task.FromResult(write(writer)), cancellationToken);

    private async Task<T> WriteAsync<T>(Func<Writer, Task<T>> write, CancellationToken cancellationToken)
    {
        await _writing.WaitAsync(cancellationToken);
        try
        {
            // SQLite would go on writing to a file that has lost its name, and all of it would be gone with the process.
            if (!File.Exists(_path))
            {
                throw new StoreUnavailableException(
                    $"{Description}: the file is missing; put it back, or restart the server to begin with a new one"
                );
            }

            _writer ??= await TranslateAsync(() => Task.FromResult(Writer.Open(_connectionString, _maximumPages)));
            return await TranslateAsync(() => write(_writer));
        }
        catch
        {
            _writer?.Dispose();
            _writer = null;
            throw;
        }
        finally
        {
            _writing.Release();
        }
    }

    private void SignalCommit() => Interlocked.Exchange(ref _committed, NewSignal()).TrySetResult();

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The one connection that writes, with its prepared statements.</summary>
    private sealed class Writer : IDisposable
    {
        private const string StateColumns = "kind, name, uid, generation, revision, created_at, updated_at, managed_by, json";
        private const string StateValues = "@kind, @name, @uid, @generation, @revision, @created_at, @updated_at, @managed_by, @json";

        private readonly SqliteCommand _advance;
        private readonly SqliteCommand _insertRevision;
        private readonly SqliteCommand _end;
        private readonly SqliteCommand _put;
        private readonly SqliteCommand _delete;
        private readonly SqliteCommand _insertHistory;
        private SqliteTransaction? _transaction;

        private Writer(SqliteConnection connection)
        {
            Connection = connection;
            _advance = Prepare("UPDATE head SET revision = revision + 1 WHERE revision = @base", "base");
            _insertRevision = Prepare(
                "INSERT INTO revisions (revision, author, reason, at, trace_id, notes) VALUES (@revision, @author, @reason, @at, @trace_id, @notes)",
                "revision",
                "author",
                "reason",
                "at",
                "trace_id",
                "notes"
            );
            _end = Prepare(
                $"INSERT INTO history ({StateColumns}, until) SELECT {StateColumns}, @until FROM documents WHERE kind = @kind AND name = @name",
                "kind",
                "name",
                "until"
            );
            string[] state = ["kind", "name", "uid", "generation", "revision", "created_at", "updated_at", "managed_by", "json"];
            _put = Prepare($"INSERT OR REPLACE INTO documents ({StateColumns}) VALUES ({StateValues})", state);
            _delete = Prepare("DELETE FROM documents WHERE kind = @kind AND name = @name", "kind", "name");
            _insertHistory = Prepare($"INSERT INTO history ({StateColumns}, until) VALUES ({StateValues}, @until)", [.. state, "until"]);
        }

        public SqliteConnection Connection { get; }

        /// <summary>Opens the file, which must exist.</summary>
        public static Writer Open(string connectionString, long? maximumPages)
        {
            var connection = new SqliteConnection(connectionString + ";Pooling=False");
            try
            {
                connection.Open();
                using var pragmas = connection.CreateCommand();
                pragmas.CommandText =
                    $"PRAGMA busy_timeout = {BusyMilliseconds}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864";
                if (maximumPages is { } pages)
                {
                    pragmas.CommandText += $"; PRAGMA max_page_count = {pages}";
                }

                pragmas.ExecuteNonQuery();
                return new Writer(connection);
            }
            catch
            {
                connection.Dispose();
                throw;
            }
        }

        /// <summary>Begins the transaction of all that is written next, and takes the file's write lock.</summary>
        public SqliteTransaction Begin() => _transaction = Connection.BeginTransaction();

        /// <summary>Writes a batch in one transaction; false if the newest revision is not its base.</summary>
        public bool TryCommit(WriteBatch batch)
        {
            using var transaction = Begin();
            var revision = batch.BaseRevision + 1;
            if (Run(_advance, batch.BaseRevision) == 0)
            {
                return false;
            }

            Run(_insertRevision, revision, batch.Author, batch.Reason, batch.At, batch.TraceId, batch.Notes);
            foreach (var key in batch.Deletes)
            {
                Run(_end, key.Kind.ToString(), key.Name, revision);
                Run(_delete, key.Kind.ToString(), key.Name);
            }

            foreach (var document in batch.Writes)
            {
                Run(_end, document.Key.Kind.ToString(), document.Key.Name, revision);
                Run(_put, Values(document));
            }

            transaction.Commit();
            return true;
        }

        /// <summary>Writes a whole backup, in the caller's transaction.</summary>
        /// <returns>False if the store is not empty.</returns>
        public async Task<bool> TryRestoreAsync(BackupReader backup, CancellationToken cancellationToken)
        {
            using var setHead = Prepare("UPDATE head SET revision = @revision, oldest = @oldest WHERE revision = 0", "revision", "oldest");
            if (Run(setHead, backup.Revision, backup.Oldest) == 0)
            {
                return false;
            }

            await foreach (var r in backup.ReadRevisionsAsync(cancellationToken))
            {
                Run(_insertRevision, r.Revision, r.Author, r.Reason, r.At.ToUniversalTime(), r.TraceId, r.Notes);
            }

            await foreach (var (document, until) in backup.ReadHistoryAsync(cancellationToken))
            {
                Run(_insertHistory, [.. Values(document), until]);
            }

            await foreach (var document in backup.ReadDocumentsAsync(cancellationToken))
            {
                Run(_put, Values(document));
            }

            return true;
        }

        public void Dispose()
        {
            _advance.Dispose();
            _insertRevision.Dispose();
            _end.Dispose();
            _put.Dispose();
            _delete.Dispose();
            _insertHistory.Dispose();
            Connection.Dispose();
        }

        private static object[] Values(StoredDocument d) =>
            [
                d.Key.Kind.ToString(),
                d.Key.Name,
                d.Uid,
                d.Generation,
                d.Revision,
                d.CreatedAt.ToUniversalTime(),
                d.UpdatedAt.ToUniversalTime(),
                d.ManagedBy,
                d.Json,
            ];

        private SqliteCommand Prepare(string sql, params ReadOnlySpan<string> parameters)
        {
            var command = Connection.CreateCommand();
            command.CommandText = sql;
            foreach (var name in parameters)
            {
                command.Parameters.Add(new SqliteParameter { ParameterName = "@" + name });
            }

            return command;
        }

        private int Run(SqliteCommand command, params ReadOnlySpan<object> values)
        {
            for (var i = 0; i < values.Length; i++)
            {
                command.Parameters[i].Value = values[i];
            }

            command.Transaction = _transaction;
            return command.ExecuteNonQuery();
        }
    }
}
