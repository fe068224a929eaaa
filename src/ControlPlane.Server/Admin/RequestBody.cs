using System.Buffers;
using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.Admin;

/// <summary>Reads bodies: whole, within the server's limit, as JSON or YAML.</summary>
internal static class RequestBody
{
    private const string MediaTypes = "Send Content-Type: application/json or application/yaml.";

    /// <summary>Largest body in bytes.</summary>
    public static readonly int MaxBytes = ReadLimits.Default.MaxBytes;

    /// <summary>Reads all bytes.</summary>
    /// <exception cref="BadHttpRequestException">The body is larger than <see cref="MaxBytes"/>. What else of it comes, Kestrel reads and drops for some seconds.</exception>
    public static async Task<ReadOnlyMemory<byte>> ReadBytesAsync(HttpContext http)
    {
        var reader = http.Request.BodyReader;
        var stop = http.RequestAborted;
        // A read that is cancelled by its token leaves the reader unable to drop the rest.
        await using var registration = stop.Register(reader.CancelPendingRead);
        while (http.Request.ContentLength is not { } length || length <= MaxBytes)
        {
            var result = await reader.ReadAsync(CancellationToken.None);
            if (result.IsCanceled)
            {
                reader.AdvanceTo(result.Buffer.End);
                throw new OperationCanceledException(stop);
            }

            if (result.Buffer.Length > MaxBytes)
            {
                reader.AdvanceTo(result.Buffer.End);
                break;
            }

            if (result.IsCompleted)
            {
                var bytes = result.Buffer.ToArray();
                reader.AdvanceTo(result.Buffer.End);
                return bytes;
            }

            reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        }

        throw new BadHttpRequestException("The body is too large.", StatusCodes.Status413PayloadTooLarge);
    }

    /// <summary>Reads any number of objects. Those that have faults are among them: whoever changes what is stored tells these faults with all others.</summary>
    /// <param name="http">The request.</param>
    /// <param name="stored">Gives an object as it is stored, to take secrets from that the body shows as kept.</param>
    public static async Task<(ImmutableArray<ManifestDocument> Documents, ProblemResult? Problem)> ReadManifestsAsync(
        HttpContext http,
        Func<ResourceKey, StoredResource?> stored
    )
    {
        if (ManifestReader.FormatOf(http.Request.ContentType) is not { } format)
        {
            return ([], Unsupported(http));
        }

        return Check(ManifestReader.Read(await ReadBytesAsync(http), format, stored: stored), hasText: true);
    }

    /// <summary>Reads the one object that the URL names; kind and name may be left out of the body. It may have faults, as of several.</summary>
    public static async Task<(ManifestDocument? Document, ProblemResult? Problem)> ReadManifestAsync(
        HttpContext http,
        ResourceKey key,
        Func<ResourceKey, StoredResource?> stored
    )
    {
        if (ManifestReader.FormatOf(http.Request.ContentType) is not { } format)
        {
            return (null, Unsupported(http));
        }

        return CheckOne(await ReadBytesAsync(http), format, key, stored, hasText: true);
    }

    /// <summary>Reads an object from a document that was made here, by a patch: places in it mean nothing to the client.</summary>
    /// <param name="json">The document.</param>
    /// <param name="resource">The object that was patched.</param>
    /// <param name="secrets">Where in the document secrets of the object are.</param>
    public static (ManifestDocument? Document, ProblemResult? Problem) ReadPatched(
        ReadOnlyMemory<byte> json,
        StoredResource resource,
        IReadOnlyList<string> secrets
    )
    {
        var (document, problem) = CheckOne(json, ManifestFormat.Json, resource.Key, _ => resource, hasText: false);
        return document?.Manifest is { } manifest && Shown(manifest, secrets) is { } shown
            ? (null, CarriedSecret(shown))
            : (document, problem);
    }

    /// <summary>The answer to a secret that would turn up where it was not.</summary>
    public static ProblemResult CarriedSecret(string pointer) =>
        Problems.Invalid(
            Count(1),
            [
                new Fault(
                    "redacted-value",
                    "A secret of the stored object would come to stand here, where it is not meant or would be shown. Give the value itself, or a reference to it.",
                    Pointer: pointer
                ),
            ]
        );

    private static string? Shown(Manifest manifest, IReadOnlyList<string> secrets)
    {
        if (secrets.Count == 0)
        {
            return null;
        }

        var view = Redaction.View(manifest);
        return secrets.FirstOrDefault(pointer => !VeiledObject.Hides(view, pointer));
    }

    /// <summary>The answer to a media type that holds no objects.</summary>
    public static ProblemResult Unsupported(HttpContext http)
    {
        var given = http.Request.ContentType;
        return Problems.MediaType(
            given switch
            {
                null or "" => $"The request has no Content-Type. {MediaTypes}",
                "application/x-www-form-urlencoded" => $"The Content-Type is that of a form, which curl sends unasked. {MediaTypes}",
                _ => $"The Content-Type is not taken here. {MediaTypes}",
            }
        );
    }

    /// <summary>A problem of an object in the words of the API.</summary>
    public static Fault ToFault(ValidationProblem problem, string? owner) =>
        new(
            problem.Code,
            problem.Message,
            owner,
            problem.Pointer.Length == 0 ? null : JsonPointer.Excerpt(problem.Pointer),
            problem.Line == 0 ? null : problem.Line,
            problem.Column == 0 ? null : problem.Column
        );

    private static (ManifestDocument?, ProblemResult?) CheckOne(
        ReadOnlyMemory<byte> bytes,
        ManifestFormat format,
        ResourceKey key,
        Func<ResourceKey, StoredResource?> stored,
        bool hasText
    )
    {
        var (documents, problem) = Check(ManifestReader.Read(bytes, format, key, stored: stored), hasText);
        return problem is null ? (documents[0], null) : (null, problem);
    }

    private static (ImmutableArray<ManifestDocument>, ProblemResult?) Check(ManifestInput input, bool hasText)
    {
        if (input.Problems.Count > 0)
        {
            return ([], Problems.Syntax("The body is not what it has to be; 'errors' says where.", Faults(input.Problems, null, hasText)));
        }

        return
            input.Documents.Select(d => d.Manifest is null ? null : Shown(d.Manifest, d.Restored)).FirstOrDefault(p => p is not null)
                is { } shown
            ? ([], CarriedSecret(shown))
            : ([.. input.Documents], null);
    }

    /// <summary>The change that an object of a body asks for.</summary>
    /// <param name="document">The object.</param>
    /// <param name="key">Its key where the URL says it.</param>
    /// <param name="expected">The revision that it must be at.</param>
    public static ObjectChange ChangeOf(ManifestDocument document, ResourceKey? key, long? expected)
    {
        var at = key ?? new ResourceKey(document.Kind ?? default, document.Name ?? "");
        // A name that differs from the URL's is one of the faults; everything else is judged as what the URL says.
        var draft = document.Draft is { } read ? read with { Metadata = read.Metadata with { Name = at.Name } } : null;
        return new ObjectChange(at, document.Manifest ?? draft, expected)
        {
            Faults = document.Manifest is null ? [.. document.Problems.Where(p => p.Severity == ProblemSeverity.Error)] : [],
        };
    }

    /// <summary>How many faults there are, as a sentence.</summary>
    public static string Count(int faults) =>
        faults == 1 ? "There is one fault; 'errors' says where and how to mend it."
        : faults > ProblemCollector.MaxOfSeverity
            ? $"There are more than {ProblemCollector.MaxOfSeverity} faults; 'errors' says of the first where and how to mend them."
        : $"There are {faults} faults; 'errors' says where and how to mend them.";

    private static ImmutableArray<Fault> Faults(IEnumerable<ValidationProblem> problems, string? owner, bool hasText) =>
        [.. problems.Select(p => ToFault(hasText ? p : p with { Line = 0, Column = 0 }, owner))];
}
