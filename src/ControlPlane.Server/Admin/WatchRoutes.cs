using System.Globalization;
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

    /// <summary>A client that takes no event for so long does not read.</summary>
    private static readonly TimeSpan WriteTimeout = TimeSpan.FromSeconds(30);

    public static void Map(RouteGroupBuilder api) =>
        api.MapGet("/watch", (HttpContext http, WatchRoutes watch) => watch.WatchAsync(http))
            .WithTags("Changes")
            .Takes(Query.Kinds, Query.Selector, Query.Since)
            .Describe(
                "watch",
                "Server-sent events 'written', 'deleted' and, every 30 s, 'bookmark'. The id is the revision; Last-Event-ID, or 'since', resumes after one. 410 if that is no longer kept: list again."
            )
            .Produces<WatchEvent>(contentType: "text/event-stream")
            .DisableRequestTimeout()
            .RequireAuthorization(Access.Read);

    private async Task<IResult> WatchAsync(HttpContext http)
    {
        long? since = Query.Since.Of(http) is >= 0 and var given ? given : null;
        if (http.Request.Headers["Last-Event-ID"].ToString() is { Length: > 0 } lastEventId)
        {
            if (!long.TryParse(lastEventId, NumberStyles.None, CultureInfo.InvariantCulture, out var revision))
            {
                return Problems.Syntax("Last-Event-ID is the id of an event of this stream, a revision's number.");
            }

            since = revision;
        }

        if (since > current.Desired.Revision)
        {
            return Problems.RevisionGone(
                $"Revision {since} does not exist here; the newest is {current.Desired.Revision}. List again, and watch from that list's revision."
            );
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
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
        var stream = new EventStream(http, time, Query.Kinds.Of(http), Query.Selector.Of(http), WriteTimeout);
        await using var live = current.WatchAsync(ending.Token).GetAsyncEnumerator(ending.Token);
        // The watch begins with this call, so that nothing is lost between what is replayed and what is live.
        var next = live.MoveNextAsync().AsTask();
        var reached = current.Desired.Revision;
        try
        {
            if (since is { } from && from < reached)
            {
                if (await store.GetRevisionAsync(from + 1, ending.Token) is not { } first)
                {
                    return Problems.RevisionGone(
                        $"The changes since revision {from} are no longer kept. List again, and watch from that list's revision."
                    );
                }

                await stream.BeginAsync(ending.Token);
                await ReplayAsync(stream, first, reached, ending.Token);
            }
            else
            {
                await stream.BeginAsync(ending.Token);
            }

            await stream.BookmarkAsync(reached, ending.Token);
            await FollowAsync(stream, live, next, reached, ending.Token);
        }
        catch (OperationCanceledException) when (ending.IsCancellationRequested || stream.IsStalled)
        {
            // The client is gone, or does not read, or the server ends: the client comes back and says where it was.
        }

        return Results.Empty;
    }

    private async Task ReplayAsync(EventStream stream, RevisionDetail first, long last, CancellationToken cancellationToken)
    {
        var detail = first;
        for (var revision = first.Info.Revision; ; )
        {
            await stream.WriteAsync(
                revision,
                detail.Changes.Select(c =>
                    (c.Before is null ? null : ObjectViews.ResourceOf(c.Before), c.After is null ? null : ObjectViews.ResourceOf(c.After))
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

    private async Task FollowAsync(
        EventStream stream,
        IAsyncEnumerator<RevisionApplied> live,
        Task<bool> next,
        long reached,
        CancellationToken cancellationToken
    )
    {
        while (true)
        {
            using var bookmark = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            var pause = Task.Delay(BookmarkInterval, time, bookmark.Token);
            if (await Task.WhenAny(next, pause) == pause)
            {
                await stream.BookmarkAsync(reached, cancellationToken);
                continue;
            }

            await bookmark.CancelAsync();
            if (!await next)
            {
                return;
            }

            var applied = live.Current;
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

            next = live.MoveNextAsync().AsTask();
        }
    }

    /// <summary>The events of one client.</summary>
    private sealed class EventStream(
        HttpContext http,
        TimeProvider time,
        System.Collections.Immutable.ImmutableArray<ResourceKindFilter> kinds,
        LabelSelector selector,
        TimeSpan writeTimeout
    )
    {
        /// <summary>Whether the client took no event in time.</summary>
        public bool IsStalled { get; private set; }

        public Task BeginAsync(CancellationToken cancellationToken)
        {
            http.Response.ContentType = "text/event-stream";
            http.Response.Headers.CacheControl = "no-store";
            // nginx, in front, would hold events back otherwise.
            http.Response.Headers["X-Accel-Buffering"] = "no";
            return http.Response.StartAsync(cancellationToken);
        }

        public Task BookmarkAsync(long revision, CancellationToken cancellationToken) =>
            SendAsync($"event: bookmark\nid: {revision}\ndata: {{\"revision\":{revision}}}\n\n", cancellationToken);

        /// <summary>Writes what a revision did, as far as the client wants to know. An object that ceases to be selected is gone for this client.</summary>
        public Task WriteAsync(
            long revision,
            IEnumerable<(StoredResource? Before, StoredResource? After)> changes,
            CancellationToken cancellationToken
        )
        {
            var events = new List<WatchEvent>();
            foreach (var (before, after) in changes)
            {
                if (after is not null && Wants(after))
                {
                    events.Add(new WatchEvent("written", revision, ObjectViews.Of(after)));
                }
                else if (before is not null && Wants(before))
                {
                    events.Add(new WatchEvent("deleted", revision, ObjectViews.Of(before)));
                }
            }

            if (events.Count == 0)
            {
                return Task.CompletedTask;
            }

            var text = new StringBuilder();
            for (var i = 0; i < events.Count; i++)
            {
                text.Append("event: ").Append(events[i].Type).Append('\n');
                // Only the last event of a revision says that the client has it all.
                if (i == events.Count - 1)
                {
                    text.Append("id: ").Append(revision).Append('\n');
                }

                text.Append("data: ").Append(JsonSerializer.Serialize(events[i], ApiJson.Options)).Append("\n\n");
            }

            return SendAsync(text.ToString(), cancellationToken);
        }

        private bool Wants(StoredResource resource) =>
            ResourceKindFilter.Allows(kinds, resource.Key.Kind) && selector.Matches(resource.Manifest.Metadata.Labels);

        private async Task SendAsync(string text, CancellationToken cancellationToken)
        {
            using var timeout = new CancellationTokenSource(writeTimeout, time);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
            try
            {
                await http.Response.WriteAsync(text, Encoding.UTF8, either.Token);
                await http.Response.Body.FlushAsync(either.Token);
            }
            catch (OperationCanceledException) when (timeout.IsCancellationRequested)
            {
                IsStalled = true;
                http.Abort();
                throw;
            }
        }
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
