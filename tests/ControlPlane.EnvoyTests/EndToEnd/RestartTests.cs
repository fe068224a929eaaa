using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>The server is killed and comes back.</summary>
[Trait("Category", "Slow")]
public sealed class RestartTests
{
    public static TheoryData<EnvoyRelease> Releases => [EnvoyRelease.Current, EnvoyRelease.Oldest];

    [Theory]
    [MemberData(nameof(Releases))]
    public async Task After_a_kill_traffic_goes_on_and_the_restarted_server_sends_nothing_that_the_proxy_has(EnvoyRelease release)
    {
        await using var server = new ServerProcess();
        await server.StartAsync();
        await using var edge = await Edge.StartAsync(server.XdsPort, release);
        await server.Client.ApplyAsync(edge.Manifests());
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(20));
        await using var load = new LoadGenerator(edge.Url, requestsPerSecond: 100);
        var updates = await UpdatesAsync(edge);

        server.Kill();
        await Eventually.True("the proxy to notice", async _ => await edge.Envoy.StatAsync("control_plane.connected_state") == 0);
        await server.StartAsync();
        await Eventually.True(
            "the proxy to come back",
            async _ => (await server.Client.NodesAsync()).Items.Any(n => n.Connected),
            TimeSpan.FromSeconds(60)
        );

        // A change to one object shows that the stream works; the rest must not have been sent again.
        await server.Client.PutAsync(
            Edge.Key(ResourceKind.RouteTable, "edge"),
            Edge.RouteTable("- {match: {prefix: /}, upstream: shop, timeout: 9s}")
        );
        await Eventually.True("the change", async _ => (await UpdatesAsync(edge)).Routes > updates.Routes);
        var after = await UpdatesAsync(edge);
        Assert.Equal((updates.Listeners, updates.Clusters), (after.Listeners, after.Clusters));

        var report = await load.StopAsync();
        Assert.True(report.Failed == 0, report.ToString());
    }

    [Fact]
    public async Task From_the_last_good_file_alone_the_proxy_is_served_the_same_versions()
    {
        await using var postgres = await PostgresServer.StartAsync();
        var store = await postgres.CreateDatabaseAsync();
        await using var server = new ServerProcess();
        await server.StartAsync("--store", store);
        await using var edge = await Edge.StartAsync(server.XdsPort);
        await server.Client.ApplyAsync(edge.Manifests());
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(20));
        var file = Path.Combine(server.DataDir, "last-good.jsonl");
        await Eventually.True(
            "the last-good file",
            _ => Task.FromResult(File.Exists(file) && File.ReadAllText(file).Contains("shop", StringComparison.Ordinal))
        );
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        var versions = Versions(await server.Client.NodesAsync());

        server.Kill();
        await postgres.StopAsync();
        await server.StartAsync("--store", store);
        Assert.Contains("degraded", await server.Http.GetStringAsync("/readyz?verbose"), StringComparison.Ordinal);
        await Eventually.True(
            "the proxy to come back",
            async _ => Versions(await server.Client.NodesAsync()) == versions,
            TimeSpan.FromSeconds(60)
        );
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(5));
    }

    private static string Versions(Resources.Api.NodeList nodes) =>
        string.Join(
            ' ',
            nodes
                .Items.Where(n => n.Connected)
                .SelectMany(n => n.Streams)
                .SelectMany(s => s.Types)
                .Select(t => $"{t.Type}={t.SentVersion ?? t.AckedVersion}")
                .Order(StringComparer.Ordinal)
        );

    private static async Task<(long? Clusters, long? Listeners, long? Routes)> UpdatesAsync(Edge edge) =>
        (
            await edge.Envoy.StatAsync("cluster_manager.cluster_modified"),
            await edge.Envoy.StatAsync("listener_manager.listener_modified"),
            await edge.Envoy.StatAsync("http.edge.rds.edge.config_reload")
        );
}
