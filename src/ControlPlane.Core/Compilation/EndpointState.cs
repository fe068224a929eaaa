using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Core.Compilation;

/// <summary>An endpoint as it is published now. Those that are left out have no state.</summary>
/// <param name="Id">The endpoint's id in its upstream.</param>
/// <param name="Spec">What the endpoint is.</param>
/// <param name="Status">Whether it gets new requests.</param>
public readonly record struct EndpointState(string Id, EndpointSpec Spec, EndpointStatus Status)
{
    /// <summary>Its share among those published, where that is not the weight of <see cref="Spec"/>; null where it is.</summary>
    public ulong? Weight { get; init; }

    /// <summary>The operator's order in force.</summary>
    public OverrideAction? Order { get; init; }

    /// <summary>Its share among those published.</summary>
    internal ulong Share => Weight ?? Spec.Weight;

    /// <summary>Whether it gets requests at all.</summary>
    internal bool TakesRequests => Status is EndpointStatus.Active or EndpointStatus.Degraded;
}

/// <summary>Whether a published endpoint gets new requests.</summary>
public enum EndpointStatus
{
    /// <summary>It does, as far as its health allows.</summary>
    Active,

    /// <summary>It does not; what it works on may finish. It is in no denominator of panic and spill-over.</summary>
    Draining,

    /// <summary>It does not, and counts as an endpoint that is missing.</summary>
    Unhealthy,

    /// <summary>It does where no other is left.</summary>
    Degraded,
}
