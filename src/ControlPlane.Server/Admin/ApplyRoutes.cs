using System.Collections.Immutable;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Admin;

/// <summary>Many objects at once, in any order: write them in one revision, or only say what that would be.</summary>
internal static class ApplyRoutes
{
    public static void Map(RouteGroupBuilder api)
    {
        api.MapPost("/apply", ApplyAsync)
            .WithTags("Changes")
            .Takes(Query.OfWrites)
            .Describe(
                "apply",
                "Writes any number of objects in one transaction. Their order does not matter: references are checked at the end."
            )
            .TakesManifests()
            .Answers<ApplyResult>()
            .RequireAuthorization(Access.Write);
        api.MapPost("/validate", ValidateAsync)
            .WithTags("Changes")
            .Takes(Query.ValidationWarn, Query.Reason)
            .Describe("validate", "Says whether 'apply' would take the objects, and writes nothing.")
            .TakesManifests()
            .Answers<ValidateResult>()
            .RequireAuthorization(Access.Read);
        api.MapPost("/diff", DiffAsync)
            .WithTags("Changes")
            .Takes(Query.ValidationWarn, Query.Reason)
            .Describe("diff", "Says what 'apply' would change, in the objects and in the Envoy messages, and writes nothing.")
            .TakesManifests()
            .Answers<DiffResult>()
            .RequireAuthorization(Access.Read);
    }

    private static async Task<IResult> ApplyAsync(HttpContext http, ObjectWrites writes, CurrentState current)
    {
        var (documents, problem) = await RequestBody.ReadManifestsAsync(http, current.Desired.Find);
        return problem ?? await writes.RunManyAsync(http, ChangesOf(documents), documents);
    }

    private static Task<IResult> ValidateAsync(HttpContext http, ObjectWrites writes, CurrentState current) =>
        ImagineAsync(
            http,
            writes,
            current,
            (would, warnings) => new ApiResult<ValidateResult>(new ValidateResult(true, warnings, would.Effects))
        );

    private static Task<IResult> DiffAsync(HttpContext http, ObjectWrites writes, CurrentState current) =>
        ImagineAsync(
            http,
            writes,
            current,
            (would, warnings) =>
                new ApiResult<DiffResult>(
                    new DiffResult
                    {
                        Objects =
                        [
                            .. would
                                .Applied.Results.Where(r => r.Action != ObjectAction.Unchanged)
                                .Select(r => Diffs.Of(r.Before?.Manifest, r.After?.Manifest)),
                        ],
                        Resources = [.. would.Applied.Impact.Resources.Select(Diffs.Of)],
                        Effects = would.Effects,
                        Warnings = warnings,
                    }
                )
        );

    /// <summary>Works out what applying a body would do, and answers with that.</summary>
    private static async Task<IResult> ImagineAsync(
        HttpContext http,
        ObjectWrites writes,
        CurrentState current,
        Func<ObjectWrites.Imagined, ImmutableArray<Fault>, IResult> answer
    )
    {
        var (documents, problem) = await RequestBody.ReadManifestsAsync(http, current.Desired.Find);
        if (problem is not null)
        {
            return problem;
        }

        var changes = ChangesOf(documents);
        (var would, problem) = await writes.ImagineAsync(http, changes, documents);
        return problem is not null ? problem : answer(would!, ObjectWrites.FaultsOf(would!.Applied.Warnings, changes, documents));
    }

    // An object that was read here and is sent back carries the state that its author saw.
    private static List<ObjectChange> ChangesOf(ImmutableArray<ManifestDocument> documents) =>
        [
            .. documents.Select(d =>
                RequestBody.ChangeOf(d, null, d.ResourceVersion is { } version ? Preconditions.RevisionOf(version) : d.RestoredFrom)
            ),
        ];
}
