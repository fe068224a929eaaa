using System.Buffers;
using System.Collections.Immutable;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace ControlPlane.Server.Storage;

/// <summary>
/// What the health model remembers, in a file beside the last-good file, for a start without the database. It is written as a whole, and read only if it is whole; what changes
/// afterwards is added to a journal beside it, until that is as long: so writing costs what changes.
/// </summary>
internal sealed partial class LastGoodHealthFile(string path, ILogger<LastGoodHealthFile> logger)
{
    /// <summary>A journal that is shorter is not worth a whole file.</summary>
    internal const int MinJournal = 64 * 1024;

    private static readonly JsonWriterOptions JournalOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    // What the files say; null before the first write and after one that failed, which may have left half a line.
    private ImmutableDictionary<string, StoredHealth>? _written;
    private long _wholeLength;
    private long _journalLength;

    internal const string Type = "controlplane-last-good-health";
    internal const int Version = 1;

    /// <summary>Reads the file. A damaged one is reported in the log and not used.</summary>
    public async Task<IReadOnlyList<StoredHealth>> LoadAsync(CancellationToken cancellationToken)
    {
        var stored = await LoadWholeAsync(cancellationToken);
        try
        {
            // Of a line that a crash cut off, and all after it, nothing counts.
            await foreach (var line in File.ReadLinesAsync(JournalPath, cancellationToken))
            {
                var next = ReadJournal(line);
                // One of before the whole file was written can stand there still, if the process ended between the two.
                if (!stored.TryGetValue(next.Upstream, out var known) || known.UpdatedAt < next.UpdatedAt)
                {
                    stored[next.Upstream] = next;
                }
            }
        }
        catch (Exception e)
            when (e is FileNotFoundException or DirectoryNotFoundException or JsonException or FormatException or KeyNotFoundException)
        {
            // There is none, or this was its end.
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            LogUnusable(JournalPath, e.Message);
        }

        return [.. stored.Values.Where(s => s.Json is not null)];
    }

    private async Task<Dictionary<string, StoredHealth>> LoadWholeAsync(CancellationToken cancellationToken)
    {
        try
        {
            await using var file = File.OpenRead(path);
            using var lines = new StateLinesReader(file);
            await lines.ReadHeaderAsync(Type, Version, _ => true, cancellationToken);
            var stored = new Dictionary<string, StoredHealth>(StringComparer.Ordinal);
            while (
                await lines.ReadAsync(
                    (_, line) =>
                    {
                        var health = new StoredHealth(
                            StateLinesReader.Text(line, "upstream"),
                            line.GetProperty("updatedAt").GetDateTimeOffset(),
                            line.GetProperty("memory").GetRawText()
                        );
                        stored[health.Upstream] = health;
                    },
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

    private string JournalPath => Path.ChangeExtension(path, ".journal.jsonl");

    /// <summary>Writes what differs from what was written before. Where that fails the log says so, and the next change tries again. Not by two at a time.</summary>
    public async Task WriteAsync(ImmutableDictionary<string, StoredHealth> stored)
    {
        try
        {
            if (_written is not { } written || _journalLength > Math.Max(_wholeLength, MinJournal))
            {
                await PrivateFile.ReplaceAsync(
                    path,
                    async file =>
                    {
                        await WriteAsync(file, stored.Values);
                        _wholeLength = file.Length;
                    }
                );
                await using var journal = PrivateFile.Open(JournalPath, FileMode.Create);
                _journalLength = 0;
            }
            else
            {
                _written = null;
                await AppendAsync(written, stored);
            }

            _written = stored;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            LogNotWritten(path, e.Message);
        }
    }

    private async Task AppendAsync(ImmutableDictionary<string, StoredHealth> written, ImmutableDictionary<string, StoredHealth> stored)
    {
        var lines = new ArrayBufferWriter<byte>();
        await using var json = new Utf8JsonWriter(lines, JournalOptions);
        foreach (var health in stored.Values)
        {
            if (!written.TryGetValue(health.Upstream, out var before) || !ReferenceEquals(before, health))
            {
                Write(health);
            }
        }

        foreach (var gone in written.Values.Where(w => !stored.ContainsKey(w.Upstream)))
        {
            Write(gone with { UpdatedAt = gone.UpdatedAt + TimeSpan.FromMicroseconds(1), Json = null });
        }

        if (lines.WrittenCount == 0)
        {
            return;
        }

        await using var journal = PrivateFile.Open(JournalPath, FileMode.Append);
        await journal.WriteAsync(lines.WrittenMemory);
        journal.Flush(flushToDisk: true);
        _journalLength = journal.Length;

        void Write(StoredHealth health)
        {
            json.Reset();
            json.WriteStartObject();
            json.WriteString("upstream"u8, health.Upstream);
            json.WriteString("updatedAt"u8, health.UpdatedAt);
            if (health.Json is not null)
            {
                json.WritePropertyName("memory"u8);
                json.WriteRawValue(health.Json);
            }

            json.WriteEndObject();
            json.Flush();
            lines.Write("\n"u8);
        }
    }

    private static StoredHealth ReadJournal(string line)
    {
        using var json = JsonDocument.Parse(line);
        var root = json.RootElement;
        return new StoredHealth(
            StateLinesReader.Text(root, "upstream"),
            root.GetProperty("updatedAt").GetDateTimeOffset(),
            root.TryGetProperty("memory", out var memory) ? memory.GetRawText() : null
        );
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
