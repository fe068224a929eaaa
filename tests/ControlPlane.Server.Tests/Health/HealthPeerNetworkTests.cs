using System.Diagnostics.Metrics;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Health;
using ControlPlane.Server.Health.Wire;
using ControlPlane.Server.Tests.Storage;
using ControlPlane.TestKit;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Health;

/// <summary>How servers reach each other, and what happens when they do not.</summary>
public sealed class HealthPeerNetworkTests(PostgresFixture postgres) : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(40);
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("cp-peers-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task Servers_with_certificates_of_one_authority_follow_each_other_and_nobody_else_is_let_in()
    {
        var database = await postgres.CreateDatabaseAsync();
        using var authority = Authority("peers");
        using var stranger = Authority("strangers");
        await using var first = await StartAsync(database, authority, "one");
        await first.LeadsAsync();
        await using var second = await StartAsync(database, authority, "two");

        await second.FollowsAsync();
        var role = second.Services.GetRequiredService<HealthLeadership>().Role;
        Assert.StartsWith("https://127.0.0.1:", role.Address, StringComparison.Ordinal);
        foreach (var certificate in (X509Certificate2?[])[null, Certificate(stranger, "three")])
        {
            using var handler = new SocketsHttpHandler
            {
                SslOptions =
                {
                    ClientCertificates = certificate is null ? [] : [certificate],
                    RemoteCertificateValidationCallback = (_, _, _, _) => true,
                },
            };
            using var channel = GrpcChannel.ForAddress(role.Address, new GrpcChannelOptions { HttpHandler = handler });
            var fault = await Assert.ThrowsAsync<RpcException>(async () =>
                await new HealthPeerService.HealthPeerServiceClient(channel).PingAsync(new PingRequest { Leader = role.Server })
            );
            Assert.NotEqual(StatusCode.OK, fault.StatusCode);
        }
    }

    [Fact]
    [Trait("Category", "Slow")]
    public async Task A_server_that_loses_the_database_alone_goes_on_deciding_since_the_others_still_hear_it()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var proxy = new PostgresProxy(database);
        await using var first = await ControlPlaneHost.StartAsync(o => o with { Store = proxy.ConnectionString });
        await first.LeadsAsync();
        await using var second = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await second.FollowsAsync();
        var before = second.Services.GetRequiredService<HealthLeadership>().Role;

        proxy.FallSilent();
        // Longer than the lease.
        using var patience = new CancellationTokenSource(2 * HealthLeadership.Duration, TimeProvider.System);
        var change = second.Services.GetRequiredService<HealthLeadership>().ChangeAsync(before);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => change.WaitAsync(patience.Token));

        Assert.True(first.Services.GetRequiredService<HealthLeadership>().Role.Leads);
        Assert.True(second.Services.GetRequiredService<HealthPeers>().IsFollowing);
    }

    [Fact]
    public async Task A_server_that_cannot_reach_the_other_one_takes_its_verdicts_from_the_database()
    {
        var database = await postgres.CreateDatabaseAsync();
        // What it says of itself is wrong, as where servers on several machines were not told how to reach each other.
        await using var first = await ControlPlaneHost.StartAsync(o =>
            o with
            {
                Store = database,
                PeerAddress = $"127.0.0.1:{FreePort.Next()}",
                NoProbes = true,
            }
        );
        await first.LeadsAsync();
        await using var second = await ControlPlaneHost.StartAsync(o => o with { Store = database, NoProbes = true });
        await first.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, "a"),
            """
            {"spec": {"health": {"authority": "central", "checks": [{"tcp": {}}]}, "endpoints": {"source": "static", "static": [
            {"address": "10.0.0.1", "port": 80}, {"address": "10.0.0.2", "port": 80}, {"address": "10.0.0.3", "port": 80}]}}}
            """
        );
        var failure = new EvidenceItem
        {
            Upstream = "a",
            Endpoint = "10.0.0.1:80",
            Passed = false,
            Class = EvidenceClass.Refused,
            Ttl = TimeSpan.FromMinutes(5),
        };
        for (var i = 0; i < 5; i++)
        {
            await Eventually.True("the evidence to be taken", async _ => (await first.Client.PostEvidenceAsync([failure])).Accepted == 1);
        }

        var key = new ResourceKey(ResourceKind.Upstream, "a");
        await Eventually.True(
            "the verdict at the other one",
            async _ =>
                await second.Client.FindAsync(key) is not null
                && (await second.Client.XdsAsync(key)).Resources.Any(r =>
                    r.Message.ToJsonString().Contains("UNHEALTHY", StringComparison.Ordinal)
                ),
            Patience
        );
        Assert.False(second.Services.GetRequiredService<HealthPeers>().IsFollowing);

        // And says why it knows no more.
        var health = await Eventually.Get(
            "the answer at the other one",
            _ => second.Client.HealthAsync("a"),
            h => h is { SecondHand: not null } && h.Endpoints[0].Status == "UNHEALTHY",
            Patience
        );
        Assert.Equal(first.Services.GetRequiredService<HealthLeadership>().ServerId, health.SecondHand!.Server);
        Assert.Null(health.SecondHand.LastHeardAt);
        Assert.Contains("is not reached", health.SecondHand.Reason, StringComparison.Ordinal);
        Assert.Contains(
            "2 of the 3 endpoints of a are given requests, as another server decided",
            health.Sentence,
            StringComparison.Ordinal
        );
        Assert.Contains("10.0.0.1:80 is UNHEALTHY: DOWN since", health.Endpoints[0].Sentence, StringComparison.Ordinal);
        Assert.InRange(health.Endpoints[0].Penalty, 1, 1000);
        Assert.Empty(health.Endpoints[0].Active.Evidence);
    }

    [Fact]
    public async Task Without_database_and_leader_a_server_goes_on_with_what_it_had_and_then_decides_for_its_own_proxies()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var proxy = new PostgresProxy(database);
        var first = await ControlPlaneHost.StartAsync(o => o with { Store = database, NoProbes = true });
        await first.LeadsAsync();
        await using var second = await ControlPlaneHost.StartAsync(o => o with { Store = proxy.ConnectionString, NoProbes = true });
        await second.FollowsAsync();
        await first.Client.PutAsync(A, Five);
        await SayAsync(first, passed: true, 1, 2, 3, 4, 5);
        await FailAsync(first, 1);
        using var xds = new XdsClient(second.Xds.ToString());
        using var stream = xds.OpenDelta();
        await Eventually.True("the verdict at the other one", async _ => await StatusAsync(second, 1) == "UNHEALTHY", Patience);
        await stream.AskAsync(ResourceType.Endpoints.TypeUrl, "a");
        var has = await stream.ExpectResponseAsync(ResourceType.Endpoints.TypeUrl);
        await stream.AckAsync(has);
        Assert.Equal((1, 0), (LeaderMetric(first), LeaderMetric(second)));

        proxy.FallSilent();
        await first.DisposeAsync();
        var alone = TimeProvider.System.GetTimestamp();
        var leadership = second.Services.GetRequiredService<HealthLeadership>();
        Assert.False(leadership.Role.Leads);
        // While it is not known whether the other one lives, nobody decides: evidence is refused, and what was published stays.
        using (var refused = await second.Http.PostAsync("api/v1/evidence", new StringContent("{}")))
        {
            Assert.False(refused.IsSuccessStatusCode);
        }

        await second.LeadsAsync();
        Assert.InRange(TimeProvider.System.GetElapsedTime(alone), TimeSpan.Zero, TimeSpan.FromSeconds(10));
        Assert.Equal(1, LeaderMetric(second));
        Assert.Equal("UNHEALTHY", await StatusAsync(second, 1));

        // The first that its proxies hear is what the evidence here says, and not that all begins anew.
        await SayAsync(second, passed: true, 2, 3, 4, 5);
        await FailAsync(second, 2);
        var next = await stream.ExpectResponseAsync(ResourceType.Endpoints.TypeUrl);
        Assert.NotEqual(has.Resources[0].Version, next.Resources[0].Version);
        await Eventually.True("the verdict of its own", async _ => await StatusAsync(second, 2) == "UNHEALTHY", Patience);
        Assert.Equal("UNHEALTHY", await StatusAsync(second, 1));

        // Connections that were silent are of no use any more.
        proxy.Cut();
        proxy.Mend();
        var archive = second.Services.GetRequiredService<HealthArchive>();
        await Eventually.True("what was decided to be written", _ => Task.FromResult(!archive.IsBehind), Patience);
        Assert.True(leadership.Role.Leads);
    }

    [Fact]
    public async Task A_verdict_that_comes_before_its_upstream_counts_when_that_comes()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var proxy = new PostgresProxy(database);
        await using var first = await ControlPlaneHost.StartAsync(o => o with { Store = database, NoProbes = true });
        await first.LeadsAsync();
        await using var second = await ControlPlaneHost.StartAsync(o => o with { Store = proxy.ConnectionString, NoProbes = true });
        await second.FollowsAsync();

        proxy.Cut();
        await first.Client.PutAsync(A, Five);
        await SayAsync(first, passed: true, 1, 2, 3, 4, 5);
        await FailAsync(first, 1);
        await Eventually.True("the verdict", async _ => await StatusAsync(first, 1) == "UNHEALTHY", Patience);
        var archive = second.Services.GetRequiredService<HealthArchive>();
        await Eventually.True(
            "the other one to be told",
            _ =>
                Task.FromResult(
                    archive.Newest.TryGetValue("a", out var told) && told.Json!.Contains("\"state\":\"down\"", StringComparison.Ordinal)
                ),
            Patience
        );
        Assert.Null(await second.Client.FindAsync(A));
        proxy.Mend();

        await Eventually.True(
            "the verdict with the upstream",
            async _ => await second.Client.FindAsync(A) is not null && await StatusAsync(second, 1) == "UNHEALTHY",
            Patience
        );
    }

    [Fact]
    public async Task A_server_that_does_not_decide_writes_no_verdicts()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var store = PostgresDesiredStateStoreTests.Open(database);
        await store.MigrateAsync(CancellationToken.None);
        // Somebody decides of whom nothing is heard.
        await store.HoldLeaseAsync("another", "http://127.0.0.1:1", TimeSpan.FromHours(1), mayTake: true, CancellationToken.None);
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var host = await ControlPlaneHost.StartAsync(
            o => o with { Store = database, NoProbes = true },
            builder => builder.Services.AddSingleton<TimeProvider>(time)
        );
        await host.Client.PutAsync(A, Five);
        var leadership = host.Services.GetRequiredService<HealthLeadership>();
        var archive = host.Services.GetRequiredService<HealthArchive>();
        archive.MarkAll();
        Assert.True(archive.IsBehind);
        await Eventually.True(
            "what is marked to be gathered",
            _ =>
            {
                time.Advance(TimeSpan.FromSeconds(1));
                return Task.FromResult(!archive.IsBehind && leadership.Role.Server == "another");
            }
        );

        Assert.Empty(archive.Newest);
        Assert.Empty(await store.LoadHealthAsync(DateTimeOffset.MinValue, CancellationToken.None));
    }

    private static readonly ResourceKey A = new(ResourceKind.Upstream, "a");

    private const string Five = """
        {"spec": {"health": {"authority": "central", "checks": [{"tcp": {}}]}, "endpoints": {"source": "static", "static": [
        {"address": "10.0.0.1", "port": 80}, {"address": "10.0.0.2", "port": 80}, {"address": "10.0.0.3", "port": 80},
        {"address": "10.0.0.4", "port": 80}, {"address": "10.0.0.5", "port": 80}]}}}
        """;

    private static async Task SayAsync(ControlPlaneHost host, bool passed, params int[] endpoints) =>
        await Eventually.True(
            "the evidence to be taken",
            async _ =>
            {
                try
                {
                    var result = await host.Client.PostEvidenceAsync(
                        endpoints.Select(i => new EvidenceItem
                        {
                            Upstream = "a",
                            Endpoint = $"10.0.0.{i}:80",
                            Passed = passed,
                            Class = passed ? null : EvidenceClass.Refused,
                            Ttl = TimeSpan.FromMinutes(5),
                        })
                    );
                    return result.Accepted == endpoints.Length;
                }
                catch (AdminClient.ApiException e) when (e.Problem.Status == 503)
                {
                    // Nobody decides at the moment.
                    return false;
                }
            }
        );

    /// <summary>As often as one observer alone must say it.</summary>
    private static async Task FailAsync(ControlPlaneHost host, int endpoint)
    {
        for (var i = 0; i < 5; i++)
        {
            await SayAsync(host, passed: false, endpoint);
        }
    }

    /// <summary>What proxies are told of an endpoint: its status, and where that is HEALTHY its weight.</summary>
    private static async Task<string?> StatusAsync(ControlPlaneHost host, int endpoint)
    {
        if (await host.Client.FindAsync(A) is null)
        {
            // It has not come here yet.
            return null;
        }

        var assignment = (await host.Client.XdsAsync(A)).Resources.SingleOrDefault(r => r.Type == "EDS")?.Message;
        var found = assignment
            ?["endpoints"]?[0]?["lbEndpoints"]?.AsArray()
            .SingleOrDefault(e => (string?)e!["endpoint"]!["address"]!["socketAddress"]!["address"] == $"10.0.0.{endpoint}");
        var status = (string?)found?["healthStatus"];
        return status == "HEALTHY" ? $"HEALTHY/{(int?)found!["loadBalancingWeight"] ?? 1}" : status;
    }

    /// <summary>What a server's gauge says of who decides; an endpoint of metrics has those of all servers of the process.</summary>
    private static int LeaderMetric(ControlPlaneHost host)
    {
        var factory = host.Services.GetRequiredService<IMeterFactory>();
        var found = new List<int>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, l) =>
        {
            if (ReferenceEquals(instrument.Meter.Scope, factory) && instrument.Name == "health.leader")
            {
                l.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<int>((_, value, _, _) => found.Add(value));
        listener.Start();
        listener.RecordObservableInstruments();
        return Assert.Single(found);
    }

    [Fact]
    public async Task Only_the_server_that_is_meant_and_decides_answers()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var first = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await first.LeadsAsync();
        await using var second = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await second.FollowsAsync();
        var leader = second.Services.GetRequiredService<HealthLeadership>().Role;
        using var channel = GrpcChannel.ForAddress(leader.Address);
        var client = new HealthPeerService.HealthPeerServiceClient(channel);

        Assert.True((await client.PingAsync(new PingRequest { Leader = leader.Server })).Leads);
        Assert.False((await client.PingAsync(new PingRequest { Leader = "another" })).Leads);
        var fault = await Assert.ThrowsAsync<RpcException>(async () =>
            await client.RecordEvidenceAsync(new RecordEvidenceRequest { Leader = "another" })
        );
        Assert.Equal(StatusCode.FailedPrecondition, fault.StatusCode);
        Assert.Empty(
            (
                await client.ExplainUpstreamAsync(
                    new ExplainUpstreamRequest
                    {
                        Leader = leader.Server,
                        Upstream = "none",
                        Index = -1,
                    }
                )
            ).View
        );
        // Proxies have no way in there, nor servers among the proxies.
        using var proxies = GrpcChannel.ForAddress(first.Xds);
        fault = await Assert.ThrowsAsync<RpcException>(async () =>
            await new HealthPeerService.HealthPeerServiceClient(proxies).PingAsync(new PingRequest())
        );
        Assert.Equal(StatusCode.Unimplemented, fault.StatusCode);
    }

    private async Task<ControlPlaneHost> StartAsync(string database, X509Certificate2 authority, string name)
    {
        using var certificate = Certificate(authority, name);
        var path = Path.Combine(_folder.FullName, name);
        await File.WriteAllTextAsync(path + ".crt", certificate.ExportCertificatePem());
        await File.WriteAllTextAsync(path + ".key", certificate.GetRSAPrivateKey()!.ExportPkcs8PrivateKeyPem());
        await File.WriteAllTextAsync(path + ".ca", authority.ExportCertificatePem());
        return await ControlPlaneHost.StartAsync(o =>
            o with
            {
                Store = database,
                PeerListen = new IPEndPoint(IPAddress.Loopback, 0),
                PeerTlsCert = path + ".crt",
                PeerTlsKey = path + ".key",
                PeerClientCa = path + ".ca",
            }
        );
    }

    private static X509Certificate2 Authority(string name)
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        var now = TimeProvider.System.GetUtcNow();
        return request.CreateSelfSigned(now.AddHours(-1), now.AddDays(1));
    }

    private static X509Certificate2 Certificate(X509Certificate2 authority, string name)
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(
            new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1"), new Oid("1.3.6.1.5.5.7.3.2")], false)
        );
        var now = TimeProvider.System.GetUtcNow();
        using var certificate = request.Create(authority, now.AddMinutes(-30), now.AddHours(12), RandomNumberGenerator.GetBytes(8));
        return X509CertificateLoader.LoadPkcs12(
            certificate.CopyWithPrivateKey(key).Export(X509ContentType.Pkcs12),
            null,
            X509KeyStorageFlags.Exportable
        );
    }
}
