using System.Net;
using System.Net.Sockets;
using ControlPlane.AdminClient;
using ControlPlane.Core.Discovery;
using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>What an Envoy refuses and what it is asked to take at the same time; and refusals whose reason goes away.</summary>
[Trait("Category", "Slow")]
public sealed class RefusedCompanyTests
{
    private static readonly WriteOptions LetPast = new() { ValidationWarn = true, Reason = "to see what Envoy says" };

    public static TheoryData<string, EnvoyRelease> Cases =>
        new()
        {
            { "edge.yaml", EnvoyRelease.Current },
            { "edge-sotw.yaml", EnvoyRelease.Current },
            { "edge.yaml", EnvoyRelease.Oldest },
        };

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_cluster_that_fails_late_holds_up_nothing_that_was_written_with_it(string bootstrap, EnvoyRelease release)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, release, bootstrap: bootstrap);
        await server.Client.ApplyAsync(edge.Manifests());
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));

        var fresh = Enumerable.Range(0, 3).Select(i => edge.Upstream($"fresh-{i}", edge.Backends[1]));
        await server.Client.ApplyAsync(string.Join("---\n", [.. fresh, Late()]), LetPast);
        await ExpectRefusalAsync(server, "late", "ring");
        await server.Client.PutAsync(
            Edge.Key(ResourceKind.RouteTable, "edge"),
            Edge.RouteTable("- {match: {prefix: /}, upstream: fresh-2}")
        );
        await edge.AnswerAsync((_, text) => text.Contains("backend-1", StringComparison.Ordinal), TimeSpan.FromSeconds(2));
        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "later"), edge.Upstream("later", edge.Backends[2]));
        await server.Client.PutAsync(Edge.Key(ResourceKind.RouteTable, "edge"), Edge.RouteTable("- {match: {prefix: /}, upstream: later}"));
        await edge.AnswerAsync((_, text) => text.Contains("backend-2", StringComparison.Ordinal), TimeSpan.FromSeconds(2));
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task An_Envoy_that_connects_while_bad_clusters_are_stored_gets_the_others_and_refuses_each_of_them(
        string bootstrap,
        EnvoyRelease release
    )
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, release, bootstrap: bootstrap);
        await edge.Envoy.StopAsync();
        await server.Client.ApplyAsync(string.Join("---\n", edge.Manifests(), Late(), Unparsable()), LetPast);
        await edge.Envoy.StartAsync(Edge.Bootstrap(bootstrap), new Dictionary<int, int> { [18000] = server.Xds.Port });
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));
        await ExpectRefusalAsync(server, "late", "ring");
        await ExpectRefusalAsync(server, "unparsable", "connect_timeout", "ConnectTimeout");
        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "shop"), edge.Upstream("shop", edge.Backends[1]));
        await edge.AnswerAsync((_, text) => text.Contains("backend-1", StringComparison.Ordinal), TimeSpan.FromSeconds(2));
    }

    [Theory]
    [MemberData(nameof(Cases))]
    [Trait("Rule", "O-08")]
    public async Task O08_after_a_restart_what_an_Envoy_had_refused_is_told_again_and_stops_nothing(string bootstrap, EnvoyRelease release)
    {
        await using var server = new ServerProcess();
        await server.StartAsync();
        await using var edge = await Edge.StartAsync(server.XdsPort, release, bootstrap: bootstrap);
        await server.Client.ApplyAsync(edge.Manifests());
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));
        await server.Client.ApplyAsync(string.Join("---\n", Late(), Single()), LetPast);
        await ExpectRefusalAsync(server.Client, "late", "ring");
        await ExpectRefusalAsync(server.Client, "single", "LOGICAL_DNS");

        server.Kill();
        await server.StartAsync();
        await Eventually.True(
            "the refusals, told again",
            async _ => (await RefusedAsync(server.Client)).IsSupersetOf(["late", "single"]),
            TimeSpan.FromSeconds(30)
        );
        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "later"), edge.Upstream("later", edge.Backends[2]));
        await server.Client.PutAsync(Edge.Key(ResourceKind.RouteTable, "edge"), Edge.RouteTable("- {match: {prefix: /}, upstream: later}"));
        await edge.AnswerAsync((_, text) => text.Contains("backend-2", StringComparison.Ordinal), TimeSpan.FromSeconds(2));
        await server.Client.PutAsync(Edge.Key(ResourceKind.Upstream, "later"), edge.Upstream("later", edge.Backends[1]));
        await edge.AnswerAsync((_, text) => text.Contains("backend-1", StringComparison.Ordinal), TimeSpan.FromSeconds(2));
        Assert.Equal(["late", "single"], (await RefusedAsync(server.Client)).Order());
    }

    private static async Task<HashSet<string>> RefusedAsync(AdminApiClient client) =>
        (await client.NodesAsync())
            .Items.SelectMany(n => n.Streams)
            .SelectMany(s => s.Types)
            .SelectMany(t => t.Refusals)
            .Select(r => r.Resource)
            .ToHashSet(StringComparer.Ordinal);

    [Fact]
    public async Task A_listener_that_was_refused_for_its_address_is_tried_again_when_another_one_goes()
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port);
        await server.Client.ApplyAsync(edge.Manifests());
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));
        using var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();
        var port = ((IPEndPoint)other.LocalEndpoint).Port;
        await server.Client.PutAsync(Edge.Key(ResourceKind.EnvoyResource, "second"), RawListener("second", port));
        await ExpectRefusalAsync(server, "second", "ddress");
        other.Stop();
        await server.Client.DeleteAsync(Edge.Key(ResourceKind.Listener, "edge"));
        await Eventually.Get(
            "the second listener",
            token => edge.Http.GetStringAsync(new Uri($"http://127.0.0.1:{port}/"), token),
            text => text == "raw second",
            TimeSpan.FromSeconds(5)
        );
    }

    [Theory]
    [InlineData(EnvoyRelease.Current)]
    [InlineData(EnvoyRelease.Oldest)]
    public async Task A_listener_whose_port_another_process_had_works_soon_after_that_gives_it_up(EnvoyRelease release)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, release, backends: 0);
        using var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();
        var port = ((IPEndPoint)other.LocalEndpoint).Port;
        await server.Client.PutAsync(Edge.Key(ResourceKind.EnvoyResource, "second"), RawListener("second", port));
        await ExpectRefusalAsync(server, "second", "Address already in use");

        other.Stop();

        await Eventually.Get(
            "the second listener",
            token => edge.Http.GetStringAsync(new Uri($"http://127.0.0.1:{port}/"), token),
            text => text == "raw second",
            DiscoverySession.FirstBindRetry + TimeSpan.FromSeconds(3)
        );
        Assert.Equal(1, await edge.Envoy.StatAsync("listener_manager.lds.update_rejected"));
        await Eventually.True(
            "the node to have all",
            async _ => (await server.Client.NodesAsync()).Items.Single().State == "synced",
            TimeSpan.FromSeconds(2)
        );
    }

    [Fact]
    public async Task A_listener_that_was_refused_for_its_secret_is_served_when_the_secret_is_corrected()
    {
        var folder = Directory.CreateTempSubdirectory();
        var (goodCrt, goodKey) = Certificate(folder.FullName);
        var (_, otherKey) = Certificate(folder.FullName);
        folder.Delete(recursive: true);
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port);
        var port = FreePort.Next();
        await server.Client.ApplyAsync(
            string.Join("---\n", edge.Manifests(), Secret(goodCrt, otherKey), RawListener("tls", port, "secret")),
            LetPast
        );
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));
        await Eventually.True(
            "a refusal",
            async _ =>
                (await server.Client.NodesAsync())
                    .Items.SelectMany(n => n.Streams)
                    .SelectMany(s => s.Types)
                    .Any(t => t.LastRefusal is not null),
            TimeSpan.FromSeconds(5)
        );
        Assert.Null(await TestCertificate.ServedAsync(port));
        await server.Client.PutAsync(Edge.Key(ResourceKind.EnvoyResource, "secret"), Secret(goodCrt, goodKey));
        await Eventually.True("the listener", async _ => await TestCertificate.ServedAsync(port) is not null, TimeSpan.FromSeconds(5));
    }

    private static (string Certificate, string Key) Certificate(string folder)
    {
        TestCertificate.Write(folder, "CN=edge.test");
        return (File.ReadAllText(Path.Combine(folder, "tls.crt")), File.ReadAllText(Path.Combine(folder, "tls.key")));
    }

    private static Task ExpectRefusalAsync(ControlPlaneHost server, string name, params string[] words) =>
        ExpectRefusalAsync(server.Client, name, words);

    private static async Task ExpectRefusalAsync(AdminApiClient client, string name, params string[] words) =>
        await Eventually.True(
            $"the refusal of {name}",
            async _ =>
                (await client.NodesAsync())
                    .Items.SelectMany(n => n.Streams)
                    .SelectMany(s => s.Types)
                    .SelectMany(t => t.Refusals)
                    .Any(r => r.Resource == name && words.Any(word => r.Message.Contains(word, StringComparison.Ordinal)))
                && (await client.FindAsync(Edge.Key(ResourceKind.EnvoyResource, name)))!
                    .Status!.Conditions.Single(c => c.Type == "Programmed")
                    .Status == "False",
            TimeSpan.FromSeconds(2)
        );

    private static string Raw(string name, string type, string message) =>
        $$"""
            apiVersion: controlplane/v1
            kind: EnvoyResource
            metadata: {name: {{name}}}
            spec:
              resource: {"@type": type.googleapis.com/{{type}}, name: {{name}}, {{message}}}

            """;

    private static string Late() =>
        Raw(
            "late",
            "envoy.config.cluster.v3.Cluster",
            "type: STATIC, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 2000, maximum_ring_size: 1000}, load_assignment: {cluster_name: late, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}"
        );

    private static string Single() => Raw("single", "envoy.config.cluster.v3.Cluster", "type: LOGICAL_DNS");

    private static string Unparsable() => Raw("unparsable", "envoy.config.cluster.v3.Cluster", "type: STATIC, connect_timeout: 0s");

    private static string Secret(string certificate, string key) =>
        Raw(
            "secret",
            "envoy.extensions.transport_sockets.tls.v3.Secret",
            $"tls_certificate: {{certificate_chain: {{inline_string: {Quoted(certificate)}}}, private_key: {{inline_string: {Quoted(key)}}}}}"
        );

    private static string Quoted(string text) => '"' + text.ReplaceLineEndings("\\n") + '"';

    private static string RawListener(string name, int port, string? secret = null) =>
        Raw(
            name,
            "envoy.config.listener.v3.Listener",
            $$$"""
            address: {socket_address: {address: 127.0.0.1, port_value: {{{port}}}}}, filter_chains: [{{{{(
                secret is null ? "" : Tls(secret)
            )}}} filters: [{name: envoy.filters.network.http_connection_manager, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: {{{name}}}, route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: raw {{{name}}} } } }] }] }, http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router} }] } }] }]
            """
        );

    private static string Tls(string secret) =>
        $$$"""transport_socket: {name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {tls_certificate_sds_secret_configs: [{name: {{{secret}}}, sds_config: {resource_api_version: V3, ads: {} } }] } } },""";
}
