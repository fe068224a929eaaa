using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Server.Admin;

/// <summary>
/// A patch as it was sent, in either of two formats: merge (RFC 7396), which is taken unless the Content-Type says otherwise, and JSON Patch (RFC 6902). It is
/// applied to the object as it is shown: it can keep, move along with a list's items and remove what is secret, but not look at it.
/// </summary>
internal sealed class Patch
{
    public const string MergeType = "application/merge-patch+json";
    public const string OperationsType = "application/json-patch+json";

    private readonly JsonObject? _merge;
    private readonly JsonPatch? _operations;

    private Patch(JsonObject? merge, JsonPatch? operations) => (_merge, _operations) = (merge, operations);

    /// <summary>Reads the patch in a request's body.</summary>
    public static async Task<(Patch? Patch, ProblemResult? Problem)> ReadAsync(HttpContext http)
    {
        var type = http.Request.ContentType ?? "";
        var mediaType = type.Split(';')[0].Trim().ToLowerInvariant();
        if (mediaType is not (OperationsType or MergeType or "application/json" or "") || ManifestReader.FormatOf(type) is null)
        {
            return (
                null,
                Problems.MediaType($"A patch has the Content-Type {MergeType} (or application/json) or {OperationsType}, and is UTF-8.")
            );
        }

        var problems = new ProblemCollector();
        var json = ManifestReader.ReadJson(await RequestBody.ReadBytesAsync(http), problems);
        if (problems.HasErrors)
        {
            return (
                null,
                Problems.Syntax("The patch is not valid JSON.", [.. problems.Problems.Select(p => RequestBody.ToFault(p, null))])
            );
        }

        if (mediaType == OperationsType)
        {
            var (operations, fault) = JsonPatch.Read(json);
            return fault is null ? (new Patch(null, operations), null) : (null, Problems.Syntax(fault.Message, [fault]));
        }

        if (json is JsonObject merge)
        {
            return (new Patch(merge, null), null);
        }

        var notMerge = new Fault(
            "not-a-patch",
            "A merge patch is an object that holds what changes, for example {\"spec\": {\"connectTimeout\": \"1s\"}}."
        );
        return (null, Problems.Syntax(notMerge.Message, [notMerge]));
    }

    /// <summary>Applies the patch to an object.</summary>
    public (ManifestDocument? Document, ProblemResult? Problem) Apply(StoredResource resource)
    {
        var veiled = VeiledObject.Of(resource.Manifest);
        // With the server's part: a patch may ask for a state, and change nothing of it.
        veiled.Json["metadata"] = JsonSerializer.SerializeToNode(ObjectViews.MetadataOf(resource), ApiJson.Options);
        JsonNode? patched;
        if (_merge is not null)
        {
            patched = Merge(veiled.Json, _merge);
        }
        else
        {
            (patched, var problem) = _operations!.Apply(veiled.Json, veiled.Shown);
            if (problem is not null)
            {
                return (null, problem);
            }
        }

        var (secrets, misplaced) = veiled.Unveil(ref patched);
        return misplaced is null
            ? RequestBody.ReadPatched(Encoding.UTF8.GetBytes(patched?.ToJsonString(ApiJson.Options) ?? "null"), resource, secrets)
            : (null, RequestBody.CarriedSecret(misplaced));
    }

    /// <summary>RFC 7396, section 2: objects are merged member by member, null removes, anything else replaces.</summary>
    internal static JsonNode? Merge(JsonNode? target, JsonNode? patch)
    {
        if (patch is not JsonObject members)
        {
            return patch?.DeepClone();
        }

        var result = target as JsonObject ?? [];
        foreach (var (name, value) in members)
        {
            result.Remove(name, out var old);
            if (value is not null)
            {
                result[name] = Merge(old, value);
            }
        }

        return result;
    }
}
