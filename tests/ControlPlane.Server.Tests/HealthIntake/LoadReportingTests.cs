using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using ControlPlane.Core.Health;
using ControlPlane.Resources;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.Server.HealthIntake.LoadReporting;
using ControlPlane.Server.Tests.Telemetry;
using ControlPlane.TestKit;
using Envoy.Config.Endpoint.V3;
using Envoy.Service.LoadStats.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Microsoft.Extensions.DependencyInjection;
using static ControlPlane.TestKit.LoadReportStream;

namespace ControlPlane.Server.Tests.HealthIntake;

/// <summary>Load reports on real streams, into the real model.</summary>
[Collection(nameof(WholeProcess))]
public sealed class LoadReportingTests
{
    private static readonly TimeSpan Ten = TimeSpan.FromSeconds(10);

    [Fact]
    [Trait("Rule", "G-10")]
    public async Task A_proxy_is_asked_for_all_clusters_by_endpoint_every_ten_seconds()
    {
        await using var host = await StartAsync();
        using var client = new XdsClient(host.Xds.ToString());
        using var stream = client.OpenLoadReports("edge-1");

        var asked = await stream.BeginAsync();

        Assert.True(asked.SendAllClusters);
        Assert.Empty(asked.Clusters);
        Assert.True(asked.ReportEndpointGranularity);
        Assert.Equal(Ten, asked.LoadReportingInterval.ToTimeSpan());
    }

    [Fact]
    [Trait("Rule", "G-10")]
    public async Task A_client_that_cannot_report_about_all_is_asked_by_name_and_again_with_the_report_after_an_upstream_was_added()
    {
        await using var host = await StartAsync();
        await PutAsync(host, "a");
        await host.Client.PutAsync(
            new ResourceKey(ResourceKind.NodeGroup, "others"),
            """{"spec": {"selectors": [{"ids": ["somebody-else"]}]}}"""
        );
        await PutAsync(host, "theirs", ["10.0.0.9"], nodeGroup: "others");
        using var client = new XdsClient(host.Xds.ToString());
        using var stream = client.OpenLoadReports("grpc-1", sendsAll: false);

        var first = await stream.BeginAsync();
        await PutAsync(host, "b");
        await stream.ReportAsync(Cluster("a", Ten));
        var second = await stream.NextAsync();

        Assert.False(first.SendAllClusters);
        Assert.Equal(["a"], first.Clusters);
        Assert.Equal(["a", "b"], second.Clusters);
    }

    [Fact]
    public async Task The_reports_of_all_proxies_are_merged_by_endpoint()
    {
        await using var host = await StartAsync();
        await PutAsync(host, "a", "10.0.0.1", "10.0.0.2");
        using var client = new XdsClient(host.Xds.ToString());
        for (var i = 0; i < 3; i++)
        {
            using var stream = client.OpenLoadReports($"edge-{i}", zone: $"zone-{i}");
            await stream.BeginAsync();
            await stream.ReportAsync(
                Cluster("a", Ten, new ReportedEndpoint("10.0.0.1", 8080, 90, 10), new("10.0.0.2", 8080, (ulong)(20 + i), 0))
            );
            await ReportedAsync(host, "a", "10.0.0.1:8080", rows => rows.Any(r => r.Author == $"edge-{i}"));
        }

        var first = await ReportedAsync(host, "a", "10.0.0.1:8080", rows => rows.Length == 3);
        var second = await ReportedAsync(host, "a", "10.0.0.2:8080", rows => rows.Length == 3);

        Assert.All(first, row => Assert.Equal("10 of 100 failed", row.Verdict));
        Assert.Equal(["zone-0", "zone-1", "zone-2"], first.Select(r => r.Zone).Order());
        Assert.Equal(["0 of 20 failed", "0 of 21 failed", "0 of 22 failed"], second.Select(r => r.Verdict).Order());
    }

    [Theory]
    [InlineData("10.0.0.1", 8080, "10.0.0.1", 8080)]
    [InlineData("2001:db8::1", 8080, "2001:0DB8:0:0::0001", 8080)]
    [InlineData("2001:DB8:0:0:1::1", 8080, "2001:db8::1:0:0:1", 8080)]
    [InlineData("unix:/run/app.sock", 0, "/run/app.sock", 0)]
    public async Task An_endpoint_is_known_by_its_address_however_that_is_spelled(string ours, int port, string reported, int reportedPort)
    {
        await using var host = await StartAsync();
        await host.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, "a"),
            """{"spec": {"health": {"authority": "central"}, "endpoints": {"source": "registration"}}}"""
        );
        await host.Client.PutAsync(
            new ResourceKey(ResourceKind.Endpoint, "a/one"),
            new JsonObject
            {
                ["spec"] = new JsonObject { ["address"] = ours, ["port"] = port },
            }.ToJsonString()
        );
        using var client = new XdsClient(host.Xds.ToString());
        using var stream = client.OpenLoadReports("edge-1");
        await stream.BeginAsync();

        await stream.ReportAsync(Cluster("a", Ten, new ReportedEndpoint(reported, reportedPort, 7, 1)));

        var row = Assert.Single(await ReportedAsync(host, "a", "one", rows => rows.Length > 0));
        Assert.Equal("1 of 8 failed", row.Verdict);
    }

    [Fact]
    public void Further_addresses_belong_to_their_endpoint_unless_another_one_has_them_as_its_own()
    {
        var addresses = new EndpointAddresses([
            (
                "one",
                new()
                {
                    Address = "10.0.0.1",
                    Port = 80,
                    AdditionalAddresses = [new() { Address = "2001:db8::1", Port = 80 }, new() { Address = "10.0.0.2", Port = 80 }],
                }
            ),
            ("two", new() { Address = "10.0.0.2", Port = 80 }),
        ]);

        Assert.Equal("one", addresses.Find("10.0.0.1", 80));
        Assert.Equal("one", addresses.Find("2001:0db8::0001", 80));
        Assert.Equal("two", addresses.Find("10.0.0.2", 80));
        Assert.Null(addresses.Find("10.0.0.1", 81));
        Assert.Null(addresses.Find(new string('x', 10_000), 80));
        Assert.Null(addresses.Find(":", 0));
    }

    [Fact]
    public async Task Two_streams_of_one_node_are_one_witness_whose_reports_add_up()
    {
        await using var host = await StartAsync();
        await PutAsync(host, "a", "10.0.0.1");
        using var client = new XdsClient(host.Xds.ToString());
        using var first = client.OpenLoadReports("edge-1");
        using var second = client.OpenLoadReports("edge-1");
        await first.BeginAsync();
        await second.BeginAsync();

        await first.ReportAsync(Cluster("a", Ten, new ReportedEndpoint("10.0.0.1", 8080, 10, 0)));
        await ReportedAsync(host, "a", "10.0.0.1:8080", rows => rows is [{ Verdict: "0 of 10 failed" }]);
        await second.ReportAsync(Cluster("a", Ten, new ReportedEndpoint("10.0.0.1", 8080, 20, 5)));
        await ReportedAsync(host, "a", "10.0.0.1:8080", rows => rows is [{ Verdict: "5 of 25 failed" }]);
    }

    [Fact]
    public async Task A_silent_cluster_is_reported_as_silent_and_nothing_else()
    {
        await using var host = await StartAsync();
        await PutAsync(host, "a", "10.0.0.1");
        using var client = new XdsClient(host.Xds.ToString());
        using var stream = client.OpenLoadReports("edge-1");
        await stream.BeginAsync();
        await stream.ReportAsync(Cluster("a", Ten, new ReportedEndpoint("10.0.0.1", 8080, 10, 0)));
        await ReportedAsync(host, "a", "10.0.0.1:8080", rows => rows.Length == 1);

        // An Envoy 1.36 leaves out a locality that refuses everything, and a busy cluster then looks like an idle one.
        await stream.ReportAsync(Cluster("a", Ten));

        await ReportedAsync(host, "a", "10.0.0.1:8080", rows => rows.Length == 0);
        var endpoint = await ExplainAsync(host, "a", "10.0.0.1:8080");
        Assert.Equal((HealthState.Up, PublishedStatus.Healthy), (endpoint.State, endpoint.Status));
    }

    [Fact]
    public async Task What_cannot_be_taken_is_counted_and_the_rest_of_the_report_counts()
    {
        await using var host = await StartAsync();
        await PutAsync(host, "a", "10.0.0.1");
        await host.Client.PutAsync(
            new ResourceKey(ResourceKind.NodeGroup, "others"),
            """{"spec": {"selectors": [{"ids": ["somebody-else"]}]}}"""
        );
        await PutAsync(host, "theirs", ["10.0.0.9"], nodeGroup: "others");
        using var client = new XdsClient(host.Xds.ToString());
        using var stream = client.OpenLoadReports("edge-1");
        await stream.BeginAsync();

        var withoutEndpoints = new ClusterStats { ClusterName = "a", LoadReportInterval = Ten.ToDuration() };
        withoutEndpoints.UpstreamLocalityStats.Add(new UpstreamLocalityStats { TotalSuccessfulRequests = 5 });
        await stream.ReportAsync(
            Cluster("none", Ten, new ReportedEndpoint("10.0.0.1", 8080, 1, 0)),
            Cluster("theirs", Ten, new ReportedEndpoint("10.0.0.9", 8080, 1, 0)),
            withoutEndpoints,
            Cluster("a", TimeSpan.Zero, new ReportedEndpoint("10.0.0.1", 8080, 1, 0)),
            Cluster("a", -Ten, new ReportedEndpoint("10.0.0.1", 8080, 1, 0)),
            Cluster("a", TimeSpan.FromDays(3650), new ReportedEndpoint("10.0.0.1", 8080, 1, 0)),
            Cluster("a", null, new ReportedEndpoint("10.0.0.1", 8080, 1, 0)),
            Cluster("a", Ten, Enumerable.Range(0, 10_000).Select(i => new ReportedEndpoint($"10.9.{i / 256}.{i % 256}", 8080, 0, 1))),
            Cluster(
                "a",
                Ten,
                new("10.0.0.1", 8080, unchecked((ulong)-1), 0),
                new("10.0.0.1", 8080, 0, ulong.MaxValue / 2),
                new("10.0.0.1", 8080, 90, 3)
            )
        );
        await ReportedAsync(host, "a", "10.0.0.1:8080", rows => rows is [{ Verdict: "3 of 93 failed" }]);

        Assert.Equal(
            new SortedDictionary<string, int>
            {
                ["foreign_upstream"] = 1,
                ["invalid_count"] = 3,
                ["invalid_interval"] = 4,
                ["no_endpoints"] = 1,
                ["too_many"] = 0,
                ["unknown_endpoint"] = 10_000,
                ["unknown_upstream"] = 1,
            },
            await DroppedAsync(host)
        );
        var endpoint = await ExplainAsync(host, "a", "10.0.0.1:8080");
        Assert.Equal((HealthState.Up, PublishedStatus.Healthy), (endpoint.State, endpoint.Status));
    }

    [Fact]
    public async Task Counts_that_go_backwards_are_those_of_another_interval_and_not_a_difference()
    {
        await using var host = await StartAsync();
        await PutAsync(host, "a", "10.0.0.1");
        using var client = new XdsClient(host.Xds.ToString());
        using var stream = client.OpenLoadReports("edge-1");
        await stream.BeginAsync();
        await stream.ReportAsync(Cluster("a", Ten, new ReportedEndpoint("10.0.0.1", 8080, 900, 50)));
        await ReportedAsync(host, "a", "10.0.0.1:8080", rows => rows is [{ Verdict: "50 of 950 failed" }]);

        await stream.ReportAsync(Cluster("a", Ten, new ReportedEndpoint("10.0.0.1", 8080, 9, 1)));

        await ReportedAsync(host, "a", "10.0.0.1:8080", rows => rows is [{ Verdict: "1 of 10 failed" }]);
        Assert.All(await DroppedAsync(host), dropped => Assert.Equal(0, dropped.Value));
    }

    [Fact]
    public async Task A_node_without_an_id_is_refused()
    {
        await using var host = await StartAsync();
        using var client = new XdsClient(host.Xds.ToString());
        using var stream = client.OpenLoadReports("");
        await stream.SendAsync(new LoadStatsRequest());

        var status = await stream.EndAsync();

        Assert.Equal(StatusCode.InvalidArgument, status.StatusCode);
        Assert.Contains("node.id is empty", status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_node_that_is_not_who_it_says_is_refused_and_shown()
    {
        await using var host = await StartAsync(authorize: (node, _) => node.Id == "edge-1" ? null : "The certificate names edge-1.");
        using var client = new XdsClient(host.Xds.ToString());
        using var honest = client.OpenLoadReports("edge-1");
        await honest.BeginAsync();
        using var stream = client.OpenLoadReports("edge-2");
        await stream.ReportAsync(Cluster("a", Ten));

        Assert.Equal((StatusCode.PermissionDenied, "The certificate names edge-1."), Short(await stream.EndAsync()));
        Assert.Equal("edge-2", Assert.Single(host.Services.GetRequiredService<ConnectedNodes>().Refused()).Node.Id);

        static (StatusCode, string) Short(Status status) => (status.StatusCode, status.Detail);
    }

    [Fact]
    public async Task Streams_and_reports_beyond_their_limits_are_ended_and_others_go_on()
    {
        await using var host = await StartAsync(o =>
        {
            o.MaxStreams = 2;
            o.MaxReportBytes = 100_000;
        });
        await PutAsync(host, "a", "10.0.0.1");
        using var client = new XdsClient(host.Xds.ToString());
        using var first = client.OpenLoadReports("edge-1");
        using var second = client.OpenLoadReports("edge-2");
        await first.BeginAsync();
        await second.BeginAsync();
        using var third = client.OpenLoadReports("edge-3");
        Assert.Equal(StatusCode.ResourceExhausted, (await third.EndAsync()).StatusCode);

        await second.ReportAsync(Cluster("a", Ten, Enumerable.Range(0, 10_000).Select(i => new ReportedEndpoint("10.0.0.1", i, 1, 0))));
        Assert.Equal(StatusCode.ResourceExhausted, (await second.EndAsync()).StatusCode);

        await first.ReportAsync(Cluster("a", Ten, new ReportedEndpoint("10.0.0.1", 8080, 1, 0)));
        await ReportedAsync(host, "a", "10.0.0.1:8080", rows => rows.Length == 1);
        using var fourth = client.OpenLoadReports("edge-4");
        await fourth.BeginAsync();
    }

    [Fact]
    public async Task A_report_that_is_no_protobuf_ends_its_stream_with_the_reason()
    {
        await using var host = await StartAsync();
        using var client = new XdsClient(host.Xds.ToString());
        using var call = client.Invoker.AsyncDuplexStreamingCall(
            new Method<byte[], byte[]>(
                MethodType.DuplexStreaming,
                "envoy.service.load_stats.v3.LoadReportingService",
                "StreamLoadStats",
                Marshallers.Create<byte[]>(b => b, b => b),
                Marshallers.Create<byte[]>(b => b, b => b)
            ),
            null,
            default
        );

        // A length beyond the end.
        await call.RequestStream.WriteAsync([0x12, 0x7f, 0x00]);

        var fault = await Assert.ThrowsAsync<RpcException>(() => call.ResponseStream.MoveNext(default));
        Assert.Equal(StatusCode.InvalidArgument, fault.StatusCode);
        Assert.Contains("not valid protobuf", fault.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stopping_server_ends_its_streams_at_once()
    {
        var host = await StartAsync();
        using var client = new XdsClient(host.Xds.ToString());
        using var stream = client.OpenLoadReports("edge-1");
        await stream.BeginAsync();

        var stopping = host.DisposeAsync().AsTask();

        // Kestrel would wait for half a minute for a stream that nobody ends.
        await stream.EndAsync();
        await stopping.WaitAsync(TimeSpan.FromSeconds(20), TimeProvider.System);
    }

    [Fact]
    public async Task Reading_by_hand_gives_what_the_generated_parser_gives()
    {
        await using var host = await StartAsync();
        await PutAsync(host, "a", [.. Enumerable.Range(1, 50).Select(i => $"10.0.0.{i}")]);
        var upstreams = host.Services.GetRequiredService<ReportedUpstreams>();
        var random = new Random(7);
        for (var round = 0; round < 200; round++)
        {
            var expected = new Dictionary<string, (long, long)>();
            var report = new LoadStatsRequest { Node = new() { Id = "edge-1" } };
            var cluster = new ClusterStats { LoadReportInterval = Ten.ToDuration() };
            for (var locality = 0; locality < random.Next(3); locality++)
            {
                var stats = new UpstreamLocalityStats { Priority = (uint)locality, TotalRequestsInProgress = 9 };
                foreach (var host4 in Enumerable.Range(1, 50).Where(_ => random.Next(3) == 0))
                {
                    var (successes, errors) = ((long)random.Next(5) * 1000, (long)random.Next(5));
                    var endpoint = new UpstreamEndpointStats
                    {
                        Address = new()
                        {
                            SocketAddress = new() { Address = $"10.0.0.{host4}", PortValue = 8080 },
                        },
                        TotalSuccessfulRequests = (ulong)successes,
                        TotalErrorRequests = (ulong)errors,
                        TotalIssuedRequests = (ulong)random.Next(),
                        Metadata = new() { Fields = { ["x"] = Google.Protobuf.WellKnownTypes.Value.ForNumber(1) } },
                    };
                    endpoint.LoadMetricStats.Add(new EndpointLoadMetricStats { MetricName = "cpu", TotalMetricValue = 0.5 });
                    stats.UpstreamEndpointStats.Add(endpoint);
                    if (successes + errors > 0)
                    {
                        var before = expected.GetValueOrDefault($"10.0.0.{host4}:8080");
                        expected[$"10.0.0.{host4}:8080"] = (before.Item1 + successes, before.Item2 + errors);
                    }
                }

                cluster.UpstreamLocalityStats.Add(stats);
            }

            cluster.ClusterName = "a";
            cluster.TotalDroppedRequests = 3;
            cluster.DroppedRequests.Add(new ClusterStats.Types.DroppedRequests { Category = "drop_overload", DroppedCount = 3 });
            report.ClusterStats.Add(cluster);

            // Fields may come in any order: the same message, the name last.
            var bytes = random.Next(2) == 0 ? report.ToByteArray() : NameLast(report);
            var read = LoadReportMessages.Read(new(bytes), upstreams, nodeIsKnown: false);

            Assert.Equal("edge-1", read.Node!.Id);
            var load = Assert.Single(read.Loads);
            Assert.Equal(Ten, load.Interval);
            Assert.Equal(
                expected.OrderBy(e => e.Key, StringComparer.Ordinal).Select(e => (e.Key, e.Value.Item1, e.Value.Item2)),
                load.Endpoints.GroupBy(e => e.Endpoint)
                    .OrderBy(g => g.Key, StringComparer.Ordinal)
                    .Select(g => (g.Key, g.Sum(e => e.Successes), g.Sum(e => e.Errors)))
            );
            Assert.Equal(default, read.Dropped);
        }

        static byte[] NameLast(LoadStatsRequest report)
        {
            var cluster = report.ClusterStats[0].Clone();
            var name = new ClusterStats { ClusterName = cluster.ClusterName }.ToByteArray();
            cluster.ClusterName = "";
            byte[] body = [.. cluster.ToByteArray(), .. name];
            using var message = new MemoryStream();
            using var output = new CodedOutputStream(message);
            output.WriteTag(2, WireFormat.WireType.LengthDelimited);
            output.WriteBytes(ByteString.CopyFrom(body));
            output.WriteTag(1, WireFormat.WireType.LengthDelimited);
            output.WriteMessage(report.Node);
            output.Flush();
            return message.ToArray();
        }
    }

    private static Task<ControlPlaneHost> StartAsync(Action<LoadReportingOptions>? configure = null, NodeAuthorizer? authorize = null) =>
        ControlPlaneHost.StartAsync(services: b =>
        {
            if (configure is not null)
            {
                b.Services.Configure(configure);
            }

            if (authorize is not null)
            {
                b.Services.AddSingleton(authorize);
            }
        });

    private static Task PutAsync(ControlPlaneHost host, string name, params string[] addresses) =>
        PutAsync(host, name, addresses, nodeGroup: null);

    private static Task PutAsync(ControlPlaneHost host, string name, string[] addresses, string? nodeGroup) =>
        host.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, name),
            new JsonObject
            {
                ["spec"] = new JsonObject
                {
                    ["health"] = new JsonObject { ["authority"] = "central" },
                    ["nodeGroups"] = nodeGroup is null ? [] : new JsonArray(nodeGroup),
                    ["endpoints"] = new JsonObject
                    {
                        ["source"] = "static",
                        ["static"] = new JsonArray([
                            .. (addresses.Length == 0 ? ["10.0.0.9"] : addresses).Select(a => new JsonObject
                            {
                                ["address"] = a,
                                ["port"] = 8080,
                            }),
                        ]),
                    },
                },
            }.ToJsonString()
        );

    /// <summary>What was dropped, by reason.</summary>
    private static async Task<SortedDictionary<string, int>> DroppedAsync(ControlPlaneHost host)
    {
        var metrics = await host.Http.GetStringAsync("/metrics", TestContext.Current.CancellationToken);
        return new(
            Regex
                .Matches(metrics, "^lrs_dropped_[a-z_]*total\\{[^}]*reason=\"([a-z_]+)\"[^}]*\\} ([0-9]+)", RegexOptions.Multiline)
                .ToDictionary(m => m.Groups[1].Value, m => int.Parse(m.Groups[2].Value, CultureInfo.InvariantCulture))
        );
    }

    private static async Task<EndpointExplanation> ExplainAsync(ControlPlaneHost host, string upstream, string endpoint) =>
        (
            await host
                .Services.GetRequiredService<HealthKeeper>()
                .AskAsync(model => model.ExplainEndpoint(upstream, endpoint), TestContext.Current.CancellationToken)
        )!;

    /// <summary>Waits until the model has the reports, and returns those about an endpoint.</summary>
    private static async Task<EvidenceRow[]> ReportedAsync(
        ControlPlaneHost host,
        string upstream,
        string endpoint,
        Func<EvidenceRow[], bool> accept
    ) =>
        await Eventually.Get(
            $"reports about {endpoint}",
            async _ => (await ExplainAsync(host, upstream, endpoint)).Traffic.Evidence.ToArray(),
            accept
        );
}
