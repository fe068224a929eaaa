using Grpc.AspNetCore.Server;
using Grpc.AspNetCore.Server.Model;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace ControlPlane.Server.HealthIntake.LoadReporting;

/// <summary>Registers what this folder has.</summary>
public static class LoadReportingExtensions
{
    /// <summary>Adds the load reporting service. Needs discovery, publishing and the keeper of health.</summary>
    public static IServiceCollection AddLoadReporting(this IServiceCollection services, Action<LoadReportingOptions>? configure = null)
    {
        var options = services.AddOptions<LoadReportingOptions>();
        if (configure is not null)
        {
            options.Configure(configure);
        }

        services.AddSingleton<ReportedUpstreams>();
        services.AddSingleton<LoadReportingMetrics>();
        services.AddSingleton<LoadReportingService>();
        services
            .AddOptions<GrpcServiceOptions<LoadReportingService>>()
            .Configure<IOptions<LoadReportingOptions>>((grpc, reporting) => grpc.MaxReceiveMessageSize = reporting.Value.MaxReportBytes);
        services.TryAddEnumerable(
            ServiceDescriptor.Singleton<IServiceMethodProvider<LoadReportingService>, LoadReportingService.Methods>()
        );
        return services;
    }

    /// <summary>Maps the load reporting service.</summary>
    public static IEndpointRouteBuilder MapLoadReporting(this IEndpointRouteBuilder endpoints)
    {
        endpoints.MapGrpcService<LoadReportingService>();
        return endpoints;
    }
}
