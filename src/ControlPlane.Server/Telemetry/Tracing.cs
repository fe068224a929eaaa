using System.Diagnostics;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Telemetry;

/// <summary>
/// The spans of a change: <c>apply</c> (validation and commit, a child of the HTTP request), <c>publish</c>, and one <c>push</c> per proxy and type, from the
/// response's first byte to the proxy's answer. Nothing is made, and nothing costs, while no collector is configured.
/// </summary>
internal static class Tracing
{
    /// <summary>Name of the source of all spans that are our own.</summary>
    public const string SourceName = "ControlPlane";

    /// <summary>Starts spans; <see cref="ActivitySource.StartActivity(string, ActivityKind)"/> gives null while nobody listens.</summary>
    public static readonly ActivitySource Source = new(SourceName);

    /// <summary>The span that the caller is in, as a W3C <c>traceparent</c> to be kept with a revision; empty if there is none.</summary>
    public static string Current => Activity.Current is { IdFormat: ActivityIdFormat.W3C, Id: { } id } ? id : "";

    /// <summary>The span that a kept <c>traceparent</c> names; default if it names none.</summary>
    public static ActivityContext Parse(string traceParent) =>
        ActivityContext.TryParse(traceParent, traceState: null, isRemote: true, out var context) ? context : default;

    /// <summary>Starts the span of a change that somebody asked for. It is the parent of all that comes of the change.</summary>
    public static Activity? StartApply(int objects)
    {
        var activity = Source.StartActivity("apply");
        activity?.SetTag("objects", objects);
        return activity;
    }

    /// <summary>Starts the span of compiling and putting in force what a revision touched.</summary>
    /// <param name="trace">The span of the commit; default starts a trace.</param>
    /// <param name="revision">The revision.</param>
    public static Activity? StartPublish(ActivityContext trace, long revision)
    {
        var activity = Source.StartActivity("publish", ActivityKind.Internal, trace);
        activity?.SetTag("revision", revision);
        return activity;
    }

    /// <summary>Records the whole span of a response that was answered.</summary>
    public static void Pushed(
        ActivityContext trace,
        ResourceType type,
        string node,
        DateTimeOffset sentAt,
        DateTimeOffset answeredAt,
        string? refusal
    )
    {
        // A change that is not traced makes no traces of its pushes either: there would be one for every proxy.
        if (trace == default)
        {
            return;
        }

        using var activity = Source.StartActivity("push", ActivityKind.Client, trace, startTime: sentAt);
        if (activity is null)
        {
            return;
        }

        activity.SetTag("xds.resource_type", type.ShortName);
        activity.SetTag("xds.node.id", node);
        if (refusal is not null)
        {
            activity.SetStatus(ActivityStatusCode.Error, refusal);
        }

        activity.SetEndTime(answeredAt.UtcDateTime);
    }
}
