using System.Buffers;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>
/// Checks the path templates of Envoy's URI template matcher: segments that are literals, <c>*</c> (one segment), <c>**</c> (any rest), or variables
/// <c>{name}</c> and <c>{name=pattern}</c>.
/// </summary>
internal static class UriTemplateSyntax
{
    private const int MaxVariables = 5;
    private const int MaxNameLength = 16;

    private static readonly SearchValues<char> LiteralCharacters = SearchValues.Create(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()+,;:@=*"
    );

    private static readonly SearchValues<char> NameCharacters = SearchValues.Create(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
    );

    /// <summary>Says what is wrong with a template; null where nothing is.</summary>
    public static string? Explain(string template)
    {
        if (!template.StartsWith('/'))
        {
            return "A path template begins with a /.";
        }

        var names = new HashSet<string>(StringComparer.Ordinal);
        var hasRest = false;
        var rest = template.AsSpan(1);
        while (true)
        {
            var end = EndOfSegment(rest);
            if (end < 0)
            {
                return "The path template has a { without its }.";
            }

            if (ExplainSegment(rest[..end], names, ref hasRest) is { } fault)
            {
                return fault;
            }

            if (end == rest.Length)
            {
                return null;
            }

            rest = rest[(end + 1)..];
        }
    }

    /// <summary>The next slash outside of braces.</summary>
    private static int EndOfSegment(ReadOnlySpan<char> text)
    {
        var isInside = false;
        for (var i = 0; i < text.Length; i++)
        {
            isInside = text[i] == '{' || (text[i] != '}' && isInside);
            if (text[i] == '/' && !isInside)
            {
                return i;
            }
        }

        return isInside ? -1 : text.Length;
    }

    private static string? ExplainSegment(ReadOnlySpan<char> segment, HashSet<string> names, ref bool hasRest)
    {
        if (segment is not ['{', ..])
        {
            return ExplainPattern(segment, ref hasRest);
        }

        var close = segment.IndexOf('}');
        var variable = segment[1..close];
        var equals = variable.IndexOf('=');
        var name = equals < 0 ? variable : variable[..equals];
        if (name.Length is 0 or > MaxNameLength || !char.IsAsciiLetter(name[0]) || name.IndexOfAnyExcept(NameCharacters) >= 0)
        {
            return $"The name of a variable in a path template begins with a letter and has 1 to {MaxNameLength} letters, digits and underscores.";
        }

        if (!names.Add(name.ToString()))
        {
            return $"The path template has the variable {name} twice.";
        }

        if (names.Count > MaxVariables)
        {
            return $"A path template has at most {MaxVariables} variables.";
        }

        if (segment[(close + 1)..].IndexOfAnyExcept(LiteralCharacters) >= 0)
        {
            return "After a variable a segment of a path template may go on with plain text only.";
        }

        var pattern = equals < 0 ? "*" : variable[(equals + 1)..];
        foreach (var part in pattern.Split('/'))
        {
            if (ExplainPattern(pattern[part], ref hasRest) is { } fault)
            {
                return fault;
            }
        }

        return null;
    }

    private static string? ExplainPattern(ReadOnlySpan<char> pattern, ref bool hasRest)
    {
        if (pattern is "*" or "**")
        {
            if (hasRest)
            {
                return "After ** a path template may go on with plain text only.";
            }

            hasRest = pattern is "**";
            return null;
        }

        return pattern.IsEmpty || pattern.IndexOfAnyExcept(LiteralCharacters) >= 0
            ? "A segment of a path template is plain text, *, ** or a {variable}, and not empty."
            : null;
    }
}
