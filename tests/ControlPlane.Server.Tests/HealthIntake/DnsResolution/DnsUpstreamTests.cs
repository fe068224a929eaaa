using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Health;
using ControlPlane.Server.Publishing;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.HealthIntake.DnsResolution;

/// <summary>An upstream whose endpoints are names, in the whole server.</summary>
public sealed class DnsUpstreamTests
{
    private const string Name = "shop.example.com";

    private static readonly ResourceKey Shop = new(ResourceKind.Upstream, "shop");

    [Fact]
    public async Task Proxies_get_what_the_name_resolves_to_and_follow_its_changes()
    {
        await using var dns = new DnsServer();
        dns.Set(Name, 1, "10.0.0.1", "10.0.0.2");
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, dns);
        await AddressesAsync(host, "10.0.0.1", "10.0.0.2");

        dns.Set(Name, 1, "10.0.0.2", "10.0.0.3");
        await AddressesAsync(host, "10.0.0.2", "10.0.0.3");

        // The cluster takes its endpoints from the server, as of any other source that is the server's.
        var cluster = (await host.Client.XdsAsync(Shop)).Resources.Single(r => r.Type == "CDS").Message;
        Assert.Equal("EDS", (string?)cluster["type"]);
    }

    [Fact]
    public async Task Resolved_endpoints_are_listed_and_can_be_drained_and_are_not_written()
    {
        await using var dns = new DnsServer();
        dns.Set(Name, 1, "10.0.0.1", "10.0.0.2");
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, dns);
        await AddressesAsync(host, "10.0.0.1", "10.0.0.2");

        var endpoints = await host.Client.ListAsync(ResourceKind.Endpoint, "shop");
        Assert.Equal(["shop/10.0.0.1:80", "shop/10.0.0.2:80"], endpoints.Items.Select(e => e.Metadata.Name));
        Assert.All(endpoints.Items, e => Assert.Equal("dns", e.Status!.Source));

        await host.Client.OrderAsync("shop", "10.0.0.1:80", "disable", new EndpointOrder { Reason = "disk full" });
        await AddressesAsync(host, "10.0.0.2");

        var refused = await Assert.ThrowsAsync<AdminClient.ApiException>(() =>
            host.Client.RegisterAsync("shop", "spec: {address: 10.0.0.9, port: 80}")
        );
        Assert.Contains("come from 'dns'", refused.Message, StringComparison.Ordinal);
        refused = await Assert.ThrowsAsync<AdminClient.ApiException>(() =>
            host.Client.DeleteAsync(ResourceKey.Sub(ResourceKind.Endpoint, "shop", "10.0.0.2:80"))
        );
        Assert.Contains("comes from DNS", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_name_that_is_gone_keeps_its_last_endpoints_and_the_object_says_so()
    {
        await using var dns = new DnsServer();
        dns.Set(Name, 1, "10.0.0.1");
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, dns);
        await AddressesAsync(host, "10.0.0.1");
        dns.Remove(Name);

        var view = await Eventually.Get(
            "the warning",
            _ => host.Client.FindAsync(Shop),
            v => v?.Status?.Warnings is { } warnings && warnings.Any(w => w.Code == "dns-name-not-found")
        );
        Assert.Contains(
            "does not exist (NXDOMAIN)",
            view!.Status!.Warnings!.Value.Single(w => w.Code == "dns-name-not-found").Message,
            StringComparison.Ordinal
        );
        Assert.Contains("does not exist (NXDOMAIN)", (await host.Client.HealthAsync("shop")).Sentence, StringComparison.Ordinal);
        await AddressesAsync(host, "10.0.0.1");
    }

    [Fact]
    public async Task While_no_DNS_server_answers_nothing_is_published_in_place_of_what_proxies_have()
    {
        await using var dns = new DnsServer { ResponseCode = 2 };
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, dns);
        await Eventually.Get(
            "the warning",
            _ => host.Client.FindAsync(Shop),
            v => v?.Status?.Warnings is { } warnings && warnings.Any(w => w.Code == "dns-failure")
        );
        Assert.DoesNotContain((await host.Client.XdsAsync(Shop)).Resources, r => r.Type == "EDS");

        dns.ResponseCode = 0;
        dns.Set(Name, 1, "10.0.0.1");
        await AddressesAsync(host, "10.0.0.1");
        await host.Client.DeleteAsync(Shop);
    }

    [Theory]
    [InlineData("central")]
    [InlineData("envoy")]
    public async Task A_restarted_server_publishes_what_names_resolved_to_though_no_DNS_server_answers(string authority)
    {
        var folder = Directory.CreateTempSubdirectory("controlplane-");
        try
        {
            await using var dns = new DnsServer();
            dns.Set(Name, 1, "10.0.0.1", "10.0.0.2", "10.0.0.3");
            string version;
            await using (var host = await StartAsync())
            {
                await PutAsync(host, dns, more: $"health: {{authority: {authority}, checks: [{{tcp: {{}}}}]}}");
                await AddressesAsync(host, "10.0.0.1", "10.0.0.2", "10.0.0.3");
                if (authority == "central")
                {
                    await SayAsync(host, passed: true, times: 1, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80");
                    await SayAsync(host, passed: false, times: 5, "10.0.0.1:80");
                    await Eventually.True("the verdict", async _ => (await host.Client.HealthAsync("shop")).Endpoints[0].State == "DOWN");
                }

                var archive = host.Services.GetRequiredService<HealthArchive>();
                await Eventually.True("the store to have it", _ => Task.FromResult(!archive.IsBehind));
                version = (await AssignmentAsync(host))!.Version;
            }

            dns.IsSilent = true;
            await using var again = await StartAsync();
            await again.Services.GetRequiredService<CurrentState>().Loaded.WaitAsync(Eventually.DefaultWithin, TimeProvider.System);
            // Whoever asks first is told: nothing is waited for.
            Assert.Equal(version, (await AssignmentAsync(again))?.Version);
            await Eventually.Get(
                "the warning",
                _ => again.Client.FindAsync(Shop),
                v => v?.Status?.Warnings is { } warnings && warnings.Any(w => w.Code == "dns-timeout")
            );
            Assert.Equal(version, (await AssignmentAsync(again))?.Version);

            dns.Set(Name, 1, "10.0.0.2", "10.0.0.3");
            dns.IsSilent = false;
            await AddressesAsync(again, "10.0.0.2", "10.0.0.3");
        }
        finally
        {
            folder.Delete(recursive: true);
        }

        Task<ControlPlaneHost> StartAsync() => ControlPlaneHost.StartAsync(o => o with { DataDir = folder.FullName, NoProbes = true });

        static async Task SayAsync(ControlPlaneHost host, bool passed, int times, params string[] endpoints)
        {
            for (var i = 0; i < times; i++)
            {
                var result = await host.Client.PostEvidenceAsync(
                    endpoints.Select(e => new EvidenceItem
                    {
                        Upstream = "shop",
                        Endpoint = e,
                        Passed = passed,
                        Class = passed ? null : EvidenceClass.Refused,
                        Ttl = TimeSpan.FromMinutes(1),
                    })
                );
                Assert.Equal(endpoints.Length, result.Accepted);
            }
        }
    }

    [Fact]
    public async Task Resolved_endpoints_are_probed()
    {
        await using var backend = await TestBackend.StartAsync("b");
        await using var dns = new DnsServer();
        dns.Set(Name, 1, "127.0.0.1");
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(
            host,
            dns,
            backend.Port,
            "health: {checks: [{interval: 500ms, edgeInterval: 200ms, timeout: 300ms, http: {path: /ready}}]}"
        );
        var health = await Eventually.Get(
            "a verdict",
            _ => host.Client.HealthAsync("shop"),
            h => h.Endpoints.Any(e => e.State == "UP" && !e.Active.Evidence.IsEmpty)
        );
        Assert.Equal($"127.0.0.1:{backend.Port}", Assert.Single(health.Endpoints).Endpoint);
        Assert.Equal(Name, backend.LastRequest!.Host);
    }

    private static Task<ObjectView> PutAsync(ControlPlaneHost host, DnsServer dns, int port = 80, string more = "") =>
        host.Client.PutAsync(
            Shop,
            $$"""
            spec:
              endpoints:
                source: dns
                hosts: [{address: {{Name}}, port: {{port}} }]
                resolution: {minInterval: 1s, servers: ["{{dns.Address}}"]}
              {{more}}
            """
        );

    private static async Task<XdsResource?> AssignmentAsync(ControlPlaneHost host) =>
        (await host.Client.XdsAsync(Shop)).Resources.SingleOrDefault(r => r.Type == "EDS");

    private static async Task AddressesAsync(ControlPlaneHost host, params string[] addresses) =>
        await Eventually.Get(
            $"the addresses {string.Join(", ", addresses)}",
            async stop =>
                (await host.Client.XdsAsync(Shop, stop))
                    .Resources.Where(r => r.Type == "EDS")
                    .SelectMany(r => r.Message["endpoints"]?.AsArray() ?? [])
                    .SelectMany(l => l!["lbEndpoints"]!.AsArray())
                    .Select(e => (string)e!["endpoint"]!["address"]!["socketAddress"]!["address"]!)
                    .ToList(),
            found => found.SequenceEqual(addresses)
        );
}
