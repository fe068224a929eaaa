using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using static ControlPlane.Core.Snapshots.ResourceType;

namespace ControlPlane.Core.Tests.Discovery;

/// <summary>Order, gates, and what follows a refusal, over several types of one stream.</summary>
public sealed class OrderAndRefusalTests
{
    private static SessionDriver Envoy(XdsProtocol protocol, string resources, string endpoints = "a", string routes = "r")
    {
        var xds = new SessionDriver(protocol).With(resources);
        xds.Ask(Cluster);
        xds.Ask(Endpoints, endpoints);
        xds.Ask(Listener);
        xds.Ask(Route, routes);
        xds.AckAll();
        return xds;
    }

    private static SessionDriver Envoy(string resources) => Envoy(XdsProtocol.Delta, resources);

    [Fact]
    [Trait("Rule", "O-01")]
    public void O01_one_change_over_several_types_is_sent_in_the_order_CDS_EDS_SDS_LDS_RDS()
    {
        var xds = Envoy("CDS:a=1 EDS:a=1 SDS:s=1 LDS:l=1>r RDS:r=1>a");
        xds.Ask(Secret, "s");
        xds.AckAll();
        Assert.Equal("CDS{a=2} EDS{a=2} SDS{s=2} LDS{l=2} RDS{r=2}", xds.Change("RDS:r=2>a LDS:l=2>r SDS:s=2 EDS:a=2 CDS:a=2"));
    }

    [Theory]
    [Trait("Rule", "O-02")]
    [Trait("Rule", "O-07")]
    [InlineData(XdsProtocol.Delta)]
    [InlineData(XdsProtocol.Sotw)]
    public void O02_O07_a_route_moves_after_the_CDS_acknowledgement_and_the_old_cluster_goes_after_that_of_RDS(XdsProtocol protocol)
    {
        var delta = protocol == XdsProtocol.Delta;
        var xds = Envoy(protocol, "CDS:a=1 EDS:a=1 LDS:l=1>r RDS:r=1>a");
        Assert.Equal(delta ? "CDS{b=1}" : "CDS{a=1,b=1}", xds.Change("CDS:a CDS:b=1 EDS:b=1 RDS:r=2>b"));
        Assert.Equal("EDS{b=1}", delta ? xds.Ask(Endpoints, "b") : xds.Ask(Endpoints, "a b", nonce: xds.Nonce(Endpoints)));
        Assert.Equal("", xds.Ack(Endpoints));
        Assert.Equal("RDS{r=2}", xds.Ack(Cluster));
        Assert.Equal(delta ? "CDS{}-{a}" : "CDS{b=1}", xds.Ack(Route));
    }

    [Theory]
    [Trait("Rule", "O-08")]
    [InlineData(XdsProtocol.Delta)]
    [InlineData(XdsProtocol.Sotw)]
    public void O08_what_was_let_past_a_check_is_tried_by_itself_when_all_else_is_acknowledged(XdsProtocol protocol)
    {
        var delta = protocol == XdsProtocol.Delta;
        var xds = Envoy(protocol, "CDS:a=1 EDS:a=1");
        Assert.Equal(delta ? "CDS{b=1,c=1}" : "CDS{a=1,b=1,c=1}", xds.Change("CDS:b=1 CDS:late=1? CDS:c=1"));
        // Something else changes meanwhile, and is not in its company either.
        Assert.Equal(delta ? "CDS{d=1}" : "CDS{a=1,b=1,c=1,d=1}", xds.Change("CDS:d=1"));
        Assert.Equal("", delta ? xds.Ack(Cluster, xds.Responses[^2]) : "");
        Assert.Equal(delta ? "CDS{late=1?}" : "CDS{a=1,b=1,c=1,d=1,late=1?}", xds.Ack(Cluster));
        Assert.Equal(delta ? "CDS{}-{late}" : "CDS{a=1,b=1,c=1,d=1}", xds.Nack(Cluster, "late: ring"));
        Assert.Equal("", xds.Ack(Cluster));
        Assert.Equal("late", Assert.Single(xds.Session.Status().Single(status => status.Type == Cluster).Refusals).Name);
        Assert.Equal(delta ? "CDS{late=2}" : "CDS{a=1,b=1,c=1,d=1,late=2}", xds.Change("CDS:late=2"));
    }

    [Theory]
    [Trait("Rule", "O-08")]
    [InlineData(XdsProtocol.Delta)]
    [InlineData(XdsProtocol.Sotw)]
    public void O08_a_client_that_connects_is_sent_what_was_let_past_a_check_one_by_one_after_the_rest(XdsProtocol protocol)
    {
        var delta = protocol == XdsProtocol.Delta;
        var xds = new SessionDriver(protocol).With("CDS:a=1 CDS:p=1? CDS:late=1? LDS:l=1?");
        Assert.Equal("CDS{a=1}", xds.Ask(Cluster));
        Assert.Equal("LDS{}", xds.Ask(Listener));
        Assert.Equal("LDS{l=1?}", xds.Ack(Listener));
        var first = xds.Ack(Cluster);
        Assert.Contains(first, (string[])(delta ? ["CDS{p=1?}", "CDS{late=1?}"] : ["CDS{a=1,p=1?}", "CDS{a=1,late=1?}"]));
        var second = xds.Ack(Cluster);
        Assert.Contains("late=1?", first + second, StringComparison.Ordinal);
        Assert.Contains("p=1?", first + second, StringComparison.Ordinal);
        Assert.Equal("", xds.AckAll());
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_a_client_that_holds_what_was_let_past_a_check_is_not_sent_it_again()
    {
        var xds = SessionDriver.Delta().With("CDS:a=1 CDS:new=1?");
        Assert.Equal("CDS{}", xds.Ask(Cluster, holds: "a=1 new=1?"));
        Assert.Equal("", xds.Ack(Cluster));
    }

    [Theory]
    [InlineData(XdsProtocol.Delta)]
    [InlineData(XdsProtocol.Sotw)]
    public void A_listener_that_was_refused_for_its_address_is_sent_again_when_another_has_given_one_up(XdsProtocol protocol)
    {
        var delta = protocol == XdsProtocol.Delta;
        var xds = Envoy(protocol, "LDS:l=1");
        xds.Change("LDS:m=1");
        xds.Nack(Listener, "Error adding/updating listener(s) m: 'm' has duplicate address '0.0.0.0:1' as existing listener");
        xds.AckAll();
        xds.Change("LDS:n=1");
        // A further listener frees no address.
        Assert.Equal("", xds.AckAll());
        Assert.Equal(delta ? "LDS{}-{l}" : "LDS{n=1}", xds.Change("LDS:l"));
        Assert.Equal(delta ? "LDS{m=1}" : "LDS{m=1,n=1}", xds.Ack(Listener));
        Assert.Equal("", xds.Ack(Listener));
    }

    private const string LateRing = "Error adding/updating cluster(s) late: ring hash: minimum_ring_size (2000) > maximum_ring_size (1000)";

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_a_cluster_that_fails_late_unforeseen_is_found_by_putting_back_what_is_not_answered()
    {
        var xds = Envoy("CDS:a=1>a EDS:a=1 LDS:l=1>r RDS:r=1>a");
        Assert.Equal("CDS{b=1,c=1,late=1}", xds.Change("CDS:b=1>b CDS:late=1>late CDS:c=1 EDS:b=1 EDS:late=1 RDS:r=2>c"));
        var refused = xds.Last(Cluster);
        // Envoy asks for the endpoints of what it made, and answers CDS no more.
        Assert.Equal("EDS{b=1}", xds.Ask(Endpoints, "b"));
        Assert.Equal("", xds.Ack(Endpoints));
        Assert.Equal("CDS{d=1}", xds.Change("CDS:d=1"));
        var later = xds.Last(Cluster);
        Assert.Equal("", xds.Wait(15.9));
        Assert.Equal("CDS{}-{c,d,late}", xds.Wait(0.2));
        var putBack = xds.Last(Cluster);
        Assert.Equal("CDS{b=1,c=1} EDS{b=1}", xds.Nack(Cluster, LateRing, refused));
        Assert.Equal(["late"], xds.LastAnswer.Names);
        Assert.Equal("CDS{d=1}", xds.Ack(Cluster, later));
        Assert.Equal("", xds.Ack(Cluster, putBack));
        // The route that waits for one of them did not go out meanwhile.
        Assert.Equal("RDS{r=2}", xds.AckEach(Cluster));
        Assert.Equal("late", Assert.Single(xds.Session.Status().Single(status => status.Type == Cluster).Refusals).Name);
        Assert.Equal("", xds.Wait(1000));
        Assert.Equal("CDS{late=2}", xds.Change("CDS:late=2>late"));
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_so_it_is_in_state_of_the_world_where_one_answer_says_both()
    {
        var xds = Envoy(XdsProtocol.Sotw, "CDS:a=1 CDS:m=1 EDS:a=1");
        Assert.Equal("CDS{a=1,b=1,late=1,m=2}", xds.Change("CDS:b=1 CDS:late=1 CDS:m=2"));
        Assert.Equal("CDS{a=1,m=1}", xds.Wait(16.1));
        var answer = xds.Ask(Cluster, nonce: xds.Nonce(Cluster), version: SessionDriver.Version(xds.Last(Cluster)), error: LateRing);
        Assert.Equal("CDS{a=1,b=1,m=2}", answer);
        // The words may be about what it was before: it is heard once more.
        Assert.Equal("CDS{a=1,b=1,late=1,m=2}", xds.Ack(Cluster));
        Assert.Equal("CDS{a=1,b=1,m=2}", xds.Nack(Cluster, LateRing));
        Assert.Equal("", xds.Ack(Cluster));
        Assert.Equal("late", Assert.Single(xds.Session.Status().Single(status => status.Type == Cluster).Refusals).Name);
        Assert.Equal("", xds.Wait(1000));
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_where_the_refusal_is_lost_each_of_what_was_put_back_is_tried_alone()
    {
        var xds = Envoy(XdsProtocol.Sotw, "CDS:a=1 EDS:a=1");
        xds.Change("CDS:b=1 CDS:late=1");
        Assert.Equal("CDS{a=1}", xds.Wait(16.1));
        Assert.Equal("CDS{a=1,b=1}", xds.Ack(Cluster));
        Assert.Equal("CDS{a=1,b=1,late=1}", xds.Ack(Cluster));
        Assert.Equal("CDS{a=1,b=1}", xds.Nack(Cluster, LateRing));
        Assert.Equal("", xds.Ack(Cluster));
        Assert.Equal("late", Assert.Single(xds.Session.Status().Single(status => status.Type == Cluster).Refusals).Name);
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_clusters_that_are_only_slow_are_put_back_once_and_one_that_is_alone_never()
    {
        var xds = Envoy("CDS:a=1 EDS:a=1");
        xds.Change("CDS:dns=1 CDS:slow=1");
        var first = xds.Last(Cluster);
        Assert.Equal("CDS{}-{dns,slow}", xds.Wait(16.1));
        var putBack = xds.Last(Cluster);
        Assert.Equal("CDS{dns=1,slow=1}", xds.Ack(Cluster, first));
        Assert.Equal("", xds.Ack(Cluster, putBack));
        Assert.Equal("", xds.Wait(1000));
        Assert.Equal("", xds.Ack(Cluster));
        Assert.Equal("CDS{alone=1}", xds.Change("CDS:alone=1"));
        Assert.Equal("", xds.Wait(1000));
        Assert.Null(xds.Session.Deadline);
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_what_a_client_holds_from_an_earlier_stream_is_not_put_back()
    {
        var xds = SessionDriver.Delta().With("CDS:a=2 CDS:b=2 CDS:new=1 CDS:newer=1");
        Assert.Equal("CDS{a=2,b=2,new=1,newer=1}", xds.Ask(Cluster, holds: "a=1 b=1"));
        Assert.Equal("CDS{}-{new,newer}", xds.Wait(16.1));
    }

    private const string CannotBind = "Error adding/updating listener(s) m: cannot bind '127.0.0.1:1': Address already in use\n";

    [Theory]
    [InlineData(XdsProtocol.Delta)]
    [InlineData(XdsProtocol.Sotw)]
    public void A_listener_that_could_not_be_bound_is_tried_again_after_5_s_and_then_after_twice_as_long_up_to_a_minute(
        XdsProtocol protocol
    )
    {
        var delta = protocol == XdsProtocol.Delta;
        var xds = Envoy(protocol, "LDS:l=1");
        xds.Change("LDS:m=1");
        foreach (var seconds in (double[])[5, 10, 20, 40, 60, 60])
        {
            xds.Nack(Listener, CannotBind);
            xds.AckAll();
            Assert.Equal("m", Assert.Single(xds.Session.Status().Single(status => status.Type == Listener).Refusals).Name);
            Assert.Equal(xds.Now + TimeSpan.FromSeconds(seconds), xds.Session.Deadline);
            Assert.Equal("", xds.Wait(seconds - 0.1));
            Assert.Equal(delta ? "LDS{m=1}" : "LDS{l=1,m=1}", xds.Wait(0.2));
        }

        Assert.Equal("", xds.Ack(Listener));
        Assert.Null(xds.Session.Deadline);
        Assert.Equal("", xds.Wait(1000));
    }

    [Theory]
    [InlineData("Error adding/updating listener(s) m: 'm' has duplicate address '0.0.0.0:1' as existing listener", "")]
    [InlineData("Error adding/updating listener(s) m: cannot bind '127.0.0.1:1': Permission denied", "")]
    [InlineData(CannotBind, "LDS:m")]
    [InlineData(CannotBind, "LDS:m=2")]
    public void A_refused_listener_is_not_tried_again_for_another_reason_nor_once_it_is_gone_or_corrected(string text, string change)
    {
        var xds = Envoy("LDS:l=1");
        xds.Change("LDS:m=1");
        xds.Nack(Listener, text);
        xds.AckAll();
        xds.Change(change);
        xds.AckAll();
        Assert.Equal("", xds.Wait(1000));
        Assert.Null(xds.Session.Deadline);
    }

    [Fact]
    public void A_corrected_listener_that_cannot_be_bound_either_is_tried_again_as_soon_as_a_new_one()
    {
        var xds = Envoy("LDS:l=1");
        xds.Change("LDS:m=1");
        xds.Nack(Listener, CannotBind);
        xds.AckAll();
        xds.Wait(5.1);
        xds.Nack(Listener, CannotBind);
        xds.AckAll();
        xds.Change("LDS:m=2");
        xds.Nack(Listener, CannotBind);
        xds.AckAll();
        Assert.Equal("LDS{m=2}", xds.Wait(5.1));
    }

    [Fact]
    public void A_listener_that_was_refused_while_its_secret_was_bad_is_sent_again_after_the_secret_was_corrected()
    {
        var xds = Envoy(XdsProtocol.Delta, "LDS:l=1 SDS:s=1 SDS:t=1");
        xds.Ask(Secret, "s t");
        xds.AckAll();
        xds.Change("LDS:m=1>$s");
        xds.Nack(Listener, "Error adding/updating listener(s) m: Failed to load certificate chain from s");
        xds.AckAll();
        Assert.Equal("SDS{t=2}", xds.Change("SDS:t=2"));
        Assert.Equal("SDS{s=2} LDS{m=1}", xds.Change("SDS:s=2"));
    }

    [Fact]
    [Trait("Rule", "O-02")]
    public void O02_the_assignment_of_a_cluster_that_is_held_back_is_not_taken_away_before_it()
    {
        var xds = Envoy("CDS:a=1 CDS:b=1 EDS:a=1 LDS:l=1>r RDS:r=1>a");
        Assert.Equal("RDS{r=2}", xds.Change("CDS:a EDS:a RDS:r=2>b"));
        Assert.Equal("CDS{}-{a} EDS{}-{a}", xds.Ack(Route));
    }

    [Fact]
    [Trait("Rule", "O-02")]
    public void O02_a_cluster_that_nothing_used_goes_at_once()
    {
        var xds = Envoy("CDS:a=1 CDS:b=1 EDS:a=1 LDS:l=1>r RDS:r=1>a");
        Assert.Equal("CDS{}-{b}", xds.Change("CDS:b"));
    }

    [Fact]
    [Trait("Rule", "O-03")]
    public void O03_an_assignment_follows_its_cluster_at_once_an_empty_one_included_and_is_never_gated()
    {
        var xds = Envoy("CDS:a=1 EDS:a=1 LDS:l=1>r RDS:r=1>a");
        Assert.Equal("CDS{b=1}", xds.Change("CDS:b=1 EDS:b="));
        Assert.Equal("EDS{b=}", xds.Ask(Endpoints, "b"));
        Assert.Equal("LDS{m=1}", xds.Change("LDS:m=1>q RDS:q=1>b"));
        // The listener's first route table is not held although its cluster is not acknowledged: Envoy asks for it before it acknowledges the listener.
        Assert.Equal("RDS{q=1}", xds.Ask(Route, "q"));
    }

    [Fact]
    [Trait("Rule", "O-04")]
    public void O04_a_response_is_of_one_snapshot_whatever_was_merged_before_it()
    {
        var xds = Envoy("CDS:a=1 CDS:b=1 EDS:a=1");
        var first = SnapshotChange.Make(xds.Snapshot, 10, [xds.Make(Cluster, "a", "2"), xds.Make(Cluster, "b", "2")], []);
        var second = SnapshotChange.Make(first.After, 11, [xds.Make(Cluster, "a", "3"), xds.Make(Cluster, "b", "3")], []);
        xds.Session.Apply(first);
        // The snapshot has gone on, and the news of it is on its way.
        var response = xds.Session.Compose(second.After, xds.Now)!;
        Assert.Equal("CDS{a=2,b=2}", xds.Describe(response));
        _ = xds.Session.Compose(second.After, xds.Now);
        xds.Session.Apply(second);
        Assert.Equal("CDS{a=3,b=3}", xds.Describe(xds.Session.Compose(second.After, xds.Now)!));
    }

    [Fact]
    [Trait("Rule", "O-07")]
    public void O07_a_gate_opens_after_sixteen_seconds_without_the_answer_and_is_visible_until_then()
    {
        var xds = Envoy("CDS:a=1 EDS:a=1 LDS:l=1>r RDS:r=1>a");
        Assert.Equal("CDS{b=1}", xds.Change("CDS:b=1 EDS:b=1 RDS:r=2>b"));
        var gate = Assert.Single(xds.Session.Status().Single(status => status.Type == Route).Gates);
        Assert.Equal(("r", Cluster, "b", xds.Now), (gate.Name, gate.WaitsFor, gate.Because, gate.Since));
        Assert.Equal(xds.Now + DiscoverySession.GateLimit, xds.Session.Deadline);
        Assert.Equal("", xds.Wait(15.9));
        Assert.Equal("RDS{r=2}", xds.Wait(0.2));
        Assert.Empty(xds.Session.Status().Single(status => status.Type == Route).Gates);
        Assert.Null(xds.Session.Deadline);
    }

    [Fact]
    [Trait("Rule", "O-07")]
    public void O07_a_removal_waits_no_longer_than_sixteen_seconds_either()
    {
        var xds = Envoy("CDS:a=1 CDS:b=1 EDS:a=1 LDS:l=1>r RDS:r=1>a");
        Assert.Equal("RDS{r=2}", xds.Change("CDS:a RDS:r=2>b"));
        Assert.Equal("", xds.Wait(15));
        Assert.Equal("CDS{}-{a}", xds.Wait(1.1));
    }

    [Fact]
    [Trait("Rule", "O-07")]
    public void O07_a_listener_with_inline_routes_waits_like_RDS_and_so_does_one_that_moves_to_another_route_table()
    {
        var xds = Envoy("CDS:a=1 EDS:a=1 LDS:l=1>@a LDS:m=1>r RDS:r=1>a");
        Assert.Equal("CDS{b=1}", xds.Change("CDS:b=1 EDS:b=1 LDS:l=2>@b LDS:m=2>q RDS:q=1>b"));
        Assert.Equal("LDS{l=2,m=2}", xds.Ack(Cluster));
    }

    [Fact]
    [Trait("Rule", "O-07")]
    public void O07_a_modified_cluster_gates_nothing_for_it_serves_all_the_time()
    {
        var xds = Envoy("CDS:a=1 EDS:a=1 LDS:l=1>r RDS:r=1>a");
        Assert.Equal("CDS{a=2} EDS{a=1} RDS{r=2}", xds.Change("CDS:a=2 RDS:r=2>a"));
    }

    [Fact]
    [Trait("Rule", "O-07")]
    [Trait("Rule", "G-01")]
    public void G01_O07_a_client_that_asks_for_clusters_by_name_is_told_its_route_first()
    {
        // A gRPC client asks for a cluster because the route names it: a gate would wait for itself.
        var xds = SessionDriver.Sotw().With("LDS:svc=1>r RDS:r=1>a CDS:a=1 CDS:b=1 EDS:a=1 EDS:b=1");
        Assert.Equal("LDS{svc=1}", xds.Ask(Listener, "svc"));
        xds.Ack(Listener);
        Assert.Equal("RDS{r=1}", xds.Ask(Route, "r"));
        xds.Ack(Route);
        Assert.Equal("CDS{a=1}", xds.Ask(Cluster, "a"));
        xds.Ack(Cluster);
        Assert.Equal("EDS{a=1}", xds.Ask(Endpoints, "a"));
        xds.Ack(Endpoints);
        Assert.Equal("RDS{r=2}", xds.Change("RDS:r=2>b"));
    }

    [Fact]
    [Trait("Rule", "G-03")]
    public void G03_a_named_resource_is_left_out_only_if_it_is_deleted()
    {
        var xds = SessionDriver.Sotw().With("LDS:svc=1 LDS:other=1 CDS:a=1 CDS:b=1");
        xds.Ask(Listener, "svc");
        xds.Ask(Cluster, "a b");
        xds.AckAll();
        Assert.Equal("CDS{a=2,b=1}", xds.Change("CDS:a=2"));
        Assert.Equal("CDS{b=1}", xds.Change("CDS:a"));
        Assert.Equal("LDS{}", xds.Change("LDS:svc LDS:other=2"));
    }

    [Fact]
    [Trait("Rule", "G-04")]
    public void G04_one_bad_resource_holds_up_none_of_the_others()
    {
        var xds = SessionDriver.Sotw().With("CDS:a=1 CDS:b=1 CDS:c=1");
        xds.Ask(Cluster, "a b c");
        xds.Ack(Cluster);
        xds.Change("CDS:a=2 CDS:b=bad CDS:c=2");
        Assert.Equal("CDS{a=2,b=1,c=2}", xds.Nack(Cluster, "Error adding/updating cluster(s) b: LB policy is not supported"));
        Assert.Equal("", xds.Ack(Cluster));
        Assert.Equal(DeliveryState.Acked, xds.Session.DeliveryOf(Cluster, "c", xds.Snapshot).State);
    }

    [Fact]
    public void A_cluster_stays_while_a_route_that_uses_it_is_in_force_because_its_successor_was_refused()
    {
        var xds = Envoy("CDS:a=1 CDS:b=1 EDS:a=1 LDS:l=1>r RDS:r=1>a");
        xds.Change("RDS:r=bad>b CDS:a");
        xds.Nack(Route, "invalid route");
        Assert.Equal("", xds.Wait(60));
        Assert.Equal("RDS{r=3}", xds.Change("RDS:r=3>b"));
        Assert.Equal("CDS{}-{a}", xds.Ack(Route));
    }

    [Fact]
    public void A_listener_that_stays_because_its_successor_was_refused_keeps_only_the_clusters_of_its_own_route_table()
    {
        var xds = Envoy("CDS:a=1 CDS:b=1 EDS:a=1 LDS:l=1>r RDS:r=1>a");
        xds.Change("LDS:l=bad>r");
        xds.Nack(Listener, "Error adding/updating listener(s) l: no");
        Assert.Equal("CDS{}-{b}", xds.Change("CDS:b"));
        Assert.Equal("", xds.Change("CDS:a"));
        Assert.Equal("LDS{}-{l}", xds.Change("LDS:l"));
        Assert.Equal("CDS{}-{a}", xds.Ack(Listener));
    }

    [Theory]
    [Trait("Rule", "D-33")]
    [InlineData(XdsProtocol.Delta)]
    [InlineData(XdsProtocol.Sotw)]
    public void D33_where_the_text_names_no_resource_the_bad_one_is_found_by_halves(XdsProtocol protocol)
    {
        var xds = new SessionDriver(protocol).With("RDS:a=1 RDS:b=1 RDS:c=1 RDS:d=1");
        xds.Ask(Route, "a b c d");
        xds.Ack(Route);
        xds.Change("RDS:a=2 RDS:b=2 RDS:c=bad RDS:d=2");
        const string Text = "Only a single wildcard domain is permitted";
        Assert.Equal("RDS{a=2,b=2}", xds.Nack(Route, Text));
        Assert.Empty(xds.LastAnswer.Names);
        Assert.Equal("RDS{c=bad,d=2}", xds.Ack(Route));
        Assert.Equal("RDS{c=bad}", xds.Nack(Route, Text));
        Assert.Equal("RDS{d=2}", xds.Nack(Route, Text));
        Assert.Equal(["c"], xds.LastAnswer.Names);
        Assert.Equal("", xds.Ack(Route));
        Assert.Equal("c", Assert.Single(xds.Session.Status().Single().Refusals).Name);
        Assert.Equal(DeliveryState.Nacked, xds.Session.DeliveryOf(Route, "c", xds.Snapshot).State);
        Assert.Equal(DeliveryState.Acked, xds.Session.DeliveryOf(Route, "d", xds.Snapshot).State);
        Assert.Equal("RDS{c=3}", xds.Change("RDS:c=3"));
    }

    [Theory]
    [Trait("Rule", "D-33")]
    [InlineData(XdsProtocol.Delta, "CDS{a=2,b=2}", "CDS{c=2,d=bad}", "CDS{c=2}", "CDS{d=bad}", "CDS{d=1}")]
    [InlineData(
        XdsProtocol.Sotw,
        "CDS{a=2,b=2,c=1,d=1}",
        "CDS{a=2,b=2,c=2,d=bad}",
        "CDS{a=2,b=2,c=2,d=1}",
        "CDS{a=2,b=2,c=2,d=bad}",
        "CDS{a=2,b=2,c=2,d=1}"
    )]
    public void D33_so_is_a_cluster_that_blocks_a_whole_response(
        XdsProtocol protocol,
        string first,
        string second,
        string third,
        string fourth,
        string back
    )
    {
        var xds = new SessionDriver(protocol).With("CDS:a=1 CDS:b=1 CDS:c=1 CDS:d=1");
        xds.Ask(Cluster);
        xds.Ack(Cluster);
        xds.Change("CDS:a=2 CDS:b=2 CDS:c=2 CDS:d=bad");
        const string Text = "Proto constraint validation failed (ClusterValidationError.ConnectTimeout: value must be greater than 0s)";
        Assert.Equal(first, xds.Nack(Cluster, Text));
        Assert.Equal(second, xds.Ack(Cluster));
        Assert.Equal(third, xds.Nack(Cluster, Text));
        Assert.Equal(fourth, xds.Ack(Cluster));
        Assert.Equal(back, xds.Nack(Cluster, Text));
        Assert.Equal("", xds.Ack(Cluster));
        Assert.Equal("d", Assert.Single(xds.Session.Status().Single().Refusals).Name);
    }

    [Fact]
    [Trait("Rule", "D-33")]
    public void D33_the_dump_of_a_broken_constraint_names_the_resource_before_it_is_cut_away()
    {
        var xds = SessionDriver.Delta().With("SDS:a=1 SDS:b=1");
        xds.Ask(Secret, "a b");
        xds.Ack(Secret);
        xds.Change("SDS:a=2 SDS:b=bad");
        Assert.Equal(
            "SDS{a=2}",
            xds.Nack(
                Secret,
                "goo.gle/debugproto   name: \"b\" tls_certificate { private_key { inline_string: \"-----BEGIN KEY-----x\" } } Proto constraint validation failed (X: y)"
            )
        );
        Assert.Equal(["b"], xds.LastAnswer.Names);
        Assert.Equal("Proto constraint validation failed (X: y)", xds.LastAnswer.Text);
    }

    [Fact]
    [Trait("Rule", "D-33")]
    public void D33_a_change_in_the_middle_of_the_search_is_pushed_and_does_not_disturb_it()
    {
        var xds = SessionDriver.Delta().With("RDS:a=1 RDS:b=1 RDS:other=1");
        xds.Ask(Route, "a b other");
        xds.Ack(Route);
        xds.Change("RDS:a=bad RDS:b=2");
        Assert.Equal("RDS{a=bad}", xds.Nack(Route, "no"));
        var trial = xds.Last(Route);
        Assert.Equal("RDS{other=2}", xds.Change("RDS:other=2"));
        Assert.Equal("RDS{b=2}", xds.Nack(Route, "no", trial));
        Assert.Equal("", xds.AckAll(Route));
        Assert.Equal("a", Assert.Single(xds.Session.Status().Single().Refusals).Name);
    }

    [Fact]
    [Trait("Rule", "T-07")]
    public void T07_what_is_said_about_one_type_says_nothing_about_another()
    {
        var xds = Envoy("CDS:a=1 EDS:a=1 LDS:l=1 RDS:r=1");
        Assert.Equal("CDS{a=bad} EDS{a=1} LDS{l=2}", xds.Change("CDS:a=bad LDS:l=2"));
        Assert.Equal("CDS{a=1} EDS{a=1}", xds.Nack(Cluster));
        Assert.Equal("", xds.Ack(Listener));
        // A nonce of another type is stale, and its names count (D-16).
        Assert.Equal("EDS{}-{x}", xds.Ask(Endpoints, "x", nonce: xds.Nonce(Cluster)));
        Assert.Equal(AnswerKind.Stale, xds.LastAnswer.Kind);
        Assert.Equal("EDS{a=2}", xds.Change("EDS:a=2"));
    }

    [Theory]
    [Trait("Rule", "T-15")]
    [InlineData(XdsProtocol.Delta)]
    [InlineData(XdsProtocol.Sotw)]
    public void T15_a_stream_that_opens_with_EDS_is_answered_at_once(XdsProtocol protocol)
    {
        var xds = new SessionDriver(protocol).With("CDS:a=1 EDS:a=1 LDS:l=1>r RDS:r=1>a");
        Assert.Equal("EDS{a=1}", xds.Ask(Endpoints, "a"));
        Assert.Equal("RDS{r=1}", xds.Ask(Route, "r"));
        Assert.Equal("LDS{l=1}", xds.Ask(Listener));
        // CDS comes when the warming is over; what it brings may be new to the client, so the endpoints follow once more.
        Assert.Equal("CDS{a=1} EDS{a=1}", xds.Ask(Cluster));
    }

    [Fact]
    [Trait("Rule", "V-02")]
    [Trait("Rule", "V-01")]
    public void V01_V02_every_response_has_a_nonce_of_its_own_although_its_version_is_not()
    {
        var xds = SessionDriver.Sotw().With("EDS:a=1 CDS:a=1");
        xds.Ask(Cluster);
        xds.Ask(Endpoints, "a");
        xds.Ask(Endpoints, "", nonce: xds.Nonce(Endpoints));
        xds.Ask(Endpoints, "a", nonce: xds.Nonce(Endpoints));
        Assert.Equal(3, xds.Responses.Count);
        Assert.Equal(xds.Responses[1].Version, xds.Responses[2].Version);
        Assert.Equal(3, xds.Responses.Select(response => response.Nonce).Distinct().Count());
        Assert.All(xds.Responses, response => Assert.True(response.Nonce > 0));
    }

    [Fact]
    [Trait("Rule", "P-06")]
    public void P06_CDS_unanswered_for_a_second_while_other_types_answer_is_warming_and_says_what_is_missing()
    {
        var xds = Envoy("CDS:a=1 EDS:a=1 LDS:l=1 RDS:r=1");
        xds.Change("CDS:b=1>b CDS:c=1>c CDS:static=1 EDS:c=1 RDS:r=2");
        var since = xds.Now;
        xds.Ask(Endpoints, "c");
        xds.Wait(0.9);
        Assert.Null(xds.Session.WarmingAt(xds.Now));
        xds.Ack(Route);
        xds.Wait(0.2);
        var warming = xds.Session.WarmingAt(xds.Now)!;
        Assert.Equal(since, warming.Since);
        Assert.Equal(["b"], warming.EndpointsMissing);
        Assert.False(warming.SuspectedFailure);
        xds.Wait(16);
        Assert.True(xds.Session.WarmingAt(xds.Now)!.SuspectedFailure);
        xds.AckEach(Cluster);
        Assert.Null(xds.Session.WarmingAt(xds.Now));
    }

    [Fact]
    public void Acknowledgements_that_Envoy_collected_while_a_cluster_warmed_are_all_taken()
    {
        var xds = Envoy("CDS:a=1 EDS:a=1");
        for (var i = 2; i < 60; i++)
        {
            xds.Change($"CDS:a={i}");
        }

        foreach (var response in xds.Responses.Where(response => response.Type == Cluster).Skip(1).ToList())
        {
            xds.Ack(Cluster, response);
        }

        Assert.Equal(0, xds.Session.Status().Single(status => status.Type == Cluster).Unanswered);
        Assert.Equal(DeliveryState.Acked, xds.Session.DeliveryOf(Cluster, "a", xds.Snapshot).State);
    }

    [Fact]
    public void A_refusal_that_comes_late_corrects_what_later_responses_took_for_granted()
    {
        var xds = SessionDriver.Delta().With("CDS:a=1");
        xds.Ask(Cluster);
        xds.Ack(Cluster);
        xds.Change("CDS:a=bad");
        var bad = xds.Last(Cluster);
        xds.Change("CDS:a=worse");
        Assert.Equal("", xds.Nack(Cluster, response: bad));
        Assert.Equal("CDS{a=1}", xds.Nack(Cluster));
    }

    [Fact]
    public void A_node_that_moves_to_another_view_is_sent_the_difference_in_order()
    {
        var other = SessionDriver.Delta().With("CDS:b=1 EDS:b=1 RDS:r=2>b");
        var xds = Envoy("CDS:a=1 EDS:a=1 RDS:r=1>a");
        foreach (var name in (string[])["a", "b"])
        {
            xds.Make(Cluster, name, "1");
        }

        xds.Make(Endpoints, "b", "1");
        xds.Make(Route, "r", "2");
        Assert.Equal("CDS{b=1}", xds.Move(other));
        xds.Ask(Endpoints, "b");
        Assert.Equal("RDS{r=2}", xds.Ack(Cluster));
        Assert.Equal("CDS{}-{a} EDS{}-{a}", xds.Ack(Route));
    }
}
