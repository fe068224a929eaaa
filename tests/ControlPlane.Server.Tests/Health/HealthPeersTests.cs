using System.Text.Json.Nodes;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Health;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Health;

/// <summary>Several servers on one PostgreSQL: one decides, all publish the same. On a database server of this class alone, since it is stopped.</summary>
public sealed class HealthPeersTests(PostgresFixture postgres) : IClassFixture<PostgresFixture>
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(40);

    [Fact]
    public async Task One_server_decides_on_what_both_hear_and_both_publish_it()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var first = await StartAsync(database);
        await using var second = await StartAsync(database);
        var (leader, follower) = await RolesAsync(first, second);
        await PutAsync(leader);
        await UntilAsync(follower, "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");

        // A checker, and a proxy, that know the server that does not decide.
        await FailAsync(follower, 1);
        using var xds = new XdsClient(follower.Xds.ToString());
        using var stream = xds.OpenLoadReports("edge-1");
        await stream.BeginAsync();
        await stream.ReportAsync(
            LoadReportStream.Cluster("a", TimeSpan.FromSeconds(10), new ReportedEndpoint(Backends.Address(2), Backends.Port, 20, 1))
        );

        await UntilAsync(leader, "UNHEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");
        await UntilAsync(follower, "UNHEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");
        foreach (var host in (ControlPlaneHost[])[leader, follower])
        {
            var health = await Eventually.Get(
                "the report of the proxy",
                _ => host.Client.HealthAsync("a"),
                h => h.Endpoints[1].Traffic.Evidence.Length == 1
            );
            Assert.Contains(health.Endpoints[0].Active.Evidence, e => e is { Author: "external/local", Class: "refused" });
            Assert.Equal("edge-1", health.Endpoints[1].Traffic.Evidence[0].Author);
            var history = await Eventually.Get(
                "the transition",
                _ => host.Client.HealthHistoryAsync("a"),
                h => h.Items is [{ To: "DOWN" }, ..]
            );
            Assert.Equal(Backends.Id(1), history.Items[0].Endpoint);
        }
    }

    [Fact]
    public async Task Proxies_of_both_servers_have_the_same_verdict_within_a_second()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var first = await StartAsync(database);
        await using var second = await StartAsync(database);
        var (leader, follower) = await RolesAsync(first, second);
        await PutAsync(leader);
        await UntilAsync(follower, "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");
        using var atLeader = new XdsClient(leader.Xds.ToString());
        using var atFollower = new XdsClient(follower.Xds.ToString());
        using var one = atLeader.OpenDelta();
        using var other = atFollower.OpenDelta();
        var both = await Task.WhenAll(BeginAsync(one), BeginAsync(other));
        Assert.Equal(both[0].Resources[0].Version, both[1].Resources[0].Version);

        var changes = Task.WhenAll(NextAsync(one), NextAsync(other));
        await FailAsync(follower, 1);
        var arrived = await changes;

        Assert.Equal(arrived[0].Version, arrived[1].Version);
        Assert.InRange(
            TimeProvider.System.GetElapsedTime(arrived.Min(a => a.At), arrived.Max(a => a.At)),
            TimeSpan.Zero,
            TimeSpan.FromSeconds(1)
        );

        static async Task<Envoy.Service.Discovery.V3.DeltaDiscoveryResponse> BeginAsync(DeltaStream stream)
        {
            await stream.AskAsync(ResourceType.Endpoints.TypeUrl, "a");
            var response = await stream.ExpectResponseAsync(ResourceType.Endpoints.TypeUrl);
            await stream.AckAsync(response);
            return response;
        }

        static async Task<(string Version, long At)> NextAsync(DeltaStream stream)
        {
            var response = await stream.ExpectResponseAsync(ResourceType.Endpoints.TypeUrl);
            return (Assert.Single(response.Resources).Version, TimeProvider.System.GetTimestamp());
        }
    }

    [Fact]
    public async Task Who_waits_at_a_server_that_does_not_decide_is_answered_when_the_other_one_has()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var first = await StartAsync(database);
        await using var second = await StartAsync(database);
        var (leader, follower) = await RolesAsync(first, second);
        await PutAsync(leader);
        await UntilAsync(follower, "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");
        var known = await follower.Client.HealthAsync("a");

        var next = follower.Client.HealthAsync("a", known.Index, TimeSpan.FromMinutes(1));
        await FailAsync(leader, 1);

        Assert.NotEqual(known.Index, (await next).Index);
    }

    [Fact]
    public async Task A_server_that_ends_hands_over_at_once_and_the_verdicts_stay()
    {
        var database = await postgres.CreateDatabaseAsync();
        var first = await StartAsync(database);
        await using var second = await StartAsync(database);
        await first.LeadsAsync();
        await PutAsync(first);
        await FailAsync(first, 1);
        await UntilAsync(second, "UNHEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");

        await first.DisposeAsync();

        await second.LeadsAsync();
        await UntilAsync(second, "UNHEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");
        await FailAsync(second, 2);
        var health = await Eventually.Get(
            "the next verdict",
            _ => second.Client.HealthAsync("a"),
            h => h.Endpoints[1].State == "DOWN",
            Patience
        );
        Assert.Equal("UNHEALTHY", health.Endpoints[0].Status);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public async Task T37_A_killed_server_is_replaced_within_ten_seconds_and_nothing_flaps()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var first = new ServerProcess();
        await using var second = new ServerProcess();
        await first.StartAsync("--store", database, "--no-probes");
        await Eventually.True("the first to decide", _ => Task.FromResult(Decides(first)), Patience);
        await second.StartAsync("--store", database, "--no-probes");
        await first.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, "a"), Backends.Upstream);
        await UpAsync(first.Client);
        for (var i = 0; i < 5; i++)
        {
            await first.Client.PostEvidenceAsync([Backends.Failure(1)]);
        }

        await Eventually.True(
            "the verdict at both",
            async _ => await StatusesAsync(second.Client) == "UNHEALTHY,HEALTHY,HEALTHY,HEALTHY,HEALTHY",
            Patience
        );
        var published = (await second.Client.XdsAsync(new ResourceKey(ResourceKind.Upstream, "a"))).Resources.Single(r => r.Type == "EDS");

        first.Kill();
        var killed = TimeProvider.System.GetTimestamp();
        // Its proxies come back at the other one with what they hold.
        using var xds = new XdsClient($"http://127.0.0.1:{second.XdsPort}");
        using var stream = xds.OpenDelta();
        await stream.ResumeAsync(ResourceType.Endpoints.TypeUrl, new Dictionary<string, string> { ["a"] = published.Version }, "a");
        Assert.Empty((await stream.ExpectResponseAsync(ResourceType.Endpoints.TypeUrl)).Resources);
        await Eventually.True("the second to decide", _ => Task.FromResult(Decides(second)), Patience);

        Assert.InRange(TimeProvider.System.GetElapsedTime(killed), TimeSpan.Zero, TimeSpan.FromSeconds(10));
        Assert.Equal(
            published.Version,
            (await second.Client.XdsAsync(new ResourceKey(ResourceKind.Upstream, "a"))).Resources.Single(r => r.Type == "EDS").Version
        );

        // And the one that comes back follows, with what it had.
        await first.StartAsync("--store", database, "--no-probes");
        Assert.Equal("UNHEALTHY,HEALTHY,HEALTHY,HEALTHY,HEALTHY", await StatusesAsync(first.Client));
        Assert.False(Decides(first));

        static bool Decides(ServerProcess server) => server.Output.Contains("This server decides about health", StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_the_database_verdicts_go_on_at_both_and_are_written_when_it_is_back()
    {
        var server = await postgres.GetServerAsync();
        var database = await postgres.CreateDatabaseAsync();
        await using var first = await StartAsync(database);
        await using var second = await StartAsync(database);
        var (leader, follower) = await RolesAsync(first, second);
        await PutAsync(leader);
        await UntilAsync(follower, "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");

        await server.KillAsync();
        try
        {
            await FailAsync(follower, 1);
            await UntilAsync(leader, "UNHEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");
            await UntilAsync(follower, "UNHEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");
            Assert.True(leader.Services.GetRequiredService<HealthLeadership>().Role.Leads);
            Assert.False(follower.Services.GetRequiredService<HealthLeadership>().Role.Leads);
        }
        finally
        {
            await server.StartAgainAsync();
        }

        var archive = leader.Services.GetRequiredService<HealthArchive>();
        await Eventually.True("what was gathered to be written", _ => Task.FromResult(!archive.IsBehind), Patience);
        await using var third = await StartAsync(database);
        await UntilAsync(third, "UNHEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY");
        Assert.Equal("DOWN", (await third.Client.HealthHistoryAsync("a")).Items[0].To);
    }

    private static Task<ControlPlaneHost> StartAsync(string database) =>
        ControlPlaneHost.StartAsync(o => o with { Store = database, NoProbes = true });

    private static async Task PutAsync(ControlPlaneHost host)
    {
        await host.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, "a"), Backends.Upstream);
        await UpAsync(host.Client);
    }

    /// <summary>What never passed is left out, and not UNHEALTHY: every endpoint is to be seen alive first.</summary>
    private static Task UpAsync(AdminClient.AdminApiClient client) =>
        Eventually.Get(
            "all endpoints to be up",
            _ => client.HealthAsync("a"),
            h => h.Endpoints.Length == Backends.Count && h.Endpoints.All(e => e.State == "UP"),
            Patience
        );

    /// <summary>Waits until one of two decides and the other one follows.</summary>
    private static async Task<(ControlPlaneHost Leader, ControlPlaneHost Follower)> RolesAsync(ControlPlaneHost a, ControlPlaneHost b)
    {
        await Eventually.True("one to decide and the other one to follow", _ => Task.FromResult(Follows(a, b) || Follows(b, a)), Patience);
        return Follows(a, b) ? (b, a) : (a, b);

        static bool Follows(ControlPlaneHost follower, ControlPlaneHost leader) =>
            leader.Services.GetRequiredService<HealthLeadership>().Role.Leads
            && follower.Services.GetRequiredService<HealthPeers>().IsFollowing;
    }

    /// <summary>A checker says that a backend has stopped, again where it is told to: while the servers change roles.</summary>
    private static async Task FailAsync(ControlPlaneHost host, int endpoint)
    {
        for (var i = 0; i < 5; i++)
        {
            await Eventually.True(
                "the evidence to be taken",
                async _ =>
                {
                    try
                    {
                        return (await host.Client.PostEvidenceAsync([Backends.Failure(endpoint)])).Accepted == 1;
                    }
                    catch (AdminClient.ApiException e) when (e.Problem.Status == 503)
                    {
                        return false;
                    }
                }
            );
        }
    }

    /// <summary>Waits until what proxies of a server get says so.</summary>
    private static Task UntilAsync(ControlPlaneHost host, params string[] statuses) =>
        Eventually.Get(
            $"{string.Join(',', statuses)} to be published",
            _ => StatusesAsync(host.Client),
            s => s == string.Join(',', statuses),
            Patience
        );

    /// <summary>The statuses of the endpoints in the assignment that proxies get.</summary>
    private static async Task<string> StatusesAsync(AdminClient.AdminApiClient client)
    {
        if (await client.FindAsync(new ResourceKey(ResourceKind.Upstream, "a")) is null)
        {
            return "unknown";
        }

        var assignment = (await client.XdsAsync(new ResourceKey(ResourceKind.Upstream, "a")))
            .Resources.Single(r => r.Type == "EDS")
            .Message;
        return string.Join(
            ',',
            assignment["endpoints"]![0]!["lbEndpoints"]!.AsArray().Select(e => (string?)e!["healthStatus"] ?? "UNKNOWN")
        );
    }

    /// <summary>An upstream of five backends. Nobody probes them, so that nothing is heard of them but what a test says, however busy the machine is.</summary>
    private static class Backends
    {
        public const int Count = 5;

        public static string Upstream =>
            new JsonObject
            {
                ["spec"] = new JsonObject
                {
                    ["health"] = new JsonObject
                    {
                        ["authority"] = "central",
                        ["checks"] = new JsonArray(new JsonObject { ["tcp"] = new JsonObject() }),
                    },
                    ["endpoints"] = new JsonObject
                    {
                        ["source"] = "static",
                        ["static"] = new JsonArray([
                            .. Enumerable.Range(1, Count).Select(i => new JsonObject { ["address"] = Address(i), ["port"] = Port }),
                        ]),
                    },
                },
            }.ToJsonString();

        public const int Port = 80;

        public static string Address(int endpoint) => $"10.0.0.{endpoint}";

        public static string Id(int endpoint) => $"{Address(endpoint)}:{Port}";

        public static EvidenceItem Failure(int endpoint) =>
            new()
            {
                Upstream = "a",
                Endpoint = Id(endpoint),
                Passed = false,
                Class = EvidenceClass.Refused,
                Ttl = TimeSpan.FromMinutes(5),
            };
    }
}
