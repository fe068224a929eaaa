using System.Collections.Immutable;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;
using Envoy.Config.Core.V3;
using Envoy.Config.Listener.V3;
using Envoy.Extensions.Filters.Listener.ProxyProtocol.V3;
using Envoy.Extensions.Filters.Listener.TlsInspector.V3;
using Envoy.Extensions.Filters.Network.ConnectionLimit.V3;
using Envoy.Extensions.Filters.Network.TcpProxy.V3;
using Envoy.Type.V3;
using Google.Protobuf.WellKnownTypes;
using EnvoyListener = Envoy.Config.Listener.V3.Listener;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Turns a listener into Envoy's Listener of the same name. The message depends on the spec alone, and on a route table only where the spec wants it inline:
/// every change of it makes proxies drain the listener's connections.
/// </summary>
public static class ListenerCompiler
{
    /// <summary>Compiles a valid spec; equal inputs give equal messages.</summary>
    /// <param name="name">The object's name, also the statistics' prefix.</param>
    /// <param name="spec">What is wanted.</param>
    /// <param name="routeTables">Finds a route table by its name; called for those that are inline.</param>
    /// <param name="problems">Gets what is wrong with the raw parts, or that an inline route table does not exist; the message is then without them.</param>
    /// <param name="origins">Gets where parts of the message come from.</param>
    public static EnvoyListener Compile(
        string name,
        ListenerSpec spec,
        Func<string, RouteTableSpec?> routeTables,
        ProblemCollector problems,
        MessageOrigins? origins = null
    )
    {
        origins ??= new MessageOrigins();
        var http = new HttpConnectionManagerCompiler(name, spec.AccessLogs, routeTables, problems);
        if (spec.ApiListener is { } api)
        {
            return new EnvoyListener
            {
                Name = name,
                ApiListener = new ApiListener { ApiListener_ = http.ForGrpcClient(api) },
            };
        }
        if (spec.GrpcServer is { } server)
        {
            var chain = new FilterChain();
            chain.Filters.Add(new Filter { Name = HttpConnectionManagerCompiler.FilterName, TypedConfig = http.ForGrpcServer(server) });
            return new EnvoyListener
            {
                Name = name,
                Address = Address(spec),
                FilterChains = { chain },
            };
        }

        var listener = new EnvoyListener
        {
            Name = name,
            StatPrefix = StatPrefix(name),
            Address = Address(spec),
            PerConnectionBufferLimitBytes = spec.BufferLimitBytes,
        };
        foreach (var (at, chain) in spec.FilterChains.Index())
        {
            var (filters, parts) = Filters(name, spec, chain.Http, chain.Tcp, $"/spec/filterChains/{at}/http", http);
            listener.FilterChains.Add(
                FilterChain(name, chain.ServerNames, Socket(chain.Tls, chain.Tls?.Certificates ?? [], chain.Http), filters)
            );
            origins.Add($"/filterChains/{at}", parts);
            origins.Add($"/filterChains/{at}/transportSocket", $"/spec/filterChains/{at}/tls");
        }
        if (spec.Http is not null || spec.Tcp is not null)
        {
            var (filters, parts) = Filters(name, spec, spec.Http, spec.Tcp, "/spec/http", http);
            listener.FilterChains.AddRange(DefaultFilterChains(name, spec, filters));
            for (var at = spec.FilterChains.Length; at < listener.FilterChains.Count; at++)
            {
                origins.Add($"/filterChains/{at}", parts);
                origins.Add($"/filterChains/{at}/transportSocket", "/spec/tls");
            }
        }
        AddListenerFilters(spec, listener);
        return listener;
    }

    /// <summary>
    /// The name in statistics. Envoy cuts it at the first dot: <c>http.a.b.downstream_rq_total</c> would become another metric, of a listener <c>a</c>.
    /// </summary>
    internal static string StatPrefix(string name) => name.Replace('.', '_');

    private static Address Address(ListenerSpec spec) => EnvoyAddress.Of(spec.Address ?? "", (int)(spec.Port ?? 0));

    /// <summary>The chains for connections that no other chain is for: one for each set of server names among the certificates.</summary>
    private static IEnumerable<FilterChain> DefaultFilterChains(string name, ListenerSpec spec, ImmutableArray<Filter> filters)
    {
        if (spec.Tls is { } tls)
        {
            return tls
                .Certificates.GroupBy(c => string.Join(',', Lower(c.ServerNames).Order(StringComparer.Ordinal)))
                .Select(group => FilterChain(name, group.First().ServerNames, Socket(tls, [.. group], spec.Http), filters));
        }
        var chain = FilterChain(name, [], socket: null, filters);
        if (spec.Http is not null && !spec.FilterChains.IsEmpty)
        {
            // TLS for a name that no chain has must not reach the HTTP parser.
            chain.FilterChainMatch = new FilterChainMatch { TransportProtocol = "raw_buffer" };
        }
        return [chain];
    }

    private static FilterChain FilterChain(
        string listener,
        ImmutableArray<string> serverNames,
        TransportSocket? socket,
        ImmutableArray<Filter> filters
    )
    {
        var names = Lower(serverNames);
        var chain = new FilterChain { Name = $"{listener}/{names.FirstOrDefault("default")}", TransportSocket = socket };
        if (!names.IsEmpty)
        {
            chain.FilterChainMatch = new FilterChainMatch();
            chain.FilterChainMatch.ServerNames.AddRange(names);
        }
        chain.Filters.AddRange(filters.Select(f => f.Clone()));
        return chain;
    }

    /// <summary>Clients send server names in any case; Envoy compares them in lower case.</summary>
    private static ImmutableArray<string> Lower(ImmutableArray<string> names) => [.. names.Select(n => n.ToLowerInvariant())];

    /// <summary>The filters of a chain, and where the parts of them come from, with pointers from the chain.</summary>
    private static (ImmutableArray<Filter> Filters, MessageOrigins Origins) Filters(
        string name,
        ListenerSpec spec,
        HttpSpec? http,
        TcpSpec? tcp,
        string httpPointer,
        HttpConnectionManagerCompiler compiler
    )
    {
        var filters = ImmutableArray.CreateBuilder<Filter>(2);
        if (spec.MaxConnections is { } max)
        {
            filters.Add(
                new Filter
                {
                    Name = "envoy.filters.network.connection_limit",
                    TypedConfig = EnvoyTypes.Pack(new ConnectionLimit { StatPrefix = StatPrefix(name), MaxConnections = max }),
                }
            );
        }
        var origins = new MessageOrigins();
        var terminal = $"/filters/{filters.Count}/typedConfig";
        for (var at = 0; at < spec.AccessLogs.Length; at++)
        {
            origins.Add($"{terminal}/accessLog/{at}", $"/spec/accessLogs/{at}");
            origins.Add($"{terminal}/accessLog/{at}/typedConfig/commonConfig/grpcService", $"/spec/accessLogs/{at}/grpc/upstream");
        }
        if (http is not null)
        {
            var (manager, parts) = compiler.ForConnections(http, httpPointer);
            filters.Add(new Filter { Name = HttpConnectionManagerCompiler.FilterName, TypedConfig = manager });
            origins.Add(terminal, parts);
        }
        else
        {
            filters.Add(new Filter { Name = "envoy.filters.network.tcp_proxy", TypedConfig = EnvoyTypes.Pack(Tcp(name, spec, tcp!)) });
        }
        return (filters.DrainToImmutable(), origins);
    }

    private static TransportSocket? Socket(TlsTerminationSpec? tls, ImmutableArray<ServerCertificateSpec> certificates, HttpSpec? http) =>
        tls is null ? null : DownstreamTls.Socket(tls, certificates, http?.Codec);

    private static TcpProxy Tcp(string name, ListenerSpec spec, TcpSpec tcp)
    {
        var proxy = new TcpProxy
        {
            StatPrefix = StatPrefix(name),
            IdleTimeout = tcp.IdleTimeout?.ToDuration(),
            MaxDownstreamConnectionDuration = tcp.MaxConnectionDuration?.ToDuration(),
            MaxConnectAttempts = tcp.MaxConnectAttempts == 1 ? null : tcp.MaxConnectAttempts,
        };
        if (tcp.Upstream is { } upstream)
        {
            proxy.Cluster = upstream;
        }
        else
        {
            proxy.WeightedClusters = new TcpProxy.Types.WeightedCluster();
            proxy.WeightedClusters.Clusters.AddRange(
                tcp.Upstreams.Select(u => new TcpProxy.Types.WeightedCluster.Types.ClusterWeight { Name = u.Name, Weight = u.Weight })
            );
        }
        if (tcp.HashSourceIp)
        {
            proxy.HashPolicy.Add(new HashPolicy { SourceIp = new HashPolicy.Types.SourceIp() });
        }
        proxy.AccessLog.AddRange(spec.AccessLogs.Select(l => AccessLogs.ForConnections(name, l)));
        return proxy;
    }

    private static void AddListenerFilters(ListenerSpec spec, EnvoyListener listener)
    {
        if (spec.ProxyProtocol is { } proxyProtocol)
        {
            listener.ListenerFilters.Add(
                new ListenerFilter
                {
                    Name = "envoy.filters.listener.proxy_protocol",
                    TypedConfig = EnvoyTypes.Pack(new ProxyProtocol { AllowRequestsWithoutProxyProtocol = proxyProtocol.Optional }),
                }
            );
        }
        if (listener.FilterChains.Any(c => c.FilterChainMatch is not null))
        {
            listener.ListenerFilters.Add(
                new ListenerFilter { Name = "envoy.filters.listener.tls_inspector", TypedConfig = EnvoyTypes.Pack(new TlsInspector()) }
            );
        }
    }
}
