using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>The server is killed under a mixed fleet of the newest and the oldest Envoy, and comes back.</summary>
[Trait("Category", "Slow")]
public sealed partial class RestartTests
{
    private static readonly string[] Types = ["CDS", "EDS", "LDS", "RDS", "SDS"];

    [Fact]
    [Trait("Rule", "D-24")]
    public async Task After_a_kill_traffic_goes_on_and_proxies_that_come_back_are_sent_nothing_that_they_have()
    {
        await using var server = new ServerProcess();
        await using var fleet = await Fleet.StartAsync(server);

        server.Kill();
        await fleet.LeaveAsync();
        await server.StartAsync("--secret-dir", fleet.Secrets);
        await fleet.ComeBackAsync();
        await fleet.AssertNothingWasSentAsync();
    }

    [Fact]
    public async Task From_the_last_good_file_alone_proxies_that_come_back_are_sent_nothing_that_they_have()
    {
        await using var postgres = await PostgresServer.StartAsync();
        var store = await postgres.CreateDatabaseAsync();
        await using var server = new ServerProcess();
        await using var fleet = await Fleet.StartAsync(server, "--store", store);
        var file = Path.Combine(server.DataDir, "last-good.jsonl");
        await Eventually.True(
            "the last-good file",
            _ => Task.FromResult(File.Exists(file) && File.ReadAllText(file).Contains("shop", StringComparison.Ordinal))
        );
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));

        server.Kill();
        await postgres.StopAsync();
        await fleet.LeaveAsync();
        await server.StartAsync("--secret-dir", fleet.Secrets, "--store", store);
        Assert.Contains("degraded", await server.Http.GetStringAsync("/readyz?verbose"), StringComparison.Ordinal);
        await fleet.ComeBackAsync();
        Assert.Empty(await SentAsync(server));

        await postgres.StartAgainAsync();
        await Eventually.True(
            "a server that is whole again",
            async token => !(await server.Http.GetStringAsync("/readyz?verbose", token)).Contains("degraded", StringComparison.Ordinal),
            TimeSpan.FromSeconds(30)
        );
        await fleet.AssertNothingWasSentAsync();
    }

    /// <summary>Resources that the server has sent since its start, per type, where there are any.</summary>
    private static async Task<SortedDictionary<string, long>> SentAsync(ServerProcess server)
    {
        var sent = new SortedDictionary<string, long>(StringComparer.Ordinal);
        foreach (Match match in Sent().Matches(await server.Http.GetStringAsync("/metrics")))
        {
            if (long.Parse(match.Groups["count"].ValueSpan, CultureInfo.InvariantCulture) is > 0 and var count)
            {
                sent[match.Groups["type"].Value] = count;
            }
        }

        return sent;
    }

    [GeneratedRegex("""(?m)^xds_resources_total\{.*xds_resource_type="(?<type>\w+)".*\} (?<count>\d+)""", RegexOptions.None, 1000)]
    private static partial Regex Sent();

    /// <summary>Two proxies that hold something of every type, under load.</summary>
    private sealed class Fleet : IAsyncDisposable
    {
        private readonly ServerProcess _server;
        private readonly DirectoryInfo _secrets = Directory.CreateTempSubdirectory("controlplane-secrets-");
        private readonly List<(Edge Edge, string Before, LoadGenerator Load)> _proxies = [];

        private Fleet(ServerProcess server)
        {
            _server = server;
            TestCertificate.Write(_secrets.FullName, "CN=edge.test");
        }

        public string Secrets => _secrets.FullName;

        public static async Task<Fleet> StartAsync(ServerProcess server, params IEnumerable<string> arguments)
        {
            var fleet = new Fleet(server);
            await server.StartAsync([.. arguments, "--secret-dir", fleet.Secrets]);
            var current = await Edge.StartAsync(server.XdsPort, EnvoyRelease.Current, backends: 1, nodeId: "current");
            var oldest = await Edge.StartAsync(server.XdsPort, EnvoyRelease.Oldest, backends: 0, nodeId: "oldest");
            await server.Client.ApplyAsync(
                string.Join(
                    "---\n",
                    current.Upstream() + "  health: {checks: [{http: {path: /}, interval: 1s}]}\n",
                    Edge.RouteTable(),
                    """
                    apiVersion: controlplane/v1
                    kind: Secret
                    metadata: {name: edge-cert}
                    spec:
                      certificate: {chain: {file: tls.crt}, privateKey: {file: tls.key}}

                    """,
                    Edge.NodeGroup("current"),
                    Edge.NodeGroup("oldest"),
                    Listeners(current),
                    Listeners(oldest)
                )
            );
            foreach (var edge in (Edge[])[current, oldest])
            {
                await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(20));
                await Eventually.True("the secret", async _ => await edge.Envoy.StatAsync("sds.edge-cert.update_success") > 0);
            }

            await fleet.AreInStepAsync();
            foreach (var edge in (Edge[])[current, oldest])
            {
                fleet._proxies.Add((edge, await HeldAsync(edge), new LoadGenerator(edge.Url, requestsPerSecond: 100)));
            }

            return fleet;
        }

        /// <summary>Waits until the proxies have noticed that the server is gone.</summary>
        public async Task LeaveAsync()
        {
            foreach (var (edge, _, _) in _proxies)
            {
                await Eventually.True("the proxy to notice", async _ => await edge.Envoy.StatAsync("control_plane.connected_state") == 0);
            }
        }

        /// <summary>Waits until both proxies have asked for all that they hold.</summary>
        public Task ComeBackAsync() => AreInStepAsync();

        /// <summary>Changes one object, which only then is sent; nothing else was, and no request has failed.</summary>
        public async Task AssertNothingWasSentAsync()
        {
            foreach (var (edge, before, _) in _proxies)
            {
                Assert.Equal(before, await HeldAsync(edge));
            }

            Assert.Empty(await SentAsync(_server));
            await _server.Client.PutAsync(
                Edge.Key(ResourceKind.RouteTable, "edge"),
                Edge.RouteTable("- {match: {prefix: /}, upstream: shop, timeout: 9s}")
            );
            foreach (var (edge, _, _) in _proxies)
            {
                await Eventually.True(
                    "the change",
                    async token =>
                        (await edge.Envoy.GetAsync("config_dump", token)).Contains("\"timeout\": \"9s\"", StringComparison.Ordinal)
                );
            }

            // The metrics are written anew three times a second.
            var sent = await Eventually.Get(
                "the change in the metrics",
                _ => SentAsync(_server),
                sent => sent.Values.Sum() >= _proxies.Count
            );
            Assert.Equal([new KeyValuePair<string, long>("RDS", _proxies.Count)], sent);
            foreach (var (_, _, load) in _proxies)
            {
                var report = await load.StopAsync();
                Assert.True(report.Sent > 100, report.ToString());
                Assert.True(report.Failed == 0, report.ToString());
            }
        }

        public async ValueTask DisposeAsync()
        {
            foreach (var (edge, _, load) in _proxies)
            {
                await load.DisposeAsync();
                await edge.DisposeAsync();
            }

            _secrets.Delete(recursive: true);
        }

        /// <summary>A plain listener for the load, and one with TLS.</summary>
        private static string Listeners(Edge edge)
        {
            var group = edge.Envoy.NodeId;
            var plain = edge.Listener(name: $"plain-{group}") + $"  nodeGroups: [{group}]\n";
            var tls =
                edge.Listener(name: $"tls-{group}", port: FreePort.Next())
                + $"  nodeGroups: [{group}]\n  tls: {{certificates: [{{secret: edge-cert}}]}}\n";
            return plain + "---\n" + tls;
        }

        private Task AreInStepAsync() =>
            Eventually.Get(
                "both proxies to be in step",
                async token => (await _server.Client.NodesAsync(token)).Items,
                nodes =>
                    nodes.Length == 2
                    && nodes.All(n =>
                        n is { Connected: true, State: "synced" }
                        && n.Streams.Single().Types is var types
                        && Types.All(type => types.Any(t => t.Type == type && t.Subscriptions.Length > 0))
                    ),
                TimeSpan.FromSeconds(60)
            );

        /// <summary>What a proxy holds: every resource with its version and since when, and how often what has a name was updated.</summary>
        private static async Task<string> HeldAsync(Edge edge)
        {
            var held = new List<string>();
            Collect(await edge.Envoy.ConfigDumpAsync(), held);
            // EDS has no such times. Of CDS and LDS the proxy counts the empty answer that a wildcard gets.
            foreach (var subscription in (string[])["cluster.shop", $"http.plain-{edge.Envoy.NodeId}.rds.edge", "sds.edge-cert"])
            {
                held.Add($"{subscription}: {await edge.Envoy.StatAsync(subscription + ".update_success")} updates");
            }

            held.Sort(StringComparer.Ordinal);
            return string.Join('\n', held);
        }

        private static void Collect(JsonNode? node, List<string> held)
        {
            if (node is JsonArray array)
            {
                foreach (var item in array)
                {
                    Collect(item, held);
                }
            }
            else if (node is JsonObject members)
            {
                if (members["last_updated"] is { } since)
                {
                    held.Add($"{members["version_info"]} since {since}");
                }

                foreach (var (_, value) in members)
                {
                    Collect(value, held);
                }
            }
        }
    }
}
