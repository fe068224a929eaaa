using ControlPlane.Core.Health;
using ControlPlane.Server.Tests.Health;
using Envoy.Config.Endpoint.V3;
using EnvoyStatus = Envoy.Config.Core.V3.HealthStatus;

namespace ControlPlane.Server.Tests.HealthIntake;

/// <summary>What the reports of many proxies together decide: real streams of load reports in, real streams of assignments out, on a clock that stands still.</summary>
public sealed class LoadReportScenarios
{
    private const double Bound = 35;

    [Fact]
    public async Task One_endpoint_that_fails_a_third_of_its_requests_is_taken_out_though_it_passes_its_checks()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Rate = 10;
        await world.RunAsync(20);

        world.FailingShare[HealthWorld.Id(0)] = 0.3;
        await world.RunUntilAsync(Bound, a => StatusOf(a, 0) == EnvoyStatus.Unhealthy);

        var endpoint = await world.ExplainAsync(0);
        Assert.Equal((HealthState.Down, HealthRule.FleetOutlier, HealthCause.Passive), (endpoint.State, endpoint.Rule, endpoint.Cause));
        Assert.Equal(1, endpoint.Active.Share);
        Assert.Equal(0.3, endpoint.Traffic.ErrorRate, 2);
        Assert.All(Enumerable.Range(1, 5), i => Assert.Equal(EnvoyStatus.Healthy, StatusOf(world.Everyone.Last, i)));
    }

    [Fact]
    public async Task Twenty_proxies_that_each_see_too_little_find_the_bad_one_together_cut_its_weight_and_put_it_back()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Envoys = 20;
        world.Rate = 3;
        world.ShareOf = (envoy, endpoint) => endpoint == HealthWorld.Id(0) ? (envoy % 5 < 3 ? 4.0 / 30 : 3.0 / 30) : 0;
        await world.RunUntilAsync(Bound, a => WeightsOf(a) is [50, 100, 100, 100, 100, 100]);
        Assert.Equal(EnvoyStatus.Healthy, StatusOf(world.Everyone.Last, 0));
        Assert.Equal(600, (await world.ExplainAsync(0)).Traffic.Requests);

        world.ShareOf = (_, _) => 0;
        await world.RunUntilAsync(60, a => WeightsOf(a) is [1, 1, 1, 1, 1, 1]);
    }

    [Fact]
    public async Task Errors_that_only_one_proxy_has_are_its_own()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Rate = 10;
        world.ShareOf = (envoy, endpoint) => envoy == 2 && endpoint == HealthWorld.Id(0) ? 0.9 : 0;

        await world.RunAsync(60);

        Assert.Single(world.Everyone.Received);
        Assert.Equal("envoy-2", (await world.ExplainAsync(0)).Traffic.Client);
    }

    [Fact]
    public async Task Requests_that_fail_everywhere_alike_take_nobody_out()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Rate = 10;
        world.ShareOf = (_, _) => 0.2;

        await world.RunAsync(60);

        Assert.Single(world.Everyone.Received);
        Assert.True(await world.Keeper.AskAsync(m => m.Explain(HealthWorld.Upstream)!.HasUniformErrors, CancellationToken.None));
    }

    [Theory]
    [InlineData(6)]
    [InlineData(1)]
    public async Task No_proxy_however_wrong_empties_an_upstream(int envoys)
    {
        await using var world = await HealthWorld.StartAsync();
        world.Envoys = envoys;
        // Beyond all measure, and about all endpoints but one, then about all.
        world.Rate = 1e11;
        world.ShareOf = (envoy, endpoint) => envoy == 0 && endpoint != HealthWorld.Id(5) ? 1 : 0;
        await world.RunAsync(120);
        world.ShareOf = (envoy, _) => envoy == 0 ? 1 : 0;
        await world.RunAsync(120);

        Assert.All(
            world.Everyone.Received,
            received => Assert.InRange(Enumerable.Range(0, 6).Count(i => StatusOf(received.Assignment, i) == EnvoyStatus.Healthy), 4, 6)
        );
    }

    [Fact]
    public async Task A_check_that_looks_at_the_wrong_thing_is_overruled_by_the_requests_that_succeed()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Rate = 5;
        // Until a window has shown that it is busy.
        await world.RunAsync(40);
        world.Backends[HealthWorld.Id(0)] = Backend.Error500;

        await world.RunAsync(60);

        Assert.Single(world.Everyone.Received);
        var endpoint = await world.ExplainAsync(0);
        Assert.Equal(HealthRule.TrafficVeto, endpoint.Rule);
        Assert.Contains(HealthLint.CheckDisagreesWithTraffic, endpoint.Lints);
    }

    private static EnvoyStatus? StatusOf(ClusterLoadAssignment assignment, int endpoint) =>
        assignment
            .Endpoints.SelectMany(l => l.LbEndpoints)
            .SingleOrDefault(e => e.Endpoint.Address.SocketAddress.Address == $"10.0.0.{endpoint + 1}")
            ?.HealthStatus;

    private static uint[] WeightsOf(ClusterLoadAssignment assignment) =>
        [
            .. assignment
                .Endpoints.SelectMany(l => l.LbEndpoints)
                .OrderBy(e => e.Endpoint.Address.SocketAddress.Address, StringComparer.Ordinal)
                .Select(e => e.LoadBalancingWeight ?? 1),
        ];
}
