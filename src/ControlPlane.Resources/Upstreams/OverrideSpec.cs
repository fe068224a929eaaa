namespace ControlPlane.Resources.Upstreams;

/// <summary>
/// An operator's order about one endpoint. It is an object of its own, named as its endpoint (<c>UPSTREAM/ID</c>), so that no write of the upstream or of
/// the endpoint ends it.
/// </summary>
public sealed record OverrideSpec : ResourceSpec
{
    /// <summary>What is ordered.</summary>
    public required OverrideAction Action { get; init; }

    /// <summary>Why, for those who find the endpoint missing; 1 to 1000 characters.</summary>
    public required string Reason { get; init; }

    /// <summary>When the order began.</summary>
    public required DateTimeOffset StartedAt { get; init; }

    /// <summary>When the order ends by itself; null is never.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }
}

/// <summary>What an operator can order about an endpoint.</summary>
public enum OverrideAction
{
    /// <summary>No new requests: DRAINING for the upstream's drain time, then left out.</summary>
    Drain,

    /// <summary>Left out at once.</summary>
    Disable,

    /// <summary>HEALTHY at full weight, whatever the evidence; needs central health.</summary>
    ForceHealthy,

    /// <summary>UNHEALTHY, whatever the evidence.</summary>
    ForceUnhealthy,

    /// <summary>What is published of it stays as it is when the order is given, its status and its share of the full weight; needs central health.</summary>
    Freeze,
}
