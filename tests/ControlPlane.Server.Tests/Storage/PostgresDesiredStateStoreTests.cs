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
        new(new NpgsqlConnectionStringBuilder(connectionString), time ?? TimeProvider.System, NullLogger<PostgresDesiredStateStore>.Instance);

    private protected override async Task<IDesiredStateStore> CreateAsync()
    {
        var database = await postgres.CreateDatabaseAsync();
        _database = _database.Length == 0 ? database : _database;
        return Open(database);
    }

    private protected override Task<IDesiredStateStore> CreateOtherKindAsync() =>
        Task.FromResult<IDesiredStateStore>(SqliteDesiredStateStoreTests.Open(Path.Combine(_folder.FullName, "other.db")));

    private protected override IDesiredStateStore OpenAgain() => Open(_database);
}
