namespace ControlPlane.Server.Storage;

/// <summary>
/// What the health model has decided, durable: what it remembers of each upstream, and the transitions of endpoints. Kept beside the desired state, by the same two
/// databases, and no part of its revisions: nobody wrote it on purpose, and a backup leaves it out.
/// </summary>
/// <remarks>Every method throws <see cref="StoreUnavailableException"/> where the database cannot be reached or refuses writes.</remarks>
public interface IHealthStore
{
    /// <summary>Reads what is remembered of everything that changed after a time.</summary>
    Task<IReadOnlyList<StoredHealth>> LoadHealthAsync(DateTimeOffset after, CancellationToken cancellationToken);

    /// <summary>
    /// Writes a batch in one transaction. What is there and newer stays: of two servers that both believed to decide, the later one is right. Transitions that are
    /// there already are passed over, so that a batch whose outcome is not known may be written again.
    /// </summary>
    Task WriteHealthAsync(HealthBatch batch, CancellationToken cancellationToken);

    /// <summary>Reads transitions, newest first.</summary>
    /// <param name="upstream">Only of this upstream; null for all.</param>
    /// <param name="from">Not before.</param>
    /// <param name="to">Before.</param>
    /// <param name="beforeId">Only with a smaller id.</param>
    /// <param name="limit">At most so many.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    Task<IReadOnlyList<StoredTransition>> ListTransitionsAsync(
        string? upstream,
        DateTimeOffset from,
        DateTimeOffset to,
        long beforeId,
        int limit,
        CancellationToken cancellationToken
    );

    /// <summary>Reads transitions with an id above one, oldest first.</summary>
    Task<IReadOnlyList<StoredTransition>> ListTransitionsAfterAsync(
        string? upstream,
        long afterId,
        int limit,
        CancellationToken cancellationToken
    );

    /// <summary>Forgets transitions that are older than a time, or not among the newest so many.</summary>
    /// <returns>How many were forgotten.</returns>
    Task<long> PruneTransitionsAsync(DateTimeOffset olderThan, int keep, CancellationToken cancellationToken);
}

/// <summary>What is remembered of one upstream, or, with an empty name, of the fleet.</summary>
/// <param name="Upstream">The upstream's name.</param>
/// <param name="UpdatedAt">When it was so; kept to the microsecond.</param>
/// <param name="Json">What is remembered, in one line of JSON; null if the upstream is gone.</param>
public sealed record StoredHealth(string Upstream, DateTimeOffset UpdatedAt, string? Json);

/// <summary>One transition of an endpoint.</summary>
/// <param name="Id">Grows with time, over all upstreams and servers.</param>
/// <param name="Upstream">The upstream's name.</param>
/// <param name="At">When.</param>
/// <param name="Json">The transition with its evidence, in one line of JSON.</param>
public sealed record StoredTransition(long Id, string Upstream, DateTimeOffset At, string Json);

/// <summary>One write of health.</summary>
/// <param name="Upstreams">What is remembered now; each upstream once.</param>
/// <param name="Transitions">What happened.</param>
public sealed record HealthBatch(IReadOnlyList<StoredHealth> Upstreams, IReadOnlyList<StoredTransition> Transitions);

/// <summary>The lease of those servers that share a database: who of them decides about health.</summary>
public interface IHealthLease
{
    /// <summary>
    /// Takes or renews the lease, if it is free, expired, or this server's own already, by the clock of the database. Says in the same step where this server is.
    /// </summary>
    /// <param name="server">Id of this process.</param>
    /// <param name="address">Where other servers reach it.</param>
    /// <param name="duration">How long the lease is to hold.</param>
    /// <param name="mayTake">Whether to take it, or only to renew it and to look who has it.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>Who has it now.</returns>
    Task<LeaseState> HoldLeaseAsync(string server, string address, TimeSpan duration, bool mayTake, CancellationToken cancellationToken);

    /// <summary>Gives the lease back, if this server has it: another one may take it at once.</summary>
    Task ReleaseLeaseAsync(string server, CancellationToken cancellationToken);
}

/// <summary>Who has the lease.</summary>
/// <param name="Holder">Id of the process; empty if nobody ever had it.</param>
/// <param name="Address">Where other servers reach it.</param>
/// <param name="Term">Counts the holders: a greater one is later.</param>
/// <param name="IsExpired">Whether it has not been renewed in time.</param>
public sealed record LeaseState(string Holder, string Address, long Term, bool IsExpired);
