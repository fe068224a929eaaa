using System.Buffers;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using ControlPlane.Resources;

namespace ControlPlane.Server.Storage;

// The form that backups and the last-good file share: one JSON object per line, the last of which counts the lines before it and holds their SHA-256.
// A manifest stands in its line as it is stored, byte for byte.

/// <summary>Writes such a file; what was written counts only after <see cref="CompleteAsync"/>.</summary>
internal sealed class StateLinesWriter : IAsyncDisposable
{
    private const int FlushAt = 64 * 1024;

    private readonly Stream _destination;
    private readonly ArrayBufferWriter<byte> _buffer = new(2 * FlushAt);
    private readonly Utf8JsonWriter _json;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private long _lines;

    public StateLinesWriter(Stream destination)
    {
        _destination = destination;
        _json = new Utf8JsonWriter(_buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
    }

    /// <summary>Writes a line of a type; <paramref name="members"/> adds to the object.</summary>
    public async ValueTask WriteAsync<T>(string type, T value, Action<Utf8JsonWriter, T> members)
    {
        _json.Reset();
        _json.WriteStartObject();
        _json.WriteString("type"u8, type);
        members(_json, value);
        _json.WriteEndObject();
        _json.Flush();
        _buffer.Write("\n"u8);
        _lines++;
        if (_buffer.WrittenCount >= FlushAt)
        {
            await FlushAsync(CancellationToken.None);
        }
    }

    /// <summary>Writes the state of an object, with the revision that ended it if it is past.</summary>
    public ValueTask WriteStateAsync(StoredDocument document, long? until) =>
        WriteAsync(
            "state",
            (document, until),
            static (json, state) =>
            {
                json.WriteString("kind"u8, state.document.Key.Kind.ToString());
                json.WriteString("name"u8, state.document.Key.Name);
                json.WriteString("uid"u8, state.document.Uid);
                json.WriteNumber("generation"u8, state.document.Generation);
                json.WriteNumber("revision"u8, state.document.Revision);
                if (state.until is { } until)
                {
                    json.WriteNumber("until"u8, until);
                }

                json.WriteString("createdAt"u8, state.document.CreatedAt);
                json.WriteString("updatedAt"u8, state.document.UpdatedAt);
                json.WriteString("managedBy"u8, state.document.ManagedBy);
                json.WritePropertyName("manifest"u8);
                json.WriteRawValue(state.document.Json);
            }
        );

    /// <summary>Writes the last line.</summary>
    public async Task CompleteAsync(CancellationToken cancellationToken)
    {
        await FlushAsync(cancellationToken);
        var digest = Convert.ToHexStringLower(_hash.GetHashAndReset());
        await WriteAsync(
            "end",
            (_lines, digest),
            static (json, end) =>
            {
                json.WriteNumber("lines"u8, end._lines);
                json.WriteString("sha256"u8, end.digest);
            }
        );
        await FlushAsync(cancellationToken);
        await _destination.FlushAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _json.DisposeAsync();
        _hash.Dispose();
    }

    private async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        _hash.AppendData(_buffer.WrittenSpan);
        await _destination.WriteAsync(_buffer.WrittenMemory, cancellationToken);
        _buffer.ResetWrittenCount();
    }
}

/// <summary>Reads such a file line by line. Every fault is an <see cref="InvalidDataException"/> that names the line.</summary>
internal sealed class StateLinesReader : IDisposable
{
    private readonly StreamReader _source;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private int _line;

    public StateLinesReader(Stream source) => _source = new StreamReader(source, Encoding.UTF8, false, 64 * 1024, leaveOpen: true);

    /// <summary>Reads the first line, which must be of a type and a version that this server reads.</summary>
    public async Task<T> ReadHeaderAsync<T>(string type, int version, Func<JsonElement, T> read, CancellationToken cancellationToken)
    {
        if (await _source.ReadLineAsync(cancellationToken) is not { } text)
        {
            throw Fault("the file is empty");
        }

        using var json = Parse(text);
        if (TypeOf(json) != type)
        {
            throw Fault($"this is no {type} file");
        }

        return Read(
            json.RootElement,
            header =>
                header.GetProperty("version").GetInt32() is var found && found == version
                    ? read(header)
                    : throw Fault($"the file is of version {found}, and this server reads version {version}")
        );
    }

    /// <summary>Reads the next line, and where it is the last one, verifies the count and the checksum.</summary>
    /// <returns>False at the end of a whole and undamaged file.</returns>
    public async Task<bool> ReadAsync(Action<string, JsonElement> read, CancellationToken cancellationToken)
    {
        if (await _source.ReadLineAsync(cancellationToken) is not { } text)
        {
            throw new InvalidDataException($"The file was cut off after line {_line}: its last line, with the checksum, is missing.");
        }

        var digest = _hash.GetCurrentHash();
        using var json = Parse(text);
        var type = TypeOf(json);
        if (type != "end")
        {
            Read(
                json.RootElement,
                line =>
                {
                    read(type, line);
                    return true;
                }
            );
            return true;
        }

        var (lines, sha256) = Read(json.RootElement, end => (end.GetProperty("lines").GetInt64(), end.GetProperty("sha256").GetString()));
        if (lines != _line - 1)
        {
            throw Fault($"there should be {lines} lines before this one");
        }

        if (sha256 != Convert.ToHexStringLower(digest))
        {
            throw Fault("the checksum does not match: the file was damaged or edited");
        }

        if (await _source.ReadLineAsync(cancellationToken) is not null)
        {
            _line++;
            throw Fault("there is something after the last line");
        }

        return false;
    }

    /// <summary>Reads the state of an object, with the revision that ended it if it is past.</summary>
    public static (StoredDocument Document, long? Until) ReadState(JsonElement line) =>
        (
            new StoredDocument(
                new ResourceKey(
                    Enum.TryParse<ResourceKind>(Text(line, "kind"), out var kind)
                        ? kind
                        : throw new FormatException($"this server knows no kind '{Text(line, "kind")}'"),
                    Text(line, "name")
                ),
                line.GetProperty("uid").GetGuid(),
                line.GetProperty("generation").GetInt64(),
                line.GetProperty("revision").GetInt64(),
                line.GetProperty("createdAt").GetDateTimeOffset(),
                line.GetProperty("updatedAt").GetDateTimeOffset(),
                Text(line, "managedBy"),
                line.GetProperty("manifest").GetRawText()
            ),
            line.TryGetProperty("until", out var until) ? until.GetInt64() : null
        );

    /// <summary>A member that must be a string.</summary>
    public static string Text(JsonElement line, string member) =>
        line.GetProperty(member).GetString() ?? throw new FormatException($"'{member}' is null");

    /// <summary>A fault of the line read last.</summary>
    public InvalidDataException Fault(string what, Exception? cause = null) => new($"Line {Math.Max(1, _line)}: {what}.", cause);

    /// <inheritdoc/>
    public void Dispose()
    {
        _source.Dispose();
        _hash.Dispose();
    }

    private JsonDocument Parse(string text)
    {
        _line++;
        _hash.AppendData(Encoding.UTF8.GetBytes(text));
        _hash.AppendData("\n"u8);
        try
        {
            return JsonDocument.Parse(text);
        }
        catch (JsonException e)
        {
            throw Fault($"not a JSON object, at byte {e.BytePositionInLine}", e);
        }
    }

    private static string TypeOf(JsonDocument json) =>
        json.RootElement.ValueKind == JsonValueKind.Object
        && json.RootElement.TryGetProperty("type", out var type)
        && type.ValueKind == JsonValueKind.String
            ? type.GetString()!
            : "";

    private T Read<T>(JsonElement line, Func<JsonElement, T> read)
    {
        try
        {
            return read(line);
        }
        catch (Exception e) when (e is KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw Fault($"a member is missing or of the wrong type ({e.Message.TrimEnd('.')})", e);
        }
    }
}
