using System.Collections.Immutable;

namespace ControlPlane.Server.Admin;

/// <summary>Selects objects by their labels, in the language of Kubernetes: requirements joined by commas, all of which must hold.</summary>
internal sealed class LabelSelector
{
    private readonly ImmutableArray<Requirement> _requirements;

    private LabelSelector(ImmutableArray<Requirement> requirements, string text)
    {
        _requirements = requirements;
        Text = text;
    }

    /// <summary>Selects every object.</summary>
    public static LabelSelector Everything { get; } = new([], "");

    /// <summary>The selector as it was written.</summary>
    public string Text { get; }

    /// <summary>A label and the values it may have, or may not. Without values: whether it is there.</summary>
    private sealed record Requirement(string Key, bool Negated, ImmutableHashSet<string>? Values)
    {
        // As in Kubernetes, 'a!=b' and 'a notin (b)' hold for objects without the label.
        public bool Holds(IReadOnlyDictionary<string, string> labels) =>
            (labels.TryGetValue(Key, out var value) && (Values is null || Values.Contains(value))) != Negated;
    }

    /// <summary>Whether all requirements hold for an object's labels.</summary>
    public bool Matches(IReadOnlyDictionary<string, string> labels)
    {
        foreach (var requirement in _requirements)
        {
            if (!requirement.Holds(labels))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Reads <c>a=b,c!=d,e in (f,g),h notin (i),j,!k</c>.</summary>
    public static bool TryParse(string text, out LabelSelector selector)
    {
        selector = Everything;
        var requirements = ImmutableArray.CreateBuilder<Requirement>();
        foreach (var part in SplitOutsideParentheses(text))
        {
            if (ParseRequirement(part.Trim()) is not { } requirement)
            {
                return false;
            }

            requirements.Add(requirement);
        }

        selector = new LabelSelector(requirements.ToImmutable(), text);
        return true;
    }

    private static Requirement? ParseRequirement(string part)
    {
        if (part.EndsWith(')') && part.IndexOf('(', StringComparison.Ordinal) is var open and > 0)
        {
            return part[..open].Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var key, "in" or "notin"] head && IsWord(key)
                ? new Requirement(key, head[1] == "notin", [.. part[(open + 1)..^1].Split(',', StringSplitOptions.TrimEntries)])
                : null;
        }

        if (part.StartsWith('!'))
        {
            return IsWord(part[1..].Trim()) ? new Requirement(part[1..].Trim(), true, null) : null;
        }

        if (part.IndexOf('=', StringComparison.Ordinal) is var equals and > 0)
        {
            var negated = part[equals - 1] == '!';
            var key = part[..(negated ? equals - 1 : equals)].Trim();
            var value = part[(equals + 1)..].TrimStart('=').Trim();
            return IsWord(key) && (value.Length == 0 || IsWord(value)) ? new Requirement(key, negated, [value]) : null;
        }

        return IsWord(part) ? new Requirement(part, false, null) : null;
    }

    private static bool IsWord(string text) =>
        text.Length > 0 && text.All(c => char.IsAsciiLetterOrDigit(c) || "-_./:@+".Contains(c, StringComparison.Ordinal));

    private static IEnumerable<string> SplitOutsideParentheses(string text)
    {
        var (start, depth) = (0, 0);
        for (var i = 0; i < text.Length; i++)
        {
            depth += text[i] switch
            {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            if (text[i] == ',' && depth == 0)
            {
                yield return text[start..i];
                start = i + 1;
            }
        }

        yield return text[start..];
    }
}
