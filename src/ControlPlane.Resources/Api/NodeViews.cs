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

    /// <summary>Whether it has a stream now.</summary>
    public required bool Connected { get; init; }

    /// <summary>Since when it is, or is not.</summary>
    public required DateTimeOffset Since { get; init; }

    /// <summary>The server that holds its stream.</summary>
    public string? Replica { get; init; }

    /// <summary>Its address.</summary>
    public string? Address { get; init; }

    /// <summary><c>delta</c> or <c>sotw</c>.</summary>
    public string? Protocol { get; init; }

    /// <summary>Whether it has all that it is to have: <c>synced</c>, <c>pending</c>, <c>refused</c> or <c>offline</c>.</summary>
    public required string State { get; init; }

    /// <summary>Per xDS type what it asked for, was sent and acknowledged.</summary>
    public ImmutableArray<NodeTypeView> Types { get; init; } = [];

    /// <summary>Extensions that it announced; only of one node.</summary>
    public ImmutableArray<string>? Extensions { get; init; }
}

/// <summary>One xDS type of one node.</summary>
public sealed record NodeTypeView
{
    /// <summary>The type's short name, for example <c>CDS</c>.</summary>
    public required string Type { get; init; }

    /// <summary>Names subscribed to; <c>*</c> for all.</summary>
    public ImmutableArray<string> Subscriptions { get; init; } = [];

    /// <summary>Version of the set that was sent last.</summary>
    public string? SentVersion { get; init; }

    /// <summary>When.</summary>
    public DateTimeOffset? SentAt { get; init; }

    /// <summary>Version of the set that was acknowledged last.</summary>
    public string? AckedVersion { get; init; }

    /// <summary>When.</summary>
    public DateTimeOffset? AckedAt { get; init; }

    /// <summary>What holds back the next answer, for example that clusters are still warming.</summary>
    public string? Waiting { get; init; }

    /// <summary>The refusal in force.</summary>
    public Refusal? Refusal { get; init; }
}

/// <summary>The proxies that are connected, or were lately.</summary>
/// <param name="Items">The nodes, by id.</param>
/// <param name="Refused">Attempts that were turned away, for example because the certificate names another node; newest first.</param>
public sealed record NodeList(ImmutableArray<NodeView> Items, ImmutableArray<RefusedAttempt> Refused);

/// <summary>One attempt of a proxy that was turned away.</summary>
/// <param name="At">When.</param>
/// <param name="Node">The node id that it claimed.</param>
/// <param name="Address">Where it came from.</param>
/// <param name="Reason">Why.</param>
public sealed record RefusedAttempt(DateTimeOffset At, string Node, string Address, string Reason);
