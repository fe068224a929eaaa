using ControlPlane.Server.Storage;
using ControlPlane.Server.Storage.Sqlite;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Storage;

public sealed class HistoryPrunerTests : IAsyncLifetime
{
    private static readonly DateTimeOffset Noon = new(2026, 11, 25, 12, 0, 0, TimeSpan.Zero);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-test-");
    private readonly FakeTimeProvider _time = new(Noon);
    private readonly LogRecorder _log = new();
    private SqliteDesiredStateStore _store = null!;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _store = SqliteDesiredStateStoreTests.Open(Path.Combine(_folder.FullName, "store.db"));
        await _store.MigrateAsync(Cancellation);
    }

    public async ValueTask DisposeAsync()
    {
        _log.Dispose();
        await _store.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task Every_hour_what_is_past_both_limits_is_forgotten()
    {
        for (var i = 0; i < 5; i++)
        {
            await _store.CommitAsync(new WriteBatch(i, "test", "", Noon.AddDays(-40), "", "", [], []), Cancellation);
        }

        using var pruner = new HistoryPruner(_store, new HistoryRetention { Revisions = 2 }, _time, Logger());
        await pruner.StartAsync(Cancellation);

        Assert.Contains("3 revisions", await NextAsync(2121), StringComparison.Ordinal);
        Assert.Equal([5L, 4L], (await _store.ListRevisionsAsync(0, 10, Cancellation)).Select(r => r.Revision));
        await pruner.StopAsync(Cancellation);
    }

    [Fact]
    public async Task A_store_that_is_away_is_pruned_an_hour_later()
    {
        await using var missing = SqliteDesiredStateStoreTests.Open(Path.Combine(_folder.FullName, "missing.db"));
        using var pruner = new HistoryPruner(missing, new HistoryRetention(), _time, Logger());
        await pruner.StartAsync(Cancellation);

        await NextAsync(2122);
        await NextAsync(2122);
        await pruner.StopAsync(Cancellation);
    }

    private ILogger<HistoryPruner> Logger() => new LoggerFactory([_log]).CreateLogger<HistoryPruner>();

    private async Task<string> NextAsync(int eventId)
    {
        var next = _log.FirstAsync(eventId);
        await _time.AdvanceUntilAsync(HistoryPruner.Interval, next);
        return await next;
    }
}
