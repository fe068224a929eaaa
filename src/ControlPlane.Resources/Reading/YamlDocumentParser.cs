using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace ControlPlane.Resources.Reading;

/// <summary>
/// Reads YAML documents into nodes with positions. Plain scalars mean what YAML 1.2's core schema says (<c>no</c> is text); tags outside it are refused,
/// aliases are bounded.
/// </summary>
internal sealed class YamlDocumentParser
{
    private readonly Parser _parser;
    private readonly ReadLimits _limits;
    private readonly DuplicateKeys _duplicates;
    private readonly Dictionary<string, Anchored> _anchors = new(StringComparer.Ordinal);
    private int _values;
    private long _expanded;

    /// <summary>A node under an anchor; null while it is being read, when an alias to it would be a circle.</summary>
    private readonly record struct Anchored(Measured? Node);

    /// <summary>A node with what an alias to it costs.</summary>
    private readonly record struct Measured(DocumentNode Node, long Values, int Height);

    private YamlDocumentParser(string text, ReadLimits limits, DuplicateKeys duplicates)
    {
        _parser = new Parser(new Scanner(new StringReader(text), skipComments: true));
        _limits = limits;
        _duplicates = duplicates;
    }

    /// <summary>Yields the documents one by one; empty ones are left out.</summary>
    /// <exception cref="DocumentSyntaxException">The rest is not YAML, or exceeds a limit. What was yielded before stands.</exception>
    public static IEnumerable<DocumentNode> Parse(string text, ReadLimits limits, DuplicateKeys duplicates)
    {
        var parser = new YamlDocumentParser(text, limits, duplicates);
        while (parser.Next() is { } parsingEvent and not StreamEnd)
        {
            if (parsingEvent is not DocumentStart)
            {
                continue;
            }

            parser._anchors.Clear();
            var root = parser.ReadNode(parser.Required(), 1).Node;
            parser.Required();
            if (root is not ScalarNode { Kind: ScalarKind.Null })
            {
                yield return root;
            }
        }
    }

    private Measured ReadNode(ParsingEvent parsingEvent, int depth)
    {
        var (line, column) = Position(parsingEvent.Start);
        if (parsingEvent is AnchorAlias alias)
        {
            return ReadAlias(alias, depth, line, column);
        }

        if (++_values > _limits.MaxValues)
        {
            throw _limits.TooManyValues(line, column);
        }

        // Of some malformed texts the parser makes events that do not belong together.
        var anchor = parsingEvent is NodeEvent nodeEvent ? nodeEvent.Anchor : throw Invalid("a value was expected here", line, column);
        if (!anchor.IsEmpty)
        {
            _anchors[anchor.Value] = new Anchored(null);
        }

        var node = parsingEvent switch
        {
            Scalar scalar => new Measured(ReadScalar(scalar, line, column), 1, 0),
            SequenceStart sequence => ReadSequence(sequence, depth, line, column),
            MappingStart mapping => ReadMapping(mapping, depth, line, column),
            _ => throw new UnreachableException(),
        };
        if (!anchor.IsEmpty)
        {
            _anchors[anchor.Value] = new Anchored(node);
        }

        return node;
    }

    private Measured ReadAlias(AnchorAlias alias, int depth, int line, int column)
    {
        if (!_anchors.TryGetValue(alias.Value.Value, out var anchored))
        {
            throw Invalid(
                $"the alias *{TextExcerpt.Of(alias.Value.Value)} stands for an anchor that this document does not have above it",
                line,
                column
            );
        }

        if (anchored.Node is not { } target)
        {
            throw Invalid($"the alias *{TextExcerpt.Of(alias.Value.Value)} stands for a value that contains it", line, column);
        }

        CheckDepth(depth + target.Height - 1, line, column);
        _expanded += target.Values;
        if (_expanded > _limits.MaxAliasExpansion)
        {
            throw new DocumentSyntaxException(
                "too-many-aliases",
                $"Aliases stand for more than {_limits.MaxAliasExpansion} values in this input. Write the values out, or split the input.",
                line,
                column
            );
        }

        return target;
    }

    private Measured ReadSequence(SequenceStart start, int depth, int line, int column)
    {
        CheckTag(start.Tag, "tag:yaml.org,2002:seq", line, column);
        CheckDepth(depth, line, column);
        var items = new List<DocumentNode>();
        long values = 1;
        var height = 0;
        while (Required() is var next and not SequenceEnd)
        {
            var item = ReadNode(next, depth + 1);
            items.Add(item.Node);
            values += item.Values;
            height = Math.Max(height, item.Height);
        }

        return new Measured(new SequenceNode(items, line, column), values, height + 1);
    }

    private Measured ReadMapping(MappingStart start, int depth, int line, int column)
    {
        CheckTag(start.Tag, "tag:yaml.org,2002:map", line, column);
        CheckDepth(depth, line, column);
        var entries = new List<MappingEntry>();
        long values = 1;
        var height = 0;
        while (Required() is var next and not MappingEnd)
        {
            var (keyLine, keyColumn) = Position(next.Start);
            if (ReadNode(next, depth + 1).Node is not ScalarNode key)
            {
                throw Invalid("a key is an object or a list; only text can be a key", keyLine, keyColumn);
            }

            if (next is Scalar { Style: ScalarStyle.Plain, Value: "<<" })
            {
                throw Invalid("YAML 1.2 has no merge key (<<); write the members out", keyLine, keyColumn);
            }

            var value = ReadNode(Required(), depth + 1);
            entries.Add(new MappingEntry(key.Text, keyLine, keyColumn, value.Node));
            values += value.Values;
            height = Math.Max(height, value.Height);
        }

        _duplicates.Check(entries);
        return new Measured(new MappingNode(entries, line, column), values, height + 1);
    }

    private static ScalarNode ReadScalar(Scalar scalar, int line, int column)
    {
        var text = scalar.Value;
        if (scalar.Tag.IsEmpty)
        {
            return scalar.Style == ScalarStyle.Plain
                ? YamlCoreSchema.Resolve(text, line, column)
                : new ScalarNode(ScalarKind.Text, text, line, column);
        }

        if (scalar.Tag.IsNonSpecific || scalar.Tag.Value == "tag:yaml.org,2002:str")
        {
            return new ScalarNode(ScalarKind.Text, text, line, column);
        }

        var resolved = YamlCoreSchema.Resolve(text, line, column);
        ScalarKind? wanted = scalar.Tag.Value switch
        {
            "tag:yaml.org,2002:null" => ScalarKind.Null,
            "tag:yaml.org,2002:bool" => ScalarKind.Boolean,
            "tag:yaml.org,2002:int" or "tag:yaml.org,2002:float" => ScalarKind.Number,
            _ => throw UnknownTag(scalar.Tag, line, column),
        };
        return resolved.Kind == wanted
            ? resolved
            : throw Invalid($"the value is not of the type that its tag {TextExcerpt.Of(scalar.Tag.Value)} names", line, column);
    }

    private static void CheckTag(TagName tag, string allowed, int line, int column)
    {
        if (!tag.IsEmpty && !tag.IsNonSpecific && tag.Value != allowed)
        {
            throw UnknownTag(tag, line, column);
        }
    }

    private void CheckDepth(int depth, int line, int column)
    {
        if (depth > _limits.MaxDepth)
        {
            throw new DocumentSyntaxException(
                "too-deep",
                $"Objects and lists are nested deeper than {_limits.MaxDepth} levels. Flatten the document.",
                line,
                column
            );
        }
    }

    private ParsingEvent Required() => Next() ?? throw Invalid("the document ends in the middle", 0, 0);

    private ParsingEvent? Next()
    {
        try
        {
            return _parser.MoveNext() ? _parser.Current : null;
        }
        catch (YamlException e)
        {
            var (line, column) = Position(e.Start);
            throw Invalid(TextExcerpt.Of(e.Message, 200), line, column);
        }
        // The scanner's own slips on malformed text: an empty stack, a number or a character code out of range.
        catch (Exception e)
            when (e
                    is InvalidOperationException
                        or InvalidCastException
                        or ArgumentException
                        or FormatException
                        or OverflowException
                        or IndexOutOfRangeException
            )
        {
            var (line, column) = Position(_parser.Current?.End ?? Mark.Empty);
            throw Invalid("the text after this place is malformed: check brackets, quotes and indentation", line, column);
        }
    }

    private static (int Line, int Column) Position(in Mark mark) => ((int)mark.Line, (int)mark.Column);

    private static DocumentSyntaxException Invalid(string what, int line, int column) =>
        new("invalid-yaml", $"The text is not valid YAML: {what.TrimEnd('.')}.", line, column);

    private static DocumentSyntaxException UnknownTag(TagName tag, int line, int column) =>
        new(
            "yaml-tag",
            $"The tag {TextExcerpt.Quote(tag.Value)} is not allowed; only YAML's core types (!!str, !!int, !!float, !!bool, !!null, !!map, !!seq) are. Remove the tag.",
            line,
            column
        );
}

/// <summary>The core schema of YAML 1.2.2, section 10.3.2: which plain scalars are something else than text.</summary>
internal static class YamlCoreSchema
{
    private static readonly Regex Octal = Pattern("0o[0-7]+");
    private static readonly Regex Hexadecimal = Pattern("0x[0-9a-fA-F]+");
    private static readonly Regex NotFinite = Pattern(@"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN");
    private static readonly Regex Decimal = Pattern(@"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?");

    public static ScalarNode Resolve(string text, int line, int column)
    {
        switch (text)
        {
            case "" or "~" or "null" or "Null" or "NULL":
                return new ScalarNode(ScalarKind.Null, "", line, column);
            case "true" or "True" or "TRUE":
                return new ScalarNode(ScalarKind.Boolean, "true", line, column);
            case "false" or "False" or "FALSE":
                return new ScalarNode(ScalarKind.Boolean, "false", line, column);
        }

        var number = text[0] is '-' or '+' or '.' or (>= '0' and <= '9') ? AsNumber(text) : null;
        return number is null
            ? new ScalarNode(ScalarKind.Text, text, line, column)
            : new ScalarNode(ScalarKind.Number, number, line, column);
    }

    /// <summary>The number as JSON would write it; null where the text is no number. What JSON cannot write stays as it is.</summary>
    private static string? AsNumber(string text)
    {
        if (Octal.IsMatch(text))
        {
            return text.Length <= 22 ? Convert.ToUInt64(text[2..], 8).ToString(CultureInfo.InvariantCulture) : text;
        }

        if (Hexadecimal.IsMatch(text))
        {
            return text.Length <= 18 ? Convert.ToUInt64(text[2..], 16).ToString(CultureInfo.InvariantCulture) : text;
        }

        if (NotFinite.IsMatch(text))
        {
            return text;
        }

        if (!Decimal.IsMatch(text))
        {
            return null;
        }

        var digits = text.TrimStart('+');
        digits = digits.StartsWith('.') ? "0" + digits : digits;
        digits = digits.StartsWith("-.", StringComparison.Ordinal) ? "-0" + digits[1..] : digits;
        return digits;
    }

    private static Regex Pattern(string core) =>
        new($@"\A({core})\z", RegexOptions.CultureInvariant | RegexOptions.NonBacktracking | RegexOptions.ExplicitCapture);
}
