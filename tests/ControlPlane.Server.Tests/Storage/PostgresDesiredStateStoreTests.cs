using ControlPlane.Server.Storage;
using ControlPlane.Server.Storage.Postgres;
using ControlPlane.TestKit;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace ControlPlane.Server.Tests.Storage;

/// <summary>The contract on PostgreSQL.</summary>
public sealed class PostgresDesiredStateStoreTests(PostgresFixture postgres) : DesiredStateStoreTests
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-test-");
    private string _database = "";

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    internal static PostgresDesiredStateStore Open(string connectionString, TimeProvider? time = null) =>
        new(
            new NpgsqlConnectionStringBuilder(connectionString),
            time ?? TimeProvider.System,
            NullLogger<PostgresDesiredStateStore>.Instance
        );

    private protected override async Task<IDesiredStateStore> CreateAsync()
    {
        var database = await postgres.CreateDatabaseAsync();
        _database = _database.Length == 0 ? database : _database;
        return Open(database);
    }

    private protected override Task<IDesiredStateStore> CreateOtherKindAsync() =>
        Task.FromResult<IDesiredStateStore>(SqliteDesiredStateStoreTests.Open(Path.Combine(_folder.FullName, "other.db")));

    private protected override IDesiredStateStore OpenAgain(TimeProvider? time = null) => Open(_database, time);

    private protected override Task AdvanceHeadSilentlyAsync() => ExecuteAsync("UPDATE head SET revision = revision + 1");

    [Fact]
    public async Task A_watch_sees_what_another_server_commits()
    {
        var other = Track(OpenAgain());
        await using var watch = other.WatchAsync(Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.Equal(0, await NextAsync(watch));

        await CommitAsync(0, [Document("a")]);

        Assert.Equal(1, await NextAsync(watch));
        Assert.Equal("a", Assert.Single((await other.ReadChangesAsync(0, Cancellation))!.Written).Key.Name);
    }

    [Fact]
    public async Task Two_control_planes_live_in_two_schemas_of_one_database()
    {
        await CommitAsync(0, [Document("a")]);
        var inSchema = new NpgsqlConnectionStringBuilder(_database) { SearchPath = "other" }.ConnectionString;
        var other = Track(Open(inSchema));
        var missing = await Assert.ThrowsAsync<StoreUnavailableException>(() => other.MigrateAsync(Cancellation));
        Assert.Contains("no schema of the search path exists", missing.Message, StringComparison.Ordinal);

        await ExecuteAsync("CREATE SCHEMA other");
        await other.MigrateAsync(Cancellation);

        Assert.Equal(0, (await other.LoadAsync(Cancellation)).Revision);
        Assert.Equal(1, (await Store.LoadAsync(Cancellation)).Revision);
    }

    [Fact]
    public async Task A_notification_that_is_no_revision_is_passed_over()
    {
        await using var watch = Store.WatchAsync(Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.Equal(0, await NextAsync(watch));

        await ExecuteAsync("NOTIFY controlplane_revision, 'garbage'");
        await CommitAsync(0, [Document("a")]);
        Assert.Equal(1, await NextAsync(watch));
    }

    private async Task ExecuteAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(_database + ";Pooling=false");
        await connection.OpenAsync(Cancellation);
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(Cancellation);
    }
}
