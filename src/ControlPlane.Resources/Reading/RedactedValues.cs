using System.Text;

namespace ControlPlane.Resources.Reading;

/// <summary>
/// Lets an object be sent back as it was shown: where it says <see cref="CanonicalForm.Redacted"/>, the value is meant that the stored object has at the same place.
/// </summary>
internal static class RedactedValues
{
    /// <summary>Whether an input may hold the marker at all.</summary>
    public static bool MayBeIn(ReadOnlySpan<byte> input) => input.IndexOf("[redacted]"u8) >= 0;

    /// <summary>Puts stored values in the place of markers.</summary>
    /// <param name="spec">The spec that was sent; changed in place.</param>
    /// <param name="stored">The object as it is; null if it does not exist.</param>
    /// <param name="context">Stands at <paramref name="spec"/>; told of markers that stand for nothing.</param>
    /// <returns>Whether anything was put in.</returns>
    public static bool Restore(DocumentNode spec, Manifest? stored, BindingContext context)
    {
        var restored = false;
        var storedSpec = stored is null
            ? null
            : JsonDocumentParser.Parse(Encoding.UTF8.GetBytes(CanonicalForm.Write(stored.Spec)), ReadLimits.Default, new DuplicateKeys());
        Walk(spec, storedSpec, context, ref restored);
        return restored;
    }

    private static void Walk(DocumentNode node, DocumentNode? stored, BindingContext context, ref bool restored)
    {
        switch (node)
        {
            case MappingNode mapping:
                for (var i = 0; i < mapping.Entries.Count; i++)
                {
                    var entry = mapping.Entries[i];
                    context.Enter(entry);
                    mapping.Entries[i] = entry with
                    {
                        Value = Resolve(entry.Value, (stored as MappingNode)?.Find(entry.Key)?.Value, context, ref restored),
                    };
                    context.Leave();
                }

                break;
            case SequenceNode sequence:
                for (var i = 0; i < sequence.Items.Count; i++)
                {
                    context.Enter(i, sequence.Items[i]);
                    var counterpart = stored is SequenceNode items && i < items.Items.Count ? items.Items[i] : null;
                    sequence.Items[i] = Resolve(sequence.Items[i], counterpart, context, ref restored);
                    context.Leave();
                }

                break;
        }
    }

    private static DocumentNode Resolve(DocumentNode node, DocumentNode? stored, BindingContext context, ref bool restored)
    {
        if (node is not ScalarNode { Kind: ScalarKind.Text, Text: CanonicalForm.Redacted })
        {
            Walk(node, stored, context, ref restored);
            return node;
        }

        if (stored is null)
        {
            context.Error(
                "redacted-value",
                $"'{CanonicalForm.Redacted}' stands for a secret that is kept, and the object has none at this place. Give the value itself, or leave it out."
            );
            return node;
        }

        restored = true;
        return At(stored, node.Line, node.Column);
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
