namespace ControlPlane.Server.Health;

/// <summary>Registers what this folder has.</summary>
internal static class HealthExtensions
{
    /// <summary>Adds the verdicts in force and the keeper that makes them.</summary>
    public static IServiceCollection AddHealth(this IServiceCollection services)
    {
        services.AddSingleton<CurrentVerdicts>();
        services.AddSingleton<HealthKeeper>();
        services.AddHostedService(provider => provider.GetRequiredService<HealthKeeper>());
        return services;
    }
}
