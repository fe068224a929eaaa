using System.Diagnostics;
using ControlPlane.Resources;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Storage.Postgres;
using ControlPlane.TestKit;
using Npgsql;

namespace ControlPlane.Server.Tests.Storage;

/// <summary>What a store on PostgreSQL does when the database or the network fails: on a server of this class alone, since others need theirs alive.</summary>
public sealed class PostgresOutageTests(PostgresFixture postgres) : IClassFixture<PostgresFixture>, IAsyncLifetime
{
    // A caller waits for about five seconds at most; the rest is for a busy machine.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(8);

    private PostgresServer _server = null!;
    private bool _isStopped;
    private string _database = "";
    private PostgresDesiredStateStore _store = null!;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _server = await postgres.GetServerAsync();
        _database = await _server.CreateDatabaseAsync();
        _store = PostgresDesiredStateStoreTests.Open(_database);
        await _store.MigrateAsync(Cancellation);
    }

    public async ValueTask DisposeAsync()
    {
        if (_store is not null)
        {
            await _store.DisposeAsync();
        }

        if (_isStopped)
        {
            await _server.StartAgainAsync();
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_stopped_server_makes_the_store_unavailable_and_it_recovers_by_itself(bool isCrash)
    {
        await WriteAsync(0);
        await using var watch = _store.WatchAsync(Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.Equal(1, await NextAsync(watch));
        // Several connections lie in the pool, all of which the outage breaks.
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => _store.LoadAsync(Cancellation)));

        await StopServerAsync(isCrash);

        var write = await UnavailableAsync(() => _store.CommitAsync(Batch(1), Cancellation));
        Assert.False(write.IsOutcomeUnknown);
        await UnavailableAsync(() => _store.LoadAsync(Cancellation));
        await UnavailableAsync(() => _store.ReadChangesAsync(0, Cancellation));
        await UnavailableAsync(() => _store.BackupAsync(Stream.Null, Cancellation));
        await UnavailableAsync(() => _store.MigrateAsync(Cancellation));

        await StartServerAsync();

        Assert.Equal(1, (await _store.LoadAsync(Cancellation)).Revision);
        await WriteAsync(1);
        while (await NextAsync(watch) < 2) { }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Connections_that_died_in_the_pool_cost_no_request_when_the_server_is_back(bool isWriteFirst)
    {
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => _store.LoadAsync(Cancellation)));

        await StopServerAsync(isCrash: false);
        await StartServerAsync();

        await (isWriteFirst ? WriteAsync(0) : _store.LoadAsync(Cancellation));
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => _store.LoadAsync(Cancellation)));
    }

    [Fact]
    public async Task What_was_committed_while_the_watch_was_away_is_signalled_when_it_is_back()
    {
        await using var proxy = new PostgresProxy(_database);
        await using var other = PostgresDesiredStateStoreTests.Open(proxy.ConnectionString);
        await using var watch = other.WatchAsync(Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.Equal(0, await NextAsync(watch));

        await TerminateAllOthersAsync();
        await WriteAsync(0);

        while (await NextAsync(watch) < 1) { }
    }

    [Fact]
    public async Task The_watch_makes_the_tables_of_a_database_that_has_none_and_of_one_that_is_made_anew()
    {
        var database = await _server.CreateDatabaseAsync();
        await using var store = PostgresDesiredStateStoreTests.Open(database);
        await using var watch = store.WatchAsync(Cancellation).GetAsyncEnumerator(Cancellation);

        Assert.Equal(0, await NextAsync(watch));
        Assert.NotNull(await store.CommitAsync(Batch(0), Cancellation));
        Assert.Equal(1, await NextAsync(watch));

        await _server.EmptyDatabaseAsync(database);

        Assert.Equal(0, await NextAsync(watch));
        Assert.NotNull(await store.CommitAsync(Batch(0), Cancellation));
    }

    [Fact]
    public async Task A_read_only_database_takes_no_writes_and_is_read()
    {
        await WriteAsync(0);
        await ExecuteAsync($"ALTER DATABASE {Name} SET default_transaction_read_only = on");
        await using var store = PostgresDesiredStateStoreTests.Open(_database);

        var write = await UnavailableAsync(() => store.CommitAsync(Batch(1), Cancellation));

        Assert.Contains("read-only", write.Message, StringComparison.Ordinal);
        Assert.Equal(1, (await store.LoadAsync(Cancellation)).Revision);
        await store.MigrateAsync(Cancellation);

        await ExecuteAsync($"ALTER DATABASE {Name} SET default_transaction_read_only = off");
        await using var again = PostgresDesiredStateStoreTests.Open(_database);
        Assert.NotNull(await again.CommitAsync(Batch(1), Cancellation));
    }

    [Fact]
    public async Task A_lock_that_another_session_keeps_ends_the_write_in_time_and_nothing_is_written()
    {
        await using var holder = await HoldHeadAsync();

        var write = await UnavailableAsync(() => _store.CommitAsync(Batch(0), Cancellation));

        Assert.False(write.IsOutcomeUnknown);
        Assert.Contains("in time", write.Message, StringComparison.Ordinal);
        await holder.DisposeAsync();
        Assert.Equal(0, (await _store.LoadAsync(Cancellation)).Revision);
        await WriteAsync(0);
    }

    [Fact]
    public async Task A_write_whose_session_is_ended_in_the_middle_is_written_once()
    {
        await using var holder = await HoldHeadAsync();
        var write = _store.CommitAsync(Batch(0), Cancellation);
        await WaitUntilAsync("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'");

        await ExecuteAsync("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
        await holder.DisposeAsync();

        Assert.Equal(1, (await write)?.Revision);
        Assert.Single((await _store.GetRevisionAsync(1, Cancellation))!.Changes);
        Assert.Null(await _store.GetRevisionAsync(2, Cancellation));
    }

    [Fact]
    public async Task A_commit_whose_answer_is_lost_is_found_out_and_reported_as_written()
    {
        await using var proxy = new PostgresProxy(_database);
        await using var store = PostgresDesiredStateStoreTests.Open(proxy.ConnectionString);
        await store.LoadAsync(Cancellation);

        proxy.CutBeforeReply("INSERT INTO revisions");
        var revision = await store.CommitAsync(Batch(0), Cancellation);

        await proxy.Tripped.WaitAsync(Cancellation);
        Assert.Equal(1, revision?.Revision);
        Assert.Equal(1, (await _store.LoadAsync(Cancellation)).Revision);
    }

    [Fact]
    public async Task A_commit_that_never_reached_the_server_is_sent_again()
    {
        await using var proxy = new PostgresProxy(_database);
        await using var store = PostgresDesiredStateStoreTests.Open(proxy.ConnectionString);
        await store.LoadAsync(Cancellation);

        proxy.CutBeforeRequest("INSERT INTO revisions");
        var revision = await store.CommitAsync(Batch(0), Cancellation);

        await proxy.Tripped.WaitAsync(Cancellation);
        Assert.Equal(1, revision?.Revision);
        Assert.Equal(1, (await _store.LoadAsync(Cancellation)).Revision);
    }

    [Fact]
    public async Task A_commit_whose_outcome_cannot_be_found_out_says_so()
    {
        await using var proxy = new PostgresProxy(_database);
        await using var store = PostgresDesiredStateStoreTests.Open(proxy.ConnectionString);
        await store.LoadAsync(Cancellation);

        proxy.CutBeforeReply("INSERT INTO revisions", isLast: true);

        Assert.True((await UnavailableAsync(() => store.CommitAsync(Batch(0), Cancellation))).IsOutcomeUnknown);
        await proxy.Tripped.WaitAsync(Cancellation);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public async Task A_database_that_does_not_answer_keeps_no_caller_waiting()
    {
        await using var proxy = new PostgresProxy(_database);
        await using var store = PostgresDesiredStateStoreTests.Open(proxy.ConnectionString);
        await store.LoadAsync(Cancellation);

        proxy.FallSilent();

        await UnavailableAsync(() => store.LoadAsync(Cancellation));
        await UnavailableAsync(() => store.CommitAsync(Batch(0), Cancellation));
    }

    [Fact]
    public async Task A_refused_connection_is_told_without_the_password()
    {
        await using var store = PostgresDesiredStateStoreTests.Open(
            new NpgsqlConnectionStringBuilder(_database)
            {
                Host = "127.0.0.1",
                Port = 1,
                Password = "s3cret-word",
            }.ConnectionString
        );

        var refused = await UnavailableAsync(() => store.LoadAsync(Cancellation));

        Assert.DoesNotContain("s3cret", refused.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("s3cret", store.Description, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_database_that_does_not_exist_is_told()
    {
        await using var store = PostgresDesiredStateStoreTests.Open(
            new NpgsqlConnectionStringBuilder(_database) { Database = "missing" }.ConnectionString
        );

        Assert.Contains(
            "\"missing\" does not exist",
            (await UnavailableAsync(() => store.MigrateAsync(Cancellation))).Message,
            StringComparison.Ordinal
        );
    }

    private async Task StopServerAsync(bool isCrash)
    {
        _isStopped = true;
        await (isCrash ? _server.KillAsync() : _server.StopAsync());
    }

    private async Task StartServerAsync()
    {
        await _server.StartAgainAsync();
        _isStopped = false;
    }

    private string Name => new NpgsqlConnectionStringBuilder(_database).Database!;

    private static WriteBatch Batch(long baseRevision) =>
        new(
            baseRevision,
            "test",
            "",
            DateTimeOffset.UnixEpoch,
            "",
            "",
            [
                new StoredDocument(
                    new ResourceKey(ResourceKind.Upstream, "a"),
                    Guid.Empty,
                    1,
                    0,
                    DateTimeOffset.UnixEpoch,
                    DateTimeOffset.UnixEpoch,
                    "test",
                    "{}"
                ),
            ],
            []
        );

    private async Task WriteAsync(long baseRevision) =>
        Assert.Equal(baseRevision + 1, (await _store.CommitAsync(Batch(baseRevision), Cancellation))?.Revision);

    private static async Task<StoreUnavailableException> UnavailableAsync(Func<Task> operation)
    {
        var started = Stopwatch.GetTimestamp();
        var exception = await Assert.ThrowsAsync<StoreUnavailableException>(operation);
        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, Patience);
        return exception;
    }

    private static async Task<long> NextAsync(IAsyncEnumerator<long> watch)
    {
        Assert.True(await watch.MoveNextAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(30), TimeProvider.System, Cancellation));
        return watch.Current;
    }

    private async Task<NpgsqlConnection> HoldHeadAsync()
    {
        var holder = new NpgsqlConnection(_database + ";Pooling=false");
        await holder.OpenAsync(Cancellation);
        await using var hold = new NpgsqlCommand("BEGIN; SELECT FROM head FOR UPDATE", holder);
        await hold.ExecuteNonQueryAsync(Cancellation);
        return holder;
    }

    private Task TerminateAllOthersAsync() =>
        ExecuteAsync(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        );

    private async Task ExecuteAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(_database + ";Pooling=false;Options=-c default_transaction_read_only=off");
        await connection.OpenAsync(Cancellation);
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(Cancellation);
    }

    private async Task WaitUntilAsync(string condition)
    {
        await using var connection = new NpgsqlConnection(_database + ";Pooling=false");
        await connection.OpenAsync(Cancellation);
        await using var command = new NpgsqlCommand(condition, connection);
        while (await command.ExecuteScalarAsync(Cancellation) is not true) { }
    }
}
