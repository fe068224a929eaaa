using ControlPlane.Resources;
using ControlPlane.Server.Storage;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Storage;

public sealed class BackupCommandTests(PostgresFixture postgres) : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-test-");
    private readonly StringWriter _output = new();
    private readonly StringWriter _error = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private string BackupPath => Path.Combine(_folder.FullName, "backup.jsonl");

    public async ValueTask DisposeAsync()
    {
        await _output.DisposeAsync();
        await _error.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task A_backup_moves_the_state_from_a_file_to_PostgreSQL()
    {
        await FillAsync("from.db");
        var database = await postgres.CreateDatabaseAsync();

        Assert.Equal(0, await BackupAsync("sqlite:" + InFolder("from.db")));
        Assert.Equal(0, await RestoreAsync(database));

        Assert.Empty(_error.ToString());
        Assert.Contains("Backed up sqlite:", _output.ToString(), StringComparison.Ordinal);
        Assert.Contains("Restored 1 objects at revision 1", _output.ToString(), StringComparison.Ordinal);
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(BackupPath));
        }
    }

    [Fact]
    public async Task A_backup_that_fails_leaves_the_older_one()
    {
        await File.WriteAllTextAsync(BackupPath, "older", Cancellation);

        Assert.Equal(1, await BackupAsync("sqlite:" + InFolder("missing.db")));

        Assert.Contains("missing.db names a file that does not exist", _error.ToString(), StringComparison.Ordinal);
        Assert.Equal("older", await File.ReadAllTextAsync(BackupPath, Cancellation));
        Assert.False(File.Exists(InFolder("missing.db")));
        Assert.Equal([BackupPath], Directory.GetFiles(_folder.FullName));
    }

    [Fact]
    public async Task A_database_without_our_tables_is_told_and_left_alone()
    {
        Assert.Equal(1, await BackupAsync(await postgres.CreateDatabaseAsync()));

        Assert.Contains("holds no state of this control plane", _error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_restore_into_a_store_in_use_is_refused()
    {
        await FillAsync("from.db");
        Assert.Equal(0, await BackupAsync("sqlite:" + InFolder("from.db")));

        Assert.Equal(1, await RestoreAsync("sqlite:" + InFolder("from.db")));

        Assert.Contains("already holds revisions", _error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_missing_or_damaged_backup_and_a_nonsensical_store_are_told()
    {
        Assert.Equal(1, await RestoreAsync("sqlite:" + InFolder("to.db")));
        Assert.Contains("backup.jsonl", _error.ToString(), StringComparison.Ordinal);

        await File.WriteAllTextAsync(BackupPath, "garbage\n", Cancellation);
        Assert.Equal(1, await RestoreAsync("sqlite:" + InFolder("to.db")));
        Assert.Contains("Line 1: not a JSON object", _error.ToString(), StringComparison.Ordinal);

        Assert.Equal(1, await BackupAsync("nonsense"));
        Assert.Contains("--store is neither", _error.ToString(), StringComparison.Ordinal);
    }

    private string InFolder(string name) => Path.Combine(_folder.FullName, name);

    private Task<int> BackupAsync(string store) =>
        BackupCommand.BackupAsync(store, BackupPath, TimeProvider.System, _output, _error, Cancellation);

    private Task<int> RestoreAsync(string store) =>
        BackupCommand.RestoreAsync(store, BackupPath, TimeProvider.System, _output, _error, Cancellation);

    private async Task FillAsync(string name)
    {
        await using var store = SqliteDesiredStateStoreTests.Open(InFolder(name));
        await store.MigrateAsync(Cancellation);
        var document = new StoredDocument(
            new ResourceKey(ResourceKind.Upstream, "a"),
            Guid.NewGuid(),
            1,
            0,
            DateTimeOffset.UnixEpoch,
            DateTimeOffset.UnixEpoch,
            "test",
            "{}"
        );
        Assert.NotNull(
            await store.CommitAsync(new WriteBatch(0, "test", "", DateTimeOffset.UnixEpoch, "", "", [document], []), Cancellation)
        );
    }
}
