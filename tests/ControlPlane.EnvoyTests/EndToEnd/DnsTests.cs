using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>An upstream that the server resolves, behind a real Envoy.</summary>
[Trait("Category", "Slow")]
public sealed class DnsTests
{
    private const string Name = "shop.test";

    [Fact]
    public async Task No_request_fails_when_the_name_is_gone_the_DNS_server_fails_and_this_server_is_killed_meanwhile()
    {
        await using var dns = new DnsServer();
        dns.Set(Name, 1, "127.0.0.1");
        await using var server = new ServerProcess();
        await server.StartAsync();
        await using var edge = await Edge.StartAsync(server.XdsPort, backends: 1);
        var upstream = $$"""
            apiVersion: controlplane/v1
            kind: Upstream
            metadata: {name: shop}
            spec:
              endpoints:
                source: dns
                hosts: [{address: {{Name}}, port: {{edge.Backends[0].Port}} }]
                resolution: {minInterval: 1s, servers: ["{{dns.Address}}"]}

            """;
        await server.Client.ApplyAsync(string.Join("---\n", upstream, Edge.RouteTable(), edge.Listener()));
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(20));
        await using var load = new LoadGenerator(edge.Url, requestsPerSecond: 50);

        dns.Remove(Name);
        await WarningAsync(server, "dns-name-not-found");

        dns.ResponseCode = 2;
        server.Kill();
        await Eventually.True("the proxy to notice", async _ => await edge.Envoy.StatAsync("control_plane.connected_state") == 0);
        await server.StartAsync();
        await Eventually.True(
            "the proxy to come back",
            async _ => (await server.Client.NodesAsync()).Items.Any(n => n.Connected),
            TimeSpan.FromSeconds(60)
        );
        await WarningAsync(server, "dns-failure");
        // Whatever the server sends to a proxy that came back, it has sent by the time that another object's change arrives.
        await server.Client.PutAsync(
            Edge.Key(ResourceKind.RouteTable, "edge"),
            Edge.RouteTable("- {match: {prefix: /}, upstream: shop, timeout: 9s}")
        );
        await Eventually.True("the change", async _ => await edge.Envoy.StatAsync("http.edge.rds.edge.config_reload") > 1);
        Assert.Equal(1, await edge.Envoy.StatAsync("cluster.shop.membership_total"));

        dns.ResponseCode = 0;
        dns.Set(Name, 1, "127.0.0.1");
        await Eventually.True(
            "the endpoints",
            async _ => (await server.Client.XdsAsync(Edge.Key(ResourceKind.Upstream, "shop"))).Resources.Any(r => r.Type == "EDS")
        );
        Assert.Equal(1, await edge.Envoy.StatAsync("cluster.shop.membership_total"));
        var report = await load.StopAsync();
        Assert.True(report.Failed == 0, report.ToString());
    }

    private static Task WarningAsync(ServerProcess server, string code) =>
        Eventually.Get(
            code,
            _ => server.Client.FindAsync(Edge.Key(ResourceKind.Upstream, "shop")),
            view => view?.Status?.Warnings is { } warnings && warnings.Any(w => w.Code == code)
        );
}
