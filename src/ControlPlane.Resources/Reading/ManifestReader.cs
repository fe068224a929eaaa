using System.Collections.Frozen;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Unicode;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Reading;

/// <summary>The syntax of an input.</summary>
public enum ManifestFormat
{
    /// <summary>JSON where the first character is <c>{</c> or <c>[</c>, else YAML.</summary>
    Guess,

    /// <summary>One JSON text: an object, a list of objects, or a <c>kind: List</c>.</summary>
    Json,

    /// <summary>One or more YAML documents, each of which is what a JSON text can be.</summary>
    Yaml,
}

/// <summary>
/// Reads manifests from JSON or YAML. All faults are found in one pass and told with pointer, line and column. Whatever the bytes are, the answer comes in time
/// proportional to their number and is never an exception.
/// </summary>
public static class ManifestReader
{
    private static readonly FrozenSet<string> HeadFields = new[] { "apiVersion", "kind", "metadata", "spec", "status" }.ToFrozenSet();

    /// <summary>What the server adds to <c>metadata</c>. Accepted, so that what was read can be sent back, and of no effect but for resourceVersion.</summary>
    private static readonly FrozenSet<string> ServerFields = new[]
    {
        "uid",
        "generation",
        "resourceVersion",
        "revision",
        "managedBy",
        "source",
        "createdAt",
        "updatedAt",
    }.ToFrozenSet();

    private static readonly FrozenDictionary<string, ResourceKind> Kinds = Enum.GetValues<ResourceKind>()
        .ToFrozenDictionary(k => k.ToString(), StringComparer.Ordinal);

    /// <summary>The format that a Content-Type names, which is guessed where there is none; null for what holds no manifests, or is not UTF-8.</summary>
    public static ManifestFormat? FormatOf(string? contentType)
    {
        var parts = (contentType ?? "").Split(';', StringSplitOptions.TrimEntries);
        var mediaType = parts[0].ToLowerInvariant();
        return !parts.Skip(1).All(IsReadable)
            ? null
            : mediaType switch
            {
                "" => ManifestFormat.Guess,
                "application/json" or "text/json" => ManifestFormat.Json,
                "application/yaml" or "application/x-yaml" or "text/yaml" or "text/x-yaml" => ManifestFormat.Yaml,
                _ when mediaType.EndsWith("+json", StringComparison.Ordinal) => ManifestFormat.Json,
                _ when mediaType.EndsWith("+yaml", StringComparison.Ordinal) => ManifestFormat.Yaml,
                _ => null,
            };

        // ASCII is UTF-8, too.
        static bool IsReadable(string parameter) =>
            parameter.Split('=', 2, StringSplitOptions.TrimEntries) is not [var name, var value]
            || !name.Equals("charset", StringComparison.OrdinalIgnoreCase)
            || value.Trim('"').ToLowerInvariant() is "utf-8" or "utf8" or "us-ascii";
    }

    /// <summary>Reads all objects of an input.</summary>
    /// <param name="input">UTF-8, with or without a byte order mark.</param>
    /// <param name="format">The syntax.</param>
    /// <param name="expected">
    /// The object that the input must be, where it is known from elsewhere (a URL): then <c>apiVersion</c>, <c>kind</c> and <c>metadata.name</c> may be left out.
    /// </param>
    /// <param name="limits">Bounds; null for <see cref="ReadLimits.Default"/>.</param>
    /// <param name="stored">
    /// Gives an object as it is stored, or null: a value that is <see cref="CanonicalForm.Redacted"/> is then taken from the same place of it, so that what was
    /// shown can be sent back, and what the manifest leaves open is checked as what it will be (<see cref="ResourceSpec.Settle"/>). Null refuses the marker in the place of a
    /// secret, and checks each object as a new one.
    /// </param>
    public static ManifestInput Read(
        ReadOnlyMemory<byte> input,
        ManifestFormat format = ManifestFormat.Guess,
        ResourceKey? expected = null,
        ReadLimits? limits = null,
        Func<ResourceKey, StoredResource?>? stored = null
    )
    {
        var bounds = limits ?? ReadLimits.Default;
        var mayRestore = RedactedValues.MayBeIn(input.Span);
        var duplicates = new DuplicateKeys();
        var problems = new List<ValidationProblem>();
        var roots = new List<DocumentNode>();
        try
        {
            foreach (var root in Parse(input, format, bounds, duplicates))
            {
                AddObjects(root, roots);
            }
        }
        catch (DocumentSyntaxException e)
        {
            problems.Add(new ValidationProblem("", e.Code, e.Message, Line: e.Line, Column: e.Column));
        }

        problems.AddRange(duplicates.Problems.Problems);
        if (roots.Count == 0 && problems.Count == 0)
        {
            problems.Add(
                new ValidationProblem("", "no-object", "The input holds no object. Send one that begins with apiVersion and kind.")
            );
        }

        if (expected is { } key && roots.Count > 1)
        {
            problems.Add(
                new ValidationProblem(
                    "",
                    "too-many-objects",
                    $"The input holds {roots.Count} objects where only {key} was expected. Send several through apply.",
                    Line: roots[1].Line,
                    Column: roots[1].Column
                )
            );
        }

        var documents = new List<ManifestDocument>(roots.Count);
        var faults = 0;
        foreach (var root in roots)
        {
            if (faults >= ProblemCollector.MaxOfSeverity)
            {
                documents.Add(Unread(root, documents.Count, roots.Count - documents.Count));
                break;
            }

            var document = Bind(root, documents.Count, expected, validate: true, stored, mayRestore);
            documents.Add(document);
            faults += document.Problems.Count(p => p.Severity == ProblemSeverity.Error);
        }

        return new ManifestInput(documents, problems);
    }

    /// <summary>Stands for the objects that are not looked at because those before them have faults enough.</summary>
    private static ManifestDocument Unread(DocumentNode root, int index, int count) =>
        new(
            index,
            root,
            null,
            null,
            null,
            null,
            [
                new ValidationProblem(
                    "",
                    ProblemCollector.More,
                    $"The {count} objects from here on were not looked at. Mend the faults of those before them and send it again.",
                    Line: root.Line,
                    Column: root.Column
                ),
            ]
        );

    /// <summary>Reads one record that is no object of its own, such as the body of an order, by the same rules.</summary>
    /// <returns>The record, or null where <paramref name="problems"/> has errors.</returns>
    public static T? ReadRecord<T>(ReadOnlyMemory<byte> input, ManifestFormat format, ProblemCollector problems)
        where T : class
    {
        object? value = null;
        if (ReadRoot(input, format, problems) is { } root)
        {
            ValueFormat.Of(typeof(T)).TryRead(root, new BindingContext(problems, root.Line, root.Column), out value);
        }

        return problems.HasErrors ? null : (T?)value;
    }

    /// <summary>Reads one JSON text that is no object of its own, such as a patch, by the same rules. Its numbers stay as they are written.</summary>
    /// <returns>The value; null for <c>null</c>, and where <paramref name="problems"/> has errors.</returns>
    public static JsonNode? ReadJson(ReadOnlyMemory<byte> input, ProblemCollector problems)
    {
        ReadRoot(input, ManifestFormat.Json, problems);
        return problems.HasErrors
            ? null
            : JsonNode.Parse(WithoutMark(input).Span, documentOptions: new JsonDocumentOptions { MaxDepth = ReadLimits.Default.MaxDepth });
    }

    private static DocumentNode? ReadRoot(ReadOnlyMemory<byte> input, ManifestFormat format, ProblemCollector problems)
    {
        var duplicates = new DuplicateKeys();
        DocumentNode? root = null;
        try
        {
            var roots = Parse(input, format, ReadLimits.Default, duplicates).ToList();
            if (roots.Count == 1)
            {
                root = roots[0];
            }
            else
            {
                problems.Error("", "one-object", $"The input holds {roots.Count} documents where one object was expected.");
            }
        }
        catch (DocumentSyntaxException e)
        {
            problems.Add(new ValidationProblem("", e.Code, e.Message, Line: e.Line, Column: e.Column));
        }

        problems.AddAll(duplicates.Problems);
        return root;
    }

    /// <summary>Reads one object that was written by <see cref="CanonicalForm"/>.</summary>
    internal static ManifestDocument ReadStored(ReadOnlySpan<byte> json)
    {
        var duplicates = new DuplicateKeys();
        try
        {
            return Bind(JsonDocumentParser.Parse(json, ReadLimits.Default, duplicates), 0, expected: null, validate: false);
        }
        catch (DocumentSyntaxException e)
        {
            var root = new ScalarNode(ScalarKind.Null, "", e.Line, e.Column);
            return new ManifestDocument(
                0,
                root,
                null,
                null,
                null,
                null,
                [new ValidationProblem("", e.Code, e.Message, Line: e.Line, Column: e.Column)]
            );
        }
    }

    private static IEnumerable<DocumentNode> Parse(
        ReadOnlyMemory<byte> input,
        ManifestFormat format,
        ReadLimits limits,
        DuplicateKeys duplicates
    )
    {
        if (input.Length > limits.MaxBytes)
        {
            throw new DocumentSyntaxException(
                "too-large",
                $"The input has {input.Length} bytes; {limits.MaxBytes} are allowed. Split it.",
                1,
                1
            );
        }

        var text = WithoutMark(input);
        CheckText(text.Span);
        if (format == ManifestFormat.Guess)
        {
            var start = text.Span.TrimStart(" \t\r\n"u8);
            format = start is [(byte)'{' or (byte)'[', ..] ? ManifestFormat.Json : ManifestFormat.Yaml;
        }

        return format == ManifestFormat.Json
            ? [JsonDocumentParser.Parse(text.Span, limits, duplicates)]
            : YamlDocumentParser.Parse(Encoding.UTF8.GetString(text.Span), limits, duplicates);
    }

    private static ReadOnlyMemory<byte> WithoutMark(ReadOnlyMemory<byte> input) => input.Span.StartsWith("\uFEFF"u8) ? input[3..] : input;

    private static void CheckText(ReadOnlySpan<byte> text)
    {
        var bad = Utf8.IsValid(text) ? text.IndexOf((byte)0) : FirstInvalid(text);
        if (bad >= 0)
        {
            var before = text[..bad];
            throw new DocumentSyntaxException(
                "invalid-text",
                text[bad] == 0
                    ? "The input holds a NUL character. Remove it."
                    : "The input is not UTF-8. Save it as UTF-8; bytes that are no text belong in base64.",
                before.Count((byte)'\n') + 1,
                Encoding.UTF8.GetCharCount(before[(before.LastIndexOf((byte)'\n') + 1)..]) + 1
            );
        }
    }

    private static int FirstInvalid(ReadOnlySpan<byte> text)
    {
        var at = 0;
        while (Rune.DecodeFromUtf8(text[at..], out _, out var consumed) == System.Buffers.OperationStatus.Done)
        {
            at += consumed;
        }

        return at;
    }

    /// <summary>Takes lists apart: a bare one, and a <c>kind: List</c> as Kubernetes tools write it.</summary>
    private static void AddObjects(DocumentNode root, List<DocumentNode> roots)
    {
        switch (root)
        {
            case SequenceNode sequence:
                roots.AddRange(sequence.Items);
                break;
            case MappingNode mapping
                when mapping.Find("kind")?.Value is ScalarNode { Text: "List" } && mapping.Find("items")?.Value is SequenceNode items:
                roots.AddRange(items.Items);
                break;
            default:
                roots.Add(root);
                break;
        }
    }

    private static ManifestDocument Bind(
        DocumentNode root,
        int index,
        ResourceKey? expected,
        bool validate,
        Func<ResourceKey, StoredResource?>? find = null,
        bool mayRestore = false
    )
    {
        var problems = new ProblemCollector();
        var context = new BindingContext(problems, root.Line, root.Column);
        if (root is not MappingNode mapping)
        {
            context.Error("wrong-type", $"Expected an object with apiVersion, kind, metadata and spec, found {root.Noun}.");
            return new ManifestDocument(index, root, expected?.Kind, expected?.Name, null, null, problems.Problems);
        }

        foreach (var entry in mapping.Entries)
        {
            if (!HeadFields.Contains(entry.Key))
            {
                context.UnknownMember(entry, HeadFields, () => " An object has apiVersion, kind, metadata and spec.");
            }
        }

        ReadApiVersion(mapping, context, isOptional: expected is not null);
        var kind = ReadKind(mapping, context, expected?.Kind);
        var metadata = ReadMetadata(mapping, context, expected, kind, validate);
        var resourceVersion = ReadResourceVersion(mapping, context);
        var stored = kind is null ? null : find?.Invoke(new ResourceKey(kind.Value, metadata?.Name ?? ""));
        List<string> restored =
            mayRestore && stored is not null && mapping.Find("spec") is { } given
                ? RedactedValues.Restore(given.Value, stored.Manifest)
                : [];
        var (spec, isWhole) = ReadSpec(mapping, context, kind);
        if (validate && spec is not null && isWhole)
        {
            var found = new ProblemCollector();
            SpecTypes.Validate(kind!.Value, spec.Settle(stored?.Manifest.Spec), found);
            problems.AddAll(found, problem => ManifestDocument.Locate(root, problem));
        }

        var draft = kind is null || spec is null || metadata is null || !isWhole ? null : new Manifest(kind.Value, metadata, spec);
        var manifest = problems.HasErrors ? null : draft;
        return new ManifestDocument(index, root, kind, metadata?.Name ?? NameIn(mapping), manifest, resourceVersion, problems.Problems)
        {
            Draft = draft,
            RestoredFrom = restored.Count > 0 ? stored!.Revision : null,
            Restored = restored,
        };
    }

    private static void ReadApiVersion(MappingNode mapping, BindingContext context, bool isOptional)
    {
        if (mapping.Find("apiVersion") is not { } entry)
        {
            if (!isOptional)
            {
                context.MissingMember("apiVersion", $"'apiVersion' is missing. Write apiVersion: {Manifest.ApiVersion}.");
            }

            return;
        }

        if (entry.Value is not ScalarNode { Kind: ScalarKind.Text, Text: Manifest.ApiVersion })
        {
            context.Enter(entry);
            context.Error("unknown-api-version", $"The only apiVersion is {Manifest.ApiVersion}.");
            context.Leave();
        }
    }

    private static ResourceKind? ReadKind(MappingNode mapping, BindingContext context, ResourceKind? expected)
    {
        if (mapping.Find("kind") is not { } entry)
        {
            if (expected is null)
            {
                context.MissingMember("kind", $"'kind' is missing. Write one of {string.Join(", ", Kinds.Keys.Order())}.");
            }

            return expected;
        }

        context.Enter(entry);
        ResourceKind? kind = null;
        if (entry.Value is not ScalarNode { Kind: ScalarKind.Text } scalar)
        {
            context.Error("wrong-type", $"Expected the name of a kind, found {entry.Value.Noun}.");
        }
        else if (!Kinds.TryGetValue(scalar.Text, out var known) || !SpecTypes.Has(known))
        {
            context.Error(
                "unknown-kind",
                $"There is no kind {TextExcerpt.Quote(scalar.Text)}. Kinds are {string.Join(", ", Kinds.Keys.Order())}.{Suggestion.For(scalar.Text, Kinds.Keys)}"
            );
        }
        else if (expected is not null && known != expected)
        {
            context.Error("wrong-kind", $"The object is of kind {known} where {expected} was expected.");
        }
        else
        {
            kind = known;
        }

        context.Leave();
        return kind;
    }

    private static ResourceMetadata? ReadMetadata(
        MappingNode mapping,
        BindingContext context,
        ResourceKey? expected,
        ResourceKind? kind,
        bool validate
    )
    {
        if (mapping.Find("metadata") is not { } entry)
        {
            if (expected is null)
            {
                context.MissingMember("metadata", "'metadata' is missing. Give an object with at least a name.");
                return null;
            }

            if (validate && ResourceNames.Explain(expected.Value.Kind, expected.Value.Name) is { } fault)
            {
                context.Error("invalid-name", fault);
            }

            return new ResourceMetadata { Name = expected.Value.Name };
        }

        context.Enter(entry);
        var node = entry.Value;
        if (expected is not null && node is MappingNode given && given.Find("name") is null)
        {
            node = new MappingNode(
                [
                    .. given.Entries,
                    new MappingEntry(
                        "name",
                        node.Line,
                        node.Column,
                        new ScalarNode(ScalarKind.Text, expected.Value.Name, node.Line, node.Column)
                    ),
                ],
                node.Line,
                node.Column
            );
        }

        ResourceMetadata? metadata = null;
        if (((RecordFormat)ValueFormat.Of(typeof(ResourceMetadata))).TryRead(node, context, ServerFields, out var value))
        {
            metadata = (ResourceMetadata)value!;
            if (validate)
            {
                MetadataValidator.Validate(metadata, kind, expected, (MappingNode)node, context);
            }
        }

        context.Leave();
        return metadata;
    }

    private static string? ReadResourceVersion(MappingNode mapping, BindingContext context)
    {
        if (mapping.Find("metadata") is not { Value: MappingNode metadata } head || metadata.Find("resourceVersion") is not { } entry)
        {
            return null;
        }

        if (entry.Value is ScalarNode { Kind: ScalarKind.Text or ScalarKind.Number } scalar)
        {
            return scalar.Text;
        }

        if (entry.Value is not ScalarNode { Kind: ScalarKind.Null })
        {
            context.Enter(head);
            context.Enter(entry);
            context.Error("wrong-type", $"Expected the resourceVersion as it was read, found {entry.Value.Noun}.");
            context.Leave();
            context.Leave();
        }

        return null;
    }

    private static (ResourceSpec? Spec, bool IsWhole) ReadSpec(MappingNode mapping, BindingContext context, ResourceKind? kind)
    {
        if (mapping.Find("spec") is not { } entry)
        {
            context.MissingMember("spec", "'spec' is missing. Give an object, {} where all defaults are meant.");
            return (null, false);
        }

        if (kind is null)
        {
            return (null, false);
        }

        context.Enter(entry);
        var isWhole = ValueFormat.Of(SpecTypes.TypeOf(kind.Value)).TryRead(entry.Value, context, out var spec);
        context.Leave();
        return ((ResourceSpec?)spec, isWhole);
    }

    private static string? NameIn(MappingNode mapping) =>
        mapping.Find("metadata") is { Value: MappingNode metadata } && metadata.Find("name") is { Value: ScalarNode name }
            ? name.Text
            : null;
}
