using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using Grpc.AspNetCore.Server.Model;
using Grpc.Core;
using Microsoft.Extensions.Options;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// The streaming methods of all discovery services (T-01). They are bound by hand and not through the generated base classes, because a generated message would
/// be made anew for each stream; the names are those of the generated services.
/// </summary>
internal sealed class DiscoveryService(DiscoveryServer server)
{
    /// <summary>The services of one type: full name, and its methods by protocol; null where the API has none.</summary>
    private static readonly (string Service, ResourceType Type, string? Sotw, string Delta)[] SingleServices =
    [
        ("envoy.service.cluster.v3.ClusterDiscoveryService", ResourceType.Cluster, "StreamClusters", "DeltaClusters"),
        ("envoy.service.endpoint.v3.EndpointDiscoveryService", ResourceType.Endpoints, "StreamEndpoints", "DeltaEndpoints"),
        ("envoy.service.listener.v3.ListenerDiscoveryService", ResourceType.Listener, "StreamListeners", "DeltaListeners"),
        ("envoy.service.route.v3.RouteDiscoveryService", ResourceType.Route, "StreamRoutes", "DeltaRoutes"),
        ("envoy.service.route.v3.ScopedRoutesDiscoveryService", ResourceType.ScopedRoute, "StreamScopedRoutes", "DeltaScopedRoutes"),
        ("envoy.service.route.v3.VirtualHostDiscoveryService", ResourceType.VirtualHost, null, "DeltaVirtualHosts"),
        ("envoy.service.secret.v3.SecretDiscoveryService", ResourceType.Secret, "StreamSecrets", "DeltaSecrets"),
        ("envoy.service.runtime.v3.RuntimeDiscoveryService", ResourceType.Runtime, "StreamRuntime", "DeltaRuntime"),
        (
            "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
            ResourceType.ExtensionConfig,
            "StreamExtensionConfigs",
            "DeltaExtensionConfigs"
        ),
    ];

    private Task ServeAsync(
        XdsProtocol protocol,
        ResourceType? onlyType,
        IAsyncStreamReader<ClientRequest> requests,
        IServerStreamWriter<ServerResponse> responses,
        ServerCallContext context
    ) => server.ServeAsync(protocol, onlyType, requests, responses, context);

    /// <summary>Binds the methods.</summary>
    internal sealed class Methods(IOptions<DiscoveryOptions> options) : IServiceMethodProvider<DiscoveryService>
    {
        public void OnServiceMethodDiscovery(ServiceMethodProviderContext<DiscoveryService> context)
        {
            var responses = DiscoveryMessages.Responses(options.Value.Identifier);

            void Add(string service, string method, XdsProtocol protocol, ResourceType? type) =>
                context.AddDuplexStreamingMethod(
                    new Method<ClientRequest, ServerResponse>(
                        MethodType.DuplexStreaming,
                        service,
                        method,
                        protocol == XdsProtocol.Delta ? DiscoveryMessages.DeltaRequests : DiscoveryMessages.SotwRequests,
                        responses
                    ),
                    [],
                    (instance, reader, writer, call) => instance.ServeAsync(protocol, type, reader, writer, call)
                );

            const string Ads = "envoy.service.discovery.v3.AggregatedDiscoveryService";
            Add(Ads, "StreamAggregatedResources", XdsProtocol.Sotw, type: null);
            Add(Ads, "DeltaAggregatedResources", XdsProtocol.Delta, type: null);
            foreach (var (service, type, sotw, delta) in SingleServices)
            {
                if (sotw is not null)
                {
                    Add(service, sotw, XdsProtocol.Sotw, type);
                }

                Add(service, delta, XdsProtocol.Delta, type);
            }
        }
    }
}
