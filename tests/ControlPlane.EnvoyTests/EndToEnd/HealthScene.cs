using System.Net.Http.Headers;
using ControlPlane.AdminClient;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Security;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>
/// A server that decides about the endpoints of upstream <c>shop</c>, real backends, and a real Envoy before them which decides nothing: its outlier detection is off
/// unless a test says otherwise.
/// </summary>
internal sealed class HealthScene : IAsyncDisposable
{
    /// <summary>The times of a check at their defaults.</summary>
    public const string DefaultTimes = "interval: 5s, edgeInterval: 1s, timeout: 2s";

    /// <summary>Times that find a dead backend in two seconds.</summary>
    public const string FastTimes = "interval: 500ms, edgeInterval: 200ms, timeout: 500ms";

    /// <summary>How often proxies report their traffic here: five times as often as they do by default.</summary>
    public static readonly TimeSpan ReportInterval = TimeSpan.FromSeconds(2);

    /// <summary>A path whose requests are not tried again.</summary>
    public const string Plain = "/plain";

    private const string Operator = "operator";

    private readonly DirectoryInfo _folder;
    private readonly Dictionary<string, string> _tokens;
    private readonly List<Edge> _further = [];

    private HealthScene(ControlPlaneHost server, Edge edge, DirectoryInfo folder, Dictionary<string, string> tokens)
    {
        Server = server;
        Edge = edge;
        _folder = folder;
        _tokens = tokens;
    }

    public ControlPlaneHost Server { get; }

    public Edge Edge { get; }

    public IReadOnlyList<TestBackend> Backends => Edge.Backends;

    /// <summary>Starts a server, backends and an Envoy; the server knows no upstream yet.</summary>
    /// <param name="backends">How many.</param>
    /// <param name="reportInterval">How often proxies report their traffic; <see cref="ReportInterval"/> if not given.</param>
    /// <param name="zone">The zone of the server's own prober.</param>
    /// <param name="checkers">Names of outside checkers, each of which gets a token that can do nothing but report.</param>
    public static async Task<HealthScene> StartAsync(
        int backends = 3,
        TimeSpan? reportInterval = null,
        string zone = "",
        params string[] checkers
    )
    {
        // Without an Envoy the test is skipped here, before there is anything to clear away.
        EnvoyFixture.Locate(EnvoyRelease.Current);
        var folder = Directory.CreateTempSubdirectory("controlplane-tokens-");
        var made = checkers.Select(c => (Name: c, Made: TokenFile.Create(c, TokenRole.Evidence))).ToList();
        made.Add((Operator, TokenFile.Create(Operator, TokenRole.Write)));
        var file = Path.Combine(folder.FullName, "tokens");
        await File.WriteAllLinesAsync(file, made.Select(m => m.Made.Line));
        var tokens = made.ToDictionary(m => m.Name, m => m.Made.Token);
        var policy = FleetHealthPolicy.Default with { LoadReportInterval = reportInterval ?? ReportInterval };
        var server = await ControlPlaneHost.StartAsync(
            o => o with { AdminTokenFile = file, Zone = zone },
            b => b.Services.AddSingleton(policy)
        );
        server.Http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", tokens[Operator]);
        var edge = await Edge.StartAsync(server.Xds.Port, backends: backends);
        return new HealthScene(server, edge, folder, tokens);
    }

    /// <summary>A further Envoy before the same backends.</summary>
    public async Task<Edge> AddEdgeAsync(string nodeId, string zone = "a")
    {
        var edge = await Edge.StartAsync(Server.Xds.Port, backends: 0, nodeId: nodeId, zone: zone);
        _further.Add(edge);
        return edge;
    }

    /// <summary>A client of the API as one of the outside checkers.</summary>
    public HttpClient CheckerClient(string name) =>
        new()
        {
            BaseAddress = Server.Admin,
            DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", _tokens[name]) },
        };

    /// <summary>Upstream <c>shop</c>.</summary>
    /// <param name="times">Times of the check.</param>
    /// <param name="check">The check.</param>
    /// <param name="health">More of <c>spec.health</c>, each member with a comma before it.</param>
    /// <param name="spec">More of <c>spec</c>, each member on a line of its own.</param>
    /// <param name="endpoints">Its endpoints; the backends if not given.</param>
    /// <param name="name">Another name.</param>
    /// <param name="reflex">Whether Envoy decides by itself, too.</param>
    public string Upstream(
        string times = FastTimes,
        string check = "http: {path: /}",
        string health = "",
        string spec = "",
        IEnumerable<string>? endpoints = null,
        string name = "shop",
        bool reflex = false
    ) =>
        $$"""
            apiVersion: controlplane/v1
            kind: Upstream
            metadata: {name: {{name}}}
            spec:
              connectTimeout: 1s
              endpoints: {source: static, static: [{{string.Join(", ", endpoints ?? Backends.Select(b => Endpoint(b.Port)))}}]}
              health: {checks: [{ {{check}}, {{times}} }], outlierDetection: {enabled: {{(reflex ? "true" : "false")}}}{{health}}}
              {{spec}}

            """;

    public static string Endpoint(int port, string? zone = null) =>
        $"{{address: 127.0.0.1, port: {port}{(zone is null ? "" : $", locality: {{zone: {zone}}}")}}}";

    /// <summary>The route table to copy, with its retries, and <see cref="Plain"/> without.</summary>
    /// <param name="statuses">What is tried again besides 503.</param>
    public static string Retries(string statuses = "") =>
        Edge.Example("retries.yaml")
            .Replace("statusCodes: [503]", $"statusCodes: [503{statuses}]", StringComparison.Ordinal)
            .Replace(
                "      routes:\n",
                $"      routes:\n        - {{match: {{path: {Plain}}}, upstream: shop, timeout: 2s}}\n",
                StringComparison.Ordinal
            );

    /// <summary>Applies all of it with a listener for each Envoy, and waits until all answer and every endpoint has passed: none is taken for new any more.</summary>
    public async Task ApplyAsync(params IEnumerable<string> manifests)
    {
        var edges = _further.Prepend(Edge).ToList();
        var listeners = edges.Select(e => e.Listener(name: e.Envoy.NodeId) + $"  nodeGroups: [{e.Envoy.NodeId}]\n");
        await Server.Client.ApplyAsync(
            string.Join("---\n", [.. manifests, .. edges.Select(e => Edge.NodeGroup(e.Envoy.NodeId)), .. listeners])
        );
        foreach (var edge in edges)
        {
            await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(30));
        }

        await AllPassAsync("shop");
    }

    /// <summary>Waits until every endpoint of an upstream has passed.</summary>
    public Task AllPassAsync(string upstream) =>
        UntilAsync($"all of {upstream} to pass", h => h.Endpoints.All(e => e.State == "UP"), within: 20, upstream);

    /// <summary>A load, once it has reached every backend. So many clients that some which wait for a dead backend do not stop it.</summary>
    public async Task<LoadGenerator> LoadAsync(int requestsPerSecond)
    {
        var before = Backends.Select(b => b.Requests).ToList();
        var load = new LoadGenerator(Edge.Url, requestsPerSecond, clients: 40);
        await Eventually.True("the load", _ => Task.FromResult(Backends.Zip(before).All(b => b.First.Requests > b.Second + 20)));
        return load;
    }

    /// <summary>Waits until the explanation of <c>shop</c> is as it should be.</summary>
    public Task<UpstreamHealthView> UntilAsync(
        string what,
        Func<UpstreamHealthView, bool> accept,
        double within,
        string upstream = "shop"
    ) => Eventually.Get(what, stop => Server.Client.HealthAsync(upstream, cancellationToken: stop), accept, TimeSpan.FromSeconds(within));

    /// <summary>Waits until Envoy's <c>/clusters</c> shows what EDS said of a backend.</summary>
    public Task UntilAsync(int port, string? status, double within, Edge? edge = null) =>
        Eventually.Get(
            $"port {port} to be {status ?? "left out"}",
            stop => (edge ?? Edge).Envoy.HealthOfAsync("shop", port, stop),
            found => found == status,
            TimeSpan.FromSeconds(within)
        );

    /// <summary>Why a backend is published as it is.</summary>
    public async Task<EndpointHealthView> ExplainAsync(int port) => Find(await Server.Client.HealthAsync("shop"), port);

    public static EndpointHealthView Find(UpstreamHealthView health, int port) =>
        health.Endpoints.Single(e => e.Endpoint == $"127.0.0.1:{port}");

    /// <summary>How many assignments of <c>shop</c> Envoy has applied.</summary>
    public async Task<long> AssignmentsAsync() => await Edge.Envoy.StatAsync("cluster.shop.update_success") ?? 0;

    /// <summary>No request of a load failed, neither up to now nor of those in progress.</summary>
    public static async Task NoneFailedAsync(LoadGenerator load)
    {
        var report = await load.StopAsync();
        Assert.True(report.Failed == 0, report.ToString());
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var edge in _further.Prepend(Edge))
        {
            await edge.DisposeAsync();
        }

        await Server.DisposeAsync();
        _folder.Delete(recursive: true);
    }
}
