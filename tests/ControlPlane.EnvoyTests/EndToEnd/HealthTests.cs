using ControlPlane.AdminClient;
using ControlPlane.Resources.Api;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>Real backends that fail, real probes, and what a real Envoy is told about them, with its own outlier detection off.</summary>
public sealed class HealthTests
{
    private const string Default = "";
    private const string Fast = ", interval: 500ms, edgeInterval: 200ms, timeout: 500ms";

    private static readonly TimeProvider Time = TimeProvider.System;

    [Theory]
    [InlineData(Default, 11.5)]
    [InlineData(Fast, 2.0)]
    public async Task A_backend_that_stops_under_load_is_unhealthy_in_Envoy_within_its_bound_and_no_GET_fails(string times, double bound)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port);
        await StartAsync(server, edge, times);
        await using var load = new LoadGenerator(edge.Url, requestsPerSecond: 330);
        await Eventually.True("the load", _ => Task.FromResult(edge.Backends.All(b => b.Requests > 100)));

        var victim = edge.Backends[1];
        var stopped = Time.GetTimestamp();
        await victim.DisposeAsync();
        await UntilAsync(edge, victim.Port, "UNHEALTHY", bound);
        var took = Time.GetElapsedTime(stopped);

        Assert.InRange(took.TotalSeconds, 0, bound);
        var report = await load.StopAsync();
        Assert.True(report.Failed == 0, report.ToString());
        Assert.Equal("HEALTHY", await edge.Envoy.HealthOfAsync("shop", edge.Backends[0].Port));
    }

    [Theory]
    [InlineData("hang")]
    [InlineData("500")]
    public async Task A_backend_whose_checks_fail_is_unhealthy_in_Envoy_and_back_when_it_recovers(string how)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port);
        await StartAsync(server, edge, Fast + ", rise: 2");
        var victim = edge.Backends[2];
        if (how == "hang")
        {
            victim.Delay = TimeSpan.FromSeconds(60);
        }
        else
        {
            victim.Status = 500;
        }

        await UntilAsync(edge, victim.Port, "UNHEALTHY", within: 10);
        victim.Delay = TimeSpan.Zero;
        victim.Status = 200;
        await UntilAsync(edge, victim.Port, "HEALTHY", within: 15);
    }

    [Fact]
    public async Task A_drain_is_in_Envoy_within_a_fifth_of_a_second()
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port);
        await StartAsync(server, edge, Default);
        var port = edge.Backends[0].Port;
        await server.Client.OrderAsync("shop", $"127.0.0.1:{port}", "drain", new EndpointOrder { Reason = "a test" });
        await UntilAsync(edge, port, "DRAINING", within: 0.2);
    }

    [Fact]
    public async Task When_all_backends_die_nothing_is_emptied_and_they_come_back()
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port);
        await StartAsync(server, edge, Fast);
        foreach (var backend in edge.Backends)
        {
            backend.Status = 503;
        }

        await Eventually.True(
            "the incident",
            async stop =>
                (await server.Http.GetStringAsync("/api/v1/upstreams/shop/health", stop)).Contains(
                    "condemned at once",
                    StringComparison.Ordinal
                )
        );
        // One may have gone before the others were found to be dead, too; the freeze brings it back.
        foreach (var backend in edge.Backends)
        {
            await UntilAsync(edge, backend.Port, "HEALTHY", within: 10);
        }

        foreach (var backend in edge.Backends)
        {
            backend.Status = 200;
        }

        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(5));
    }

    [Fact]
    public async Task With_the_control_plane_gone_the_reflex_takes_one_dead_backend_of_three_out_within_five_seconds()
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port);
        await StartAsync(server, edge, Default, outliers: true);
        await using var load = new LoadGenerator(edge.Url, requestsPerSecond: 15);
        await Eventually.True("the load", _ => Task.FromResult(edge.Backends.All(b => b.Requests > 5)));
        await server.DisposeAsync();

        var victim = edge.Backends[1];
        var stopped = Time.GetTimestamp();
        await victim.DisposeAsync();
        await UntilAsync(edge, victim.Port, "EJECTED", within: 5);
        Assert.InRange(Time.GetElapsedTime(stopped).TotalSeconds, 0, 5);
    }

    /// <summary>Upstream <c>shop</c> with all backends, a route that retries, and a listener.</summary>
    private static async Task StartAsync(ControlPlaneHost server, Edge edge, string times, bool outliers = false)
    {
        // A third of all requests meets the dead one first: the usual budget of retries is for less.
        var upstream =
            edge.Upstream(backends: edge.Backends)
            + $"  health:\n    checks: [{{http: {{path: /}}{times}}}]\n    outlierDetection: {{enabled: {(outliers ? "true" : "false")}}}\n"
            + "  circuitBreakers: {default: {retryBudget: {percent: 100, minimumConcurrency: 100}}}\n";
        var routes = Edge.RouteTable(
            "- {match: {prefix: /}, upstream: shop, retry: {on: [connect-failure, reset, gateway-error], numRetries: 3}}"
        );
        await server.Client.ApplyAsync(string.Join("---\n", upstream, routes, edge.Listener()));
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(30));
        // Every endpoint has passed, and is not taken for new any more.
        await Eventually.True(
            "the first passes",
            async stop =>
                (await server.Http.GetStringAsync("/metrics", stop))
                    .Split('\n')
                    .Any(l =>
                        l.StartsWith("upstream_endpoints{", StringComparison.Ordinal)
                        && l.Contains("state=\"up\"", StringComparison.Ordinal)
                        && l.EndsWith(" 3", StringComparison.Ordinal)
                    )
        );
    }

    private static Task<string?> UntilAsync(Edge edge, int port, string status, double within) =>
        Eventually.Get(
            $"port {port} to be {status}",
            stop => edge.Envoy.HealthOfAsync("shop", port, stop),
            found => found == status,
            TimeSpan.FromSeconds(within)
        );
}
