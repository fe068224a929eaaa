using System.Text.Json.Nodes;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>From a REST call to live traffic: the first request, and every kind of edit after it.</summary>
[Trait("Category", "Slow")]
public sealed class EditTests
{
    /// <summary>Within which an edit reaches traffic. Measured from the moment the API has answered.</summary>
    private static readonly TimeSpan OneSecond = TimeSpan.FromSeconds(1);

    public static TheoryData<EnvoyRelease> Releases => [EnvoyRelease.Current, EnvoyRelease.Oldest];

    [Theory]
    [MemberData(nameof(Releases))]
    public async Task The_first_200_comes_within_a_second_of_putting_an_upstream_a_route_table_and_a_listener(EnvoyRelease release)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, release);
        await Eventually.True("the proxy to connect", async _ => (await server.Client.NodesAsync()).Items.Any(n => n.Connected));

        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "shop"), edge.Upstream());
        await server.Client.PutAsync(Edge.Key(ResourceKind.RouteTable, "edge"), Edge.RouteTable());
        await server.Client.PutAsync(Edge.Key(ResourceKind.Listener, "edge"), edge.Listener());
        await edge.AnswerAsync((status, _) => status == 200, OneSecond);
    }

    [Theory]
    [MemberData(nameof(Releases))]
    public async Task Every_kind_of_edit_takes_effect_within_a_second(EnvoyRelease release)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, release);
        await server.Client.ApplyAsync(edge.Manifests());
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));
        var upstream = Edge.Key(ResourceKind.Upstream, "shop");

        // An endpoint more, then only another one.
        await server.Client.PutAsync(upstream, edge.Upstream("shop", edge.Backends[0], edge.Backends[1]));
        await edge.AnswerAsync((_, text) => text.Contains("backend-1"), OneSecond, "the added endpoint");
        await server.Client.PutAsync(upstream, edge.Upstream("shop", edge.Backends[1]));
        await Eventually.Get(
            "the only endpoint",
            token => edge.Envoy.HostsAsync("shop", token),
            hosts => hosts is [var only] && only == $"127.0.0.1:{edge.Backends[1].Port}",
            OneSecond
        );

        // Weights of a route.
        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "other"), edge.Upstream("other", edge.Backends[2]));
        await server.Client.PutAsync(
            Edge.Key(ResourceKind.RouteTable, "edge"),
            Edge.RouteTable("- {match: {prefix: /}, upstreams: [{name: shop, weight: 0}, {name: other, weight: 100}]}")
        );
        await edge.AnswerAsync((_, text) => text.Contains("backend-2"), OneSecond, "the route's new weight");

        // A time-out.
        edge.Backends[2].Delay = TimeSpan.FromMilliseconds(300);
        await server.Client.PutAsync(
            Edge.Key(ResourceKind.RouteTable, "edge"),
            Edge.RouteTable("- {match: {prefix: /}, upstream: other, timeout: 100ms}")
        );
        await edge.AnswerAsync((status, _) => status == 504, OneSecond, "the route's time-out");
        edge.Backends[2].Delay = TimeSpan.Zero;

        // A filter of the listener.
        await server.Client.PutAsync(
            Edge.Key(ResourceKind.Listener, "edge"),
            edge.Listener(
                """
                {routeTable: edge, filters: [{name: envoy.filters.http.local_ratelimit, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: all, token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s}, filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}}}]}
                """.Trim()
            )
        );
        await edge.AnswerAsync((status, _) => status == 429, OneSecond, "the listener's filter");
    }

    [Theory]
    [MemberData(nameof(Releases))]
    public async Task A_weight_of_an_endpoint_reaches_Envoy_within_a_second_and_touches_nothing_else(EnvoyRelease release)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, release);
        const string shop = """
            apiVersion: controlplane/v1
            kind: Upstream
            metadata: {name: shop}
            spec: {endpoints: {source: registration}}

            """;
        await server.Client.ApplyAsync(string.Join("---\n", shop, Edge.RouteTable(), edge.Listener()));
        foreach (var (backend, index) in edge.Backends.Select((b, i) => (b, i)))
        {
            await server.Client.PutAsync(
                ResourceKey.Sub(ResourceKind.Endpoint, "shop", $"e{index}"),
                $$$"""{"spec":{"address":"127.0.0.1","port":{{{backend.Port}}}}}"""
            );
        }

        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));
        var before = await edge.Envoy.StatAsync("cluster_manager.cds.update_success");

        await server.Client.PatchAsync(ResourceKey.Sub(ResourceKind.Endpoint, "shop", "e0"), JsonNode.Parse("""{"spec":{"weight":7}}""")!);
        await Eventually.True(
            "the weight",
            async _ => (await edge.Envoy.ClustersAsync()).ToJsonString().Contains("\"weight\":7", StringComparison.Ordinal),
            OneSecond
        );
        Assert.Equal(before, await edge.Envoy.StatAsync("cluster_manager.cds.update_success"));
    }

    [Theory]
    [MemberData(nameof(Releases))]
    public async Task A_rotated_certificate_is_served_within_a_second(EnvoyRelease release)
    {
        var secrets = Directory.CreateTempSubdirectory("controlplane-secrets-");
        try
        {
            await using var server = await ControlPlaneHost.StartAsync(o => o with { SecretDir = secrets.FullName });
            await using var edge = await Edge.StartAsync(server.Xds.Port, release);
            var first = TestCertificate.Write(secrets.FullName, "CN=first.test");
            await server.Client.ApplyAsync(
                string.Join(
                    "---\n",
                    edge.Upstream(),
                    Edge.RouteTable(),
                    """
                    apiVersion: controlplane/v1
                    kind: Secret
                    metadata: {name: edge-cert}
                    spec:
                      certificate: {chain: {file: tls.crt}, privateKey: {file: tls.key}}

                    """,
                    edge.Listener() + "  tls: {certificates: [{secret: edge-cert}]}\n"
                )
            );
            await Eventually.True("the first certificate", async _ => await TestCertificate.ServedAsync(edge.ListenerPort) == first);

            var second = TestCertificate.Write(secrets.FullName, "CN=second.test");
            await Eventually.True(
                "the second certificate",
                async _ => await TestCertificate.ServedAsync(edge.ListenerPort) == second,
                OneSecond
            );
        }
        finally
        {
            secrets.Delete(recursive: true);
        }
    }

    [Theory]
    [InlineData("edge.yaml")]
    [InlineData("sidecar.yaml")]
    [InlineData("edge-sotw.yaml")]
    [InlineData("edge-rest.yaml")]
    public async Task Each_bootstrap_to_copy_brings_traffic(string bootstrap)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, bootstrap: bootstrap);
        await Eventually.True("the proxy", async _ => !(await server.Client.NodesAsync()).Items.IsEmpty, TimeSpan.FromSeconds(20));
        var written = await server.Client.ApplyAsync(edge.Manifests(), new WriteOptions { WaitAcked = TimeSpan.FromSeconds(20) });
        Assert.Equal((1, 0), (written.Propagation!.Acked, written.Propagation.Pending.Length));
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(20));
        await Eventually.True(
            "the proxy to have all",
            async _ =>
                (await server.Client.NodesAsync()).Items.Select(node => (node.Connected, node.State)).SequenceEqual([(true, "synced")]),
            TimeSpan.FromSeconds(20)
        );
    }

    [Fact]
    public async Task A_proxy_that_polls_and_refuses_a_cluster_is_shown_and_recovers_when_it_is_corrected()
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, bootstrap: "edge-rest.yaml");
        await server.Client.ApplyAsync(edge.Manifests());
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(20));

        const string Odd = """
            apiVersion: controlplane/v1
            kind: EnvoyResource
            metadata: {name: odd}
            spec:
              resource:
                "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
                name: odd
                type: LOGICAL_DNS
                connect_timeout: 1s

            """;
        await server.Client.ApplyAsync(Odd, new WriteOptions { ValidationWarn = true, Reason = "a test" });
        await Eventually.True(
            "the refusal",
            async _ =>
                (await server.Client.NodesAsync()).Items[0] is { State: "refused" } node
                && node.Streams[0].Types.SelectMany(t => t.Refusals).Any(r => r.Resource == "odd"),
            TimeSpan.FromSeconds(20)
        );

        var mended = await server.Client.ApplyAsync(
            Odd.Replace("LOGICAL_DNS", "STATIC", StringComparison.Ordinal),
            new WriteOptions { WaitAcked = TimeSpan.FromSeconds(20) }
        );
        Assert.Equal((1, 0, 0), (mended.Propagation!.Acked, mended.Propagation.Nacked.Length, mended.Propagation.Pending.Length));
    }
}
