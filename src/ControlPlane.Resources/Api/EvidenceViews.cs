using System.Collections.Immutable;

namespace ControlPlane.Resources.Api;

/// <summary>What a checker of your own has found: the body of <c>POST /evidence</c>.</summary>
public sealed record EvidencePost
{
    /// <summary>Largest number of <see cref="Items"/>.</summary>
    public const int MaxItems = 1000;

    /// <summary>The findings, 1 to 1000. They are taken one by one: what is wrong with one does not keep the others from counting.</summary>
    public required ImmutableArray<EvidenceItem> Items { get; init; }
}

/// <summary>One check of one endpoint. It counts from its receipt, and replaces what the same token said of that endpoint before.</summary>
public sealed record EvidenceItem
{
    /// <summary>Longest <see cref="Ttl"/>.</summary>
    public static readonly TimeSpan MaxTtl = TimeSpan.FromMinutes(10);

    /// <summary>Longest <see cref="Zone"/>, in characters.</summary>
    public const int MaxZoneLength = 128;

    /// <summary>The upstream's name.</summary>
    public required string Upstream { get; init; }

    /// <summary>The endpoint's id in it.</summary>
    public required string Endpoint { get; init; }

    /// <summary>Whether the endpoint passed the check.</summary>
    public required bool Passed { get; init; }

    /// <summary>How it failed; only of one that did not pass.</summary>
    public EvidenceClass? Class { get; init; }

    /// <summary>What was seen, in a few words, for example <c>HTTP 503</c>; the first 200 characters are kept.</summary>
    public string? Text { get; init; }

    /// <summary>Where the checker stands; nothing is the unnamed zone. At most 128 characters.</summary>
    public string? Zone { get; init; }

    /// <summary>How long the finding counts, above 0, at most 10m: three times the interval of the checks is usual. After that nothing is known, which is not bad.</summary>
    public required TimeSpan Ttl { get; init; }

    /// <summary>When the check began; nothing, or a time to come, is the receipt. Traffic that began earlier is no answer to a failure.</summary>
    public DateTimeOffset? BegunAt { get; init; }
}

/// <summary>How a check failed.</summary>
public enum EvidenceClass
{
    /// <summary>The connection was refused.</summary>
    Refused,

    /// <summary>No route to the host or network.</summary>
    Unreachable,

    /// <summary>No connection in time.</summary>
    ConnectTimeout,

    /// <summary>No TLS handshake in time.</summary>
    TlsTimeout,

    /// <summary>No answer in time.</summary>
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

    /// <summary>Not said.</summary>
    Unknown,
}

/// <summary>What became of posted evidence.</summary>
/// <param name="Author">The name under which it counts, and stands in explanations.</param>
/// <param name="Accepted">How many items count.</param>
/// <param name="Items">Per item, in the order of the body.</param>
public sealed record EvidenceResult(string Author, int Accepted, ImmutableArray<EvidenceItemResult> Items);

/// <summary>What became of one item.</summary>
/// <param name="Outcome">
/// <c>accepted</c>, <c>unknownUpstream</c> (none of this name whose health is decided here), <c>unknownEndpoint</c> or <c>tooManyAuthors</c>.
/// </param>
/// <param name="Detail">Why it does not count, and what to do; absent if it does.</param>
public sealed record EvidenceItemResult(string Outcome, string? Detail = null);
