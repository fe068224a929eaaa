using System.Diagnostics;
using System.Runtime.Versioning;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Storage.Sqlite;
using ControlPlane.TestKit;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

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

    internal static SqliteDesiredStateStore Open(string path, TimeProvider? time = null, long? maximumPages = null) =>
        new(path, time ?? TimeProvider.System, NullLogger<SqliteDesiredStateStore>.Instance, maximumPages);

    private protected override Task<IDesiredStateStore> CreateAsync() =>
        Task.FromResult<IDesiredStateStore>(Open(Path.Combine(_folder.FullName, $"store{++_files}.db")));

    private protected override async Task<IDesiredStateStore> CreateOtherKindAsync() =>
        PostgresDesiredStateStoreTests.Open(await postgres.CreateDatabaseAsync());

    private protected override IDesiredStateStore OpenAgain(TimeProvider? time = null) => Open(FilePath, time);

    private protected override async Task AdvanceHeadSilentlyAsync()
    {
        await using var connection = await ConnectAsync();
        await ExecuteAsync(connection, "UPDATE head SET revision = revision + 1");
    }

    [Fact]
    public async Task Files_are_for_their_owner_alone()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no file modes.");
        await CommitAsync(0, [Document("a")]);

        Assert.All(_folder.GetFiles(), file => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, file.UnixFileMode));
    }

    [Fact]
    public async Task A_missing_folder_is_made()
    {
        var path = Path.Combine(_folder.FullName, "a", "b", "store.db");
        var store = Track(Open(path));

        await store.MigrateAsync(Cancellation);

        Assert.True(File.Exists(path));
    }

    [Fact]
    public async Task Commits_are_on_the_disk_before_they_are_answered()
    {
        await CommitAsync(0, [Document("a")]);

        // What another process finds, without a checkpoint or an orderly end.
        var copy = Path.Combine(_folder.FullName, "copy.db");
        File.Copy(FilePath, copy);
        File.Copy(FilePath + "-wal", copy + "-wal");
        var recovered = Track(Open(copy));
        Assert.Equal(1, (await recovered.LoadAsync(Cancellation)).Revision);
    }

    [Fact]
    public async Task A_full_disk_refuses_the_write_whole_and_the_store_goes_on()
    {
        await CommitAsync(0, [Document("kept")]);
        var limited = Track(Open(FilePath, maximumPages: 64));
        var large = Enumerable.Range(0, 500).Select(i => Document($"large{i}", $"\"{new string('x', 1000)}\"")).ToList();

        var full = await Assert.ThrowsAsync<StoreUnavailableException>(() => limited.CommitAsync(Batch(1, large), Cancellation));

        Assert.Contains("the disk is full", full.Message, StringComparison.Ordinal);
        Assert.False(full.IsOutcomeUnknown);
        var state = await limited.LoadAsync(Cancellation);
        Assert.Equal((1, "kept"), (state.Revision, Assert.Single(state.Documents).Key.Name));
        // Small writes still fit, and with room again the large one does.
        Assert.NotNull(await limited.CommitAsync(Batch(1, [Document("small")]), Cancellation));
        Assert.NotNull(await Store.CommitAsync(Batch(2, large), Cancellation));
    }

    [Fact]
    public async Task A_folder_that_cannot_be_written_makes_the_store_unavailable()
    {
        Assert.SkipUnless(Directory.Exists("/proc/self"), "There is no folder here that even root cannot write to.");
        var store = Track(Open("/proc/controlplane/store.db"));

        Assert.Contains(
            "writable",
            (await Assert.ThrowsAsync<StoreUnavailableException>(() => store.MigrateAsync(Cancellation))).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    [UnsupportedOSPlatform("windows")]
    public async Task A_read_only_file_takes_no_writes_and_is_read()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows() || Environment.IsPrivilegedProcess, "File modes do not bind this user.");
        await CommitAsync(0, [Document("a")]);
        await Store.DisposeAsync();
        File.SetUnixFileMode(FilePath, UnixFileMode.UserRead);
        var store = Track(OpenAgain());

        var write = await Assert.ThrowsAsync<StoreUnavailableException>(() => store.CommitAsync(Batch(1, [Document("a")]), Cancellation));

        Assert.Contains("writable", write.Message, StringComparison.Ordinal);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public async Task A_lock_that_another_process_keeps_ends_the_write_in_time_and_reads_go_on()
    {
        await using var holder = await ConnectAsync();
        await ExecuteAsync(holder, "BEGIN IMMEDIATE");
        var started = Stopwatch.GetTimestamp();

        var write = await Assert.ThrowsAsync<StoreUnavailableException>(() => Store.CommitAsync(Batch(0, [Document("a")]), Cancellation));

        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromSeconds(8));
        Assert.Contains("locked", write.Message, StringComparison.Ordinal);
        Assert.Equal(0, (await Store.LoadAsync(Cancellation)).Revision);
        await ExecuteAsync(holder, "ROLLBACK");
        await CommitAsync(0, [Document("a")]);
    }

    [Fact]
    public async Task A_damaged_file_is_told_and_not_written_over()
    {
        var path = Path.Combine(_folder.FullName, "damaged.db");
        await File.WriteAllTextAsync(path, new string('x', 8192), Cancellation);
        var store = Track(Open(path));

        var fault = await Assert.ThrowsAsync<StoreUnavailableException>(() => store.MigrateAsync(Cancellation));

        Assert.Contains("restore a backup", fault.Message, StringComparison.Ordinal);
        Assert.Equal(new string('x', 8192), await File.ReadAllTextAsync(path, Cancellation));
    }

    [Fact]
    public async Task A_file_that_is_moved_away_is_told_and_not_replaced_by_an_empty_one()
    {
        await CommitAsync(0, [Document("a")]);
        var elsewhere = Path.Combine(_folder.FullName, "elsewhere.db");
        File.Move(FilePath, elsewhere);

        var moved = await Assert.ThrowsAsync<StoreUnavailableException>(() => Store.CommitAsync(Batch(1, [Document("a")]), Cancellation));

        Assert.Contains("missing", moved.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(FilePath));
        File.Move(elsewhere, FilePath);
        await CommitAsync(1, [Document("a")]);
    }

    [Fact]
    public async Task Reading_a_file_that_does_not_exist_does_not_make_it()
    {
        var path = Path.Combine(_folder.FullName, "missing.db");
        var store = Track(Open(path));

        await Assert.ThrowsAsync<StoreUnavailableException>(() => store.LoadAsync(Cancellation));

        Assert.False(File.Exists(path));
    }

    private async Task<SqliteConnection> ConnectAsync()
    {
        var connection = new SqliteConnection($"Data Source={FilePath};Pooling=False");
        await connection.OpenAsync(Cancellation);
        return connection;
    }

    private static async Task ExecuteAsync(SqliteConnection connection, string sql)
    {
        await using var command = connection.CreateCommand();
        command.CommandText = sql;
        await command.ExecuteNonQueryAsync(Cancellation);
    }
}
