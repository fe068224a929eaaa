using System.Text;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>Changes under load: no request may fail for them.</summary>
[Trait("Category", "Slow")]
public sealed class ZeroFailureTests
{
    private const int Upstreams = 300;
    private static readonly TimeSpan Duration = TimeSpan.FromSeconds(60);

    [Fact]
    [Trait("Rule", "O-07")]
    public async Task No_request_through_a_mixed_fleet_fails_in_a_minute_of_edits_and_of_moves_to_300_new_upstreams_while_the_old_ones_go()
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var current = await Edge.StartAsync(server.Xds.Port, EnvoyRelease.Current, backends: 4, nodeId: "current");
        await using var oldest = await Edge.StartAsync(server.Xds.Port, EnvoyRelease.Oldest, backends: 0, nodeId: "oldest");
        var backends = current.Backends;
        foreach (var backend in backends)
        {
            backend.Delay = TimeSpan.FromMilliseconds(5);
        }

        // Two states without an upstream in common, each a revision to go back to.
        var listeners = string.Join(
            "---\n",
            Edge.NodeGroup("current"),
            Edge.NodeGroup("oldest"),
            current.Listener(name: "on-current") + "  nodeGroups: [current]\n",
            oldest.Listener(name: "on-oldest") + "  nodeGroups: [oldest]\n"
        );
        var empty = (await server.Client.ApplyAsync(Edge.NodeGroup("current"))).Revision;
        var states = new Dictionary<char, long>();
        foreach (var name in "ba")
        {
            await RollBackAsync(server, empty);
            states[name] = (
                await server.Client.ApplyAsync(string.Join("---\n", AllUpstreams(current, name), Routes(name), listeners))
            ).Revision;
        }

        foreach (var edge in (Edge[])[current, oldest])
        {
            await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(30), path: "/299");
        }

        var time = TimeProvider.System;
        var started = time.GetTimestamp();
        await using var onCurrent = Load(current);
        await using var onOldest = Load(oldest);
        var generation = 'a';
        var moves = 0;
        for (var round = 0; time.GetElapsedTime(started) < Duration; round++)
        {
            // Endpoints are added, drained and removed: all four serve, one of the later three is drained, the first is taken away.
            var upstream = Edge.Key(ResourceKind.Upstream, $"{generation}000");
            var drained = $"127.0.0.1:{backends[1 + (round % 3)].Port}";
            await server.Client.PutAsync(upstream, current.Upstream(upstream.Name, backends));
            await server.Client.OrderAsync(upstream.Name, drained, "drain", new Resources.Api.EndpointOrder { Reason = "round " + round });
            await server.Client.PutAsync(upstream, current.Upstream(upstream.Name, backends.Skip(1)));
            await server.Client.OrderAsync(upstream.Name, drained, "clear", new Resources.Api.EndpointOrder { Reason = "round " + round });

            // Upstream, routes and listener are edited; the listener keeps its address.
            await server.Client.PatchAsync(upstream, Json($$$"""{"spec":{"connectTimeout":"{{{round % 5 + 1}}}s"}}"""));
            await server.Client.PutAsync(Edge.Key(ResourceKind.RouteTable, "edge"), Routes(generation, $", timeout: {round % 5 + 10}s"));
            if (round % 5 == 2)
            {
                foreach (var listener in (string[])["on-current", "on-oldest"])
                {
                    await server.Client.PatchAsync(
                        Edge.Key(ResourceKind.Listener, listener),
                        Json($$$"""{"spec":{"bufferLimitBytes":{{{32768 + round}}}}}""")
                    );
                }
            }

            // In one revision the table moves to 300 new upstreams, and the old ones go.
            if (round % 10 == 5)
            {
                generation = generation == 'a' ? 'b' : 'a';
                await RollBackAsync(server, states[generation]);
                moves++;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(500), time);
        }

        Assert.InRange(moves, 2, int.MaxValue);
        foreach (var load in (LoadGenerator[])[onCurrent, onOldest])
        {
            var report = await load.StopAsync();
            Assert.True(report.Sent > 1000, report.ToString());
            Assert.True(report.Failed == 0, report.ToString());
        }

        // The health of what moved last may be on its way at this moment, and no longer than any change.
        await Eventually.True(
            "both to have all",
            async _ => (await server.Client.NodesAsync()).Items.All(n => n.State == "synced"),
            TimeSpan.FromSeconds(1)
        );
        foreach (var edge in (Edge[])[current, oldest])
        {
            // What was left is gone, and all that came is there.
            Assert.Equal(0, await ClustersAsync(edge, generation == 'a' ? 'b' : 'a'));
            Assert.Equal(Upstreams, await ClustersAsync(edge, generation));
        }
    }

    /// <summary>Every other request for the upstream whose endpoints change, the rest for all in turn.</summary>
    private static LoadGenerator Load(Edge edge)
    {
        var sent = -1;
        return new LoadGenerator(
            edge.Url,
            requestsPerSecond: 150,
            () =>
            {
                var number = Interlocked.Increment(ref sent);
                var path = number % 2 == 0 ? "/" : $"/{number / 2 % Upstreams:000}";
                return new HttpRequestMessage(HttpMethod.Get, new Uri(edge.Url, path));
            }
        );
    }

    private static async Task RollBackAsync(ControlPlaneHost server, long revision)
    {
        var options = new WriteOptions();
        try
        {
            await server.Client.RollbackAsync(revision, options: options);
        }
        catch (ApiException e) when (e.Problem.Digest is { } digest)
        {
            await server.Client.RollbackAsync(revision, options: options with { Confirm = digest });
        }
    }

    private static async Task<int> ClustersAsync(Edge edge, char generation) =>
        (await edge.Envoy.ClustersAsync())["cluster_statuses"]!
            .AsArray()
            .Count(c => ((string)c!["name"]!).StartsWith(generation) && ((string)c["name"]!).Length == 4);

    /// <summary>300 upstreams on the same backends.</summary>
    private static string AllUpstreams(Edge edge, char generation) =>
        string.Join("---\n", Enumerable.Range(0, Upstreams).Select(i => edge.Upstream($"{generation}{i:000}", edge.Backends)));

    /// <summary>One route per upstream; the first takes everything that names none.</summary>
    private static string Routes(char generation, string more = "")
    {
        var routes = new StringBuilder();
        for (var i = Upstreams - 1; i >= 0; i--)
        {
            var path = i == 0 ? "/" : $"/{i:000}";
            routes.Append($"- {{match: {{prefix: {path}}}, upstream: {generation}{i:000}{more}}}\n        ");
        }

        return Edge.RouteTable(routes.ToString().TrimEnd());
    }

    private static System.Text.Json.Nodes.JsonNode Json(string text) => System.Text.Json.Nodes.JsonNode.Parse(text)!;
}
