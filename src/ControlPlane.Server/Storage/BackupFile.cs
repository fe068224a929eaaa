using System.Runtime.CompilerServices;
using System.Text.Json;

namespace ControlPlane.Server.Storage;

/// <summary>
/// Writes a backup: a header; the revisions; the states that ended, each with the revision that ended it; the states in force. All in the order of revisions.
/// </summary>
internal sealed class BackupWriter(Stream destination) : IAsyncDisposable
{
    internal const string Type = "controlplane-backup";
    internal const int Version = 1;

    private readonly StateLinesWriter _lines = new(destination);

    /// <summary>Writes the first line.</summary>
    public ValueTask WriteHeaderAsync(long revision, long oldest, DateTimeOffset at) =>
        _lines.WriteAsync(
            Type,
            (revision, oldest, at),
            static (json, header) =>
            {
                json.WriteNumber("version"u8, Version);
                json.WriteNumber("revision"u8, header.revision);
                json.WriteNumber("oldest"u8, header.oldest);
                json.WriteString("at"u8, header.at);
            }
        );

    /// <summary>Writes a revision.</summary>
    public ValueTask WriteAsync(RevisionInfo revision) =>
        _lines.WriteAsync(
            "revision",
            revision,
            static (json, r) =>
            {
                json.WriteNumber("revision"u8, r.Revision);
                json.WriteString("author"u8, r.Author);
                json.WriteString("reason"u8, r.Reason);
                json.WriteString("at"u8, r.At);
                json.WriteString("traceId"u8, r.TraceId);
                json.WriteString("notes"u8, r.Notes);
            }
        );

    /// <summary>Writes a state, with the revision that ended it if it is past.</summary>
    public ValueTask WriteAsync(StoredDocument document, long? until) => _lines.WriteStateAsync(document, until);

    /// <summary>Writes the last line.</summary>
    public Task CompleteAsync(CancellationToken cancellationToken) => _lines.CompleteAsync(cancellationToken);

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _lines.DisposeAsync();
}

/// <summary>
/// Reads a backup, section by section: each of the Read methods is called once, in their order here, and read to its end. A damaged file is found at the
/// damaged line or, by its checksum, at the end of the last section: commit nothing before that.
/// </summary>
internal sealed class BackupReader : IDisposable
{
    private readonly StateLinesReader _lines;
    private readonly HashSet<long> _revisions = [];
    private readonly HashSet<(Resources.ResourceKey, long)> _states = [];
    private RevisionInfo? _nextRevision;
    private (StoredDocument Document, long? Until)? _nextState;

    private BackupReader(Stream source) => _lines = new StateLinesReader(source);

    /// <summary>The newest revision.</summary>
    public long Revision { get; private set; }

    /// <summary>The revision from which on history is whole.</summary>
    public long Oldest { get; private set; }

    /// <summary>Reads the header.</summary>
    /// <exception cref="InvalidDataException">This is no backup, or of another version.</exception>
    public static async Task<BackupReader> OpenAsync(Stream source, CancellationToken cancellationToken)
    {
        var reader = new BackupReader(source);
        try
        {
            (reader.Revision, reader.Oldest) = await reader._lines.ReadHeaderAsync(
                BackupWriter.Type,
                BackupWriter.Version,
                header => (header.GetProperty("revision").GetInt64(), header.GetProperty("oldest").GetInt64()),
                cancellationToken
            );
            await reader.AdvanceAsync(cancellationToken);
            return reader;
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }

    /// <summary>The revisions.</summary>
    public async IAsyncEnumerable<RevisionInfo> ReadRevisionsAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var previous = 0L;
        while (_nextRevision is { } revision)
        {
            if (revision.Revision <= previous || (revision.Revision > Oldest && revision.Revision != previous + 1))
            {
                throw _lines.Fault($"revision {revision.Revision} cannot follow revision {previous}");
            }

            previous = revision.Revision;
            _revisions.Add(previous);
            yield return revision;
            await AdvanceAsync(cancellationToken);
        }

        if (previous != Revision && Revision >= Oldest)
        {
            throw _lines.Fault($"the revisions end at {previous}, and the first line says {Revision}");
        }
    }

    /// <summary>The states that ended, with the revision that ended each.</summary>
    public async IAsyncEnumerable<(StoredDocument Document, long Until)> ReadHistoryAsync(
        [EnumeratorCancellation] CancellationToken cancellationToken
    )
    {
        while (_nextState is { Until: { } until } state)
        {
            Check(state.Document);
            if (until <= state.Document.Revision || !_revisions.Contains(until))
            {
                throw _lines.Fault($"the state cannot have ended at revision {until}");
            }

            yield return (state.Document, until);
            await AdvanceAsync(cancellationToken);
        }
    }

    /// <summary>The states in force. Ends only if the whole file was undamaged.</summary>
    public async IAsyncEnumerable<StoredDocument> ReadDocumentsAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        _states.Clear();
        while (_nextState is { } state)
        {
            Check(state.Document);
            if (state.Until is not null)
            {
                throw _lines.Fault("a past state follows a state in force");
            }

            // One state in force per key.
            if (!_states.Add((state.Document.Key, 0)))
            {
                throw _lines.Fault($"{state.Document.Key} occurs twice");
            }

            yield return state.Document;
            await AdvanceAsync(cancellationToken);
        }

        if (_nextRevision is not null)
        {
            throw _lines.Fault("a revision follows a state");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _lines.Dispose();

    private void Check(StoredDocument document)
    {
        if (!_revisions.Contains(document.Revision))
        {
            throw _lines.Fault($"{document.Key} was written by revision {document.Revision}, which the file lacks");
        }

        if (!_states.Add((document.Key, document.Revision)))
        {
            throw _lines.Fault($"{document.Key} at revision {document.Revision} occurs twice");
        }
    }

    // Looks one line ahead: a section ends where a line of another kind begins.
    private async Task AdvanceAsync(CancellationToken cancellationToken)
    {
        _nextRevision = null;
        _nextState = null;
        await _lines.ReadAsync(
            (type, line) =>
            {
                switch (type)
                {
                    case "revision":
                        _nextRevision = new RevisionInfo(
                            line.GetProperty("revision").GetInt64(),
                            StateLinesReader.Text(line, "author"),
                            StateLinesReader.Text(line, "reason"),
                            line.GetProperty("at").GetDateTimeOffset(),
                            StateLinesReader.Text(line, "traceId"),
                            StateLinesReader.Text(line, "notes")
                        );
                        break;
                    case "state":
                        _nextState = StateLinesReader.ReadState(line);
                        break;
                    default:
                        throw new FormatException($"'{type}' is no type of line here");
                }
            },
            cancellationToken
        );
    }
}
