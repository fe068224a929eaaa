using ControlPlane.Resources.Validation;
using Envoy.Config.Accesslog.V3;
using Envoy.Config.Core.V3;
using Envoy.Config.Listener.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.Filters.Http.LocalRatelimit.V3;
using Envoy.Extensions.Filters.Http.Router.V3;
using Envoy.Extensions.Filters.Http.UpstreamCodec.V3;
using Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using Google.Protobuf.Collections;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using static ControlPlane.Core.Compilation.Rules.SemanticRules;
using HttpProtocolOptions = Envoy.Extensions.Upstreams.Http.V3.HttpProtocolOptions;
using NetworkFilter = Envoy.Config.Listener.V3.Filter;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>Extensions in chains: what is configured at all, and which one is last.</summary>
internal static class FilterRules
{
    /// <summary>Network filters that handle a connection to its end.</summary>
    private static readonly HashSet<string> TerminalNetworkFilters = new(StringComparer.Ordinal)
    {
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
        "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy",
        "envoy.extensions.filters.network.dubbo_proxy.v3.DubboProxy",
        "envoy.extensions.filters.network.echo.v3.Echo",
        "envoy.extensions.filters.network.direct_response.v3.Config",
        "envoy.extensions.filters.network.generic_proxy.v3.GenericProxy",
    };

    /// <summary>Network filters that only look at or delay a connection. Of others (Wasm, newer ones) it is not known here.</summary>
    private static readonly HashSet<string> PassingNetworkFilters = new(StringComparer.Ordinal)
    {
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
        "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
        "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
        "envoy.extensions.filters.network.ratelimit.v3.RateLimit",
        "envoy.extensions.filters.network.rbac.v3.RBAC",
        "envoy.extensions.filters.network.set_filter_state.v3.Config",
        "envoy.extensions.filters.network.sni_cluster.v3.SniCluster",
        "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
        "envoy.extensions.filters.network.zookeeper_proxy.v3.ZooKeeperProxy",
    };

    public static IEnumerable<MessageRule> All() =>
        [
            On<NetworkFilter>((m, path) => CheckConfigured(m.ConfigTypeCase == NetworkFilter.ConfigTypeOneofCase.None, m.Name, path)),
            On<ListenerFilter>((m, path) => CheckConfigured(m.ConfigTypeCase == ListenerFilter.ConfigTypeOneofCase.None, m.Name, path)),
            On<HttpFilter>(
                (m, path) => CheckConfigured(m.ConfigTypeCase == HttpFilter.ConfigTypeOneofCase.None && !m.IsOptional, m.Name, path)
            ),
            On<TransportSocket>((m, path) => CheckConfigured(m.ConfigTypeCase == TransportSocket.ConfigTypeOneofCase.None, m.Name, path)),
            On<AccessLog>((m, path) => CheckConfigured(m.ConfigTypeCase == AccessLog.ConfigTypeOneofCase.None, m.Name, path)),
            On<ExtensionConfigSource>(
                (m, path) =>
                {
                    if (m.ApplyDefaultConfigWithoutWarming && m.DefaultConfig is null)
                    {
                        path.Error(
                            "/defaultConfig",
                            "no-default-config",
                            "applyDefaultConfigWithoutWarming needs a defaultConfig to apply. Give one."
                        );
                    }
                }
            ),
            On<FilterChain>(CheckNetworkFilters),
            On<RouteConfiguration>((m, path) => CheckPerRoute(m.TypedPerFilterConfig, path)),
            On<VirtualHost>((m, path) => CheckPerRoute(m.TypedPerFilterConfig, path)),
            On<Route>((m, path) => CheckPerRoute(m.TypedPerFilterConfig, path)),
            On<WeightedCluster.Types.ClusterWeight>((m, path) => CheckPerRoute(m.TypedPerFilterConfig, path)),
            On<FilterConfig>((m, path) => CheckPerRoute(path.LastKey, m.Config, "/config", path)),
            On<LocalRateLimit>(
                (m, path) =>
                {
                    var isPerRoute = path.Enclosing<RouteConfiguration>() is not null || path.Enclosing<VirtualHost>() is not null;
                    if (isPerRoute && path.Enclosing<HttpFilter>() is null && m.TokenBucket is null)
                    {
                        path.Error(
                            "/tokenBucket",
                            "token-bucket-missing",
                            "What the local rate limit gets of a route has a token bucket of its own. Give tokenBucket: {maxTokens: 100, tokensPerFill: 100, fillInterval: 1s}."
                        );
                    }
                }
            ),
            On<HttpConnectionManager>(CheckHttpFilters),
            On<HttpProtocolOptions>(CheckUpstreamFilters),
        ];

    private static void CheckConfigured(bool isMissing, string name, MessagePath path)
    {
        if (isMissing)
        {
            path.Error(
                "/typedConfig",
                "config-missing",
                $"'{name}' has no typedConfig. Envoy finds an extension by the type of its configuration, so that even an empty one is given: {{\"@type\": …}}."
            );
        }
    }

    private static void CheckNetworkFilters(FilterChain chain, MessagePath path)
    {
        if (chain.Filters.Count == 0)
        {
            path.Warning("/filters", "empty-filter-chain", "The filter chain has no filters: its connections are closed at once.");
        }

        for (var i = 0; i < chain.Filters.Count; i++)
        {
            var type = NameOf(chain.Filters[i].TypedConfig);
            var isLast = i == chain.Filters.Count - 1;
            if (!isLast && TerminalNetworkFilters.Contains(type))
            {
                path.Error(
                    $"/filters/{i}",
                    "filter-order",
                    $"'{chain.Filters[i].Name}' handles the connection to its end and must be the last filter. Move it there."
                );
            }
            else if (isLast && PassingNetworkFilters.Contains(type))
            {
                path.Error(
                    $"/filters/{i}",
                    "filter-order",
                    $"'{chain.Filters[i].Name}' cannot be the last filter, since nothing would handle the connection. Add an HTTP connection manager or a TCP proxy after it."
                );
            }
        }
    }

    private static void CheckHttpFilters(HttpConnectionManager manager, MessagePath path)
    {
        var filters = manager.HttpFilters;
        if (filters.Count == 0)
        {
            path.Warning(
                "/httpFilters",
                "no-http-filters",
                "There are no HTTP filters: every request hangs. Add the router (envoy.filters.http.router) as the last one."
            );
        }

        var hasRouter = filters.Any(f => Is(f.TypedConfig, Router.Descriptor));
        for (var i = 0; i < filters.Count; i++)
        {
            var isLast = i == filters.Count - 1;
            var isRouter = Is(filters[i].TypedConfig, Router.Descriptor);
            if (isRouter && !isLast)
            {
                path.Error(
                    $"/httpFilters/{i}",
                    "router-not-last",
                    "The router ends the chain of HTTP filters and must be the last one. Move it there."
                );
            }
            else if (isRouter && filters[i].Disabled)
            {
                path.Error($"/httpFilters/{i}/disabled", "router-disabled", "The last filter cannot be disabled.");
            }
            else if (isLast && !hasRouter && EnvoyTypes.FindByName(NameOf(filters[i].TypedConfig)) is not null)
            {
                path.Error(
                    $"/httpFilters/{i}",
                    "router-not-last",
                    $"'{filters[i].Name}' cannot be the last HTTP filter. Add the router (envoy.filters.http.router) after it."
                );
            }
        }
    }

    private static void CheckPerRoute(MapField<string, Any> configs, MessagePath path)
    {
        foreach (var (name, config) in configs)
        {
            CheckPerRoute(name, config, "/typedPerFilterConfig/" + JsonPointer.Escape(name), path);
        }
    }

    /// <summary>The API has the message for routes beside that of the filter, and Envoy takes no other.</summary>
    private static void CheckPerRoute(string name, Any? config, string tail, MessagePath path)
    {
        if (
            EnvoyTypes.FindByName(NameOf(config)) is { } given
            && given.File.Package.StartsWith("envoy.extensions.filters.http.", StringComparison.Ordinal)
            && given.File.MessageTypes.FirstOrDefault(IsPerRoute) is { } needed
            && given != needed
        )
        {
            path.Error(
                tail,
                "per-route-config",
                $"'{name}' gets a {given.Name} here, which configures the filter itself. For routes it takes {EnvoyTypes.UrlPrefix}{needed.FullName}."
            );
        }
    }

    private static bool IsPerRoute(MessageDescriptor type) =>
        type.Name.EndsWith("PerRoute", StringComparison.Ordinal) || type.Name == "PerRouteConfig";

    private static void CheckUpstreamFilters(HttpProtocolOptions options, MessagePath path)
    {
        if (
            options.HttpFilters is [.., var last]
            && EnvoyTypes.FindByName(NameOf(last.TypedConfig)) is { } type
            && type != UpstreamCodec.Descriptor
        )
        {
            path.Error(
                $"/httpFilters/{options.HttpFilters.Count - 1}",
                "upstream-codec-not-last",
                $"'{last.Name}' cannot be the last upstream HTTP filter. Add envoy.filters.http.upstream_codec ({UpstreamCodec.Descriptor.FullName}) after it."
            );
        }
    }

    private static bool Is(Any? config, MessageDescriptor type) => config is not null && config.Is(type);

    private static string NameOf(Any? config) => config is null ? "" : config.TypeUrl[(config.TypeUrl.LastIndexOf('/') + 1)..];
}
