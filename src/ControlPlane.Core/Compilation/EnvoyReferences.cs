using System.Collections.Frozen;
using System.Globalization;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Secrets;
using Envoy.Config.Core.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using Envoy.Extensions.Filters.Network.TcpProxy.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Google.Protobuf;
using Google.Protobuf.Collections;
using Google.Protobuf.Reflection;
using AggregateConfig = Envoy.Extensions.Clusters.Aggregate.V3.ClusterConfig;
using CdsCluster = Envoy.Config.Cluster.V3.Cluster;
using ClusterFilter = Envoy.Config.Cluster.V3.Filter;
using DubboRouteAction = Envoy.Extensions.Filters.Network.DubboProxy.V3.RouteAction;
using ListenerFilter = Envoy.Config.Listener.V3.ListenerFilter;
using NetworkFilter = Envoy.Config.Listener.V3.Filter;
using RedisRoutes = Envoy.Extensions.Filters.Network.RedisProxy.V3.RedisProxy.Types.PrefixRoutes.Types;
using RouteMirrorPolicy = Envoy.Config.Route.V3.RouteAction.Types.RequestMirrorPolicy;
using ThriftMirrorPolicy = Envoy.Extensions.Filters.Network.ThriftProxy.V3.RouteAction.Types.RequestMirrorPolicy;
using ThriftRouteAction = Envoy.Extensions.Filters.Network.ThriftProxy.V3.RouteAction;
using ThriftWeight = Envoy.Extensions.Filters.Network.ThriftProxy.V3.WeightedCluster.Types.ClusterWeight;
using UdpProxyConfig = Envoy.Extensions.Filters.Udp.UdpProxy.V3.UdpProxyConfig;
using UdpRoute = Envoy.Extensions.Filters.Udp.UdpProxy.V3.Route;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Finds the names of other xDS resources inside a message, also in packed configurations: what must exist, what is sent before, and what may not be deleted.
/// One table holds the messages and fields that name something.
/// </summary>
internal sealed class EnvoyReferences : IMessageVisitor
{
    private static readonly FrozenDictionary<Type, Action<IMessage, Sink>> Table = Rows().ToFrozenDictionary(r => r.Type, r => r.Find);

    private readonly List<MessageReference> _found = [];

    /// <summary>All mentions, with pointers from the root of the walk.</summary>
    public IReadOnlyList<MessageReference> Found => _found;

    /// <inheritdoc/>
    public void Visit(IMessage message, MessagePath path)
    {
        if (Table.TryGetValue(message.GetType(), out var find))
        {
            find(message, new Sink(_found, path));
        }
    }

    private readonly record struct Sink(List<MessageReference> Found, MessagePath Path)
    {
        public void Cluster(string name, string field, ClusterUse use = ClusterUse.Traffic) =>
            Add(ResourceType.Cluster, name, field, use: use);

        public void Clusters(RepeatedField<string> names, string field, ClusterUse use = ClusterUse.Traffic)
        {
            for (var i = 0; i < names.Count; i++)
            {
                Cluster(names[i], string.Create(CultureInfo.InvariantCulture, $"{field}/{i}"), use);
            }
        }

        public void Add(ResourceType type, string name, string field, SecretContent? content = null, ClusterUse use = ClusterUse.Traffic)
        {
            if (name.Length > 0)
            {
                Found.Add(new MessageReference(type, name, $"{Path.Pointer}/{field}") { Content = content, ClusterUse = use });
            }
        }
    }

    private static IEnumerable<(Type Type, Action<IMessage, Sink> Find)> Rows() =>
        [
            // Clusters: HTTP routes.
            Row<RouteAction>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<WeightedCluster.Types.ClusterWeight>((m, to) => to.Cluster(m.Name, "name")),
            Row<RouteMirrorPolicy>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<Envoy.Extensions.Router.ClusterSpecifiers.Lua.V3.LuaConfig>((m, to) => to.Cluster(m.DefaultCluster, "defaultCluster")),
            Row<Envoy.Extensions.Filters.Http.Fault.V3.HTTPFault>((m, to) => to.Cluster(m.UpstreamCluster, "upstreamCluster")),
            // Clusters: calls that Envoy makes itself.
            Row<GrpcService.Types.EnvoyGrpc>(
                (m, to) =>
                    to.Cluster(
                        m.ClusterName,
                        "clusterName",
                        to.Path.Enclosing<ApiConfigSource>() is null ? ClusterUse.Grpc : ClusterUse.ConfigSource
                    )
            ),
            Row<HttpUri>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<ApiConfigSource>((m, to) => to.Clusters(m.ClusterNames, "clusterNames", ClusterUse.ConfigSource)),
            Row<Envoy.Config.Trace.V3.ZipkinConfig>((m, to) => to.Cluster(m.CollectorCluster, "collectorCluster")),
            Row<Envoy.Config.Trace.V3.DatadogConfig>((m, to) => to.Cluster(m.CollectorCluster, "collectorCluster")),
            Row<Envoy.Config.Trace.V3.LightstepConfig>((m, to) => to.Cluster(m.CollectorCluster, "collectorCluster")),
            Row<Envoy.Extensions.AccessLoggers.Fluentd.V3.FluentdAccessLogConfig>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<Envoy.Extensions.Filters.Http.GcpAuthn.V3.GcpAuthnFilterConfig>((m, to) => to.Cluster(m.Cluster, "cluster")),
            // Clusters: other protocols.
            Row<TcpProxy>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<TcpProxy.Types.WeightedCluster.Types.ClusterWeight>((m, to) => to.Cluster(m.Name, "name")),
#pragma warning disable CS0612 // Deprecated by Envoy, and still taken by it.
            Row<UdpProxyConfig>((m, to) => to.Cluster(m.Cluster, "cluster")),
#pragma warning restore CS0612
            Row<UdpRoute>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<ThriftRouteAction>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<ThriftWeight>((m, to) => to.Cluster(m.Name, "name")),
            Row<ThriftMirrorPolicy>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<DubboRouteAction>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<RedisRoutes.Route>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<RedisRoutes.Route.Types.ReadCommandPolicy>((m, to) => to.Cluster(m.Cluster, "cluster")),
            Row<RedisRoutes.Route.Types.RequestMirrorPolicy>((m, to) => to.Cluster(m.Cluster, "cluster")),
            // Clusters of clusters.
            Row<AggregateConfig>((m, to) => to.Clusters(m.Clusters, "clusters")),
            // Everything else that comes over ADS.
            Row<CdsCluster>(
                (m, to) =>
                {
                    if (
                        m
                            is {
                                ClusterDiscoveryTypeCase: CdsCluster.ClusterDiscoveryTypeOneofCase.Type,
                                Type: CdsCluster.Types.DiscoveryType.Eds
                            }
                        && IsOurs(m.EdsClusterConfig?.EdsConfig)
                    )
                    {
                        to.Add(
                            ResourceType.Endpoints,
                            m.EdsClusterConfig!.ServiceName is { Length: > 0 } service ? service : m.Name,
                            "edsClusterConfig"
                        );
                    }
                }
            ),
            Row<Rds>(
                (m, to) =>
                {
                    if (IsOurs(m.ConfigSource))
                    {
                        to.Add(ResourceType.Route, m.RouteConfigName, "routeConfigName");
                    }
                }
            ),
            Row<ScopedRouteConfiguration>((m, to) => to.Add(ResourceType.Route, m.RouteConfigurationName, "routeConfigurationName")),
            Row<SdsSecretConfig>(
                (m, to) =>
                {
                    if (IsOurs(m.SdsConfig))
                    {
                        to.Add(ResourceType.Secret, m.Name, "name", ContentIn(to.Path.Field));
                    }
                }
            ),
            Row<HttpFilter>((m, to) => Discovered(m.ConfigDiscovery, m.Name, to)),
            Row<NetworkFilter>((m, to) => Discovered(m.ConfigDiscovery, m.Name, to)),
            Row<ListenerFilter>((m, to) => Discovered(m.ConfigDiscovery, m.Name, to)),
            Row<ClusterFilter>((m, to) => Discovered(m.ConfigDiscovery, m.Name, to)),
        ];

    private static void Discovered(ExtensionConfigSource? source, string name, Sink to)
    {
        if (IsOurs(source?.ConfigSource))
        {
            to.Add(ResourceType.ExtensionConfig, name, "configDiscovery");
        }
    }

    /// <summary>What a secret must hold by the field that names it. All but those of TLS itself are passwords and tokens of filters.</summary>
    private static SecretContent ContentIn(FieldDescriptor? field) =>
        field?.Name switch
        {
            "tls_certificate_sds_secret_configs" => SecretContent.Certificate,
            "validation_context_sds_secret_config" => SecretContent.ValidationContext,
            "session_ticket_keys_sds_secret_config" => SecretContent.SessionTicketKeys,
            _ => SecretContent.Generic,
        };

    /// <summary>Whether the resource comes from this server: over the aggregated stream, or from where its parent came.</summary>
    private static bool IsOurs(ConfigSource? source) =>
        source?.ConfigSourceSpecifierCase
            is ConfigSource.ConfigSourceSpecifierOneofCase.Ads
                or ConfigSource.ConfigSourceSpecifierOneofCase.Self;

    private static (Type, Action<IMessage, Sink>) Row<T>(Action<T, Sink> find)
        where T : IMessage => (typeof(T), (message, sink) => find((T)message, sink));
}
