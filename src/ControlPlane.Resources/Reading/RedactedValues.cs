using System.Text;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Reading;

/// <summary>
/// Lets an object be sent back as it was shown: where it says <see cref="CanonicalForm.Redacted"/>, the value is meant that the stored object has at the same
/// place. A marker that stands for nothing stays, and is refused by whoever reads it.
/// </summary>
internal static class RedactedValues
{
    /// <summary>Whether an input may hold the marker at all.</summary>
    public static bool MayBeIn(ReadOnlySpan<byte> input) => input.IndexOf("[redacted]"u8) >= 0;

    /// <summary>Puts stored values in the place of markers.</summary>
    /// <param name="spec">The spec that was sent; changed in place.</param>
    /// <param name="stored">The object as it is.</param>
    /// <returns>Where something was put in, as JSON pointers from the object's root.</returns>
    public static List<string> Restore(DocumentNode spec, Manifest stored)
    {
        var restored = new List<string>();
        var json = Encoding.UTF8.GetBytes(CanonicalForm.Write(stored.Spec));
        Walk(spec, JsonDocumentParser.Parse(json, ReadLimits.Default, new DuplicateKeys()), "/spec", restored);
        return restored;
    }

    private static void Walk(DocumentNode node, DocumentNode stored, string pointer, List<string> restored)
    {
        switch (node, stored)
        {
            case (MappingNode { Entries: var entries }, MappingNode counterpart):
                for (var i = 0; i < entries.Count; i++)
                {
                    if (counterpart.Find(entries[i].Key) is { } same)
                    {
                        entries[i] = entries[i] with
                        {
                            Value = Resolve(entries[i].Value, same.Value, $"{pointer}/{JsonPointer.Escape(entries[i].Key)}", restored),
                        };
                    }
                }

                break;
            case (SequenceNode { Items: var items }, SequenceNode counterpart):
                for (var i = 0; i < Math.Min(items.Count, counterpart.Items.Count); i++)
                {
                    items[i] = Resolve(items[i], counterpart.Items[i], $"{pointer}/{i}", restored);
                }

                break;
        }
    }

    private static DocumentNode Resolve(DocumentNode node, DocumentNode stored, string pointer, List<string> restored)
    {
        if (node is ScalarNode { Kind: ScalarKind.Text, Text: CanonicalForm.Redacted })
        {
            restored.Add(pointer);
            return At(stored, node.Line, node.Column);
        }

        Walk(node, stored, pointer, restored);
        return node;
    }

    /// <summary>A copy whose every part is where the marker was, so that a fault in it is told there.</summary>
    private static DocumentNode At(DocumentNode node, int line, int column) =>
        node switch
        {
            MappingNode mapping => new MappingNode(
                [.. mapping.Entries.Select(e => new MappingEntry(e.Key, line, column, At(e.Value, line, column)))],
                line,
                column
            ),
            SequenceNode sequence => new SequenceNode([.. sequence.Items.Select(i => At(i, line, column))], line, column),
            ScalarNode scalar => new ScalarNode(scalar.Kind, scalar.Text, line, column),
            _ => node,
        };
}
