using System.Collections.Immutable;
using System.Text;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Admin;

/// <summary>Runs changes on behalf of requests: takes author and switches from the request, and turns every end that a change can have into an answer.</summary>
internal sealed class ObjectWrites(ChangeAdmission admission, CurrentState current, ObjectViews views, Propagations propagations)
{
    private const int MaxWarningHeaders = 10;
    private const int MaxWarningLength = 300;

    /// <summary>What a change would do.</summary>
    /// <param name="Applied">Its result.</param>
    /// <param name="Effects">What would have to be confirmed.</param>
    public sealed record Imagined(ChangeApplied Applied, ImmutableArray<string>? Effects);

    /// <summary>Works a change out to the end without writing it; what would have to be confirmed is told, and taken as confirmed.</summary>
    /// <param name="http">The request: reason and validation.</param>
    /// <param name="changes">The changes.</param>
    /// <param name="documents">The text that each change came from, to find lines in; empty where there is none.</param>
    public async Task<(Imagined? Imagined, ProblemResult? Problem)> ImagineAsync(
        HttpContext http,
        IReadOnlyList<ObjectChange> changes,
        ImmutableArray<ManifestDocument> documents
    )
    {
        var request = RequestOf(http, changes, "") with { DryRun = true };
        var outcome = await admission.ChangeAsync(request, http.RequestAborted);
        ImmutableArray<string>? effects = null;
        if (outcome is ConfirmationRequired required)
        {
            effects = required.Effects;
            outcome = await admission.ChangeAsync(request with { Confirm = required.Digest }, http.RequestAborted);
        }

        return outcome is ChangeApplied applied ? (new Imagined(applied, effects), null) : (null, ProblemOf(outcome, changes, documents));
    }

    /// <summary>Runs a change of one object and answers with the object.</summary>
    public async Task<IResult> RunOneAsync(HttpContext http, ObjectChange change, ManifestDocument? document = null, string reason = "")
    {
        var (applied, problem) = await RunAsync(http, [change], document is null ? [] : [document], reason);
        return problem ?? await AnswerOneAsync(http, change, applied!, document is null ? [] : [document]);
    }

    /// <summary>Runs a change of one object that depends on how it is stored, and answers with the object.</summary>
    /// <param name="http">The request.</param>
    /// <param name="changeOn">The change of a state, or what keeps it from being made; asked again whenever somebody else wrote first.</param>
    public async Task<IResult> RunOneAsync(HttpContext http, Func<DesiredState, (ObjectChange? Change, ProblemResult? Problem)> changeOn)
    {
        (ObjectChange? Change, ProblemResult? Problem) made = default;
        var outcome = await admission.ChangeAsync(
            state =>
            {
                made = changeOn(state);
                return made.Change is null ? null : RequestOf(http, [made.Change], "");
            },
            http.RequestAborted
        );
        return outcome switch
        {
            null => made.Problem!,
            ChangeApplied applied => await AnswerOneAsync(http, made.Change!, applied, []),
            _ => ProblemOf(outcome, [made.Change!], []),
        };
    }

    private async Task<IResult> AnswerOneAsync(
        HttpContext http,
        ObjectChange change,
        ChangeApplied applied,
        ImmutableArray<ManifestDocument> documents
    )
    {
        var result = applied.Results[0];
        var propagation = await WaitAsync(http, applied);
        var warnings = WarningsOf(applied, propagation, [change], documents);
        AddWarnings(http, warnings);
        var dryRun = Query.DryRun.Of(http);
        var view = (result.After ?? result.Before)! switch
        {
            var deleted when result.After is null => ObjectViews.Of(deleted),
            var imagined when dryRun => ObjectViews.OfDryRun(imagined),
            var written => views.WithStatus(written),
        };
        if (!dryRun && result.After is not null)
        {
            http.Response.Headers.ETag = Preconditions.ETag(result.After);
        }

        var status =
            propagation is { IsComplete: false } ? StatusCodes.Status202Accepted
            : result.Action == ObjectAction.Created && !dryRun ? StatusCodes.Status201Created
            : StatusCodes.Status200OK;
        if (status == StatusCodes.Status201Created)
        {
            http.Response.Headers.Location = ApiPaths.Of(change.Key);
        }

        return new ApiResult<ObjectView>(view with { Warnings = warnings.IsEmpty ? null : warnings, Propagation = propagation }, status);
    }

    /// <summary>Runs a change of many objects and answers with what became of each.</summary>
    public async Task<IResult> RunManyAsync(
        HttpContext http,
        IReadOnlyList<ObjectChange> changes,
        ImmutableArray<ManifestDocument> documents = default,
        string reason = ""
    )
    {
        var (applied, problem) = await RunAsync(http, changes, documents, reason);
        if (applied is null)
        {
            return problem!;
        }

        var propagation = await WaitAsync(http, applied);
        var warnings = WarningsOf(applied, propagation, changes, documents);
        AddWarnings(http, warnings);
        var dryRun = Query.DryRun.Of(http);
        return new ApiResult<ApplyResult>(
            new ApplyResult
            {
                Revision = dryRun ? current.Desired.Revision : applied.Revision,
                DryRun = dryRun,
                Objects = [.. applied.Results.Select(r => Applied(r, dryRun))],
                Warnings = warnings,
                Propagation = propagation,
            },
            propagation is { IsComplete: false } ? StatusCodes.Status202Accepted : StatusCodes.Status200OK
        );
    }

    /// <summary>Problems and warnings of a change in the words of the API, with lines where the text is at hand.</summary>
    public static ImmutableArray<Fault> FaultsOf(
        IEnumerable<ObjectProblem> problems,
        IReadOnlyList<ObjectChange> changes,
        ImmutableArray<ManifestDocument> documents
    ) =>
        [
            .. problems
                .Select(p =>
                    p.Key != changes[p.Index].Key
                        ? RequestBody.ToFault(p.Problem, p.Key.ToString())
                        : RequestBody.ToFault(
                            documents.IsDefaultOrEmpty ? p.Problem with { Line = 0, Column = 0 }
                                : p.Problem.Line > 0 ? p.Problem
                                : documents[p.Index].Locate(p.Problem),
                            changes.Count == 1 ? null
                                : documents.IsDefaultOrEmpty || p.Key.Name.Length > 0 ? p.Key.ToString()
                                : $"{documents[p.Index].Kind?.ToString() ?? "object"}/#{p.Index + 1}"
                        )
                )
                // The reader and the plan both run an object's own checks.
                .Distinct(),
        ];

    /// <summary>Says warnings in headers, too, where scripts and people at a terminal see them (RFC 7234, 5.5; code 299 is "persistent, miscellaneous").</summary>
    public static void AddWarnings(HttpContext http, ImmutableArray<Fault> warnings)
    {
        foreach (var warning in warnings.Take(MaxWarningHeaders))
        {
            var text = new StringBuilder(warning.Object is null ? "" : warning.Object + ": ");
            text.Append(warning.Message);
            var kept = text.ToString(0, Math.Min(text.Length, MaxWarningLength))
                .Select(c =>
                    c is '"' or '\\' ? '\''
                    : c is < ' ' or > '~' ? '?'
                    : c
                );
            http.Response.Headers.Append("Warning", $"299 - \"{string.Concat(kept)}\"");
        }
    }

    private async Task<(ChangeApplied? Applied, ProblemResult? Problem)> RunAsync(
        HttpContext http,
        IReadOnlyList<ObjectChange> changes,
        ImmutableArray<ManifestDocument> documents,
        string reason
    )
    {
        var outcome = await admission.ChangeAsync(RequestOf(http, changes, reason), http.RequestAborted);
        return outcome is ChangeApplied applied ? (applied, null) : (null, ProblemOf(outcome, changes, documents));
    }

    private static ChangeRequest RequestOf(HttpContext http, IReadOnlyList<ObjectChange> changes, string reason) =>
        new()
        {
            Author = http.Author(),
            // What the request is says nobody else; why, its author says.
            Reason = string.Join(": ", ((string[])[reason, Query.Reason.Of(http)]).Where(text => text.Length > 0)),
            Changes = changes,
            DryRun = Query.DryRun.Of(http),
            Confirm = Query.Confirm.Of(http),
            ValidationWarn = Query.ValidationWarn.Of(http),
        };

    private ProblemResult ProblemOf(ChangeOutcome outcome, IReadOnlyList<ObjectChange> changes, ImmutableArray<ManifestDocument> documents)
    {
        switch (outcome)
        {
            case ChangeInvalid invalid:
                var faults = FaultsOf(invalid.Problems, changes, documents);
                return invalid.Conflict
                    ? Problems.Conflict(RequestBody.Count(faults.Length), faults)
                    : Problems.Invalid(RequestBody.Count(faults.Length), faults);
            case ObjectNotFound missing:
                return Problems.NotFound($"{missing.Key} does not exist.");
            case PreconditionFailed failed:
                return Problems.Precondition(
                    failed switch
                    {
                        { Current: null } => $"{failed.Key} does not exist.",
                        { Expected: 0 } => $"{failed.Key} exists already.",
                        { Expected: Preconditions.NoState } =>
                            $"{failed.Key} is at resourceVersion {Preconditions.Version(failed.Current)}, and was expected in a state in which it is not. Apply your change to 'current' and send it with its version.",
                        _ =>
                            $"{failed.Key} is at resourceVersion {Preconditions.Version(failed.Current)}, not {failed.Expected}: somebody changed it. Apply your change to 'current' and send it with its version.",
                    },
                    failed.Current is null ? null : views.WithStatus(failed.Current)
                );
            case ChangeOvertaken overtaken:
                return Problems.Overloaded(
                    $"Other servers wrote first, {overtaken.Attempts} times in a row. Nothing was written; send the request again."
                );
            case ConfirmationRequired required:
                return Problems.ConfirmationRequired(required.Digest, required.Effects);
            default:
                throw new InvalidOperationException($"A change ended in {outcome.GetType().Name}, which has no answer.");
        }
    }

    private static ImmutableArray<Fault> WarningsOf(
        ChangeApplied applied,
        Propagation? propagation,
        IReadOnlyList<ObjectChange> changes,
        ImmutableArray<ManifestDocument> documents
    )
    {
        var warnings = FaultsOf(applied.Warnings, changes, documents);
        return propagation is { Acked: 0, Nacked.IsEmpty: true, IsComplete: true }
            ? warnings.Add(
                new Fault(
                    "no-proxy",
                    "No proxy that is connected gets anything of this change, so that there was none to wait for. GET /api/v1/nodes lists the proxies."
                )
            )
            : warnings;
    }

    private async Task<Propagation?> WaitAsync(HttpContext http, ChangeApplied applied)
    {
        if (!Query.WaitAcked.Of(http) || Query.DryRun.Of(http))
        {
            return null;
        }

        // The wait has its own limit, which may be longer than that of requests.
        http.Features.Get<Microsoft.AspNetCore.Http.Timeouts.IHttpRequestTimeoutFeature>()?.DisableTimeout();
        return await propagations.WaitAsync(applied, Query.Timeout.Of(http), http.RequestAborted);
    }

    private static AppliedObject Applied(ObjectResult result, bool dryRun) =>
        new(
            result.Key.Kind.ToString(),
            result.Key.Name,
            result.Action.ToString().ToLowerInvariant(),
            result.After is null || (dryRun && result.Action != ObjectAction.Unchanged) ? null : Preconditions.Version(result.After)
        );
}
