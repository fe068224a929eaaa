using System.Collections.Concurrent;
using ControlPlane.AdminClient;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Server.Admin;
using ControlPlane.Server.Health;
using ControlPlane.Server.Health.Wire;
using ControlPlane.TestKit;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>Several servers on one database.</summary>
public sealed class ManyServersTests(PostgresFixture postgres)
{
    [Fact]
    public async Task Writers_on_two_servers_at_once_all_get_their_turn()
    {
        var database = await (await postgres.GetServerAsync()).CreateDatabaseAsync();
        await using var one = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await using var two = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        var faults = new ConcurrentBag<string>();

        await Task.WhenAll(
            Enumerable
                .Range(0, 16)
                .Select(async client =>
                {
                    var server = client % 2 == 0 ? one : two;
                    for (var i = 0; i < 15; i++)
                    {
                        using var content = new StringContent(
                            Bodies.Upstream(1000 + i),
                            System.Net.Http.Headers.MediaTypeHeaderValue.Parse("application/json")
                        );
                        using var answer = await server.Http.PutAsync(new Uri($"/api/v1/upstreams/of-{client}", UriKind.Relative), content);
                        if (!answer.IsSuccessStatusCode)
                        {
                            faults.Add(await answer.Content.ReadAsStringAsync());
                        }
                    }
                })
        );

        Assert.Empty(faults);
        Assert.Equal(16 * 15, (await one.Client.RevisionsAsync(1)).Items[0].Revision);
    }

    [Fact]
    public async Task What_another_server_wrote_just_now_is_known_when_a_change_is_judged()
    {
        var database = await (await postgres.GetServerAsync()).CreateDatabaseAsync();
        await using var one = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await using var two = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        for (var i = 0; i < 20; i++)
        {
            var key = new ResourceKey(ResourceKind.Upstream, $"u{i}");
            var version = (await one.Client.PutAsync(key, Bodies.Registering)).Metadata.ResourceVersion;
            await two.Client.PutAsync(key, Bodies.Upstream(), new AdminClient.WriteOptions { IfMatch = version });
            await one.Client.PatchAsync(
                key,
                new System.Text.Json.Nodes.JsonObject { ["spec"] = new System.Text.Json.Nodes.JsonObject { ["connectTimeout"] = "2s" } }
            );
            await two.Client.DeleteAsync(key);
        }
    }

    [Fact]
    public async Task Each_server_shows_the_proxies_of_all_and_each_stream_with_the_server_that_holds_it()
    {
        await using var servers = await ServersAsync(3);
        using var one = await ProxyAsync(servers[0], "edge-1");
        using var two = await ProxyAsync(servers[1], "edge-2");
        using var three = await ProxyAsync(servers[2], "edge-3");
        await Assert.AllAsync(
            servers,
            async server =>
            {
                var nodes = await server.Client.NodesAsync();
                Assert.Equal(["edge-1", "edge-2", "edge-3"], nodes.Items.Select(node => node.Id));
                Assert.All(nodes.Items, node => Assert.Single(node.Streams));
                Assert.Empty(nodes.Unreachable);
                Assert.Contains("edge-3", await server.Http.GetStringAsync("/api/v1/nodes/edge-3"), StringComparison.Ordinal);
            }
        );
    }

    [Fact]
    public async Task A_proxy_with_streams_to_two_servers_is_one_node()
    {
        await using var servers = await ServersAsync(2);
        using var one = await ProxyAsync(servers[0], "edge-1");
        using var two = await ProxyAsync(servers[1], "edge-1");

        var node = Assert.Single((await servers[0].Client.NodesAsync()).Items);

        Assert.Equal((2, "synced"), (node.Streams.Length, node.State));
    }

    [Fact]
    public async Task Wait_acked_waits_for_the_proxies_of_all_servers_and_tells_what_each_said()
    {
        await using var servers = await ServersAsync(3);
        using var one = await ProxyAsync(servers[0], "edge-1");
        using var two = await ProxyAsync(servers[1], "edge-2");
        using var three = await ProxyAsync(servers[2], "edge-3");

        var writing = servers[1]
            .Client.PutAsync(Cart, Bodies.Upstream(), new AdminClient.WriteOptions { WaitAcked = TimeSpan.FromSeconds(60) });
        await one.Stream.AckAsync(await one.Stream.ExpectResponseAsync(Cds));
        await two.Stream.AckAsync(await two.Stream.ExpectResponseAsync(Cds));
        var last = await three.Stream.ExpectResponseAsync(Cds);
        Assert.False(writing.IsCompleted);
        await three.Stream.NackAsync(last, "Error adding/updating cluster(s) cart: the moon is wrong");

        var propagation = (await writing).Propagation!;
        Assert.Equal((2, 0, 0), (propagation.Acked, propagation.Pending.Length, propagation.Unreachable.Length));
        var refusal = Assert.Single(propagation.Nacked);
        Assert.Equal(("edge-3", "Error adding/updating cluster(s) cart: the moon is wrong"), (refusal.Node, refusal.Message));
    }

    [Fact]
    public async Task A_proxy_that_moved_to_another_server_is_not_offline()
    {
        await using var servers = await ServersAsync(2);
        using (await ProxyAsync(servers[0], "edge-1")) { }
        using var back = await ProxyAsync(servers[1], "edge-1");
        await Eventually.True(
            "the first server to see it go",
            _ => Task.FromResult(!servers[0].Services.GetRequiredService<NodeViews>().Here("").Items.Single().Connected)
        );
        Assert.True(Assert.Single((await servers[0].Client.NodesAsync()).Items).Connected);

        var writing = servers[0]
            .Client.PutAsync(Cart, Bodies.Upstream(), new AdminClient.WriteOptions { WaitAcked = TimeSpan.FromSeconds(60) });
        await back.Stream.AckAsync(await back.Stream.ExpectResponseAsync(Cds));

        var propagation = (await writing).Propagation!;
        Assert.Equal((1, 0), (propagation.Acked, propagation.Offline.Length));
    }

    [Fact]
    public async Task A_server_that_cannot_be_asked_is_named_with_the_reason()
    {
        await using var servers = await ServersAsync(1);
        var leadership = servers[0].Services.GetRequiredService<HealthLeadership>();
        await Eventually.True("the server to decide", _ => Task.FromResult(leadership.Role.Leads), TimeSpan.FromSeconds(40));
        using var own = await ProxyAsync(servers[0], "edge-1");
        using var channel = GrpcChannel.ForAddress(leadership.OwnAddress);
        using var following = new HealthPeerService.HealthPeerServiceClient(channel).Follow();
        var nowhere = $"http://127.0.0.1:{FreePort.Next()}";
        await following.RequestStream.WriteAsync(
            new FollowRequest
            {
                Leader = leadership.ServerId,
                Follower = "lost",
                Address = nowhere,
            }
        );
        await following.ResponseStream.MoveNext(CancellationToken.None);

        var nodes = await servers[0].Client.NodesAsync();
        var writing = servers[0]
            .Client.PutAsync(Cart, Bodies.Upstream(), new AdminClient.WriteOptions { WaitAcked = TimeSpan.FromSeconds(60) });
        await own.Stream.AckAsync(await own.Stream.ExpectResponseAsync(Cds));
        var propagation = (await writing).Propagation!;

        Assert.Equal(["edge-1"], nodes.Items.Select(node => node.Id));
        Assert.Equal(1, propagation.Acked);
        Assert.False(propagation.IsComplete);
        Assert.All(
            [Assert.Single(nodes.Unreachable), Assert.Single(propagation.Unreachable)],
            lost =>
            {
                Assert.Equal("lost", lost.Replica);
                Assert.Contains(nowhere, lost.Reason, StringComparison.Ordinal);
            }
        );
    }

    private static readonly string Cds = ResourceType.Cluster.TypeUrl;
    private static readonly ResourceKey Cart = new(ResourceKind.Upstream, "cart");

    /// <summary>Servers that know each other.</summary>
    private async Task<Servers> ServersAsync(int count)
    {
        var database = await postgres.CreateDatabaseAsync();
        var servers = new Servers();
        for (var i = 0; i < count; i++)
        {
            servers.Add(await ControlPlaneHost.StartAsync(o => o with { Store = database }));
        }

        await Eventually.True(
            "one to decide and the others to follow",
            _ => Task.FromResult(servers.Sum(s => s.Services.GetRequiredService<HealthPeerServer>().Followers.Count) == count - 1),
            TimeSpan.FromSeconds(40)
        );
        return servers;
    }

    /// <summary>A node that has everything there is so far.</summary>
    private static async Task<Proxy> ProxyAsync(ControlPlaneHost server, string node)
    {
        var client = new XdsClient(server.Xds.ToString());
        var stream = client.OpenDelta(node);
        await stream.AskAsync(Cds);
        await stream.AckAsync(await stream.ExpectResponseAsync(Cds));
        await Eventually.True(
            "the acknowledgement",
            _ => Task.FromResult(server.Services.GetRequiredService<NodeViews>().Here(node).Items is [{ State: "synced" }])
        );
        return new Proxy(client, stream);
    }

    private sealed record Proxy(XdsClient Client, DeltaStream Stream) : IDisposable
    {
        public void Dispose()
        {
            Stream.Dispose();
            Client.Dispose();
        }
    }

    private sealed class Servers : List<ControlPlaneHost>, IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            foreach (var server in this)
            {
                await server.DisposeAsync();
            }
        }
    }
}
