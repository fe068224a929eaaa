using System.Runtime.CompilerServices;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>A real Envoy, started from one of the bootstraps to copy, in front of real backends: what an edge test needs besides a server.</summary>
internal sealed class Edge : IAsyncDisposable
{
    private readonly List<TestBackend> _backends = [];

    private Edge(EnvoyFixture envoy)
    {
        Envoy = envoy;
    }

    public EnvoyFixture Envoy { get; }

    /// <summary>Where the tests' listener listens.</summary>
    public int ListenerPort { get; } = FreePort.Next();

    public Uri Url => new($"http://127.0.0.1:{ListenerPort}/");

    public IReadOnlyList<TestBackend> Backends => _backends;

    /// <summary>Does not keep connections, so that each request meets the newest listener.</summary>
    public HttpClient Http { get; } =
        new(new SocketsHttpHandler { UseProxy = false, PooledConnectionLifetime = TimeSpan.Zero }) { Timeout = TimeSpan.FromSeconds(10) };

    /// <summary>Starts the backends and an Envoy that asks a server for its configuration.</summary>
    public static async Task<Edge> StartAsync(
        int xdsPort,
        EnvoyRelease release = EnvoyRelease.Current,
        int backends = 3,
        string bootstrap = "edge.yaml",
        string? nodeId = null,
        string zone = "a"
    )
    {
        var edge = new Edge(new EnvoyFixture(release));
        for (var i = 0; i < backends; i++)
        {
            // A port that nobody takes by chance when the backend stops.
            edge._backends.Add(await TestBackend.StartAsync($"backend-{i}", port: FreePort.Next()));
        }

        var text = Bootstrap(bootstrap).Replace("zone: a", $"zone: {zone}", StringComparison.Ordinal);
        await edge.Envoy.StartAsync(text, new Dictionary<int, int> { [18000] = xdsPort }, nodeId);
        return edge;
    }

    /// <summary>The text of a bootstrap in <c>envoy/</c>.</summary>
    public static string Bootstrap(string name, [CallerFilePath] string here = "") =>
        File.ReadAllText(Path.Combine(Path.GetDirectoryName(here)!, "../../../envoy", name));

    /// <summary>The text of a manifest in <c>docs/examples</c>.</summary>
    public static string Example(string name, [CallerFilePath] string here = "") =>
        File.ReadAllText(Path.Combine(Path.GetDirectoryName(here)!, "../../../docs/examples", name));

    public async Task<TestBackend> AddBackendAsync(X509Certificate2? certificate = null)
    {
        var backend = await TestBackend.StartAsync($"backend-{_backends.Count}", certificate: certificate, port: FreePort.Next());
        _backends.Add(backend);
        return backend;
    }

    /// <summary>Upstream <c>shop</c> with the given backends as static endpoints.</summary>
    public string Upstream(string name = "shop", params IEnumerable<TestBackend> backends)
    {
        var text = new StringBuilder(
            $$"""
            apiVersion: controlplane/v1
            kind: Upstream
            metadata: {name: {{name}}}
            spec:
              drain: {time: 2s}
              endpoints:
                source: static
                static:

            """
        );
        foreach (var backend in backends.DefaultIfEmpty(_backends[0]))
        {
            text.AppendLine($"      - {{address: 127.0.0.1, port: {backend.Port}}}");
        }

        return text.ToString();
    }

    public static string RouteTable(string routes = "- {match: {prefix: /}, upstream: shop}") =>
        $$"""
            apiVersion: controlplane/v1
            kind: RouteTable
            metadata: {name: edge}
            spec:
              virtualHosts:
                - name: all
                  domains: ["*"]
                  routes:
                    {{routes}}

            """;

    public string Listener(string http = "{routeTable: edge}", string name = "edge", int? port = null) =>
        $$"""
            apiVersion: controlplane/v1
            kind: Listener
            metadata: {name: {{name}}}
            spec:
              address: 127.0.0.1
              port: {{port ?? ListenerPort}}
              http: {{http}}

            """;

    /// <summary>A node group of the one node of the same name.</summary>
    public static string NodeGroup(string id) =>
        $$"""
            apiVersion: controlplane/v1
            kind: NodeGroup
            metadata: {name: {{id}}}
            spec: {selectors: [{ids: [{{id}}]}]}

            """;

    /// <summary>All three, as one file.</summary>
    public string Manifests() => string.Join("---\n", Upstream(), RouteTable(), Listener());

    /// <summary>Waits for an answer of the edge that is accepted.</summary>
    public Task<string> AnswerAsync(Func<int, string, bool> accept, TimeSpan within, string what = "the edge's answer", string path = "") =>
        Eventually.Get(
            what,
            async token =>
            {
                using var response = await Http.GetAsync(new Uri(Url, path), token);
                var text = await response.Content.ReadAsStringAsync(token);
                return $"{(int)response.StatusCode} {text}";
            },
            text => accept(int.Parse(text[..3]), text[4..]),
            within
        );

    public static ResourceKey Key(ResourceKind kind, string name) => new(kind, name);

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await Envoy.DisposeAsync();
        foreach (var backend in _backends)
        {
            await backend.DisposeAsync();
        }
    }
}
