using ControlPlane.AdminClient;
using ControlPlane.Resources.Api;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>Backends that stop, and what a real Envoy is told about them.</summary>
[Trait("Category", "Slow")]
public sealed class HealthTests
{
    /// <summary>Where one of three dies, a third of all requests at this rate is tried again: more than Envoy's own retry budget allows.</summary>
    private const int Rate = 400;

    private static readonly TimeProvider Time = TimeProvider.System;

    [Theory]
    [InlineData(HealthScene.DefaultTimes, 11.5)]
    [InlineData(HealthScene.FastTimes, 2.0)]
    public async Task A_backend_that_stops_under_load_is_unhealthy_in_Envoy_within_its_bound_and_no_GET_fails(string times, double bound)
    {
        await using var scene = await HealthScene.StartAsync();
        await scene.ApplyAsync(scene.Upstream(times), HealthScene.Retries());
        await using var load = await scene.LoadAsync(Rate);

        var victim = scene.Backends[1];
        var stopped = Time.GetTimestamp();
        await victim.DisposeAsync();
        await scene.UntilAsync(victim.Port, "UNHEALTHY", bound);
        Assert.InRange(Time.GetElapsedTime(stopped).TotalSeconds, 0, bound);

        Assert.Equal("HEALTHY", await scene.Edge.Envoy.HealthOfAsync("shop", scene.Backends[0].Port));
        var why = await scene.ExplainAsync(victim.Port);
        Assert.Equal("5", why.Rule);
        Assert.Contains(why.Active.Evidence, row => row is { Verdict: "FAIL", Class: "refused", Text: "connection refused" });
        await HealthScene.NoneFailedAsync(load);
        Assert.True(await scene.Edge.Envoy.StatAsync("cluster.shop.upstream_rq_retry_success") > 0);
        Assert.Equal(0, await scene.Edge.Envoy.StatAsync("cluster.shop.upstream_rq_retry_overflow"));
    }

    [Fact]
    public async Task Without_retries_no_GET_fails_later_than_a_second_after_the_bound()
    {
        const double Bound = 2.0;
        await using var scene = await HealthScene.StartAsync();
        await scene.ApplyAsync(scene.Upstream(), Edge.RouteTable());
        await using var load = await scene.LoadAsync(Rate);

        var stopped = Time.GetTimestamp();
        await scene.Backends[1].DisposeAsync();
        await Eventually.True(
            "the load to go on for two seconds after the bound",
            _ => Task.FromResult(Time.GetElapsedTime(stopped).TotalSeconds > Bound + 2)
        );
        var report = await load.StopAsync();
        Assert.True(report.Failed > 0, "Without retries the dead backend must have been noticed.");
        Assert.InRange(Time.GetElapsedTime(stopped, report.LastFailureAt!.Value).TotalSeconds, 0, Bound + 1);
    }

    [Fact]
    public async Task When_everything_fails_retries_at_most_double_the_load()
    {
        // As many as reach the percentage: below that a proxy may have a fixed number of retries in progress.
        const int Clients = 400;
        await using var scene = await HealthScene.StartAsync();
        await scene.ApplyAsync(scene.Upstream(check: "http: {path: /healthz}"), HealthScene.Retries());
        var tries = 0L;
        foreach (var backend in scene.Backends)
        {
            // Checks go on to pass, as they do where what the requests need is broken.
            backend.StatusOf = path =>
            {
                if (path == "/healthz")
                {
                    return 200;
                }

                Interlocked.Increment(ref tries);
                return 503;
            };
            backend.Delay = TimeSpan.FromMilliseconds(500);
        }

        await using var load = new LoadGenerator(scene.Edge.Url, requestsPerSecond: 100_000, clients: Clients);
        await Eventually.True("the load", _ => Task.FromResult(load.Report.Sent > 5 * Clients));
        var report = await load.StopAsync();
        Assert.Equal(report.Sent, report.Failed);
        Assert.InRange((double)Interlocked.Read(ref tries) / report.Sent, 1.0, 2.0);
        Assert.True(await scene.Edge.Envoy.StatAsync("cluster.shop.upstream_rq_retry_overflow") > 0);
    }

    [Fact]
    public async Task A_drain_is_in_Envoy_within_a_fifth_of_a_second()
    {
        await using var scene = await HealthScene.StartAsync();
        await scene.ApplyAsync(scene.Upstream(HealthScene.DefaultTimes), Edge.RouteTable());
        var port = scene.Backends[0].Port;
        await scene.Server.Client.OrderAsync("shop", $"127.0.0.1:{port}", "drain", new EndpointOrder { Reason = "a test" });
        await scene.UntilAsync(port, "DRAINING", within: 0.2);
    }

    [Fact]
    public async Task When_all_backends_die_nothing_is_emptied_one_sentence_says_so_and_they_come_back_with_a_ramp()
    {
        await using var scene = await HealthScene.StartAsync();
        await scene.ApplyAsync(scene.Upstream(health: ", rampTime: 6s, hold: {active: 1s}"), Edge.RouteTable());
        var ports = scene.Backends.Select(b => b.Port).ToList();
        await using var load = await scene.LoadAsync(100);

        foreach (var backend in scene.Backends)
        {
            await backend.DisposeAsync();
        }

        var incident = await scene.UntilAsync(
            "the incident",
            h => h.Sentence.StartsWith("3 of 3 endpoints of shop were condemned at once: ", StringComparison.Ordinal),
            within: 10
        );
        Assert.NotNull(incident.FrozenSince);
        Assert.Contains("(connection refused). Guard G6 keeps them routable", incident.Sentence, StringComparison.Ordinal);
        // One may have gone before the others were found to be dead, too; the freeze brings it back.
        await AllAreHealthyAsync();

        var outage = await scene.UntilAsync("the outage to be confirmed", h => h.TotalFailure, within: 30);
        Assert.Matches(
            "^All 3 endpoints of shop have failed: .*[(]connection refused[)][.] Requests are spread over all of them",
            outage.Sentence
        );
        await AllAreHealthyAsync();

        // The first one back is alone, and answers everything.
        await using var first = await TestBackend.StartAsync("first", port: ports[0]);
        await scene.UntilAsync(ports[1], "UNHEALTHY", within: 5);
        await scene.UntilAsync(ports[2], "UNHEALTHY", within: 5);
        Assert.Equal("HEALTHY", await scene.Edge.Envoy.HealthOfAsync("shop", ports[0]));
        await scene.UntilAsync("its ramp to be over", h => HealthScene.Find(h, ports[0]).State == "UP", within: 20);

        // The others come behind it, and get their share little by little.
        await using var second = await TestBackend.StartAsync("second", port: ports[1]);
        await using var third = await TestBackend.StartAsync("third", port: ports[2]);
        foreach (var port in ports.Skip(1))
        {
            await scene.UntilAsync(port, "HEALTHY", within: 10);
            Assert.True(
                await scene.Edge.Envoy.WeightOfAsync("shop", port) < await scene.Edge.Envoy.WeightOfAsync("shop", ports[0]),
                $"{port} came back at full weight."
            );
        }

        await scene.UntilAsync("the ramps to be over", h => h.Endpoints.All(e => e.State == "UP"), within: 20);
        await AllAreHealthyAsync();
        foreach (var port in ports)
        {
            await Eventually.True(
                $"{port} to have its own weight",
                async stop => await scene.Edge.Envoy.WeightOfAsync("shop", port, stop) == 1
            );
        }

        async Task AllAreHealthyAsync()
        {
            foreach (var port in ports)
            {
                await scene.UntilAsync(port, "HEALTHY", within: 10);
            }
        }
    }

    [Fact]
    public async Task With_the_control_plane_gone_the_reflex_takes_one_dead_backend_of_three_out_within_five_seconds()
    {
        await using var scene = await HealthScene.StartAsync();
        await scene.ApplyAsync(scene.Upstream(HealthScene.DefaultTimes, reflex: true), HealthScene.Retries());
        await using var load = await scene.LoadAsync(15);
        await scene.Server.DisposeAsync();

        var victim = scene.Backends[1];
        var stopped = Time.GetTimestamp();
        await victim.DisposeAsync();
        await scene.UntilAsync(victim.Port, "EJECTED", within: 5);
        Assert.InRange(Time.GetElapsedTime(stopped).TotalSeconds, 0, 5);
    }
}
