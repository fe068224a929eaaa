using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Health;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Admin;

/// <summary>Why endpoints are published as they are, what happened to them, and what happens.</summary>
internal sealed class UpstreamHealthRoutes(
    CurrentState current,
    HealthQuestions questions,
    HealthHistory history,
    IHealthStore store,
    WatchLimit limit,
    IHostApplicationLifetime lifetime,
    TimeProvider time
)
{
    private const string Tag = "Health of upstreams";

    private static readonly TimeSpan HeartbeatInterval = TimeSpan.FromSeconds(30);

    /// <summary>Transitions that are read from the store at a time, for a client that resumes.</summary>
    private const int ReplayChunk = 500;

    public static void Map(RouteGroupBuilder api)
    {
        var group = api.MapGroup("/upstreams/{name}/health").WithTags(Tag).RequireAuthorization(Access.Read);
        group
            .MapGet("/", (HttpContext http, string name, UpstreamHealthRoutes routes) => routes.ExplainAsync(http, name))
            .Takes(Query.Index, Query.WaitFor, Query.Zone)
            .Describe(
                "getUpstreamHealth",
                "Says why an upstream's endpoints are published as they are. With 'index', the index of an earlier answer, it waits until there is another one."
            )
            .Answers<UpstreamHealthView>()
            .DisableRequestTimeout();
        group
            .MapGet("/history", (HttpContext http, string name, UpstreamHealthRoutes routes) => routes.ListAsync(http, name))
            .Takes(Query.From, Query.To, Query.Limit, Query.Continue)
            .Describe(
                "listUpstreamHealthHistory",
                "Lists the transitions of an upstream's endpoints, newest first, each with the evidence of that moment. Kept for 7 days, or as --health-history-days says."
            )
            .Answers<HealthTransitionList>();
        api.MapGet("/health/watch", (HttpContext http, UpstreamHealthRoutes routes) => routes.WatchAsync(http))
            .WithTags(Tag)
            .Takes(Query.Upstream, Query.SinceTransition)
            .Describe(
                "watchHealth",
                "Server-sent events 'transition', as they happen. The id is the transition's; Last-Event-ID, or 'since', resumes after one, as far back as history is kept."
            )
            .Produces<HealthTransitionView>(contentType: "text/event-stream")
            .AddEndpointFilter(ServerSentEvents.AnswerHeadAsync)
            .DisableRequestTimeout()
            .RequireAuthorization(Access.Read);
    }

    private async Task<IResult> ExplainAsync(HttpContext http, string name)
    {
        var zone = Query.Zone.Of(http) is { Length: > 0 } given ? given : null;
        var index = Query.Index.Of(http);
        if (current.Desired.Find(new ResourceKey(ResourceKind.Upstream, name)) is null)
        {
            return Problems.NotFound($"Upstream/{name} does not exist.");
        }

        if (index >= 0 && !limit.TryEnter())
        {
            return Problems.TooManyStreams(limit.Max);
        }

        try
        {
            using var ending = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
            var view = await questions.ExplainAsync(name, zone, index, Query.WaitFor.Of(http), ending.Token);
            return view is null ? Undecided(name) : new ApiResult<UpstreamHealthView>(WithNames(view));
        }
        catch (OperationCanceledException) when (lifetime.ApplicationStopping.IsCancellationRequested)
        {
            // Who waits asks again, and then another server.
            return Problems.NotReady();
        }
        finally
        {
            if (index >= 0)
            {
                limit.Leave();
            }
        }
    }

    /// <summary>An upstream whose names do not resolve says so where people look first.</summary>
    private UpstreamHealthView WithNames(UpstreamHealthView view) =>
        current.Desired.Resolved.GetValueOrDefault(view.Upstream) is { Problems: [var problem, ..] }
            ? view with
            {
                Sentence = $"{view.Sentence} {problem.Message}",
            }
            : view;

    private IResult Undecided(string name) =>
        current.Desired.Find(new ResourceKey(ResourceKind.Upstream, name)) is null
            ? Problems.NotFound($"Upstream/{name} does not exist.")
            : new ApiResult<UpstreamHealthView>(
                new UpstreamHealthView
                {
                    Index = history.IndexOf(name),
                    Upstream = name,
                    Sentence =
                        $"Every proxy decides by itself which endpoints of {name} are healthy (health.authority is envoy): nothing is known of that here.",
                }
            );

    private async Task<IResult> ListAsync(HttpContext http, string name)
    {
        if (current.Desired.Find(new ResourceKey(ResourceKind.Upstream, name)) is null)
        {
            return Problems.NotFound($"Upstream/{name} does not exist.");
        }

        var (from, to, count) = (Query.From.Of(http), Query.To.Of(http), Query.Limit.Of(http));
        if (from > to)
        {
            return Problems.Parameter([
                new Fault(
                    "invalid-parameter",
                    "The query parameter 'from' is after 'to': no time lies between them. Swap them, or leave one out."
                ),
            ]);
        }

        var before = long.MaxValue;
        var scope = "health/" + name;
        if (Query.Continue.Of(http) is { Length: > 0 } text)
        {
            if (PageToken.Decode(text) is not { } token || token.Scope != scope)
            {
                return Problems.Parameter([new Fault("invalid-parameter", "The query parameter 'continue' is not a token of this list.")]);
            }

            before = token.Revision;
        }

        // What is in memory may not be in the store yet; what is in the store may not be in memory any more.
        var found = history.Recent().Where(t => t.Upstream == name && t.At >= from && t.At < to && t.Id < before).ToDictionary(t => t.Id);
        if (from < history.KeptSince && found.Count <= count)
        {
            foreach (var stored in await store.ListTransitionsAsync(name, from, to, before, count + 1, http.RequestAborted))
            {
                found.TryAdd(stored.Id, StoredHealthJson.ReadTransition(stored.Json));
            }
        }

        var page = found.Values.OrderByDescending(t => t.Id).Take(count).ToImmutableArray();
        return new ApiResult<HealthTransitionList>(
            new HealthTransitionList(page, found.Count > count ? new PageToken(page[^1].Id, scope, "").Encode() : null)
        );
    }

    private async Task<IResult> WatchAsync(HttpContext http)
    {
        var (since, problem) = ServerSentEvents.SinceOf(http, Query.SinceTransition, "a transition's number");
        if (problem is not null)
        {
            return problem;
        }

        if (!limit.TryEnter())
        {
            return Problems.TooManyStreams(limit.Max);
        }

        using var ending = http.Ending(lifetime);
        try
        {
            await StreamAsync(http, Query.Upstream.Of(http), since, ending.Token);
        }
        catch (OperationCanceledException)
        {
            // The client is gone, or does not read or may no more, or the server ends: the client comes back and says where it was.
        }
        finally
        {
            limit.Leave();
        }

        return Results.Empty;
    }

    private async Task StreamAsync(HttpContext http, string upstream, long? since, CancellationToken cancellationToken)
    {
        // The feed begins here, so that nothing is lost between what is replayed and what is live.
        await using var feed = new Feed<HealthTransitionView>(history.WatchAsync);
        var events = new ServerSentEvents(http, time);
        var reached = since ?? 0;
        var missed = since is null ? [] : await MissedAsync(upstream, since.Value, cancellationToken);
        await events.BeginAsync(cancellationToken);
        await events.SendAsync(": open\n\n", cancellationToken);
        foreach (var transition in missed)
        {
            await events.SendAsync(Text(transition), cancellationToken);
            reached = transition.Id;
        }

        while (true)
        {
            using var heartbeat = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            var pause = Task.Delay(HeartbeatInterval, time, heartbeat.Token);
            if (await Task.WhenAny(feed.Next, pause) == pause)
            {
                await pause;
                await events.SendAsync(":\n\n", cancellationToken);
                continue;
            }

            await heartbeat.CancelAsync();
            if (!await feed.Next)
            {
                return;
            }

            var transition = feed.Current;
            if (transition.Id > reached && (upstream.Length == 0 || transition.Upstream == upstream))
            {
                await events.SendAsync(Text(transition), cancellationToken);
            }

            feed.Advance();
        }
    }

    /// <summary>The transitions after an id, oldest first: from memory where that reaches back far enough, else from the store, too.</summary>
    private async Task<IEnumerable<HealthTransitionView>> MissedAsync(string upstream, long since, CancellationToken cancellationToken)
    {
        var missed = new SortedDictionary<long, HealthTransitionView>();
        var recent = history.Recent();
        if (recent.IsEmpty || recent[0].Id > since)
        {
            IReadOnlyList<StoredTransition> page;
            var after = since;
            do
            {
                page = await store.ListTransitionsAfterAsync(upstream.Length == 0 ? null : upstream, after, ReplayChunk, cancellationToken);
                foreach (var stored in page)
                {
                    missed[after = stored.Id] = StoredHealthJson.ReadTransition(stored.Json);
                }
            } while (page.Count == ReplayChunk && missed.Count < HealthHistory.Kept);
        }

        foreach (var transition in recent.Where(t => t.Id > since && (upstream.Length == 0 || t.Upstream == upstream)))
        {
            missed.TryAdd(transition.Id, transition);
        }

        return missed.Values;
    }

    private static string Text(HealthTransitionView transition) =>
        new StringBuilder("event: transition\nid: ")
            .Append(transition.Id)
            .Append("\ndata: ")
            .Append(JsonSerializer.Serialize(transition, ApiJson.Options))
            .Append("\n\n")
            .ToString();
}
