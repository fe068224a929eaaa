namespace ControlPlane.Resources.Upstreams;

/// <summary>Limits on what one proxy does to an upstream at once, by the priority that the route gives a request. What is over a limit gets 503.</summary>
public sealed record CircuitBreakersSpec
{
    /// <summary>Limits for requests of routes without a priority.</summary>
    public CircuitBreakerThresholdsSpec Default { get; init; } = new();

    /// <summary>Limits for requests of routes with priority high; null is as Envoy has it.</summary>
    public CircuitBreakerThresholdsSpec? High { get; init; }

    /// <summary>Most connections to one endpoint; null has no limit. <c>CircuitBreakers.per_host_thresholds</c>.</summary>
    public uint? MaxConnectionsPerEndpoint { get; init; }
}

/// <summary>Limits of one priority; <c>CircuitBreakers.Thresholds</c>. They hold per proxy, over all its threads.</summary>
public sealed record CircuitBreakerThresholdsSpec
{
    /// <summary>Connections; null is 1024.</summary>
    public uint? MaxConnections { get; init; }

    /// <summary>Requests that wait for a connection; null is 1024.</summary>
    public uint? MaxPendingRequests { get; init; }

    /// <summary>Requests in progress; null is 1024.</summary>
    public uint? MaxRequests { get; init; }

    /// <summary>Retries in progress as a fixed number; excludes <see cref="RetryBudget"/>. Null leaves it to the budget.</summary>
    public uint? MaxRetries { get; init; }

    /// <summary>Retries in progress as a share of the requests; null, where <see cref="MaxRetries"/> is null too, is a budget with its defaults.</summary>
    public RetryBudgetSpec? RetryBudget { get; init; }

    /// <summary>Connection pools; null has no limit.</summary>
    public uint? MaxConnectionPools { get; init; }
}

/// <summary>
/// How many retries may be in progress, as a share of the requests: it grows with the load, which a fixed number does not. Wide enough for one dead endpoint of three,
/// which Envoy's own defaults (20 percent, at least 3) are not: a retry is in progress from its back-off on, during which its request is not.
/// </summary>
public sealed record RetryBudgetSpec
{
    /// <summary>Percent of the requests in progress and waiting, retries included, 0 to 100. With 50, retries at most double the load where everything fails.</summary>
    public double Percent { get; init; } = 50;

    /// <summary>Retries that are allowed however few the requests are.</summary>
    public uint MinimumConcurrency { get; init; } = 100;
}
