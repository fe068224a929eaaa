using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using ControlPlane.AdminClient;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Server.Tests.Security;
using ControlPlane.TestKit;
using Grpc.Core;
using Microsoft.Extensions.Logging;
using WriteOptions = ControlPlane.AdminClient.WriteOptions;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>What the API says of proxies, with proxies that the test plays.</summary>
public sealed class PropagationTests : IAsyncLifetime
{
    private static readonly string Cds = ResourceType.Cluster.TypeUrl;
    private static readonly ResourceKey Cart = new(ResourceKind.Upstream, "cart");

    private readonly AdminFixture _api = new();

    public ValueTask InitializeAsync() => _api.InitializeAsync();

    public ValueTask DisposeAsync() => _api.DisposeAsync();

    [Fact]
    public async Task Wait_acked_answers_when_the_proxy_has_acknowledged()
    {
        using var client = new XdsClient(_api.Host.Xds.ToString());
        using var stream = await ConnectAsync(client, "edge-1");

        var writing = _api.Client.PutAsync(Cart, Bodies.Upstream(), new WriteOptions { WaitAcked = TimeSpan.FromSeconds(60) });
        var response = await stream.ExpectResponseAsync(Cds);
        Assert.False(writing.IsCompleted);
        await stream.AckAsync(response);

        var written = await writing;
        Assert.Equal((1, 0, 0), (written.Propagation!.Acked, written.Propagation.Nacked.Length, written.Propagation.Pending.Length));
        Assert.Equal("Programmed True Acked", Programmed(await _api.Client.FindAsync(Cart)));
    }

    [Fact]
    public async Task Wait_acked_without_a_proxy_that_gets_the_object_says_so()
    {
        var alone = await _api.PutAsync("/api/v1/upstreams/cart?wait=acked", Bodies.Upstream());
        Assert.Equal(
            (201, 0, "no-proxy"),
            (alone.Status, (int?)alone.Json["propagation"]!["acked"], (string?)alone.Json["warnings"]![0]!["code"])
        );
        Assert.Contains("No proxy", alone.Headers["Warning"], StringComparison.Ordinal);

        var many = await _api.SendAsync(
            HttpMethod.Post,
            "/api/v1/apply?wait=acked",
            """[{"apiVersion": "controlplane/v1", "kind": "NodeGroup", "metadata": {"name": "g"}, "spec": {"selectors": [{"ids": ["x"]}]}}]"""
        );
        Assert.Equal((200, "no-proxy"), (many.Status, (string?)many.Json["warnings"]![0]!["code"]));
    }

    [Fact]
    public async Task Wait_acked_answers_202_with_who_is_missing_when_time_is_up()
    {
        using var client = new XdsClient(_api.Host.Xds.ToString());
        using var stream = await ConnectAsync(client, "edge-1");

        var answer = await _api.PutAsync("/api/v1/upstreams/cart?wait=acked&timeout=500ms", Bodies.Upstream());

        Assert.Equal(202, answer.Status);
        Assert.Equal("edge-1", (string?)answer.Json["propagation"]!["pending"]![0]);
        Assert.Equal("Programmed False Pending", Programmed(await _api.Client.FindAsync(Cart)));
        var node = Assert.Single((await _api.Client.NodesAsync()).Items);
        Assert.Equal("pending", node.State);

        await stream.AckAsync(await stream.ExpectResponseAsync(Cds));
        await Eventually.True("the acknowledgement", async _ => Programmed(await _api.Client.FindAsync(Cart)) == "Programmed True Acked");
    }

    [Fact]
    public async Task Wait_acked_of_what_was_written_before_waits_for_that()
    {
        using var client = new XdsClient(_api.Host.Xds.ToString());
        using var stream = await ConnectAsync(client, "edge-1");
        Assert.Equal(202, (await _api.PutAsync("/api/v1/upstreams/cart?wait=acked&timeout=100ms", Bodies.Upstream())).Status);

        var again = await _api.PutAsync("/api/v1/upstreams/cart?wait=acked&timeout=100ms", Bodies.Upstream());

        Assert.Equal((202, "edge-1"), (again.Status, (string?)again.Json["propagation"]!["pending"]![0]));
        await stream.AckAsync(await stream.ExpectResponseAsync(Cds));
        again = await _api.PutAsync("/api/v1/upstreams/cart?wait=acked&timeout=60s", Bodies.Upstream());
        Assert.Equal((200, 1), (again.Status, (int?)again.Json["propagation"]!["acked"]));
    }

    [Fact]
    public async Task A_refusal_is_shown_on_object_node_and_answer_in_the_proxys_words()
    {
        using var client = new XdsClient(_api.Host.Xds.ToString());
        using var stream = await ConnectAsync(client, "edge-1");

        var writing = _api.SendAsync(HttpMethod.Put, "/api/v1/upstreams/cart?wait=acked&timeout=60s", Bodies.Upstream());
        await stream.NackAsync(await stream.ExpectResponseAsync(Cds), "Error adding/updating cluster(s) cart: the moon is wrong");

        var answer = await writing;
        Assert.Equal(201, answer.Status);
        var refusal = answer.Json["propagation"]!["nacked"]![0]!;
        Assert.Equal(("edge-1", "CDS", "cart"), ((string?)refusal["node"], (string?)refusal["type"], (string?)refusal["resource"]));
        Assert.Contains("the moon is wrong", (string?)refusal["message"], StringComparison.Ordinal);

        var condition = (await _api.Client.FindAsync(Cart))!.Status!.Conditions.Single(c => c.Type == "Programmed");
        Assert.Equal(("False", "Refused"), (condition.Status, condition.Reason));
        Assert.Contains("edge-1", condition.Message, StringComparison.Ordinal);
        Assert.Contains("the moon is wrong", condition.Message, StringComparison.Ordinal);

        var node = (await _api.GetAsync("/api/v1/nodes/edge-1")).Json;
        Assert.Equal("refused", (string?)node["state"]);
        var type = node["streams"]![0]!["types"]!.AsArray().Single(t => (string?)t!["type"] == "CDS")!;
        Assert.Contains("the moon is wrong", (string?)type["refusals"]![0]!["message"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Wait_acked_goes_on_after_a_refusal_until_all_of_the_write_is_decided()
    {
        using var client = new XdsClient(_api.Host.Xds.ToString());
        using var stream = await ConnectAsync(client, "edge-1");

        var writing = _api.Client.ApplyAsync(
            string.Join(
                "---\n",
                ((string[])["one", "two"]).Select(name =>
                    $"""
                        apiVersion: controlplane/v1
                        kind: Upstream
                        metadata: {"{"}name: {name}{"}"}
                        spec: {Bodies.Upstream()["{'spec': ".Length..^1]}

                        """
                )
            ),
            new WriteOptions { WaitAcked = TimeSpan.FromSeconds(60) }
        );
        // Words that blame nobody: each is tried alone, and refused.
        for (var refused = 0; refused < 3; )
        {
            var response = await stream.ExpectResponseAsync(Cds);
            if (response.Resources.Count > 0)
            {
                refused++;
                await stream.NackAsync(response, "the moon is wrong");
            }
            else
            {
                await stream.AckAsync(response);
            }
        }

        var propagation = (await writing).Propagation!;
        Assert.Equal(["one", "two"], propagation.Nacked.Select(refusal => refusal.Resource));
        Assert.Empty(propagation.Pending);
    }

    [Fact]
    public async Task A_node_says_what_it_is_and_has_and_is_remembered_when_it_goes()
    {
        await _api.PutAsync("/api/v1/nodegroups/edges", """{"spec": {"selectors": [{"ids": ["edge-*"]}]}}""");
        using (var client = new XdsClient(_api.Host.Xds.ToString()))
        {
            using var stream = await ConnectAsync(client, "edge-1");
            await _api.PutAsync("/api/v1/upstreams/cart", Bodies.Upstream());
            await stream.AckAsync(await stream.ExpectResponseAsync(Cds));
            await Eventually.True("the node to be in sync", async _ => (await _api.Client.NodesAsync()).Items[0].State == "synced");

            var node = (await _api.Client.NodesAsync()).Items[0];
            Assert.Equal(("edge-1", "test", true), (node.Id, node.Cluster, node.Connected));
            Assert.Equal(["edges"], node.Groups);
            var clusters = node.Streams[0].Types.Single(t => t.Type == "CDS");
            Assert.Equal(["*"], clusters.Subscriptions);
            Assert.Equal(clusters.SentVersion, clusters.AckedVersion);
            Assert.Equal("delta", node.Streams[0].Protocol);
        }

        await Eventually.True("the node to be gone", async _ => (await _api.Client.NodesAsync()).Items[0].State == "offline");
        var away = await _api.Client.PutAsync(Cart, Bodies.Upstream(9090), new WriteOptions { WaitAcked = TimeSpan.FromSeconds(20) });
        Assert.Equal(["edge-1"], away.Propagation!.Offline);
        (await _api.GetAsync("/api/v1/nodes/edge-2")).Is(404, "not-found");
    }

    [Fact]
    public async Task Objects_for_other_groups_neither_wait_for_a_node_nor_count_it()
    {
        await _api.PutAsync("/api/v1/nodegroups/others", """{"spec": {"selectors": [{"ids": ["other"]}]}}""");
        using var client = new XdsClient(_api.Host.Xds.ToString());
        using var stream = await ConnectAsync(client, "edge-1");

        var written = await _api.Client.PutAsync(
            Cart,
            """{"spec": {"nodeGroups": ["others"], "endpoints": {"source": "registration"}}}""",
            new WriteOptions { WaitAcked = TimeSpan.FromSeconds(60) }
        );

        Assert.Equal((0, 0), (written.Propagation!.Acked, written.Propagation.Pending.Length));
        Assert.Equal("Programmed Unknown NoNodes", Programmed(written));
    }

    [Fact]
    public async Task A_certificate_that_names_another_node_is_denied_and_the_attempt_is_shown()
    {
        using var certificates = new TestCertificates();
        var folder = Directory.CreateTempSubdirectory("cp-mtls-").FullName;
        try
        {
            var (certificate, key) = certificates.Issue(n => n.AddDnsName("localhost"));
            await File.WriteAllTextAsync(Path.Combine(folder, "cert"), certificate);
            await File.WriteAllTextAsync(Path.Combine(folder, "key"), key);
            await File.WriteAllTextAsync(Path.Combine(folder, "ca"), certificates.AuthorityPem);
            using var log = new LogRecorder();
            await using var host = await ControlPlaneHost.StartAsync(
                o =>
                    o with
                    {
                        XdsTlsCert = Path.Combine(folder, "cert"),
                        XdsTlsKey = Path.Combine(folder, "key"),
                        XdsClientCa = Path.Combine(folder, "ca"),
                    },
                builder => builder.Logging.AddProvider(log)
            );
            using var proxy = certificates.IssueLoaded(n => n.AddDnsName("edge-1"));
            using var client = new XdsClient($"https://localhost:{host.Xds.Port}", Presenting(proxy, certificates));

            using var allowed = client.OpenDelta("edge-1");
            await allowed.AskAsync(Cds);
            Assert.Equal(Cds, (await allowed.NextAsync()).TypeUrl);

            using var denied = client.OpenDelta("edge-2");
            await denied.AskAsync(Cds);
            var end = await Assert.ThrowsAsync<RpcException>(() => denied.NextAsync());
            Assert.Equal(StatusCode.PermissionDenied, end.StatusCode);

            var refused = Assert.Single((await host.Client.NodesAsync()).Refused);
            Assert.Equal("edge-2", refused.Node);
            Assert.Contains("names edge-1", refused.Reason, StringComparison.Ordinal);
            Assert.Contains("edge-2", await log.FirstAsync(3004), StringComparison.Ordinal);
            Assert.Contains("xds_nodes_refused_total", await host.Http.GetStringAsync("/metrics"), StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static SocketsHttpHandler Presenting(X509Certificate2 certificate, TestCertificates authority)
    {
        var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.Add(X509Certificate2.CreateFromPem(authority.AuthorityPem));
        return new SocketsHttpHandler
        {
            SslOptions = new SslClientAuthenticationOptions { ClientCertificates = [certificate], CertificateChainPolicy = policy },
        };
    }

    /// <summary>A node that has everything there is so far.</summary>
    [Fact]
    public async Task Of_a_node_that_asks_for_many_names_the_first_are_shown_and_the_others_counted()
    {
        using var client = new XdsClient(_api.Host.Xds.ToString());
        using var stream = client.OpenDelta("edge-1");
        await stream.AskAsync(
            "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            [.. Enumerable.Range(1000, 1500).Select(i => $"name-{i}")]
        );
        await Eventually.True("the names", async _ => (await _api.Client.NodesAsync()).Items is [{ Streams: [{ Types.IsEmpty: false }] }]);

        var one = (await _api.GetAsync("/api/v1/nodes/edge-1")).Json["streams"]![0]!["types"]![0]!;
        var listed = (await _api.GetAsync("/api/v1/nodes")).Json["items"]![0]!["streams"]![0]!["types"]![0]!;

        Assert.Equal((1500, 1000), (one["nameCount"]!.GetValue<int>(), one["subscriptions"]!.AsArray().Count));
        Assert.Equal((1500, 100), (listed["nameCount"]!.GetValue<int>(), listed["subscriptions"]!.AsArray().Count));
        Assert.Equal("name-1000", listed["subscriptions"]![0]!.GetValue<string>());
    }

    private static async Task<DeltaStream> ConnectAsync(XdsClient client, string node)
    {
        var stream = client.OpenDelta(node);
        await stream.AskAsync(Cds);
        await stream.AckAsync(await stream.ExpectResponseAsync(Cds));
        return stream;
    }

    private static string Programmed(Resources.Api.ObjectView? view)
    {
        var condition = view!.Status!.Conditions.Single(c => c.Type == "Programmed");
        return $"{condition.Type} {condition.Status} {condition.Reason}";
    }
}
