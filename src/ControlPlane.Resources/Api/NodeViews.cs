using System.Collections.Immutable;

namespace ControlPlane.Resources.Api;

/// <summary>A proxy, as it said it is, and what it has.</summary>
public sealed record NodeView
{
    /// <summary><c>Node.id</c>.</summary>
    public required string Id { get; init; }

    /// <summary><c>Node.cluster</c>.</summary>
    public string? Cluster { get; init; }

    /// <summary>Region, zone and sub-zone, as far as given, joined by slashes.</summary>
    public string? Locality { get; init; }

    /// <summary>What it runs, for example <c>envoy 1.40.0</c>.</summary>
    public string? Client { get; init; }

    /// <summary>Node groups that it is in.</summary>
    public ImmutableArray<string> Groups { get; init; } = [];

    /// <summary>Whether it has a stream now, or has polled within the last five minutes.</summary>
    public required bool Connected { get; init; }

    /// <summary>Since when it is, or is not.</summary>
    public required DateTimeOffset Since { get; init; }

    /// <summary>Whether it has all that it is to have: <c>synced</c>, <c>pending</c>, <c>refused</c> or <c>offline</c>.</summary>
    public required string State { get; init; }

    /// <summary>Its streams: one for ADS, or one per type. All its polls are shown as one.</summary>
    public ImmutableArray<NodeStreamView> Streams { get; init; } = [];

    /// <summary>Extensions that it announced; only of one node.</summary>
    public ImmutableArray<string>? Extensions { get; init; }
}

/// <summary>One stream of one node, or its polls.</summary>
public sealed record NodeStreamView
{
    /// <summary><c>ADS</c>, the short name of the one type that it is for, or <c>REST</c> of polls.</summary>
    public required string Service { get; init; }

    /// <summary><c>delta</c>, <c>sotw</c>, or <c>rest</c> of polls.</summary>
    public required string Protocol { get; init; }

    /// <summary>Where it comes from.</summary>
    public required string Peer { get; init; }

    /// <summary>When it was opened, or the first poll came.</summary>
    public required DateTimeOffset Since { get; init; }

    /// <summary>The server that holds it.</summary>
    public required string Replica { get; init; }

    /// <summary>The revision that it is to have.</summary>
    public long? Revision { get; init; }

    /// <summary>Clusters that do not become active, which holds back what comes after them.</summary>
    public string? Warming { get; init; }

    /// <summary>Per xDS type what was asked for, sent and acknowledged.</summary>
    public ImmutableArray<NodeTypeView> Types { get; init; } = [];
}

/// <summary>One xDS type on one stream.</summary>
public sealed record NodeTypeView
{
    /// <summary>The type's short name, for example <c>CDS</c>.</summary>
    public required string Type { get; init; }

    /// <summary>Names subscribed to, in order: the first 1000 of one node, the first 100 of each in a list; <c>*</c> for all.</summary>
    public ImmutableArray<string> Subscriptions { get; init; } = [];

    /// <summary>How many names are subscribed to, <c>*</c> not counted.</summary>
    public int NameCount { get; init; }

    /// <summary>Version of the set that was sent last.</summary>
    public string? SentVersion { get; init; }

    /// <summary>When.</summary>
    public DateTimeOffset? SentAt { get; init; }

    /// <summary>Version of the set that was acknowledged last.</summary>
    public string? AckedVersion { get; init; }

    /// <summary>When.</summary>
    public DateTimeOffset? AckedAt { get; init; }

    /// <summary>How long the node took for its last answer, for example <c>12ms</c>.</summary>
    public string? ResponseTime { get; init; }

    /// <summary>Responses without an answer.</summary>
    public int Unanswered { get; init; }

    /// <summary>What is held back until the node has answered something else, one sentence each.</summary>
    public ImmutableArray<string> Waiting { get; init; } = [];

    /// <summary>What the node refused and would still refuse, with its words.</summary>
    public ImmutableArray<Refusal> Refusals { get; init; } = [];

    /// <summary>The words of the last refusal, even if it was mended since.</summary>
    public string? LastRefusal { get; init; }

    /// <summary>When it came.</summary>
    public DateTimeOffset? LastRefusalAt { get; init; }
}

/// <summary>The proxies that are connected to the servers on the database, or were lately.</summary>
/// <param name="Replica">The server that answers. Which one holds a proxy, its streams say.</param>
/// <param name="Items">The nodes, by id.</param>
/// <param name="Refused">Attempts that were turned away, for example because the certificate names another node; newest first.</param>
public sealed record NodeList(string Replica, ImmutableArray<NodeView> Items, ImmutableArray<RefusedAttempt> Refused)
{
    /// <summary>Servers that could not be asked: their proxies are missing.</summary>
    public ImmutableArray<UnreachableReplica> Unreachable { get; init; } = [];
}

/// <summary>A server on the same database that could not be asked.</summary>
/// <param name="Replica">The server, as far as it is known.</param>
/// <param name="Reason">Why.</param>
public sealed record UnreachableReplica(string Replica, string Reason);

/// <summary>A proxy that was turned away.</summary>
/// <param name="Node">The node id that it claimed.</param>
/// <param name="Cluster">The cluster that it claimed.</param>
/// <param name="Peer">Where it came from.</param>
/// <param name="Reason">Why.</param>
/// <param name="At">When it tried last.</param>
/// <param name="Attempts">How often it tried.</param>
public sealed record RefusedAttempt(string Node, string? Cluster, string Peer, string Reason, DateTimeOffset At, int Attempts);
