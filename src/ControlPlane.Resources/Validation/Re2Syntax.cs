using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;

namespace ControlPlane.Resources.Validation;

/// <summary>
/// Checks regular expressions against the syntax of RE2, as every supported Envoy compiles them (Envoy 1.40 as Latin-1, 1.36 as UTF-8), and estimates the size
/// of the compiled program, the larger of both. .NET's own engine takes much that RE2 refuses: look-around, back-references, possessive and atomic groups, and more than 1 000 repetitions.
/// </summary>
public ref struct Re2Syntax
{
    /// <summary>What is wrong with an expression, or how big it is.</summary>
    /// <param name="Fault">A sentence; null where nothing is wrong.</param>
    /// <param name="ProgramSize">About the number of instructions that RE2 compiles it to.</param>
    /// <param name="Groups">Number of capturing groups.</param>
    public readonly record struct Result(string? Fault, int ProgramSize, int Groups);

    /// <summary>The size above which Envoy refuses an expression, unless its runtime key <c>re2.max_program_size.error_level</c> says otherwise.</summary>
    public const int DefaultMaxProgramSize = 100;

    private const int MaxRepetition = 1000;
    private const int MaxNesting = 250;

    /// <summary>Fail, match, and the loop in front of an unanchored search.</summary>
    private const int BaseSize = 4;

    /// <summary>A character of UTF-8, as Envoy up to 1.36 compiles; later ones match bytes and need one or two.</summary>
    private const int AnyCharacterSize = 8;

    /// <summary>About what general categories (<c>\pL</c>) and scripts (<c>\p{Greek}</c>) take in UTF-8.</summary>
    private const int CategorySize = 800;
    private const int ScriptSize = 60;

    /// <summary>Sizes are only compared with a small limit; this keeps sums from overflowing.</summary>
    private const int SizeCap = 1_000_000;

    private static readonly SearchValues<char> SimpleEscapes = SearchValues.Create("aftnrvdDwWsSbBAzC");
    private static readonly SearchValues<char> ClassEscapes = SearchValues.Create("aftnrvdDwWsS");

    private static readonly HashSet<string> PosixClasses = new(StringComparer.Ordinal)
    {
        "alnum",
        "alpha",
        "ascii",
        "blank",
        "cntrl",
        "digit",
        "graph",
        "lower",
        "print",
        "punct",
        "space",
        "upper",
        "word",
        "xdigit",
    };

    private readonly ReadOnlySpan<char> _text;
    private int _at;
    private int _depth;
    private int _groups;
    private string? _fault;

    private Re2Syntax(ReadOnlySpan<char> text) => _text = text;

    /// <summary>Size of a part, and the largest number of times that any part of it is repeated.</summary>
    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Part(int Size, int Repeats);

    /// <summary>Checks an expression.</summary>
    public static Result Check(string regex)
    {
        var syntax = new Re2Syntax(regex);
        var whole = syntax.Alternation();
        if (syntax._fault is null && syntax._at < regex.Length)
        {
            syntax.Fail("a ) without its (");
        }

        return new Result(syntax._fault, Math.Min(SizeCap, BaseSize + whole.Size), syntax._groups);
    }

    private Part Alternation()
    {
        var size = 0;
        var repeats = 1;
        do
        {
            var branch = Sequence();
            size = Add(size, branch.Size);
            repeats = Math.Max(repeats, branch.Repeats);
        } while (Take('|'));

        return new Part(size, repeats);
    }

    private Part Sequence()
    {
        var size = 0;
        var repeats = 1;
        while (_fault is null && _at < _text.Length && _text[_at] is not ('|' or ')'))
        {
            var item = Repeated(Atom());
            size = Add(size, item.Size);
            repeats = Math.Max(repeats, item.Repeats);
        }

        return new Part(size, repeats);
    }

    private Part Repeated(Part atom)
    {
        var isRepeated = false;
        while (_fault is null && _at < _text.Length)
        {
            var start = _at;
            if (_text[_at] is '*' or '+' or '?')
            {
                var sign = _text[_at++];
                atom = atom with { Size = Add(atom.Size, sign == '*' ? 0 : 1) };
            }
            else if (TryReadCounts(out var min, out var max))
            {
                if (min > MaxRepetition || max > MaxRepetition || (max >= 0 && max < min))
                {
                    return Fail($"a bad repetition {_text[start.._at]}: counts go up to {MaxRepetition}, the smaller first");
                }

                var times = Math.Max(1, Math.Max(min, max));
                if (atom.Repeats > 1 && (long)atom.Repeats * times > MaxRepetition)
                {
                    return Fail($"repetitions inside a repetition that multiply to more than {MaxRepetition}");
                }

                atom = new Part(RepeatedSize(atom.Size, min, max), Math.Max(1, atom.Repeats * times));
            }
            else
            {
                return atom;
            }

            if (isRepeated)
            {
                return Fail($"a repetition of a repetition ({_text[(start - 1).._at]})");
            }

            isRepeated = true;
            Take('?');
        }

        return atom;
    }

    private static int RepeatedSize(int size, int min, int max)
    {
        var total = (long)size * min + (max < 0 ? (min == 0 ? size : 0) : (long)(max - min) * (size + 1));
        return (int)Math.Min(SizeCap, total);
    }

    /// <summary>Reads <c>{n}</c>, <c>{n,}</c> or <c>{n,m}</c>; anything else after a brace is plain text. An open end is -1.</summary>
    private bool TryReadCounts(out int min, out int max)
    {
        min = max = 0;
        var rest = _text[_at..];
        var end = rest.IndexOf('}');
        if (rest is not ['{', ..] || end < 2)
        {
            return false;
        }

        var body = rest[1..end];
        var comma = body.IndexOf(',');
        var first = comma < 0 ? body : body[..comma];
        var second = comma < 0 ? body : body[(comma + 1)..];
        if (!TryReadCount(first, out min) || (second.IsEmpty ? comma < 0 : !TryReadCount(second, out max)))
        {
            return false;
        }

        max = second.IsEmpty ? -1 : max;
        _at += end + 1;
        return true;
    }

    private static bool TryReadCount(ReadOnlySpan<char> digits, out int count)
    {
        count = MaxRepetition + 1;
        if (digits.IsEmpty || digits.IndexOfAnyExceptInRange('0', '9') >= 0)
        {
            return false;
        }

        if (digits.Length <= 4)
        {
            count = int.Parse(digits, NumberStyles.None, CultureInfo.InvariantCulture);
        }

        return true;
    }

    private Part Atom()
    {
        var c = _text[_at];
        switch (c)
        {
            case '(':
                return Group();
            case '[':
                return Class();
            case '\\':
                return Escape();
            case '*' or '+' or '?':
                return Fail($"nothing before the repetition {c}");
            case '{' when LooksLikeCounts():
                return Fail("nothing before the repetition {");
            case '.':
                _at++;
                return new Part(AnyCharacterSize, 1);
            case '^' or '$':
                _at++;
                return new Part(1, 1);
            default:
                _at++;
                // UTF-8 bytes count one each.
                return new Part(c < 0x80 ? 1 : 2, 1);
        }
    }

    private bool LooksLikeCounts()
    {
        var at = _at;
        var looks = TryReadCounts(out _, out _);
        _at = at;
        return looks;
    }

    private Part Group()
    {
        if (++_depth > MaxNesting)
        {
            return Fail($"groups nested deeper than {MaxNesting}");
        }

        _at++;
        var isCapturing = true;
        if (Take('?'))
        {
            if (!GroupPrefix(out isCapturing, out var flagsOnly))
            {
                return default;
            }

            if (flagsOnly)
            {
                _depth--;
                return new Part(0, 1);
            }
        }

        _groups += isCapturing ? 1 : 0;
        var inner = Alternation();
        if (_fault is null && !Take(')'))
        {
            return Fail("a ( without its )");
        }

        _depth--;
        return inner with { Size = Add(inner.Size, isCapturing ? 2 : 0) };
    }

    /// <summary>Reads what follows <c>(?</c>: a name, or flags.</summary>
    private bool GroupPrefix(out bool isCapturing, out bool flagsOnly)
    {
        isCapturing = false;
        flagsOnly = false;
        var start = _at;
        var rest = _text[_at..];
        var nameAt =
            rest.StartsWith("P<") ? 2
            : rest.StartsWith("<") && !rest.StartsWith("<=") && !rest.StartsWith("<!") ? 1
            : 0;
        if (nameAt > 0)
        {
            var end = rest.IndexOf('>');
            if (end <= nameAt || rest[nameAt..end].IndexOfAnyExcept(NameCharacters) >= 0)
            {
                Fail("a bad name of a group");
                return false;
            }

            _at += end + 1;
            isCapturing = true;
            return true;
        }

        var negated = false;
        var flags = 0;
        while (_at < _text.Length)
        {
            switch (_text[_at++])
            {
                case 'i' or 'm' or 's' or 'U':
                    flags++;
                    continue;
                case '-' when !negated:
                    negated = true;
                    flags = 0;
                    continue;
                case ':' when !negated || flags > 0:
                    return true;
                case ')' when flags > 0:
                    flagsOnly = true;
                    return true;
            }

            break;
        }

        var shown = _text.Slice(start, Math.Min(2, _text.Length - start));
        Fail($"(?{shown}, which RE2 does not have: no look-around, no atomic groups, no conditions, no comments");
        return false;
    }

    private static readonly SearchValues<char> NameCharacters = SearchValues.Create(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
    );

    private Part Escape()
    {
        if (_at + 1 >= _text.Length)
        {
            return Fail("a backslash at the end");
        }

        var c = _text[_at + 1];
        if (c == 'Q')
        {
            return Quoted();
        }

        if (c is 'p' or 'P')
        {
            return UnicodeClass();
        }

        if (SimpleEscapes.Contains(c))
        {
            _at += 2;
            return new Part(
                c is 'w' or 's' ? 3
                    : c is 'W' or 'S' or 'D' ? AnyCharacterSize + 2
                    : 1,
                1
            );
        }

        return CharacterEscape(out _) ? new Part(1, 1) : default;
    }

    /// <summary>Reads an escape that stands for one character.</summary>
    private bool CharacterEscape(out int code)
    {
        code = 0;
        var c = _text[_at + 1];
        if (c == 'x')
        {
            return Hexadecimal(out code);
        }

        if (c is >= '1' and <= '7' && (_at + 2 >= _text.Length || _text[_at + 2] is < '0' or > '7'))
        {
            Fail($"\\{c}: RE2 has no back-references");
            return false;
        }

        if (c is >= '0' and <= '7')
        {
            _at++;
            for (var i = 0; i < 3 && _at < _text.Length && _text[_at] is >= '0' and <= '7'; i++)
            {
                code = code * 8 + (_text[_at++] - '0');
            }

            return true;
        }

        if (char.IsAsciiLetterOrDigit(c) || c >= 0x80)
        {
            Fail($"the escape \\{c}, which RE2 does not have");
            return false;
        }

        code = c;
        _at += 2;
        return true;
    }

    private bool Hexadecimal(out int code)
    {
        code = 0;
        var rest = _text[(_at + 2)..];
        ReadOnlySpan<char> digits;
        if (rest is ['{', ..])
        {
            var end = rest.IndexOf('}');
            digits = end < 0 ? default : rest[1..end];
            _at += end + 3;
        }
        else
        {
            digits = rest.Length < 2 ? default : rest[..2];
            _at += 4;
        }

        // Envoy 1.40 compiles for Latin-1: characters beyond do not exist.
        if (digits.IsEmpty || !int.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out code) || code > 0xFF)
        {
            Fail(@"a bad \x escape: write \x41 or \x{41}, up to ff, since Envoy matches bytes");
            return false;
        }

        return true;
    }

    private Part Quoted()
    {
        var rest = _text[(_at + 2)..];
        var end = rest.IndexOf("\\E");
        var length = end < 0 ? rest.Length : end;
        _at += 2 + length + (end < 0 ? 0 : 2);
        return new Part(length, 1);
    }

    private Part UnicodeClass()
    {
        var rest = _text[(_at + 2)..];
        if (rest.IsEmpty)
        {
            return Fail(@"\p without a class");
        }

        ReadOnlySpan<char> name;
        if (rest[0] == '{')
        {
            var end = rest.IndexOf('}');
            name = end < 0 ? default : rest[1..end].TrimStart('^');
            _at += end + 3;
        }
        else
        {
            name = rest[..1];
            _at += 3;
        }

        // Categories have one or two letters; scripts are words. RE2's own table of scripts is not repeated here.
        var isCategory = name.Length is 1 or 2 && "CLMNPSZ".Contains(name[0], StringComparison.Ordinal);
        var isScript = name.Length > 2 && char.IsAsciiLetterUpper(name[0]) && !name.StartsWith("Is") && !name.StartsWith("In");
        return isCategory || isScript
            ? new Part(isCategory ? CategorySize : ScriptSize, 1)
            : Fail(@"an unknown class after \p: write a category (\p{Lu}) or a script (\p{Greek})");
    }

    private Part Class()
    {
        _at++;
        var isNegated = Take('^');
        var ranges = 0;
        var isFirst = true;
        while (true)
        {
            if (_at >= _text.Length)
            {
                return Fail("a [ without its ]");
            }

            if (_text[_at] == ']' && !isFirst)
            {
                _at++;
                return new Part(Math.Max(1, isNegated ? ranges + AnyCharacterSize - 1 : ranges), 1);
            }

            isFirst = false;
            if (!ClassItem())
            {
                return default;
            }

            ranges++;
        }
    }

    private bool ClassItem()
    {
        var rest = _text[_at..];
        if (rest.StartsWith("[:") && rest.IndexOf(":]") is var end and > 0)
        {
            var name = rest[2..end].TrimStart('^').ToString();
            _at += end + 2;
            if (!PosixClasses.Contains(name))
            {
                Fail($"the unknown class [:{name}:]");
                return false;
            }

            return true;
        }

        if (rest is ['\\', var escaped, ..] && (ClassEscapes.Contains(escaped) || escaped is 'p' or 'P'))
        {
            if (escaped is 'p' or 'P')
            {
                UnicodeClass();
            }
            else
            {
                _at += 2;
            }

            return _fault is null;
        }

        if (!ClassCharacter(out var low))
        {
            return false;
        }

        if (_at + 1 >= _text.Length || _text[_at] != '-' || _text[_at + 1] == ']')
        {
            return true;
        }

        _at++;
        if (!ClassCharacter(out var high))
        {
            return false;
        }

        if (high < low)
        {
            Fail("a range in a class whose end is before its start");
            return false;
        }

        return true;
    }

    private bool ClassCharacter(out int code)
    {
        code = _text[_at];
        if (code != '\\')
        {
            _at++;
            return true;
        }

        if (_at + 1 >= _text.Length)
        {
            Fail("a backslash at the end");
            return false;
        }

        const string Controls = "a\af\ft\tn\nr\rv\v";
        if (Controls.IndexOf(_text[_at + 1], StringComparison.Ordinal) is var control and >= 0 && control % 2 == 0)
        {
            code = Controls[control + 1];
            _at += 2;
            return true;
        }

        return CharacterEscape(out code);
    }

    private bool Take(char c)
    {
        if (_at < _text.Length && _text[_at] == c)
        {
            _at++;
            return true;
        }

        return false;
    }

    private static int Add(int left, int right) => Math.Min(SizeCap, left + right);

    private Part Fail(string what)
    {
        _fault ??= $"The regular expression is not valid RE2: it has {what}.";
        _at = _text.Length;
        return default;
    }
}

/// <summary>The rule for regular expressions, wherever they stand.</summary>
public static class Re2Rules
{
    /// <summary>Checks an expression's syntax, and warns of one that Envoy may find too big.</summary>
    public static void Re2(this ProblemCollector problems, string pointer, string regex)
    {
        var check = Re2Syntax.Check(regex);
        if (check.Fault is { } fault)
        {
            problems.Error(pointer, "invalid-regex", fault);
        }
        else if (check.ProgramSize > Re2Syntax.DefaultMaxProgramSize)
        {
            problems.Warning(
                pointer,
                "regex-size",
                $"The expression compiles to up to about {check.ProgramSize} steps. Envoy refuses more than {Re2Syntax.DefaultMaxProgramSize}, unless re2.max_program_size.error_level in its runtime is raised, as in the bootstraps under envoy/. Simplify it, or raise the limit."
            );
        }
    }
}
