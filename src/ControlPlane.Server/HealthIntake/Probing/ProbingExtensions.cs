using ControlPlane.Core.Compilation.Probes;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>Registers what this folder has.</summary>
internal static class ProbingExtensions
{
    /// <summary>Adds our own probers. Needs publishing and the keeper of health.</summary>
    public static IServiceCollection AddProbing(this IServiceCollection services, ServerOptions options)
    {
        services.AddSingleton(new ProbeTargetPolicy(options.EffectiveProbeLoopback));
        services.AddSingleton<ProbeMetrics>();
        services.AddHostedService<ProbingService>();
        return services;
    }
}
