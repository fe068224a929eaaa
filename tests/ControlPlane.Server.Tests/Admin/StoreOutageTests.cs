using System.Net.Http.Json;
using System.Text;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>The API while the database is away, on a PostgreSQL of this class alone.</summary>
public sealed class StoreOutageTests(PostgresFixture postgres) : IClassFixture<PostgresFixture>
{
    [Fact]
    public async Task Reads_go_on_writes_are_503_readiness_is_degraded_and_it_recovers_by_itself()
    {
        var server = await postgres.GetServerAsync();
        var database = await server.CreateDatabaseAsync();
        await using var host = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await Eventually.True("the start", async stop => (await host.Http.GetAsync("/startupz", stop)).IsSuccessStatusCode);
        var key = new ResourceKey(ResourceKind.Upstream, "cart");
        await host.Client.PutAsync(key, Bodies.Upstream());

        await server.StopAsync();
        try
        {
            using var refused = await host.Http.PutAsync(
                "/api/v1/upstreams/cart",
                new StringContent(Bodies.Upstream(9090), Encoding.UTF8, "application/json")
            );
            Assert.Equal(503, (int)refused.StatusCode);
            Assert.NotNull(refused.Headers.RetryAfter);
            var problem = (await refused.Content.ReadFromJsonAsync<Problem>(ApiJson.Options))!;
            Assert.Equal(Problem.TypePrefix + "store-unavailable", problem.Type);
            Assert.Contains("Nothing was written.", problem.Detail, StringComparison.Ordinal);
            Assert.DoesNotContain("Password", problem.Detail, StringComparison.OrdinalIgnoreCase);

            Assert.NotNull(await host.Client.FindAsync(key));
            Assert.Single((await host.Client.ListAsync(ResourceKind.Upstream)).Items);
            Assert.Equal(200, (int)(await host.Http.GetAsync("/api/v1/upstreams/cart/xds")).StatusCode);
            var history = await Assert.ThrowsAsync<ApiException>(() => host.Client.RevisionsAsync());
            Assert.Equal(503, history.Problem.Status);
            await Eventually.True(
                "degraded",
                async stop =>
                    (await host.Http.GetStringAsync("/readyz?verbose", stop)).Contains("[~]store degraded", StringComparison.Ordinal)
            );
            // A change that changes nothing needs no database.
            await host.Client.PutAsync(key, Bodies.Upstream());
        }
        finally
        {
            await server.StartAgainAsync();
        }

        await Eventually.True(
            "writes to be taken again",
            async stop =>
            {
                try
                {
                    await host.Client.PutAsync(key, Bodies.Upstream(9090), cancellationToken: stop);
                    return true;
                }
                catch (ApiException e) when (e.Problem.Status == 503)
                {
                    return false;
                }
            },
            TimeSpan.FromSeconds(60)
        );
        await Eventually.True("ready", async stop => await host.Http.GetStringAsync("/readyz", stop) == "ok\n", TimeSpan.FromSeconds(60));
    }
}
