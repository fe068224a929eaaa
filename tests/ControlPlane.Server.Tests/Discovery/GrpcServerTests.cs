using ControlPlane.Core.Snapshots;
using ControlPlane.TestKit;
using Envoy.Config.Route.V3;
using Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using EnvoyListener = Envoy.Config.Listener.V3.Listener;
using EnvoyRoute = Envoy.Config.Route.V3.Route;

namespace ControlPlane.Server.Tests.Discovery;

/// <summary>gRPC servers that are their own proxies (gRPC proposal A36).</summary>
public sealed class GrpcServerTests
{
    // The bootstrap's server_listener_resource_name_template is "grpc-server-%s".
    private const string Name = "grpc-server-10.0.0.7:50051";

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Rule", "G-08")]
    public async Task G08_a_gRPC_server_that_asks_by_its_address_gets_a_listener_with_nothing_that_it_refuses(bool inline)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await server.Client.ApplyAsync(
            $$"""
            apiVersion: controlplane/v1
            kind: RouteTable
            metadata: {name: cart-server}
            spec: {virtualHosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, nonForwarding: true}]}]}
            ---
            apiVersion: controlplane/v1
            kind: Listener
            metadata: {name: "{{Name}}"}
            spec: {address: 10.0.0.7, port: 50051, grpcServer: {routeTable: cart-server, inlineRouteTable: {{(
                inline ? "true" : "false"
            )}} } }
            """
        );
        using var client = new XdsClient(server.Xds.ToString());
        using var stream = client.OpenSotw("grpc-server");

        await stream.AskAsync(ResourceType.Listener.TypeUrl, Name);
        var response = await stream.ExpectResponseAsync(ResourceType.Listener.TypeUrl);
        var listener = Assert.Single(response.Resources).Unpack<EnvoyListener>();
        await stream.AckAsync(response);

        Assert.Equal(Name, listener.Name);
        Assert.Equal(("10.0.0.7", 50051u), (listener.Address.SocketAddress.Address, listener.Address.SocketAddress.PortValue));
        Assert.Empty(listener.ListenerFilters);
        Assert.Null(listener.ApiListener);
        Assert.Null(listener.UseOriginalDst);
        var filter = Assert.Single(Assert.Single(listener.FilterChains).Filters);
        var manager = filter.TypedConfig.Unpack<HttpConnectionManager>();
        Assert.EndsWith(".router.v3.Router", Assert.Single(manager.HttpFilters).TypedConfig.TypeUrl, StringComparison.Ordinal);

        var routes = inline ? manager.RouteConfig : await RoutesAsync(stream, manager.Rds);
        Assert.Equal(EnvoyRoute.ActionOneofCase.NonForwardingAction, Assert.Single(Assert.Single(routes.VirtualHosts).Routes).ActionCase);
    }

    private static async Task<RouteConfiguration> RoutesAsync(SotwStream stream, Rds rds)
    {
        Assert.NotNull(rds.ConfigSource.Ads);
        await stream.AskAsync(ResourceType.Route.TypeUrl, rds.RouteConfigName);
        return Assert.Single((await stream.ExpectResponseAsync(ResourceType.Route.TypeUrl)).Resources).Unpack<RouteConfiguration>();
    }
}
