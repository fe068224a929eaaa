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
    private readonly HealthMetrics _health;
    private readonly TimeProvider _time;

    public UpstreamMetrics(IMeterFactory factory, CurrentState state, HealthMetrics health, TimeProvider time)
    {
        _state = state;
        _health = health;
        _time = time;
        factory
            .Create(MeterName)
            .CreateObservableGauge(
                Endpoints,
                Count,
                "{endpoint}",
                "Endpoints by their state: what the control plane decided, or healthy where every proxy decides by itself; draining and disabled are operators' orders."
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
            if (!spec.Endpoints.AreOurs())
            {
                // Only the proxies know what the names resolve to.
                continue;
            }

            if (spec.IsCentral() && _health.CountsOf(name) is { } counts)
            {
                yield return Of(name, "new", counts.New);
                yield return Of(name, "up", counts.Up);
                yield return Of(name, "suspect", counts.Suspect);
                yield return Of(name, "down", counts.Down);
                yield return Of(name, "probation", counts.Probation);
                yield return Of(name, "draining", counts.Draining);
                yield return Of(name, "disabled", counts.Disabled);
                continue;
            }

            var registered = desired.Children(ResourceKind.Endpoint, name);
            var total = spec.Endpoints.Source == EndpointSource.Static ? spec.Endpoints.Static.Length : registered.Count;
            var (healthy, draining, unhealthy) = Published(spec, registered, desired.Children(ResourceKind.Override, name), total, now);

            // Every state, also where it is 0: an alert on a sum must not vanish with its last endpoint.
            yield return Of(name, "healthy", healthy);
            yield return Of(name, "draining", draining);
            yield return Of(name, "down", unhealthy);
            yield return Of(name, "disabled", total - healthy - draining - unhealthy);
        }
    }

    private static (int Healthy, int Draining, int Unhealthy) Published(
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
            return (total, 0, 0);
        }

        var endpoints = registered.IsEmpty
            ? NoEndpoints
            : registered.ToImmutableDictionary(e => e.Key, e => (EndpointSpec)e.Value.Manifest.Spec);
        var overrides = orders.ToImmutableDictionary(o => o.Key, o => (OverrideSpec)o.Value.Manifest.Spec);
        var published = EndpointLifecycle.At(spec, endpoints, overrides, now).Endpoints;
        var draining = published.Count(e => e.Status == EndpointStatus.Draining);
        var unhealthy = published.Count(e => e.Status == EndpointStatus.Unhealthy);
        return (published.Length - draining - unhealthy, draining, unhealthy);
    }

    private static Measurement<int> Of(string upstream, string state, int count) =>
        new(count, KeyValuePair.Create<string, object?>("upstream", upstream), KeyValuePair.Create<string, object?>("state", state));
}
