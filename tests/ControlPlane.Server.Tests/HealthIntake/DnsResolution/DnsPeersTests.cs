using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Server.Health;
using ControlPlane.Server.Tests.Health;
using ControlPlane.TestKit;
using Envoy.Config.Endpoint.V3;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.HealthIntake.DnsResolution;

/// <summary>Names of upstreams where several servers share a database: a DNS server may answer each of them differently.</summary>
public sealed class DnsPeersTests(PostgresFixture postgres)
{
    private const string Name = "shop.example.com";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(40);
    private static readonly ResourceKey Shop = new(ResourceKind.Upstream, "shop");

    [Fact]
    public async Task Proxies_of_all_servers_have_the_same_answer_within_a_second()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var dns = new DnsServer { Rotates = true };
        dns.Set(Name, 1, [.. Enumerable.Range(1, 250).Select(i => $"10.0.0.{i}")]);
        await using var first = await StartAsync(database);
        await first.LeadsAsync();
        await using var second = await StartAsync(database);
        await second.FollowsAsync();
        // By the server that does not decide, so that both learn of it.
        await PutAsync(second, dns);
        await AddressAsync(second);
        using var atFirst = new XdsClient(first.Xds.ToString());
        using var atSecond = new XdsClient(second.Xds.ToString());
        using var one = atFirst.OpenDelta();
        using var other = atSecond.OpenDelta();

        var (told, toldElsewhere) = (CollectAsync(one), CollectAsync(other));
        var both = (await told).Join(await toldElsewhere, a => a.Address, b => b.Address, (a, b) => (a.Address, a.At, B: b.At)).ToList();

        // The first and the last may be half of a pair.
        Assert.InRange(both.Count, 4, 6);
        Assert.All(
            both[1..],
            pair =>
                Assert.InRange(
                    TimeProvider.System.GetElapsedTime(Math.Min(pair.At, pair.B), Math.Max(pair.At, pair.B)),
                    TimeSpan.Zero,
                    TimeSpan.FromSeconds(1)
                )
        );
    }

    [Fact]
    public async Task A_server_that_begins_to_decide_goes_on_from_the_answers_that_it_was_told()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var dns = new DnsServer { Rotates = true };
        dns.Set(Name, 1, [.. Enumerable.Range(1, 250).Select(i => $"10.0.0.{i}")]);
        var first = await StartAsync(database);
        await first.LeadsAsync();
        await using var second = await StartAsync(database);
        await second.FollowsAsync();
        await PutAsync(first, dns);
        await AddressAsync(second);
        dns.IsSilent = true;
        await Eventually.True("the last answer to be asked for", async _ => await HasWarningAsync(second), Patience);
        var before = await AddressAsync(second);

        await first.DisposeAsync();
        await second.LeadsAsync();
        Assert.Equal(before, await AddressAsync(second));

        var questions = dns.Questions;
        await Eventually.True("it to ask", _ => Task.FromResult(dns.Questions > questions), Patience);
        Assert.Equal(before, await AddressAsync(second));
        dns.IsSilent = false;
        await Eventually.True("an answer of its own", async _ => await AddressAsync(second) != before, Patience);
    }

    private static Task<ControlPlaneHost> StartAsync(string database) => ControlPlaneHost.StartAsync(o => o with { Store = database });

    private static Task PutAsync(ControlPlaneHost host, DnsServer dns) =>
        host.Client.PutAsync(
            Shop,
            $$"""
            spec:
              health: {authority: envoy}
              endpoints:
                source: dns
                hosts: [{address: {{Name}}, port: 80}]
                resolution: {minInterval: 1s, servers: ["{{dns.Address}}"]}
            """
        );

    private static async Task<bool> HasWarningAsync(ControlPlaneHost host) =>
        (await host.Client.FindAsync(Shop))?.Status?.Warnings is { } warnings && warnings.Any(w => w.Code == "dns-timeout");

    /// <summary>The address that a server publishes, as soon as there is one.</summary>
    private static async Task<string> AddressAsync(ControlPlaneHost host) =>
        (
            await Eventually.Get(
                "an address",
                async stop =>
                    await host.Client.FindAsync(Shop, stop) is null
                        ? null
                        : (string?)
                            (await host.Client.XdsAsync(Shop, stop))
                                .Resources.SingleOrDefault(r => r.Type == "EDS")
                                ?.Message["endpoints"]
                                ?[0]?["lbEndpoints"]?[0]?["endpoint"]?["address"]?["socketAddress"]?["address"],
                address => address is not null,
                Patience
            )
        )!;

    /// <summary>What six responses in a row say, and when they came.</summary>
    private static async Task<List<(string Address, long At)>> CollectAsync(DeltaStream stream)
    {
        var told = new List<(string, long)>();
        await stream.AskAsync(ResourceType.Endpoints.TypeUrl, "shop");
        while (told.Count < 6)
        {
            var response = await stream.ExpectResponseAsync(ResourceType.Endpoints.TypeUrl);
            await stream.AckAsync(response);
            var assignment = Assert.Single(response.Resources).Resource_.Unpack<ClusterLoadAssignment>();
            var endpoint = Assert.Single(Assert.Single(assignment.Endpoints).LbEndpoints).Endpoint;
            told.Add((endpoint.Address.SocketAddress.Address, TimeProvider.System.GetTimestamp()));
        }

        return told;
    }
}
