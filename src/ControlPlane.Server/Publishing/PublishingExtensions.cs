using ControlPlane.Server.Admin;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Publishing;

/// <summary>Registers what this folder has.</summary>
internal static class PublishingExtensions
{
    /// <summary>Adds the current state, the door for changes, and the publisher that keeps proxies in step. Needs storage and discovery.</summary>
    public static IServiceCollection AddPublishing(this IServiceCollection services, ServerOptions options)
    {
        services.AddSingleton<CurrentState>();
        services.AddSingleton(provider => new SecretFiles(
            options.SecretDir,
            options.SecretEnvPrefix,
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<ILogger<SecretFiles>>()
        ));
        services.AddHostedService(provider => provider.GetRequiredService<SecretFiles>());
        services.AddSingleton<SnapshotViews>();
        services.AddSingleton<IViewSource>(provider => provider.GetRequiredService<SnapshotViews>());
        services.AddSingleton<SnapshotPublisher>();
        services.AddHostedService(provider => provider.GetRequiredService<SnapshotPublisher>());
        services.AddSingleton<ChangeAdmission>();
        services.AddSingleton<NodeAuthorizer>(
            (node, certificate) => certificate is null ? null : PeerIdentity.Of(certificate).Refuse(node)
        );
        services.AddSingleton(provider =>
        {
            var current = provider.GetRequiredService<CurrentState>();
            return new ReadinessCheck(
                "state",
                () =>
                    current.Loaded.IsCompletedSuccessfully
                        ? (ReadinessState.Ok, "")
                        : (ReadinessState.Failed, "the first complete state is not loaded yet")
            );
        });
        services.AddSingleton(provider =>
        {
            var store = provider.GetRequiredService<IDesiredStateStore>();
            var current = provider.GetRequiredService<CurrentState>();
            var publisher = provider.GetRequiredService<SnapshotPublisher>();
            return new ReadinessCheck(
                "store",
                () =>
                    !store.IsReachable
                        ? (
                            ReadinessState.Degraded,
                            current.Loaded.IsCompletedSuccessfully
                                ? "the database does not answer, or takes no writes: proxies are served from memory, writes are refused"
                                : "the database does not answer, and nothing is served yet"
                        )
                    : publisher.StoreFault is { } fault ? (ReadinessState.Degraded, fault)
                    : (ReadinessState.Ok, "")
            );
        });
        return services;
    }
}
