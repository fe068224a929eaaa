using System.Net.Http.Json;
using System.Text;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Health;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Discovery;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Health;

/// <summary>From evidence to what proxies get, through the real keeper, the real publication and real streams; rows of the test plan of the health model by their numbers.</summary>
public sealed class VerdictTests
{
    private const double RefusedBound = 9.5;
    private const double TimeoutBound = 15.5;
    private const double OrderBound = 2;

    [Fact]
    public async Task T1_A_backend_that_stops_listening_becomes_unhealthy_and_nothing_else_changes()
    {
        await using var world = await HealthWorld.StartAsync();
        var before = world.Everyone.Last;
        var received = world.Everyone.Received.Count;
        var types = world.Everyone.Types.Count;
        Assert.True(before.IsEqual(6));

        world.Backends[HealthWorld.Id(1)] = Backend.Refused;
        var took = await world.RunUntilAsync(RefusedBound, a => a.StatusOf(1) == "UNHEALTHY");

        Assert.InRange(took, 0, RefusedBound);
        await world.RunAsync(20);
        var news = Assert.Single(world.Everyone.Received.Skip(received));
        Assert.Equal([ResourceType.Endpoints.TypeUrl], world.Everyone.Types.Skip(types));
        Assert.Equal(5, news.Assignment.Count("HEALTHY"));
        var why = await world.ExplainAsync(1);
        Assert.Equal((HealthState.Down, HealthRule.ActiveQuorum, true), (why.State, why.Rule, why.IsHard));
        Assert.All(why.Active.Evidence, row => Assert.Equal(FailureClass.Refused, row.Class));
    }

    [Fact]
    public async Task T2_A_blackholed_backend_becomes_unhealthy_with_class_timeout()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Backends[HealthWorld.Id(1)] = Backend.Blackhole;
        await world.RunUntilAsync(TimeoutBound, a => a.StatusOf(1) == "UNHEALTHY");
        Assert.All((await world.ExplainAsync(1)).Active.Evidence, row => Assert.Equal(FailureClass.ConnectTimeout, row.Class));
    }

    [Fact]
    public async Task T6_A_backend_that_recovers_is_ramped_up_to_the_weights_that_were_written()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Backends[HealthWorld.Id(1)] = Backend.Refused;
        await world.RunUntilAsync(RefusedBound, a => a.StatusOf(1) == "UNHEALTHY");
        await world.RunAsync(20);
        var since = world.T;

        world.Backends.Clear();
        await world.RunAsync(90);

        Assert.Equal<uint>([10, 25, 50, 75, 1], world.Everyone.Received.Where(r => r.T > since).Select(r => r.Assignment.WeightOf(1)));
        Assert.True(world.Everyone.Last.IsEqual(6));
        Assert.Equal(1u, world.Everyone.Last.WeightOf(0));
    }

    [Fact]
    public async Task T11_Observers_of_a_zone_that_is_cut_off_are_quarantined_and_nothing_is_published()
    {
        await using var world = await HealthWorld.StartAsync();
        var received = world.Everyone.Received.Count;
        foreach (var zone in (string[])["a", "b", "c"])
        {
            world.Cut.Add(("a", zone));
        }

        await world.RunAsync(100);

        Assert.Equal(received, world.Everyone.Received.Count);
        Assert.Equal(2, await world.Keeper.AskAsync(model => model.QuarantinedObservers, CancellationToken.None));
    }

    [Fact]
    public async Task T12_A_partition_between_two_zones_changes_only_the_view_of_the_zone_that_is_cut_off()
    {
        await using var world = await HealthWorld.StartAsync();
        var a = await world.ConnectProxyAsync("a");
        var c = await world.ConnectProxyAsync("c");
        var stranger = await world.ConnectProxyAsync("a-zone-that-nobody-knows");
        await world.RunAsync(1);
        var received = (world.Everyone.Received.Count, c.Received.Count, stranger.Received.Count);

        world.Cut.Add(("a", "b"));
        await world.RunUntilAsync(2 * TimeoutBound, x => x.StatusOf(1) == "UNHEALTHY" && x.StatusOf(4) == "UNHEALTHY", a);

        Assert.Equal(4, a.Last.Count("HEALTHY"));
        await world.RunAsync(30);
        Assert.Equal(received, (world.Everyone.Received.Count, c.Received.Count, stranger.Received.Count));
        Assert.Equal(["", "@a"], Views(world));

        world.Cut.Clear();
        await world.RunUntilAsync(30, x => x.IsEqual(6), a);
        await world.RunAsync(90);
        Assert.Equal([""], Views(world));
        Assert.Equal(world.Everyone.Last, a.Last);
        Assert.Equal(received, (world.Everyone.Received.Count, c.Received.Count, stranger.Received.Count));
    }

    [Fact]
    public async Task T13_One_lying_observer_changes_nothing()
    {
        await using var world = await HealthWorld.StartAsync();
        var received = world.Everyone.Received.Count;
        world.Lying.Add("prober-a1");
        await world.RunAsync(100);
        Assert.Equal(received, world.Everyone.Received.Count);
    }

    [Fact]
    public async Task T17_A_backend_that_passes_its_checks_and_fails_a_third_of_its_requests_goes_down()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Rate = 20;
        for (var i = 0; i < 6; i++)
        {
            world.FailingShare[HealthWorld.Id(i)] = i == 2 ? 0.30 : 0.01;
        }

        await world.RunUntilAsync(45, a => a.StatusOf(2) == "UNHEALTHY");
        Assert.Equal(HealthRule.FleetOutlier, (await world.ExplainAsync(2)).Rule);
    }

    [Fact]
    public async Task T18_A_backend_that_fails_an_eighth_of_its_requests_loses_half_its_weight_and_gets_it_back()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Rate = 20;
        for (var i = 0; i < 6; i++)
        {
            world.FailingShare[HealthWorld.Id(i)] = i == 2 ? 0.12 : 0.005;
        }

        await world.RunUntilAsync(45, a => a.WeightOf(2) == 50);
        Assert.Equal("HEALTHY", world.Everyone.Last.StatusOf(2));
        Assert.Equal(100u, world.Everyone.Last.WeightOf(0));

        world.FailingShare.Clear();
        await world.RunUntilAsync(60, a => a.IsEqual(6) && a.WeightOf(2) == 1);
    }

    [Fact]
    public async Task T8_When_all_backends_stop_nothing_is_emptied_and_it_is_one_incident()
    {
        await using var world = await HealthWorld.StartAsync();
        for (var i = 0; i < 6; i++)
        {
            world.Backends[HealthWorld.Id(i)] = Backend.Refused;
        }

        await world.RunAsync(RefusedBound + 1);
        var since = world.T;
        Assert.True(world.Everyone.Last.IsEqual(6));
        await world.RunAsync(150);

        Assert.DoesNotContain(world.Everyone.Received, r => r.T > since);
        Assert.DoesNotContain(world.Everyone.Received, r => r.Assignment.Count("HEALTHY") < 4);
        var why = await world.Keeper.AskAsync(model => model.Explain(HealthWorld.Upstream)!, CancellationToken.None);
        Assert.True(why.IsTotalFailure);
        Assert.StartsWith("All 6 endpoints of cart have failed: 6 (connection refused).", why.Sentence, StringComparison.Ordinal);
    }

    [Fact]
    public async Task FAIL_FAST_empties_an_upstream_whose_failure_is_confirmed_because_a_person_chose_it()
    {
        await using var world = await HealthWorld.StartAsync(health: "onTotalFailure: failFast");
        for (var i = 0; i < 6; i++)
        {
            world.Backends[HealthWorld.Id(i)] = Backend.Refused;
        }

        await world.RunUntilAsync(200, a => a.Count("UNHEALTHY") == 6);
    }

    [Fact]
    public async Task T29_A_drain_is_draining_within_its_bound_and_left_out_after_the_drain_time()
    {
        await using var world = await HealthWorld.StartAsync();
        await world.OrderAsync(3, "drain");
        Assert.InRange(await world.RunUntilAsync(OrderBound, a => a.StatusOf(3) == "DRAINING"), 0, OrderBound);
        await world.RunUntilAsync(31, a => a.StatusOf(3) is null);
        Assert.Equal(5, world.Everyone.Last.Count("HEALTHY"));
        await world.OrderAsync(3, "clear");
        await world.RunUntilAsync(OrderBound, a => a.IsEqual(6));
    }

    [Fact]
    public async Task T30_A_dead_host_that_is_forced_healthy_is_healthy_until_the_order_expires()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Backends[HealthWorld.Id(1)] = Backend.Refused;
        await world.RunUntilAsync(RefusedBound, a => a.StatusOf(1) == "UNHEALTHY");

        await world.OrderAsync(1, "forceHealthy", "60s");
        await world.RunUntilAsync(OrderBound, a => a.StatusOf(1) == "HEALTHY");
        await world.RunAsync(56);
        Assert.Equal("HEALTHY", world.Everyone.Last.StatusOf(1));
        await world.RunUntilAsync(4 + OrderBound, a => a.StatusOf(1) == "UNHEALTHY");
    }

    [Fact]
    public async Task A_frozen_endpoint_stays_as_it_is_whatever_the_evidence_until_the_order_is_taken_back()
    {
        await using var world = await HealthWorld.StartAsync();
        await world.OrderAsync(1, "freeze");
        await world.RunAsync(2);
        world.Backends[HealthWorld.Id(1)] = Backend.Refused;
        await world.RunAsync(30);
        Assert.Equal("HEALTHY", world.Everyone.Last.StatusOf(1));
        await world.OrderAsync(1, "clear");
        await world.RunUntilAsync(OrderBound, a => a.StatusOf(1) == "UNHEALTHY");
    }

    [Fact]
    public async Task A_healthy_endpoint_that_is_forced_unhealthy_gets_no_requests()
    {
        await using var world = await HealthWorld.StartAsync();
        await world.OrderAsync(4, "forceUnhealthy");
        await world.RunUntilAsync(OrderBound, a => a.StatusOf(4) == "UNHEALTHY");
        Assert.Equal(5, world.Everyone.Last.Count("HEALTHY"));
    }

    [Fact]
    public async Task T38_A_change_of_the_cluster_leaves_the_verdicts_as_they_are_and_never_empties_the_assignment()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Backends[HealthWorld.Id(1)] = Backend.Refused;
        await world.RunUntilAsync(RefusedBound, a => a.StatusOf(1) == "UNHEALTHY");

        await world.PutUpstreamAsync(6, extra: "  connectTimeout: 3s\n");
        await world.RunAsync(5);

        Assert.DoesNotContain(world.Everyone.Received, r => r.Assignment.Count("HEALTHY") < 5);
        Assert.Equal("UNHEALTHY", world.Everyone.Last.StatusOf(1));
        var types = world.Everyone.Types;
        var cluster = types.ToList().LastIndexOf(ResourceType.Cluster.TypeUrl);
        Assert.Equal(ResourceType.Endpoints.TypeUrl, types[cluster + 1]);
    }

    [Fact]
    public async Task T40_New_endpoints_are_left_out_until_their_first_pass_and_then_at_full_weight()
    {
        await using var world = await HealthWorld.StartAsync(endpoints: 6);
        for (var i = 6; i < 12; i++)
        {
            world.Backends[HealthWorld.Id(i)] = Backend.Refused;
        }

        await world.PutUpstreamAsync(12);
        await world.RunAsync(10);
        Assert.True(world.Everyone.Last.IsEqual(6));
        world.Backends.Remove(HealthWorld.Id(7));
        await world.RunUntilAsync(2.5, a => a.IsEqual(7));
        Assert.Equal("HEALTHY", world.Everyone.Last.StatusOf(7));
    }

    [Fact]
    public async Task T42_An_expired_certificate_makes_an_endpoint_unhealthy_and_the_explanation_says_so()
    {
        await using var world = await HealthWorld.StartAsync();
        world.Backends[HealthWorld.Id(5)] = Backend.Expired;
        await world.RunUntilAsync(RefusedBound, a => a.StatusOf(5) == "UNHEALTHY");
        var why = await world.ExplainAsync(5);
        Assert.All(why.Active.Evidence, row => Assert.Equal((FailureClass.Tls, "certificate expired"), (row.Class, row.Text)));
        Assert.Contains("certificate expired", why.Sentence, StringComparison.Ordinal);
    }

    [Fact]
    public async Task T44_A_proxy_that_refuses_an_assignment_is_named_and_the_others_have_it()
    {
        await using var world = await HealthWorld.StartAsync();
        var other = await world.ConnectProxyAsync("b");
        other.Refusal = "no such thing";
        world.Backends[HealthWorld.Id(1)] = Backend.Refused;
        await world.RunUntilAsync(RefusedBound, a => a.StatusOf(1) == "UNHEALTHY");
        await world.RunAsync(OrderBound);

        var nodes = world.Host.Services.GetRequiredService<ConnectedNodes>();
        await Eventually.Get(
            "both answers",
            _ => Task.FromResult(nodes.DeliveriesOf(ResourceType.Endpoints, HealthWorld.Upstream)),
            deliveries =>
                deliveries
                    .Select(d => (d.Node.Id, d.Delivery.State))
                    .Order()
                    .SequenceEqual([("proxy-0", DeliveryState.Acked), ("proxy-1", DeliveryState.Nacked)])
        );
    }

    [Fact]
    public async Task T9_T69_Four_of_six_are_first_demoted_then_taken_out_together_and_a_restart_publishes_what_was()
    {
        var world = await HealthWorld.StartAsync();
        try
        {
            world.Rate = 10;
            for (var i = 0; i < 4; i++)
            {
                world.Backends[HealthWorld.Id(i)] = Backend.Refused;
                world.FailingShare[HealthWorld.Id(i)] = 1;
            }

            await world.RunUntilAsync(
                RefusedBound,
                a => Enumerable.Range(0, 4).All(i => a.StatusOf(i) == "UNHEALTHY" || a.WeightOf(i) == 10)
            );
            Assert.Contains(world.Everyone.Received, r => r.Assignment.Count("UNHEALTHY") == 0 && r.Assignment.WeightOf(0) == 10);
            await world.RunUntilAsync(30, a => a.Count("UNHEALTHY") == 4);
            await world.RunAsync(10);
            var before = world.Everyone.Last;

            world = await world.RestartAsync();
            await world.RunAsync(60);

            Assert.Equal(before, Assert.Single(world.Everyone.Received).Assignment);
        }
        finally
        {
            await world.DisposeAsync();
        }
    }

    [Fact]
    public async Task T26_An_endpoint_that_flaps_is_suppressed_at_its_fourth_drop()
    {
        await using var world = await HealthWorld.StartAsync();
        var since = world.T;
        for (var round = 0; round < 4; round++)
        {
            world.Backends[HealthWorld.Id(1)] = Backend.Refused;
            await world.RunAsync(10);
            world.Backends.Clear();
            await world.RunAsync(10);
        }

        Assert.True((await world.ExplainAsync(1)).IsSuppressed);
        Assert.Equal("UNHEALTHY", world.Everyone.Last.StatusOf(1));
        var received = world.Everyone.Received.Count;
        await world.RunAsync(40);
        Assert.Equal(received, world.Everyone.Received.Count);
        Assert.InRange(world.T - since, 0, 121);
    }

    [Fact]
    public async Task T24_A_check_that_is_wrong_everywhere_leaves_all_in_service_at_the_weights_that_were_written()
    {
        await using var world = await HealthWorld.StartAsync();
        for (var i = 0; i < 6; i++)
        {
            world.Backends[HealthWorld.Id(i)] = Backend.Error500;
        }

        await world.RunAsync(RefusedBound + 1);
        var since = world.Everyone.Received.Count;
        await world.RunAsync(200);
        Assert.True(world.Everyone.Last.IsEqual(6));
        Assert.Equal(1u, world.Everyone.Last.WeightOf(0));
        Assert.Equal(since, world.Everyone.Received.Count);
    }

    [Fact]
    public async Task T41_In_a_rolling_deploy_that_drains_first_enough_endpoints_are_in_service_at_all_times()
    {
        await using var world = await HealthWorld.StartAsync();
        var since = world.Everyone.Received.Count;
        for (var i = 0; i < 6; i++)
        {
            await world.OrderAsync(i, "drain");
            await world.RunAsync(31);
            world.Backends[HealthWorld.Id(i)] = Backend.Refused;
            await world.RunAsync(15);
            world.Backends.Clear();
            await world.RunAsync(15);
            await world.OrderAsync(i, "clear");
            await world.RunAsync(2);
        }

        await world.RunAsync(70);
        Assert.All(world.Everyone.Received.Skip(since), r => Assert.True(r.Assignment.Count("HEALTHY") >= 4, r.Assignment.ToString()));
        Assert.True(world.Everyone.Last.IsEqual(6));
    }

    [Fact]
    public async Task T50_When_a_whole_priority_stops_the_next_one_takes_over_without_a_demotion()
    {
        await using var world = await HealthWorld.StartAsync(endpoints: 6, health: "minimumHealthyPercent: 60");
        await world.PutUpstreamAsync(8, priorityFrom: 4);
        await world.RunAsync(10);
        var since = world.Everyone.Received.Count;
        for (var i = 0; i < 4; i++)
        {
            world.Backends[HealthWorld.Id(i)] = Backend.Refused;
        }

        await world.RunUntilAsync(RefusedBound, a => Enumerable.Range(0, 4).All(i => a.StatusOf(i) == "UNHEALTHY"));
        Assert.All(world.Everyone.Received.Skip(since), r => Assert.Equal(1u, r.Assignment.WeightOf(5)));
        Assert.Equal(4, world.Everyone.Last.Count("HEALTHY"));
    }

    [Fact]
    public async Task T49_One_observer_without_zones_takes_one_of_three_out_and_says_that_it_is_one()
    {
        await using var world = await HealthWorld.StartAsync(endpoints: 3, zones: [""], observersPerZone: 1);
        world.Backends[HealthWorld.Id(1)] = Backend.Refused;
        await world.RunUntilAsync(11.5, a => a.StatusOf(1) == "UNHEALTHY");
        Assert.Equal(1, (await world.ExplainAsync(1)).Active.FewObservers);
    }

    [Fact]
    public async Task T51_A_new_upstream_whose_check_path_is_wrong_is_published_and_never_empty()
    {
        await using var world = await HealthWorld.StartAsync(endpoints: 1);
        for (var i = 0; i < 3; i++)
        {
            world.Backends[HealthWorld.Id(i)] = Backend.Error500;
        }

        using (var gone = await world.Host.Http.DeleteAsync($"api/v1/upstreams/{HealthWorld.Upstream}"))
        {
            Assert.True(gone.IsSuccessStatusCode);
        }

        await world.RunAsync(1);
        var since = world.Everyone.Received.Count;
        await world.PutUpstreamAsync(3);
        await world.RunUntilAsync(2, a => a.IsEqual(3));
        await world.RunAsync(120);
        Assert.All(world.Everyone.Received.Skip(since), r => Assert.True(r.Assignment.IsEqual(3), r.Assignment.ToString()));
    }

    [Fact]
    public async Task T39_A_list_that_became_empty_is_refused_and_nothing_is_published_until_somebody_confirms_it()
    {
        await using var world = await HealthWorld.StartAsync(endpoints: 1);
        var received = world.Everyone.Received.Count;
        const string Empty = "spec: {endpoints: {source: static, static: []}}";
        var path = $"api/v1/upstreams/{HealthWorld.Upstream}";

        using var refused = await PutAsync(path);
        var problem = await refused.Content.ReadFromJsonAsync<Problem>(ApiJson.Options);
        await world.RunAsync(60);
        Assert.Equal(Problem.TypePrefix + "confirmation-required", problem!.Type);
        Assert.Equal(received, world.Everyone.Received.Count);

        using var confirmed = await PutAsync($"{path}?{problem.Confirm}");
        Assert.True(confirmed.IsSuccessStatusCode);
        await world.RunUntilAsync(OrderBound, a => a.Endpoints.Sum(l => l.LbEndpoints.Count) == 0);

        async Task<HttpResponseMessage> PutAsync(string uri)
        {
            using var content = new StringContent(Empty, Encoding.UTF8, "application/yaml");
            return await world.Host.Http.PutAsync(uri, content);
        }
    }

    [Theory]
    [InlineData(3600)]
    [InlineData(-3600)]
    [InlineData(20)]
    public async Task A_wall_clock_that_jumps_changes_nothing_that_is_published(double seconds)
    {
        await using var world = await HealthWorld.StartAsync();
        world.Backends[HealthWorld.Id(1)] = Backend.Refused;
        await world.RunUntilAsync(RefusedBound, a => a.StatusOf(1) == "UNHEALTHY");
        await world.RunAsync(60);
        var received = world.Everyone.Received.Count;

        world.Jump(TimeSpan.FromSeconds(seconds));
        await world.RunAsync(60);

        Assert.Equal(received, world.Everyone.Received.Count);
        // And it goes on deciding.
        world.Backends.Clear();
        await world.RunUntilAsync(120, a => a.IsEqual(6));
    }

    private static IEnumerable<string> Views(HealthWorld world) =>
        world.Host.Services.GetRequiredService<CurrentSnapshots>().Views.Select(v => v.Value).Order(StringComparer.Ordinal);
}
