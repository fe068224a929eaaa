using System.Collections.Immutable;
using System.Net.Sockets;
using ControlPlane.AdminClient;
using ControlPlane.Resources.Api;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>Many observers, one verdict: proxies that each see too little, checkers that lie, zones that do not reach each other.</summary>
[Trait("Category", "Slow")]
public sealed class HealthFleetTests
{
    private static readonly TimeProvider Time = TimeProvider.System;

    /// <summary>Vector W6 of the health model: 12 % of the requests to one of six backends fail, and 20 proxies send it 3 requests per second each.</summary>
    [Fact]
    public async Task Twenty_Envoys_that_each_see_too_little_together_find_a_backend_that_fails_one_request_in_eight()
    {
        const int Envoys = 20;
        const int Percent = 12;
        const int RequestsPerSecond = 18;
        // A window in which no proxy sends a backend the 50 requests that it takes to judge one.
        var window = TimeSpan.FromSeconds(5);
        await using var scene = await HealthScene.StartAsync(backends: 6, reportInterval: window);
        var edges = new List<Edge> { scene.Edge };
        for (var i = edges.Count; i < Envoys; i++)
        {
            edges.Add(await scene.AddEdgeAsync($"edge-{i}"));
        }

        await scene.ApplyAsync(scene.Upstream(check: "http: {path: /healthz}"), Edge.RouteTable());
        var loads = edges.Select(e => new LoadGenerator(e.Url, RequestsPerSecond, clients: 2)).ToList();
        var victim = scene.Backends[3];
        victim.StatusOf = HealthCausesTests.Failing(Percent);
        var others = scene.Backends.Where(b => b != victim).ToList();

        await OnAllAsync(
            "half of the weight of the others",
            within: (3 * window) + TimeSpan.FromSeconds(5),
            (bad, good) => 2 * bad == good
        );
        var why = await scene.ExplainAsync(victim.Port);
        Assert.Equal(("UP", "HEALTHY", 0.5), (why.State, why.Status, why.Traffic.Cut));
        Assert.True(why.Traffic.Outlier);
        Assert.InRange(why.Traffic.ErrorRate, 0.08, 0.16);
        Assert.InRange(why.Traffic.Requests, 50, long.MaxValue);
        Assert.Contains("its weight cut to 50 %", why.Sentence, StringComparison.Ordinal);
        Assert.All(
            why.Traffic.Evidence,
            row => Assert.InRange(int.Parse(row.Verdict.Split(' ')[2], System.Globalization.CultureInfo.InvariantCulture), 1, 49)
        );

        victim.StatusOf = null;
        await OnAllAsync("its whole weight again", within: (5 * window) + TimeSpan.FromSeconds(5), (bad, good) => bad == good);
        foreach (var load in loads)
        {
            await load.DisposeAsync();
        }

        async Task OnAllAsync(string what, TimeSpan within, Func<int?, int?, bool> accept)
        {
            foreach (var edge in edges)
            {
                await Eventually.Get(
                    what,
                    async stop =>
                        (
                            await edge.Envoy.WeightOfAsync("shop", victim.Port, stop),
                            await edge.Envoy.WeightOfAsync("shop", others[0].Port, stop)
                        ),
                    weights => accept(weights.Item1, weights.Item2),
                    within
                );
            }
        }
    }

    [Theory]
    [InlineData("FAIL")]
    [InlineData("PASS")]
    public async Task One_observer_of_three_that_says_the_same_of_everything_changes_nothing(string lie)
    {
        await using var scene = await HealthScene.StartAsync(checkers: ["honest", "liar"]);
        await scene.ApplyAsync(scene.Upstream(), HealthScene.Retries());
        await using var load = await scene.LoadAsync(60);
        var ports = scene.Backends.Select(b => b.Port).ToList();
        await using var honest = new Checker(scene.CheckerClient("honest"), "", ports, ConnectsAsync);
        await using var liar = new Checker(scene.CheckerClient("liar"), "", ports, (_, _) => Task.FromResult(lie == "PASS"));
        await scene.UntilAsync(
            "three observers of everything",
            h => h.Endpoints.All(e => Says(e, "honest", "PASS") && Says(e, "liar", lie) && e.Active.Evidence.Length == 3),
            within: 10
        );
        var assignments = await scene.AssignmentsAsync();

        // What is true is decided as without the liar, of this endpoint and of no other.
        var victim = scene.Backends[1];
        await victim.DisposeAsync();
        await scene.UntilAsync(victim.Port, "UNHEALTHY", within: 10);
        var health = await scene.UntilAsync(
            "both others to fail it",
            h => Says(HealthScene.Find(h, victim.Port), "honest", "FAIL"),
            within: 5
        );
        Assert.All(health.Endpoints, e => Assert.True(Says(e, "liar", lie)));
        foreach (var port in ports.Where(p => p != victim.Port))
        {
            Assert.Equal("HEALTHY", await scene.Edge.Envoy.HealthOfAsync("shop", port));
        }

        Assert.Equal(assignments + 1, await scene.AssignmentsAsync());
        await HealthScene.NoneFailedAsync(load);
    }

    [Fact]
    public async Task A_partition_between_two_zones_changes_what_the_Envoys_of_the_zone_that_is_cut_off_get_and_nobody_else()
    {
        string[] zones = ["a", "b", "c"];
        await using var scene = await HealthScene.StartAsync(backends: 6, zone: "c", checkers: ["in-a", "in-b"]);
        var inB = await scene.AddEdgeAsync("in-b", zone: "b");
        var ports = scene.Backends.Select(b => b.Port).ToList();
        var ofB = ports.Where((_, i) => zones[i % 3] == "b").ToHashSet();
        await scene.ApplyAsync(
            scene.Upstream(
                health: ", guards: {velocityPercent: 100}",
                endpoints: ports.Select((p, i) => HealthScene.Endpoint(p, zones[i % 3]))
            ),
            Edge.RouteTable()
        );
        var isCut = false;
        await using var checkerOfA = new Checker(
            scene.CheckerClient("in-a"),
            "a",
            ports,
            async (port, stop) => !(isCut && ofB.Contains(port)) && await ConnectsAsync(port, stop)
        );
        await using var checkerOfB = new Checker(scene.CheckerClient("in-b"), "b", ports, ConnectsAsync);
        await scene.UntilAsync("observers of three zones", h => h.Endpoints.All(e => e.Active.Zones.Length == 3), within: 10);

        isCut = true;
        foreach (var port in ofB)
        {
            await scene.UntilAsync(port, "UNHEALTHY", within: 20);
        }

        foreach (var port in ports)
        {
            Assert.Equal(ofB.Contains(port) ? "UNHEALTHY" : "HEALTHY", await scene.Edge.Envoy.HealthOfAsync("shop", port));
            Assert.Equal("HEALTHY", await inB.Envoy.HealthOfAsync("shop", port));
        }

        var everyone = await scene.Server.Client.HealthAsync("shop");
        Assert.Equal(["a"], everyone.ZoneViews);
        Assert.All(everyone.Endpoints, e => Assert.Equal("HEALTHY", e.Status));
        var view = await scene.Server.Client.HealthAsync("shop", zone: "a");
        Assert.Equal(ofB.Count, view.Endpoints.Count(e => e.Status == "UNHEALTHY"));

        isCut = false;
        foreach (var port in ofB)
        {
            await scene.UntilAsync(port, "HEALTHY", within: 10);
        }
    }

    private static bool Says(EndpointHealthView endpoint, string checker, string verdict) =>
        endpoint.Active.Evidence.Any(row => row.Author == $"external/{checker}" && row.Verdict == verdict);

    private static async Task<bool> ConnectsAsync(int port, CancellationToken cancellationToken)
    {
        using var socket = new TcpClient();
        try
        {
            await socket.ConnectAsync("127.0.0.1", port, cancellationToken);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Somebody's own checker, which reports what it finds by <c>POST /api/v1/evidence</c>.</summary>
    private sealed class Checker : IAsyncDisposable
    {
        private readonly HttpClient _http;
        private readonly CancellationTokenSource _stop = new();
        private readonly Task _run;

        public Checker(HttpClient http, string zone, IReadOnlyList<int> ports, Func<int, CancellationToken, Task<bool>> passes)
        {
            _http = http;
            _run = RunAsync(new AdminApiClient(http), zone, ports, passes);
        }

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            await _run;
            _http.Dispose();
            _stop.Dispose();
        }

        private async Task RunAsync(
            AdminApiClient client,
            string zone,
            IReadOnlyList<int> ports,
            Func<int, CancellationToken, Task<bool>> passes
        )
        {
            using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(300), Time);
            try
            {
                while (await timer.WaitForNextTickAsync(_stop.Token))
                {
                    var items = ImmutableArray.CreateBuilder<EvidenceItem>();
                    foreach (var port in ports)
                    {
                        var passed = await passes(port, _stop.Token);
                        items.Add(
                            new EvidenceItem
                            {
                                Upstream = "shop",
                                Endpoint = $"127.0.0.1:{port}",
                                Passed = passed,
                                Class = passed ? null : EvidenceClass.Refused,
                                Zone = zone,
                                Ttl = TimeSpan.FromSeconds(5),
                            }
                        );
                    }

                    var result = await client.PostEvidenceAsync(items, _stop.Token);
                    Assert.Equal(ports.Count, result.Accepted);
                }
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
                // The end of the test.
            }
        }
    }
}
