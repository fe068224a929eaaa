using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Discovery;

/// <summary>A change that waits for the client's answer to another one, so that nothing in force refers to what is not there (O-02, O-07).</summary>
/// <param name="Type">The type of what waits.</param>
/// <param name="Name">Its name.</param>
/// <param name="Since">When it was first held back. It goes out without the answer <see cref="DiscoverySession.GateLimit"/> later, if it has a limit.</param>
/// <param name="WaitsFor">The type whose acknowledgement it waits for.</param>
/// <param name="Because">The name that makes it wait: a cluster that is not acknowledged yet, or what still uses the cluster that is to go.</param>
/// <param name="HasLimit">
/// False for a cluster that is to go while what uses it waits itself, or because the client refused the successor of what uses it: taking it away would only
/// break what still works.
/// </param>
public sealed record Gate(
    ResourceType Type,
    string Name,
    DateTimeOffset Since,
    ResourceType WaitsFor,
    string Because,
    bool HasLimit = true
);

/// <summary>A resource that the client refused. The same bytes are not sent to it again (S-09, D-15).</summary>
/// <param name="Name">Its name.</param>
/// <param name="Version">The version that was refused.</param>
/// <param name="InForceVersion">The version that the client goes on with; null if it holds none, or one that this stream did not send.</param>
/// <param name="Text">What the client said, redacted.</param>
/// <param name="Since">When it said so.</param>
public sealed record Refusal(string Name, string Version, string? InForceVersion, string Text, DateTimeOffset Since);

/// <summary>How far one resource got with one client.</summary>
public enum DeliveryState
{
    /// <summary>The client did not ask for it, or does not hold it and is not to.</summary>
    None,

    /// <summary>On its way: not sent yet, or sent and not answered.</summary>
    Pending,

    /// <summary>The client acknowledged what is in force, or its absence.</summary>
    Acked,

    /// <summary>The client refused it.</summary>
    Nacked,
}

/// <summary>How far one resource got with one client, and in which version.</summary>
/// <param name="State">How far.</param>
/// <param name="Version">The version that this is about: acknowledged, refused, or sent last; null for none.</param>
/// <param name="Refusal">Why, if it was refused.</param>
public readonly record struct Delivery(DeliveryState State, string? Version, Refusal? Refusal);

/// <summary>What one subscription is and how far it got; taken at one moment.</summary>
public sealed record SubscriptionStatus
{
    /// <summary>The type subscribed to.</summary>
    public required ResourceType Type { get; init; }

    /// <summary>True if the client asked for everything.</summary>
    public required bool Wildcard { get; init; }

    /// <summary>The names that the client asked for, in order.</summary>
    public required ImmutableArray<string> Names { get; init; }

    /// <summary>Version of all that was sent, acknowledged or not; null before the first response.</summary>
    public required string? SentVersion { get; init; }

    /// <summary>Version of all that the client acknowledged last; null before the first acknowledgement.</summary>
    public required string? AckedVersion { get; init; }

    /// <summary>When the last response was sent.</summary>
    public required DateTimeOffset? SentAt { get; init; }

    /// <summary>When the last acknowledgement came.</summary>
    public required DateTimeOffset? AckedAt { get; init; }

    /// <summary>How long the client took for its last answer.</summary>
    public required TimeSpan? ResponseTime { get; init; }

    /// <summary>Responses without an answer.</summary>
    public required int Unanswered { get; init; }

    /// <summary>When the oldest response without an answer was sent.</summary>
    public required DateTimeOffset? UnansweredSince { get; init; }

    /// <summary>The last refusal's text, redacted; null if the client never refused.</summary>
    public required string? LastRefusal { get; init; }

    /// <summary>When it came.</summary>
    public required DateTimeOffset? LastRefusalAt { get; init; }

    /// <summary>What the client refused and would still refuse.</summary>
    public required ImmutableArray<Refusal> Refusals { get; init; }

    /// <summary>What is held back.</summary>
    public required ImmutableArray<Gate> Gates { get; init; }
}
