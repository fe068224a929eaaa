using System.Collections.Concurrent;
using ControlPlane.AdminClient;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>Several servers on one database.</summary>
public sealed class ManyServersTests(PostgresFixture postgres)
{
    [Fact]
    public async Task Writers_on_two_servers_at_once_all_get_their_turn()
    {
        var database = await (await postgres.GetServerAsync()).CreateDatabaseAsync();
        await using var one = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await using var two = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        var faults = new ConcurrentBag<string>();

        await Task.WhenAll(
            Enumerable
                .Range(0, 16)
                .Select(async client =>
                {
                    var server = client % 2 == 0 ? one : two;
                    for (var i = 0; i < 15; i++)
                    {
                        using var content = new StringContent(
                            Bodies.Upstream(1000 + i),
                            System.Net.Http.Headers.MediaTypeHeaderValue.Parse("application/json")
                        );
                        using var answer = await server.Http.PutAsync(new Uri($"/api/v1/upstreams/of-{client}", UriKind.Relative), content);
                        if (!answer.IsSuccessStatusCode)
                        {
                            faults.Add(await answer.Content.ReadAsStringAsync());
                        }
                    }
                })
        );

        Assert.Empty(faults);
        Assert.Equal(16 * 15, (await one.Client.RevisionsAsync(1)).Items[0].Revision);
    }
}
