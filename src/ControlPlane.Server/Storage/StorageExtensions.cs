using ControlPlane.Server.Telemetry;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace ControlPlane.Server.Storage;

/// <summary>Registers what this folder has.</summary>
internal static class StorageExtensions
{
    /// <summary>Adds the store, its last-good file and the pruning of its history.</summary>
    /// <param name="services">The server's services.</param>
    /// <param name="store">Which database, see <see cref="StoreFactory.Parse"/>.</param>
    /// <param name="lastGoodPath">Where the last-good file is.</param>
    /// <param name="retention">How long history is kept.</param>
    /// <exception cref="FormatException">The store is none that can be made.</exception>
    public static IServiceCollection AddStorage(
        this IServiceCollection services,
        string store,
        string lastGoodPath,
        HistoryRetention retention
    )
    {
        var create = StoreFactory.Parse(store);
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton<IDesiredStateStore>(provider => new MeasuredStore(
            create(provider.GetRequiredService<TimeProvider>(), provider.GetRequiredService<ILoggerFactory>()),
            provider.GetRequiredService<StoreMetrics>(),
            provider.GetRequiredService<TimeProvider>()
        ));
        services.AddSingleton(provider => (IHealthStore)provider.GetRequiredService<IDesiredStateStore>());
        if (StoreFactory.IsShared(store))
        {
            services.AddSingleton(provider => ((MeasuredStore)provider.GetRequiredService<IDesiredStateStore>()).Lease!);
        }

        services.AddSingleton(provider => new LastGoodHealthFile(
            Path.ChangeExtension(lastGoodPath, ".health.jsonl"),
            provider.GetRequiredService<ILogger<LastGoodHealthFile>>()
        ));
        services.AddSingleton(provider => new LastGoodFile(
            lastGoodPath,
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<ILogger<LastGoodFile>>()
        ));
        services.AddHostedService(provider => provider.GetRequiredService<LastGoodFile>());
        services.AddSingleton(retention);
        services.AddHostedService<HistoryPruner>();
        return services;
    }
}
