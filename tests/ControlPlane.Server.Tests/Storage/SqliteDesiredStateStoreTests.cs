using ControlPlane.Server.Storage;
using ControlPlane.Server.Storage.Sqlite;
using ControlPlane.TestKit;
using Microsoft.Extensions.Logging.Abstractions;

namespace ControlPlane.Server.Tests.Storage;

/// <summary>The contract on SQLite, and what only a file can do.</summary>
public sealed class SqliteDesiredStateStoreTests(PostgresFixture postgres) : DesiredStateStoreTests
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-test-");

    private int _files;

    private string FilePath => Path.Combine(_folder.FullName, "store1.db");

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    internal static SqliteDesiredStateStore Open(string path) => new(path, TimeProvider.System, NullLogger<SqliteDesiredStateStore>.Instance);

    private protected override Task<IDesiredStateStore> CreateAsync() => Task.FromResult<IDesiredStateStore>(Open(Path.Combine(_folder.FullName, $"store{++_files}.db")));

    private protected override async Task<IDesiredStateStore> CreateOtherKindAsync() =>
        PostgresDesiredStateStoreTests.Open(await postgres.CreateDatabaseAsync());

    private protected override IDesiredStateStore OpenAgain() => Open(FilePath);

    [Fact]
    public void The_file_is_for_its_owner_alone()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no file modes.");
        foreach (var file in _folder.GetFiles())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, file.UnixFileMode);
        }
    }
}
