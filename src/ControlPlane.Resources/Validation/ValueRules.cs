using System.Numerics;
using ControlPlane.Resources.Reading;

namespace ControlPlane.Resources.Validation;

/// <summary>Rules that many fields share, so that the same fault has the same code and the same words everywhere.</summary>
internal static class ValueRules
{
    /// <summary>Durations on the wire end here (<c>google.protobuf.Duration</c> allows more; Envoy counts milliseconds in 32 bits in places).</summary>
    private static readonly TimeSpan LongestDuration = TimeSpan.FromDays(24);

    /// <summary>A number that must lie between two ends, both included.</summary>
    public static bool InRange<T>(this ProblemCollector problems, string pointer, T value, T least, T most, string? hint = null)
        where T : INumber<T>
    {
        if (value >= least && value <= most)
        {
            return true;
        }
        problems.Error(pointer, "out-of-range", $"{value} is not between {least} and {most}{Because(hint)}.");
        return false;
    }

    /// <summary>A duration that must be above zero.</summary>
    public static bool Positive(this ProblemCollector problems, string pointer, TimeSpan value, string? hint = null)
    {
        if (value > TimeSpan.Zero)
        {
            return problems.NotTooLong(pointer, value);
        }
        problems.Error(pointer, "out-of-range", $"The duration must be above 0{Because(hint)}.");
        return false;
    }

    /// <summary>A duration that may be zero and no less.</summary>
    public static bool NotNegative(this ProblemCollector problems, string pointer, TimeSpan value)
    {
        if (value >= TimeSpan.Zero)
        {
            return problems.NotTooLong(pointer, value);
        }
        problems.Error(pointer, "out-of-range", "The duration must not be negative.");
        return false;
    }

    /// <summary>A value to send in a header: no control characters (RFC 9110, 5.5).</summary>
    public static bool HeaderValue(this ProblemCollector problems, string pointer, string value)
    {
        foreach (var c in value)
        {
            if (char.IsControl(c) && c != '\t')
            {
                problems.Error(pointer, "invalid-header-value", "A header value must not contain control characters such as line breaks.");
                return false;
            }
        }
        return true;
    }

    /// <summary>The name of a header: a token (RFC 9110, 5.6.2).</summary>
    public static bool HeaderName(this ProblemCollector problems, string pointer, string name)
    {
        if (name.Length > 0 && name.All(c => char.IsAsciiLetterOrDigit(c) || "!#$%&'*+-.^_`|~".Contains(c, StringComparison.Ordinal)))
        {
            return true;
        }
        problems.Error(
            pointer,
            "invalid-header-name",
            $"{TextExcerpt.Quote(name)} is not a header name: use letters, digits and hyphens (pseudo-headers such as ':path' cannot be set)."
        );
        return false;
    }

    /// <summary>A JSON pointer's segment with the two characters escaped that RFC 6901 reserves.</summary>
    public static string Segment(string key) =>
        key.Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal);

    private static bool NotTooLong(this ProblemCollector problems, string pointer, TimeSpan value)
    {
        if (value <= LongestDuration)
        {
            return true;
        }
        problems.Error(pointer, "out-of-range", "The duration is longer than 24 days, which some timers of Envoy cannot count.");
        return false;
    }

    private static string Because(string? hint) => hint is null ? "" : $": {hint}";
}
