using System.Text;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>Changes under load: no request may fail for them.</summary>
[Trait("Category", "Slow")]
public sealed class ZeroFailureTests
{
    private static readonly TimeSpan Duration = TimeSpan.FromSeconds(60);

    public static TheoryData<EnvoyRelease> Releases => [EnvoyRelease.Current, EnvoyRelease.Oldest];

    [Theory]
    [MemberData(nameof(Releases))]
    public async Task No_request_fails_in_a_minute_of_edits_and_of_a_move_to_300_new_upstreams(EnvoyRelease release)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, release, backends: 4);
        foreach (var backend in edge.Backends)
        {
            backend.Delay = TimeSpan.FromMilliseconds(5);
        }

        await server.Client.ApplyAsync(string.Join("---\n", Upstreams(edge, 'a'), Routes('a'), edge.Listener()));
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(30));

        var time = TimeProvider.System;
        var started = time.GetTimestamp();
        await using var load = new LoadGenerator(edge.Url, requestsPerSecond: 200);
        var generation = 'a';
        for (var round = 0; time.GetElapsedTime(started) < Duration; round++)
        {
            // Endpoints are added, drained and removed: all four serve, one of the later three is drained, the first is taken away.
            var upstream = Edge.Key(ResourceKind.Upstream, $"{generation}000");
            var drained = $"127.0.0.1:{edge.Backends[1 + (round % 3)].Port}";
            await server.Client.PutAsync(upstream, edge.Upstream(upstream.Name, edge.Backends));
            await server.Client.OrderAsync(upstream.Name, drained, "drain", new Resources.Api.EndpointOrder { Reason = "round " + round });
            await server.Client.PutAsync(upstream, edge.Upstream(upstream.Name, edge.Backends.Skip(1)));
            await server.Client.OrderAsync(upstream.Name, drained, "clear", new Resources.Api.EndpointOrder { Reason = "round " + round });

            // Upstream, routes and listener are edited; the listener keeps its address.
            await server.Client.PatchAsync(upstream, Json($$$"""{"spec":{"connectTimeout":"{{{round % 5 + 1}}}s"}}"""));
            await server.Client.PutAsync(Edge.Key(ResourceKind.RouteTable, "edge"), Routes(generation, $", timeout: {round % 5 + 10}s"));
            if (round % 5 == 2)
            {
                await server.Client.PatchAsync(
                    Edge.Key(ResourceKind.Listener, "edge"),
                    Json($$$"""{"spec":{"bufferLimitBytes":{{{32768 + round}}}}}""")
                );
            }

            // The table moves to 300 new upstreams at once, and the old ones go.
            if (round % 10 == 5)
            {
                var next = generation == 'a' ? 'b' : 'a';
                await server.Client.ApplyAsync(string.Join("---\n", Upstreams(edge, next), Routes(next)));
                await DeleteUpstreamsAsync(server, generation);
                generation = next;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(500), time);
        }

        var report = await load.StopAsync();
        Assert.True(report.Sent > 1000, report.ToString());
        Assert.True(report.Failed == 0, report.ToString());
        Assert.All((await server.Client.NodesAsync()).Items, n => Assert.Equal("synced", n.State));
    }

    /// <summary>300 upstreams on the same backends.</summary>
    private static string Upstreams(Edge edge, char generation) =>
        string.Join("---\n", Enumerable.Range(0, 300).Select(i => edge.Upstream($"{generation}{i:000}", edge.Backends)));

    /// <summary>One route per upstream; the first takes everything that names none.</summary>
    private static string Routes(char generation, string more = "")
    {
        var routes = new StringBuilder();
        for (var i = 299; i >= 0; i--)
        {
            var path = i == 0 ? "/" : $"/{i:000}";
            routes.Append($"- {{match: {{prefix: {path}}}, upstream: {generation}{i:000}{more}}}\n        ");
        }

        return Edge.RouteTable(routes.ToString().TrimEnd());
    }

    private static async Task DeleteUpstreamsAsync(ControlPlaneHost server, char generation)
    {
        for (var i = 0; i < 300; i++)
        {
            await server.Client.DeleteAsync(Edge.Key(ResourceKind.Upstream, $"{generation}{i:000}"));
        }
    }

    private static System.Text.Json.Nodes.JsonNode Json(string text) => System.Text.Json.Nodes.JsonNode.Parse(text)!;
}
