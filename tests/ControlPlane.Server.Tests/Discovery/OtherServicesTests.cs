using System.Diagnostics.Metrics;
using System.Net;
using System.Text;
using System.Text.Json;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using ControlPlane.TestKit;
using Envoy.Admin.V3;
using Envoy.Service.Status.V3;
using Grpc.Core;
using Grpc.Health.V1;
using Grpc.Reflection.V1Alpha;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Time.Testing;
using static ControlPlane.Core.Snapshots.ResourceType;
using V1 = Grpc.Reflection.V1;

namespace ControlPlane.Server.Tests.Discovery;

/// <summary>What is served besides streams: polling, client status, health, reflection.</summary>
public sealed class OtherServicesTests
{
    [Fact]
    public async Task Polling_answers_with_the_resources_and_with_304_while_they_are_the_same()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        server.Publish(
            Resources.Cluster("a"),
            Resources.Cluster("b"),
            Resources.Endpoints("a", 1),
            Resources.Listener("l"),
            Resources.Route("r", "a")
        );
        using var http = Http(server);

        var (status, json) = await PostAsync(http, "clusters", """{"node":{"id":"n","cluster":"test","metadata":{"role":"edge"}}}""");
        Assert.Equal(HttpStatusCode.OK, status);
        Assert.Equal(Cluster.TypeUrl, json!.Value.GetProperty("typeUrl").GetString());
        Assert.Equal(["a", "b"], json.Value.GetProperty("resources").EnumerateArray().Select(r => r.GetProperty("name").GetString()));
        Assert.All(
            json.Value.GetProperty("resources").EnumerateArray(),
            r => Assert.Equal(Cluster.TypeUrl, r.GetProperty("@type").GetString())
        );
        var version = json.Value.GetProperty("versionInfo").GetString();

        var same = $$$"""{"node":{"id":"n","cluster":"test"},"version_info":"{{{version}}}","unknown_field":{"x":1}}""";
        Assert.Equal(HttpStatusCode.NotModified, (await PostAsync(http, "clusters", same)).Status);
        server.Publish(Resources.Cluster("a", "2"));
        Assert.Equal(HttpStatusCode.OK, (await PostAsync(http, "clusters", same)).Status);

        (_, json) = await PostAsync(http, "endpoints", """{"node":{"id":"n"},"resource_names":["a","none"]}""");
        Assert.Equal("a", Assert.Single(json!.Value.GetProperty("resources").EnumerateArray()).GetProperty("clusterName").GetString());
        (_, json) = await PostAsync(http, "endpoints", """{"node":{"id":"n"}}""");
        Assert.False(json!.Value.TryGetProperty("resources", out _));
        foreach (var path in (string[])["listeners", "routes", "secrets", "runtime", "extension_configs", "scoped-routes"])
        {
            Assert.Equal(HttpStatusCode.OK, (await PostAsync(http, path, """{"node":{"id":"n"},"resource_names":["*"]}""")).Status);
        }
    }

    [Theory]
    [InlineData("not json")]
    [InlineData("""{"node":5}""")]
    [InlineData("""{"type_url":"type.googleapis.com/envoy.config.listener.v3.Listener"}""")]
    public async Task Polling_says_what_is_wrong_with_a_request(string body)
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        using var http = Http(server);
        var (status, json) = await PostAsync(http, "clusters", body);
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.NotEmpty(json!.Value.GetProperty("detail").GetString()!);
    }

    [Fact]
    public async Task Polling_for_a_type_that_there_is_not_says_which_there_are()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        using var http = Http(server);
        var (status, json) = await PostAsync(http, "nothing", "{}");
        Assert.Equal(HttpStatusCode.NotFound, status);
        Assert.StartsWith(
            "'nothing' cannot be polled. What can: clusters, endpoints, ",
            json!.Value.GetProperty("detail").GetString(),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Polling_waits_for_the_first_load_and_lets_in_only_who_may()
    {
        await using var server = await DiscoveryTestServer.StartAsync(ready: false, authorize: (node, _) => node.Id == "n" ? null : "no");
        using var http = Http(server);
        Assert.Equal(HttpStatusCode.Forbidden, (await PostAsync(http, "clusters", """{"node":{"id":"other"}}""")).Status);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await PostAsync(http, "clusters", """{"node":{"id":"n"}}""")).Status);
    }

    [Fact]
    public async Task A_poll_that_repeats_the_version_acknowledges_it_and_the_node_is_shown_like_one_with_a_stream()
    {
        var clock = new FakeTimeProvider();
        await using var server = await DiscoveryTestServer.StartAsync(time: clock);
        server.Publish(Resources.Cluster("a"), Resources.Endpoints("a", 1), Resources.Endpoints("b", 1));
        using var http = Http(server);

        var clusters = await PollAsync(http, "clusters");
        Assert.Equal(DeliveryState.Pending, server.Nodes.DeliveryOf("n", Cluster, "a").State);
        Assert.Equal(DeliveryState.None, server.Nodes.DeliveryOf("n", Endpoints, "a").State);
        var endpoints = await PollAsync(http, "endpoints", names: "\"a\"");
        await PollAsync(http, "endpoints", names: "\"b\"");
        Assert.Null(await PollAsync(http, "clusters", clusters));
        Assert.Null(await PollAsync(http, "endpoints", endpoints, "\"a\""));

        var node = Assert.Single(server.Nodes.List());
        Assert.Equal(("n", "test", null), (node.Identity.Id, node.Identity.Cluster, node.DisconnectedAt));
        var polls = Assert.Single(node.Streams);
        Assert.Equal(("rest", "REST"), (polls.Protocol, polls.Service));
        Assert.Equal([Cluster, Endpoints], polls.Subscriptions.Select(s => s.Type));
        Assert.Equal((true, clusters, clusters), Seen(polls.Subscriptions[0]));
        Assert.Equal(["a", "b"], polls.Subscriptions[1].Names);
        Assert.Equal(1, polls.Subscriptions[1].Unanswered);
        Assert.Equal(DeliveryState.Acked, server.Nodes.DeliveryOf("n", Endpoints, "a").State);
        Assert.Equal(DeliveryState.Pending, server.Nodes.DeliveryOf("n", Endpoints, "b").State);

        // What was not polled since is on its way, what was taken away is acknowledged by a poll, too.
        server.Publish([], [new ResourceReference(Cluster, "a"), new ResourceReference(Endpoints, "a")]);
        Assert.Equal(DeliveryState.Pending, server.Nodes.DeliveryOf("n", Cluster, "a").State);
        Assert.Equal(DeliveryState.None, server.Nodes.DeliveryOf("n", Endpoints, "a").State);
        var changed = server.Nodes.NextChange();
        Assert.Null(await PollAsync(http, "clusters", await PollAsync(http, "clusters", clusters)));
        Assert.True(changed.IsCompleted);
        Assert.Equal(DeliveryState.Acked, server.Nodes.DeliveryOf("n", Cluster, "a").State);

        clock.Advance(PollingNode.GoneAfter + TimeSpan.FromSeconds(2));
        await server.UntilAsync(nodes => nodes.Find("n")!.DisconnectedAt is not null);
        Assert.Empty(server.Nodes.Connected());

        static (bool, string?, string?) Seen(SubscriptionStatus s) => (s.Wildcard, s.SentVersion, s.AckedVersion);
    }

    [Fact]
    public async Task A_poll_with_an_error_or_a_third_one_without_the_version_refuses_what_was_given()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        server.Publish(Resources.Cluster("good"));
        using var http = Http(server);
        var first = await PollAsync(http, "clusters");
        await PollAsync(http, "clusters", first);
        server.Publish(Resources.Cluster("bad"));

        await PollAsync(http, "clusters", first);
        await PollAsync(
            http,
            "clusters",
            first,
            error: "Proto constraint validation failed (Cluster.X: -----BEGIN PRIVATE KEY-----abc-----END PRIVATE KEY-----)"
        );
        var refused = server.Nodes.DeliveryOf("n", Cluster, "bad");
        Assert.Equal((DeliveryState.Nacked, "bad"), (refused.State, refused.Refusal!.Name));
        Assert.Equal("Proto constraint validation failed (Cluster.X: [redacted])", refused.Refusal.Text);
        Assert.Equal(DeliveryState.Acked, server.Nodes.DeliveryOf("n", Cluster, "good").State);
        Assert.Equal("bad", Assert.Single(server.Nodes.Find("n")!.Streams[0].Subscriptions[0].Refusals).Name);

        // A version that nobody has said a word about yet is on its way again; Envoy says nothing, and asks for it again and again.
        server.Publish(Resources.Cluster("bad", "2"));
        Assert.Equal(DeliveryState.Pending, server.Nodes.DeliveryOf("n", Cluster, "bad").State);
        for (var given = 0; given < 3; given++)
        {
            await PollAsync(http, "clusters", first);
            Assert.Equal(DeliveryState.Pending, server.Nodes.DeliveryOf("n", Cluster, "bad").State);
        }

        var second = await PollAsync(http, "clusters", first);
        refused = server.Nodes.DeliveryOf("n", Cluster, "bad");
        Assert.Equal(DeliveryState.Nacked, refused.State);
        Assert.StartsWith("It was given this 3 times and goes on with what it had.", refused.Refusal!.Text, StringComparison.Ordinal);

        Assert.Null(await PollAsync(http, "clusters", second));
        Assert.Equal(DeliveryState.Acked, server.Nodes.DeliveryOf("n", Cluster, "bad").State);
        Assert.Empty(server.Nodes.Find("n")!.Streams[0].Subscriptions[0].Refusals);
    }

    [Fact]
    public async Task A_node_that_polls_for_more_names_than_one_may_is_told_so()
    {
        await using var server = await DiscoveryTestServer.StartAsync(o => o.MaxNames = 2);
        using var http = Http(server);
        await PollAsync(http, "endpoints", names: "\"a\"");
        await PollAsync(http, "endpoints", names: "\"b\"");
        await PollAsync(http, "endpoints", names: "\"a\"");

        var (status, problem) = await PostAsync(http, "endpoints", """{"node":{"id":"n"},"resource_names":["c"]}""");

        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, status);
        Assert.Contains("more than 2 names", problem!.Value.GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Client_status_tells_what_each_node_has_and_refused_and_shows_no_secret()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        server.Publish(Resources.Cluster("a"), Resources.Endpoints("a", 1), Resources.Secret("s", "TOPSECRET"));
        using var client = new XdsClient(server.Address);
        using var stream = client.OpenDelta("n");
        using var hidden = client.OpenDelta("other");
        await hidden.AskAsync(Cluster.TypeUrl);
        await hidden.ExpectResponseAsync(Cluster.TypeUrl);
        await stream.AskAsync(Cluster.TypeUrl);
        await stream.AckAsync(await stream.ExpectResponseAsync(Cluster.TypeUrl));
        await stream.AskAsync(Endpoints.TypeUrl, "a", "missing");
        await stream.NackAsync(await stream.ExpectResponseAsync(Endpoints.TypeUrl), "no good");
        await stream.AskAsync(Secret.TypeUrl, "s");
        await stream.ExpectResponseAsync(Secret.TypeUrl);
        await server.UntilAsync(nodes => nodes.DeliveryOf("n", Endpoints, "a").State == DeliveryState.Nacked);

        var csds = new ClientStatusDiscoveryService.ClientStatusDiscoveryServiceClient(client.Invoker);
        var response = await csds.FetchClientStatusAsync(
            new ClientStatusRequest { NodeMatchers = { new Envoy.Type.Matcher.V3.NodeMatcher { NodeId = new() { Prefix = "n" } } } }
        );
        var config = Assert.Single(response.Config);
        Assert.Equal("n", config.Node.Id);
        var byName = config.GenericXdsConfigs.ToDictionary(x => (x.TypeUrl, x.Name));
        Assert.Equal(ConfigStatus.Synced, byName[(Cluster.TypeUrl, "a")].ConfigStatus);
        Assert.Equal(ClientResourceStatus.Acked, byName[(Cluster.TypeUrl, "a")].ClientStatus);
        Assert.Equal("a", byName[(Cluster.TypeUrl, "a")].XdsConfig.Unpack<Envoy.Config.Cluster.V3.Cluster>().Name);
        Assert.Equal("no good", byName[(Endpoints.TypeUrl, "a")].ErrorState.Details);
        Assert.Equal(ClientResourceStatus.DoesNotExist, byName[(Endpoints.TypeUrl, "missing")].ClientStatus);
        Assert.Equal(ConfigStatus.Stale, byName[(Secret.TypeUrl, "s")].ConfigStatus);
        Assert.DoesNotContain(
            "TOPSECRET",
            Encoding.UTF8.GetString(Google.Protobuf.MessageExtensions.ToByteArray(response)),
            StringComparison.Ordinal
        );

        using var watch = csds.StreamClientStatus();
        await watch.RequestStream.WriteAsync(new ClientStatusRequest { ExcludeResourceContents = true });
        Assert.True(await watch.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        Assert.Equal(2, watch.ResponseStream.Current.Config.Count);
        Assert.All(watch.ResponseStream.Current.Config.SelectMany(c => c.GenericXdsConfigs), x => Assert.Null(x.XdsConfig));
    }

    [Fact]
    public async Task Health_is_serving_from_the_first_load()
    {
        await using var server = await DiscoveryTestServer.StartAsync(ready: false);
        using var client = new XdsClient(server.Address);
        var health = new Grpc.Health.V1.Health.HealthClient(client.Invoker);
        using var watch = health.Watch(new HealthCheckRequest { Service = XdsClient.Ads });
        Assert.True(await watch.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        while (watch.ResponseStream.Current.Status == HealthCheckResponse.Types.ServingStatus.ServiceUnknown)
        {
            Assert.True(await watch.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        }

        Assert.Equal(HealthCheckResponse.Types.ServingStatus.NotServing, watch.ResponseStream.Current.Status);
        server.Snapshots.MarkReady();
        Assert.True(await watch.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, watch.ResponseStream.Current.Status);
    }

    [Fact]
    public async Task The_warm_up_runs_to_its_end_and_counts_nowhere()
    {
        var published = new List<string>();
        using var listener = new MeterListener { InstrumentPublished = (instrument, _) => published.Add(instrument.Meter.Name) };
        await DiscoveryWarmUp.RunAsync(TestContext.Current.CancellationToken);
        listener.Start();
        Assert.Contains("ControlPlane.WarmUp", published);
    }

    [Fact]
    public async Task Reflection_describes_the_services_of_this_port_in_both_its_versions()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        using var client = new XdsClient(host.Xds.ToString());
        using var alpha = new ServerReflection.ServerReflectionClient(client.Invoker).ServerReflectionInfo();
        await alpha.RequestStream.WriteAsync(new ServerReflectionRequest { ListServices = "" });
        Assert.True(await alpha.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        var services = alpha.ResponseStream.Current.ListServicesResponse.Service.Select(service => service.Name).ToList();
        Assert.Contains(XdsClient.Ads, services);
        Assert.Contains("envoy.service.status.v3.ClientStatusDiscoveryService", services);

        using var v1 = new V1.ServerReflection.ServerReflectionClient(client.Invoker).ServerReflectionInfo();
        await v1.RequestStream.WriteAsync(new V1.ServerReflectionRequest { ListServices = "" });
        Assert.True(await v1.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        Assert.Equal(services, v1.ResponseStream.Current.ListServicesResponse.Service.Select(service => service.Name));
        await v1.RequestStream.WriteAsync(new V1.ServerReflectionRequest { FileContainingSymbol = XdsClient.Ads });
        Assert.True(await v1.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        Assert.NotEmpty(v1.ResponseStream.Current.FileDescriptorResponse.FileDescriptorProto);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_polled_request_larger_than_a_grpc_message_may_be_is_refused(string version)
    {
        await using var server = await DiscoveryTestServer.StartAsync(
            o => o.MaxRequestBytes = 10_000,
            listen: l => l.Protocols = version == "1.1" ? HttpProtocols.Http1 : HttpProtocols.Http2
        );
        using var http = Http(server);
        http.DefaultRequestVersion = Version.Parse(version);
        var names = string.Join(',', Enumerable.Repeat("\"name\"", 2_000));

        var (status, problem) = await PostAsync(
            http,
            "clusters",
            $$"""{"node": {"id": "n", "cluster": "all"}, "resource_names": [{{names}}]}"""
        );

        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, status);
        Assert.Contains("larger than 10000 bytes", problem!.Value.GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("error_detail")]
    [InlineData("errorDetail")]
    public async Task Packed_details_of_an_error_do_not_matter(string name)
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        using var http = Http(server);

        var (status, _) = await PostAsync(
            http,
            "clusters",
            $$"""{"node": {"id": "n", "cluster": "all"}, "{{name}}": {"code": 3, "message": "no", "details": [{"@type": "type.googleapis.com/example.Nothing", "a": 1}]} }"""
        );

        Assert.Contains(status, (HttpStatusCode[])[HttpStatusCode.OK, HttpStatusCode.NotModified]);
    }

    /// <summary>Polls, and gives the version that the answer carries; null of a 304.</summary>
    private static async Task<string?> PollAsync(
        HttpClient http,
        string path,
        string? version = "",
        string names = "",
        string? error = null
    )
    {
        var detail = error is null ? "" : $$""","error_detail":{"code":13,"message":"{{error}}"}""";
        var (status, json) = await PostAsync(
            http,
            path,
            $$$"""{"node":{"id":"n","cluster":"test"},"version_info":"{{{version}}}","resource_names":[{{{names}}}]{{{detail}}}}"""
        );
        Assert.Contains(status, (HttpStatusCode[])[HttpStatusCode.OK, HttpStatusCode.NotModified]);
        return json?.GetProperty("versionInfo").GetString();
    }

    private static HttpClient Http(DiscoveryTestServer server) =>
        new()
        {
            BaseAddress = new Uri(server.Address),
            DefaultRequestVersion = HttpVersion.Version20,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };

    private static async Task<(HttpStatusCode Status, JsonElement? Body)> PostAsync(HttpClient http, string path, string body)
    {
        using var content = new StringContent(body, Encoding.UTF8, "application/json");
        using var response = await http.PostAsync(new Uri("/v3/discovery:" + path, UriKind.Relative), content);
        var text = await response.Content.ReadAsStringAsync();
        return (response.StatusCode, text.Length == 0 ? null : JsonDocument.Parse(text).RootElement);
    }
}
