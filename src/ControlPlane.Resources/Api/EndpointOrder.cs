namespace ControlPlane.Resources.Api;

/// <summary>What an operator orders about an endpoint: the body of <c>:drain</c> and the other orders, and of <c>:clear</c>.</summary>
public sealed record EndpointOrder
{
    /// <summary>Why, for those who find the endpoint out of service; <c>:clear</c> needs none.</summary>
    public string? Reason { get; init; }

    /// <summary>How long the order holds, for example <c>30m</c>, or <c>never</c>; one hour if neither this nor <see cref="ExpiresAt"/> is given.</summary>
    public string? ExpiresIn { get; init; }

    /// <summary>When the order ends (RFC 3339), or <c>never</c>.</summary>
    public string? ExpiresAt { get; init; }
}
