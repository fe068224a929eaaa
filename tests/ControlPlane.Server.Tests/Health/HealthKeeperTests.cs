using System.Collections.Immutable;
using System.Globalization;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Health;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Health;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Telemetry;
using ControlPlane.Server.Tests.Telemetry;
using ControlPlane.TestKit;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Server.Tests.Health;

public sealed class HealthKeeperTests : IAsyncLifetime
{
    private static readonly DateTimeOffset Start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly SettableClock _time = new(Start);
    private readonly RecordedMetrics _meters = new();
    private readonly LogRecorder _logs = new();
    private readonly LoggerFactory _loggers;
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-");
    private readonly WebApplication _app;
    private readonly CurrentVerdicts _verdicts = new();
    private readonly HealthKeeper _keeper;

    public HealthKeeperTests()
    {
        _loggers = new LoggerFactory([_logs]);
        _app = ControlPlaneServer.Build(new ServerOptions { DataDir = _folder.FullName });
        var metrics = new HealthMetrics(_meters.Factory, new CurrentState(), _time);
        _keeper = new HealthKeeper(
            _verdicts,
            metrics,
            _time,
            Leadership(),
            new ServerOptions(),
            FleetHealthPolicy.Default,
            _loggers.CreateLogger<HealthKeeper>()
        );
    }

    public async ValueTask InitializeAsync()
    {
        _keeper.Begin(Desired(3), memory: null);
        await _keeper.StartAsync(CancellationToken.None);
    }

    public async ValueTask DisposeAsync()
    {
        await _keeper.StopAsync(CancellationToken.None);
        _keeper.Dispose();
        _loggers.Dispose();
        _meters.Dispose();
        await _app.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task Who_must_answer_learns_what_became_of_each_piece_of_evidence()
    {
        var outcomes = await _keeper.RecordAsync(
            [Check("e1"), Check("nobody"), Check("e1") with { Upstream = "nothing" }, Check("e2") with { TimeToLive = TimeSpan.Zero }],
            CancellationToken.None
        );
        Assert.Equal(
            [EvidenceOutcome.Accepted, EvidenceOutcome.UnknownEndpoint, EvidenceOutcome.UnknownUpstream, EvidenceOutcome.Expired],
            outcomes
        );
        Assert.Contains("1 {kind=active,outcome=unknown_endpoint}", _meters.Of("health.evidence.received"));
    }

    [Fact]
    public async Task What_does_not_fit_is_counted_and_dropped()
    {
        var flood = Enumerable.Repeat<HealthEvidence>(Check("e1"), HealthKeeper.MaxPending + 1).ToImmutableArray();
        Assert.True((await _keeper.RecordAsync(flood, CancellationToken.None)).IsDefault);
        Assert.Contains(
            string.Create(CultureInfo.InvariantCulture, $"{HealthKeeper.MaxPending + 1} {{kind=active,outcome=dropped}}"),
            _meters.Of("health.evidence.received")
        );
        Assert.Equal([EvidenceOutcome.Accepted], await _keeper.RecordAsync([Check("e1")], CancellationToken.None));
    }

    [Fact]
    public async Task A_question_that_fails_fails_for_who_asked_and_the_keeper_goes_on()
    {
        await Assert.ThrowsAsync<DivideByZeroException>(() =>
            _keeper.AskAsync<int>(_ => throw new DivideByZeroException(), CancellationToken.None)
        );
        Assert.Equal(3, await _keeper.AskAsync(model => model.Explain("cart")!.Endpoints.Length, CancellationToken.None));
    }

    [Fact]
    public async Task A_question_is_answered_after_everything_that_was_handed_in_before_it()
    {
        _keeper.Follow(Desired(5), ["cart"]);
        _keeper.Record([Check("e5")]);
        var why = await _keeper.AskAsync(model => model.ExplainEndpoint("cart", "e5")!, CancellationToken.None);
        Assert.Single(why.Active.Evidence);
        Assert.Equal(5, _verdicts.Find("cart")!.Everyone.Targets.Length);
    }

    [Fact]
    public async Task Only_upstreams_under_central_health_are_decided_about()
    {
        Assert.NotNull(_verdicts.Find("cart"));
        Assert.Null(_verdicts.Find("by-envoy"));

        _keeper.Follow(Desired(3, HealthAuthority.Envoy), ["cart"]);
        Assert.Null(await _keeper.AskAsync(model => model.Explain("cart"), CancellationToken.None));
        Assert.Null(_verdicts.Find("cart"));
    }

    [Fact]
    public async Task Every_step_of_an_endpoint_is_one_line_in_the_log_one_count_and_one_piece_of_news_with_its_reason()
    {
        await using var news = _keeper.WatchAsync(CancellationToken.None).GetAsyncEnumerator();
        var next = news.MoveNextAsync();
        _keeper.Connect("prober", "");
        await PassAsync("e1", "e2", "e3");
        for (var i = 0; i < 8; i++)
        {
            await PassAsync("e2", "e3");
            _keeper.Record([Fail("e1")]);
            await StepAsync();
        }

        HealthTransition? down = null;
        EndpointExplanation? reason = null;
        while (down is null)
        {
            Assert.True(await next.AsTask().WaitAsync(Eventually.DefaultWithin, TimeProvider.System));
            var at = news.Current.Changes.Transitions.ToList().FindIndex(t => t.To == HealthState.Down);
            (down, reason) = at < 0 ? (null, null) : (news.Current.Changes.Transitions[at], news.Current.Reasons[at]);
            next = at < 0 ? news.MoveNextAsync() : default;
        }

        Assert.Equal(("cart", "e1", HealthRule.ActiveQuorum), (down.Upstream, down.Endpoint, down.Rule));
        Assert.Contains("connection refused", reason!.Sentence, StringComparison.Ordinal);
        var line = "";
        while (!line.Contains(" to DOWN ", StringComparison.Ordinal))
        {
            line = await _logs.FirstAsync(8001);
        }

        Assert.Matches("^Endpoint e1 of cart went from (UP|SUSPECT) to DOWN by rule 5: .*connection refused", line);
        Assert.Contains(
            _meters.Of("upstream.transitions"),
            m => m.StartsWith("1 {", StringComparison.Ordinal) && m.EndsWith(",to=down,rule=5}", StringComparison.Ordinal)
        );
    }

    [Fact]
    public async Task Of_many_transitions_at_once_each_has_its_reason_and_the_first_ones_name_who_said_what()
    {
        const int Endpoints = HealthKeeper.MaxDetailedReasons + 50;
        _keeper.Connect("prober", "");
        _keeper.Follow(Desired(Endpoints), ["cart"]);
        await using var news = _keeper.WatchAsync(CancellationToken.None).GetAsyncEnumerator();
        var next = news.MoveNextAsync();
        await PassAsync([.. Enumerable.Range(1, Endpoints).Select(i => $"e{i}")]);

        while (true)
        {
            Assert.True(await next.AsTask().WaitAsync(Eventually.DefaultWithin, TimeProvider.System));
            if (news.Current.Changes.Transitions.Length > HealthKeeper.MaxDetailedReasons)
            {
                break;
            }

            next = news.MoveNextAsync();
        }

        Assert.All(news.Current.Reasons, r => Assert.Contains("is HEALTHY", r!.Sentence, StringComparison.Ordinal));
        Assert.All(news.Current.Reasons.Take(HealthKeeper.MaxDetailedReasons), r => Assert.Single(r!.Active.Evidence));
        Assert.All(news.Current.Reasons.Skip(HealthKeeper.MaxDetailedReasons), r => Assert.Empty(r!.Active.Evidence));
    }

    [Fact]
    public async Task Observers_in_quarantine_are_counted_from_the_first_decision_after_a_restart_on()
    {
        var memory = new HealthMemory(
            new FleetMemory
            {
                Observers =
                [
                    new ObserverMemory
                    {
                        Author = "liar",
                        SeenAt = _time.GetUtcNow(),
                        QuarantinedSince = _time.GetUtcNow(),
                    },
                ],
            },
            ImmutableDictionary<string, RememberedUpstream>.Empty
        );
        using var meters = new RecordedMetrics();
        using var keeper = new HealthKeeper(
            _verdicts,
            new HealthMetrics(meters.Factory, new CurrentState(), _time),
            _time,
            Leadership(),
            new ServerOptions(),
            FleetHealthPolicy.Default,
            _loggers.CreateLogger<HealthKeeper>()
        );
        keeper.Begin(Desired(3), memory);
        Assert.Equal(["1 {}"], meters.Read("health.observers.quarantined"));

        await keeper.StartAsync(CancellationToken.None);
        keeper.Lead(false);
        // After the change of role.
        await keeper.AskAsync(_ => 0, CancellationToken.None);
        _time.Advance(TimeSpan.FromSeconds(0.5));
        await keeper.AskAsync(_ => 0, CancellationToken.None);
        Assert.Empty(meters.Read("health.observers.quarantined"));
        await keeper.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task A_server_that_follows_counts_a_drain_as_over_when_it_is()
    {
        _keeper.Lead(false);
        await _keeper.AskAsync(_ => 0, CancellationToken.None);
        await _keeper.AskAsync(
            model =>
                model.Ledger.Record(
                    new Override
                    {
                        Upstream = "cart",
                        Endpoint = "e1",
                        Author = "rest/local",
                        Order = OverrideOrder.Drain,
                        Reason = "a test",
                        StartedAt = _time.GetUtcNow(),
                    },
                    _time.GetUtcNow()
                ),
            CancellationToken.None
        );
        await StepAsync();
        Assert.Equal(1, (await CountsAsync()).Draining);

        _time.Advance(TimeSpan.FromHours(1));
        await StepAsync();
        Assert.Equal((0, 1), await CountsAsync() is var counts ? (counts.Draining, counts.Disabled) : default);

        Task<HealthCounts> CountsAsync() => _keeper.AskAsync(model => model.CountsOf("cart")!, CancellationToken.None);
    }

    [Fact]
    public async Task The_size_class_follows_ten_minutes_after_the_number_of_endpoints()
    {
        Assert.False(_verdicts.Find("cart")!.IsLarge);
        _keeper.Follow(Desired(10), ["cart"]);
        await StepAsync();
        Assert.False(_verdicts.Find("cart")!.IsLarge);

        // Back and forth begins anew.
        _time.Advance(TimeSpan.FromMinutes(9));
        await StepAsync();
        _keeper.Follow(Desired(9), ["cart"]);
        await StepAsync();
        _keeper.Follow(Desired(11), ["cart"]);
        await StepAsync();
        _time.Advance(TimeSpan.FromMinutes(9));
        await StepAsync();
        Assert.False(_verdicts.Find("cart")!.IsLarge);
        _time.Advance(TimeSpan.FromMinutes(1));
        await StepAsync();
        Assert.True(_verdicts.Find("cart")!.IsLarge);
    }

    [Fact]
    public async Task An_upstream_that_was_deleted_and_made_anew_does_not_inherit_a_verdict()
    {
        _keeper.Connect("prober", "");
        await PassAsync("e1", "e2", "e3");
        Assert.Equal(HealthState.Up, await StateAsync("e1"));
        _keeper.Follow(Desired(3, uid: Guid.NewGuid()), ["cart"]);
        Assert.Equal(HealthState.New, await StateAsync("e1"));
    }

    [Fact]
    public async Task An_endpoint_at_another_address_is_another_host_whatever_its_id()
    {
        _keeper.Connect("prober", "");
        await PassAsync("e1", "e2", "e3");
        _keeper.Follow(
            Desired(3)
                .Apply(
                    2,
                    [
                        Stored(
                            ResourceKey.Sub(ResourceKind.Endpoint, "cart", "e1"),
                            new EndpointSpec { Address = "10.0.0.1", Port = 81 },
                            default
                        ),
                    ],
                    []
                ),
            ["cart"]
        );
        Assert.Equal((HealthState.New, HealthState.Up), (await StateAsync("e1"), await StateAsync("e2")));

        var memory = await _keeper.AskAsync(model => model.Remember("cart")!, CancellationToken.None);
        Assert.Equal("10.0.0.1:81", memory.Endpoints[0].Address);
        _keeper.Record([Fail("e2")]);
        _keeper.Follow(
            Desired(3)
                .Apply(
                    3,
                    [
                        Stored(
                            ResourceKey.Sub(ResourceKind.Endpoint, "cart", "e2"),
                            new EndpointSpec
                            {
                                Address = "10.0.0.2",
                                Port = 80,
                                Weight = 7,
                            },
                            default
                        ),
                    ],
                    []
                ),
            ["cart"]
        );
        Assert.Equal(HealthState.Up, await StateAsync("e3"));
        Assert.NotEqual(HealthState.New, await StateAsync("e2"));
    }

    [Fact]
    public async Task A_change_that_waits_to_be_merged_does_not_wait_for_a_clock_that_was_set_back()
    {
        _keeper.Connect("prober", "");
        await PassAsync("e1", "e2", "e3");
        await StepAsync();
        await StepAsync();
        _keeper.Follow(Desired(5), ["cart"]);
        await PassAsync("e4");
        Assert.Equal(["e1", "e2", "e3", "e4"], Healthy());
        await PassAsync("e5");
        Assert.Equal(["e1", "e2", "e3", "e4"], Healthy());

        _time.Jump(-TimeSpan.FromHours(1));
        for (var i = 0; i < 4; i++)
        {
            await StepAsync();
        }

        Assert.Equal(["e1", "e2", "e3", "e4", "e5"], Healthy());

        IEnumerable<string> Healthy() =>
            _verdicts.Find("cart")!.Everyone.Endpoints.Where(e => e.Status == PublishedStatus.Healthy).Select(e => e.Id);
    }

    [Fact]
    public async Task Who_connects_before_the_first_state_is_there_for_the_first_decision()
    {
        using var keeper = new HealthKeeper(
            _verdicts,
            new HealthMetrics(_meters.Factory, new CurrentState(), _time),
            _time,
            Leadership(),
            new ServerOptions(),
            FleetHealthPolicy.Default,
            _loggers.CreateLogger<HealthKeeper>()
        );
        keeper.Connect("prober", "");
        keeper.Begin(Desired(3), memory: null);
        await keeper.StartAsync(CancellationToken.None);
        // Without an observer it would be UP at once, checked by nobody.
        Assert.Equal(HealthState.New, await keeper.AskAsync(model => model.ExplainEndpoint("cart", "e1")!.State, CancellationToken.None));
        await keeper.StopAsync(CancellationToken.None);
    }

    /// <summary>Of a server with a database of its own.</summary>
    private HealthLeadership Leadership() => _app.Services.GetRequiredService<HealthLeadership>();

    private Task<HealthState> StateAsync(string endpoint) =>
        _keeper.AskAsync(model => model.ExplainEndpoint("cart", endpoint)!.State, CancellationToken.None);

    private async Task PassAsync(params string[] endpoints)
    {
        _keeper.Record([.. endpoints.Select(Check)]);
        await StepAsync();
    }

    private async Task StepAsync()
    {
        _time.Advance(TimeSpan.FromSeconds(0.5));
        await _keeper.AskAsync(_ => 0, CancellationToken.None);
    }

    private static CheckResult Check(string endpoint) =>
        new()
        {
            Upstream = "cart",
            Endpoint = endpoint,
            Author = "prober",
            Passed = true,
            TimeToLive = TimeSpan.FromSeconds(17),
        };

    private static CheckResult Fail(string endpoint) =>
        Check(endpoint) with
        {
            Passed = false,
            Class = FailureClass.Refused,
            Text = "connection refused",
        };

    private static DesiredState Desired(int endpoints, HealthAuthority authority = HealthAuthority.Central, Guid uid = default) =>
        DesiredState.Empty.Apply(
            1,
            [
                Stored(new ResourceKey(ResourceKind.Upstream, "cart"), Spec(authority), uid),
                Stored(new ResourceKey(ResourceKind.Upstream, "by-envoy"), Spec(HealthAuthority.Envoy), uid),
                .. Enumerable
                    .Range(1, endpoints)
                    .Select(i =>
                        Stored(
                            ResourceKey.Sub(ResourceKind.Endpoint, "cart", $"e{i}"),
                            new EndpointSpec { Address = $"10.0.0.{i}", Port = 80 },
                            uid
                        )
                    ),
            ],
            []
        );

    private static UpstreamSpec Spec(HealthAuthority authority) =>
        new()
        {
            Endpoints = new EndpointsSpec { Source = EndpointSource.Registration },
            Health = new HealthSpec { Authority = authority, Checks = [new HealthCheckSpec { Tcp = new TcpCheckSpec() }] },
        };

    private static StoredResource Stored(ResourceKey key, ResourceSpec spec, Guid uid) =>
        new()
        {
            Manifest = new Manifest(key.Kind, new ResourceMetadata { Name = key.Name }, spec),
            Uid = uid,
            Generation = 1,
            Revision = 1,
            CreatedAt = Start,
            UpdatedAt = Start,
            ManagedBy = "rest/test",
        };
}
