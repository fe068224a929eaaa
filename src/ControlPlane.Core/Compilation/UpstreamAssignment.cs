using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Google.Protobuf.WellKnownTypes;
using EnvoyEndpoint = Envoy.Config.Endpoint.V3.Endpoint;
using HealthStatus = Envoy.Config.Core.V3.HealthStatus;

namespace ControlPlane.Core.Compilation;

/// <summary>Compiles endpoints to a ClusterLoadAssignment that Envoy and proxyless gRPC clients (G-05) both take.</summary>
internal static class UpstreamAssignment
{
    /// <summary>The filter metadata that Envoy's load balancers look at.</summary>
    private const string LoadBalancerMetadata = "envoy.lb";

    private const uint DefaultOverprovisioningFactor = 140;

    private const double FactorScale = 100;

    private static readonly LocalitySpec Unnamed = new();

    public static ClusterLoadAssignment Of(
        string name,
        UpstreamSpec spec,
        IReadOnlyList<EndpointState> endpoints,
        ImmutableSortedDictionary<string, double> localityFactors,
        ProblemCollector problems
    )
    {
        var assignment = new ClusterLoadAssignment { ClusterName = name };
        if (spec.LoadBalancing.OverprovisioningFactor != DefaultOverprovisioningFactor)
        {
            assignment.Policy = new ClusterLoadAssignment.Types.Policy
            {
                OverprovisioningFactor = spec.LoadBalancing.OverprovisioningFactor,
            };
        }
        var priorities = endpoints.GroupBy(e => e.Spec.Priority).OrderBy(p => p.Key).ToArray();
        for (var i = 0; i < priorities.Length; i++)
        {
            // Counted anew: gRPC clients refuse gaps, which appear when the last endpoint of a priority leaves; to Envoy an empty priority is none.
            assignment.Endpoints.AddRange(Localities(spec, priorities[i], (uint)i, localityFactors, problems));
        }
        return assignment;
    }

    /// <summary>A flat map as Envoy's metadata.</summary>
    public static Struct Struct(IEnumerable<KeyValuePair<string, string>> values)
    {
        var result = new Struct();
        foreach (var (key, value) in values)
        {
            result.Fields.Add(key, Value.ForString(value));
        }
        return result;
    }

    private static List<LocalityLbEndpoints> Localities(
        UpstreamSpec spec,
        IEnumerable<EndpointState> endpoints,
        uint priority,
        ImmutableSortedDictionary<string, double> factors,
        ProblemCollector problems
    )
    {
        var localities = new List<LocalityLbEndpoints>();
        var weights = new List<ulong>();
        var groups = endpoints
            .GroupBy(e => e.Spec.Locality ?? Unnamed)
            .OrderBy(g => g.Key.Region, StringComparer.Ordinal)
            .ThenBy(g => g.Key.Zone, StringComparer.Ordinal)
            .ThenBy(g => g.Key.SubZone, StringComparer.Ordinal);
        foreach (var group in groups)
        {
            var ordered = group.OrderBy(e => e.Spec.Address, StringComparer.Ordinal).ThenBy(e => e.Spec.Port).ToArray();
            var locality = new LocalityLbEndpoints
            {
                Locality = new Locality
                {
                    Region = group.Key.Region,
                    Zone = group.Key.Zone,
                    SubZone = group.Key.SubZone,
                },
                Priority = priority,
            };
            var endpointWeights = FitTo32Bits([.. ordered.Select(e => e.Share)]);
            for (var i = 0; i < ordered.Length; i++)
            {
                locality.LbEndpoints.Add(LbEndpoint(spec, ordered[i], endpointWeights[i], problems));
            }
            localities.Add(locality);
            weights.Add(Weight(spec, group.Key, ordered, factors));
        }
        var fitting = FitTo32Bits(weights);
        for (var i = 0; i < localities.Count; i++)
        {
            localities[i].LoadBalancingWeight = fitting[i];
        }
        return localities;
    }

    /// <summary>
    /// A locality's weight. gRPC clients need one and always go by it, Envoy only in <see cref="LocalityMode.Weighted"/>: the weights of its endpoints
    /// together make both spread alike. Those that take no requests do not count, but where Envoy goes by it: it scales the weight by the healthy share itself.
    /// </summary>
    private static ulong Weight(
        UpstreamSpec spec,
        LocalitySpec locality,
        IReadOnlyCollection<EndpointState> endpoints,
        ImmutableSortedDictionary<string, double> factors
    )
    {
        var isWeighted = spec.LoadBalancing.Locality.Mode == LocalityMode.Weighted;
        ulong weight;
        if (spec.LoadBalancing.Locality.Weights.FirstOrDefault(w => w.Locality == locality) is { } listed)
        {
            weight = listed.Weight;
        }
        else if (isWeighted)
        {
            weight = endpoints.Where(e => e.Status != EndpointStatus.Draining).Aggregate(0ul, (sum, e) => sum + e.Spec.Weight);
        }
        else
        {
            // Shares that were lowered are part of the sum already.
            return endpoints.Where(e => e.TakesRequests).Aggregate(0ul, (sum, e) => sum + e.Share);
        }
        // All localities are scaled alike, so that a factor has an effect on small weights, too.
        return factors.IsEmpty ? weight : (ulong)Math.Round(weight * FactorScale * factors.GetValueOrDefault(locality.Zone, 1.0));
    }

    /// <summary>Scales weights so that their sum fits into 32 bits, beyond which Envoy's arithmetic overflows and gRPC clients refuse; none becomes 0.</summary>
    private static uint[] FitTo32Bits(List<ulong> weights)
    {
        var sum = weights.Aggregate(0ul, (total, w) => total + w);
        // Each weight may be rounded up to 1, hence the room.
        var divisor = sum <= uint.MaxValue ? 1 : (sum / (uint.MaxValue - (ulong)weights.Count)) + 1;
        return [.. weights.Select(w => (uint)Math.Max(1, w / divisor))];
    }

    /// <summary>Where the proxies decide by themselves, nothing is known of an endpoint that takes requests.</summary>
    private static HealthStatus StatusOf(UpstreamSpec upstream, EndpointStatus status) =>
        status switch
        {
            EndpointStatus.Active => upstream.IsCentral() ? HealthStatus.Healthy : HealthStatus.Unknown,
            EndpointStatus.Draining => HealthStatus.Draining,
            EndpointStatus.Unhealthy => HealthStatus.Unhealthy,
            EndpointStatus.Degraded => HealthStatus.Degraded,
            _ => throw new ArgumentOutOfRangeException(nameof(status), status, null),
        };

    private static LbEndpoint LbEndpoint(UpstreamSpec upstream, EndpointState state, uint weight, ProblemCollector problems)
    {
        var spec = state.Spec;
        var endpoint = new EnvoyEndpoint
        {
            Address = EnvoyAddress.Of(spec.Address, spec.Port),
            Hostname = spec.Hostname ?? "",
            HealthCheckConfig = UpstreamHealth.EndpointConfig(upstream, spec),
        };
        endpoint.AdditionalAddresses.AddRange(
            spec.AdditionalAddresses.Select(a => new EnvoyEndpoint.Types.AdditionalAddress { Address = EnvoyAddress.Of(a.Address, a.Port) })
        );
        var result = new LbEndpoint
        {
            Endpoint = endpoint,
            HealthStatus = StatusOf(upstream, state.Status),
            LoadBalancingWeight = weight == 1 ? null : weight,
        };
        if (!spec.Metadata.IsEmpty)
        {
            result.Metadata = new Metadata { FilterMetadata = { [LoadBalancerMetadata] = Struct(spec.Metadata) } };
        }
        if (spec.Envoy is { } overlay)
        {
            Merge(overlay, result, state.Id, problems);
        }
        return result;
    }

    /// <summary>An overlay was checked when its endpoint was written; here it can only fail of what another version of the server took.</summary>
    private static void Merge(JsonObject overlay, LbEndpoint endpoint, string id, ProblemCollector problems)
    {
        var found = new ProblemCollector();
        MessagePipeline.Merge(ResourceType.Endpoints, endpoint, overlay, found);
        foreach (var problem in found.Problems.Where(p => p.Severity == ProblemSeverity.Error))
        {
            problems.Error("/spec/endpoints", problem.Code, $"Of endpoint {id}, at {problem.Pointer}: {problem.Message}");
        }
    }
}
