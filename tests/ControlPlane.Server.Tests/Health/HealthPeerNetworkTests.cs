using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Health;
using ControlPlane.Server.Health.Wire;
using ControlPlane.Server.Tests.Storage;
using ControlPlane.TestKit;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.Extensions.DependencyInjection;

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
        await LeadsAsync(first);
        await using var second = await StartAsync(database, authority, "two");

        await FollowsAsync(second);
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
        await LeadsAsync(first);
        await using var second = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await FollowsAsync(second);
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
        await LeadsAsync(first);
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
    public async Task Only_the_server_that_is_meant_and_decides_answers()
    {
        var database = await postgres.CreateDatabaseAsync();
        await using var first = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await LeadsAsync(first);
        await using var second = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await FollowsAsync(second);
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

    private static Task LeadsAsync(ControlPlaneHost host) =>
        Eventually.True(
            "the server to decide",
            _ => Task.FromResult(host.Services.GetRequiredService<HealthLeadership>().Role.Leads),
            Patience
        );

    private static Task FollowsAsync(ControlPlaneHost host) =>
        Eventually.True(
            "the server to follow",
            _ => Task.FromResult(host.Services.GetRequiredService<HealthPeers>().IsFollowing),
            Patience
        );

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
