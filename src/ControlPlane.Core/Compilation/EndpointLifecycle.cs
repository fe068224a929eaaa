using System.Collections.Immutable;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Core.Compilation;

/// <summary>What operators' orders make of an upstream's endpoints at one instant, and when that changes by itself.</summary>
/// <param name="Endpoints">The endpoints to publish.</param>
/// <param name="NextChange">The next instant at which the answer differs; null if only a write can change it.</param>
public sealed record EndpointLifecycle(ImmutableArray<EndpointState> Endpoints, DateTimeOffset? NextChange)
{
    /// <summary>
    /// Applies the orders. A drained endpoint is DRAINING for the upstream's drain time and then left out, a disabled one is left out at once: in panic
    /// Envoy sends to every endpoint that it knows, whatever its status, so what must not get traffic has to be absent.
    /// </summary>
    /// <param name="spec">The upstream.</param>
    /// <param name="registered">The upstream's objects of kind Endpoint by id; used with source registration.</param>
    /// <param name="overrides">The orders by endpoint id; those for unknown endpoints have no effect.</param>
    /// <param name="now">The instant.</param>
    public static EndpointLifecycle At(
        UpstreamSpec spec,
        IReadOnlyDictionary<string, EndpointSpec> registered,
        IReadOnlyDictionary<string, OverrideSpec> overrides,
        DateTimeOffset now
    )
    {
        var endpoints = ImmutableArray.CreateBuilder<EndpointState>();
        DateTimeOffset? next = null;
        foreach (var (id, endpoint) in Of(spec, registered))
        {
            var order = overrides.TryGetValue(id, out var given) && !(given.ExpiresAt <= now) ? given : null;
            var (status, change) = order is null ? (EndpointStatus.Active, null) : Judge(order, spec.Drain.Time, now);
            if (status is { } published)
            {
                endpoints.Add(new EndpointState(id, endpoint, published) { Order = order?.Action });
            }
            if (change < (next ?? DateTimeOffset.MaxValue))
            {
                next = change;
            }
        }
        return new EndpointLifecycle(endpoints.DrainToImmutable(), next);
    }

    /// <summary>The endpoints that the server knows, in the order of their registry; none where Envoy resolves them itself.</summary>
    internal static IEnumerable<KeyValuePair<string, EndpointSpec>> Of(
        UpstreamSpec spec,
        IEnumerable<KeyValuePair<string, EndpointSpec>> registered
    ) =>
        spec.Endpoints.Source switch
        {
            EndpointSource.Static => spec.Endpoints.Static.Select(e => KeyValuePair.Create(e.DefaultId(), e)),
            EndpointSource.Registration or EndpointSource.Dns => registered,
            _ => [],
        };

    private static (EndpointStatus? Status, DateTimeOffset? NextChange) Judge(OverrideSpec order, TimeSpan drainTime, DateTimeOffset now)
    {
        switch (order.Action)
        {
            case OverrideAction.Disable:
                return (null, order.ExpiresAt);
            case OverrideAction.ForceUnhealthy:
                return (EndpointStatus.Unhealthy, order.ExpiresAt);
            case OverrideAction.Drain:
                // A start in the future is a clock that ran ahead elsewhere: the order is as good as begun.
                var drained = order.StartedAt + drainTime;
                return now < drained
                    ? (EndpointStatus.Draining, order.ExpiresAt < drained ? order.ExpiresAt : drained)
                    : (null, order.ExpiresAt);
            default:
                // What the endpoint gets is for the health model to say.
                return (EndpointStatus.Active, order.ExpiresAt);
        }
    }
}
