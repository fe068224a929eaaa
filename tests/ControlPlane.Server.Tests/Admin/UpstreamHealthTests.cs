using System.Net;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Health;
using ControlPlane.Server.Storage;
using ControlPlane.TestKit;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>Why endpoints are published as they are: the answer, waiting for another one, the past, and the feed.</summary>
public sealed class UpstreamHealthTests
{
    [Fact]
    public async Task A_verdict_comes_with_its_sentence_its_rule_and_its_evidence()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, "a", 3);
        await SayAsync(host, "a", passed: true, 1, 2, 3);
        await StateAsync(host, "a", 1, "UP");

        await FailAsync(host, "a", 1);
        var health = await StateAsync(host, "a", 1, "DOWN");

        Assert.Contains("2 of 3 endpoints of a take requests", health.Sentence, StringComparison.Ordinal);
        var endpoint = health.Endpoints[0];
        Assert.Equal(("UNHEALTHY", "5", "active"), (endpoint.Status, endpoint.Rule, endpoint.Cause));
        Assert.Contains("10.0.0.1:8080 is UNHEALTHY since", endpoint.Sentence, StringComparison.Ordinal);
        Assert.NotNull(endpoint.Since);
        Assert.Equal(0, endpoint.Active.Share);
        Assert.Equal(1, endpoint.Active.FewObservers);
        Assert.Equal([new ZoneOpinionView("", 0, 1, 0)], endpoint.Active.Zones);
        var row = Assert.Single(endpoint.Active.Evidence);
        Assert.Equal(
            ("external/local", "", "FAIL", "refused", "connection refused"),
            (row.Author, row.Zone, row.Verdict, row.Class, row.Text)
        );
        Assert.InRange(endpoint.Penalty, 900, 1000);
        Assert.Contains("PROBATION if it passes", endpoint.Next!.Text, StringComparison.Ordinal);
        Assert.Contains("fewObservers", endpoint.Lints);
        Assert.Equal(("UP", "HEALTHY"), (health.Endpoints[1].State, health.Endpoints[1].Status));
    }

    [Fact]
    public async Task An_operators_order_stands_in_the_explanation_with_who_gave_it_and_why()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, "a", 2);
        await SayAsync(host, "a", passed: true, 1, 2);
        await StateAsync(host, "a", 1, "UP");

        await host.Client.OrderAsync("a", "10.0.0.1:8080", "disable", new EndpointOrder { Reason = "disk full" });

        var health = await Eventually.Get(
            "the order",
            _ => host.Client.HealthAsync("a"),
            h => h.Endpoints[0] is { Override: not null, Status: null }
        );
        var endpoint = health.Endpoints[0];
        Assert.Equal(
            ("disable", "rest/local", "disk full"),
            (endpoint.Override!.Order, endpoint.Override.Author, endpoint.Override.Reason)
        );
        Assert.Equal(("1", "UP"), (endpoint.Rule, endpoint.State));
        Assert.Contains("disk full", endpoint.Sentence, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_status_of_an_upstream_and_of_its_endpoints_is_what_proxies_are_told()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, "a", 4);
        await SayAsync(host, "a", passed: true, 1, 2, 3, 4);
        await StateAsync(host, "a", 4, "UP");
        await FailAsync(host, "a", 1);
        await StateAsync(host, "a", 1, "DOWN");

        var status = await Eventually.Get(
            "the verdict to be published",
            async _ => (await host.Client.FindAsync(new ResourceKey(ResourceKind.Upstream, "a")))!.Status!,
            s => s.Endpoints!["unhealthy"] == 1
        );

        Assert.Equal(3, status.Endpoints!["active"]);
        var endpoint = await host.Client.FindAsync(ResourceKey.Sub(ResourceKind.Endpoint, "a", "10.0.0.1:8080"));
        Assert.Equal("unhealthy", endpoint!.Status!.State);
    }

    [Fact]
    public async Task An_upstream_that_proxies_decide_about_says_so_and_one_that_is_not_there_is_not_found()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await host.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, "theirs"),
            """{"spec": {"health": {"authority": "envoy"}, "endpoints": {"source": "static", "static": [{"address": "10.0.0.1", "port": 80}]}}}"""
        );

        Assert.Contains("Every proxy decides by itself", (await host.Client.HealthAsync("theirs")).Sentence, StringComparison.Ordinal);
        foreach (var path in (string[])["/api/v1/upstreams/none/health", "/api/v1/upstreams/none/health/history"])
        {
            using var answer = await host.Http.GetAsync(path);
            Assert.Equal(HttpStatusCode.NotFound, answer.StatusCode);
        }
    }

    [Fact]
    public async Task A_client_that_knows_an_answer_waits_for_the_next_one()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, "a", 3);
        await SayAsync(host, "a", passed: true, 1, 2, 3);
        var known = await StateAsync(host, "a", 3, "UP");
        known = await host.Client.HealthAsync("a", known.Index, TimeSpan.FromSeconds(1));

        var next = host.Client.HealthAsync("a", known.Index, TimeSpan.FromMinutes(1));
        await FailAsync(host, "a", 1);

        Assert.NotEqual(known.Index, (await next).Index);
        var old = await host.Client.HealthAsync("a", known.Index, TimeSpan.FromMinutes(1));
        Assert.NotEqual(known.Index, old.Index);
    }

    [Fact]
    public async Task Who_waits_is_answered_when_an_order_comes_that_changes_no_verdict()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, "a", 3);
        await SayAsync(host, "a", passed: true, 1, 2, 3);
        var known = await StateAsync(host, "a", 3, "UP");
        known = await host.Client.HealthAsync("a", known.Index, TimeSpan.FromSeconds(1));

        var next = host.Client.HealthAsync("a", known.Index, TimeSpan.FromMinutes(5));
        await host.Client.OrderAsync("a", "10.0.0.1:8080", "freeze", new EndpointOrder { Reason = "a look at it" });

        var answer = await next.WaitAsync(Eventually.DefaultWithin, TimeProvider.System);
        Assert.Equal("freeze", answer.Endpoints[0].Override?.Order);
    }

    [Fact]
    public async Task A_past_that_ends_before_it_begins_is_refused()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, "a", 1);
        using var answer = await host.Http.GetAsync("/api/v1/upstreams/a/health/history?from=2030-01-02T00:00:00Z&to=2030-01-01T00:00:00Z");
        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.Contains("'from' is after 'to'", await answer.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_waits_in_vain_is_answered_with_the_same_and_no_more_may_wait_than_watch()
    {
        await using var host = await ControlPlaneHost.StartAsync(o => o with { MaxWatchStreams = 1 });
        await PutAsync(host, "a", 1);
        await SayAsync(host, "a", passed: true, 1);
        var known = await StateAsync(host, "a", 1, "UP");
        // What came of it has come.
        known = await host.Client.HealthAsync("a", known.Index, TimeSpan.FromSeconds(1));

        var waiting = host.Client.HealthAsync("a", known.Index, TimeSpan.FromMinutes(1));
        await Eventually.True(
            "the limit",
            async _ =>
            {
                using var answer = await host.Http.GetAsync($"/api/v1/upstreams/a/health?index={known.Index}&wait=0s");
                return answer.StatusCode == HttpStatusCode.TooManyRequests;
            }
        );
        await FailAsync(host, "a", 1);
        await waiting;
        await PutAsync(host, "quiet", 1);
        var now = await StateAsync(host, "quiet", 1, "UP");
        now = await host.Client.HealthAsync("quiet", now.Index, TimeSpan.FromSeconds(1));
        var same = await host.Client.HealthAsync("quiet", now.Index, TimeSpan.FromMilliseconds(10));

        Assert.Equal(now.Index, same.Index);
    }

    [Fact]
    public async Task The_past_is_told_newest_first_page_by_page_with_the_evidence_of_each_moment()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, "a", 3);
        await SayAsync(host, "a", passed: true, 1, 2, 3);
        await StateAsync(host, "a", 3, "UP");
        await FailAsync(host, "a", 1);
        await StateAsync(host, "a", 1, "DOWN");

        var all = await Eventually.Get(
            "the transition",
            _ => host.Client.HealthHistoryAsync("a"),
            h => h.Items is [{ To: "DOWN" }, _, _, _, ..]
        );
        var page = await host.Client.HealthHistoryAsync("a", limit: 3);
        var rest = await host.Client.HealthHistoryAsync("a", limit: 3, continueToken: page.Continue);

        Assert.Null(all.Continue);
        Assert.Equal(all.Items.Select(i => i.Id), page.Items.Concat(rest.Items).Select(i => i.Id));
        Assert.Null(rest.Continue);
        var last = all.Items[0];
        Assert.Equal(("10.0.0.1:8080", "SUSPECT", "DOWN", "5", "active"), (last.Endpoint, last.From, last.To, last.Rule, last.Cause));
        Assert.Equal("refused", Assert.Single(last.Explanation!.Active.Evidence).Class);
        Assert.Empty((await host.Client.HealthHistoryAsync("a", to: last.At.AddHours(-1))).Items);
        Assert.Equal([last.Id], (await host.Client.HealthHistoryAsync("a", from: last.At)).Items.Select(i => i.Id));
    }

    [Fact]
    public async Task The_past_outlives_the_process_and_so_do_the_verdicts()
    {
        using var folder = new TemporaryFolder();
        IReadOnlyList<long> before;
        await using (var host = await ControlPlaneHost.StartAsync(o => o with { Store = $"sqlite:{folder.Path}/cp.db" }))
        {
            await PutAsync(host, "a", 3);
            await SayAsync(host, "a", passed: true, 1, 2, 3);
            await StateAsync(host, "a", 3, "UP");
            await FailAsync(host, "a", 1);
            await StateAsync(host, "a", 1, "DOWN");
            var history = await Eventually.Get(
                "the transition",
                _ => host.Client.HealthHistoryAsync("a"),
                h => h.Items is [{ To: "DOWN" }, ..]
            );
            before = [.. history.Items.Select(i => i.Id)];
        }

        await using var again = await ControlPlaneHost.StartAsync(o => o with { Store = $"sqlite:{folder.Path}/cp.db" });
        var health = await again.Client.HealthAsync("a");

        Assert.Equal(["UNHEALTHY", "HEALTHY", "HEALTHY"], health.Endpoints.Select(e => e.Status));
        Assert.Equal("DOWN", health.Endpoints[0].State);
        Assert.Equal(before, (await again.Client.HealthHistoryAsync("a")).Items.Select(i => i.Id));
    }

    [Fact]
    public async Task What_the_store_never_heard_of_is_in_the_last_good_file_and_told_to_the_store()
    {
        using var folder = new TemporaryFolder();
        await CondemnAsync(folder);
        // As if the database had been away, and the process killed.
        await ExecuteAsync(folder, "UPDATE health SET updated_at = '2020-01-01 00:00:00+00:00', json = '{}'");

        await using var again = await ControlPlaneHost.StartAsync(o => o with { DataDir = folder.Path });

        Assert.Equal("UNHEALTHY", (await again.Client.HealthAsync("a")).Endpoints[0].Status);
        await Eventually.True(
            "the store to be told",
            async _ =>
                (await again.Services.GetRequiredService<IHealthStore>().LoadHealthAsync(DateTimeOffset.MinValue, default)).Single(s =>
                    s.Upstream == "a"
                )
                    is { Json: { } json }
                && json.Contains("\"state\":\"down\"", StringComparison.Ordinal)
        );
    }

    [Fact]
    public async Task Another_upstream_of_the_same_name_begins_anew()
    {
        using var folder = new TemporaryFolder();
        await CondemnAsync(folder);
        await ExecuteAsync(folder, "UPDATE documents SET uid = '00000000-0000-0000-0000-000000000001'");

        await using var again = await ControlPlaneHost.StartAsync(o => o with { DataDir = folder.Path });

        Assert.Equal("HEALTHY", (await again.Client.HealthAsync("a")).Endpoints[0].Status);
    }

    [Fact]
    public async Task A_killed_server_finds_its_verdicts_in_the_store_a_second_after_they_were_made()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await PutAsync(host, "a", 3);
        await SayAsync(host, "a", passed: true, 1, 2, 3);
        await StateAsync(host, "a", 3, "UP");
        await FailAsync(host, "a", 1);
        await StateAsync(host, "a", 1, "DOWN");
        var store = host.Services.GetRequiredService<IHealthStore>();
        var file = host.Services.GetRequiredService<LastGoodHealthFile>();

        foreach (
            var read in (Func<Task<IReadOnlyList<StoredHealth>>>[])
                [() => store.LoadHealthAsync(DateTimeOffset.MinValue, default), () => file.LoadAsync(default)]
        )
        {
            await Eventually.True(
                "the verdict",
                async _ =>
                    (await read()).SingleOrDefault(s => s.Upstream == "a") is { Json: { } json }
                    && StoredHealthJson.ReadUpstream(json).Memory!.Endpoints[0].State == Core.Health.HealthState.Down,
                within: TimeSpan.FromSeconds(5)
            );
        }
    }

    [Fact]
    public async Task Transitions_come_as_events_and_a_client_goes_on_after_the_one_that_it_saw_last()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        using var live = await OpenAsync(host, "?upstream=a", null);
        await PutAsync(host, "b", 1);
        await PutAsync(host, "a", 3);
        var first = await NextAsync(live);
        var second = await NextAsync(live);

        Assert.Equal(("10.0.0.1:8080", "NEW", "UP"), (first.Endpoint, first.From, first.To));
        Assert.Equal("10.0.0.2:8080", second.Endpoint);
        Assert.True(first.Id < second.Id);
        using var resumed = await OpenAsync(host, "?upstream=a", first.Id.ToString());
        Assert.Equal(second.Id, (await NextAsync(resumed)).Id);
        using var bad = await host.Http.GetAsync("/api/v1/health/watch?since=x");
        Assert.Equal(HttpStatusCode.BadRequest, bad.StatusCode);
    }

    [Fact]
    public async Task The_client_yields_transitions_until_it_is_told_to_stop_and_goes_on_where_it_was()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        var earlier = await TransitionAsync(host, "b");
        using var stop = new CancellationTokenSource();
        await using var live = host.Client.WatchHealthAsync("a", earlier.Id).GetAsyncEnumerator(stop.Token);
        var next = live.MoveNextAsync();
        await PutAsync(host, "c", 1);
        await PutAsync(host, "a", 2);

        Assert.True(await next.AsTask().WaitAsync(Eventually.DefaultWithin, TimeProvider.System));
        var first = live.Current;
        Assert.Equal(("a", "10.0.0.1:8080", "NEW", "UP"), (first.Upstream, first.Endpoint, first.From, first.To));
        Assert.NotNull(first.Explanation);
        Assert.True(await live.MoveNextAsync().AsTask().WaitAsync(Eventually.DefaultWithin, TimeProvider.System));

        await using var resumed = host.Client.WatchHealthAsync("a", first.Id).GetAsyncEnumerator(stop.Token);
        Assert.True(await resumed.MoveNextAsync().AsTask().WaitAsync(Eventually.DefaultWithin, TimeProvider.System));
        Assert.Equal(live.Current.Id, resumed.Current.Id);

        next = live.MoveNextAsync();
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => next.AsTask());
    }

    [Fact]
    public async Task The_client_says_why_a_watch_is_refused_and_ends_when_the_server_does()
    {
        await using var host = await ControlPlaneHost.StartAsync(o => o with { MaxWatchStreams = 1 });
        var earlier = await TransitionAsync(host, "b");
        await using var live = host.Client.WatchHealthAsync(since: earlier.Id - 1).GetAsyncEnumerator();
        Assert.True(await live.MoveNextAsync());

        await using var more = host.Client.WatchHealthAsync().GetAsyncEnumerator();
        var refused = await Assert.ThrowsAsync<AdminClient.ApiException>(() => more.MoveNextAsync().AsTask());
        Assert.Equal(429, refused.Problem.Status);

        var next = live.MoveNextAsync();
        host.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
        Assert.False(await next.AsTask().WaitAsync(Eventually.DefaultWithin, TimeProvider.System));
    }

    /// <summary>The first transition of a new upstream of one endpoint.</summary>
    private static async Task<HealthTransitionView> TransitionAsync(ControlPlaneHost host, string upstream)
    {
        await PutAsync(host, upstream, 1);
        return Assert.Single(
            (await Eventually.Get("the transition", _ => host.Client.HealthHistoryAsync(upstream), h => h.Items.Length > 0)).Items
        );
    }

    /// <summary>A server that condemns the first of three endpoints, and ends.</summary>
    private static async Task CondemnAsync(TemporaryFolder folder)
    {
        await using var host = await ControlPlaneHost.StartAsync(o => o with { DataDir = folder.Path });
        await PutAsync(host, "a", 3);
        await SayAsync(host, "a", passed: true, 1, 2, 3);
        await StateAsync(host, "a", 3, "UP");
        await FailAsync(host, "a", 1);
        await StateAsync(host, "a", 1, "DOWN");
    }

    private static async Task ExecuteAsync(TemporaryFolder folder, string sql)
    {
        await using var connection = new SqliteConnection($"Data Source={folder.Path}/controlplane.db;Pooling=False");
        await connection.OpenAsync(TestContext.Current.CancellationToken);
        await using var command = connection.CreateCommand();
        command.CommandText = sql;
        Assert.NotEqual(0, await command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken));
    }

    /// <summary>Nobody checks the endpoints but the test, which is one observer.</summary>
    private static Task PutAsync(ControlPlaneHost host, string name, int endpoints) =>
        host.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, name),
            """{"spec": {"health": {"authority": "central", "checks": [{"tcp": {}}]}, "endpoints": {"source": "static", "static": ["""
                + string.Join(
                    ',',
                    Enumerable
                        .Range(1, endpoints)
                        .Select(i => $$$"""{"address": "10.0.0.{{{i}}}", "port": 8080, "healthCheck": {"disabled": true}}""")
                )
                + "]}}}"
        );

    private static Task SayAsync(ControlPlaneHost host, string upstream, bool passed, params int[] endpoints) =>
        host.Client.PostEvidenceAsync(
            endpoints.Select(i => new EvidenceItem
            {
                Upstream = upstream,
                Endpoint = $"10.0.0.{i}:8080",
                Passed = passed,
                Class = passed ? null : EvidenceClass.Refused,
                Text = passed ? null : "connection refused",
                Ttl = TimeSpan.FromMinutes(1),
            })
        );

    /// <summary>As often as one observer alone must say it.</summary>
    private static async Task FailAsync(ControlPlaneHost host, string upstream, int endpoint)
    {
        for (var i = 0; i < 5; i++)
        {
            await SayAsync(host, upstream, passed: false, endpoint);
        }
    }

    private static Task<UpstreamHealthView> StateAsync(ControlPlaneHost host, string upstream, int endpoint, string state) =>
        Eventually.Get(
            $"{state} of endpoint {endpoint}",
            _ => host.Client.HealthAsync(upstream),
            h => h.Endpoints[endpoint - 1].State == state
        );

    private static async Task<StreamReader> OpenAsync(ControlPlaneHost host, string query, string? lastEventId)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/api/v1/health/watch" + query);
        if (lastEventId is not null)
        {
            request.Headers.Add("Last-Event-ID", lastEventId);
        }

        var response = await host.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        Assert.Equal(": open", await reader.ReadLineAsync());
        return reader;
    }

    private static async Task<HealthTransitionView> NextAsync(StreamReader events)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(20), TimeProvider.System);
        while (true)
        {
            var line = await events.ReadLineAsync(patience.Token) ?? throw new InvalidOperationException("The stream ended.");
            if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                return StoredHealthJson.ReadTransition(line["data: ".Length..]);
            }
        }
    }

    private sealed class TemporaryFolder : IDisposable
    {
        public string Path { get; } = Directory.CreateTempSubdirectory("cp-health-").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
