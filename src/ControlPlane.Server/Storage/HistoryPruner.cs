namespace ControlPlane.Server.Storage;

/// <summary>How long history is kept. A revision is forgotten only when both limits allow it.</summary>
public sealed record HistoryRetention
{
    /// <summary>Younger revisions are kept. Positive; 30 days unless said.</summary>
    public TimeSpan Age { get; init; } = TimeSpan.FromDays(30);

    /// <summary>The newest this many revisions are kept whatever their age. At least 1; 1,000 unless said.</summary>
    public int Revisions { get; init; } = 1000;
}

/// <summary>Forgets old history every hour. Several servers may do so at once: what one has deleted the other does not find.</summary>
internal sealed partial class HistoryPruner(
    IDesiredStateStore store,
    HistoryRetention retention,
    TimeProvider time,
    ILogger<HistoryPruner> logger
) : BackgroundService
{
    /// <summary>Time between two prunes, and before the first: a start has other things to do.</summary>
    internal static readonly TimeSpan Interval = TimeSpan.FromHours(1);

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                var pruned = await store.PruneAsync(time.GetUtcNow() - retention.Age, retention.Revisions, stoppingToken);
                if (pruned > 0)
                {
                    LogPruned(logger, pruned);
                }
            }
            catch (StoreUnavailableException e)
            {
                LogNotPruned(logger, e.Message);
            }
        }
    }

    [LoggerMessage(2121, LogLevel.Information, "Forgot {Revisions} revisions that are past the retention limits")]
    private static partial void LogPruned(ILogger logger, long revisions);

    [LoggerMessage(2122, LogLevel.Warning, "Old history was not pruned, and will be tried again in an hour: {Reason}")]
    private static partial void LogNotPruned(ILogger logger, string reason);
}
