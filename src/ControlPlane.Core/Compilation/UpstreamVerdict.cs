using System.Collections.Immutable;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Core.Compilation;

/// <summary>What the health model has decided about one upstream, as compilation takes it. Says nothing about which endpoints there are: that is desired state.</summary>
public sealed record UpstreamVerdict
{
    /// <summary>What everyone gets.</summary>
    public required VerdictView Everyone { get; init; }

    /// <summary>What the proxies of a zone get instead, by zone.</summary>
    public ImmutableSortedDictionary<string, VerdictView> Zones { get; init; } = ImmutableSortedDictionary<string, VerdictView>.Empty;

    /// <summary>
    /// The upstream counts as large to the proxies' own outlier detection (ten endpoints or more). Follows the number of endpoints late, since a change of it makes
    /// every proxy rebuild the cluster.
    /// </summary>
    public bool IsLarge { get; init; }
}

/// <summary>The endpoints of an upstream as some proxies are to have them.</summary>
/// <param name="Targets">The endpoints that were decided about, as they were then.</param>
/// <param name="Endpoints">Those that are published.</param>
/// <param name="LocalityFactors">Zones whose locality weight is to be multiplied by a factor below 1.</param>
public sealed record VerdictView(
    ImmutableArray<HealthTarget> Targets,
    ImmutableArray<PublishedEndpoint> Endpoints,
    ImmutableSortedDictionary<string, double> LocalityFactors
)
{
    /// <summary>Lays the decision over the endpoints that desired state publishes.</summary>
    /// <remarks>
    /// The two need not be of the same moment. Where an endpoint changed its weight since, its share stays. One that was not decided about yet is new: it is left out
    /// while a proven one is there, unless nobody will check it. And if nothing that takes requests is left of what was decided, all others are published:
    /// no decision empties an upstream.
    /// </remarks>
    internal ImmutableArray<EndpointState> LayOver(UpstreamSpec spec, ImmutableArray<EndpointState> endpoints)
    {
        var decided = new Dictionary<string, (uint FullWeight, PublishedEndpoint? Published)>(Targets.Length, StringComparer.Ordinal);
        foreach (var target in Targets)
        {
            decided[target.Id] = (target.Weight, null);
        }
        var scale = 1ul;
        foreach (var published in Endpoints)
        {
            if (decided.TryGetValue(published.Id, out var known))
            {
                decided[published.Id] = known with { Published = published };
                scale = published.Weight > known.FullWeight ? FullShare : scale;
            }
        }

        var result = ImmutableArray.CreateBuilder<EndpointState>(endpoints.Length);
        var takesRequests = endpoints.Any(e =>
            e.Status == EndpointStatus.Active
            && decided.TryGetValue(e.Id, out var known)
            && known.Published is { Status: PublishedStatus.Healthy or PublishedStatus.Degraded }
        );
        foreach (var endpoint in endpoints)
        {
            var isDecided = decided.TryGetValue(endpoint.Id, out var known);
            if (isDecided && known.Published is { } published)
            {
                result.Add(
                    endpoint with
                    {
                        Weight = (ulong)((UInt128)published.Weight * endpoint.Spec.Weight / known.FullWeight),
                        Status = endpoint.Status == EndpointStatus.Active ? StatusOf(published.Status) : endpoint.Status,
                    }
                );
            }
            else if (endpoint.Status != EndpointStatus.Active || IsPublished(endpoint))
            {
                result.Add(endpoint with { Weight = scale * endpoint.Spec.Weight });
            }

            bool IsPublished(EndpointState undecided) =>
                undecided.Order != OverrideAction.Freeze
                && (!takesRequests || (!isDecided && (spec.Health.Checks.IsEmpty || undecided.Spec.HealthCheck is { Disabled: true })));
        }
        return result.DrainToImmutable();
    }

    /// <summary>What the health model multiplies weights by where not all are at full weight.</summary>
    private const ulong FullShare = 100;

    private static EndpointStatus StatusOf(PublishedStatus status) =>
        status switch
        {
            PublishedStatus.Healthy => EndpointStatus.Active,
            PublishedStatus.Degraded => EndpointStatus.Degraded,
            PublishedStatus.Unhealthy => EndpointStatus.Unhealthy,
            PublishedStatus.Draining => EndpointStatus.Draining,
            _ => throw new ArgumentOutOfRangeException(nameof(status), status, null),
        };
}
