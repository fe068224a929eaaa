using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Admin;

/// <summary>The routes that every kind has: read, list, write, patch, delete, its history and the Envoy messages that it became.</summary>
internal static class ResourceRoutes
{
    public static void Map(RouteGroupBuilder api, ResourceKind kind)
    {
        var group = api.MapGroup("/" + ApiPaths.Collection(kind)).WithTags(kind.ToString());
        group
            .MapGet("/", (HttpContext http, ObjectLists lists) => lists.List(http, kind))
            .Takes(Query.Limit, Query.Continue, Query.Selector)
            .Describe($"list{kind}s", $"Lists objects of kind {kind}, by name.")
            .AnswersList(kind)
            .RequireAuthorization(Access.Read);
        group
            .MapGet(
                "/{name}",
                (HttpContext http, string name, CurrentState current, ObjectViews views) =>
                    Get(http, new ResourceKey(kind, name), current, views)
            )
            .Describe($"get{kind}", $"Reads one {kind} with its status.")
            .Answers(kind)
            .RequireAuthorization(Access.Read);
        group
            .MapGet(
                "/{name}/history",
                (HttpContext http, string name, IDesiredStateStore store) => HistoryAsync(http, new ResourceKey(kind, name), store)
            )
            .Takes(Query.Limit, Query.Continue)
            .Describe($"get{kind}History", $"The kept states of one {kind}, newest first. They outlive it.")
            .Answers<HistoryList>()
            .RequireAuthorization(Access.Read);
        group
            .MapGet("/{name}/xds", (string name, CurrentState current) => Xds(new ResourceKey(kind, name), current))
            .Describe($"get{kind}Xds", "The Envoy messages that the object became, with their versions. Secrets are taken out.")
            .Answers<XdsView>()
            .RequireAuthorization(Access.Read);
        group
            .MapPut(
                "/{name}",
                (HttpContext http, string name, ObjectWrites writes, CurrentState current) =>
                    PutAsync(http, new ResourceKey(kind, name), writes, current)
            )
            .Takes(Query.OfWrites)
            .Describe($"put{kind}", $"Creates or replaces one {kind}. What is the same already makes no revision.")
            .TakesObject(kind)
            .Answers(kind, created: true)
            .RequireAuthorization(Access.Write);
        group
            .MapPatch(
                "/{name}",
                (HttpContext http, string name, ObjectWrites writes) => PatchAsync(http, new ResourceKey(kind, name), writes)
            )
            .Takes(Query.OfWrites)
            .Describe($"patch{kind}", $"Changes parts of one {kind}, by merge patch (RFC 7396) or JSON patch (RFC 6902).")
            .TakesPatch()
            .Answers(kind)
            .RequireAuthorization(Access.Write);
        group
            .MapDelete(
                "/{name}",
                (HttpContext http, string name, ObjectWrites writes, CurrentState current) =>
                    DeleteAsync(http, new ResourceKey(kind, name), writes, current)
            )
            .Takes(Query.OfWrites)
            .Describe($"delete{kind}", $"Deletes one {kind} that nothing refers to, and answers with what it was.")
            .Answers(kind)
            .RequireAuthorization(Access.Write);
    }

    public static IResult Get(HttpContext http, ResourceKey key, CurrentState current, ObjectViews views)
    {
        if (current.Desired.Find(key) is not { } resource)
        {
            return Problems.NotFound($"{key} does not exist.");
        }

        http.Response.Headers.ETag = Preconditions.ETag(resource);
        return new ApiResult<ObjectView>(views.WithStatus(resource));
    }

    public static async Task<IResult> PutAsync(HttpContext http, ResourceKey key, ObjectWrites writes, CurrentState current)
    {
        var (document, problem) = await RequestBody.ReadManifestAsync(http, key, current.Desired.Find);
        if (problem is not null)
        {
            return problem;
        }

        problem = Preconditions.Read(http, document!.ResourceVersion, current.Desired.Find(key), out var expected);
        return problem ?? await writes.RunOneAsync(http, RequestBody.ChangeOf(document, key, expected ?? document.RestoredFrom), document);
    }

    public static async Task<IResult> PatchAsync(HttpContext http, ResourceKey key, ObjectWrites writes)
    {
        var (patch, problem) = await Patch.ReadAsync(http);
        if (problem is not null)
        {
            return problem;
        }

        return await writes.RunOneAsync(
            http,
            state =>
            {
                if (state.Find(key) is not { } resource)
                {
                    return (null, Problems.NotFound($"{key} does not exist. PUT creates it."));
                }

                var (document, refused) = patch!.Apply(resource);
                if (refused is not null)
                {
                    return (null, refused);
                }

                // A patch that says nothing of the version leaves the one that it was made from.
                var version = document!.ResourceVersion == Preconditions.Version(resource) ? null : document.ResourceVersion;
                refused = Preconditions.Read(http, version, resource, out var expected);
                return refused is null ? (RequestBody.ChangeOf(document, key, expected), null) : (null, refused);
            }
        );
    }

    public static async Task<IResult> DeleteAsync(HttpContext http, ResourceKey key, ObjectWrites writes, CurrentState current) =>
        Preconditions.Read(http, null, current.Desired.Find(key), out var expected)
        ?? await writes.RunOneAsync(http, new ObjectChange(key, null, expected));

    public static async Task<IResult> HistoryAsync(HttpContext http, ResourceKey key, IDesiredStateStore store)
    {
        var scope = "history " + key;
        var problem = RevisionRoutes.ReadContinue(http, scope, out var before);
        if (problem is not null)
        {
            return problem;
        }

        var limit = Query.Limit.Of(http);
        var entries = await store.GetHistoryAsync(key, before, limit + 1, http.RequestAborted);
        return entries.Count == 0 && before == 0
            ? Problems.NotFound($"Nothing is known of {key}, now or in the past that is kept.")
            : new ApiResult<HistoryList>(
                new HistoryList(
                    [
                        .. entries
                            .Take(limit)
                            .Select(e => new HistoryItem(
                                RevisionRoutes.ViewOf(e.Revision),
                                e.Document is null ? null : ObjectViews.Of(SnapshotPublisher.ResourceOf(e.Document))
                            )),
                    ],
                    entries.Count > limit ? new PageToken(entries[limit - 1].Revision.Revision, scope, "").Encode() : null
                )
            );
    }

    private static IResult Xds(ResourceKey key, CurrentState current) =>
        current.Desired.Find(key) is null ? Problems.NotFound($"{key} does not exist.") : XdsOf(key, current);

    /// <summary>The messages that an object became. An endpoint, or an order about it, became a part of its upstream's assignment.</summary>
    public static IResult XdsOf(ResourceKey key, CurrentState current)
    {
        var (desired, compiled) = current.Pair;
        var isPart = DesiredState.IsSubResource(key.Kind);
        var resources = compiled.Find(isPart ? new ResourceKey(ResourceKind.Upstream, key.Parent) : key)?.Resources ?? [];
        return new ApiResult<XdsView>(
            new XdsView(
                desired.Revision,
                [
                    .. resources
                        .Where(r => !isPart || r.Type == ResourceType.Endpoints)
                        .Select(r => new XdsResource(r.Type.ShortName, r.Type.TypeUrl, r.Name, r.Version, ObjectViews.MessageOf(r))),
                ]
            )
        );
    }
}
