using ControlPlane.Core.Health;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;
using ControlPlane.Server.Health;
using ControlPlane.Server.HealthIntake;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Admin;

/// <summary>What checkers of others have found about endpoints: one more observer for each token.</summary>
internal static class EvidenceRoutes
{
    public static void Map(RouteGroupBuilder api) =>
        api.MapPost("/evidence", PostAsync)
            .WithTags("Health of upstreams")
            .Describe(
                "postEvidence",
                "Takes what a checker of your own has found about endpoints. The token's name is its author; each item is answered with what became of it."
            )
            .Takes(typeof(EvidencePost))
            .Answers<EvidenceResult>()
            .RequireAuthorization(Access.Evidence);

    private static async Task<IResult> PostAsync(HttpContext http, HealthKeeper keeper, CurrentState current, TimeProvider time)
    {
        if (ManifestReader.FormatOf(http.Request.ContentType) is not { } format)
        {
            return RequestBody.Unsupported(http);
        }

        var problems = new ProblemCollector();
        var post = ManifestReader.ReadRecord<EvidencePost>(await RequestBody.ReadBytesAsync(http), format, problems);
        if (post is not null)
        {
            ExternalEvidence.Validate(post, problems);
        }

        if (problems.HasErrors)
        {
            return Problems.Invalid(
                RequestBody.Count(problems.Problems.Count),
                [.. problems.Problems.Select(p => RequestBody.ToFault(p, null))]
            );
        }

        var author = ExternalEvidence.AuthorOf(http.Author());
        var outcomes = await keeper.RecordAsync(ExternalEvidence.Of(post!, author, time.GetUtcNow()), http.RequestAborted);
        if (outcomes.IsDefault)
        {
            return Problems.Overloaded(
                keeper.Leads
                    ? "More evidence waits than the server takes. Nothing of this was taken."
                    : "The server that decides about health does not answer this one. Whether the evidence was taken is not known; posting it again does no harm."
            );
        }

        return new ApiResult<EvidenceResult>(
            new EvidenceResult(
                author,
                outcomes.Count(static o => o == EvidenceOutcome.Accepted),
                [.. outcomes.Select((outcome, i) => Explain(outcome, post!.Items[i], current))]
            )
        );
    }

    private static EvidenceItemResult Explain(EvidenceOutcome outcome, EvidenceItem item, CurrentState current) =>
        outcome switch
        {
            EvidenceOutcome.Accepted => new("accepted"),
            EvidenceOutcome.UnknownUpstream => new(
                "unknownUpstream",
                current.Desired.Find(new ResourceKey(ResourceKind.Upstream, item.Upstream)) is null
                    ? $"Upstream/{item.Upstream} does not exist."
                    : $"The health of Upstream/{item.Upstream} is decided by each proxy for itself. Set its health.authority to central."
            ),
            EvidenceOutcome.UnknownEndpoint => new(
                "unknownEndpoint",
                $"Upstream/{item.Upstream} has no endpoint '{item.Endpoint}'. GET /api/v1/upstreams/{item.Upstream}/endpoints lists their ids."
            ),
            EvidenceOutcome.TooManyAuthors => new(
                "tooManyAuthors",
                "More observers post evidence than the server keeps. Use fewer tokens."
            ),
            _ => throw new InvalidOperationException($"Evidence of others ended as {outcome}."),
        };
}
