using System.Collections.Immutable;

namespace ControlPlane.Resources.RouteTables;

/// <summary>
/// The grammar of Envoy's path templates (<c>envoy.path.match.uri_template</c> and <c>envoy.path.rewrite.uri_template</c>): segments between slashes, each a
/// literal, <c>*</c> (one segment), <c>**</c> (the rest), or a variable <c>{name}</c> or <c>{name=PATTERN}</c>, with one literal ending such as <c>.mp4</c>.
/// </summary>
public static class PathTemplate
{
    private const int MaxVariables = 5;
    private const int MaxVariableLength = 16;

    /// <summary>What stands in literals: path characters of RFC 3986 but for <c>*</c>; <c>=</c> alone outside of variables.</summary>
    private const string LiteralCharacters = "-._~%!$&'()+,;:@=";

    /// <summary>Says what is wrong with a template to match by, or nothing; gives the variables.</summary>
    public static string? ExplainMatch(string template, out ImmutableArray<string> variables)
    {
        var names = ImmutableArray.CreateBuilder<string>();
        var fault = ExplainMatch(template, names);
        variables = names.ToImmutable();
        return fault;
    }

    /// <summary>Says what is wrong with a template to rewrite to, or nothing.</summary>
    public static string? ExplainRewrite(string template, ImmutableArray<string> variables)
    {
        if (!template.StartsWith('/'))
        {
            return "The new path must begin with '/'.";
        }
        if (template.Contains("//", StringComparison.Ordinal))
        {
            return "Two slashes may not follow each other.";
        }
        var rest = template.AsSpan();
        while (!rest.IsEmpty)
        {
            var open = rest.IndexOf('{');
            var literal = open < 0 ? rest : rest[..open];
            if (FirstForeign(literal, "/*") is { } foreign)
            {
                return $"The character '{foreign}' may not stand in a path; write it as %XX.";
            }
            if (open < 0)
            {
                break;
            }
            var close = rest.IndexOf('}');
            if (close < open)
            {
                return "A '{' is not closed by '}'.";
            }
            var name = rest[(open + 1)..close].ToString();
            if (!variables.Contains(name))
            {
                return variables.IsEmpty
                    ? $"The match has no variable '{name}'; give it a pathTemplate with {{{name}}}."
                    : $"The match has no variable '{name}'; it has {string.Join(", ", variables)}.";
            }
            rest = rest[(close + 1)..];
        }
        return null;
    }

    private static string? ExplainMatch(string template, ImmutableArray<string>.Builder variables)
    {
        if (!template.StartsWith('/'))
        {
            return "The template must begin with '/'.";
        }
        var rest = template[1..];
        var textGlob = false;
        while (rest.Length > 0)
        {
            var fault = rest[0] switch
            {
                '*' => Glob(ref rest, ref textGlob),
                '{' => Variable(ref rest, ref textGlob, variables),
                _ => Literal(ref rest),
            };
            if (fault is not null)
            {
                return fault;
            }
            if (rest is "" or "/")
            {
                return null;
            }
            if (rest[0] == '/')
            {
                rest = rest[1..];
                continue;
            }
            // What follows an operator or a variable without a slash ends the template.
            fault = Literal(ref rest);
            if (fault is not null || rest.Length > 0)
            {
                return fault ?? "Text that follows '*' or a variable without a slash between must end the template.";
            }
        }
        return null;
    }

    private static string? Glob(ref string rest, ref bool textGlob)
    {
        if (textGlob)
        {
            return "Nothing that varies may stand after '**'.";
        }
        textGlob = rest.StartsWith("**", StringComparison.Ordinal);
        rest = rest[(textGlob ? 2 : 1)..];
        return null;
    }

    private static string? Variable(ref string rest, ref bool textGlob, ImmutableArray<string>.Builder variables)
    {
        var close = rest.IndexOf('}', StringComparison.Ordinal);
        if (close < 0)
        {
            return "A '{' is not closed by '}'.";
        }
        var parts = rest[1..close].Split('=', 2);
        rest = rest[(close + 1)..];
        if (ExplainName(parts[0]) is { } fault)
        {
            return fault;
        }
        if (variables.Contains(parts[0]))
        {
            return $"The variable '{parts[0]}' stands twice.";
        }
        if (variables.Count == MaxVariables)
        {
            return $"Envoy takes at most {MaxVariables} variables.";
        }
        variables.Add(parts[0]);
        return parts.Length == 1 ? ImplicitGlob(textGlob) : VariablePattern(parts[1], ref textGlob);
    }

    private static string? ImplicitGlob(bool textGlob) => textGlob ? "Nothing that varies may stand after '**'." : null;

    private static string? VariablePattern(string pattern, ref bool textGlob)
    {
        if (pattern.Length == 0)
        {
            return "A variable with '=' needs a pattern, for example {file=**}.";
        }
        while (pattern.Length > 0)
        {
            var fault = pattern[0] == '*' ? Glob(ref pattern, ref textGlob) : Literal(ref pattern);
            if (fault is not null)
            {
                return fault;
            }
            if (pattern.Length > 0)
            {
                if (pattern[0] != '/' || pattern.Length == 1)
                {
                    return "Inside a variable whole segments stand between slashes, for example {rest=v1/**}.";
                }
                pattern = pattern[1..];
            }
        }
        return null;
    }

    private static string? ExplainName(string name) =>
        name.Length is 0 or > MaxVariableLength || !char.IsAsciiLetter(name[0]) || !name.All(c => char.IsAsciiLetterOrDigit(c) || c == '_')
            ? $"A variable's name has 1 to {MaxVariableLength} letters, digits and '_' and begins with a letter."
            : null;

    private static string? Literal(ref string rest)
    {
        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        var literal = slash < 0 ? rest : rest[..slash];
        rest = rest[literal.Length..];
        return literal.Length == 0 ? "Two slashes may not follow each other."
            : FirstForeign(literal, "*") is { } foreign ? $"The character '{foreign}' may not stand in a path; write it as %XX."
            : null;
    }

    private static char? FirstForeign(ReadOnlySpan<char> literal, string alsoAllowed)
    {
        foreach (var c in literal)
        {
            if (
                !char.IsAsciiLetterOrDigit(c)
                && !LiteralCharacters.Contains(c, StringComparison.Ordinal)
                && !alsoAllowed.Contains(c, StringComparison.Ordinal)
            )
            {
                return c;
            }
        }
        return null;
    }
}
