using System.Collections.Immutable;

namespace ControlPlane.Core.Health;

/// <summary>Why an upstream is published as it is.</summary>
public sealed record UpstreamExplanation
{
    /// <summary>The upstream.</summary>
    public required string Upstream { get; init; }

    /// <summary>The whole in a sentence.</summary>
    public required string Sentence { get; init; }

    /// <summary>The last evaluation of the upstream's evidence; null before the first one.</summary>
    public DateTimeOffset? EvaluatedAt { get; init; }

    /// <summary>G6: frozen since; null if it is not.</summary>
    public DateTimeOffset? FrozenSince { get; init; }

    /// <summary>Every endpoint is condemned, none passes, and that is confirmed.</summary>
    public bool IsTotalFailure { get; init; }

    /// <summary>Requests fail everywhere alike.</summary>
    public bool HasUniformErrors { get; init; }

    /// <summary>Zones whose proxies get a view of their own, since they are cut off from others.</summary>
    public ImmutableArray<string> ZoneViews { get; init; } = [];

    /// <summary>The endpoints, in the registry's order.</summary>
    public ImmutableArray<EndpointExplanation> Endpoints { get; init; } = [];
}

/// <summary>Why an endpoint is published as it is (section 4.9).</summary>
public sealed record EndpointExplanation
{
    /// <summary>Rows of evidence of each kind that an explanation names at most, where nothing else is said.</summary>
    public const int MaxRows = 5;

    /// <summary>The endpoint's id.</summary>
    public required string Endpoint { get; init; }

    /// <summary>The whole in a sentence.</summary>
    public required string Sentence { get; init; }

    /// <summary>What proxies are told; null if it is left out.</summary>
    public PublishedStatus? Status { get; init; }

    /// <summary>Its weight as published; null if it is left out.</summary>
    public ulong? Weight { get; init; }

    /// <summary>Its share of the full weight.</summary>
    public double Factor { get; init; }

    /// <summary>What the evidence says, whatever operators and guards make of it.</summary>
    public HealthState State { get; init; }

    /// <summary>In this state since.</summary>
    public DateTimeOffset? Since { get; init; }

    /// <summary>The rule that made what is published: <see cref="HealthRule.Operator"/> while an order is in force, else that of the state.</summary>
    public HealthRule Rule { get; init; }

    /// <summary>What kind of evidence condemned it.</summary>
    public HealthCause Cause { get; init; }

    /// <summary>Condemned on evidence so strong that few guards weigh it.</summary>
    public bool IsHard { get; init; }

    /// <summary>The guards that had a say, in their order.</summary>
    public ImmutableArray<GuardExplanation> Guards { get; init; } = [];

    /// <summary>What observers say.</summary>
    public required ActiveExplanation Active { get; init; }

    /// <summary>What traffic says.</summary>
    public required TrafficExplanation Traffic { get; init; }

    /// <summary>The operator's order in force; null if there is none.</summary>
    public Override? Override { get; init; }

    /// <summary>Flap penalty now.</summary>
    public double Penalty { get; init; }

    /// <summary>Held in DOWN by its penalty.</summary>
    public bool IsSuppressed { get; init; }

    /// <summary>Ejections by traffic in a row.</summary>
    public int Ejections { get; init; }

    /// <summary>What time alone may change next; null if nothing.</summary>
    public NextTransition? Next { get; init; }

    /// <summary>What is odd about the configuration here.</summary>
    public ImmutableArray<HealthLint> Lints { get; init; } = [];
}

/// <summary>A guard that had a say.</summary>
/// <param name="Guard">Which.</param>
/// <param name="Overruled">What would have been published without it.</param>
/// <param name="Text">Why it objected.</param>
public sealed record GuardExplanation(HealthGuard Guard, string Overruled, string Text);

/// <summary>What the observers of an endpoint say.</summary>
public sealed record ActiveExplanation
{
    /// <summary>The zone-balanced share of PASS; null if nobody has spoken lately.</summary>
    public double? Share { get; init; }

    /// <summary>How many observers decided, where that is fewer than a quorum; null otherwise.</summary>
    public int? FewObservers { get; init; }

    /// <summary>The counts by zone, of the opinions that count.</summary>
    public ImmutableArray<ZoneExplanation> Zones { get; init; } = [];

    /// <summary>Observers whose FAILs do not count now.</summary>
    public ImmutableArray<string> Quarantined { get; init; } = [];

    /// <summary>Observers whose PASSes do not count now.</summary>
    public ImmutableArray<string> Stuck { get; init; } = [];

    /// <summary>Receipt of the newest and of the oldest opinion that counts.</summary>
    public DateTimeOffset? NewestAt { get; init; }

    /// <inheritdoc cref="NewestAt"/>
    public DateTimeOffset? OldestAt { get; init; }

    /// <summary>The five opinions that tell most: failures first, the newest first.</summary>
    public ImmutableArray<EvidenceRow> Evidence { get; init; } = [];
}

/// <summary>The opinions of one zone.</summary>
/// <param name="Zone">The zone; empty is the unnamed one.</param>
/// <param name="Passing">Observers that pass.</param>
/// <param name="Failing">Observers that fail.</param>
/// <param name="Share">The weighted share of PASS.</param>
public sealed record ZoneExplanation(string Zone, int Passing, int Failing, double Share);

/// <summary>One piece of evidence.</summary>
/// <param name="Kind">What kind of witness.</param>
/// <param name="Author">Who says so.</param>
/// <param name="Zone">Where the author stands.</param>
/// <param name="Verdict">PASS, FAIL, or <c>unknown</c> while neither has been said often enough; for traffic the counts.</param>
/// <param name="Class">How it failed.</param>
/// <param name="Text">What was seen.</param>
/// <param name="ReceivedAt">When it was received.</param>
/// <param name="ExpiresAt">Until when it counts.</param>
public sealed record EvidenceRow(
    EvidenceKind Kind,
    string Author,
    string Zone,
    string Verdict,
    FailureClass Class,
    string Text,
    DateTimeOffset? ReceivedAt,
    DateTimeOffset? ExpiresAt
);

/// <summary>What traffic to an endpoint says.</summary>
public sealed record TrafficExplanation
{
    /// <summary>Requests of the judged windows.</summary>
    public long Requests { get; init; }

    /// <summary>How many of them failed.</summary>
    public long Errors { get; init; }

    /// <summary>The error rate.</summary>
    public double ErrorRate { get; init; }

    /// <summary>The error rate that it is held against.</summary>
    public double ReferenceRate { get; init; }

    /// <summary>How far it lies above the reference, in standard errors or modified z scores.</summary>
    public double Deviations { get; init; }

    /// <summary>Windows that were judged together.</summary>
    public int Windows { get; init; }

    /// <summary>It stands out.</summary>
    public bool IsOutlier { get; init; }

    /// <summary>It would stand out, but the errors are those of this one Envoy.</summary>
    public string? Client { get; init; }

    /// <summary>The weight factor to which it was cut, 1 if it was not.</summary>
    public double Cut { get; init; }

    /// <summary>The five Envoys whose newest reports hold most errors, or requests.</summary>
    public ImmutableArray<EvidenceRow> Evidence { get; init; } = [];
}

/// <summary>What time alone may change.</summary>
/// <param name="At">When, at the earliest.</param>
/// <param name="Text">What.</param>
public sealed record NextTransition(DateTimeOffset At, string Text);

/// <summary>What is odd about the configuration of an endpoint or its checks.</summary>
public enum HealthLint
{
    /// <summary>The check fails what traffic proves to work: it looks at the wrong thing.</summary>
    CheckDisagreesWithTraffic,

    /// <summary>It is the only endpoint: nothing can replace it.</summary>
    SingleEndpoint,

    /// <summary>Nobody has passed it since it was added: the check, the address or the port is probably wrong.</summary>
    NeverPassed,

    /// <summary>Fewer observers than a quorum decide about it.</summary>
    FewObservers,
}
