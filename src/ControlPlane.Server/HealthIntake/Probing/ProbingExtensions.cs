namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>Registers what this folder has.</summary>
internal static class ProbingExtensions
{
    /// <summary>Adds this server's prober. Needs health, and goes before publishing, which loads the first state.</summary>
    public static IServiceCollection AddProbing(this IServiceCollection services)
    {
        services.AddSingleton<ProbeMetrics>();
        services.AddSingleton<Prober>();
        services.AddHostedService(provider => provider.GetRequiredService<Prober>());
        return services;
    }
}
