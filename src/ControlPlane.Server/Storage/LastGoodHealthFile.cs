namespace ControlPlane.Server.Storage;

/// <summary>
/// What the health model remembers, in a file beside the last-good file, for a start without the database. Written as a whole, and read only if it is whole.
/// </summary>
internal sealed partial class LastGoodHealthFile(string path, ILogger<LastGoodHealthFile> logger)
{
    internal const string Type = "controlplane-last-good-health";
    internal const int Version = 1;

    /// <summary>Reads the file. A damaged one is reported in the log and not used.</summary>
    public async Task<IReadOnlyList<StoredHealth>> LoadAsync(CancellationToken cancellationToken)
    {
        try
        {
            await using var file = File.OpenRead(path);
            using var lines = new StateLinesReader(file);
            await lines.ReadHeaderAsync(Type, Version, _ => true, cancellationToken);
            var stored = new List<StoredHealth>();
            while (
                await lines.ReadAsync(
                    (_, line) =>
                        stored.Add(
                            new StoredHealth(
                                StateLinesReader.Text(line, "upstream"),
                                line.GetProperty("updatedAt").GetDateTimeOffset(),
                                line.GetProperty("memory").GetRawText()
                            )
                        ),
                    cancellationToken
                )
            ) { }

            return stored;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return [];
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            LogUnusable(path, e.Message);
            return [];
        }
    }

    /// <summary>Replaces the file. Where that fails the log says so, and the next change tries again.</summary>
    public async Task WriteAsync(IEnumerable<StoredHealth> stored)
    {
        try
        {
            await PrivateFile.ReplaceAsync(path, file => WriteAsync(file, stored));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            LogNotWritten(path, e.Message);
        }
    }

    private static async Task WriteAsync(Stream file, IEnumerable<StoredHealth> stored)
    {
        await using var lines = new StateLinesWriter(file);
        await lines.WriteAsync(Type, Version, static (json, version) => json.WriteNumber("version"u8, version));
        foreach (var health in stored.Where(s => s.Json is not null))
        {
            await lines.WriteAsync(
                "health",
                health,
                static (json, health) =>
                {
                    json.WriteString("upstream"u8, health.Upstream);
                    json.WriteString("updatedAt"u8, health.UpdatedAt);
                    json.WritePropertyName("memory"u8);
                    json.WriteRawValue(health.Json!);
                }
            );
        }

        await lines.CompleteAsync(CancellationToken.None);
    }

    [LoggerMessage(2113, LogLevel.Error, "The last-good file of health {Path} is not used: {Reason}")]
    private partial void LogUnusable(string path, string reason);

    [LoggerMessage(2114, LogLevel.Error, "The last-good file of health {Path} could not be written: {Reason}")]
    private partial void LogNotWritten(string path, string reason);
}
