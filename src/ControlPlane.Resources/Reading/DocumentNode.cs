using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Reading;

/// <summary>A value of a JSON or YAML document with the place where it stands. Both formats meet here: what reads these nodes knows no syntax.</summary>
/// <param name="line">Line, from 1.</param>
/// <param name="column">Column in characters, from 1.</param>
internal abstract class DocumentNode(int line, int column)
{
    public int Line { get; } = line;

    public int Column { get; } = column;

    /// <summary>The node's type in the words of a message, for example <c>a number</c>. Never its value: it may stand where a secret is meant.</summary>
    public abstract string Noun { get; }
}

internal enum ScalarKind
{
    Null,
    Boolean,
    Number,
    Text,
}

/// <summary>A single value. Numbers are kept as text, since only the field that takes one knows its range.</summary>
internal sealed class ScalarNode(ScalarKind kind, string text, int line, int column) : DocumentNode(line, column)
{
    public ScalarKind Kind { get; } = kind;

    /// <summary>The text of a string, the decimal digits of a number, <c>true</c> or <c>false</c>.</summary>
    public string Text { get; } = text;

    public override string Noun =>
        Kind switch
        {
            ScalarKind.Null => "null",
            ScalarKind.Boolean => "true or false",
            ScalarKind.Number => "a number",
            _ => "text",
        };
}

internal sealed class SequenceNode(List<DocumentNode> items, int line, int column) : DocumentNode(line, column)
{
    public List<DocumentNode> Items { get; } = items;

    public override string Noun => "a list";
}

/// <summary>One member of an object; the position is that of the key.</summary>
internal readonly record struct MappingEntry(string Key, int Line, int Column, DocumentNode Value);

/// <summary>An object. Its keys are distinct.</summary>
internal sealed class MappingNode(List<MappingEntry> entries, int line, int column) : DocumentNode(line, column)
{
    public List<MappingEntry> Entries { get; } = entries;

    public override string Noun => "an object";

    public MappingEntry? Find(string key)
    {
        foreach (var entry in Entries)
        {
            if (entry.Key == key)
            {
                return entry;
            }
        }

        return null;
    }

    /// <summary>Finds a key in any spelling: raw Envoy messages may be written in snake_case, and pointers are in camelCase.</summary>
    public MappingEntry? FindWord(string key)
    {
        foreach (var entry in Entries)
        {
            if (Suggestion.SameWord(entry.Key, key))
            {
                return entry;
            }
        }

        return null;
    }
}

/// <summary>The input cannot be read on from here. Never leaves this folder: the reader turns it into a problem.</summary>
internal sealed class DocumentSyntaxException(string code, string message, int line, int column) : Exception(message)
{
    public string Code { get; } = code;

    public int Line { get; } = line;

    public int Column { get; } = column;
}

/// <summary>Quotes a piece of the input in a message: short, on one line.</summary>
internal static class TextExcerpt
{
    private const int MaxLength = 40;

    public static string Of(string text, int maxLength = MaxLength)
    {
        var excerpt = text.Length <= maxLength ? text : text[..maxLength] + "…";
        return excerpt.AsSpan().IndexOfAnyInRange('\0', '\u001f') < 0 ? excerpt : excerpt.ReplaceLineEndings(" ").Replace('\0', ' ');
    }

    public static string Quote(string text) => $"'{Of(text)}'";
}
