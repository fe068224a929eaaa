using System.Text;
using Envoy.Config.Core.V3;
using Envoy.Config.Route.V3;
using static ControlPlane.Core.Compilation.Rules.SemanticRules;
using MirrorPolicy = Envoy.Config.Route.V3.RouteAction.Types.RequestMirrorPolicy;
using RetryPolicy = Envoy.Config.Route.V3.RetryPolicy;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>Route tables.</summary>
internal static class RouteRules
{
    private const uint DefaultMaxBody = 4096;

    /// <summary>The conditions that Envoy knows; it passes over others silently.</summary>
    private static readonly HashSet<string> RetryConditions = new(StringComparer.Ordinal)
    {
        "5xx",
        "cancelled",
        "connect-failure",
        "deadline-exceeded",
        "envoy-ratelimited",
        "gateway-error",
        "http3-post-connect-failure",
        "internal",
        "refused-stream",
        "reset",
        "reset-before-request",
        "resource-exhausted",
        "retriable-4xx",
        "retriable-headers",
        "retriable-status-codes",
        "unavailable",
    };

    public static IEnumerable<MessageRule> All() =>
        [
            On<RouteConfiguration>((m, path) => ClusterRules.CheckName(m.Name, path)),
            On<RouteConfiguration>(CheckVirtualHosts),
            On<VirtualHost>(CheckVirtualHost),
            On<RouteMatch>(CheckMatch),
            On<RouteAction>(CheckAction),
            On<WeightedCluster>(CheckWeights),
            On<MirrorPolicy>(
                (m, path) =>
                {
                    if (m.Cluster.Length > 0 == m.ClusterHeader.Length > 0)
                    {
                        path.Error("/cluster", "one-of", "A mirror names either a cluster or the header that names one. Give exactly one.");
                    }
                }
            ),
            On<RetryPolicy>(CheckRetries),
            On<RetryPolicy.Types.RetryBackOff>(
                (m, path) =>
                {
                    if (m.MaxInterval is { } max && m.BaseInterval is { } least && max.ToTimeSpan() < least.ToTimeSpan())
                    {
                        path.Error("/maxInterval", "back-off", "maxInterval is shorter than baseInterval. Make it as long or longer.");
                    }
                }
            ),
            On<DirectResponseAction>(CheckBody),
        ];

    private static void CheckVirtualHosts(RouteConfiguration table, MessagePath path)
    {
        if (table.VirtualHosts.Count == 0 && table.Vhds is null)
        {
            path.Warning("/virtualHosts", "no-virtual-hosts", "The route table has no virtual hosts: every request is answered with 404.");
        }

        var names = new HashSet<string>(StringComparer.Ordinal);
        var domains = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        for (var i = 0; i < table.VirtualHosts.Count; i++)
        {
            var host = table.VirtualHosts[i];
            if (!names.Add(host.Name))
            {
                path.Warning(
                    $"/virtualHosts/{i}/name",
                    "duplicate-virtual-host",
                    $"Another virtual host is named '{host.Name}': their statistics are mixed. Rename one."
                );
            }

            for (var j = 0; j < host.Domains.Count; j++)
            {
                if (!domains.TryAdd(host.Domains[j], host.Name))
                {
                    path.Error(
                        $"/virtualHosts/{i}/domains/{j}",
                        "duplicate-domain",
                        $"The domain '{host.Domains[j]}' stands in this route table already, in virtual host '{domains[host.Domains[j]]}'; upper and lower case are the same. Remove one."
                    );
                }
            }
        }
    }

    private static void CheckVirtualHost(VirtualHost host, MessagePath path)
    {
        for (var i = 0; i < host.Domains.Count; i++)
        {
            var domain = host.Domains[i];
            if (domain.Length == 0)
            {
                path.Warning(
                    $"/domains/{i}",
                    "empty-domain",
                    "An empty domain matches nothing that a client sends. Remove it, or write * for all."
                );
            }
            else if (domain.Contains('*', StringComparison.Ordinal) && !IsWildcard(domain))
            {
                path.Warning(
                    $"/domains/{i}",
                    "domain-wildcard",
                    $"The domain '{domain}' matches only itself: a wildcard stands at the beginning (*.example.com) or at the end (example.*), once."
                );
            }
        }

        if (host.Matcher is not null && host.Routes.Count > 0)
        {
            path.Error("/matcher", "one-of", "A virtual host has either routes or a matcher. Keep one.");
        }
    }

    private static bool IsWildcard(string domain) => domain.Count('*') == 1 && (domain.StartsWith('*') || domain.EndsWith('*'));

    private static void CheckMatch(RouteMatch match, MessagePath path)
    {
        switch (match.PathSpecifierCase)
        {
            case RouteMatch.PathSpecifierOneofCase.Prefix when !match.Prefix.StartsWith('/') && match.Prefix.Length > 0:
                path.Warning("/prefix", "unreachable-path", "Paths begin with a /, so that this prefix matches nothing. Put one in front.");
                break;
            case RouteMatch.PathSpecifierOneofCase.Path when !match.Path.StartsWith('/'):
                path.Warning("/path", "unreachable-path", "Paths begin with a /, so that this path matches nothing. Put one in front.");
                break;
            case RouteMatch.PathSpecifierOneofCase.Path when match.Path.Contains('?', StringComparison.Ordinal):
                path.Warning(
                    "/path",
                    "unreachable-path",
                    "Paths are compared without their query, so that this path matches nothing. Match the query by queryParameters."
                );
                break;
        }
    }

    private static void CheckAction(RouteAction action, MessagePath path)
    {
        var rewrites =
            (action.PrefixRewrite.Length > 0 ? 1 : 0)
            + (action.RegexRewrite is not null ? 1 : 0)
            + (action.PathRewritePolicy is not null ? 1 : 0);
        if (rewrites > 1)
        {
            path.Error(
                "/prefixRewrite",
                "rewrite-exclusive",
                "Only one of prefixRewrite, regexRewrite and pathRewritePolicy may be given. Keep one."
            );
        }

        ListenerRules.CheckUpgrades(action.UpgradeConfigs.Select(u => u.UpgradeType), path);
        for (var i = 0; i < action.UpgradeConfigs.Count; i++)
        {
            if (
                action.UpgradeConfigs[i].ConnectConfig is not null
                && !action.UpgradeConfigs[i].UpgradeType.StartsWith("CONNECT", StringComparison.OrdinalIgnoreCase)
            )
            {
                path.Error(
                    $"/upgradeConfigs/{i}/connectConfig",
                    "connect-config",
                    "connectConfig belongs to the upgrades CONNECT and CONNECT-UDP. Remove it."
                );
            }
        }
    }

    private static void CheckWeights(WeightedCluster weighted, MessagePath path)
    {
        ulong sum = 0;
        for (var i = 0; i < weighted.Clusters.Count; i++)
        {
            var cluster = weighted.Clusters[i];
            sum += cluster.Weight ?? 0;
            if (cluster.Weight is null)
            {
                path.Error($"/clusters/{i}/weight", "weight-missing", "The weight is missing. Give one to every cluster.");
            }

            if (cluster.Name.Length > 0 == cluster.ClusterHeader.Length > 0)
            {
                path.Error(
                    $"/clusters/{i}/name",
                    "one-of",
                    "A weighted cluster has either a name or the header that names it. Give exactly one."
                );
            }
        }

        if (weighted.Clusters.Count > 0 && sum is 0 or > uint.MaxValue)
        {
            path.Error("/clusters", "weights-sum", $"The weights add up to {sum}; the sum must be 1 to {uint.MaxValue}.");
        }
    }

    private static void CheckRetries(RetryPolicy policy, MessagePath path)
    {
        var unknown = policy
            .RetryOn.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .Where(c => !RetryConditions.Contains(c))
            .ToArray();
        if (unknown.Length > 0)
        {
            path.Warning(
                "/retryOn",
                "unknown-retry-condition",
                $"Envoy passes over conditions that it does not know: {string.Join(", ", unknown)}. Known are: {string.Join(", ", RetryConditions)}."
            );
        }
    }

    private static void CheckBody(DirectResponseAction response, MessagePath path)
    {
        var size = response.Body?.SpecifierCase switch
        {
            DataSource.SpecifierOneofCase.InlineString => Encoding.UTF8.GetByteCount(response.Body.InlineString),
            DataSource.SpecifierOneofCase.InlineBytes => response.Body.InlineBytes.Length,
            _ => 0,
        };
        var limit = path.Enclosing<RouteConfiguration>()?.MaxDirectResponseBodySizeBytes ?? DefaultMaxBody;
        if (size > limit)
        {
            path.Error(
                "/body",
                "direct-response-body",
                $"The body has {size} bytes; {limit} are allowed. Shorten it, or raise the route table's maxDirectResponseBodySizeBytes."
            );
        }
    }
}
