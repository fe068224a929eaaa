using System.Buffers;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Reading;

/// <summary>Checks name, labels and annotations.</summary>
internal static class MetadataValidator
{
    private const int MaxKeyLength = 253;
    private const int MaxLabelValueLength = 253;
    private const int MaxAnnotationsLength = 256 * 1024;

    private static readonly SearchValues<char> KeyCharacters = SearchValues.Create(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./"
    );

    /// <summary>Nothing that a label selector uses as punctuation.</summary>
    private static readonly SearchValues<char> LabelValueCharacters = SearchValues.Create(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./:@+"
    );

    public static void Validate(
        ResourceMetadata metadata,
        ResourceKind? kind,
        ResourceKey? expected,
        MappingNode node,
        BindingContext context
    )
    {
        context.Enter(node.Find("name")!.Value);
        if (expected is { } key && key.Name != metadata.Name)
        {
            context.Error(
                "wrong-name",
                $"The object is named {TextExcerpt.Quote(metadata.Name)} where {TextExcerpt.Quote(key.Name)} was expected."
            );
        }
        else if (ResourceNames.Explain(kind ?? ResourceKind.Upstream, metadata.Name) is { } fault && kind is not null)
        {
            context.Error("invalid-name", fault);
        }

        context.Leave();
        foreach (var entry in Entries(node, "labels", context))
        {
            CheckKey(entry, context);
            var value = metadata.Labels[entry.Key];
            if (value.Length > MaxLabelValueLength || value.AsSpan().IndexOfAnyExcept(LabelValueCharacters) >= 0)
            {
                context.Error(
                    "invalid-label",
                    $"The value of a label is made of up to {MaxLabelValueLength} letters, digits and - _ . / : @ +. Put other text into annotations."
                );
            }
        }

        var length = 0;
        foreach (var entry in Entries(node, "annotations", context))
        {
            CheckKey(entry, context);
            length += entry.Key.Length + metadata.Annotations[entry.Key].Length;
            if (length > MaxAnnotationsLength)
            {
                context.Error("too-large", $"Annotations may have {MaxAnnotationsLength} characters in all.");
                length = int.MinValue;
            }
        }
    }

    /// <summary>The entries of a map of text; while one is looked at, the context is at it.</summary>
    private static IEnumerable<MappingEntry> Entries(MappingNode node, string name, BindingContext context)
    {
        if (node.Find(name) is not { Value: MappingNode map } head)
        {
            yield break;
        }

        context.Enter(head);
        foreach (var entry in map.Entries)
        {
            context.Enter(entry);
            yield return entry;
            context.Leave();
        }

        context.Leave();
    }

    private static void CheckKey(MappingEntry entry, BindingContext context)
    {
        if (entry.Key.Length is 0 or > MaxKeyLength || entry.Key.AsSpan().IndexOfAnyExcept(KeyCharacters) >= 0)
        {
            context.Error("invalid-key", $"A key here is made of 1 to {MaxKeyLength} letters, digits and - _ . /.");
        }
    }
}
