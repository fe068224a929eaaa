using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using Microsoft.AspNetCore.JsonPatch.SystemTextJson;
using Microsoft.AspNetCore.JsonPatch.SystemTextJson.Exceptions;
using Microsoft.AspNetCore.JsonPatch.SystemTextJson.Operations;

namespace ControlPlane.Server.Admin;

/// <summary>A patch as it was sent, in either of two formats: merge (RFC 7396), which is taken unless the Content-Type says otherwise, and JSON Patch (RFC 6902).</summary>
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
    private readonly JsonPatchDocument? _operations;

    private Patch(JsonObject? merge, JsonPatchDocument? operations) => (_merge, _operations) = (merge, operations);

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
            if (mediaType == OperationsType)
            {
                return
                    JsonSerializer.Deserialize<JsonPatchDocument>(body.Span, ApiJson.Options) is { } operations
                    // The library passes over what it does not know.
                    && operations.Operations.TrueForAll(o => o.OperationType != OperationType.Invalid && o.path is not null)
                    ? (new Patch(null, operations), null)
                    : (null, NoOperations());
            }

            return JsonNode.Parse(body.Span, documentOptions: DocumentOptions) is JsonObject merge
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
            return (
                null,
                mediaType == OperationsType && body.Span.TrimStart(" \t\r\n"u8) is not [(byte)'[', ..] ? NoOperations() : NotJson(e)
            );
        }
    }

    /// <summary>Applies the patch to an object.</summary>
    public (ManifestDocument? Document, ProblemResult? Problem) Apply(StoredResource resource)
    {
        JsonNode patched = JsonNode.Parse(CanonicalForm.Write(resource.Manifest))!;
        if (_merge is not null)
        {
            patched = Merge(patched, _merge)!;
        }
        else if (ApplyOperations((JsonObject)patched) is { } problem)
        {
            return (null, problem);
        }

        return RequestBody.ReadPatched(Encoding.UTF8.GetBytes(patched.ToJsonString(ApiJson.Options)), resource);
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

    private ProblemResult? ApplyOperations(JsonObject document)
    {
        try
        {
            _operations!.ApplyTo(document);
            return null;
        }
        catch (JsonPatchException e)
        {
            var failed = e.FailedOperation;
            var index = failed is null ? -1 : _operations!.Operations.FindIndex(o => ReferenceEquals(o, failed));
            // A test that fails is a precondition that does not hold (RFC 6902, 5). The library's words hold the values, which may be secret.
            return failed switch
            {
                { OperationType: OperationType.Test } => Problems.Conflict(
                    $"The 'test' of operation {index} does not hold: the value at {failed.path} is another. Nothing was changed."
                ),
                null => Problems.Invalid("The patch does not fit the object."),
                _ => Problems.Invalid(
                    $"Operation {index} ({failed.op} {failed.path}) does not fit the object: there is no such place in it. What equals a default is left out of an object; 'add' sets it."
                ),
            };
        }
    }

    private static ProblemResult NoOperations() =>
        Problems.Syntax(
            "A JSON patch is a list of operations, for example [{\"op\": \"add\", \"path\": \"/spec/connectTimeout\", \"value\": \"1s\"}]."
        );

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
