using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>What a mixed fleet of the newest and the oldest Envoy refuses shows up with their words, and holds up nothing else.</summary>
[Trait("Category", "Slow")]
public sealed class RefusalTests
{
    private const string ClusterType = "envoy.config.cluster.v3.Cluster";
    private const string RouteType = "envoy.config.route.v3.RouteConfiguration";
    private static readonly TimeSpan TwoSeconds = TimeSpan.FromSeconds(2);
    private static readonly ResourceKey Bad = Edge.Key(ResourceKind.EnvoyResource, "bad");

    /// <summary>A kind of refusal.</summary>
    /// <param name="Type">The resource's type.</param>
    /// <param name="Before">What is in force before; null: nothing.</param>
    /// <param name="Refused">What is let past our checks on purpose.</param>
    /// <param name="Corrected">What the proxies take afterwards.</param>
    /// <param name="Words">What Envoy says of it.</param>
    private sealed record Kind(string Type, string? Before, string Refused, string Corrected, string Words);

    /// <summary>One of each kind: P (parsing), R (per resource), W (per watch), and a ring that fails late.</summary>
    private static readonly Dictionary<string, Kind> Kinds = new()
    {
        ["P"] = new(
            ClusterType,
            null,
            "name: bad, type: STATIC, connect_timeout: 0s",
            "name: bad, type: STATIC, connect_timeout: 1s",
            "ConnectTimeout: value must be greater than 0s"
        ),
        ["R"] = new(ClusterType, null, Static("foo.local"), Static("127.0.0.1"), "malformed IP address: foo.local"),
        ["late"] = new(
            ClusterType,
            null,
            Static("127.0.0.1") + ", lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 2000, maximum_ring_size: 1000}",
            Static("127.0.0.1") + ", lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 100, maximum_ring_size: 1000}",
            "minimum_ring_size"
        ),
        ["W"] = new(
            RouteType,
            Routes("before.test"),
            Routes("A.test"),
            Routes("after.test"),
            "Only unique values for domains are permitted"
        ),
    };

    public static TheoryData<string> Names => [.. Kinds.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    [Trait("Rule", "D-33")]
    [Trait("Rule", "O-08")]
    public async Task A_refused_resource_is_shown_in_Envoys_words_stops_nothing_leaves_nothing_behind_and_recovers(string name)
    {
        var kind = Kinds[name];
        await using var server = new ServerProcess();
        await server.StartAsync();
        await using var current = await Edge.StartAsync(server.XdsPort, EnvoyRelease.Current, backends: 3, nodeId: "current");
        await using var oldest = await Edge.StartAsync(server.XdsPort, EnvoyRelease.Oldest, backends: 0, nodeId: "oldest");
        Edge[] fleet = [current, oldest];
        string[] before = kind.Before is null ? [] : [Manifest(kind, kind.Before), .. fleet.Select(RawListener)];
        await server.Client.ApplyAsync(
            string.Join("---\n", [current.Upstream(), Edge.RouteTable(), .. fleet.Select(Listener), .. before]),
            new WriteOptions { WaitAcked = TimeSpan.FromSeconds(10) }
        );
        await EachAnswersAsync(fleet, "backend-0", TimeSpan.FromSeconds(20));

        // It is shown on the nodes and on the object.
        await server.Client.PutAsync(
            Bad,
            Manifest(kind, kind.Refused),
            new WriteOptions { ValidationWarn = true, Reason = "to see what Envoy says" }
        );
        await IsShownAsync(server, kind);
        await HoldNothingOfItAsync(fleet, kind);

        // It does not stop the others, and is not sent again.
        await OthersAloneAreSentAsync(server, fleet, current.Backends[1]);
        await OthersAloneAreSentAsync(server, fleet, current.Backends[2]);
        await EachHasRejectedAsync(fleet, times: 1);

        // A server that knows nothing of it, and proxies that come back to it: all the same.
        server.Kill();
        await server.StartAsync();
        await Eventually.True(
            "the proxies to come back",
            async _ => (await server.Client.NodesAsync()).Items.Count(n => n.Connected) == 2,
            TimeSpan.FromSeconds(60)
        );
        await IsShownAsync(server, kind);
        await HoldNothingOfItAsync(fleet, kind);
        await EachAnswersAsync(fleet, "backend-2", TwoSeconds);
        await OthersAloneAreSentAsync(server, fleet, current.Backends[0]);
        await EachHasRejectedAsync(fleet, times: 2);

        // It recovers when corrected.
        await server.Client.PutAsync(Bad, Manifest(kind, kind.Corrected), new WriteOptions { WaitAcked = TimeSpan.FromSeconds(10) });
        await Eventually.True(
            "the proxies to be in step",
            async _ => (await server.Client.NodesAsync()).Items.All(n => n.State == "synced"),
            TimeSpan.FromSeconds(5)
        );
        Assert.Empty((await server.Client.NodesAsync()).Items.SelectMany(Refusals));
        Assert.Equal("True", (await ProgrammedAsync(server)).Status);
        foreach (var edge in fleet)
        {
            Assert.Contains(
                kind.Before is null ? "\"bad\"" : "after.test",
                await edge.Envoy.GetAsync("config_dump"),
                StringComparison.Ordinal
            );
        }
    }

    private static string Static(string address) =>
        $"name: bad, type: STATIC, load_assignment: {{cluster_name: bad, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {address}, port_value: 80}}}}}}}}]}}]}}";

    /// <summary>One virtual host for <c>a.test</c> and one for another domain.</summary>
    private static string Routes(string other) =>
        $"name: raw, virtual_hosts: [{{name: a, domains: [a.test], routes: [{Direct}]}}, {{name: b, domains: [{other}], routes: [{Direct}]}}]";

    private const string Direct = "{match: {prefix: /}, direct_response: {status: 200}}";

    private static string Manifest(Kind kind, string body) =>
        $$"""
            apiVersion: controlplane/v1
            kind: EnvoyResource
            metadata: {name: bad}
            spec:
              resource: {"@type": type.googleapis.com/{{kind.Type}}, {{body}}}

            """;

    private static string Listener(Edge edge) =>
        Edge.NodeGroup(edge.Envoy.NodeId)
        + "---\n"
        + edge.Listener(name: $"on-{edge.Envoy.NodeId}")
        + $"  nodeGroups: [{edge.Envoy.NodeId}]\n";

    /// <summary>Asks for the route configuration that is refused, or nobody would refuse it.</summary>
    private static string RawListener(Edge edge) =>
        $$$"""
            apiVersion: controlplane/v1
            kind: EnvoyResource
            metadata: {name: raw-{{{edge.Envoy.NodeId}}}}
            spec:
              nodeGroups: [{{{edge.Envoy.NodeId}}}]
              resource:
                "@type": type.googleapis.com/envoy.config.listener.v3.Listener
                name: raw-{{{edge.Envoy.NodeId}}}
                address: {socket_address: {address: 127.0.0.1, port_value: {{{FreePort.Next()}}}}}
                filter_chains:
                  - filters:
                      - name: envoy.filters.network.http_connection_manager
                        typed_config:
                          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                          stat_prefix: raw
                          rds: {route_config_name: raw, config_source: {resource_api_version: V3, ads: {} } }
                          http_filters:
                            - name: envoy.filters.http.router
                              typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}

            """;

    /// <summary>Within two seconds each node and the object say what Envoy said.</summary>
    private static async Task IsShownAsync(ServerProcess server, Kind kind)
    {
        await Eventually.Get(
            "the refusal on both nodes",
            async token => (await server.Client.NodesAsync(token)).Items,
            nodes =>
                nodes.Length == 2
                && nodes.All(n => n.State == "refused" && Refusals(n).Any(r => r.Message.Contains(kind.Words, StringComparison.Ordinal))),
            TwoSeconds
        );
        var programmed = await ProgrammedAsync(server);
        Assert.Equal("False", programmed.Status);
        Assert.Contains(kind.Words, programmed.Message, StringComparison.Ordinal);
    }

    private static async Task<Condition> ProgrammedAsync(ServerProcess server) =>
        (await server.Client.FindAsync(Bad))!.Status!.Conditions.Single(c => c.Type == "Programmed");

    private static IEnumerable<Refusal> Refusals(NodeView node) => node.Streams.SelectMany(s => s.Types).SelectMany(t => t.Refusals);

    /// <summary>The proxies have what they had before, and nothing of what they refused: not warming, not as an error.</summary>
    private static async Task HoldNothingOfItAsync(Edge[] fleet, Kind kind)
    {
        foreach (var edge in fleet)
        {
            await Eventually.Get(
                "a configuration without what was refused",
                token => edge.Envoy.GetAsync("config_dump?include_eds", token),
                dump =>
                    kind.Before is null
                        ? !dump.Contains("\"bad\"", StringComparison.Ordinal)
                        : dump.Contains("before.test", StringComparison.Ordinal) && !dump.Contains("A.test", StringComparison.Ordinal),
                TwoSeconds
            );
        }
    }

    /// <summary>A change of endpoints reaches all proxies, as one response of EDS, and nothing else is sent.</summary>
    private static async Task OthersAloneAreSentAsync(ServerProcess server, Edge[] fleet, TestBackend backend)
    {
        await Eventually.True(
            "all answers",
            async token =>
                (await server.Client.NodesAsync(token))
                    .Items.SelectMany(n => n.Streams)
                    .SelectMany(s => s.Types)
                    .All(t => t.Unanswered == 0)
        );
        var before = await Task.WhenAll(fleet.Select(ResponsesAsync));
        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "shop"), fleet[0].Upstream("shop", backend));
        await EachAnswersAsync(fleet, backend.Name, TwoSeconds);
        var after = await Task.WhenAll(fleet.Select(ResponsesAsync));
        Assert.Equal(before.Select(b => b with { Endpoints = b.Endpoints + 1 }), after);
    }

    private static async Task EachAnswersAsync(Edge[] fleet, string backend, TimeSpan within)
    {
        foreach (var edge in fleet)
        {
            await edge.AnswerAsync((status, text) => status == 200 && text == backend, within, $"{backend} through {edge.Envoy.NodeId}");
        }
    }

    /// <summary>Responses that a proxy has taken or refused, per type.</summary>
    private sealed record Responses(long Clusters, long Endpoints, long Listeners, long Routes, long RawRoutes);

    private static async Task<Responses> ResponsesAsync(Edge edge) =>
        new(
            await AnsweredAsync(edge, "cluster_manager.cds"),
            await AnsweredAsync(edge, "cluster.shop"),
            await AnsweredAsync(edge, "listener_manager.lds"),
            await AnsweredAsync(edge, $"http.on-{edge.Envoy.NodeId}.rds.edge"),
            await AnsweredAsync(edge, "http.raw.rds.raw")
        );

    private static async Task<long> AnsweredAsync(Edge edge, string subscription) =>
        (await edge.Envoy.StatAsync(subscription + ".update_success") ?? 0)
        + (await edge.Envoy.StatAsync(subscription + ".update_rejected") ?? 0);

    private static async Task EachHasRejectedAsync(Edge[] fleet, long times)
    {
        foreach (var edge in fleet)
        {
            Assert.Equal(
                times,
                (await edge.Envoy.StatAsync("cluster_manager.cds.update_rejected") ?? 0)
                    + (await edge.Envoy.StatAsync("http.raw.rds.raw.update_rejected") ?? 0)
            );
        }
    }
}
