using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using static ControlPlane.Core.Snapshots.ResourceType;

namespace ControlPlane.Core.Tests.Discovery;

/// <summary>Delta, rule by rule.</summary>
public sealed class DeltaProtocolTests
{
    private readonly SessionDriver _xds = SessionDriver.Delta();

    [Fact]
    [Trait("Rule", "D-01")]
    public void D01_a_first_message_without_names_asks_for_everything_of_CDS_and_LDS_and_for_nothing_of_VHDS()
    {
        _xds.With("CDS:a=1 CDS:b=1 LDS:l=1 VHDS:r/x=1");
        Assert.Equal("CDS{a=1,b=1}", _xds.Ask(Cluster));
        Assert.Equal("LDS{l=1}", _xds.Ask(Listener));
        Assert.Equal("", _xds.Ask(VirtualHost));
        Assert.Equal("VHDS{r/x=1}", _xds.Ask(VirtualHost, "r/x"));
    }

    [Fact]
    [Trait("Rule", "D-02")]
    public void D02_a_star_asks_for_everything_new_resources_included()
    {
        _xds.With("CDS:a=1 EDS:a=1");
        Assert.Equal("CDS{a=1}", _xds.Ask(Cluster, "*"));
        Assert.Equal("CDS{b=1}", _xds.Change("CDS:b=1"));
        Assert.Equal("EDS{a=1}", _xds.Ask(Endpoints, "*"));
        Assert.Equal("EDS{b=1}", _xds.Change("EDS:b=1"));
    }

    [Fact]
    [Trait("Rule", "D-03")]
    public void D03_names_are_delivered_and_add_up()
    {
        _xds.With("EDS:a=1 EDS:b=1");
        Assert.Equal("EDS{a=1}", _xds.Ask(Endpoints, "a"));
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "b"));
        Assert.Equal("EDS{a=2,b=2}", _xds.Change("EDS:a=2 EDS:b=2"));
    }

    [Fact]
    [Trait("Rule", "D-04")]
    public void D04_a_name_that_does_not_exist_is_reported_removed_at_once()
    {
        _xds.With("EDS:a=1 CDS:a=1");
        Assert.Equal("EDS{a=1}-{none}", _xds.Ask(Endpoints, "a none"));
        Assert.Equal("CDS{}-{none}", _xds.Ask(Cluster, "none"));
        Assert.Equal("RDS{}-{none}", _xds.Ask(Route, "none"));
    }

    [Fact]
    [Trait("Rule", "D-05")]
    public void D05_it_stays_subscribed_and_is_delivered_when_it_is_created()
    {
        _xds.Ask(Endpoints, "later");
        _xds.Ack(Endpoints);
        Assert.Equal("EDS{later=1}", _xds.Change("EDS:later=1"));
    }

    [Fact]
    [Trait("Rule", "D-06")]
    public void D06_changes_are_pushed()
    {
        _xds.With("RDS:r=1").Ask(Route, "r");
        Assert.Equal("RDS{r=2}", _xds.Change("RDS:r=2"));
    }

    [Fact]
    [Trait("Rule", "D-07")]
    public void D07_of_twenty_only_the_one_that_changed_is_sent()
    {
        _xds.With(string.Join(' ', Enumerable.Range(0, 20).Select(i => $"CDS:c{i}=1"))).Ask(Cluster);
        Assert.Equal("CDS{c7=2}", _xds.Change("CDS:c7=2"));
    }

    [Fact]
    [Trait("Rule", "D-08")]
    public void D08_a_deletion_is_reported()
    {
        _xds.With("CDS:a=1 CDS:b=1 EDS:x=1").Ask(Cluster);
        _xds.Ask(Endpoints, "x");
        Assert.Equal("CDS{}-{a}", _xds.Change("CDS:a"));
        Assert.Equal("EDS{}-{x}", _xds.Change("EDS:x"));
    }

    [Fact]
    [Trait("Rule", "D-09")]
    public void D09_a_removed_name_stays_subscribed()
    {
        _xds.With("EDS:a=1 CDS:a=1").Ask(Endpoints, "a");
        _xds.Change("EDS:a");
        Assert.Equal("EDS{a=1}", _xds.Change("EDS:a=1"));
    }

    [Fact]
    [Trait("Rule", "D-10")]
    public void D10_an_unsubscribed_name_is_no_longer_pushed_and_needs_no_answer()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a b");
        Assert.Equal("", _xds.Ask(Endpoints, "-b"));
        Assert.Equal("EDS{a=2}", _xds.Change("EDS:a=2 EDS:b=2"));
        Assert.Equal("", _xds.Change("EDS:b"));
    }

    [Fact]
    [Trait("Rule", "D-11")]
    public void D11_unsubscribing_from_what_was_never_held_is_ignored()
    {
        _xds.With("EDS:a=1").Ask(Endpoints, "a");
        Assert.Equal("", _xds.Ask(Endpoints, "-never"));
        Assert.Equal("EDS{a=2}", _xds.Change("EDS:a=2"));
    }

    [Fact]
    [Trait("Rule", "D-12")]
    public void D12_subscribing_again_to_a_held_name_sends_it_again()
    {
        _xds.With("EDS:a=1 CDS:c=1").Ask(Endpoints, "a");
        _xds.Ack(Endpoints);
        Assert.Equal("EDS{a=1}", _xds.Ask(Endpoints, "a"));
        _xds.Ask(Cluster);
        _xds.Ack(Cluster);
        Assert.Equal("CDS{c=1}", _xds.Ask(Cluster, "c"));
    }

    [Fact]
    [Trait("Rule", "D-13")]
    public void D13_unsubscribed_and_subscribed_is_sent_again()
    {
        _xds.With("EDS:a=1").Ask(Endpoints, "a");
        _xds.Ask(Endpoints, "-a");
        Assert.Equal("EDS{a=1}", _xds.Ask(Endpoints, "a"));
    }

    [Fact]
    [Trait("Rule", "D-14")]
    public void D14_an_acknowledgement_is_not_answered()
    {
        _xds.With("CDS:a=1").Ask(Cluster);
        Assert.Equal("", _xds.Ack(Cluster));
        Assert.Equal(AnswerKind.Ack, _xds.LastAnswer.Kind);
    }

    [Fact]
    [Trait("Rule", "D-15")]
    public void D15_a_refusal_is_not_answered_with_the_same_data_and_the_next_change_is_pushed()
    {
        _xds.With("RDS:r=1").Ask(Route, "r");
        _xds.Ack(Route);
        _xds.Change("RDS:r=bad");
        Assert.Equal("", _xds.Nack(Route));
        Assert.Equal("", _xds.Change("RDS:other=1"));
        Assert.Equal("RDS{r=2}", _xds.Change("RDS:r=2"));
    }

    [Fact]
    [Trait("Rule", "D-16")]
    public void D16_subscriptions_count_even_if_the_nonce_is_stale()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a");
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "b", nonce: "4711"));
        Assert.Equal(AnswerKind.Stale, _xds.LastAnswer.Kind);
    }

    [Fact]
    [Trait("Rule", "D-17")]
    public void D17_a_request_without_a_nonce_answers_nothing_and_lists_inside_an_acknowledgement_count()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a");
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "b", nonce: _xds.Nonce(Endpoints)));
        Assert.Equal(AnswerKind.Ack, _xds.LastAnswer.Kind);
        _xds.Ask(Endpoints, "c");
        Assert.Equal(AnswerKind.None, _xds.LastAnswer.Kind);
    }

    [Fact]
    [Trait("Rule", "D-18")]
    public void D18_lists_inside_a_refusal_count()
    {
        _xds.With("EDS:a=bad EDS:b=1").Ask(Endpoints, "a");
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "b", nonce: _xds.Nonce(Endpoints), error: "no"));
    }

    [Fact]
    [Trait("Rule", "D-19")]
    public void D19_a_name_unsubscribed_under_a_wildcard_is_sent_again()
    {
        _xds.With("CDS:a=1 CDS:x=1");
        Assert.Equal("CDS{a=1,x=1}", _xds.Ask(Cluster, "* x"));
        Assert.Equal("CDS{x=1}", _xds.Ask(Cluster, "-x"));
        Assert.Equal("CDS{x=2}", _xds.Change("CDS:x=2"));
    }

    [Fact]
    [Trait("Rule", "D-20")]
    public void D20_so_it_is_reported_removed_if_it_does_not_exist()
    {
        _xds.With("CDS:a=1");
        Assert.Equal("CDS{a=1}-{x}", _xds.Ask(Cluster, "* x"));
        Assert.Equal("CDS{}-{x}", _xds.Ask(Cluster, "-x"));
    }

    [Fact]
    [Trait("Rule", "D-21")]
    public void D21_an_implicit_wildcard_stays_when_a_name_is_asked_for_later()
    {
        _xds.With("CDS:a=1").Ask(Cluster);
        Assert.Equal("CDS{}-{on-demand}", _xds.Ask(Cluster, "on-demand"));
        Assert.Equal("CDS{b=1,on-demand=1}", _xds.Change("CDS:b=1 CDS:on-demand=1"));
    }

    [Fact]
    [Trait("Rule", "D-22")]
    public void D22_without_the_star_the_names_remain_and_without_the_last_name_nothing()
    {
        _xds.With("CDS:a=1 CDS:x=1").Ask(Cluster, "* x");
        Assert.Equal("", _xds.Ask(Cluster, "-*"));
        Assert.Equal("CDS{x=2}", _xds.Change("CDS:a=2 CDS:x=2"));
        Assert.Equal("", _xds.Ask(Cluster, "-x"));
        Assert.Equal("", _xds.Change("CDS:a=3 CDS:x=3 CDS:b=1"));
    }

    [Fact]
    [Trait("Rule", "D-23")]
    public void D23_what_differs_from_the_versions_that_the_client_brings_is_sent_and_what_is_gone_is_reported()
    {
        _xds.With("CDS:a=1 CDS:b=2 CDS:c=1 EDS:a=2");
        Assert.Equal("CDS{b=2,c=1}-{gone}", _xds.Ask(Cluster, holds: "a=1 b=1 gone=1"));
        Assert.Equal("EDS{a=2}-{gone}", _xds.Ask(Endpoints, "a gone", holds: "a=1 gone=1"));
    }

    [Fact]
    [Trait("Rule", "D-24")]
    [Trait("Rule", "V-12")]
    public void D24_what_the_client_holds_unchanged_is_not_sent_again()
    {
        _xds.With("CDS:a=1 LDS:l=1 EDS:a=1 EDS:b=1 RDS:r=1");
        Assert.Equal("CDS{}", _xds.Ask(Cluster, holds: "a=1"));
        Assert.Equal("EDS{}", _xds.Ask(Endpoints, "a b", holds: "a=1 b=1"));
        Assert.Equal("LDS{}", _xds.Ask(Listener, holds: "l=1"));
        Assert.Equal("RDS{}", _xds.Ask(Route, "r", holds: "r=1"));
        Assert.Equal("EDS{b=2}", _xds.Change("EDS:b=2"));
        Assert.Equal("CDS{a=2} EDS{a=1}", _xds.Change("CDS:a=2"));
    }

    [Fact]
    [Trait("Rule", "D-25")]
    public void D25_a_wildcard_with_nothing_to_serve_is_answered_at_once()
    {
        Assert.Equal("CDS{}", _xds.Ask(Cluster));
        Assert.Equal("LDS{}", _xds.Ask(Listener, "*"));
    }

    [Fact]
    [Trait("Rule", "D-26")]
    public void D26_both_lists_of_one_request_count_and_a_name_in_both_ends_up_unsubscribed()
    {
        _xds.With("EDS:a=1 EDS:b=1 EDS:c=1").Ask(Endpoints, "a");
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "b c -a -c"));
        Assert.Equal("EDS{b=2}", _xds.Change("EDS:a=2 EDS:b=2 EDS:c=2"));
    }

    [Fact]
    [Trait("Rule", "D-27")]
    public void D27_identical_content_pushes_nothing()
    {
        _xds.With("CDS:a=1 EDS:a=1").Ask(Cluster);
        _xds.Ask(Endpoints, "a");
        Assert.Equal("", _xds.Change("CDS:a=1 EDS:a=1"));
    }

    [Fact]
    [Trait("Rule", "D-28")]
    public void D28_changes_made_while_an_answer_is_due_are_not_lost()
    {
        _xds.With("EDS:a=1").Ask(Endpoints, "a");
        var first = _xds.Last(Endpoints);
        Assert.Equal("EDS{a=2}", _xds.Change("EDS:a=2"));
        Assert.Equal("", _xds.Ack(Endpoints, first));
        Assert.Equal(DeliveryState.Pending, _xds.Session.DeliveryOf(Endpoints, "a", _xds.Snapshot).State);
        Assert.Equal("", _xds.Ack(Endpoints));
        Assert.Equal(DeliveryState.Acked, _xds.Session.DeliveryOf(Endpoints, "a", _xds.Snapshot).State);
    }

    [Fact]
    [Trait("Rule", "D-29")]
    public void D29_a_cluster_that_changes_gets_its_endpoints_again_unasked()
    {
        _xds.With("CDS:a=1 CDS:b=1 EDS:a=1 EDS:b=1").Ask(Cluster);
        _xds.Ask(Endpoints, "a b");
        _xds.AckAll();
        Assert.Equal("CDS{a=2} EDS{a=1}", _xds.Change("CDS:a=2"));
        Assert.Equal("CDS{c=1}", _xds.Change("CDS:c=1 EDS:c=1"));
        Assert.Equal("EDS{c=1}", _xds.Ask(Endpoints, "c"));
    }

    [Fact]
    [Trait("Rule", "D-30")]
    public void D30_versions_that_the_client_brings_count_in_the_first_message_of_a_type_only()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a");
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "b", holds: "b=1"));
    }

    [Fact]
    [Trait("Rule", "D-33")]
    public void D33_the_good_resources_of_a_refused_response_go_out_again_so_that_they_are_acknowledged()
    {
        _xds.Ask(Listener);
        _xds.Ack(Listener);
        _xds.Change("LDS:bad=1 LDS:good=1");
        Assert.Equal(
            "LDS{good=1}-{bad}",
            _xds.Nack(Listener, "Error adding/updating listener(s) bad: cannot bind '127.0.0.1:1': Address already in use")
        );
        Assert.Equal(["bad"], _xds.LastAnswer.Names);
        Assert.Equal("", _xds.Ack(Listener));
        Assert.Equal(DeliveryState.Acked, _xds.Session.DeliveryOf(Listener, "good", _xds.Snapshot).State);
        Assert.Equal(DeliveryState.Nacked, _xds.Session.DeliveryOf(Listener, "bad", _xds.Snapshot).State);
        Assert.Equal("LDS{}-{good}", _xds.Change("LDS:good"));
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_after_a_refusal_the_bad_cluster_is_removed_if_it_was_new_and_else_put_back()
    {
        _xds.With("CDS:old=1").Ask(Cluster);
        _xds.Ack(Cluster);
        _xds.Change("CDS:old=bad");
        Assert.Equal("CDS{old=1}", _xds.Nack(Cluster, "Error adding/updating cluster(s) old: ring hash: minimum_ring_size"));
        _xds.Ack(Cluster);
        _xds.Change("CDS:new=bad");
        Assert.Equal("CDS{}-{new}", _xds.Nack(Cluster, "Error adding/updating cluster(s) new: ring hash: minimum_ring_size"));
        Assert.Equal("", _xds.Ack(Cluster));
        Assert.Equal("CDS{good=1}", _xds.Change("CDS:good=1"));
        Assert.Equal("CDS{new=2}", _xds.Change("CDS:new=2"));
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_a_bad_cluster_that_is_deleted_leaves_nothing_behind()
    {
        _xds.With("CDS:old=1").Ask(Cluster);
        _xds.Ack(Cluster);
        _xds.Change("CDS:old=bad CDS:new=bad");
        Assert.Equal("CDS{old=1}-{new}", _xds.Nack(Cluster, "Error adding/updating cluster(s) old: no, new: no"));
        _xds.Ack(Cluster);
        Assert.Equal("", _xds.Change("CDS:new"));
        Assert.Equal("CDS{}-{old}", _xds.Change("CDS:old"));
    }

    [Fact]
    [Trait("Rule", "G-11")]
    public void G11_the_order_of_the_parameters_of_an_xdstp_name_does_not_matter_and_names_are_echoed_as_sent()
    {
        const string Configured = "xdstp://authority/envoy.config.route.v3.RouteConfiguration/r?k=v&b=c";
        const string Asked = "xdstp://authority/envoy.config.route.v3.RouteConfiguration/r?b=c&k=v";
        const string Missing = "xdstp://other/envoy.config.route.v3.RouteConfiguration/r?z=1&a=1";
        var resource = _xds.Make(Route, Configured, "1");
        var change = SnapshotChange.Make(_xds.Snapshot, 1, [resource], []);
        var session = new DiscoverySession(XdsProtocol.Delta, new NonceSequence());
        session.Handle(Route, new ClientRequest { Names = [Asked, Missing] }, change.After, _xds.Now);
        var response = session.Compose(change.After, _xds.Now)!;
        Assert.Equal(Configured, Assert.Single(response.Resources).Name);
        Assert.Equal(Missing, Assert.Single(response.Removed));
    }
}
