using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>What Envoy refuses shows up with its words, and holds up nothing else.</summary>
[Trait("Category", "Slow")]
public sealed class RefusalTests
{
    private static readonly TimeSpan TwoSeconds = TimeSpan.FromSeconds(2);

    /// <summary>One refused resource of each kind: P (parsing), R (per resource), W (per watch), and a ring that fails late; each let past our checks on purpose.</summary>
    private static readonly Dictionary<string, (string Type, string Bad, string Good)> Kinds = new()
    {
        ["P"] = (
            "envoy.config.cluster.v3.Cluster",
            "name: bad, type: STATIC, connect_timeout: 0s",
            "name: bad, type: STATIC, connect_timeout: 1s"
        ),
        ["R"] = (
            "envoy.config.cluster.v3.Cluster",
            "name: bad, type: STATIC, load_assignment: {cluster_name: bad, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: foo.local, port_value: 80}}}}]}]}",
            "name: bad, type: STATIC, load_assignment: {cluster_name: bad, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}"
        ),
        ["late"] = (
            "envoy.config.cluster.v3.Cluster",
            "name: bad, type: STATIC, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 2000, maximum_ring_size: 1000}, load_assignment: {cluster_name: bad, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}",
            "name: bad, type: STATIC, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 100, maximum_ring_size: 1000}, load_assignment: {cluster_name: bad, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}"
        ),
        ["W"] = (
            "envoy.config.route.v3.RouteConfiguration",
            "name: raw, virtual_hosts: [{name: a, domains: [x.test], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}, {name: b, domains: [X.test], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]",
            "name: raw, virtual_hosts: [{name: a, domains: [x.test], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}, {name: b, domains: [y.test], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]"
        ),
    };

    public static TheoryData<string, EnvoyRelease> Cases
    {
        get
        {
            var data = new TheoryData<string, EnvoyRelease>();
            foreach (var kind in Kinds.Keys)
            {
                data.Add(kind, EnvoyRelease.Current);
                data.Add(kind, EnvoyRelease.Oldest);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_refused_resource_is_shown_with_Envoys_words_stops_nothing_and_recovers(string kind, EnvoyRelease release)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, release);
        await server.Client.ApplyAsync(edge.Manifests());
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));
        var bad = Edge.Key(ResourceKind.EnvoyResource, "bad");
        var letPast = new WriteOptions { ValidationWarn = true, Reason = "to see what Envoy says" };
        if (kind == "W")
        {
            // A listener that asks for the route table, or nobody would refuse it.
            await server.Client.PutAsync(bad, Manifest(kind, good: true));
            await server.Client.PutAsync(Edge.Key(ResourceKind.EnvoyResource, "raw-listener"), RawListener(FreePort.Next()));
            await Eventually.True("the raw route table", async _ => await edge.Envoy.StatAsync("http.raw.rds.raw.config_reload") > 0);
        }

        await server.Client.PutAsync(bad, Manifest(kind, good: false), letPast);
        await Eventually.True("the refusal on the node", async _ => (await RefusalsAsync(server)).Any(), TwoSeconds);
        var programmed = (await server.Client.FindAsync(bad))!.Status!.Conditions.Single(c => c.Type == "Programmed");
        Assert.Equal("False", programmed.Status);
        Assert.NotEmpty((await RefusalsAsync(server)).First());

        // It does not stop the others …
        var backend = await edge.AddBackendAsync();
        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "shop"), edge.Upstream("shop", backend));
        await edge.AnswerAsync(
            (_, text) => text.Contains(backend.Name, StringComparison.Ordinal),
            TwoSeconds,
            "a change beside the refused one"
        );

        // … and is not sent again in a loop.
        var rejected = await RejectedAsync(edge);
        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "shop"), edge.Upstream("shop", edge.Backends[0]));
        await edge.AnswerAsync((_, text) => text.Contains("backend-0", StringComparison.Ordinal), TwoSeconds, "a second change");
        Assert.Equal(rejected, await RejectedAsync(edge));

        // It recovers when corrected.
        await server.Client.PutAsync(bad, Manifest(kind, good: true), new WriteOptions { WaitAcked = TimeSpan.FromSeconds(10) });
        await Eventually.True(
            "the node to be in step",
            async _ => (await server.Client.NodesAsync()).Items.Single().State == "synced",
            TimeSpan.FromSeconds(5)
        );
        Assert.Empty(await RefusalsAsync(server));
    }

    private static string Manifest(string kind, bool good) =>
        $$"""
            apiVersion: controlplane/v1
            kind: EnvoyResource
            metadata: {name: bad}
            spec:
              resource: {"@type": type.googleapis.com/{{Kinds[kind].Type}}, {{(good ? Kinds[kind].Good : Kinds[kind].Bad)}}}
            """;

    private static string RawListener(int port) =>
        $$$"""
            apiVersion: controlplane/v1
            kind: EnvoyResource
            metadata: {name: raw-listener}
            spec:
              resource:
                "@type": type.googleapis.com/envoy.config.listener.v3.Listener
                name: raw
                address: {socket_address: {address: 127.0.0.1, port_value: {{{port}}}}}
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

    private static async Task<IEnumerable<string>> RefusalsAsync(ControlPlaneHost server) =>
        (await server.Client.NodesAsync())
            .Items.SelectMany(n => n.Streams)
            .SelectMany(s => s.Types)
            .SelectMany(t => t.Refusals)
            .Select(r => r.Message);

    private static async Task<long> RejectedAsync(Edge edge) =>
        (await edge.Envoy.StatAsync("cluster_manager.cds.update_rejected") ?? 0)
        + (await edge.Envoy.StatAsync("http.raw.rds.raw.update_rejected") ?? 0);
}
