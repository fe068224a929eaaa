using ControlPlane.Resources.Api;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>What a real Envoy says of its traffic, started from the bootstraps to copy.</summary>
public sealed class LoadReportTests
{
    [Theory]
    [InlineData("edge.yaml", EnvoyRelease.Current)]
    [InlineData("sidecar.yaml", EnvoyRelease.Current)]
    [InlineData("edge-sotw.yaml", EnvoyRelease.Current)]
    [InlineData("edge.yaml", EnvoyRelease.Oldest)]
    public async Task An_Envoy_of_each_bootstrap_reports_its_requests_by_endpoint(string bootstrap, EnvoyRelease release)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, release, backends: 2, bootstrap: bootstrap, nodeId: "reporter");
        await server.Client.ApplyAsync(string.Join("---\n", edge.Upstream("shop", edge.Backends), Edge.RouteTable(), edge.Listener()));
        edge.Backends[1].Status = 500;
        await edge.AnswerAsync((status, _) => status is 200 or 500, TimeSpan.FromSeconds(20));
        await using var load = new LoadGenerator(edge.Url, requestsPerSecond: 50);

        var health = await Eventually.Get(
            "reports about both backends",
            _ => server.Client.HealthAsync("shop"),
            h => Row(h, edge.Backends[0]) is not null && Row(h, edge.Backends[1]) is not null,
            TimeSpan.FromSeconds(40)
        );

        Assert.Matches("^0 of [1-9][0-9]* failed$", Row(health, edge.Backends[0])!.Verdict);
        Assert.Matches("^([1-9][0-9]*) of \\1 failed$", Row(health, edge.Backends[1])!.Verdict);
        Assert.Equal(("reporter", "a"), (Row(health, edge.Backends[0])!.Author, Row(health, edge.Backends[0])!.Zone));
        await load.StopAsync();
    }

    private static EvidenceRowView? Row(UpstreamHealthView health, TestBackend backend) =>
        health.Endpoints.Single(e => e.Endpoint == $"127.0.0.1:{backend.Port}").Traffic.Evidence.SingleOrDefault();
}
