using System.Net;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>Several servers, several proxies.</summary>
[Trait("Category", "Slow")]
public sealed class FleetTests(PostgresFixture postgres)
{
    [Fact]
    public async Task A_write_on_one_server_reaches_a_proxy_on_the_other_within_a_second_and_both_serve_the_same_versions()
    {
        var store = await postgres.CreateDatabaseAsync();
        await using var one = await ControlPlaneHost.StartAsync(o => o with { Store = store });
        await using var two = await ControlPlaneHost.StartAsync(o => o with { Store = store });
        await using var edge = await Edge.StartAsync(two.Xds.Port, nodeId: "on-two");
        await using var other = await Edge.StartAsync(one.Xds.Port, nodeId: "on-one");
        await one.Client.ApplyAsync(edge.Manifests());
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));

        await one.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "shop"), edge.Upstream("shop", edge.Backends[2]));
        await edge.AnswerAsync((_, text) => text.Contains("backend-2", StringComparison.Ordinal), TimeSpan.FromSeconds(1));
        await Eventually.True(
            "equal versions on both servers",
            async _ => await VersionsAsync(one) is { Length: > 0 } versions && versions == await VersionsAsync(two)
        );
    }

    [Fact]
    public async Task A_mixed_fleet_of_the_newest_and_the_oldest_Envoy_is_served_by_one_server()
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var current = await Edge.StartAsync(server.Xds.Port, EnvoyRelease.Current, nodeId: "current");
        await using var oldest = await Edge.StartAsync(server.Xds.Port, EnvoyRelease.Oldest, nodeId: "oldest", bootstrap: "edge-sotw.yaml");
        await server.Client.ApplyAsync(
            string.Join(
                "---\n",
                Edge.NodeGroup("current"),
                Edge.NodeGroup("oldest"),
                current.Upstream(),
                Edge.RouteTable(),
                current.Listener(name: "on-current") + "  nodeGroups: [current]\n",
                oldest.Listener(name: "on-oldest") + "  nodeGroups: [oldest]\n"
            ),
            new WriteOptions { WaitAcked = TimeSpan.FromSeconds(10) }
        );
        await current.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));
        await oldest.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));
        Assert.Null(await current.Envoy.StatAsync("http.on-oldest.downstream_rq_total"));

        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "shop"), current.Upstream("shop", current.Backends[1]));
        await current.AnswerAsync((_, text) => text.Contains("backend-1", StringComparison.Ordinal), TimeSpan.FromSeconds(1));
        await oldest.AnswerAsync((_, text) => text.Contains("backend-1", StringComparison.Ordinal), TimeSpan.FromSeconds(1));
    }

    [Fact]
    public async Task A_lost_database_stops_writes_and_nothing_else_and_everything_recovers_by_itself()
    {
        await using var own = await PostgresServer.StartAsync();
        var store = await own.CreateDatabaseAsync();
        await using var server = await ControlPlaneHost.StartAsync(o => o with { Store = store });
        await using var edge = await Edge.StartAsync(server.Xds.Port);
        await server.Client.ApplyAsync(edge.Manifests());
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));

        await own.StopAsync();
        var refused = await Assert.ThrowsAsync<ApiException>(() =>
            server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "shop"), edge.Upstream("shop", edge.Backends[1]))
        );
        Assert.Equal((int)HttpStatusCode.ServiceUnavailable, refused.Problem.Status);
        Assert.NotNull(await server.Client.FindAsync(Edge.Key(ResourceKind.Upstream, "shop")));
        await Eventually.True(
            "a degraded server",
            async token => (await server.Http.GetStringAsync("/readyz?verbose", token)).Contains("degraded", StringComparison.Ordinal)
        );
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(5));

        await own.StartAgainAsync();
        await Eventually.True(
            "a server that is whole again",
            async token => !(await server.Http.GetStringAsync("/readyz?verbose", token)).Contains("degraded", StringComparison.Ordinal),
            TimeSpan.FromSeconds(30)
        );
        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "shop"), edge.Upstream("shop", edge.Backends[1]));
        await edge.AnswerAsync((_, text) => text.Contains("backend-1", StringComparison.Ordinal), TimeSpan.FromSeconds(1));
    }

    private static async Task<string> VersionsAsync(ControlPlaneHost server) =>
        string.Join(
            ' ',
            (await server.Client.NodesAsync())
                .Items.SelectMany(n => n.Streams)
                .SelectMany(s => s.Types)
                .Select(t => $"{t.Type}={t.AckedVersion}")
                .Order(StringComparer.Ordinal)
        );
}
