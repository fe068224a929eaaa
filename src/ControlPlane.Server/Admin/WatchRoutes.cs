using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Admin;

/// <summary>
/// Every change as it happens, as server-sent events. An event's id is its revision, so that a client that lost its connection goes on where it was: the browser's
/// EventSource does so by itself.
/// </summary>
internal sealed class WatchRoutes(
    CurrentState current,
    IDesiredStateStore store,
    WatchLimit limit,
    IHostApplicationLifetime lifetime,
    TimeProvider time
)
{
    private static readonly TimeSpan BookmarkInterval = TimeSpan.FromSeconds(30);

    /// <summary>How long a client's revision that this server does not know may take to come.</summary>
    private static readonly TimeSpan CatchUpLimit = TimeSpan.FromSeconds(2);

    public static void Map(RouteGroupBuilder api) =>
        api.MapGet("/watch", (HttpContext http, WatchRoutes watch) => watch.WatchAsync(http))
            .WithTags("Changes")
            .Takes(Query.Kinds, Query.Selector, Query.Since)
            .Describe(
                "watch",
                "Server-sent events 'written', 'deleted' and, every 30 s, 'bookmark'. The id is the revision; Last-Event-ID, or 'since', resumes after one. 410 if that is no longer kept: list again."
            )
            .Produces<WatchEvent>(contentType: "text/event-stream")
            .AddEndpointFilter(ServerSentEvents.AnswerHeadAsync)
            .DisableRequestTimeout()
            .RequireAuthorization(Access.Read);

    private async Task<IResult> WatchAsync(HttpContext http)
    {
        var (since, problem) = ServerSentEvents.SinceOf(http, Query.Since, "a revision's number");
        if (problem is not null)
        {
            return problem;
        }

        if (!limit.TryEnter())
        {
            return Problems.TooManyStreams(limit.Max);
        }

        try
        {
            return await StreamAsync(http, since);
        }
        finally
        {
            limit.Leave();
        }
    }

    private async Task<IResult> StreamAsync(HttpContext http, long? since)
    {
        using var ending = http.Ending(lifetime);
        var events = new ServerSentEvents(http, time);
        var stream = new EventStream(events, Query.Kinds.Of(http), Query.Selector.Of(http));
        // The feed begins here, so that nothing is lost between what is replayed and what is live.
        await using var feed = new Feed<RevisionApplied>(current.WatchAsync);
        try
        {
            if (since > current.Desired.Revision && !await CatchUpAsync(feed, since.Value, ending.Token))
            {
                return Problems.RevisionGone(
                    $"Revision {since} does not exist here; the newest is {current.Desired.Revision}. List again, and watch from that list's revision."
                );
            }

            var reached = current.Desired.Revision;
            RevisionDetail? first = null;
            if (since < reached && (first = await store.GetRevisionAsync(since.Value + 1, ending.Token)) is null)
            {
                return Problems.RevisionGone(
                    $"The changes since revision {since} are no longer kept. List again, and watch from that list's revision."
                );
            }

            await events.BeginAsync(ending.Token);
            if (first is not null)
            {
                await ReplayAsync(stream, first, reached, ending.Token);
            }

            await stream.BookmarkAsync(reached, ending.Token);
            await FollowAsync(stream, feed, reached, ending.Token);
        }
        catch (OperationCanceledException) when (ending.IsCancellationRequested || events.IsStalled)
        {
            // The client is gone, or does not read or may no more, or the server ends: the client comes back and says where it was.
        }

        return Results.Empty;
    }

    /// <summary>A client that comes from another server may be ahead of this one, for as long as news of a commit takes.</summary>
    private async Task<bool> CatchUpAsync(Feed<RevisionApplied> feed, long revision, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(CatchUpLimit, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            while (current.Desired.Revision < revision)
            {
                if (!await feed.Next.WaitAsync(either.Token))
                {
                    return false;
                }

                feed.Advance();
            }

            return true;
        }
        catch (OperationCanceledException) when (timeout.IsCancellationRequested)
        {
            return false;
        }
    }

    private async Task ReplayAsync(EventStream stream, RevisionDetail first, long last, CancellationToken cancellationToken)
    {
        var detail = first;
        for (var revision = first.Info.Revision; ; )
        {
            await stream.WriteAsync(
                revision,
                detail.Changes.Select(c =>
                    (
                        c.Before is null ? null : SnapshotPublisher.ResourceOf(c.Before),
                        c.After is null ? null : SnapshotPublisher.ResourceOf(c.After)
                    )
                ),
                cancellationToken
            );
            if (revision == last)
            {
                return;
            }

            revision++;
            detail =
                await store.GetRevisionAsync(revision, cancellationToken)
                ?? throw new OperationCanceledException($"Revision {revision} was pruned while it was being replayed.");
        }
    }

    private async Task FollowAsync(EventStream stream, Feed<RevisionApplied> feed, long reached, CancellationToken cancellationToken)
    {
        while (true)
        {
            using var bookmark = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            var pause = Task.Delay(BookmarkInterval, time, bookmark.Token);
            if (await Task.WhenAny(feed.Next, pause) == pause)
            {
                await stream.BookmarkAsync(reached, cancellationToken);
                continue;
            }

            await bookmark.CancelAsync();
            if (!await feed.Next)
            {
                return;
            }

            var applied = feed.Current;
            if (applied.Revision > reached)
            {
                reached = applied.Revision;
                await stream.WriteAsync(
                    reached,
                    applied
                        .Deleted.Select(d => ((StoredResource?)d, (StoredResource?)null))
                        .Concat(applied.Written.Select(w => (applied.Before.Find(w.Key), (StoredResource?)w))),
                    cancellationToken
                );
            }

            feed.Advance();
        }
    }

    /// <summary>The events of one client.</summary>
    private sealed class EventStream(ServerSentEvents events, ImmutableArray<ResourceKindFilter> kinds, LabelSelector selector)
    {
        public Task BookmarkAsync(long revision, CancellationToken cancellationToken) =>
            events.SendAsync($"event: bookmark\nid: {revision}\ndata: {{\"revision\":{revision}}}\n\n", cancellationToken);

        /// <summary>Writes what a revision did, as far as the client wants to know. An object that ceases to be selected is gone for this client.</summary>
        public Task WriteAsync(
            long revision,
            IEnumerable<(StoredResource? Before, StoredResource? After)> changes,
            CancellationToken cancellationToken
        )
        {
            var told = new List<WatchEvent>();
            foreach (var (before, after) in changes)
            {
                if (after is not null && Wants(after))
                {
                    told.Add(new WatchEvent("written", revision, ObjectViews.Of(after)));
                }
                else if (before is not null && Wants(before))
                {
                    told.Add(new WatchEvent("deleted", revision, ObjectViews.Of(before)));
                }
            }

            if (told.Count == 0)
            {
                return Task.CompletedTask;
            }

            var text = new StringBuilder();
            for (var i = 0; i < told.Count; i++)
            {
                text.Append("event: ").Append(told[i].Type).Append('\n');
                // Only the last event of a revision says that the client has it all.
                if (i == told.Count - 1)
                {
                    text.Append("id: ").Append(revision).Append('\n');
                }

                text.Append("data: ").Append(JsonSerializer.Serialize(told[i], ApiJson.Options)).Append("\n\n");
            }

            return events.SendAsync(text.ToString(), cancellationToken);
        }

        private bool Wants(StoredResource resource) =>
            ResourceKindFilter.Allows(kinds, resource.Key.Kind) && selector.Matches(resource.Manifest.Metadata.Labels);
    }
}

/// <summary>Bounds the watch streams that are open at once.</summary>
internal sealed class WatchLimit(ServerOptions options)
{
    private int _open;

    public int Max => options.MaxWatchStreams;

    public bool TryEnter()
    {
        if (Interlocked.Increment(ref _open) <= Max)
        {
            return true;
        }

        Leave();
        return false;
    }

    public void Leave() => Interlocked.Decrement(ref _open);
}
