namespace ControlPlane.Server.HealthIntake.DnsResolution;

/// <summary>Registers what this folder has.</summary>
internal static class DnsResolutionExtensions
{
    /// <summary>Adds the resolver of upstreams' names, which publishing tells what to follow.</summary>
    public static IServiceCollection AddNameResolution(this IServiceCollection services)
    {
        services.AddSingleton<DnsMetrics>();
        services.AddSingleton<NameResolver>();
        services.AddHostedService(provider => provider.GetRequiredService<NameResolver>());
        return services;
    }
}
