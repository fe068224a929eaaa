using ControlPlane.Core.Health;
using ControlPlane.Server.Admin;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Health;

/// <summary>Registers what this folder has.</summary>
internal static class HealthExtensions
{
    /// <summary>Adds the verdicts in force and the keeper that makes them.</summary>
    public static IServiceCollection AddHealth(this IServiceCollection services, ServerOptions options)
    {
        services.AddSingleton(FleetHealthPolicy.Default);
        services.AddSingleton<CurrentVerdicts>();
        services.AddSingleton<HealthRecall>(provider =>
            cancellationToken => provider.GetRequiredService<HealthArchive>().RecallAsync(cancellationToken)
        );
        services.AddSingleton<HealthLeadership>();
        services.AddSingleton<HealthKeeper>();
        services.AddSingleton<HealthArchive>();
        services.AddSingleton<HealthHistory>();
        services.AddSingleton<HealthQuestions>();
        services.AddSingleton<PeerTls>();
        services.AddSingleton<HealthPeers>();
        services.AddSingleton<HealthPeerServer>();
        services.AddSingleton(new TransitionRetention { Age = TimeSpan.FromDays(options.HealthHistoryDays) });
        services.AddHostedService(provider => provider.GetRequiredService<HealthKeeper>());
        // Before whoever loads the first state, so that nothing that is decided then is missed; and stopped before the keeper, which is asked for the last time then.
        services.AddHostedService(provider => provider.GetRequiredService<HealthHistory>());
        services.AddHostedService(provider => provider.GetRequiredService<HealthArchive>());
        services.AddHostedService(provider => provider.GetRequiredService<HealthPeers>());
        services.AddHostedService(provider => provider.GetRequiredService<HealthLeadership>());
        services.AddSingleton(provider =>
        {
            var leadership = provider.GetRequiredService<HealthLeadership>();
            var peers = provider.GetRequiredService<HealthPeers>();
            return new ReadinessCheck(
                "health",
                () =>
                    leadership.Role is { Leads: false } role && !peers.IsFollowing
                        ? (
                            ReadinessState.Degraded,
                            $"the server that decides about health ({(role.Address.Length > 0 ? role.Address : "not known yet")}) is not heard: its verdicts come by the database, and evidence that comes here is lost"
                        )
                        : (ReadinessState.Ok, "")
            );
        });
        return services;
    }

    /// <summary>Maps what servers on the same database say to each other.</summary>
    public static IEndpointRouteBuilder MapHealthPeers(this IEndpointRouteBuilder endpoints)
    {
        endpoints.MapGrpcService<HealthPeerServer>().OnPeerListener();
        return endpoints;
    }
}
