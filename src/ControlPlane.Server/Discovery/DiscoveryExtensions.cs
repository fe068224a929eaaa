using Grpc.AspNetCore.Server.Model;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace ControlPlane.Server.Discovery;

/// <summary>The xDS side of the server.</summary>
public static class DiscoveryExtensions
{
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

    /// <summary>Maps the discovery services.</summary>
    public static IEndpointRouteBuilder MapDiscovery(this IEndpointRouteBuilder endpoints)
    {
        endpoints.MapGrpcService<DiscoveryService>();
        return endpoints;
    }

    /// <summary>Sets what HTTP/2 needs for xDS: many streams, and pings that find a dead peer within a minute.</summary>
    public static void ConfigureForDiscovery(this KestrelServerLimits limits)
    {
        limits.Http2.MaxStreamsPerConnection = 100_000;
        limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(20);
        limits.Http2.KeepAlivePingTimeout = TimeSpan.FromSeconds(20);
        limits.MinRequestBodyDataRate = null;
        limits.MinResponseDataRate = null;
    }
}
