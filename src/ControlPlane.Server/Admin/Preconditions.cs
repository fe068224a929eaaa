using System.Globalization;
using ControlPlane.Resources;

namespace ControlPlane.Server.Admin;

/// <summary>Optimistic concurrency: the strong ETag of an object is the revision that wrote it (RFC 9110, 8.8.3 and 13.1).</summary>
internal static class Preconditions
{
    /// <summary>The ETag of a state, with its quotes.</summary>
    public static string ETag(StoredResource resource) => $"\"{Version(resource)}\"";

    /// <summary>The resourceVersion of a state.</summary>
    public static string Version(StoredResource resource) => resource.Revision.ToString(CultureInfo.InvariantCulture);

    /// <summary>Reads what a request expects of the object's state.</summary>
    /// <param name="http">The request, with If-Match and If-None-Match.</param>
    /// <param name="bodyVersion"><c>metadata.resourceVersion</c> of the body, if it has one.</param>
    /// <param name="exists">Whether the object exists now.</param>
    /// <param name="expected">The revision that the object must be at, 0 if it must not exist, null if any state will do.</param>
    /// <returns>What is wrong with the request, or null.</returns>
    public static ProblemResult? Read(HttpContext http, string? bodyVersion, bool exists, out long? expected)
    {
        expected = null;
        var ifMatch = http.Request.Headers.IfMatch.ToString().Trim();
        var ifNoneMatch = http.Request.Headers.IfNoneMatch.ToString().Trim();
        if (ifMatch.Length > 0 && ifNoneMatch.Length > 0)
        {
            return Problems.Syntax("If-Match and If-None-Match exclude each other here. Send one.");
        }

        if (ifNoneMatch.Length > 0)
        {
            if (ifNoneMatch != "*")
            {
                return Problems.Syntax("If-None-Match is '*' here: create the object only if it does not exist.");
            }

            expected = 0;
            return null;
        }

        if (ifMatch == "*")
        {
            return exists ? null : Problems.Precondition("The object does not exist, and 'If-Match: *' asks that it does.", null);
        }

        if (ifMatch.Length > 0)
        {
            if (!(ifMatch is ['"', .. var inner, '"'] && TryVersion(inner, out expected)))
            {
                return Problems.Syntax($"If-Match is the ETag of one state of the object, such as \"42\" with its quotes, or '*'.");
            }

            if (bodyVersion is not null && (!TryVersion(bodyVersion, out var inBody) || inBody != expected))
            {
                return Problems.Syntax("If-Match and metadata.resourceVersion of the body differ. Send one, or both alike.");
            }

            return null;
        }

        return bodyVersion is null || TryVersion(bodyVersion, out expected)
            ? null
            : Problems.Syntax("metadata.resourceVersion is not one that this server gave. Leave it out, or send it as it was read.");
    }

    private static bool TryVersion(string text, out long? version)
    {
        var read = long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0;
        version = read ? number : null;
        return read;
    }
}
