using System.Collections.Immutable;

namespace ControlPlane.Core.Health;

/// <summary>
/// A fact about an upstream, with its author. It is one of three kinds, and a new source of facts is a new producer of one of them, or a further record
/// here: <see cref="CheckResult"/>, <see cref="LoadReport"/>, <see cref="Override"/>.
/// </summary>
public abstract record HealthEvidence
{
    private protected HealthEvidence() { }

    /// <summary>The upstream that the fact is about.</summary>
    public required string Upstream { get; init; }

    /// <summary>
    /// Who says so: an observer's stable id, an Envoy's node id, an operator's name. Who speaks again of the same endpoint replaces what it said, so whoever
    /// takes evidence from outside keeps its authors' names apart from those of our own probers.
    /// </summary>
    public required string Author { get; init; }

    /// <summary>The zone of the author; empty is a zone, too: the unnamed one.</summary>
    public string Zone { get; init; } = "";

    /// <summary>What kind of witness this is.</summary>
    public abstract EvidenceKind Kind { get; }
}

/// <summary>The kinds of evidence. Those of one kind are pooled; the model weighs kinds against each other.</summary>
public enum EvidenceKind
{
    /// <summary>Somebody tried on purpose: our probes, Envoys that probe for us, outside observers.</summary>
    Active,

    /// <summary>What became of real requests.</summary>
    Traffic,

    /// <summary>Who owns the endpoint has said so: operators.</summary>
    Owner,
}

/// <summary>One check of one endpoint by one observer.</summary>
public sealed record CheckResult : HealthEvidence
{
    /// <inheritdoc/>
    public override EvidenceKind Kind => EvidenceKind.Active;

    /// <summary>The endpoint's id in its upstream.</summary>
    public required string Endpoint { get; init; }

    /// <summary>Whether the endpoint passed.</summary>
    public required bool Passed { get; init; }

    /// <summary>How it failed; <see cref="FailureClass.None"/> if it passed.</summary>
    public FailureClass Class { get; init; }

    /// <summary>What was seen, in a few words, for example <c>HTTP 503</c>; the first 200 characters are kept.</summary>
    public string Text { get; init; } = "";

    /// <summary>When the check began; null is when it was received. Traffic that began before it is no answer to a failure.</summary>
    public DateTimeOffset? BegunAt { get; init; }

    /// <summary>How long the result counts after it was received, above zero. Outside observers' is cut at ten minutes.</summary>
    public required TimeSpan TimeToLive { get; init; }

    /// <summary>The <see cref="HealthPolicy.CheckDigest"/> of the check that was run; empty belongs to every form of the checks.</summary>
    public string CheckDigest { get; init; } = "";
}

/// <summary>How a check failed. What the kernel says outright (refused, unreachable) weighs more than silence or an unexpected answer.</summary>
public enum FailureClass : byte
{
    /// <summary>It did not fail.</summary>
    None,

    /// <summary>The connection was refused.</summary>
    Refused,

    /// <summary>No route to the host or network.</summary>
    Unreachable,

    /// <summary>No connection in time.</summary>
    ConnectTimeout,

    /// <summary>No TLS handshake in time.</summary>
    TlsTimeout,

    /// <summary>No answer in time; also a timeout of which no more is known.</summary>
    Timeout,

    /// <summary>The peer closed or reset the connection.</summary>
    Reset,

    /// <summary>The TLS handshake or the certificate failed.</summary>
    Tls,

    /// <summary>An unexpected status.</summary>
    Status,

    /// <summary>An unexpected body.</summary>
    Body,

    /// <summary>The peer speaks another protocol.</summary>
    Protocol,

    /// <summary>The observer does not say.</summary>
    Unknown,
}

internal static class FailureClasses
{
    /// <summary>The network itself said that nothing is there. Such failures can be HARD (section 4.5), and never wait for traffic (rule 4).</summary>
    public static bool IsRefusal(this FailureClass failure) => failure is FailureClass.Refused or FailureClass.Unreachable;
}

/// <summary>What one Envoy saw of its requests to one upstream since its last report (LRS <c>ClusterStats</c>).</summary>
public sealed record LoadReport : HealthEvidence
{
    /// <inheritdoc/>
    public override EvidenceKind Kind => EvidenceKind.Traffic;

    /// <summary>The time that the counts cover, as the Envoy reports it (<c>ClusterStats.load_report_interval</c>).</summary>
    public required TimeSpan Interval { get; init; }

    /// <summary>The counts per endpoint; those without requests may be left out. Empty says that there were none.</summary>
    public required ImmutableArray<EndpointLoad> Endpoints { get; init; }
}

/// <summary>The requests of one load report to one endpoint; every attempt counts.</summary>
/// <param name="Endpoint">The endpoint's id in its upstream.</param>
/// <param name="Successes"><c>total_successful_requests</c>.</param>
/// <param name="Errors"><c>total_error_requests</c>: 5xx, resets, timeouts, failures to connect.</param>
public readonly record struct EndpointLoad(string Endpoint, long Successes, long Errors);

/// <summary>An operator's order about one endpoint. The newest one counts; it lies over the verdict, which goes on beneath and is published at once when the order ends.</summary>
public sealed record Override : HealthEvidence
{
    /// <inheritdoc/>
    public override EvidenceKind Kind => EvidenceKind.Owner;

    /// <summary>The endpoint's id in its upstream.</summary>
    public required string Endpoint { get; init; }

    /// <summary>What is ordered.</summary>
    public required OverrideOrder Order { get; init; }

    /// <summary>Why; shown in explanations.</summary>
    public string Reason { get; init; } = "";

    /// <summary>When the order began; a drain counts its time from here.</summary>
    public required DateTimeOffset StartedAt { get; init; }

    /// <summary>When it ends by itself; null is never.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }
}

/// <summary>What an operator can order about an endpoint.</summary>
public enum OverrideOrder
{
    /// <summary>No new requests: DRAINING for the drain time, then left out.</summary>
    Drain,

    /// <summary>Left out at once.</summary>
    Disable,

    /// <summary>HEALTHY at full weight, whatever the evidence; it is no capacity that others can be removed for.</summary>
    ForceHealthy,

    /// <summary>UNHEALTHY, whatever the evidence.</summary>
    ForceUnhealthy,

    /// <summary>What is published of it stays as it is: its status, and its weight as a share of the full one.</summary>
    Freeze,
}

/// <summary>What became of a piece of evidence.</summary>
public enum EvidenceOutcome
{
    /// <summary>It counts.</summary>
    Accepted,

    /// <summary>No such upstream; dropped.</summary>
    UnknownUpstream,

    /// <summary>No such endpoint; dropped. A load report is accepted without the endpoints that are unknown.</summary>
    UnknownEndpoint,

    /// <summary>It was gathered by a check that has been changed since; dropped.</summary>
    OutdatedCheck,

    /// <summary>Its time to live is not above zero, or it is an order that has ended; dropped.</summary>
    Expired,

    /// <summary>Its author is one of our own probers, which has stopped meanwhile; dropped.</summary>
    Disconnected,

    /// <summary>More authors than the ledger keeps; dropped.</summary>
    TooManyAuthors,
}
