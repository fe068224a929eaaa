using System.Globalization;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using ControlPlane.TestKit;
using Microsoft.Extensions.Time.Testing;
using static ControlPlane.Core.Snapshots.ResourceType;

namespace ControlPlane.Server.Tests.Discovery;

/// <summary>A real Envoy takes what is served, in both protocols.</summary>
public sealed class EnvoyTests
{
    [Theory]
    [InlineData("DELTA_GRPC")]
    [InlineData("GRPC")]
    [Trait("Rule", "T-01")]
    public async Task Envoy_serves_traffic_from_a_snapshot_and_acknowledges_every_type(string apiType)
    {
        await using var envoy = new EnvoyFixture();
        await using var server = await DiscoveryTestServer.StartAsync();
        await using var backend = await TestBackend.StartAsync("hello");
        var port = FreePort.Next();
        using var http = new HttpClient();
        server.Publish(
            Resources.Cluster("a"),
            Resources.Endpoints("a", backend.Port),
            Resources.Route("r", "a"),
            Resources.Listener("l", port)
        );
        await envoy.StartAsync(Bootstrap(apiType, server.Port), nodeId: "real");
        await Eventually.True(
            "the first answer through Envoy",
            async cancellationToken => await http.GetStringAsync($"http://127.0.0.1:{port}/", cancellationToken) is { Length: > 0 }
        );
        foreach (var (type, name) in ((ResourceType, string)[])[(Cluster, "a"), (Endpoints, "a"), (Listener, "l"), (Route, "r")])
        {
            await server.UntilAsync(nodes => nodes.DeliveryOf("real", type, name).State == DeliveryState.Acked);
        }

        var identity = server.Nodes.Find("real")!.Identity;
        Assert.Equal("envoy", identity.UserAgent);
        Assert.NotEmpty(identity.UserAgentVersion);
        Assert.Contains("envoy.filters.http.router", identity.Extensions!);
    }

    [Theory]
    [InlineData("DELTA_GRPC", EnvoyRelease.Current)]
    [InlineData("GRPC", EnvoyRelease.Current)]
    [InlineData("DELTA_GRPC", EnvoyRelease.Oldest)]
    [Trait("Rule", "O-08")]
    public async Task O08_a_cluster_that_fails_late_and_that_no_check_foresaw_ends_up_refused_and_alone(
        string apiType,
        EnvoyRelease release
    )
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var envoy = new EnvoyFixture(release);
        await using var server = await DiscoveryTestServer.StartAsync(time: time);
        await using var backend = await TestBackend.StartAsync("hello");
        server.Publish(Resources.Cluster("a"), Resources.Endpoints("a", backend.Port));
        await envoy.StartAsync(Bootstrap(apiType, server.Port), nodeId: "real");
        await server.UntilAsync(nodes => nodes.DeliveryOf("real", Endpoints, "a").State == DeliveryState.Acked);
        await server.UntilAsync(nodes => nodes.DeliveryOf("real", Cluster, "a").State == DeliveryState.Acked);
        await envoy.ReadyAsync();

        // One that is modified, one that is new and warms, one that is new and does not, and the one that fails.
        server.Publish(
            Resources.Cluster("a", "2"),
            Resources.Cluster("b"),
            Resources.Endpoints("b", backend.Port),
            Static("c"),
            Static("late", LateRing)
        );
        await server.UntilAsync(nodes => nodes.DeliveryOf("real", Endpoints, "b").State == DeliveryState.Acked);
        Assert.Equal(DeliveryState.Pending, server.Nodes.DeliveryOf("real", Cluster, "b").State);
        time.Advance(DiscoverySession.GateLimit + TimeSpan.FromSeconds(1));
        await server.UntilAsync(nodes => nodes.DeliveryOf("real", Cluster, "late").State == DeliveryState.Nacked);
        Assert.Contains("minimum_ring_size", server.Nodes.DeliveryOf("real", Cluster, "late").Refusal!.Text, StringComparison.Ordinal);
        foreach (var name in (string[])["a", "b", "c"])
        {
            await server.UntilAsync(nodes => nodes.DeliveryOf("real", Cluster, name).State == DeliveryState.Acked);
        }

        server.Publish(Static("d"));
        await server.UntilAsync(nodes => nodes.DeliveryOf("real", Cluster, "d").State == DeliveryState.Acked);
        server.Publish(Static("late"));
        await server.UntilAsync(nodes => nodes.DeliveryOf("real", Cluster, "late").State == DeliveryState.Acked);
        Assert.Equal(0, server.Nodes.Find("real")!.Streams[0].Subscriptions.Sum(subscription => subscription.Unanswered));
    }

    private static void LateRing(Envoy.Config.Cluster.V3.Cluster cluster)
    {
        cluster.LbPolicy = Envoy.Config.Cluster.V3.Cluster.Types.LbPolicy.RingHash;
        cluster.RingHashLbConfig = new() { MinimumRingSize = 2000, MaximumRingSize = 1000 };
    }

    private static EncodedResource Static(string name, Action<Envoy.Config.Cluster.V3.Cluster>? change = null)
    {
        var cluster = new Envoy.Config.Cluster.V3.Cluster
        {
            Name = name,
            Type = Envoy.Config.Cluster.V3.Cluster.Types.DiscoveryType.Static,
            LoadAssignment = new() { ClusterName = name },
        };
        change?.Invoke(cluster);
        return EncodedResource.Create(Cluster, name, cluster);
    }

    private static string Bootstrap(string apiType, int xdsPort) =>
        """
            node: {id: real, cluster: test}
            admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
            dynamic_resources:
              ads_config:
                api_type: API_TYPE
                transport_api_version: V3
                grpc_services: [{envoy_grpc: {cluster_name: xds}}]
              cds_config: {ads: {}, resource_api_version: V3}
              lds_config: {ads: {}, resource_api_version: V3}
            static_resources:
              clusters:
              - name: xds
                type: STATIC
                connect_timeout: 1s
                typed_extension_protocol_options:
                  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
                    explicit_http_config: {http2_protocol_options: {}}
                load_assignment:
                  cluster_name: xds
                  endpoints:
                  - lb_endpoints:
                    - endpoint:
                        address:
                          socket_address: {address: 127.0.0.1, port_value: XDS_PORT }
            """.Replace("API_TYPE", apiType, StringComparison.Ordinal).Replace(
            "XDS_PORT",
            xdsPort.ToString(CultureInfo.InvariantCulture),
            StringComparison.Ordinal
        );
}
