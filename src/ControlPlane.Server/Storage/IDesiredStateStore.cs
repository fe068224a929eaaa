using System.Text;
using ControlPlane.Resources;

namespace ControlPlane.Server.Storage;

/// <summary>
/// The desired state, durable and versioned. Two implementations, PostgreSQL and SQLite, that one set of tests holds to the same behaviour.
/// A write is one transaction and makes one revision; revisions are numbered 1, 2, 3 … without gaps and in commit order, over all servers.
/// </summary>
/// <remarks>
/// Every method throws <see cref="StoreUnavailableException"/> where the database cannot be reached or refuses writes; nothing has been written then, unless
/// the exception says that it does not know. Times are kept to the microsecond.
/// </remarks>
public interface IDesiredStateStore : IAsyncDisposable
{
    /// <summary>Name and place for people, without credentials, for example <c>sqlite:data/controlplane.db</c>.</summary>
    string Description { get; }

    /// <summary>Whether the database answered the last time that it was asked or listened to.</summary>
    bool IsReachable { get; }

    /// <summary>Creates or migrates the schema, under a lock so that several servers may start at once.</summary>
    Task MigrateAsync(CancellationToken cancellationToken);

    /// <summary>Reads the whole current state, consistent at one revision.</summary>
    Task<StoredState> LoadAsync(CancellationToken cancellationToken);

    /// <summary>Reads what is different now from what it was at a revision: the documents that were written since, and the keys that were deleted since.</summary>
    /// <returns>Null if the store cannot tell, because the history after that revision was pruned, or because the revision is not of this store's past
    /// (a backup was restored): load the whole.</returns>
    Task<StoredChanges?> ReadChangesAsync(long afterRevision, CancellationToken cancellationToken);

    /// <summary>
    /// Yields the newest revision each time one was committed, by this server or another, and once at the start; several commits may be merged into one
    /// signal. Ends only by cancellation: a lost connection is re-made inside, and followed by a signal.
    /// </summary>
    IAsyncEnumerable<long> WatchAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Writes a batch as one revision, if the newest revision still is <see cref="WriteBatch.BaseRevision"/>. Once the write is on its way to the database,
    /// cancellation is not heeded: the caller learns how it ended.
    /// </summary>
    /// <returns>The new revision, or null if another write came first: nothing was written; catch up, validate again and retry.</returns>
    Task<RevisionInfo?> CommitAsync(WriteBatch batch, CancellationToken cancellationToken);

    /// <summary>Revisions, newest first, below <paramref name="before"/> (0: from the newest).</summary>
    Task<IReadOnlyList<RevisionInfo>> ListRevisionsAsync(long before, int limit, CancellationToken cancellationToken);

    /// <summary>What revisions changed, in short: of each the first objects by kind and name. A revision that is not kept is absent.</summary>
    /// <param name="first">The oldest of the revisions.</param>
    /// <param name="last">The newest.</param>
    /// <param name="limit">Most objects of one revision.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    Task<IReadOnlyDictionary<long, ChangedObjects>> SummarizeRevisionsAsync(
        long first,
        long last,
        int limit,
        CancellationToken cancellationToken
    );

    /// <summary>One revision with what it changed; null if it does not exist or was pruned.</summary>
    Task<RevisionDetail?> GetRevisionAsync(long revision, CancellationToken cancellationToken);

    /// <summary>The whole state as it was at a revision; null if that is no longer kept.</summary>
    Task<StoredState?> LoadAtAsync(long revision, CancellationToken cancellationToken);

    /// <summary>
    /// The kept states of one object, newest first, of revisions below <paramref name="before"/> (0: from the newest); a null document is a deletion. The state in
    /// force is always among them, however old the revision that wrote it.
    /// </summary>
    Task<IReadOnlyList<HistoryEntry>> GetHistoryAsync(ResourceKey key, long before, int limit, CancellationToken cancellationToken);

    /// <summary>
    /// Forgets the revisions that are both older than <paramref name="olderThan"/> and not among the newest <paramref name="keepRevisions"/> (at least 1). The
    /// current state, and what is needed to read any kept revision and what was before it, stay.
    /// </summary>
    /// <returns>Number of revisions forgotten.</returns>
    Task<long> PruneAsync(DateTimeOffset olderThan, int keepRevisions, CancellationToken cancellationToken);

    /// <summary>Writes everything, history included, as JSON lines that either kind of store restores.</summary>
    Task BackupAsync(Stream destination, CancellationToken cancellationToken);

    /// <summary>Reads a backup into this store, which must be empty (no revision yet): all of it or, on any fault, nothing.</summary>
    /// <exception cref="InvalidDataException">The backup is damaged, or of a version that this server does not read; the message names the line.</exception>
    /// <exception cref="InvalidOperationException">The store is not empty.</exception>
    Task RestoreAsync(Stream source, CancellationToken cancellationToken);
}

/// <summary>An object as the store keeps it: its canonical JSON (labels, annotations and spec) and what the server added.</summary>
/// <param name="Key">Kind and name.</param>
/// <param name="Uid">Identity over the object's life.</param>
/// <param name="Generation">Counts changes of the spec, from 1.</param>
/// <param name="Revision">The revision that wrote this state.</param>
/// <param name="CreatedAt">When the object was first written.</param>
/// <param name="UpdatedAt">When this state was written.</param>
/// <param name="ManagedBy">Owner, for example <c>rest/alice</c>.</param>
/// <param name="Json">Canonical manifest JSON.</param>
public sealed record StoredDocument(
    ResourceKey Key,
    Guid Uid,
    long Generation,
    long Revision,
    DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt,
    string ManagedBy,
    string Json
);

/// <summary>The whole state at a revision.</summary>
public sealed record StoredState(long Revision, IReadOnlyList<StoredDocument> Documents);

/// <summary>What changed after a revision, as of <paramref name="Revision"/>.</summary>
public sealed record StoredChanges(long Revision, IReadOnlyList<StoredDocument> Written, IReadOnlyList<ResourceKey> Deleted);

/// <summary>One write. A key may occur once, in <paramref name="Writes"/> or in <paramref name="Deletes"/>; deleting what does not exist does nothing.</summary>
/// <param name="BaseRevision">The newest revision that the writer knew when it validated.</param>
/// <param name="Author">Who writes: the name of the token, or of the local user.</param>
/// <param name="Reason">Why, in the author's words; may be empty.</param>
/// <param name="At">When.</param>
/// <param name="TraceId">Id of the W3C trace that the write belongs to, 32 hexadecimal digits; may be empty.</param>
/// <param name="Notes">What else the revision is to record, for example a bypassed check; may be empty.</param>
/// <param name="Writes">Documents to create or replace (their Revision is assigned by the store).</param>
/// <param name="Deletes">Objects to delete.</param>
public sealed record WriteBatch(
    long BaseRevision,
    string Author,
    string Reason,
    DateTimeOffset At,
    string TraceId,
    string Notes,
    IReadOnlyList<StoredDocument> Writes,
    IReadOnlyList<ResourceKey> Deletes
)
{
    /// <summary>A time as both databases keep it.</summary>
    internal static DateTimeOffset ToMicrosecond(DateTimeOffset time) =>
        new(time.UtcTicks - (time.UtcTicks % TimeSpan.TicksPerMicrosecond), TimeSpan.Zero);

    /// <summary>The batch as both databases can hold it: times in UTC to the microsecond, and free text without the characters that one of them refuses.</summary>
    /// <exception cref="ArgumentException">A key occurs twice, or a document is not one line.</exception>
    internal WriteBatch AsStored()
    {
        var keys = new HashSet<ResourceKey>(Writes.Count + Deletes.Count);
        foreach (var key in Writes.Select(d => d.Key).Concat(Deletes))
        {
            if (!keys.Add(key))
            {
                throw new ArgumentException($"{key} occurs twice in one write.");
            }
        }

        if (Writes.FirstOrDefault(d => d.Json.AsSpan().ContainsAny('\n', '\r')) is { } broken)
        {
            throw new ArgumentException($"The JSON of {broken.Key} is not one line.");
        }

        return this with
        {
            Author = Clean(Author),
            Reason = Clean(Reason),
            TraceId = Clean(TraceId),
            Notes = Clean(Notes),
            At = ToMicrosecond(At),
            Writes =
            [
                .. Writes.Select(d =>
                    d with
                    {
                        Revision = BaseRevision + 1,
                        CreatedAt = ToMicrosecond(d.CreatedAt),
                        UpdatedAt = ToMicrosecond(d.UpdatedAt),
                        ManagedBy = Clean(d.ManagedBy),
                    }
                ),
            ],
        };

        // PostgreSQL has no NUL in text, and neither database has half a surrogate pair.
        static string Clean(string text) => Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text)).Replace('\0', '\uFFFD');
    }
}

/// <summary>A revision without its content.</summary>
public sealed record RevisionInfo(long Revision, string Author, string Reason, DateTimeOffset At, string TraceId, string Notes);

/// <summary>The objects that a revision changed, in short.</summary>
/// <param name="Count">How many there are.</param>
/// <param name="First">The first of them, by kind and name.</param>
public sealed record ChangedObjects(int Count, IReadOnlyList<ChangedObject> First);

/// <summary>An object that a revision changed.</summary>
/// <param name="Key">The object.</param>
/// <param name="Existed">Whether it was there before.</param>
/// <param name="Exists">Whether it was there after.</param>
public sealed record ChangedObject(ResourceKey Key, bool Existed, bool Exists);

/// <summary>A revision with each object that it changed, before and after (null: did not exist, or was deleted).</summary>
public sealed record RevisionDetail(RevisionInfo Info, IReadOnlyList<RevisionChange> Changes);

/// <summary>One object in a revision.</summary>
public sealed record RevisionChange(ResourceKey Key, StoredDocument? Before, StoredDocument? After);

/// <summary>One state of one object.</summary>
public sealed record HistoryEntry(RevisionInfo Revision, StoredDocument? Document);

/// <summary>The database cannot be reached, or does not take writes. Proxies are served from memory meanwhile.</summary>
public sealed class StoreUnavailableException : Exception
{
    /// <summary>
    /// True if a write may have happened all the same: the connection broke during the commit, and the database could not be asked within a few seconds.
    /// False means that nothing was written.
    /// </summary>
    public bool IsOutcomeUnknown { get; init; }

    /// <summary>Creates the exception without details.</summary>
    public StoreUnavailableException() { }

    /// <summary>Creates the exception with a message that names no credentials.</summary>
    public StoreUnavailableException(string message)
        : base(message) { }

    /// <summary>Creates the exception with a message that names no credentials, and its cause.</summary>
    public StoreUnavailableException(string message, Exception innerException)
        : base(message, innerException) { }
}
