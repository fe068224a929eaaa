using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Core.Tests.Compilation.Upstreams;

public sealed class EndpointLifecycleTests
{
    private const string Id = "10.0.1.1:8080";
    private static readonly DateTimeOffset Start = new(2030, 1, 1, 12, 0, 0, TimeSpan.Zero);
    private static readonly TimeSpan DrainTime = TimeSpan.FromSeconds(30);

    private static readonly UpstreamSpec Upstream = new()
    {
        Endpoints = new EndpointsSpec { Static = [new EndpointSpec { Address = "10.0.1.1", Port = 8080 }] },
        Drain = new DrainSpec { Time = DrainTime },
    };

    [Fact]
    public void Without_an_order_an_endpoint_is_active_for_ever() => Assert.Equal((EndpointStatus.Active, null), At(order: null, Start));

    [Fact]
    public void A_drained_endpoint_is_draining_for_the_drain_time_and_then_left_out()
    {
        var order = Order(OverrideAction.Drain);
        Assert.Equal((EndpointStatus.Draining, Start + DrainTime), At(order, Start));
        Assert.Equal((EndpointStatus.Draining, Start + DrainTime), At(order, Start + DrainTime - TimeSpan.FromTicks(1)));
        Assert.Equal((null, null), At(order, Start + DrainTime));
        Assert.Equal((null, null), At(order, Start.AddYears(1)));
    }

    [Fact]
    public void A_drain_that_expires_brings_the_endpoint_back()
    {
        var order = Order(OverrideAction.Drain, expiry: TimeSpan.FromMinutes(10));
        Assert.Equal((EndpointStatus.Draining, Start + DrainTime), At(order, Start));
        Assert.Equal((null, Start.AddMinutes(10)), At(order, Start + DrainTime));
        Assert.Equal((EndpointStatus.Active, null), At(order, Start.AddMinutes(10)));
    }

    [Fact]
    public void A_drain_that_expires_before_the_drain_time_never_leaves_the_endpoint_out()
    {
        var order = Order(OverrideAction.Drain, expiry: TimeSpan.FromSeconds(10));
        Assert.Equal((EndpointStatus.Draining, Start.AddSeconds(10)), At(order, Start));
        Assert.Equal((EndpointStatus.Active, null), At(order, Start.AddSeconds(10)));
    }

    [Fact]
    public void A_disabled_endpoint_is_left_out_at_once_until_the_order_expires()
    {
        Assert.Equal((null, null), At(Order(OverrideAction.Disable), Start));
        var expiring = Order(OverrideAction.Disable, expiry: TimeSpan.FromMinutes(10));
        Assert.Equal((null, Start.AddMinutes(10)), At(expiring, Start));
        Assert.Equal((EndpointStatus.Active, null), At(expiring, Start.AddMinutes(10)));
    }

    [Fact]
    public void An_order_of_a_server_whose_clock_is_ahead_holds_already() =>
        Assert.Equal((EndpointStatus.Draining, Start + DrainTime), At(Order(OverrideAction.Drain), Start.AddSeconds(-5)));

    [Fact]
    public void With_no_drain_time_a_drained_endpoint_is_left_out_at_once()
    {
        var upstream = Upstream with { Drain = new DrainSpec { Time = TimeSpan.Zero } };
        var lifecycle = EndpointLifecycle.At(
            upstream,
            None,
            new Dictionary<string, OverrideSpec> { [Id] = Order(OverrideAction.Drain) },
            Start
        );
        Assert.Empty(lifecycle.Endpoints);
    }

    [Fact]
    public void The_next_change_is_the_earliest_of_all_endpoints()
    {
        var upstream = Upstream with { Endpoints = new EndpointsSpec { Source = EndpointSource.Registration } };
        var endpoints = Enumerable.Range(1, 4).ToDictionary(i => $"e{i}", i => new EndpointSpec { Address = $"10.0.1.{i}", Port = 80 });
        var orders = new Dictionary<string, OverrideSpec>
        {
            ["e1"] = Order(OverrideAction.Disable, expiry: TimeSpan.FromSeconds(40)),
            ["e2"] = Order(OverrideAction.Drain),
            ["e3"] = Order(OverrideAction.Disable, expiry: TimeSpan.FromSeconds(20)),
            ["unknown"] = Order(OverrideAction.Disable, expiry: TimeSpan.FromSeconds(1)),
        };
        var lifecycle = EndpointLifecycle.At(upstream, endpoints, orders, Start);
        Assert.Equal(Start.AddSeconds(20), lifecycle.NextChange);
        Assert.Equal(
            [("e2", EndpointStatus.Draining), ("e4", EndpointStatus.Active)],
            lifecycle.Endpoints.Select(e => (e.Id, e.Status)).Order()
        );
    }

    [Fact]
    public void Endpoints_that_Envoy_resolves_are_not_published_by_us()
    {
        var upstream = Upstream with
        {
            Endpoints = new EndpointsSpec
            {
                Source = EndpointSource.EnvoyStrictDns,
                Hosts = [new EndpointSpec { Address = "a.example.com", Port = 80 }],
            },
        };
        Assert.Empty(EndpointLifecycle.At(upstream, None, new Dictionary<string, OverrideSpec>(), Start).Endpoints);
    }

    private static readonly Dictionary<string, EndpointSpec> None = [];

    private static (EndpointStatus? Status, DateTimeOffset? NextChange) At(OverrideSpec? order, DateTimeOffset now)
    {
        var orders = order is null ? [] : new Dictionary<string, OverrideSpec> { [Id] = order };
        var lifecycle = EndpointLifecycle.At(Upstream, None, orders, now);
        return (lifecycle.Endpoints.Select(e => (EndpointStatus?)e.Status).SingleOrDefault(), lifecycle.NextChange);
    }

    private static OverrideSpec Order(OverrideAction action, TimeSpan? expiry = null) =>
        new()
        {
            Action = action,
            Reason = "kernel update",
            StartedAt = Start,
            ExpiresAt = Start + expiry,
        };
}
