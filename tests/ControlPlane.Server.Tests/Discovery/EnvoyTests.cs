using System.Globalization;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using ControlPlane.TestKit;
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
