using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>What a real Envoy makes of sources of configuration beside the aggregated stream.</summary>
[Trait("Category", "Slow")]
public sealed class ConfigSourceTests
{
    [Theory]
    [InlineData("xds_cluster", "", true)]
    [InlineData("other", "?validation=warn&reason=shown-to-envoy", false)]
    public async Task A_source_is_opened_over_the_bootstraps_cluster_and_refused_over_one_that_came_by_CDS(
        string over,
        string query,
        bool works
    )
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, backends: 1);
        await server.Client.ApplyAsync(string.Join("---\n", edge.Upstream("other"), edge.Upstream(), Edge.RouteTable(), edge.Listener()));
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));

        var raw = $$"""
            {"spec": {"resource": {
              "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "apart", "type": "EDS",
              "edsClusterConfig": {"serviceName": "shop", "edsConfig": {"resourceApiVersion": "V3", "apiConfigSource": {
                "apiType": "GRPC", "transportApiVersion": "V3", "grpcServices": [{"envoyGrpc": {"clusterName": "{{over}}"} }]} } } } } }
            """;
        using var content = new StringContent(raw, System.Text.Encoding.UTF8, "application/json");
        using var answer = await server.Http.PutAsync(new Uri(server.Admin, "/api/v1/envoyresources/apart" + query), content);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());

        if (works)
        {
            await Eventually.Get(
                "the endpoints of its own stream",
                token => edge.Envoy.HostsAsync("apart", token),
                hosts => hosts is [var only] && only == $"127.0.0.1:{edge.Backends[0].Port}",
                TimeSpan.FromSeconds(10)
            );
            return;
        }

        var refused = await Eventually.Get(
            "the refusal",
            async _ => (await server.Client.FindAsync(Edge.Key(ResourceKind.EnvoyResource, "apart")))!.Status!.Propagation!.Nacked,
            nacked => !nacked.IsEmpty,
            TimeSpan.FromSeconds(10)
        );
        Assert.Contains("statically defined non-EDS cluster", refused[0].Message, StringComparison.Ordinal);
    }
}
