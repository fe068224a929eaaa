using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.Benchmarks.Fleet;

/// <summary>
/// <c>whole</c>: the whole server, from the REST call to an Envoy that acts on it, with 1 000 upstreams of 10 endpoints: <c>whole [sqlite|postgres]</c>. Needs
/// <c>ENVOY_PATH</c>. A change is over when a request through Envoy is answered by the backend that the changed endpoint names.
/// </summary>
internal static class WholeServer
{
    private const int Upstreams = 1_000;
    private const int EndpointsEach = 10;
    private const int Changes = 300;
    private const int Writers = 16;

    public static async Task RunAsync(string store)
    {
        await using var postgres = new PostgresFixture();
        string[] arguments = store == "postgres" ? ["--store", await postgres.CreateDatabaseAsync()] : [];
        await using var server = new ServerProcess();
        await using var envoy = new EnvoyFixture();
        await using var a = await TestBackend.StartAsync("a");
        await using var b = await TestBackend.StartAsync("b");
        await server.StartAsync(arguments);

        var one = Stopwatch.GetTimestamp();
        await server.Client.ApplyAsync(Fill());
        Print($"/apply of {Upstreams * EndpointsEach} endpoints", $"{Milliseconds(one):f0} ms");

        var listener = FreePort.Next();
        await server.Client.ApplyAsync(Served(listener, a.Port));
        await envoy.StartAsync(Bootstrap(), new Dictionary<int, int> { [18000] = server.XdsPort });
        var url = new Uri($"http://127.0.0.1:{listener}/");
        await AnswerOfAsync(url, "a");

        await MeasureChangesAsync(server, url, [(a.Name, a.Port), (b.Name, b.Port)]);
        Print("resident memory after that", $"{new ProcessUsage(server.ProcessId).ResidentKiB / 1024} MiB");

        using var before = new SimulatedProxy("resume", [.. Enumerable.Range(0, Upstreams).Select(Name)]);
        await before.ConnectAsync("127.0.0.1", server.XdsPort, CancellationToken.None);
        await Eventually.True("all assignments", _ => Task.FromResult(before.Assignments.Count == Upstreams), TimeSpan.FromSeconds(30));

        await MeasureStartAsync(server, envoy, url, arguments);
        using var after = new SimulatedProxy("resume", [.. Enumerable.Range(0, Upstreams).Select(Name)]);
        foreach (var (name, version) in before.Clusters)
        {
            after.Clusters[name] = version;
        }

        foreach (var (name, version) in before.Assignments)
        {
            after.Assignments[name] = version;
        }

        await after.ConnectAsync("127.0.0.1", server.XdsPort, CancellationToken.None);
        await Task.Delay(TimeSpan.FromSeconds(3), TimeProvider.System);
        Print("resent after a restart", $"{after.ResourcesReceived} resources");

        await MeasureWritesAsync(server);
    }

    private static async Task MeasureChangesAsync(ServerProcess server, Uri url, (string Name, int Port)[] backends)
    {
        var usage = new ProcessUsage(server.ProcessId);
        foreach (var phase in (string[])["first", "next"])
        {
            var latencies = new double[Changes];
            var cpu = usage.CpuSeconds;
            for (var i = 0; i < Changes; i++)
            {
                var (name, port) = backends[(i + 1) % 2];
                var started = Stopwatch.GetTimestamp();
                await server.Client.PutAsync(ResourceKey.Sub(ResourceKind.Endpoint, "served", "e0"), Endpoint(port));
                await AnswerOfAsync(url, name);
                latencies[i] = Milliseconds(started);
            }

            cpu = usage.CpuSeconds - cpu;
            Array.Sort(latencies);
            Print(
                $"{phase} {Changes} changes, until Envoy acts on them",
                $"p50 {latencies[Changes / 2]:f1} p95 {latencies[Changes * 95 / 100]:f1} ms, {1000 * cpu / Changes:f1} ms CPU of the server each"
            );
        }
    }

    /// <summary>From nothing but the store: the server and an Envoy that knows nothing, at once.</summary>
    private static async Task MeasureStartAsync(ServerProcess server, EnvoyFixture envoy, Uri url, string[] arguments)
    {
        server.Kill();
        await envoy.StopAsync();
        var started = Stopwatch.GetTimestamp();
        await Task.WhenAll(
            server.StartAsync(arguments),
            envoy.StartAsync(Bootstrap(), new Dictionary<int, int> { [18000] = server.XdsPort })
        );
        await AnswerOfAsync(url, body: null);
        await Eventually.True(
            "every cluster",
            async _ =>
                await envoy.StatAsync("cluster_manager.active_clusters") > Upstreams
                && await envoy.StatAsync("cluster_manager.warming_clusters") == 0,
            TimeSpan.FromSeconds(60)
        );
        Print("start, until Envoy is configured", $"{Milliseconds(started):f0} ms");
        Print("resident memory then", $"{new ProcessUsage(server.ProcessId).ResidentKiB / 1024} MiB");
    }

    private static async Task MeasureWritesAsync(ServerProcess server)
    {
        var started = Stopwatch.GetTimestamp();
        await Parallel.ForEachAsync(
            Enumerable.Range(0, Upstreams * EndpointsEach),
            new ParallelOptions { MaxDegreeOfParallelism = Writers },
            async (i, token) =>
                await server.Client.PutAsync(
                    ResourceKey.Sub(ResourceKind.Endpoint, Name(i / EndpointsEach), $"w{i % EndpointsEach}"),
                    $$"""{"spec": {"address": "10.200.{{i / 250}}.{{(i % 250) + 1}}", "port": 80} }""",
                    cancellationToken: token
                )
        );
        Print($"{Upstreams * EndpointsEach} PUTs of endpoints by {Writers} clients", $"{Milliseconds(started):f0} ms");
    }

    /// <summary>Asks until a backend answers; which one, if it is named.</summary>
    private static async Task AnswerOfAsync(Uri url, string? body)
    {
        var started = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(60))
        {
            try
            {
                using var response = await Http.GetAsync(url);
                var text = await response.Content.ReadAsStringAsync();
                if (response.IsSuccessStatusCode && (body is null || text.Contains(body, StringComparison.Ordinal)))
                {
                    return;
                }
            }
            catch (HttpRequestException)
            {
                // Not listening yet.
            }
        }

        throw new TimeoutException($"Envoy did not answer by {body}.");
    }

    private static readonly HttpClient Http = new();

    private static string Name(int index) => string.Create(CultureInfo.InvariantCulture, $"u{index:D5}");

    private static string Endpoint(int port) => $$"""{"spec": {"address": "127.0.0.1", "port": {{port}} } }""";

    private static string Fill()
    {
        var objects = new JsonArray();
        for (var i = 0; i < Upstreams; i++)
        {
            objects.Add(Manifest("Upstream", Name(i), """{"endpoints": {"source": "registration"}, "health": {"authority": "envoy"}}"""));
            for (var j = 0; j < EndpointsEach; j++)
            {
                objects.Add(
                    Manifest("Endpoint", $"{Name(i)}/e{j}", $$"""{"address": "10.{{i / 250}}.{{i % 250}}.{{j + 1}}", "port": 8080}""")
                );
            }
        }

        return objects.ToJsonString();
    }

    private static string Served(int port, int backend) =>
        new JsonArray(
            Manifest("Upstream", "served", """{"endpoints": {"source": "registration"}, "health": {"authority": "envoy"}}"""),
            Manifest("Endpoint", "served/e0", $$"""{"address": "127.0.0.1", "port": {{backend}} }"""),
            Manifest(
                "RouteTable",
                "edge",
                """{"virtualHosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "upstream": "served"}]}]}"""
            ),
            Manifest("Listener", "edge", $$"""{"address": "127.0.0.1", "port": {{port}}, "http": {"routeTable": "edge"} }""")
        ).ToJsonString();

    private static JsonNode Manifest(string kind, string name, string spec) =>
        new JsonObject
        {
            ["apiVersion"] = "controlplane/v1",
            ["kind"] = kind,
            ["metadata"] = new JsonObject { ["name"] = name },
            ["spec"] = JsonNode.Parse(spec),
        };

    private static string Bootstrap()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            var file = Path.Combine(folder.FullName, "envoy", "edge.yaml");
            if (File.Exists(file))
            {
                return File.ReadAllText(file, Encoding.UTF8);
            }
        }

        throw new FileNotFoundException("envoy/edge.yaml is not above the program's folder.");
    }

    private static double Milliseconds(long since) => Stopwatch.GetElapsedTime(since).TotalMilliseconds;

    private static void Print(string what, FormattableString figure) =>
        Console.WriteLine($"{what, -50} {figure.ToString(CultureInfo.InvariantCulture)}");
}
