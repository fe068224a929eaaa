namespace ControlPlane.Resources.Validation;

/// <summary>Guesses which known word was meant by an unknown one.</summary>
public static class Suggestion
{
    private const int MaxLength = 80;

    /// <summary>
    /// <c> Did you mean 'connectTimeout'?</c> with a leading blank, or nothing where no known word is near. Another case or snake_case of a word counts as the
    /// word itself; else up to a third of the letters, three at the most, may differ.
    /// </summary>
    public static string For(string unknown, IEnumerable<string> known)
    {
        if (unknown.Length is 0 or > MaxLength)
        {
            return "";
        }

        var wanted = Fold(unknown);
        string? best = null;
        var bestDistance = Math.Min(3, Math.Max(1, wanted.Length / 3)) + 1;
        foreach (var word in known)
        {
            var distance = Distance(wanted, Fold(word), bestDistance);
            if (distance < bestDistance)
            {
                (best, bestDistance) = (word, distance);
            }
        }

        return best is null ? "" : $" Did you mean '{best}'?";
    }

    /// <summary>Whether two spellings are the same word: <c>connect_timeout</c> is <c>connectTimeout</c>.</summary>
    public static bool SameWord(string left, string right) => left == right || Fold(left) == Fold(right);

    private static string Fold(string word) =>
        word.Replace("_", "", StringComparison.Ordinal).Replace("-", "", StringComparison.Ordinal).ToLowerInvariant();

    /// <summary>Levenshtein distance with swapped neighbours as one step, or <paramref name="limit"/> where it is that or more.</summary>
    private static int Distance(string a, string b, int limit)
    {
        if (Math.Abs(a.Length - b.Length) >= limit)
        {
            return limit;
        }

        var beforePrevious = new int[b.Length + 1];
        var previous = new int[b.Length + 1];
        var current = new int[b.Length + 1];
        for (var j = 0; j <= b.Length; j++)
        {
            previous[j] = j;
        }

        for (var i = 1; i <= a.Length; i++)
        {
            current[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var substitution = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
                current[j] = Math.Min(substitution, Math.Min(previous[j], current[j - 1]) + 1);
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                {
                    current[j] = Math.Min(current[j], beforePrevious[j - 2] + 1);
                }
            }

            (beforePrevious, previous, current) = (previous, current, beforePrevious);
        }

        return Math.Min(limit, previous[b.Length]);
    }
}
