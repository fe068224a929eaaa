using System.Collections.Immutable;

namespace ControlPlane.Resources.Api;

/// <summary>Why an upstream's endpoints are published as they are.</summary>
public sealed record UpstreamHealthView
{
    /// <summary>Stands for this answer: <c>?index=</c> waits for another one. It says nothing else, and may be smaller after another server has taken over.</summary>
    public required long Index { get; init; }

    /// <summary>The upstream.</summary>
    public required string Upstream { get; init; }

    /// <summary>The zone whose proxies see this; absent where it is what everyone sees.</summary>
    public string? Zone { get; init; }

    /// <summary>The whole in a sentence.</summary>
    public required string Sentence { get; init; }

    /// <summary>The last look at the evidence; absent before the first one.</summary>
    public DateTimeOffset? EvaluatedAt { get; init; }

    /// <summary>Since when removals are frozen, because too many endpoints failed at once (guard G6).</summary>
    public DateTimeOffset? FrozenSince { get; init; }

    /// <summary>Every endpoint is condemned, none passes, and that is confirmed.</summary>
    public bool TotalFailure { get; init; }

    /// <summary>Requests fail everywhere alike, so nobody is singled out.</summary>
    public bool UniformErrors { get; init; }

    /// <summary>
    /// Another server decides and cannot be asked now: what stands here is what it told last, without the evidence. Absent where the answer is that of the server that decides.
    /// </summary>
    public SecondHandView? SecondHand { get; init; }

    /// <summary>Zones that are cut off from others, and so have a view of their own: <c>?zone=</c> shows it.</summary>
    public ImmutableArray<string> ZoneViews { get; init; } = [];

    /// <summary>The endpoints.</summary>
    public ImmutableArray<EndpointHealthView> Endpoints { get; init; } = [];
}

/// <summary>Why an answer is not that of the server that decides.</summary>
/// <param name="Server">The server that decides; absent where none is known to.</param>
/// <param name="LastHeardAt">When this server heard it last; absent where it never did. What it decided since is known only as far as the database says.</param>
/// <param name="Reason">Why it cannot be asked.</param>
public sealed record SecondHandView(string? Server, DateTimeOffset? LastHeardAt, string Reason);

/// <summary>Why an endpoint is published as it is.</summary>
public sealed record EndpointHealthView
{
    /// <summary>The endpoint's id.</summary>
    public required string Endpoint { get; init; }

    /// <summary>The whole in a sentence.</summary>
    public required string Sentence { get; init; }

    /// <summary>What proxies are told: <c>HEALTHY</c>, <c>DEGRADED</c>, <c>UNHEALTHY</c> or <c>DRAINING</c>; absent if it is left out.</summary>
    public string? Status { get; init; }

    /// <summary>Its weight as published; absent if it is left out.</summary>
    public ulong? Weight { get; init; }

    /// <summary>Its share of the full weight, 0 to 1; absent where the answer is second-hand.</summary>
    public double? Factor { get; init; }

    /// <summary>What the evidence says, whatever operators and guards make of it: <c>NEW</c>, <c>UP</c>, <c>SUSPECT</c>, <c>DOWN</c> or <c>PROBATION</c>.</summary>
    public required string State { get; init; }

    /// <summary>In this state since.</summary>
    public DateTimeOffset? Since { get; init; }

    /// <summary>The rule that made what is published: its number (1 to 8), or a word such as <c>first pass</c>.</summary>
    public required string Rule { get; init; }

    /// <summary>What condemned it: <c>active</c> (checks), <c>passive</c> (traffic) or <c>new</c> (never passed); absent if it is not condemned.</summary>
    public string? Cause { get; init; }

    /// <summary>Condemned on evidence so strong that few guards weigh it.</summary>
    public bool Hard { get; init; }

    /// <summary>The guards that had a say, and what they overruled.</summary>
    public ImmutableArray<GuardView> Guards { get; init; } = [];

    /// <summary>What observers say.</summary>
    public required ObserversView Active { get; init; }

    /// <summary>What traffic says.</summary>
    public required TrafficView Traffic { get; init; }

    /// <summary>The operator's order in force.</summary>
    public HealthOrderView? Override { get; init; }

    /// <summary>Flap penalty now; from 3000 an endpoint that passes is still held out.</summary>
    public double Penalty { get; init; }

    /// <summary>Held out by its penalty.</summary>
    public bool Suppressed { get; init; }

    /// <summary>Ejections by traffic in a row.</summary>
    public int Ejections { get; init; }

    /// <summary>What time alone may change next; absent if nothing.</summary>
    public NextTransitionView? Next { get; init; }

    /// <summary>What is odd about the configuration here: <c>checkDisagreesWithTraffic</c>, <c>singleEndpoint</c>, <c>neverPassed</c>, <c>fewObservers</c>.</summary>
    public ImmutableArray<string> Lints { get; init; } = [];
}

/// <summary>A guard that had a say.</summary>
/// <param name="Guard">Its number, G1 to G9.</param>
/// <param name="Overruled">What would have been published without it.</param>
/// <param name="Text">Why it objected.</param>
public sealed record GuardView(string Guard, string Overruled, string Text);

/// <summary>What the observers of an endpoint say.</summary>
public sealed record ObserversView
{
    /// <summary>The share of PASS, each zone counting alike; absent if nobody has spoken lately.</summary>
    public double? Share { get; init; }

    /// <summary>How many observers decided, where that is fewer than a quorum.</summary>
    public int? FewObservers { get; init; }

    /// <summary>The opinions that count, by zone.</summary>
    public ImmutableArray<ZoneOpinionView> Zones { get; init; } = [];

    /// <summary>Observers whose FAILs do not count now.</summary>
    public ImmutableArray<string> Quarantined { get; init; } = [];

    /// <summary>Observers whose PASSes do not count now.</summary>
    public ImmutableArray<string> Stuck { get; init; } = [];

    /// <summary>Receipt of the newest opinion that counts.</summary>
    public DateTimeOffset? NewestAt { get; init; }

    /// <summary>Receipt of the oldest one.</summary>
    public DateTimeOffset? OldestAt { get; init; }

    /// <summary>The five opinions that tell most: failures first, the newest first.</summary>
    public ImmutableArray<EvidenceRowView> Evidence { get; init; } = [];
}

/// <summary>The opinions of one zone.</summary>
/// <param name="Zone">The zone; empty is the unnamed one.</param>
/// <param name="Passing">Observers that pass.</param>
/// <param name="Failing">Observers that fail.</param>
/// <param name="Share">The weighted share of PASS.</param>
public sealed record ZoneOpinionView(string Zone, int Passing, int Failing, double Share);

/// <summary>One piece of evidence.</summary>
public sealed record EvidenceRowView
{
    /// <summary>Who says so: a prober, <c>external/</c> and a token's name, or a proxy's node id.</summary>
    public required string Author { get; init; }

    /// <summary>Where the author stands; empty is the unnamed zone.</summary>
    public required string Zone { get; init; }

    /// <summary><c>PASS</c>, <c>FAIL</c>, or <c>unknown</c> while neither has been said often enough; for traffic the counts.</summary>
    public required string Verdict { get; init; }

    /// <summary>How it failed; absent if it did not.</summary>
    public string? Class { get; init; }

    /// <summary>What was seen.</summary>
    public string? Text { get; init; }

    /// <summary>When it was received.</summary>
    public DateTimeOffset? ReceivedAt { get; init; }

    /// <summary>Until when it counts.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }
}

/// <summary>What traffic to an endpoint says, merged over all proxies.</summary>
public sealed record TrafficView
{
    /// <summary>Requests of the judged windows.</summary>
    public long Requests { get; init; }

    /// <summary>How many of them failed.</summary>
    public long Errors { get; init; }

    /// <summary>The error rate, 0 to 1.</summary>
    public double ErrorRate { get; init; }

    /// <summary>The error rate of the others, which it is held against.</summary>
    public double ReferenceRate { get; init; }

    /// <summary>How far it lies above the reference, in standard errors.</summary>
    public double Deviations { get; init; }

    /// <summary>Windows that were judged together.</summary>
    public int Windows { get; init; }

    /// <summary>It stands out.</summary>
    public bool Outlier { get; init; }

    /// <summary>It would stand out, but the errors are those of this one proxy.</summary>
    public string? Client { get; init; }

    /// <summary>The share to which its weight was cut, 1 if it was not.</summary>
    public double Cut { get; init; }

    /// <summary>The five proxies whose newest reports hold most errors, or requests.</summary>
    public ImmutableArray<EvidenceRowView> Evidence { get; init; } = [];
}

/// <summary>An operator's order in force.</summary>
/// <param name="Order">What is ordered.</param>
/// <param name="Author">Who ordered it.</param>
/// <param name="Reason">Why.</param>
/// <param name="StartedAt">Since when.</param>
/// <param name="ExpiresAt">When it ends by itself; absent is never.</param>
public sealed record HealthOrderView(string Order, string Author, string Reason, DateTimeOffset StartedAt, DateTimeOffset? ExpiresAt);

/// <summary>What time alone may change.</summary>
/// <param name="At">When, at the earliest.</param>
/// <param name="Text">What.</param>
public sealed record NextTransitionView(DateTimeOffset At, string Text);

/// <summary>A step of an endpoint's state, with the evidence of that moment.</summary>
public sealed record HealthTransitionView
{
    /// <summary>Counts up over all upstreams and servers; where a watch goes on.</summary>
    public required long Id { get; init; }

    /// <summary>When.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>The upstream.</summary>
    public required string Upstream { get; init; }

    /// <summary>The endpoint's id.</summary>
    public required string Endpoint { get; init; }

    /// <summary>The state that it left.</summary>
    public required string From { get; init; }

    /// <summary>The state that it entered.</summary>
    public required string To { get; init; }

    /// <summary>By which rule.</summary>
    public required string Rule { get; init; }

    /// <summary>What condemned it; absent if nothing did.</summary>
    public string? Cause { get; init; }

    /// <summary>Condemned on evidence so strong that few guards weigh it.</summary>
    public bool Hard { get; init; }

    /// <summary>The endpoint's explanation at that moment; absent where a great many changed at once.</summary>
    public EndpointHealthView? Explanation { get; init; }
}

/// <summary>A page of transitions, newest first.</summary>
/// <param name="Items">The transitions.</param>
/// <param name="Continue">Token for the next page; absent on the last one.</param>
public sealed record HealthTransitionList(ImmutableArray<HealthTransitionView> Items, string? Continue);
