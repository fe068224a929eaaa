using System.Text;
using System.Text.Json;

namespace ControlPlane.Resources.Reading;

/// <summary>Reads one JSON text (RFC 8259, no extensions) into nodes with positions.</summary>
internal ref struct JsonDocumentParser
{
    private readonly ReadOnlySpan<byte> _text;
    private readonly ReadLimits _limits;
    private readonly DuplicateKeys _duplicates;
    private Utf8JsonReader _reader;
    private int _values;
    private int _countedTo;
    private int _line = 1;
    private int _column = 1;

    private JsonDocumentParser(ReadOnlySpan<byte> text, ReadLimits limits, DuplicateKeys duplicates)
    {
        _text = text;
        _limits = limits;
        _duplicates = duplicates;
        // One more than the limit, so that the limit is found here, with its own words.
        _reader = new Utf8JsonReader(text, new JsonReaderOptions { MaxDepth = limits.MaxDepth + 1 });
    }

    /// <summary>Reads the text, which must be valid UTF-8 without a byte order mark.</summary>
    /// <exception cref="DocumentSyntaxException">The text is not JSON, or exceeds a limit.</exception>
    public static DocumentNode Parse(ReadOnlySpan<byte> text, ReadLimits limits, DuplicateKeys duplicates)
    {
        var parser = new JsonDocumentParser(text, limits, duplicates);
        try
        {
            parser._reader.Read();
            var root = parser.ReadValue(1);
            parser._reader.Read();
            return root;
        }
        catch (JsonException e)
        {
            throw parser.Explain(e);
        }
    }

    private DocumentNode ReadValue(int depth)
    {
        var (line, column) = Position((int)_reader.TokenStartIndex);
        if (++_values > _limits.MaxValues)
        {
            throw _limits.TooManyValues(line, column);
        }

        switch (_reader.TokenType)
        {
            case JsonTokenType.StartObject:
                return ReadObject(depth, line, column);
            case JsonTokenType.StartArray:
                return ReadArray(depth, line, column);
            case JsonTokenType.String:
                return new ScalarNode(ScalarKind.Text, ReadText(line, column), line, column);
            case JsonTokenType.Number:
                return new ScalarNode(ScalarKind.Number, Encoding.UTF8.GetString(_reader.ValueSpan), line, column);
            case JsonTokenType.True:
                return new ScalarNode(ScalarKind.Boolean, "true", line, column);
            case JsonTokenType.False:
                return new ScalarNode(ScalarKind.Boolean, "false", line, column);
            default:
                return new ScalarNode(ScalarKind.Null, "", line, column);
        }
    }

    private MappingNode ReadObject(int depth, int line, int column)
    {
        CheckDepth(depth, line, column);
        var entries = new List<MappingEntry>();
        while (_reader.Read() && _reader.TokenType != JsonTokenType.EndObject)
        {
            var (keyLine, keyColumn) = Position((int)_reader.TokenStartIndex);
            var key = ReadText(keyLine, keyColumn);
            _reader.Read();
            var value = ReadValue(depth + 1);
            entries.Add(new MappingEntry(key, keyLine, keyColumn, value));
        }

        _duplicates.Check(entries);
        return new MappingNode(entries, line, column);
    }

    private SequenceNode ReadArray(int depth, int line, int column)
    {
        CheckDepth(depth, line, column);
        var items = new List<DocumentNode>();
        while (_reader.Read() && _reader.TokenType != JsonTokenType.EndArray)
        {
            items.Add(ReadValue(depth + 1));
        }

        return new SequenceNode(items, line, column);
    }

    private string ReadText(int line, int column)
    {
        try
        {
            return _reader.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new DocumentSyntaxException(
                "invalid-text",
                @"An escape such as \ud800 is half of a surrogate pair, which is no character. Write both halves, or the character itself.",
                line,
                column
            );
        }
    }

    private readonly void CheckDepth(int depth, int line, int column)
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

    /// <summary>
    /// Line and column of a byte; offsets must not go back. Counts from the position before: a text of ten megabytes may be one line.
    /// </summary>
    private (int Line, int Column) Position(int offset)
    {
        var between = _text[_countedTo..offset];
        if (between.LastIndexOf((byte)'\n') is var newline and >= 0)
        {
            _line += between.Count((byte)'\n');
            _column = 1;
            between = between[(newline + 1)..];
        }

        _column += Encoding.UTF8.GetCharCount(between);
        _countedTo = offset;
        return (_line, _column);
    }

    private readonly DocumentSyntaxException Explain(JsonException exception)
    {
        var line = (int)(exception.LineNumber ?? 0);
        var start = 0;
        for (var i = 0; i < line; i++)
        {
            start += _text[start..].IndexOf((byte)'\n') + 1;
        }

        var offset = Math.Min(_text.Length, start + (int)(exception.BytePositionInLine ?? 0));
        var column = Encoding.UTF8.GetCharCount(_text[start..offset]) + 1;
        var before = _text[..offset].TrimEnd(" \t\r\n"u8);
        if (_text.Trim(" \t\r\n"u8).IsEmpty)
        {
            return new DocumentSyntaxException("invalid-json", "The text is empty; an object was expected.", 1, 1);
        }

        if (offset < _text.Length && _text[offset] is (byte)'/' or (byte)'#')
        {
            const string NoComments =
                "JSON has no comments. Remove it, put the words into metadata.annotations, or send YAML (Content-Type: application/yaml).";
            return new DocumentSyntaxException("json-comment", NoComments, line + 1, column);
        }

        if (offset < _text.Length && _text[offset] is (byte)'}' or (byte)']' && before.EndsWith(","u8))
        {
            const string NoTrailingComma = "JSON does not allow a comma after the last member. Remove it.";
            return new DocumentSyntaxException("json-trailing-comma", NoTrailingComma, line + 1, column);
        }

        // The reader appends the position in its own words.
        var message = exception.Message;
        var tail = message.IndexOf(" LineNumber:", StringComparison.Ordinal);
        return new DocumentSyntaxException(
            "invalid-json",
            "The text is not valid JSON: " + (tail < 0 ? message : message[..tail]),
            line + 1,
            column
        );
    }
}
