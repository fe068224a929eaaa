using System.Collections.Immutable;
using System.Diagnostics;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Server.Admin;

/// <summary>Every problem that the API answers with: its name, its status and its title stand here and nowhere else.</summary>
internal static class Problems
{
    public static ProblemResult Syntax(string detail, ImmutableArray<Fault>? errors = null) =>
        Of(400, "syntax", "The body cannot be read", detail, errors);

    public static ProblemResult Header(string detail) => Of(400, "header", "A header of the request is wrong", detail);

    public static ProblemResult Parameter(ImmutableArray<Fault> errors) =>
        Of(400, "parameter", "A parameter is wrong", string.Join(" ", errors.Select(e => e.Message)), errors);

    public static ProblemResult Unauthorized(string detail) => Of(401, "unauthorized", "Who asks is not known", detail);

    public static ProblemResult Forbidden(string detail) => Of(403, "forbidden", "Who asks may not do this", detail);

    public static ProblemResult NotFound(string detail) => Of(404, "not-found", "There is no such thing", detail);

    public static ProblemResult MethodNotAllowed(string detail) => Of(405, "method-not-allowed", "The method is not known here", detail);

    public static ProblemResult Timeout(string detail) => Of(408, "timeout", "The request took too long", detail);

    public static ProblemResult Conflict(string detail, ImmutableArray<Fault>? errors = null) =>
        Of(409, "conflict", "The change conflicts with other objects", detail, errors);

    public static ProblemResult ContinueExpired(string fresh) =>
        Of(
            410,
            "continue-expired",
            "The list has moved on",
            "The state that this list began with is no longer kept. Start again without 'continue', or go on in the state of now with the token given here.",
            more: p => p with { Continue = fresh }
        );

    public static ProblemResult RevisionGone(string detail) => Of(410, "revision-gone", "The revision is no longer kept", detail);

    public static ProblemResult Precondition(string detail, ObjectView? current) =>
        Of(412, "precondition-failed", "The object is not in the state that was expected", detail, more: p => p with { Current = current });

    public static ProblemResult ConfirmationRequired(string digest, ImmutableArray<string> effects) =>
        Of(
            409,
            "confirmation-required",
            "The change does harm that is seldom meant",
            $"Nothing was changed. {string.Join(" ", effects.Take(3))}{(effects.Length > 3 ? $" And {effects.Length - 3} more." : "")} If that is meant, send the same request again with ?confirm={digest}",
            more: p => p with { Effects = effects, Digest = digest, Confirm = "confirm=" + digest }
        );

    public static ProblemResult BodyTooLarge() =>
        Of(
            413,
            "body-too-large",
            "The body is too large",
            $"The body may have {RequestBody.MaxBytes / (1024 * 1024)} MB. Split the objects over several requests."
        );

    public static ProblemResult MediaType(string detail) => Of(415, "media-type", "The body's media type is not taken here", detail);

    public static ProblemResult Invalid(string detail, ImmutableArray<Fault>? errors = null) =>
        Of(422, "invalid", "The object is not valid", detail, errors);

    public static ProblemResult TooManyStreams(int max) =>
        Of(
            429,
            "too-many-streams",
            "Too many watch streams",
            $"{max} watch streams are open, the limit. End some, or raise --max-watch-streams.",
            retryAfter: 10
        );

    /// <summary>The database does not answer.</summary>
    /// <param name="reason">The store's words.</param>
    /// <param name="isWrite">Whether something was to be written.</param>
    /// <param name="isOutcomeUnknown">Whether it may have been written all the same.</param>
    public static ProblemResult StoreUnavailable(string reason, bool isWrite, bool isOutcomeUnknown)
    {
        var consequence =
            !isWrite ? "What is asked for is only there."
            : isOutcomeUnknown ? "The change may have been written: read the object before you repeat it."
            : "Nothing was written.";
        return Of(
            503,
            "store-unavailable",
            "The database does not answer, or takes no writes",
            $"{reason.TrimEnd('.')}. {consequence} Proxies are served, and the current state is read, from memory meanwhile.",
            retryAfter: 5
        );
    }

    public static ProblemResult Overloaded(string detail) => Of(503, "overloaded", "The server has too much to do", detail, retryAfter: 1);

    public static ProblemResult NotReady() =>
        Of(503, "not-ready", "The server has not loaded its state yet", "Ask again when /readyz answers 200.", retryAfter: 1);

    public static ProblemResult Internal() =>
        Of(500, "internal", "The server failed", "This is a fault of the server. Its log has the reason under the trace id given here.");

    public static ProblemResult Of(
        int status,
        string name,
        string title,
        string detail,
        ImmutableArray<Fault>? errors = null,
        int? retryAfter = null,
        Func<Problem, Problem>? more = null
    )
    {
        var problem = new Problem
        {
            Type = Problem.TypePrefix + name,
            Title = title,
            Status = status,
            Detail = detail,
            Errors = errors is { IsDefaultOrEmpty: false } ? Bounded(errors.Value) : null,
        };
        return new ProblemResult(more is null ? problem : more(problem), retryAfter);
    }

    /// <summary>Faults of many objects, each of which has few.</summary>
    private static ImmutableArray<Fault> Bounded(ImmutableArray<Fault> faults) =>
        faults.Length <= ProblemCollector.MaxOfSeverity + 1
            ? faults
            :
            [
                .. faults.Take(ProblemCollector.MaxOfSeverity),
                new Fault(
                    ProblemCollector.More,
                    $"There are at least {faults.Length - ProblemCollector.MaxOfSeverity} more faults. Mend these first."
                ),
            ];
}

/// <summary>Answers with a problem. Always JSON, as RFC 9457 has it, whatever was asked for.</summary>
internal sealed class ProblemResult(Problem problem, int? retryAfter = null) : IResult
{
    public Problem Problem { get; } = problem;

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        response.StatusCode = Problem.Status;
        if (retryAfter is { } seconds)
        {
            response.Headers.RetryAfter = seconds.ToString();
        }

        response.Headers.CacheControl = "no-store";
        await response.WriteAsJsonAsync(
            Problem with
            {
                TraceId = Activity.Current?.TraceId.ToHexString() ?? httpContext.TraceIdentifier,
            },
            ApiJson.Options,
            Problem.MediaType,
            httpContext.RequestAborted
        );
    }
}
