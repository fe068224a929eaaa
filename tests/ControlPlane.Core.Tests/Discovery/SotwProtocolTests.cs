using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using static ControlPlane.Core.Snapshots.ResourceType;

namespace ControlPlane.Core.Tests.Discovery;

/// <summary>State of the world, rule by rule.</summary>
public sealed class SotwProtocolTests
{
    private readonly SessionDriver _xds = SessionDriver.Sotw();

    [Fact]
    [Trait("Rule", "S-01")]
    public void S01_a_first_request_without_names_is_answered_with_everything()
    {
        _xds.With("CDS:a=1 CDS:b=1 LDS:l=1");
        Assert.Equal("CDS{a=1,b=1}", _xds.Ask(Cluster));
        Assert.Equal("LDS{l=1}", _xds.Ask(Listener));
    }

    [Theory]
    [Trait("Rule", "S-02")]
    [InlineData("*")]
    [InlineData("* a")]
    [InlineData("a *")]
    public void S02_a_star_means_everything_alone_or_beside_names(string names)
    {
        _xds.With("CDS:a=1 CDS:b=1");
        Assert.Equal("CDS{a=1,b=1}", _xds.Ask(Cluster, names));
    }

    [Fact]
    [Trait("Rule", "S-03")]
    public void S03_a_new_resource_reaches_a_wildcard_in_a_complete_response()
    {
        _xds.With("CDS:a=1").Ask(Cluster);
        _xds.Ack(Cluster);
        Assert.Equal("CDS{a=1,b=1}", _xds.Change("CDS:b=1"));
    }

    [Fact]
    [Trait("Rule", "S-04")]
    public void S04_names_that_exist_are_delivered_whatever_the_type()
    {
        _xds.With("CDS:a=1 CDS:b=1 EDS:a=1 LDS:l=1 RDS:r=1");
        Assert.Equal("CDS{a=1}", _xds.Ask(Cluster, "a"));
        Assert.Equal("EDS{a=1}", _xds.Ask(Endpoints, "a"));
        Assert.Equal("LDS{l=1}", _xds.Ask(Listener, "l"));
        Assert.Equal("RDS{r=1}", _xds.Ask(Route, "r"));
    }

    [Fact]
    [Trait("Rule", "S-05")]
    public void S05_nothing_but_what_was_asked_for_is_delivered()
    {
        _xds.With("EDS:a=1 EDS:b=1");
        Assert.Equal("EDS{a=1}", _xds.Ask(Endpoints, "a"));
        Assert.Equal("", _xds.Change("EDS:b=2 EDS:c=1"));
    }

    [Fact]
    [Trait("Rule", "S-06")]
    public void S06_every_response_of_CDS_and_LDS_holds_all_that_is_subscribed()
    {
        _xds.With("CDS:a=1 CDS:b=1 CDS:c=1 LDS:l=1 LDS:m=1");
        _xds.Ask(Cluster, "a b");
        _xds.Ack(Cluster);
        Assert.Equal("CDS{a=2,b=1}", _xds.Change("CDS:a=2"));
        _xds.Ask(Listener);
        _xds.Ack(Listener);
        Assert.Equal("LDS{l=1,m=2}", _xds.Change("LDS:m=2"));
    }

    [Fact]
    [Trait("Rule", "S-07")]
    public void S07_other_types_are_sent_only_what_changed()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a b");
        _xds.Ack(Endpoints);
        Assert.Equal("EDS{b=2}", _xds.Change("EDS:b=2"));
    }

    [Fact]
    [Trait("Rule", "S-08")]
    public void S08_an_acknowledgement_is_not_answered()
    {
        _xds.With("CDS:a=1 EDS:a=1");
        _xds.Ask(Cluster);
        Assert.Equal("", _xds.Ack(Cluster));
        Assert.Equal("", _xds.Ack(Cluster));
        _xds.Ask(Endpoints, "a");
        Assert.Equal("", _xds.Ack(Endpoints));
        // What Envoy does for each modified cluster: the same request once more.
        Assert.Equal("", _xds.Ack(Endpoints));
    }

    [Fact]
    [Trait("Rule", "S-09")]
    public void S09_a_refusal_is_not_answered_with_the_same_data_even_if_nothing_was_ever_accepted()
    {
        _xds.With("EDS:a=bad").Ask(Endpoints, "a");
        Assert.Equal("", _xds.Nack(Endpoints));
        Assert.Equal("", _xds.Nack(Endpoints));
        Assert.Equal("", _xds.Change("EDS:b=1"));
        Assert.Equal("", _xds.Wait(3600));
    }

    [Fact]
    [Trait("Rule", "S-09")]
    public void S09_the_same_bytes_stay_unsent_over_later_changes_until_a_different_version_exists()
    {
        _xds.With("CDS:a=1 CDS:b=1").Ask(Cluster);
        _xds.Ack(Cluster);
        Assert.Equal("CDS{a=bad,b=1}", _xds.Change("CDS:a=bad"));
        Assert.Equal("CDS{a=1,b=1}", _xds.Nack(Cluster, "Error adding/updating cluster(s) a: no"));
        _xds.Ack(Cluster);
        Assert.Equal("CDS{a=1,b=2}", _xds.Change("CDS:b=2"));
        _xds.Ack(Cluster);
        Assert.Equal("CDS{a=2,b=2}", _xds.Change("CDS:a=2"));
    }

    [Fact]
    [Trait("Rule", "S-10")]
    public void S10_an_old_version_with_the_newest_nonce_and_no_error_is_a_plain_request()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a");
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "a b", nonce: _xds.Nonce(Endpoints), version: ""));
        Assert.NotEqual(AnswerKind.Nack, _xds.LastAnswer.Kind);
    }

    [Fact]
    [Trait("Rule", "S-10")]
    public void S10_an_error_with_the_version_just_sent_accepts_that_version_and_refuses_an_earlier_one()
    {
        _xds.With("CDS:a=1").Ask(Cluster);
        _xds.Ack(Cluster);
        _xds.Change("CDS:a=bad");
        _xds.Change("CDS:a=2");
        var version = SessionDriver.Version(_xds.Last(Cluster));
        Assert.Equal("", _xds.Ask(Cluster, nonce: _xds.Nonce(Cluster), version: version, error: "Error adding/updating cluster(s) a: no"));
        Assert.Equal(AnswerKind.Ack, _xds.LastAnswer.Kind);
        Assert.Contains("a: no", _xds.LastAnswer.Text, StringComparison.Ordinal);
        Assert.Equal(DeliveryState.Acked, _xds.Session.DeliveryOf(Cluster, "a", _xds.Snapshot).State);
    }

    [Fact]
    [Trait("Rule", "S-11")]
    public void S11_names_count_in_a_refusal_and_an_error_that_is_repeated_refuses_nothing_new()
    {
        _xds.With("EDS:a=bad EDS:b=1").Ask(Endpoints, "a");
        Assert.Equal("EDS{b=1}", _xds.Nack(Endpoints, names: "a b"));
        Assert.Equal(AnswerKind.Nack, _xds.LastAnswer.Kind);
        Assert.Equal("", _xds.Ack(Endpoints));
        _xds.Change("EDS:b=2");
        var first = _xds.Last(Endpoints);
        Assert.Equal("", _xds.Nack(Endpoints, response: first));
        Assert.Equal("", _xds.Nack(Endpoints, response: first));
        Assert.Equal(AnswerKind.Stale, _xds.LastAnswer.Kind);
    }

    [Fact]
    [Trait("Rule", "S-12")]
    public void S12_the_next_version_is_pushed_after_a_refusal_and_without_any_answer()
    {
        _xds.With("EDS:a=bad").Ask(Endpoints, "a");
        _xds.Nack(Endpoints);
        Assert.Equal("EDS{a=2}", _xds.Change("EDS:a=2"));
        Assert.Equal("EDS{a=3}", _xds.Change("EDS:a=3"));
    }

    [Fact]
    [Trait("Rule", "S-13")]
    public void S13_changes_are_pushed_unasked()
    {
        _xds.With("RDS:r=1").Ask(Route, "r");
        _xds.Ack(Route);
        Assert.Equal("RDS{r=2}", _xds.Change("RDS:r=2"));
    }

    [Fact]
    [Trait("Rule", "S-14")]
    public void S14_a_name_that_is_added_is_sent_although_nothing_changed()
    {
        _xds.With("SDS:ca=1 SDS:srv=1").Ask(Secret, "ca");
        _xds.Ack(Secret);
        // Envoy's second listener of a start: nonce and version of the answer that it gave already.
        Assert.Equal("SDS{srv=1}", _xds.Ask(Secret, "srv ca", nonce: _xds.Nonce(Secret)));
    }

    [Fact]
    [Trait("Rule", "S-14")]
    public void S14_the_answer_to_an_added_name_holds_all_names_in_CDS_and_LDS()
    {
        _xds.With("CDS:a=1 CDS:b=1").Ask(Cluster, "a");
        _xds.Ack(Cluster);
        Assert.Equal("CDS{a=1,b=1}", _xds.Ask(Cluster, "a b", nonce: _xds.Nonce(Cluster)));
    }

    [Fact]
    [Trait("Rule", "S-15")]
    public void S15_a_name_that_is_dropped_is_no_longer_pushed_and_dropping_is_not_answered()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a b");
        Assert.Equal("", _xds.Ask(Endpoints, "a", nonce: _xds.Nonce(Endpoints)));
        Assert.Equal("", _xds.Change("EDS:b=2"));
        Assert.Equal("EDS{a=2}", _xds.Change("EDS:a=2"));
    }

    [Fact]
    [Trait("Rule", "S-16")]
    public void S16_a_name_that_is_dropped_and_added_again_is_sent_again()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a b");
        _xds.Ask(Endpoints, "a", nonce: _xds.Nonce(Endpoints));
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "a b", nonce: _xds.Nonce(Endpoints)));
    }

    [Fact]
    [Trait("Rule", "S-17")]
    public void S17_no_names_after_names_means_nothing_and_the_stream_goes_on()
    {
        _xds.With("CDS:a=1 EDS:a=1");
        _xds.Ask(Endpoints, "a");
        Assert.Equal("", _xds.Ask(Endpoints, nonce: _xds.Nonce(Endpoints)));
        Assert.Equal("", _xds.Change("EDS:a=2"));
        Assert.Equal("EDS{a=2}", _xds.Ask(Endpoints, "a", nonce: _xds.Nonce(Endpoints)));
        _xds.Ask(Cluster, "a");
        Assert.Equal("", _xds.Ask(Cluster, nonce: _xds.Nonce(Cluster)));
        Assert.Equal("", _xds.Change("CDS:a=2 CDS:b=1"));
    }

    [Fact]
    [Trait("Rule", "S-18")]
    public void S18_a_missing_name_is_remembered_and_pushed_when_it_is_created()
    {
        _xds.With("EDS:a=1").Ask(Endpoints, "a later");
        _xds.Ack(Endpoints);
        Assert.Equal("EDS{later=1}", _xds.Change("EDS:later=1"));
    }

    [Fact]
    [Trait("Rule", "S-19")]
    public void S19_so_it_is_when_none_of_the_names_exists_yet()
    {
        Assert.Equal("", _xds.Ask(Route, "r"));
        Assert.Equal("RDS{r=1}", _xds.Change("RDS:r=1"));
        // CDS and LDS say at once that there is none: a gRPC client reports it and takes it later all the same.
        Assert.Equal("LDS{}", _xds.Ask(Listener, "l"));
        Assert.Equal("LDS{l=1}", _xds.Change("LDS:l=1"));
    }

    [Fact]
    [Trait("Rule", "S-20")]
    public void S20_a_wildcard_with_nothing_to_serve_is_answered_at_once()
    {
        Assert.Equal("CDS{}", _xds.Ask(Cluster));
        Assert.Equal("LDS{}", _xds.Ask(Listener));
    }

    [Fact]
    [Trait("Rule", "S-21")]
    public void S21_a_deletion_is_a_complete_response_without_it_down_to_the_empty_one()
    {
        _xds.With("CDS:a=1 CDS:b=1 LDS:l=1").Ask(Cluster);
        _xds.Ack(Cluster);
        Assert.Equal("CDS{b=1}", _xds.Change("CDS:a"));
        _xds.Ack(Cluster);
        Assert.Equal("CDS{}", _xds.Change("CDS:b"));
        _xds.Ask(Listener, "l");
        Assert.Equal("LDS{}", _xds.Change("LDS:l"));
    }

    [Fact]
    [Trait("Rule", "S-22")]
    public void S22_deleted_and_created_again_is_delivered_again_and_the_deletion_of_other_types_is_silent()
    {
        _xds.With("EDS:a=1 CDS:a=1").Ask(Endpoints, "a");
        Assert.Equal("", _xds.Change("EDS:a"));
        Assert.Equal("EDS{a=1}", _xds.Change("EDS:a=1"));
        _xds.Ask(Cluster);
        _xds.AckAll();
        _xds.Change("CDS:a");
        Assert.Equal("CDS{a=1} EDS{a=1}", _xds.Change("CDS:a=1"));
    }

    [Fact]
    [Trait("Rule", "S-23")]
    public void S23_a_request_about_an_older_response_gets_none()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a");
        var old = _xds.Nonce(Endpoints);
        _xds.Change("EDS:a=2");
        Assert.Equal("", _xds.Ask(Endpoints, "a b", nonce: old));
        Assert.Equal("", _xds.Ask(Endpoints, "a b", nonce: "999"));
        Assert.Equal("", _xds.Ask(Endpoints, "a b", nonce: "garbage\u0000'--"));
        Assert.Equal(AnswerKind.Stale, _xds.LastAnswer.Kind);
    }

    [Fact]
    [Trait("Rule", "S-24")]
    public void S24_names_lost_with_a_stale_request_are_answered_with_the_next_fresh_acknowledgement()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a");
        var old = _xds.Nonce(Endpoints);
        _xds.Change("EDS:a=2");
        _xds.Ask(Endpoints, "a b", nonce: old);
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "a b", nonce: _xds.Nonce(Endpoints)));
    }

    [Fact]
    [Trait("Rule", "S-25")]
    public void S25_a_current_version_on_a_new_stream_does_not_suppress_the_answer()
    {
        _xds.With("EDS:a=1 CDS:a=1").Ask(Endpoints, "a");
        _xds.Ask(Cluster);
        var endpoints = SessionDriver.Version(_xds.Last(Endpoints));
        var clusters = SessionDriver.Version(_xds.Last(Cluster));
        _xds.Reconnect();
        Assert.Equal("EDS{a=1}", _xds.Ask(Endpoints, "a", version: endpoints));
        Assert.Equal("CDS{a=1} EDS{a=1}", _xds.Ask(Cluster, version: clusters));
    }

    [Fact]
    [Trait("Rule", "S-26")]
    public void S26_a_nonce_left_over_from_another_stream_makes_an_initial_request()
    {
        _xds.With("CDS:a=1");
        Assert.Equal("CDS{a=1}", _xds.Ask(Cluster, nonce: "17", version: "old"));
        Assert.Equal(AnswerKind.None, _xds.LastAnswer.Kind);
    }

    [Fact]
    [Trait("Rule", "S-27")]
    public void S27_staleness_is_judged_per_type()
    {
        _xds.With("CDS:a=1 EDS:a=1 EDS:b=1").Ask(Cluster);
        _xds.Ask(Endpoints, "a");
        Assert.Equal("", _xds.Ack(Cluster));
        Assert.Equal(AnswerKind.Ack, _xds.LastAnswer.Kind);
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "a b", nonce: _xds.Nonce(Endpoints)));
    }

    [Fact]
    [Trait("Rule", "S-28")]
    public void S28_the_worked_example_of_the_specification()
    {
        _xds.With("CDS:a=1 CDS:b=1");
        Assert.Equal("CDS{a=1,b=1}", _xds.Ask(Cluster));
        Assert.Equal("", _xds.Ask(Cluster, "* a", nonce: _xds.Nonce(Cluster)));
        Assert.Equal("CDS{a=1,b=2}", _xds.Change("CDS:b=2"));
        Assert.Equal("", _xds.Ask(Cluster, "a", nonce: _xds.Nonce(Cluster)));
        Assert.Equal("", _xds.Change("CDS:b=3"));
        Assert.Equal("CDS{a=2}", _xds.Change("CDS:a=2"));
        Assert.Equal("", _xds.Ask(Cluster, nonce: _xds.Nonce(Cluster)));
        Assert.Equal("", _xds.Change("CDS:a=3 CDS:b=4"));
    }

    [Fact]
    [Trait("Rule", "S-29")]
    public void S29_a_star_after_names_brings_what_was_not_sent_yet()
    {
        _xds.With("CDS:a=1 CDS:b=1 EDS:a=1 EDS:b=1").Ask(Cluster, "a");
        Assert.Equal("CDS{a=1,b=1}", _xds.Ask(Cluster, "*", nonce: _xds.Nonce(Cluster)));
        _xds.Ask(Endpoints, "a");
        Assert.Equal("EDS{b=1}", _xds.Ask(Endpoints, "* a", nonce: _xds.Nonce(Endpoints)));
    }

    [Fact]
    [Trait("Rule", "S-30")]
    public void S30_changes_made_while_an_answer_is_due_are_not_lost()
    {
        _xds.With("EDS:a=1").Ask(Endpoints, "a");
        var first = _xds.Last(Endpoints);
        Assert.Equal("EDS{a=2}", _xds.Change("EDS:a=2"));
        Assert.Equal("EDS{a=3}", _xds.Change("EDS:a=3"));
        Assert.Equal("", _xds.Ack(Endpoints, first));
        Assert.Equal("", _xds.Ack(Endpoints));
        Assert.Equal(DeliveryState.Acked, _xds.Session.DeliveryOf(Endpoints, "a", _xds.Snapshot).State);
    }

    [Fact]
    [Trait("Rule", "S-31")]
    public void S31_identical_content_pushes_nothing()
    {
        _xds.With("CDS:a=1 EDS:a=1").Ask(Cluster);
        _xds.Ask(Endpoints, "a");
        _xds.AckAll();
        Assert.Equal("", _xds.Change("CDS:a=1 EDS:a=1"));
    }

    [Fact]
    [Trait("Rule", "S-32")]
    public void S32_a_cluster_that_changes_gets_its_endpoints_again()
    {
        _xds.With("CDS:a=1 CDS:b=1 EDS:a=1 EDS:b=1").Ask(Cluster);
        _xds.Ask(Endpoints, "a b");
        _xds.AckAll();
        Assert.Equal("CDS{a=2,b=1} EDS{a=1}", _xds.Change("CDS:a=2"));
        // Envoy's own repeated request has been answered by that.
        Assert.Equal("", _xds.Ack(Endpoints));
        Assert.Equal("CDS{a=3,b=1} EDS{a=2}", _xds.Change("CDS:a=3 EDS:a=2"));
    }

    [Fact]
    [Trait("Rule", "S-32")]
    public void S32_the_endpoints_are_those_of_the_service_name()
    {
        _xds.With("CDS:a=1>shared EDS:shared=1").Ask(Cluster);
        _xds.Ask(Endpoints, "shared");
        _xds.AckAll();
        Assert.Equal("CDS{a=2} EDS{shared=1}", _xds.Change("CDS:a=2>shared"));
    }

    [Fact]
    [Trait("Rule", "S-34")]
    public void S34_the_empty_name_is_a_name_that_does_not_exist()
    {
        _xds.With("CDS:a=1 EDS:a=1");
        Assert.Equal("CDS{}", _xds.Ask(Cluster, "\"\""));
        Assert.Equal("", _xds.Change("CDS:b=1"));
        Assert.Equal("", _xds.Ask(Endpoints, "\"\""));
    }

    [Fact]
    [Trait("Rule", "D-33")]
    public void D33_the_good_resources_of_a_refused_response_go_out_again_without_the_bad_one()
    {
        _xds.With("LDS:old=1").Ask(Listener);
        _xds.Ack(Listener);
        _xds.Change("LDS:bad=1 LDS:good=1 LDS:old=2");
        Assert.Equal("LDS{good=1,old=2}", _xds.Nack(Listener, "Error adding/updating listener(s) bad: cannot bind '0.0.0.0:1'"));
        Assert.Equal(["bad"], _xds.LastAnswer.Names);
        Assert.Equal("", _xds.Ack(Listener));
        Assert.Equal("LDS{old=2}", _xds.Change("LDS:good"));
        Assert.Equal("LDS{bad=2,old=2}", _xds.Change("LDS:bad=2"));
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_after_a_refusal_the_bad_cluster_is_put_back_to_its_last_accepted_content()
    {
        _xds.With("CDS:ring=1").Ask(Cluster);
        _xds.Ack(Cluster);
        _xds.Change("CDS:ring=bad");
        Assert.Equal("CDS{ring=1}", _xds.Nack(Cluster, "Error adding/updating cluster(s) ring: ring hash: minimum > maximum"));
        Assert.Equal("", _xds.Ack(Cluster));
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_what_the_client_brought_from_an_earlier_stream_is_never_deleted_by_a_repair()
    {
        // The server cannot know what the client goes on with, so it can neither repeat nor leave out.
        _xds.With("CDS:a=bad CDS:b=1");
        Assert.Equal("CDS{a=bad,b=1}", _xds.Ask(Cluster, version: "of-an-earlier-stream"));
        Assert.Equal("", _xds.Nack(Cluster, "Error adding/updating cluster(s) a: no"));
        Assert.Equal("", _xds.Wait(60));
        Assert.Equal(DeliveryState.Nacked, _xds.Session.DeliveryOf(Cluster, "a", _xds.Snapshot).State);
        Assert.Equal("CDS{a=2,b=1}", _xds.Change("CDS:a=2"));
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_what_a_client_refused_before_its_stream_broke_is_known_by_the_version_that_it_brings()
    {
        var held = VersionOf("CDS:a=1 CDS:b=1");
        _xds.With("CDS:a=1 CDS:b=1 CDS:bad=1");
        Assert.Equal("CDS{a=1,b=1,bad=1}", _xds.Ask(Cluster, version: held));
        Assert.Equal("CDS{a=1,b=1}", _xds.Nack(Cluster, "Error adding/updating cluster(s) bad: no"));
        Assert.Equal("", _xds.Ack(Cluster));
        Assert.Equal("CDS{a=1,b=1,new=1}", _xds.Change("CDS:new=1"));
        Assert.Equal("", _xds.Ack(Cluster));
        Assert.Equal(DeliveryState.Acked, _xds.Session.DeliveryOf(Cluster, "new", _xds.Snapshot).State);
        Assert.Equal(DeliveryState.Nacked, _xds.Session.DeliveryOf(Cluster, "bad", _xds.Snapshot).State);
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_what_is_doubted_and_was_refused_before_the_stream_broke_is_tried_alone_after_the_rest()
    {
        var held = VersionOf("CDS:a=1");
        _xds.With("CDS:a=1 CDS:ring=bad?");
        Assert.Equal("CDS{a=1}", _xds.Ask(Cluster, version: held));
        Assert.Equal("CDS{a=1,ring=bad?}", _xds.Ack(Cluster));
        Assert.Equal("CDS{a=1}", _xds.Nack(Cluster, "Error adding/updating cluster(s) ring: no"));
        Assert.Equal("", _xds.Ack(Cluster));
        Assert.Equal(DeliveryState.Nacked, _xds.Session.DeliveryOf(Cluster, "ring", _xds.Snapshot).State);
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_what_has_to_be_listed_though_it_is_refused_each_time_keeps_nothing_else_back()
    {
        _xds.With("CDS:a=bad CDS:b=1");
        _xds.Ask(Cluster, version: "of-an-earlier-stream");
        _xds.Nack(Cluster, "Error adding/updating cluster(s) a: no");

        Assert.Equal("CDS{a=bad,b=1,new=1}", _xds.Change("CDS:new=1"));
        Assert.Equal("", _xds.Nack(Cluster, "Error adding/updating cluster(s) a: no"));
        Assert.Equal(DeliveryState.Acked, _xds.Session.DeliveryOf(Cluster, "new", _xds.Snapshot).State);
        Assert.Equal("CDS{a=bad,b=2,new=1}", _xds.Change("CDS:b=2"));
        Assert.Equal("", _xds.Nack(Cluster, "Error adding/updating cluster(s) a: no"));
        Assert.Equal(DeliveryState.Acked, _xds.Session.DeliveryOf(Cluster, "b", _xds.Snapshot).State);

        Assert.Equal("CDS{a=bad,b=2,new=1,worse=1}", _xds.Change("CDS:worse=1"));
        Assert.Equal("CDS{a=bad,b=2,new=1}", _xds.Nack(Cluster, "Error adding/updating cluster(s) a: no, worse: no"));
        Assert.Equal("", _xds.Nack(Cluster, "Error adding/updating cluster(s) a: no"));
        Assert.Equal("CDS{b=2,new=1}", _xds.Change("CDS:a"));
    }

    [Fact]
    [Trait("Rule", "O-08")]
    public void O08_where_a_client_takes_nothing_of_a_response_for_what_it_refused_before_the_others_wait_and_are_not_blamed()
    {
        _xds.With("CDS:a=bad");
        _xds.Ask(Cluster, version: "of-an-earlier-stream");
        _xds.Nack(Cluster, "Invalid duration: Expected positive duration");

        Assert.Equal("CDS{a=bad,new=1}", _xds.Change("CDS:new=1"));
        Assert.Equal("", _xds.Nack(Cluster, "Invalid duration: Expected positive duration"));
        Assert.Equal(DeliveryState.Pending, _xds.Session.DeliveryOf(Cluster, "new", _xds.Snapshot).State);
        Assert.Equal("", _xds.Wait(60));
        Assert.Equal("CDS{a=2,new=1}", _xds.Change("CDS:a=2"));
        Assert.Equal("", _xds.Ack(Cluster));
        Assert.Equal(DeliveryState.Acked, _xds.Session.DeliveryOf(Cluster, "new", _xds.Snapshot).State);
    }

    private static string VersionOf(string words) => SessionDriver.Version(AcceptedBy(SessionDriver.Sotw().With(words)).Last(Cluster));

    private static SessionDriver AcceptedBy(SessionDriver xds)
    {
        xds.Ask(Cluster);
        xds.Ack(Cluster);
        return xds;
    }

    [Fact]
    public void A_refusal_says_nothing_of_a_correction_that_the_stream_was_not_told_of_yet()
    {
        _xds.With("CDS:a=1").Ask(Cluster);
        _xds.Ack(Cluster);
        _xds.Change("CDS:a=bad");
        _xds.Nack(Cluster, "Error adding/updating cluster(s) a: no");

        var corrected = SessionDriver.Sotw().With("CDS:a=2").Snapshot;

        Assert.Equal(DeliveryState.Nacked, _xds.Session.DeliveryOf(Cluster, "a", _xds.Snapshot).State);
        Assert.Equal(DeliveryState.Pending, _xds.Session.DeliveryOf(Cluster, "a", corrected).State);
    }

    [Fact]
    [Trait("Rule", "V-05")]
    [Trait("Rule", "V-10")]
    [Trait("Rule", "V-11")]
    public void V05_V10_V11_the_version_is_that_of_the_content_and_differs_if_and_only_if_the_content_does()
    {
        _xds.With("CDS:a=1 CDS:b=1").Ask(Cluster);
        var other = SessionDriver.Sotw().With("CDS:b=1").With("CDS:a=1");
        other.Ask(Cluster, "a b");
        var first = SessionDriver.Version(_xds.Last(Cluster));
        Assert.NotEmpty(first);
        Assert.Equal(first, SessionDriver.Version(other.Last(Cluster)));
        _xds.Change("CDS:a=2");
        Assert.NotEqual(first, SessionDriver.Version(_xds.Last(Cluster)));
        _xds.Change("CDS:a=1");
        Assert.Equal(first, SessionDriver.Version(_xds.Last(Cluster)));
    }

    [Fact]
    [Trait("Rule", "O-06")]
    public void O06_what_was_dropped_before_it_could_be_written_is_not_sent()
    {
        _xds.With("EDS:a=1 EDS:b=1").Ask(Endpoints, "a b");
        // The changes are known but nothing could be written yet.
        var change = SnapshotChange.Make(_xds.Snapshot, 3, [_xds.Make(Endpoints, "a", "2"), _xds.Make(Endpoints, "b", "2")], []);
        _xds.Session.Apply(change);
        var drop = new ClientRequest
        {
            TypeUrl = Endpoints.TypeUrl,
            Nonce = _xds.Nonce(Endpoints),
            Names = ["a"],
        };
        _xds.Session.Handle(Endpoints, drop, change.After, _xds.Now);
        Assert.Equal("EDS{a=2}", _xds.Describe(_xds.Session.Compose(change.After, _xds.Now)!));
        Assert.Null(_xds.Session.Compose(change.After, _xds.Now));
    }
}
