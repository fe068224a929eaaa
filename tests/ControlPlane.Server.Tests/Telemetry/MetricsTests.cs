using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Diagnostics;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Telemetry;
using ControlPlane.TestKit;
using Envoy.Config.Endpoint.V3;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Telemetry;

public sealed class MetricsTests : IDisposable
{
    private static readonly DateTimeOffset Start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly RecordedMetrics _metrics = new();
    private readonly FakeTimeProvider _time = new(Start);

    public void Dispose() => _metrics.Dispose();

    [Fact]
    public void Every_state_of_an_upstreams_endpoints_is_counted_and_none_vanishes_at_zero()
    {
        var state = new CurrentState();
        using var meters = new RecordedMetrics();
        _ = new UpstreamMetrics(meters.Factory, state, new HealthMetrics(meters.Factory, state, _time), _time);
        state.Advance(
            new StatePair(
                DesiredState.Empty.Apply(
                    1,
                    [
                        Stored(ResourceKind.Upstream, "registered", Upstream(EndpointSource.Registration)),
                        Stored(ResourceKind.Endpoint, "registered/a", Endpoint("10.0.0.1")),
                        Stored(ResourceKind.Endpoint, "registered/b", Endpoint("10.0.0.2")),
                        Stored(ResourceKind.Endpoint, "registered/c", Endpoint("10.0.0.3")),
                        Stored(ResourceKind.Override, "registered/b", Order(OverrideAction.Drain)),
                        Stored(ResourceKind.Override, "registered/c", Order(OverrideAction.Disable)),
                        Stored(
                            ResourceKind.Upstream,
                            "listed",
                            Upstream(EndpointSource.Static, Endpoint("10.0.0.1"), Endpoint("10.0.0.2"))
                        ),
                        Stored(ResourceKind.Upstream, "resolved-by-envoy", Upstream(EndpointSource.EnvoyStrictDns)),
                    ],
                    []
                ),
                CompiledState.Empty
            ),
            [],
            []
        );

        Assert.Equal(
            [
                "2 {upstream=listed,state=healthy}",
                "0 {upstream=listed,state=draining}",
                "0 {upstream=listed,state=down}",
                "0 {upstream=listed,state=disabled}",
                "1 {upstream=registered,state=healthy}",
                "1 {upstream=registered,state=draining}",
                "0 {upstream=registered,state=down}",
                "1 {upstream=registered,state=disabled}",
            ],
            meters.Read("upstream.endpoints")
        );

        // The drain time is over: the endpoint is left out, without a write.
        _time.Advance(TimeSpan.FromHours(1));
        Assert.Equal(
            [
                "1 {upstream=registered,state=healthy}",
                "0 {upstream=registered,state=draining}",
                "0 {upstream=registered,state=down}",
                "2 {upstream=registered,state=disabled}",
            ],
            meters.Read("upstream.endpoints").Skip(4)
        );
    }

    [Fact]
    public void A_change_converges_when_a_proxy_that_was_connected_before_it_acknowledges_it()
    {
        var tracker = new ConvergenceTracker(new PublishingMetrics(_metrics.Factory), _time);
        var change = Change("a");
        tracker.Publishing(change, Start);
        _time.Advance(TimeSpan.FromSeconds(0.25));

        var version = change.After[ResourceType.Endpoints].Digest;
        Answer(Start.AddMinutes(-1), version);
        Answer(Start.AddMilliseconds(1), version); // connected after the commit
        Answer(Start.AddMinutes(-1), version + 1); // not a version that was published
        Answer(Start.AddMinutes(-1), version, AnswerKind.Nack);

        Assert.Equal(["0.25 {xds.resource_type=EDS}"], _metrics.Of("xds.convergence.duration"));

        void Answer(DateTimeOffset openedAt, UInt128 answered, AnswerKind kind = AnswerKind.Ack) =>
            tracker.Answered(new Answer(kind, ResourceType.Endpoints, answered), "node", openedAt);
    }

    [Fact]
    public void A_commit_of_a_server_whose_clock_is_ahead_converges_in_no_negative_time()
    {
        var tracker = new ConvergenceTracker(new PublishingMetrics(_metrics.Factory), _time);
        var change = Change("a");
        tracker.Publishing(change, Start.AddSeconds(5));
        tracker.Answered(new Answer(AnswerKind.Ack, ResourceType.Endpoints, change.After[ResourceType.Endpoints].Digest), "node", Start);
        Assert.Equal(["0 {xds.resource_type=EDS}"], _metrics.Of("xds.convergence.duration"));
    }

    [Fact]
    public void The_memory_of_commits_is_bounded_and_forgets_the_oldest()
    {
        var tracker = new ConvergenceTracker(new PublishingMetrics(_metrics.Factory), _time);
        var changes = Enumerable.Range(0, ConvergenceTracker.Capacity + 1).Select(i => Change("name-" + i)).ToArray();
        foreach (var change in changes)
        {
            tracker.Publishing(change, Start);
        }

        Answer(changes[0]);
        Assert.Empty(_metrics.Of("xds.convergence.duration"));
        Answer(changes[1]);
        Answer(changes[^1]);
        Assert.Equal(2, _metrics.Of("xds.convergence.duration").Count);

        void Answer(SnapshotChange change) =>
            tracker.Answered(
                new Answer(AnswerKind.Ack, ResourceType.Endpoints, change.After[ResourceType.Endpoints].Digest),
                "node",
                Start
            );
    }

    [Fact]
    public void An_answer_is_a_span_of_the_trace_that_the_change_began()
    {
        var ended = new List<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == Tracing.SourceName,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = ended.Add,
        };
        ActivitySource.AddActivityListener(listener);
        var tracker = new ConvergenceTracker(new PublishingMetrics(_metrics.Factory), _time);
        var change = Change("a");

        string kept;
        ActivityContext applying;
        using (var apply = Tracing.StartApply())
        {
            applying = apply!.Context;
            kept = Tracing.CurrentId;
        }

        var trace = applying.TraceId;
        Assert.Equal(trace.ToHexString(), kept);

        // As the publishing loop does, which is another task.
        ActivitySpanId publishing;
        using (var publish = Tracing.StartPublish(applying, revision: 7))
        {
            publishing = publish!.SpanId;
            tracker.Publishing(change, Start);
        }

        _time.Advance(TimeSpan.FromSeconds(2));
        tracker.Answered(
            new Answer(AnswerKind.Nack, ResourceType.Endpoints, change.After[ResourceType.Endpoints].Digest)
            {
                Elapsed = TimeSpan.FromSeconds(1),
                Text = "no such cluster",
            },
            "edge-1",
            Start
        );

        var ack = Assert.Single(ended, a => a.TraceId == trace && a.OperationName == "ack");
        Assert.Equal(publishing, ack.ParentSpanId);
        Assert.Equal(Start.AddSeconds(1).UtcDateTime, ack.StartTimeUtc);
        Assert.Equal(TimeSpan.FromSeconds(1), ack.Duration);
        Assert.Equal(ActivityStatusCode.Error, ack.Status);
        Assert.Equal("no such cluster", ack.StatusDescription);
        Assert.Equal("edge-1", ack.GetTagItem("xds.node.id"));
        Assert.Equal(trace, Assert.Single(ended, a => a.OperationName == "publish" && a.TraceId == trace).TraceId);
    }

    [Fact]
    public async Task A_change_compiles_in_a_span_of_its_own_within_its_application()
    {
        var ended = new ConcurrentQueue<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == Tracing.SourceName,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = ended.Enqueue,
        };
        ActivitySource.AddActivityListener(listener);
        await using var host = await ControlPlaneHost.StartAsync();

        var written = await host.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, "cart"),
            """{"spec": {"endpoints": {"source": "registration"}}}"""
        );
        var trace = (await host.Client.RevisionAsync(long.Parse(written.Metadata.ResourceVersion!))).TraceId;

        var apply = Assert.Single(ended, a => a.OperationName == "apply" && a.TraceId.ToHexString() == trace);
        var compile = Assert.Single(ended, a => a.OperationName == "compile" && a.ParentSpanId == apply.SpanId);
        Assert.Equal(1, compile.GetTagItem("objects"));
    }

    [Fact]
    public void Without_a_trace_nothing_is_kept_with_a_revision() => Assert.Equal("", Tracing.CurrentId);

    [Fact]
    public async Task Operations_on_the_store_are_timed_with_their_result_and_say_whether_it_is_there()
    {
        var folder = Directory.CreateTempSubdirectory("controlplane-telemetry-");
        try
        {
            var metrics = new StoreMetrics(_metrics.Factory, TimeProvider.System);
            Assert.Empty(_metrics.Read("store.state"));
            var sqlite = StoreFactory.Parse("sqlite:" + Path.Combine(folder.FullName, "test.db"));
            await using var store = new MeasuredStore(
                sqlite(TimeProvider.System, NullLoggerFactory.Instance),
                metrics,
                TimeProvider.System
            );
            await store.MigrateAsync(default);
            await store.LoadAsync(default);
            Assert.NotNull(await store.CommitAsync(Batch(baseRevision: 0), default));
            Assert.Null(await store.CommitAsync(Batch(baseRevision: 0), default));
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => store.LoadAsync(new CancellationToken(canceled: true)));

            Assert.Equal(
                [
                    "{operation=migrate,result=ok}",
                    "{operation=load,result=ok}",
                    "{operation=commit,result=ok}",
                    "{operation=commit,result=conflict}",
                    "{operation=load,result=cancelled}",
                ],
                _metrics.Of("store.query.duration").Select(m => m[m.IndexOf('{', StringComparison.Ordinal)..])
            );
            Assert.Equal(["1 {}"], _metrics.Read("store.state"));

            // The feed starts by telling of the newest revision, which is the one that was committed.
            await foreach (var revision in store.WatchAsync(default))
            {
                Assert.Equal(1, revision);
                break;
            }

            Assert.Single(_metrics.Of("store.notify.lag"));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void A_store_that_is_away_is_told_apart_from_one_that_refuses_an_operation()
    {
        var metrics = new StoreMetrics(_metrics.Factory, _time);
        metrics.Queried("commit", "unavailable", _time.GetTimestamp());
        Assert.Equal(["0 {}"], _metrics.Read("store.state"));
        metrics.Queried("load", "cancelled", _time.GetTimestamp());
        Assert.Equal(["0 {}"], _metrics.Read("store.state"));
        metrics.Queried("commit", "conflict", _time.GetTimestamp());
        Assert.Equal(["1 {}"], _metrics.Read("store.state"));
    }

    [Fact]
    public void The_lag_of_the_change_feed_is_that_of_the_oldest_commit_it_had_not_told_of()
    {
        var metrics = new StoreMetrics(_metrics.Factory, _time);
        metrics.Committed(1);
        _time.Advance(TimeSpan.FromSeconds(1));
        metrics.Committed(2);
        _time.Advance(TimeSpan.FromSeconds(1));
        metrics.Notified(2); // stands for both
        metrics.Notified(3); // another server's
        metrics.Committed(3); // told of before the commit's answer came
        Assert.Equal(["2 {}", "0 {}"], _metrics.Of("store.notify.lag"));
    }

    private static WriteBatch Batch(long baseRevision) => new(baseRevision, "tests", "", Start, "", "", [], []);

    private static SnapshotChange Change(string name)
    {
        var message = new ClusterLoadAssignment { ClusterName = name };
        return SnapshotChange.Make(Snapshot.Empty, 1, [EncodedResource.Create(ResourceType.Endpoints, name, message)], []);
    }

    private static UpstreamSpec Upstream(EndpointSource source, params ImmutableArray<EndpointSpec> endpoints) =>
        new()
        {
            Endpoints = new EndpointsSpec { Source = source, Static = endpoints },
        };

    private static EndpointSpec Endpoint(string address) => new() { Address = address, Port = 80 };

    private static OverrideSpec Order(OverrideAction action) =>
        new()
        {
            Action = action,
            Reason = "test",
            StartedAt = Start,
        };

    private static StoredResource Stored(ResourceKind kind, string name, ResourceSpec spec) =>
        new()
        {
            Manifest = new Manifest(kind, new ResourceMetadata { Name = name }, spec),
            Uid = Guid.NewGuid(),
            Generation = 1,
            Revision = 1,
            CreatedAt = Start,
            UpdatedAt = Start,
            ManagedBy = "rest/tests",
        };
}
