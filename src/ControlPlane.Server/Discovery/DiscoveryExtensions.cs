using Envoy.Service.Cluster.V3;
using Envoy.Service.Discovery.V3;
using Envoy.Service.Endpoint.V3;
using Envoy.Service.Extension.V3;
using Envoy.Service.Listener.V3;
using Envoy.Service.LoadStats.V3;
using Envoy.Service.Route.V3;
using Envoy.Service.Runtime.V3;
using Envoy.Service.Secret.V3;
using Envoy.Service.Status.V3;
using Grpc.AspNetCore.Server.Model;
using Grpc.Health.V1;
using Grpc.HealthCheck;
using Grpc.Reflection;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace ControlPlane.Server.Discovery;

/// <summary>The xDS side of the server.</summary>
public static class DiscoveryExtensions
{
    // Said here and not found out: the discovery services are no generated ones, and those for other servers are behind another door.
    private static readonly Google.Protobuf.Reflection.ServiceDescriptor[] Reflected =
    [
        AggregatedDiscoveryService.Descriptor,
        ClusterDiscoveryService.Descriptor,
        EndpointDiscoveryService.Descriptor,
        ListenerDiscoveryService.Descriptor,
        RouteDiscoveryService.Descriptor,
        ScopedRoutesDiscoveryService.Descriptor,
        VirtualHostDiscoveryService.Descriptor,
        SecretDiscoveryService.Descriptor,
        RuntimeDiscoveryService.Descriptor,
        ExtensionConfigDiscoveryService.Descriptor,
        ClientStatusDiscoveryService.Descriptor,
        LoadReportingService.Descriptor,
        Grpc.Health.V1.Health.Descriptor,
    ];

    /// <summary>
    /// Adds the discovery services. An <see cref="IViewSource"/> must be registered besides; a <see cref="NodeAuthorizer"/> may be, else every node is let in.
    /// </summary>
    public static IServiceCollection AddDiscovery(this IServiceCollection services, Action<DiscoveryOptions>? configure = null)
    {
        var options = services.AddOptions<DiscoveryOptions>();
        if (configure is not null)
        {
            options.Configure(configure);
        }

        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton<CurrentSnapshots>();
        services.AddSingleton<ConnectedNodes>();
        services.AddSingleton<DiscoveryMetrics>();
        services.AddSingleton<DiscoveryServer>();
        services.AddSingleton<DiscoveryService>();
        services.AddHostedService(provider => provider.GetRequiredService<DiscoveryServer>());
        services.AddSingleton<ClientStatusService>();
        services.AddSingleton<HealthServiceImpl>();
        services.AddSingleton(new ReflectionServiceImpl(Reflected));
        services.AddSingleton(new ReflectionV1ServiceImpl(Reflected));
        services.AddGrpc();
        services
            .AddOptions<Grpc.AspNetCore.Server.GrpcServiceOptions>()
            .Configure<Microsoft.Extensions.Options.IOptions<DiscoveryOptions>>(
                (grpc, discovery) =>
                {
                    grpc.MaxReceiveMessageSize = discovery.Value.MaxRequestBytes;
                    grpc.MaxSendMessageSize = null;
                    grpc.EnableDetailedErrors = false;
                }
            );
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IServiceMethodProvider<DiscoveryService>, DiscoveryService.Methods>());
        return services;
    }

    /// <summary>Compiles the path of a push while the server starts, instead of when the first proxies connect. Costs about a second of CPU.</summary>
    public static IServiceCollection AddDiscoveryWarmUp(this IServiceCollection services) => services.AddHostedService<DiscoveryWarmUp>();

    /// <summary>Maps the discovery services, polling, client status, gRPC health and reflection.</summary>
    public static IEndpointRouteBuilder MapDiscovery(this IEndpointRouteBuilder endpoints)
    {
        endpoints.MapGrpcService<DiscoveryService>();
        endpoints.MapGrpcService<ClientStatusService>();
        endpoints.MapGrpcService<HealthServiceImpl>();
        endpoints.MapGrpcService<ReflectionServiceImpl>();
        endpoints.MapGrpcService<ReflectionV1ServiceImpl>();
        PollingDiscovery.Map(endpoints);
        return endpoints;
    }

    /// <summary>Sets what HTTP/2 needs for xDS: many streams, and pings that find a dead peer within a minute.</summary>
    public static void ConfigureForDiscovery(this KestrelServerLimits limits)
    {
        limits.Http2.MaxStreamsPerConnection = 100_000;
        limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(45);
        limits.Http2.KeepAlivePingTimeout = TimeSpan.FromSeconds(10);
        limits.MinRequestBodyDataRate = null;
        limits.MinResponseDataRate = null;
    }
}
