using System.Diagnostics;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Telemetry;

/// <summary>
/// The spans of a change: <c>apply</c> (validation and commit, a child of the HTTP request) with <c>compile</c> in it, <c>publish</c> (putting in force) and one
/// <c>ack</c> per proxy and type, from the response to its answer. None is made, and none costs anything, while no collector is configured.
/// </summary>
internal static class Tracing
{
    /// <summary>Name of the source of these spans.</summary>
    public const string SourceName = "ControlPlane";

    /// <summary>Starts spans; <see cref="ActivitySource.StartActivity(string, ActivityKind)"/> gives null while nobody listens.</summary>
    public static readonly ActivitySource Source = new(SourceName);

    /// <summary>The W3C id of the trace that the caller is in, 32 hexadecimal digits, to be kept with a revision; empty if there is none.</summary>
    public static string CurrentId => Activity.Current is { IdFormat: ActivityIdFormat.W3C, TraceId: var id } ? id.ToHexString() : "";

    /// <summary>Starts the span of a change that somebody asked for. It is the parent of all that comes of the change.</summary>
    public static Activity? StartApply() => Source.StartActivity("apply");

    /// <summary>Starts the span of compiling what a change touches.</summary>
    /// <param name="objects">How many objects.</param>
    public static Activity? StartCompile(int objects) => Source.StartActivity("compile")?.SetTag("objects", objects);

    /// <summary>Starts the span of putting in force what a revision touched.</summary>
    /// <param name="trace">The span of the commit, where it is not the current one; default continues the current trace.</param>
    /// <param name="revision">The revision.</param>
    public static Activity? StartPublish(ActivityContext trace, long revision) =>
        Source.StartActivity("publish", ActivityKind.Internal, trace)?.SetTag("revision", revision);

    /// <summary>Records the span of a response that was answered.</summary>
    public static void Answered(
        ActivityContext trace,
        ResourceType type,
        string node,
        DateTimeOffset sentAt,
        DateTimeOffset answeredAt,
        string? refusal
    )
    {
        // A change that is not traced begins no traces here: there would be one for every proxy.
        if (trace == default)
        {
            return;
        }

        using var activity = Source.StartActivity("ack", ActivityKind.Client, trace, startTime: sentAt);
        activity
            ?.SetTag("xds.resource_type", type.ShortName)
            .SetTag("xds.node.id", node)
            .SetStatus(refusal is null ? ActivityStatusCode.Unset : ActivityStatusCode.Error, refusal)
            .SetEndTime(answeredAt.UtcDateTime);
    }
}
