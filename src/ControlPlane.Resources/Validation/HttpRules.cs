using System.Collections.Immutable;
using System.Text;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Reading;

namespace ControlPlane.Resources.Validation;

/// <summary>Rules that routes and listeners share.</summary>
internal static class HttpRules
{
    private const int LongestHeaderValue = 16384;

    /// <summary>Whether a text is a token (RFC 9110, 5.6.2): the form of header names and methods.</summary>
    public static bool IsToken(string text) =>
        text.Length > 0 && text.All(c => char.IsAsciiLetterOrDigit(c) || "!#$%&'*+-.^_`|~".Contains(c, StringComparison.Ordinal));

    /// <summary>A header to look at: a token, or a pseudo-header such as <c>:path</c>.</summary>
    public static void HeaderToRead(this ProblemCollector problems, string pointer, string name)
    {
        if (!IsToken(name.StartsWith(':') ? name[1..] : name))
        {
            problems.Error(
                pointer,
                "invalid-header-name",
                $"{TextExcerpt.Quote(name)} is not a header name: use letters, digits and hyphens, or :method, :authority, :path or :scheme."
            );
        }
    }

    /// <summary>A header to change: a token, and not the host, which has its own rules.</summary>
    public static bool HeaderToChange(this ProblemCollector problems, string pointer, string name)
    {
        if (name.StartsWith(':') || name.Equals("host", StringComparison.OrdinalIgnoreCase))
        {
            problems.Error(
                pointer,
                "header-not-changeable",
                $"Envoy refuses to change {TextExcerpt.Quote(name)} here. Path and host are changed by the route's 'rewrite'."
            );
            return false;
        }
        return problems.HeaderName(pointer, name);
    }

    /// <summary>A header's value, with Envoy's command operators.</summary>
    public static void HeaderFormat(this ProblemCollector problems, string pointer, string value)
    {
        if (Encoding.UTF8.GetByteCount(value) > LongestHeaderValue)
        {
            problems.Error(pointer, "invalid-header-value", $"The value is longer than {LongestHeaderValue} bytes.");
        }
        else if (problems.HeaderValue(pointer, value))
        {
            problems.CommandOperatorsIn(pointer, value);
        }
    }

    /// <summary>A time limit: none (0), or at least what Envoy's clock can tell from none.</summary>
    public static void Timeout(this ProblemCollector problems, string pointer, TimeSpan? value)
    {
        if (value is { } time && problems.NotNegative(pointer, time) && time != TimeSpan.Zero)
        {
            problems.AtLeastAMillisecond(pointer, time);
        }
    }

    /// <summary>A time that Envoy counts in milliseconds and that may not be none.</summary>
    public static void Interval(this ProblemCollector problems, string pointer, TimeSpan? value)
    {
        if (value is { } time && problems.Positive(pointer, time))
        {
            problems.AtLeastAMillisecond(pointer, time);
        }
    }

    /// <summary>A text that must not be empty where it is given.</summary>
    public static void NotEmpty(this ProblemCollector problems, string pointer, string? text)
    {
        if (text is { Length: 0 })
        {
            problems.Error(pointer, "empty-text", "The text is empty. Write something or leave the field out.");
        }
    }

    /// <summary>A name in statistics and logs.</summary>
    public static void Label(this ProblemCollector problems, string pointer, string? text)
    {
        problems.NotEmpty(pointer, text);
        if (text is not null && text.Any(char.IsControl))
        {
            problems.Error(pointer, "invalid-text", "Line breaks and other control characters may not stand here.");
        }
    }

    /// <summary>Alternatives of which exactly one must be given, or at most one.</summary>
    public static bool OneOf(
        this ProblemCollector problems,
        string pointer,
        bool isRequired,
        params ReadOnlySpan<(string Name, bool IsGiven)> alternatives
    )
    {
        List<string> names = [];
        List<string> given = [];
        foreach (var (name, isGiven) in alternatives)
        {
            names.Add(name);
            if (isGiven)
            {
                given.Add(name);
            }
        }
        if (given.Count > 1)
        {
            problems.Error(pointer, "too-many-alternatives", $"{string.Join(" and ", given)} exclude each other. Keep one of them.");
        }
        else if (given.Count == 0 && isRequired)
        {
            problems.Error(pointer, "missing-alternative", $"One of {string.Join(", ", names)} is needed.");
        }
        return given.Count == 1;
    }

    /// <summary>Weights, of which Envoy adds up at most 32 bits.</summary>
    public static void Weights(this ProblemCollector problems, string pointer, IEnumerable<uint> weights)
    {
        var sum = weights.Aggregate(0UL, (total, weight) => total + weight);
        if (sum == 0)
        {
            problems.Error(
                pointer,
                "weight-sum",
                "The weights add up to 0, so that nobody would get anything. Give at least one of them a weight."
            );
        }
        else if (sum > uint.MaxValue)
        {
            problems.Error(
                pointer,
                "weight-sum",
                $"The weights add up to {sum}; Envoy counts to {uint.MaxValue}. Only their ratio matters: make them smaller."
            );
        }
    }

    /// <summary>A percentage with at most four decimals.</summary>
    public static void Percent(this ProblemCollector problems, string pointer, double percent)
    {
        if (problems.InRange(pointer, percent, 0d, 100d) && Math.Abs(percent * 10_000 - Math.Round(percent * 10_000)) > 1e-6)
        {
            problems.Error(pointer, "out-of-range", $"Envoy counts in millionths: {percent} has more than four decimals.");
        }
    }

    /// <summary>A regular expression of Envoy.</summary>
    public static void RegularExpression(this ProblemCollector problems, string pointer, string? pattern)
    {
        problems.NotEmpty(pointer, pattern);
        problems.Re2(pointer, pattern ?? "");
    }

    /// <summary>Raw configuration of an extension, which must say its type.</summary>
    public static void TypedConfig(this ProblemCollector problems, string pointer, JsonObject config)
    {
        if (config["@type"] is not JsonValue type || !type.TryGetValue<string>(out var url) || !url.Contains('/', StringComparison.Ordinal))
        {
            problems.Error(
                pointer,
                "type-required",
                "Raw configuration begins with its type, for example \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua."
            );
        }
    }

    private static void AtLeastAMillisecond(this ProblemCollector problems, string pointer, TimeSpan time)
    {
        if (time < TimeSpan.FromMilliseconds(1))
        {
            problems.Error(pointer, "out-of-range", "Envoy counts in milliseconds: less than 1ms would be none at all.");
        }
    }
}
