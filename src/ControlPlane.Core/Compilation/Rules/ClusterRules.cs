using System.Text;
using ControlPlane.Resources.Validation;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Extensions.LoadBalancingPolicies.Maglev.V3;
using Envoy.Extensions.LoadBalancingPolicies.RingHash.V3;
using Envoy.Type.V3;
using Google.Protobuf.Collections;
using static ControlPlane.Core.Compilation.Rules.SemanticRules;
using DiscoveryType = Envoy.Config.Cluster.V3.Cluster.Types.DiscoveryType;
using HttpProtocolOptions = Envoy.Extensions.Upstreams.Http.V3.HttpProtocolOptions;
using LbPolicy = Envoy.Config.Cluster.V3.Cluster.Types.LbPolicy;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>Clusters: discovery, load balancing, health checks, protocol options.</summary>
internal static class ClusterRules
{
    /// <summary>The key under which Envoy looks for the HTTP options of a cluster.</summary>
    private const string HttpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

    /// <summary>Longest name of a resource in bytes: ours, since Envoy takes 70,000 and repeats them in every statistic.</summary>
    public const int MaxNameBytes = 2048;

    /// <summary>Cluster extensions that bring their own load balancer.</summary>
    private static readonly string[] LbProviders =
    [
        "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
        "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
        "envoy.extensions.clusters.redis.v3.RedisClusterConfig",
    ];

    public static IEnumerable<MessageRule> All() =>
        [
            On<Cluster>((m, path) => CheckName(m.Name, path)),
            On<Cluster>(CheckStatisticsName),
            On<Cluster>(CheckDiscovery),
            On<Cluster>(CheckLoadBalancer),
            On<Cluster>(CheckHealthChecks),
            On<Cluster>(CheckProtocolOptions),
            On<RingHash>((m, path) => CheckRing(m.MinimumRingSize, m.MaximumRingSize, "", path)),
            On<Maglev>((m, path) => CheckMaglev(m.TableSize, "", path)),
            On<LoadBalancingPolicy>(
                (m, path) =>
                {
                    if (m.Policies.Count == 0)
                    {
                        path.Error(
                            "/policies",
                            "no-lb-policy",
                            "The list of load balancing policies is empty. Give at least one, or leave loadBalancingPolicy out."
                        );
                    }
                }
            ),
            On<CircuitBreakers>(CheckThresholds),
            On<OutlierDetection>(
                (m, path) =>
                {
                    if (m.MaxEjectionTime is { } max && max.ToTimeSpan() < (m.BaseEjectionTime?.ToTimeSpan() ?? TimeSpan.FromSeconds(30)))
                    {
                        path.Error(
                            "/maxEjectionTime",
                            "ejection-time",
                            "maxEjectionTime is shorter than baseEjectionTime (30 s unless given). Make it as long or longer."
                        );
                    }
                }
            ),
            On<HealthCheck.Types.HttpHealthCheck>(CheckHttpHealthCheck),
            On<HealthCheck.Types.Payload>(
                (m, path) =>
                {
                    if (m.PayloadCase == HealthCheck.Types.Payload.PayloadOneofCase.Text && !IsHex(m.Text))
                    {
                        path.Error(
                            "/text",
                            "invalid-hex",
                            "The payload is not hexadecimal: write two digits for each byte, for example 50494e47 for PING."
                        );
                    }
                }
            ),
        ];

    /// <summary>Checks a name against our own limit.</summary>
    public static void CheckName(string name, MessagePath path)
    {
        if (path.Depth == 0 && Encoding.UTF8.GetByteCount(name) > MaxNameBytes)
        {
            path.Error(
                "/name",
                "name-too-long",
                $"The name is longer than {MaxNameBytes} bytes. Every statistic and log line repeats it: choose a shorter one."
            );
        }
    }

    private static void CheckStatisticsName(Cluster cluster, MessagePath path)
    {
        var dot = cluster.AltStatName.Length == 0 && path.Depth == 0 ? cluster.Name.IndexOf('.', StringComparison.Ordinal) : -1;
        if (dot >= 0)
        {
            path.Warning(
                "/name",
                "dotted-name",
                $"In Envoy's statistics a cluster's name ends at its first dot: the label envoy_cluster_name says '{cluster.Name[..dot]}', as of any other '{cluster.Name[..dot]}.…', and what follows goes into the names of the metrics. Write '{cluster.Name.Replace('.', '-')}', or have the cluster counted under that name by altStatName."
            );
        }
    }

    private static void CheckDiscovery(Cluster cluster, MessagePath path)
    {
        if (cluster.ClusterDiscoveryTypeCase == Cluster.ClusterDiscoveryTypeOneofCase.ClusterType)
        {
            return;
        }

        var isEds = cluster.Type == DiscoveryType.Eds;
        var hasSource =
            cluster.EdsClusterConfig?.EdsConfig is { ConfigSourceSpecifierCase: not ConfigSource.ConfigSourceSpecifierOneofCase.None };
        if (isEds && !hasSource)
        {
            path.Error(
                "/edsClusterConfig",
                "eds-config-missing",
                "A cluster of type EDS does not say where its endpoints come from. Give edsClusterConfig: {edsConfig: {ads: {}}}."
            );
        }
        else if (!isEds && cluster.EdsClusterConfig is not null)
        {
            path.Error(
                "/edsClusterConfig",
                "eds-config-unused",
                $"edsClusterConfig belongs to type EDS, and this cluster is of type {cluster.Type}. Remove it, or change the type."
            );
        }

        switch (cluster.Type)
        {
            case DiscoveryType.LogicalDns when cluster.LoadAssignment is not { Endpoints: [{ LbEndpoints.Count: 1 }] }:
                path.Error(
                    "/loadAssignment",
                    "logical-dns-endpoints",
                    "A LOGICAL_DNS cluster has exactly one locality with one endpoint. Use STRICT_DNS for several names."
                );
                break;
            case DiscoveryType.Static or DiscoveryType.StrictDns when cluster.LoadAssignment is null:
                path.Warning("/loadAssignment", "no-endpoints", "The cluster has no endpoints: every request to it is answered with 503.");
                break;
            case DiscoveryType.OriginalDst when cluster.LoadAssignment is not null:
                path.Error(
                    "/loadAssignment",
                    "original-dst-endpoints",
                    "An ORIGINAL_DST cluster takes its endpoints from the connections. Remove loadAssignment."
                );
                break;
        }
    }

    private static void CheckLoadBalancer(Cluster cluster, MessagePath path)
    {
        var isProvided = cluster.LbPolicy == LbPolicy.ClusterProvided;
        if (cluster.LoadBalancingPolicy is null)
        {
            var provides = cluster.ClusterDiscoveryTypeCase switch
            {
                Cluster.ClusterDiscoveryTypeOneofCase.ClusterType => LbProviders.Any(p =>
                    cluster.ClusterType.TypedConfig?.TypeUrl.EndsWith("/" + p, StringComparison.Ordinal) == true
                )
                    ? true
                    : (bool?)null,
                _ => cluster.Type == DiscoveryType.OriginalDst,
            };
            if (provides == false && isProvided)
            {
                path.Error(
                    "/lbPolicy",
                    "lb-cluster-provided",
                    "CLUSTER_PROVIDED is for clusters that bring their own load balancer (ORIGINAL_DST, aggregate, redis). Choose another policy."
                );
            }
            else if (provides == true && !isProvided)
            {
                path.Error(
                    "/lbPolicy",
                    "lb-cluster-provided",
                    "A cluster of this type brings its own load balancer. Set lbPolicy to CLUSTER_PROVIDED."
                );
            }

            if (cluster.LbPolicy == LbPolicy.LoadBalancingPolicyConfig)
            {
                path.Error(
                    "/loadBalancingPolicy",
                    "no-lb-policy",
                    "lbPolicy is LOAD_BALANCING_POLICY_CONFIG, and there is no loadBalancingPolicy. Give one."
                );
            }

            if (cluster.LbPolicy == LbPolicy.RingHash)
            {
                CheckRing(cluster.RingHashLbConfig?.MinimumRingSize, cluster.RingHashLbConfig?.MaximumRingSize, "/ringHashLbConfig", path);
            }
            else if (cluster.LbPolicy == LbPolicy.Maglev)
            {
                CheckMaglev(cluster.MaglevLbConfig?.TableSize, "/maglevLbConfig", path);
            }
        }
    }

    /// <remarks>Such a cluster fails late: it stays warming, and Envoy answers no CDS response until it is gone.</remarks>
    private static void CheckRing(ulong? minimum, ulong? maximum, string tail, MessagePath path)
    {
        const ulong DefaultMinimum = 1024;
        const ulong DefaultMaximum = 8 * 1024 * 1024;
        if ((minimum ?? DefaultMinimum) > (maximum ?? DefaultMaximum))
        {
            path.Error(
                tail + (maximum is null ? "/minimumRingSize" : "/maximumRingSize"),
                "ring-size",
                $"minimumRingSize ({minimum ?? DefaultMinimum}) is greater than maximumRingSize ({maximum ?? DefaultMaximum}). Give both, the minimum not above the maximum."
            );
        }
    }

    private static void CheckMaglev(ulong? size, string tail, MessagePath path)
    {
        if (size is { } given && !IsPrime(given))
        {
            path.Error(
                tail + "/tableSize",
                "maglev-table-size",
                $"The size of a Maglev table is a prime number, and {given} is none. 65537 is the default; 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 131071 are others."
            );
        }
    }

    private static bool IsPrime(ulong number)
    {
        if (number < 4)
        {
            return number > 1;
        }

        if (number % 2 == 0)
        {
            return false;
        }

        // Envoy's own limit is 5,000,011; beyond it the rules of the descriptor speak.
        for (ulong divisor = 3; divisor * divisor <= number && divisor < 3_000; divisor += 2)
        {
            if (number % divisor == 0)
            {
                return false;
            }
        }

        return true;
    }

    private static void CheckThresholds(CircuitBreakers breakers, MessagePath path)
    {
        var seen = new HashSet<RoutingPriority>();
        for (var i = 0; i < breakers.Thresholds.Count; i++)
        {
            if (!seen.Add(breakers.Thresholds[i].Priority))
            {
                path.Warning(
                    $"/thresholds/{i}",
                    "duplicate-threshold",
                    $"There are thresholds for priority {breakers.Thresholds[i].Priority} already; Envoy uses the first. Remove one."
                );
            }
        }
    }

    private static void CheckHealthChecks(Cluster cluster, MessagePath path)
    {
        if (cluster.HealthChecks.Count > 1)
        {
            path.Error(
                "/healthChecks/1",
                "health-check-count",
                "A cluster has one health check: Envoy before 1.37 takes no more, and later ones want names that this API does not have. Keep one."
            );
        }

        for (var i = 0; i < cluster.HealthChecks.Count; i++)
        {
            if (cluster.HealthChecks[i].HealthCheckerCase == HealthCheck.HealthCheckerOneofCase.GrpcHealthCheck && !SpeaksHttp2(cluster))
            {
                path.Error(
                    $"/healthChecks/{i}/grpcHealthCheck",
                    "grpc-needs-http2",
                    "A gRPC health check needs a cluster that speaks HTTP/2. Set the cluster's protocol to HTTP/2."
                );
            }
        }
    }

    /// <summary>Whether HTTP/2 is spoken to the cluster, always or where the endpoint wants it.</summary>
    public static bool SpeaksHttp2(Cluster cluster)
    {
#pragma warning disable CS0612 // Deprecated by Envoy, and still taken by it.
        var isLegacy = cluster.Http2ProtocolOptions is not null;
#pragma warning restore CS0612
        return HttpOptions(cluster) is not { } options
            ? isLegacy
            : options.UpstreamProtocolOptionsCase switch
            {
                HttpProtocolOptions.UpstreamProtocolOptionsOneofCase.ExplicitHttpConfig => options.ExplicitHttpConfig.Http2ProtocolOptions
                    is not null,
                HttpProtocolOptions.UpstreamProtocolOptionsOneofCase.UseDownstreamProtocolConfig => options
                    .UseDownstreamProtocolConfig
                    .Http2ProtocolOptions
                    is not null,
                _ => true,
            };
    }

    private static HttpProtocolOptions? HttpOptions(Cluster cluster) =>
        cluster.TypedExtensionProtocolOptions.TryGetValue(HttpOptionsKey, out var packed)
            ? EnvoyTypes.Unpack<HttpProtocolOptions>(packed)
            : null;

    private static void CheckProtocolOptions(Cluster cluster, MessagePath path)
    {
        foreach (var (key, options) in cluster.TypedExtensionProtocolOptions)
        {
            if (options.Is(HttpProtocolOptions.Descriptor) && key != HttpOptionsKey)
            {
                path.Error(
                    "/typedExtensionProtocolOptions/" + JsonPointer.Escape(key),
                    "protocol-options-key",
                    $"Envoy looks for these options under the key {HttpOptionsKey}. Rename the key."
                );
            }
        }

        if (
            HttpOptions(cluster) is { AutoConfig: not null }
            && cluster.TransportSocket is null
            && cluster.TransportSocketMatches.Count == 0
        )
        {
            path.Error(
                "/typedExtensionProtocolOptions",
                "auto-needs-tls",
                "HTTP/1 or HTTP/2 is chosen by ALPN, which needs TLS, and this cluster has none. Name the protocol, or add TLS."
            );
        }
    }

    private static void CheckHttpHealthCheck(HealthCheck.Types.HttpHealthCheck check, MessagePath path)
    {
        CheckStatuses(check.ExpectedStatuses, "/expectedStatuses", path);
        CheckStatuses(check.RetriableStatuses, "/retriableStatuses", path);
        if (
            check.Send is not null
            && check.Method is not (RequestMethod.Post or RequestMethod.Put or RequestMethod.Patch or RequestMethod.Options)
        )
        {
            path.Error(
                "/send",
                "health-check-body",
                "Only POST, PUT, PATCH and OPTIONS health checks have a body. Set the method, or remove the body."
            );
        }
    }

    private static void CheckStatuses(RepeatedField<Int64Range> ranges, string tail, MessagePath path)
    {
        for (var i = 0; i < ranges.Count; i++)
        {
            if (ranges[i].Start < 100 || ranges[i].Start >= ranges[i].End || ranges[i].End > 600)
            {
                path.Error(
                    $"{tail}/{i}",
                    "status-range",
                    "A range of statuses begins at 100 or later and ends, exclusively, after its start and not above 600: {start: 200, end: 300}."
                );
            }
        }
    }

    private static bool IsHex(string text) => text.Length % 2 == 0 && text.All(char.IsAsciiHexDigit);
}
