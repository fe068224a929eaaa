using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Health;

/// <summary>Verdicts while the database is away, on a PostgreSQL of this class alone.</summary>
public sealed class StoreOutageHealthTests(PostgresFixture postgres) : IClassFixture<PostgresFixture>
{
    [Fact]
    public async Task T36_While_the_database_is_away_verdicts_go_on()
    {
        var server = await postgres.GetServerAsync();
        var database = await server.CreateDatabaseAsync();
        await using var world = await HealthWorld.StartAsync(options: o => o with { Store = database });
        await server.StopAsync();
        try
        {
            world.Backends[HealthWorld.Id(1)] = Backend.Refused;
            await world.RunUntilAsync(9.5, a => a.StatusOf(1) == "UNHEALTHY");
            await world.RunAsync(600);
            Assert.Equal(5, world.Everyone.Last.Count("HEALTHY"));

            world.Backends.Clear();
            await world.RunUntilAsync(80, a => a.IsEqual(6));
        }
        finally
        {
            await server.StartAgainAsync();
        }
    }
}
