using System.Globalization;
using ControlPlane.Resources;
using Microsoft.Net.Http.Headers;

namespace ControlPlane.Server.Admin;

/// <summary>Optimistic concurrency: the strong ETag of an object is the revision that wrote it (RFC 9110, 8.8.3 and 13.1).</summary>
internal static class Preconditions
{
    /// <summary>The expected revision where an object was expected in a state that this server never gave.</summary>
    public const long NoState = -1;

    /// <summary>The ETag of a state, with its quotes.</summary>
    public static string ETag(StoredResource resource) => $"\"{Version(resource)}\"";

    /// <summary>The resourceVersion of a state.</summary>
    public static string Version(StoredResource resource) => resource.Revision.ToString(CultureInfo.InvariantCulture);

    /// <summary>Reads what a request expects of the object's state (RFC 9110, 13.1.1 and 13.1.2).</summary>
    /// <param name="http">The request, with If-Match and If-None-Match.</param>
    /// <param name="bodyVersion"><c>metadata.resourceVersion</c> of the body, if it has one.</param>
    /// <param name="current">The object as it is now, if it exists.</param>
    /// <param name="expected">
    /// The revision that the object must be at, 0 if it must not exist, null if any state will do, <see cref="NoState"/> if none will.
    /// </param>
    /// <returns>What is wrong with the request, or null.</returns>
    public static ProblemResult? Read(HttpContext http, string? bodyVersion, StoredResource? current, out long? expected)
    {
        expected = bodyVersion is null ? null : RevisionOf(bodyVersion);
        var ifMatch = http.Request.Headers.IfMatch;
        var ifNoneMatch = http.Request.Headers.IfNoneMatch;
        if (ifMatch.Count > 0 && ifNoneMatch.Count > 0)
        {
            return Problems.Header("If-Match and If-None-Match exclude each other here. Send one.");
        }

        if (ifNoneMatch.Count > 0)
        {
            expected = 0;
            return ifNoneMatch.ToString().Trim() == "*"
                ? null
                : Problems.Header("If-None-Match is '*' in a write: create the object only if it does not exist.");
        }

        if (ifMatch.Count == 0)
        {
            return null;
        }

        if (!EntityTagHeaderValue.TryParseList(ifMatch, out var tags) || tags.Count == 0)
        {
            return Problems.Header(
                "If-Match is '*', or ETags of states of the object, each with its quotes, such as \"42\" or \"41\", \"42\"."
            );
        }

        // Of several states the object can be in only one now, which it must still be in when the change is made.
        var holds = current is not null && tags.Any(t => t.Tag == "*" || (!t.IsWeak && t.Tag == ETag(current)));
        if (!holds)
        {
            expected = tags is [{ IsWeak: false }] ? RevisionOf(tags[0].Tag.Value!.Trim('"')) : NoState;
        }
        else if (tags[0].Tag != "*")
        {
            expected ??= current!.Revision;
        }

        return null;
    }

    /// <summary>The problem of a write whose condition would not be looked at, and which would so be done although it does not hold.</summary>
    public static ProblemResult? ExplainUnheeded(HttpContext http) =>
        (http.Request.Headers.IfMatch.Count > 0 || http.Request.Headers.IfNoneMatch.Count > 0)
        && !HttpMethods.IsGet(http.Request.Method)
        && !HttpMethods.IsHead(http.Request.Method)
        && !ApiDocument.TakesCondition(http.GetEndpoint()?.Metadata ?? [], http.Request.Method)
            ? Problems.Header(
                "If-Match and If-None-Match have no meaning here. Leave them out; to write objects only as you saw them, give metadata.resourceVersion in the body of /apply, or write them one by one."
            )
            : null;

    /// <summary>Whether a reader has the state already that an answer would show (RFC 9110, 13.1.2).</summary>
    public static bool IsNotModified(HttpContext http) =>
        (HttpMethods.IsGet(http.Request.Method) || HttpMethods.IsHead(http.Request.Method))
        && http.Response.Headers.ETag.ToString() is { Length: > 0 } tag
        && EntityTagHeaderValue.TryParseList(http.Request.Headers.IfNoneMatch, out var known)
        && known.Any(k => k.Tag == "*" || k.Tag == tag);

    /// <summary>The revision that a resourceVersion names; <see cref="NoState"/> for one of another server, which means nothing here.</summary>
    public static long RevisionOf(string version) =>
        long.TryParse(version, NumberStyles.None, CultureInfo.InvariantCulture, out var revision) && revision > 0 ? revision : NoState;
}
