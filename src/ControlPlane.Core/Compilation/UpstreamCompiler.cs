using System.Collections.Immutable;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Type.V3;
using Google.Protobuf.WellKnownTypes;
using LookupFamily = Envoy.Config.Cluster.V3.Cluster.Types.DnsLookupFamily;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Turns an upstream into Envoy's Cluster and ClusterLoadAssignment of the same name. The cluster depends on the spec alone, never on registered endpoints, health
/// or orders: every change of a cluster makes Envoy rebuild it, with its connections, checks and ejections.
/// </summary>
public static class UpstreamCompiler
{
    /// <summary>The number of endpoints from which an upstream counts as large (section 4.6 of the health model).</summary>
    public const int LargeFrom = 10;

    /// <summary>Compiles the cluster of a valid spec; equal specs give equal messages.</summary>
    /// <param name="name">The upstream's name.</param>
    /// <param name="spec">What is wanted.</param>
    /// <param name="isLarge">Under central health: the upstream has so many endpoints that proxies may eject a smaller share of them.</param>
    /// <param name="origins">Gets where parts of the message come from.</param>
    public static Cluster CompileCluster(string name, UpstreamSpec spec, bool isLarge = false, MessageOrigins? origins = null)
    {
        var cluster = new Cluster
        {
            Name = name,
            ConnectTimeout = spec.ConnectTimeout.ToDuration(),
            PerConnectionBufferLimitBytes = spec.BufferLimitBytes,
            CircuitBreakers = CircuitBreakers(spec.CircuitBreakers),
            // Else an endpoint that passes Envoy's check goes on getting traffic after it was removed.
            IgnoreHealthOnHostRemoval = true,
        };
        if (spec.Keepalive is { } keepalive)
        {
            cluster.UpstreamConnectionOptions = new UpstreamConnectionOptions
            {
                TcpKeepalive = new TcpKeepalive
                {
                    KeepaliveTime = (uint)keepalive.Time.TotalSeconds,
                    KeepaliveInterval = (uint)keepalive.Interval.TotalSeconds,
                    KeepaliveProbes = keepalive.Probes,
                },
            };
        }
        if (UpstreamHttp.Options(spec) is { } http)
        {
            cluster.TypedExtensionProtocolOptions.Add(UpstreamHttp.OptionsName, EnvoyTypes.Pack(http));
        }
        if (spec.Tls is { } tls)
        {
            cluster.TransportSocket = UpstreamTls.Socket(tls, spec.Protocol);
            origins?.Add("/transportSocket", "/spec/tls");
        }
        AddDiscovery(name, spec, cluster);
        UpstreamLoadBalancing.AddTo(cluster, spec);
        UpstreamHealth.AddTo(cluster, spec, isLarge);
        return cluster;
    }

    /// <summary>Compiles the assignment of a valid spec; the order of <paramref name="endpoints"/> does not matter.</summary>
    /// <param name="name">The upstream's name.</param>
    /// <param name="spec">What is wanted.</param>
    /// <param name="endpoints">The endpoints to publish; none gives an empty assignment, which is how Envoy is told that there are none.</param>
    /// <param name="verdict">What the health model makes of them; null where it has not spoken, or is not asked.</param>
    /// <param name="problems">Gets what of the endpoints' raw parts could not be merged.</param>
    public static ClusterLoadAssignment CompileAssignment(
        string name,
        UpstreamSpec spec,
        IReadOnlyList<EndpointState> endpoints,
        VerdictView? verdict = null,
        ProblemCollector? problems = null
    )
    {
        problems ??= new ProblemCollector();
        return verdict is null
            ? UpstreamAssignment.Of(name, spec, endpoints, ImmutableSortedDictionary<string, double>.Empty, problems)
            : UpstreamAssignment.Of(name, spec, verdict.LayOver(spec, [.. endpoints]), verdict.LocalityFactors, problems);
    }

    private static void AddDiscovery(string name, UpstreamSpec spec, Cluster cluster)
    {
        if (spec.Endpoints.AreOurs())
        {
            cluster.Type = Cluster.Types.DiscoveryType.Eds;
            cluster.EdsClusterConfig = new Cluster.Types.EdsClusterConfig { EdsConfig = AdsSource.New() };
            return;
        }
        cluster.Type =
            spec.Endpoints.Source == EndpointSource.EnvoyStrictDns
                ? Cluster.Types.DiscoveryType.StrictDns
                : Cluster.Types.DiscoveryType.LogicalDns;
        cluster.LoadAssignment = CompileAssignment(
            name,
            spec,
            [.. spec.Endpoints.Hosts.Select(h => new EndpointState(h.DefaultId(), h, EndpointStatus.Active))]
        );
        AddDnsTimes(spec.Endpoints.Dns, cluster);
        cluster.DnsLookupFamily = spec.Endpoints.Dns.LookupFamily switch
        {
            AddressPreference.V4Only => LookupFamily.V4Only,
            AddressPreference.V6Only => LookupFamily.V6Only,
            AddressPreference.V4Preferred => LookupFamily.V4Preferred,
            AddressPreference.All => LookupFamily.All,
            _ => LookupFamily.Auto,
        };
    }

    /// <summary>Only what differs from Envoy's defaults: these fields still work, and make Envoy log that they are deprecated.</summary>
    private static void AddDnsTimes(EnvoyDnsSpec spec, Cluster cluster)
    {
        if (spec.RefreshRate != new EnvoyDnsSpec().RefreshRate)
        {
            cluster.DnsRefreshRate = spec.RefreshRate.ToDuration();
        }
        cluster.RespectDnsTtl = spec.RespectTtl;
    }

    private static CircuitBreakers CircuitBreakers(CircuitBreakersSpec spec)
    {
        var breakers = new CircuitBreakers { Thresholds = { Thresholds(spec.Default, RoutingPriority.Default) } };
        if (spec.High is { } high)
        {
            breakers.Thresholds.Add(Thresholds(high, RoutingPriority.High));
        }
        if (spec.MaxConnectionsPerEndpoint is { } connections)
        {
            breakers.PerHostThresholds.Add(new CircuitBreakers.Types.Thresholds { MaxConnections = connections });
        }
        return breakers;
    }

    private static CircuitBreakers.Types.Thresholds Thresholds(CircuitBreakerThresholdsSpec spec, RoutingPriority priority)
    {
        var thresholds = new CircuitBreakers.Types.Thresholds
        {
            Priority = priority,
            MaxConnections = spec.MaxConnections,
            MaxPendingRequests = spec.MaxPendingRequests,
            MaxRequests = spec.MaxRequests,
            MaxRetries = spec.MaxRetries,
            MaxConnectionPools = spec.MaxConnectionPools,
            // The gauges of what is left; without them a limit is seen only once it is hit.
            TrackRemaining = true,
        };
        if (spec.MaxRetries is null)
        {
            var budget = spec.RetryBudget ?? new RetryBudgetSpec();
            thresholds.RetryBudget = new CircuitBreakers.Types.Thresholds.Types.RetryBudget
            {
                BudgetPercent = new Percent { Value = budget.Percent },
                MinRetryConcurrency = budget.MinimumConcurrency,
            };
        }
        return thresholds;
    }
}
