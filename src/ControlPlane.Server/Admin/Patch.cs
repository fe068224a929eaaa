using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;

namespace ControlPlane.Server.Admin;

/// <summary>
/// A patch as it was sent, in either of two formats: merge (RFC 7396), which is taken unless the Content-Type says otherwise, and JSON Patch (RFC 6902). It is
/// applied to the object as it is shown: it can keep, move along with a list's items and remove what is secret, but not look at it.
/// </summary>
internal sealed class Patch
{
    public const string MergeType = "application/merge-patch+json";
    public const string OperationsType = "application/json-patch+json";

    private static readonly JsonDocumentOptions DocumentOptions = new()
    {
        MaxDepth = ReadLimits.Default.MaxDepth,
        AllowDuplicateProperties = false,
    };

    private readonly JsonObject? _merge;
    private readonly JsonPatch? _operations;

    private Patch(JsonObject? merge, JsonPatch? operations) => (_merge, _operations) = (merge, operations);

    /// <summary>Reads the patch in a request's body.</summary>
    public static async Task<(Patch? Patch, ProblemResult? Problem)> ReadAsync(HttpContext http)
    {
        var mediaType = (http.Request.ContentType ?? "").Split(';')[0].Trim().ToLowerInvariant();
        if (mediaType is not (OperationsType or MergeType or "application/json" or ""))
        {
            return (null, Problems.MediaType($"A patch has the Content-Type {MergeType} (or application/json) or {OperationsType}."));
        }

        var body = await RequestBody.ReadBytesAsync(http);
        try
        {
            var json = JsonNode.Parse(body.Span, documentOptions: DocumentOptions);
            if (mediaType == OperationsType)
            {
                var (operations, fault) = JsonPatch.Read(json);
                return fault is null ? (new Patch(null, operations), null) : (null, Problems.Syntax(fault));
            }

            return json is JsonObject merge
                ? (new Patch(merge, null), null)
                : (
                    null,
                    Problems.Syntax(
                        "A merge patch is an object that holds what changes, for example {\"spec\": {\"connectTimeout\": \"1s\"}}."
                    )
                );
        }
        catch (JsonException e)
        {
            return (null, NotJson(e));
        }
    }

    /// <summary>Applies the patch to an object.</summary>
    public (ManifestDocument? Document, ProblemResult? Problem) Apply(StoredResource resource)
    {
        var veiled = VeiledObject.Of(resource.Manifest);
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

    private static ProblemResult NotJson(JsonException e) =>
        Problems.Syntax(
            "The patch is not valid JSON.",
            [
                new Fault(
                    "invalid-json",
                    e.Message.Split(" Path:")[0].Split(" LineNumber:")[0],
                    Line: e.LineNumber is { } line ? (int)line + 1 : null,
                    Column: e.BytePositionInLine is { } column ? (int)column + 1 : null
                ),
            ]
        );
}
