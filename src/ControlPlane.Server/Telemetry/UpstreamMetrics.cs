using System.Collections.Immutable;
using System.Diagnostics.Metrics;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.Telemetry;

/// <summary>
/// How many endpoints each upstream has, counted when somebody reads the metrics. It is a hosted service so that it is made although nothing calls it.
/// </summary>
internal sealed class UpstreamMetrics : IHostedService
{
    public const string MeterName = "ControlPlane.Upstreams";

    /// <summary>Name of the instrument; its number of series grows with the upstreams.</summary>
    public const string Endpoints = "upstream.endpoints";

    private static readonly ImmutableDictionary<string, EndpointSpec> NoEndpoints = ImmutableDictionary<string, EndpointSpec>.Empty;

    private readonly CurrentState _state;
    private readonly TimeProvider _time;

    public UpstreamMetrics(IMeterFactory factory, CurrentState state, TimeProvider time)
    {
        _state = state;
        _time = time;
        factory
            .Create(MeterName)
            .CreateObservableGauge(
                Endpoints,
                Count,
                "{endpoint}",
                "Endpoints that the control plane publishes as usable (healthy), as draining, or leaves out (disabled)."
            );
    }

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    private IEnumerable<Measurement<int>> Count()
    {
        var desired = _state.Desired;
        var now = _time.GetUtcNow();
        foreach (var (name, upstream) in desired.List(ResourceKind.Upstream))
        {
            var spec = (UpstreamSpec)upstream.Manifest.Spec;
            if (spec.Endpoints.Source is EndpointSource.EnvoyStrictDns or EndpointSource.EnvoyLogicalDns)
            {
                // Only the proxies know what the names resolve to.
                continue;
            }

            var registered = desired.Children(ResourceKind.Endpoint, name);
            var total = spec.Endpoints.Source == EndpointSource.Registration ? registered.Count : spec.Endpoints.Static.Length;
            var (healthy, draining) = Published(spec, registered, desired.Children(ResourceKind.Override, name), total, now);

            // Every state, also where it is 0: an alert on a sum must not vanish with its last endpoint.
            yield return Of(name, "healthy", healthy);
            yield return Of(name, "draining", draining);
            yield return Of(name, "disabled", total - healthy - draining);
        }
    }

    private static (int Healthy, int Draining) Published(
        UpstreamSpec spec,
        ImmutableSortedDictionary<string, StoredResource> registered,
        ImmutableSortedDictionary<string, StoredResource> orders,
        int total,
        DateTimeOffset now
    )
    {
        // The usual case needs no look at the endpoints.
        if (orders.IsEmpty)
        {
            return (total, 0);
        }

        var endpoints = registered.IsEmpty
            ? NoEndpoints
            : registered.ToImmutableDictionary(e => e.Key, e => (EndpointSpec)e.Value.Manifest.Spec);
        var overrides = orders.ToImmutableDictionary(o => o.Key, o => (OverrideSpec)o.Value.Manifest.Spec);
        var published = EndpointLifecycle.At(spec, endpoints, overrides, now).Endpoints;
        var draining = published.Count(e => e.Status == EndpointStatus.Draining);
        return (published.Length - draining, draining);
    }

    private static Measurement<int> Of(string upstream, string state, int count) =>
        new(count, KeyValuePair.Create<string, object?>("upstream", upstream), KeyValuePair.Create<string, object?>("state", state));
}
