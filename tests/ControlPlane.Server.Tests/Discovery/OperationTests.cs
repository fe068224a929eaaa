using System.Diagnostics.Metrics;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using ControlPlane.TestKit;
using Envoy.Service.Discovery.V3;
using Grpc.Core;
using Microsoft.Extensions.Time.Testing;
using static ControlPlane.Core.Snapshots.ResourceType;

namespace ControlPlane.Server.Tests.Discovery;

/// <summary>What holds while many clients come, stall, refuse and go.</summary>
public sealed class OperationTests
{
    [Fact]
    [Trait("Rule", "P-01")]
    public async Task P01_a_client_that_does_not_read_holds_up_nobody_and_costs_no_queue()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        var big = Enumerable.Range(0, 2000).Select(i => Resources.Cluster($"c{i}", new string('x', 1000))).ToArray();
        server.Publish(big);
        using var stalledClient = new XdsClient(server.Address);
        using var stalled = stalledClient.OpenDelta("stalled");
        // Two megabytes are more than the connection's window: the write does not end until someone reads.
        await stalled.AskAsync(Cluster.TypeUrl);
        using var client = new XdsClient(server.Address);
        using var reader = client.OpenDelta("reads");
        await reader.AskAsync(Endpoints.TypeUrl, "a");
        await reader.ExpectResponseAsync(Endpoints.TypeUrl);
        await server.UntilAsync(nodes => nodes.Find("stalled") is not null);

        for (var i = 1; i <= 10_000; i++)
        {
            server.Publish(Resources.Cluster($"c{i % 2000}", $"{i}-{new string('y', 1000)}"));
            if (i % 100 == 0)
            {
                server.Publish(Resources.Endpoints("a", i));
                await reader.AckAsync(await reader.ExpectResponseAsync(Endpoints.TypeUrl));
            }
        }

        // When it reads at last it gets what was written, and then the newest of all as one response.
        var first = await stalled.ExpectResponseAsync(Cluster.TypeUrl);
        var second = await stalled.ExpectResponseAsync(Cluster.TypeUrl);
        Assert.Equal(2000, first.Resources.Count);
        Assert.Equal(2000, second.Resources.Count);
        await server.ExpectNoResponseAsync(stalled);
    }

    [Fact]
    [Trait("Rule", "P-02")]
    public async Task P02_a_refusal_is_seen_on_the_node_on_the_resource_in_the_log_and_in_the_metrics_without_the_key_in_it()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        long nacks = 0;
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, l) =>
            {
                if (
                    instrument.Name == "xds.nacks"
                    && ReferenceEquals(instrument.Meter.Scope, server.Services.GetService(typeof(IMeterFactory)))
                )
                {
                    l.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<long>((_, value, _, _) => Interlocked.Add(ref nacks, value));
        listener.Start();

        server.Publish(Resources.Secret("s"), Resources.Endpoints("a", 1));
        using var client = new XdsClient(server.Address);
        using var stream = client.OpenDelta("n");
        await stream.AskAsync(Secret.TypeUrl, "s");
        var response = await stream.ExpectResponseAsync(Secret.TypeUrl);
        await stream.NackAsync(
            response,
            "goo.gle/debugonly  name: \"s\" private_key { inline_string: \"-----BEGIN PRIVATE KEY-----TOPSECRET\" } Proto constraint validation failed (SecretValidationError)"
        );
        await server.UntilAsync(nodes => nodes.DeliveriesOf(Secret, "s") is [{ Delivery.State: DeliveryState.Nacked }]);

        var delivery = Assert.Single(server.Nodes.DeliveriesOf(Secret, "s"));
        Assert.Equal("n", delivery.Node.Id);
        Assert.Equal(Assert.Single(response.Resources).Version, delivery.Delivery.Refusal!.Version);
        Assert.Equal("Proto constraint validation failed (SecretValidationError)", delivery.Delivery.Refusal.Text);
        var subscription = Assert.Single(Assert.Single(server.Nodes.Find("n")!.Streams).Subscriptions);
        Assert.Equal(delivery.Delivery.Refusal, Assert.Single(subscription.Refusals));
        Assert.Equal(delivery.Delivery.Refusal.Text, subscription.LastRefusal);
        Assert.Null(subscription.AckedVersion);
        var log = await server.Log.FirstAsync(3002);
        Assert.Contains("Node n refused SDS", log, StringComparison.Ordinal);
        Assert.DoesNotContain("TOPSECRET", log, StringComparison.Ordinal);
        Assert.Equal(1, Interlocked.Read(ref nacks));

        await stream.AskAsync(Endpoints.TypeUrl, "a");
        await stream.AckAsync(await stream.ExpectResponseAsync(Endpoints.TypeUrl));
        await server.UntilAsync(nodes => nodes.DeliveriesOf(Endpoints, "a") is [{ Delivery.State: DeliveryState.Acked }]);
        var acked = server.Nodes.Find("n")!.Streams[0].Subscriptions.Single(s => s.Type == Endpoints);
        Assert.Equal(acked.SentVersion, acked.AckedVersion);
        Assert.NotNull(acked.ResponseTime);
    }

    [Fact]
    [Trait("Rule", "P-03")]
    [Trait("Rule", "G-02")]
    public async Task P03_a_storm_of_reconnecting_streams_is_answered_and_resumes_on_a_restarted_server_without_a_resource()
    {
        const int Streams = 500;
        EncodedResource[] Desired() =>
            [.. Enumerable.Range(0, 50).SelectMany(i => new[] { Resources.Cluster($"c{i}"), Resources.Endpoints($"c{i}", i + 1) })];

        Dictionary<string, string> held;
        await using (var first = await DiscoveryTestServer.StartAsync())
        {
            first.Publish(Desired());
            using var client = new XdsClient(first.Address);
            using var stream = client.OpenDelta();
            await stream.AskAsync(Cluster.TypeUrl);
            held = (await stream.ExpectResponseAsync(Cluster.TypeUrl)).Resources.ToDictionary(r => r.Name, r => r.Version);
        }

        await using var restarted = await DiscoveryTestServer.StartAsync();
        restarted.Publish(Desired());
        using var again = new XdsClient(restarted.Address);
        await Task.WhenAll(
            Enumerable
                .Range(0, Streams)
                .Select(async i =>
                {
                    using var stream = again.OpenDelta($"n{i}");
                    await stream.ResumeAsync(Cluster.TypeUrl, held);
                    Assert.Empty((await stream.ExpectResponseAsync(Cluster.TypeUrl)).Resources);
                })
        );
    }

    [Fact]
    [Trait("Rule", "T-12")]
    public async Task T12_on_shutdown_streams_end_with_OK_and_only_after_a_response()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        using var client = new XdsClient(server.Address);
        using var served = client.OpenDelta("served");
        await served.AskAsync(Cluster.TypeUrl);
        await served.ExpectResponseAsync(Cluster.TypeUrl);
        // Has asked, and for nothing that there is: it waits for its first response.
        using var waits = client.OpenSotw("waits");
        await waits.AskAsync(Endpoints.TypeUrl, "later");
        await server.UntilAsync(nodes => nodes.Find("waits") is not null);
        foreach (var node in (string[])["served", "waits"])
        {
            server.Server.EndStreamsOf(node);
        }

        Assert.Equal(StatusCode.OK, (await served.EndAsync()).StatusCode);
        server.Publish(Resources.Endpoints("later", 1));
        await waits.ExpectResponseAsync(Endpoints.TypeUrl);
        Assert.Equal(StatusCode.OK, (await waits.EndAsync()).StatusCode);
    }

    [Fact]
    [Trait("Rule", "T-12")]
    public async Task T12_stopping_the_server_ends_every_stream()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        using var client = new XdsClient(server.Address);
        var streams = Enumerable.Range(0, 20).Select(i => client.OpenDelta($"n{i}")).ToList();
        foreach (var stream in streams)
        {
            await stream.AskAsync(Cluster.TypeUrl);
            await stream.ExpectResponseAsync(Cluster.TypeUrl);
        }

        var read = new TaskCompletionSource();
        var stopping = server.StopAsync(mayClose: read.Task);
        foreach (var stream in streams)
        {
            Assert.Equal(StatusCode.OK, (await stream.EndAsync()).StatusCode);
            stream.Dispose();
        }

        read.SetResult();
        await stopping;
    }

    [Fact]
    [Trait("Rule", "T-12")]
    public async Task T12_a_stream_is_ended_for_its_age()
    {
        var time = new FakeTimeProvider();
        await using var server = await DiscoveryTestServer.StartAsync(options => options.MaxStreamAge = TimeSpan.FromHours(1), time: time);
        using var client = new XdsClient(server.Address);
        using var stream = client.OpenDelta();
        await stream.AskAsync(Cluster.TypeUrl);
        await stream.ExpectResponseAsync(Cluster.TypeUrl);
        time.Advance(TimeSpan.FromMinutes(29));
        await server.ExpectNoResponseAsync(stream);
        time.Advance(TimeSpan.FromMinutes(31));
        Assert.Equal(StatusCode.OK, (await stream.EndAsync()).StatusCode);
    }

    [Fact]
    [Trait("Rule", "O-07")]
    public async Task O07_a_gate_opens_when_its_time_is_up_though_nothing_happens()
    {
        var time = new FakeTimeProvider();
        await using var server = await DiscoveryTestServer.StartAsync(time: time);
        server.Publish(Resources.Cluster("a"), Resources.Endpoints("a", 1), Resources.Route("r", "a"));
        using var client = new XdsClient(server.Address);
        using var stream = client.OpenDelta("n");
        await stream.AskAsync(Cluster.TypeUrl);
        await stream.AckAsync(await stream.ExpectResponseAsync(Cluster.TypeUrl));
        await stream.AskAsync(Route.TypeUrl, "r");
        await stream.AckAsync(await stream.ExpectResponseAsync(Route.TypeUrl));
        server.Publish(Resources.Cluster("b"), Resources.Endpoints("b", 1), Resources.Route("r", "b"));
        await stream.ExpectResponseAsync(Cluster.TypeUrl);
        await server.ExpectNoResponseAsync(stream);
        var gate = Assert.Single(server.Nodes.Find("n")!.Streams[0].Subscriptions.Single(s => s.Type == Route).Gates);
        Assert.Equal(("r", "b"), (gate.Name, gate.Because));
        time.Advance(TimeSpan.FromSeconds(17));
        await stream.ExpectResponseAsync(Route.TypeUrl);
    }

    [Fact]
    public async Task Nothing_is_served_before_the_first_complete_load_and_streams_wait_for_it()
    {
        await using var server = await DiscoveryTestServer.StartAsync(ready: false);
        using var client = new XdsClient(server.Address);
        using var stream = client.OpenDelta();
        await stream.AskAsync(Cluster.TypeUrl);
        server.Publish(Resources.Cluster("a"));
        server.Publish(Resources.Cluster("b"));
        server.Snapshots.MarkReady();
        Assert.Equal(2, (await stream.ExpectResponseAsync(Cluster.TypeUrl)).Resources.Count);
    }

    [Fact]
    [Trait("Rule", "T-14")]
    public async Task T14_a_node_that_may_not_enter_is_told_PERMISSION_DENIED_and_shows_up_as_refused()
    {
        await using var server = await DiscoveryTestServer.StartAsync(
            authorize: (node, _) => node.Id == "good" ? null : $"The certificate does not stand for {node.Id}."
        );
        using var client = new XdsClient(server.Address);
        using var good = client.OpenDelta("good");
        await good.AskAsync(Cluster.TypeUrl);
        await good.ExpectResponseAsync(Cluster.TypeUrl);
        for (var attempt = 1; attempt <= 2; attempt++)
        {
            using var bad = client.OpenDelta("bad");
            await bad.AskAsync(Cluster.TypeUrl);
            var status = await bad.EndAsync();
            Assert.Equal(StatusCode.PermissionDenied, status.StatusCode);
            Assert.Equal("The certificate does not stand for bad.", status.Detail);
        }

        var refused = Assert.Single(server.Nodes.Refused());
        Assert.Equal(("bad", 2), (refused.Node.Id, refused.Attempts));
        Assert.Null(server.Nodes.Find("bad"));
    }

    [Fact]
    public async Task A_stream_that_is_opened_and_sends_nothing_is_closed()
    {
        var time = new FakeTimeProvider();
        await using var server = await DiscoveryTestServer.StartAsync(time: time);
        using var client = new XdsClient(server.Address);
        using var stream = client.OpenDelta();
        // Another stream of the connection proves that this one has arrived.
        using var other = client.OpenDelta();
        await other.AskAsync(Cluster.TypeUrl);
        await other.ExpectResponseAsync(Cluster.TypeUrl);
        await Eventually.True("both streams", _ => Task.FromResult(server.Server.StreamCount == 2));
        // A stream counts a moment before its time begins.
        var ended = stream.EndAsync();
        await Eventually.True(
            "its end",
            _ =>
            {
                time.Advance(TimeSpan.FromSeconds(31));
                return Task.FromResult(ended.IsCompleted);
            }
        );
        Assert.Equal(StatusCode.InvalidArgument, (await ended).StatusCode);
        await server.ExpectNoResponseAsync(other);
    }

    [Fact]
    [Trait("Rule", "T-14")]
    public async Task T14_streams_above_the_limits_are_told_RESOURCE_EXHAUSTED_and_the_others_go_on()
    {
        await using var server = await DiscoveryTestServer.StartAsync(options =>
        {
            options.MaxStreams = 3;
            options.MaxConnecting = 2;
            options.MaxConnectWait = TimeSpan.Zero;
        });
        using var client = new XdsClient(server.Address);
        using var first = client.OpenDelta();
        await first.AskAsync(Cluster.TypeUrl);
        await first.ExpectResponseAsync(Cluster.TypeUrl);
        // These get no response, so they keep their places among those that wait for one.
        using var second = client.OpenSotw("second");
        await second.AskAsync(Endpoints.TypeUrl, "none");
        await server.UntilAsync(nodes => nodes.Find("second") is not null);
        using var third = client.OpenSotw("third");
        await third.AskAsync(Endpoints.TypeUrl, "none");
        await server.UntilAsync(nodes => nodes.Find("third") is not null);
        using var fourth = client.OpenDelta("fourth");
        await fourth.AskAsync(Cluster.TypeUrl);
        var status = await fourth.EndAsync();
        Assert.Equal(StatusCode.ResourceExhausted, status.StatusCode);
        Assert.Contains("3 streams", status.Detail, StringComparison.Ordinal);
        first.Dispose();
        await Eventually.True("the first stream's end", _ => Task.FromResult(server.Server.StreamCount == 2));
        using var fifth = client.OpenDelta("fifth");
        await fifth.AskAsync(Cluster.TypeUrl);
        status = await fifth.EndAsync();
        Assert.Equal(StatusCode.ResourceExhausted, status.StatusCode);
        Assert.Contains("first response", status.Detail, StringComparison.Ordinal);
        server.Publish(Resources.Endpoints("none", 1));
        await second.ExpectResponseAsync(Endpoints.TypeUrl);
        using var sixth = client.OpenDelta("sixth");
        await sixth.AskAsync(Cluster.TypeUrl);
        await sixth.ExpectResponseAsync(Cluster.TypeUrl);
    }

    [Fact]
    public async Task Endpoints_that_change_faster_than_a_client_answers_come_as_one_response_and_late_if_it_never_answers()
    {
        var time = new FakeTimeProvider();
        await using var server = await DiscoveryTestServer.StartAsync(time: time);
        server.Publish(Resources.Endpoints("a", 1));
        using var slowClient = new XdsClient(server.Address);
        using var slow = slowClient.OpenDelta("slow");
        await slow.AskAsync(Endpoints.TypeUrl, "a");
        var first = await slow.ExpectResponseAsync(Endpoints.TypeUrl);
        // Streams are told in the order of their coming: what this one has, the other was told of.
        using var quickClient = new XdsClient(server.Address);
        using var quick = quickClient.OpenDelta("quick");
        await quick.AskAsync(Endpoints.TypeUrl, "a");
        await quick.AckAsync(await quick.ExpectResponseAsync(Endpoints.TypeUrl));
        await PublishAsync(2);
        var third = await PublishAsync(3);

        await slow.AckAsync(first);
        var second = await slow.ExpectResponseAsync(Endpoints.TypeUrl);
        Assert.Equal(third.Resources.Single().Version, second.Resources.Single().Version);

        var fourth = await PublishAsync(4);
        time.Advance(TimeSpan.FromSeconds(2));
        var unasked = await slow.ExpectResponseAsync(Endpoints.TypeUrl);
        Assert.Equal(fourth.Resources.Single().Version, unasked.Resources.Single().Version);

        async Task<DeltaDiscoveryResponse> PublishAsync(int version)
        {
            server.Publish(Resources.Endpoints("a", version));
            time.Advance(TimeSpan.FromMilliseconds(1));
            var response = await quick.ExpectResponseAsync(Endpoints.TypeUrl);
            await quick.AckAsync(response);
            await server.UntilAsync(nodes => nodes.Find("quick")!.Streams.Single().Subscriptions.Single().Unanswered == 0);
            return response;
        }
    }

    [Fact]
    public async Task A_change_touches_only_the_streams_that_asked_for_it()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        server.Publish([.. Enumerable.Range(0, 30).SelectMany(i => new[] { Resources.Cluster($"c{i}"), Resources.Endpoints($"c{i}", 1) })]);
        using var client = new XdsClient(server.Address);
        var streams = new List<DeltaStream>();
        for (var i = 0; i < 30; i++)
        {
            var stream = client.OpenDelta($"n{i}");
            streams.Add(stream);
            await stream.AskAsync(Cluster.TypeUrl);
            await stream.ExpectResponseAsync(Cluster.TypeUrl);
            await stream.AskAsync(Endpoints.TypeUrl, $"c{i}", $"c{(i + 1) % 30}");
            await stream.ExpectResponseAsync(Endpoints.TypeUrl);
        }

        var index = server.Snapshots.ViewFor(server.Nodes.Find("n0")!.Identity).Subscribers;
        IEnumerable<string> TouchedBy(EncodedResource resource) =>
            index
                .TouchedBy(SnapshotChange.Make(Snapshot.Empty, 1, [resource], []))
                .Select(stream => stream.Node!.Id)
                .Order(StringComparer.Ordinal);

        Assert.Equal(["n6", "n7"], TouchedBy(Resources.Endpoints("c7", 2)));
        Assert.Equal(30, TouchedBy(Resources.Cluster("c7", "2")).Count());
        await streams[7].DropAsync(Endpoints.TypeUrl, "c7");
        await server.ExpectNoResponseAsync(streams[7]);
        Assert.Equal(["n6"], TouchedBy(Resources.Endpoints("c7", 2)));
        streams[6].Dispose();
        await server.UntilAsync(nodes => nodes.Find("n6")!.DisconnectedAt is not null);
        Assert.Empty(TouchedBy(Resources.Endpoints("c7", 2)));
        streams.ForEach(stream => stream.Dispose());
    }

    [Fact]
    [Trait("Rule", "P-04")]
    public async Task P04_nodes_of_different_views_have_different_resources_and_can_be_moved()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        server.View = node => node.Id.StartsWith("edge", StringComparison.Ordinal) ? "edge" : "other";
        using var client = new XdsClient(server.Address);
        using var edge = client.OpenDelta("edge-1");
        await edge.AskAsync(Cluster.TypeUrl);
        await edge.ExpectResponseAsync(Cluster.TypeUrl);
        using var other = client.OpenDelta("sidecar-1");
        await other.AskAsync(Cluster.TypeUrl);
        await other.ExpectResponseAsync(Cluster.TypeUrl);

        var a = Resources.Cluster("a");
        server.Snapshots.Publish((view, before) => view.Value == "edge" ? SnapshotChange.Make(before, 1, [a], []) : null);
        await edge.AckAsync(await edge.ExpectResponseAsync(Cluster.TypeUrl));
        await server.ExpectNoResponseAsync(other);
        server.View = _ => "other";
        server.Server.ReassignNodes();
        Assert.Equal(["a"], (await edge.ExpectResponseAsync(Cluster.TypeUrl)).RemovedResources);
        Assert.Equal(["other"], server.Snapshots.Views.Select(view => view.Value));
        server.Publish(Resources.Cluster("b"));
        await edge.ExpectResponseAsync(Cluster.TypeUrl);
        await other.ExpectResponseAsync(Cluster.TypeUrl);
    }

    [Fact]
    [Trait("Rule", "O-04")]
    public async Task O04_no_response_mixes_two_snapshots_while_changes_race_with_subscriptions()
    {
        await using var server = await DiscoveryTestServer.StartAsync();
        string[] names = ["a", "b", "c", "d", "e"];
        void Publish(int generation) => server.Publish([.. names.Select(name => Resources.Cluster(name, $"{generation}"))]);

        Publish(0);
        var publishing = Task.Run(
            () =>
            {
                for (var generation = 1; generation <= 2000; generation++)
                {
                    Publish(generation);
                }
            },
            TestContext.Current.CancellationToken
        );
        await Task.WhenAll(
            Enumerable
                .Range(0, 8)
                .Select(async i =>
                {
                    using var client = new XdsClient(server.Address);
                    using var stream = client.OpenSotw($"n{i}");
                    await stream.AskAsync(Cluster.TypeUrl, i % 2 == 0 ? [] : names);
                    string generation;
                    do
                    {
                        var response = await stream.ExpectResponseAsync(Cluster.TypeUrl);
                        var generations = response
                            .Resources.Select(any => any.Unpack<Envoy.Config.Cluster.V3.Cluster>().AltStatName)
                            .Distinct()
                            .ToList();
                        generation = Assert.Single(generations);
                        await stream.AckAsync(response);
                    } while (generation != "2000");
                })
        );
        await publishing;
    }

    [Fact]
    public async Task A_stream_that_asks_for_more_names_than_one_may_is_ended_with_words_that_say_so()
    {
        await using var server = await DiscoveryTestServer.StartAsync(o => (o.MaxNames, o.MaxNamesLength) = (3, 20));
        using var client = new XdsClient(server.Address);
        using var delta = client.OpenDelta("delta");
        await delta.AskAsync(Endpoints.TypeUrl, "a", "b");
        await delta.AskAsync(Secret.TypeUrl, "c", "d");
        var status = await delta.EndAsync();
        Assert.Equal(StatusCode.ResourceExhausted, status.StatusCode);
        Assert.Contains(
            "asks for 4 names of 4 characters together; 3 names of 20 characters are the most",
            status.Detail,
            StringComparison.Ordinal
        );

        using var sotw = client.OpenSotw("sotw");
        // To say a name again, as each request does in this protocol, is not to ask for another one.
        for (var i = 0; i < 20; i++)
        {
            await sotw.AskAsync(Endpoints.TypeUrl, "a", $"b{i}");
        }

        await Eventually.True(
            "the last names",
            _ => Task.FromResult(server.Nodes.Find("sotw")?.Streams[0].Subscriptions is [{ Names: ["a", "b19"] }])
        );
        await sotw.AskAsync(Endpoints.TypeUrl, "a", new string('b', 20));
        status = await sotw.EndAsync();
        Assert.Equal(StatusCode.ResourceExhausted, status.StatusCode);
        Assert.Contains("asks for 2 names of 21 characters together", status.Detail, StringComparison.Ordinal);
    }
}
