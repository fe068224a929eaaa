using DotNet.Testcontainers.Configurations;
using Testcontainers.PostgreSql;

namespace ControlPlane.TestKit;

/// <summary>A server in a container.</summary>
internal sealed class PostgresContainer : IPostgresHost
{
    private static readonly TimeSpan EnginePatience = TimeSpan.FromSeconds(2);

    private readonly PostgreSqlContainer _container;

    private PostgresContainer(PostgreSqlContainer container) => _container = container;

    public string ConnectionString => _container.GetConnectionString();

    /// <summary>Starts a container, or says why this machine cannot.</summary>
    public static async Task<(IPostgresHost? Host, string Reason)> TryStartAsync(bool isDurable)
    {
        if (!await EngineAnswersAsync())
        {
            return (null, "no Docker engine answers");
        }

        // A fixed port, since one that the engine chooses changes at a restart.
        var switches = isDurable ? "on" : "off";
        var container = new PostgreSqlBuilder("postgres:17-alpine")
            .WithPortBinding(FreePort.Next(), 5432)
            .WithCommand("-c", $"fsync={switches}", "-c", $"full_page_writes={switches}", "-c", "max_connections=200")
            .Build();
        try
        {
            await container.StartAsync();
            return (new PostgresContainer(container), "");
        }
        catch (Exception e)
        {
            // As where the image cannot be fetched. The machine's own PostgreSQL may still do; where not, the skipped or failed test tells this reason.
            await container.DisposeAsync();
            return (null, $"the container did not start ({e.Message})");
        }
    }

    public Task StartAsync() => _container.StartAsync();

    public async Task StopAsync(bool isCrash)
    {
        if (isCrash)
        {
            await _container.ExecAsync(["kill", "-QUIT", "1"]);
        }

        await _container.StopAsync();
    }

    public ValueTask DisposeAsync() => _container.DisposeAsync();

    private static async Task<bool> EngineAnswersAsync()
    {
        using var patience = new CancellationTokenSource(EnginePatience, TimeProvider.System);
        try
        {
            using var client = TestcontainersSettings.OS.DockerEndpointAuthConfig.GetDockerClientBuilder().Build();
            await client.System.PingAsync(patience.Token);
            return true;
        }
        catch (Exception)
        {
            return false;
        }
    }
}
