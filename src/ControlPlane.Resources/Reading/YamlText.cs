using System.Buffers;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace ControlPlane.Resources.Reading;

/// <summary>Writes JSON as block-style YAML that every YAML version reads alike: text is quoted as soon as any of them could take it for something else.</summary>
public static class YamlText
{
    private static readonly SearchValues<char> PlainCharacters = SearchValues.Create(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./"
    );

    /// <summary>Words that YAML 1.1 takes for booleans.</summary>
    private static readonly HashSet<string> OldBooleans = new(StringComparer.OrdinalIgnoreCase) { "y", "n", "yes", "no", "on", "off" };

    // An object of the greatest depth must still fit into a list of an answer.
    private static readonly ReadLimits Limits = ReadLimits.Default with { MaxDepth = 4 * ReadLimits.Default.MaxDepth };

    /// <summary>One YAML document that holds what a JSON text holds.</summary>
    public static string OfJson(string json)
    {
        var root = JsonDocumentParser.Parse(System.Text.Encoding.UTF8.GetBytes(json), Limits, new DuplicateKeys());
        using var text = new StringWriter { NewLine = "\n" };
        var emitter = new Emitter(
            text,
            new EmitterSettings(bestIndent: 2, bestWidth: int.MaxValue, isCanonical: false, maxSimpleKeyLength: 1024)
        );
        emitter.Emit(new StreamStart());
        emitter.Emit(new DocumentStart(null, null, isImplicit: true));
        Emit(emitter, root);
        emitter.Emit(new DocumentEnd(isImplicit: true));
        emitter.Emit(new StreamEnd());
        return text.ToString();
    }

    private static void Emit(Emitter emitter, DocumentNode node)
    {
        switch (node)
        {
            case MappingNode mapping:
                var mappingStyle = mapping.Entries.Count == 0 ? MappingStyle.Flow : MappingStyle.Block;
                emitter.Emit(new MappingStart(AnchorName.Empty, TagName.Empty, isImplicit: true, mappingStyle));
                foreach (var entry in mapping.Entries)
                {
                    EmitText(emitter, entry.Key, isKey: true);
                    Emit(emitter, entry.Value);
                }

                emitter.Emit(new MappingEnd());
                break;
            case SequenceNode sequence:
                var sequenceStyle = sequence.Items.Count == 0 ? SequenceStyle.Flow : SequenceStyle.Block;
                emitter.Emit(new SequenceStart(AnchorName.Empty, TagName.Empty, isImplicit: true, sequenceStyle));
                foreach (var item in sequence.Items)
                {
                    Emit(emitter, item);
                }

                emitter.Emit(new SequenceEnd());
                break;
            case ScalarNode { Kind: ScalarKind.Text } text:
                EmitText(emitter, text.Text, isKey: false);
                break;
            case ScalarNode scalar:
                Emit(emitter, scalar.Kind == ScalarKind.Null ? "null" : scalar.Text, ScalarStyle.Plain);
                break;
        }
    }

    private static void EmitText(Emitter emitter, string text, bool isKey)
    {
        var plain =
            text.Length > 0
            && (char.IsAsciiLetter(text[0]) || text[0] is '/' or '_')
            && text.AsSpan().IndexOfAnyExcept(PlainCharacters) < 0
            && !OldBooleans.Contains(text)
            && YamlCoreSchema.Resolve(text, 0, 0).Kind == ScalarKind.Text;
        Emit(
            emitter,
            text,
            plain ? ScalarStyle.Plain
                : !isKey && IsTextBlock(text) ? ScalarStyle.Literal
                : ScalarStyle.DoubleQuoted
        );
    }

    /// <summary>Several lines of printable ASCII, such as a PEM block, are best read as they are.</summary>
    private static bool IsTextBlock(string text) =>
        text.Length > 2
        && text.EndsWith('\n')
        && !text.EndsWith("\n\n", StringComparison.Ordinal)
        && char.IsAsciiLetterOrDigit(text[0]) | text[0] == '-'
        && text.AsSpan().IndexOfAnyExceptInRange(' ', '~') >= 0
        && text.All(c => c is '\n' or (>= ' ' and <= '~'));

    private static void Emit(Emitter emitter, string text, ScalarStyle style) =>
        emitter.Emit(new Scalar(AnchorName.Empty, TagName.Empty, text, style, isPlainImplicit: true, isQuotedImplicit: true));
}
