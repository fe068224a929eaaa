using System.Collections.Immutable;
using System.Globalization;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Admin;

/// <summary>The history: every write with its author and reason, what two revisions differ in, and the way back.</summary>
internal static class RevisionRoutes
{
    /// <summary>Most objects of one revision that the list names.</summary>
    private const int MaxObjects = 20;

    public static void Map(RouteGroupBuilder api)
    {
        var group = api.MapGroup("/revisions").WithTags("Revisions");
        group
            .MapGet("/", ListAsync)
            .Takes(Query.Limit, Query.Continue)
            .Describe("listRevisions", "Lists the kept revisions, newest first, each with the objects that it changed.")
            .Answers<RevisionList>()
            .RequireAuthorization(Access.Read);
        group
            .MapGet("/{revision}", GetAsync)
            .Describe("getRevision", "Reads one revision with what it changed.")
            .Answers<RevisionView>()
            .RequireAuthorization(Access.Read);
        group
            .MapGet("/{from}..{to}", CompareAsync)
            .Describe("compareRevisions", "Says what differs between two revisions.")
            .Answers<DiffResult>()
            .RequireAuthorization(Access.Read);
        group
            .MapPost("/{revision}:rollback", RollbackAsync)
            .Takes([.. Query.OfWrites, Query.Kinds])
            .Describe(
                "rollback",
                "Makes everything, or the kinds given, as it was at a revision; as a new revision. Endpoints and operators' orders are part of everything: give kinds to leave them."
            )
            .Answers<ApplyResult>()
            .RequireAuthorization(Access.Write);
    }

    /// <summary>A revision without what it changed.</summary>
    public static RevisionView ViewOf(RevisionInfo info) =>
        new()
        {
            Revision = info.Revision,
            Author = info.Author,
            Reason = NotEmpty(info.Reason),
            At = info.At,
            TraceId = NotEmpty(info.TraceId),
            Notes = NotEmpty(info.Notes),
        };

    /// <summary>Reads where a list of revisions goes on.</summary>
    /// <param name="http">The request.</param>
    /// <param name="scope">The list.</param>
    /// <param name="before">The revision below which it goes on; 0 from the newest.</param>
    public static ProblemResult? ReadContinue(HttpContext http, string scope, out long before)
    {
        before = 0;
        if (Query.Continue.Of(http) is not { Length: > 0 } text)
        {
            return null;
        }

        if (PageToken.Decode(text) is not { } token || token.Scope != scope)
        {
            return Problems.Parameter([new Fault("invalid-parameter", "The query parameter 'continue' is not a token of this list.")]);
        }

        before = token.Revision;
        return null;
    }

    private static RevisionView ViewOf(RevisionInfo info, ChangedObjects? changed) =>
        ViewOf(info) with
        {
            ObjectCount = changed?.Count,
            Objects = changed
                ?.First.Select(o => new ChangedObjectView(
                    o.Key.Kind.ToString(),
                    o.Key.Name,
                    !o.Existed ? "created"
                        : !o.Exists ? "deleted"
                        : "updated"
                ))
                .ToImmutableArray(),
        };

    private static async Task<IResult> ListAsync(HttpContext http, IDesiredStateStore store)
    {
        var problem = ReadContinue(http, "revisions", out var before);
        if (problem is not null)
        {
            return problem;
        }

        var limit = Query.Limit.Of(http);
        var revisions = await store.ListRevisionsAsync(before, limit + 1, http.RequestAborted);
        IReadOnlyDictionary<long, ChangedObjects> changed =
            revisions.Count == 0
                ? ImmutableDictionary<long, ChangedObjects>.Empty
                : await store.SummarizeRevisionsAsync(
                    revisions[Math.Min(revisions.Count, limit) - 1].Revision,
                    revisions[0].Revision,
                    MaxObjects,
                    http.RequestAborted
                );
        var page = revisions.Take(limit).Select(r => ViewOf(r, changed.GetValueOrDefault(r.Revision))).ToImmutableArray();
        return new ApiResult<RevisionList>(
            new RevisionList(page, revisions.Count > limit ? new PageToken(page[^1].Revision, "revisions", "").Encode() : null)
        );
    }

    private static async Task<IResult> GetAsync(HttpContext http, string revision, IDesiredStateStore store, CurrentState current)
    {
        if (!TryRevision(revision, out var number))
        {
            return NoNumber();
        }

        return await store.GetRevisionAsync(number, http.RequestAborted) is { } detail
            ? new ApiResult<RevisionView>(ViewOf(detail.Info) with { Changes = [.. detail.Changes.Select(DiffOf)] })
            : Missing(number, current);
    }

    private static async Task<IResult> CompareAsync(
        HttpContext http,
        string from,
        string to,
        IDesiredStateStore store,
        CurrentState current
    )
    {
        if (!TryRevision(from, out var first) || !TryRevision(to, out var second))
        {
            return NoNumber();
        }

        if (await store.LoadAtAsync(first, http.RequestAborted) is not { } before)
        {
            return Missing(first, current);
        }

        if (await store.LoadAtAsync(second, http.RequestAborted) is not { } after)
        {
            return Missing(second, current);
        }

        var old = before.Documents.ToDictionary(d => d.Key);
        var now = after.Documents.ToDictionary(d => d.Key);
        var diffs = old
            .Keys.Union(now.Keys)
            .Select(key => new RevisionChange(key, old.GetValueOrDefault(key), now.GetValueOrDefault(key)))
            .Where(c => c.Before?.Json != c.After?.Json)
            .OrderBy(c => c.Key.Kind)
            .ThenBy(c => c.Key.Name, StringComparer.Ordinal);
        return new ApiResult<DiffResult>(new DiffResult { Objects = [.. diffs.Select(DiffOf)] });
    }

    private static async Task<IResult> RollbackAsync(
        HttpContext http,
        string revision,
        IDesiredStateStore store,
        CurrentState current,
        ObjectWrites writes
    )
    {
        if (!TryRevision(revision, out var number))
        {
            return Problems.NotFound("A revision is a number, such as /revisions/42:rollback.");
        }

        if (await store.LoadAtAsync(number, http.RequestAborted) is not { } target)
        {
            return Missing(number, current);
        }

        var kinds = Query.Kinds.Of(http);
        var desired = current.Desired;
        var then = target.Documents.Where(d => ResourceKindFilter.Allows(kinds, d.Key.Kind)).ToDictionary(d => d.Key);
        foreach (var order in then.Keys.Where(k => k.Kind == ResourceKind.Override && IsOrphan(k)).ToList())
        {
            then.Remove(order);
        }

        var changes = new List<ObjectChange>();
        foreach (var document in then.Values)
        {
            // What is the same already is left out by the change itself.
            changes.Add(new ObjectChange(document.Key, SnapshotPublisher.ResourceOf(document).Manifest));
        }

        foreach (var resource in desired.All.Where(r => ResourceKindFilter.Allows(kinds, r.Key.Kind) && !then.ContainsKey(r.Key)))
        {
            var parentGoes =
                DesiredState.IsSubResource(resource.Key.Kind) && IsDeleted(new ResourceKey(ResourceKind.Upstream, resource.Key.Parent));
            if (!parentGoes)
            {
                changes.Add(new ObjectChange(resource.Key, null));
            }
        }

        return await writes.RunManyAsync(http, changes, reason: $"rollback to revision {number}");

        // Earlier versions kept orders whose endpoint was gone.
        bool IsOrphan(ResourceKey order) =>
            target.Documents.All(d => d.Key != order with { Kind = ResourceKind.Endpoint })
            && target.Documents.FirstOrDefault(d => d.Key == new ResourceKey(ResourceKind.Upstream, order.Parent)) is { } upstream
            && SnapshotPublisher.ResourceOf(upstream).Manifest.Spec is UpstreamSpec { Endpoints.Source: EndpointSource.Registration };

        bool IsDeleted(ResourceKey upstream) => ResourceKindFilter.Allows(kinds, upstream.Kind) && !then.ContainsKey(upstream);
    }

    private static ObjectDiff DiffOf(RevisionChange change) =>
        Diffs.Of(
            change.Before is null ? null : SnapshotPublisher.ResourceOf(change.Before).Manifest,
            change.After is null ? null : SnapshotPublisher.ResourceOf(change.After).Manifest
        );

    private static ProblemResult NoNumber() =>
        Problems.NotFound("A revision is a number, such as /revisions/42, and two are compared as /revisions/40..42.");

    private static ProblemResult Missing(long number, CurrentState current) =>
        number > current.Desired.Revision
            ? Problems.NotFound($"Revision {number} does not exist; the newest is {current.Desired.Revision}.")
            : Problems.RevisionGone($"Revision {number} is no longer kept. GET /api/v1/revisions lists those that are.");

    private static bool TryRevision(string text, out long revision) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out revision) && revision > 0;

    private static string? NotEmpty(string text) => text.Length == 0 ? null : text;
}
