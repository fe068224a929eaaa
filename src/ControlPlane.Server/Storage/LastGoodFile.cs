using System.Text.Json;

namespace ControlPlane.Server.Storage;

/// <summary>
/// Keeps the documents in force in a file, so that a server that starts while the database is away serves what was last in force, byte for byte. The file may
/// be some seconds behind; the database is followed as soon as it answers.
/// </summary>
internal sealed partial class LastGoodFile : BackgroundService
{
    internal const string Type = "controlplane-last-good";
    internal const int Version = 1;

    /// <summary>At least this long between two writes of the file.</summary>
    internal static readonly TimeSpan MinimumInterval = TimeSpan.FromSeconds(3);

    // A large file is written less often, so that writing takes at most this share of the time.
    private const double MaximumShare = 0.05;

    /// <summary>At most this long, however slow the disk: a file that is not written is of no use.</summary>
    internal static readonly TimeSpan MaximumInterval = TimeSpan.FromMinutes(1);

    private readonly string _path;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly SemaphoreSlim _offered = new(0, 1);
    private Offered? _newest;

    public LastGoodFile(string path, TimeProvider time, ILogger<LastGoodFile> logger)
    {
        _path = path;
        _time = time;
        _logger = logger;
    }

    /// <summary>Where the file is.</summary>
    public string Path => _path;

    /// <summary>
    /// Says what is in force now. Costs nothing here: the newest offer is written later by another thread, which then enumerates
    /// <paramref name="documents"/>; what it enumerates must be immutable.
    /// </summary>
    public void Offer(long revision, IEnumerable<StoredDocument> documents)
    {
        Volatile.Write(ref _newest, new Offered(revision, documents));
        try
        {
            _offered.Release();
        }
        catch (SemaphoreFullException)
        {
            // The writer has yet to see an earlier offer; it will take this one.
        }
    }

    /// <summary>Reads the file. A damaged one is reported in the log and not used.</summary>
    /// <returns>Null if there is no usable file.</returns>
    public async Task<StoredState?> LoadAsync(CancellationToken cancellationToken)
    {
        try
        {
            await using var file = File.OpenRead(_path);
            using var lines = new StateLinesReader(file);
            var revision = await lines.ReadHeaderAsync(
                Type,
                Version,
                header => header.GetProperty("revision").GetInt64(),
                cancellationToken
            );
            var documents = new List<StoredDocument>();
            while (await lines.ReadAsync((_, line) => documents.Add(StateLinesReader.ReadState(line).Document), cancellationToken)) { }
            return new StoredState(revision, documents);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            LogUnusable(_logger, _path, e.Message);
            return null;
        }
    }

    /// <summary>Writes what was offered last, however short ago the file was written.</summary>
    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        if (ExecuteTask is not { IsCompleted: false })
        {
            await WriteNewestAsync();
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _offered.Dispose();
        base.Dispose();
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (true)
        {
            await _offered.WaitAsync(stoppingToken);
            var started = _time.GetTimestamp();
            await WriteNewestAsync();
            var pause = _time.GetElapsedTime(started) / MaximumShare;
            await Task.Delay(
                TimeSpan.FromTicks(Math.Clamp(pause.Ticks, MinimumInterval.Ticks, MaximumInterval.Ticks)),
                _time,
                stoppingToken
            );
        }
    }

    private async Task WriteNewestAsync()
    {
        if (Interlocked.Exchange(ref _newest, null) is not { } state)
        {
            return;
        }

        try
        {
            await PrivateFile.ReplaceAsync(_path, file => WriteAsync(file, state));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What could not be written is offered again by the next change. Losing the file only costs a start without the database.
            LogNotWritten(_logger, _path, e.Message);
        }
    }

    private static async Task WriteAsync(Stream file, Offered state)
    {
        await using var lines = new StateLinesWriter(file);
        await lines.WriteAsync(
            Type,
            state.Revision,
            static (json, revision) =>
            {
                json.WriteNumber("version"u8, Version);
                json.WriteNumber("revision"u8, revision);
            }
        );
        foreach (var document in state.Documents)
        {
            await lines.WriteStateAsync(document, until: null);
        }

        await lines.CompleteAsync(CancellationToken.None);
    }

    private sealed record Offered(long Revision, IEnumerable<StoredDocument> Documents);

    [LoggerMessage(2111, LogLevel.Error, "The last-good file {Path} is not used: {Reason}")]
    private static partial void LogUnusable(ILogger logger, string path, string reason);

    [LoggerMessage(2112, LogLevel.Error, "The last-good file {Path} could not be written: {Reason}")]
    private static partial void LogNotWritten(ILogger logger, string path, string reason);
}
