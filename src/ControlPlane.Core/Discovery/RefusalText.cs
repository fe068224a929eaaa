using System.Buffers;
using System.Text;
using System.Text.RegularExpressions;

namespace ControlPlane.Core.Discovery;

/// <summary>
/// What a client says about a response that it refuses. The text of Envoy may hold a dump of the whole resource, private keys included, so only
/// <see cref="Redact"/>ed text may be kept, shown or logged (P-02).
/// </summary>
public static partial class RefusalText
{
    /// <summary>The most that is kept of a text, in characters.</summary>
    public const int MaxLength = 1024;

    private const string ConstraintMarker = "Proto constraint validation failed";

    private static readonly SearchValues<char> AfterName = SearchValues.Create(" ,;:.\"'()[]");

    /// <summary>
    /// Leaves out all before the words of a failed constraint (Envoy puts the dump there), the markers of dumps, PEM blocks, values of fields that carry
    /// secrets and control characters, and bounds the length.
    /// </summary>
    public static string Redact(string text)
    {
        var marker = text.IndexOf(ConstraintMarker, StringComparison.Ordinal);
        if (marker > 0)
        {
            text = text[marker..];
        }

        text = DebugMarker().Replace(text, "");
        text = Pem().Replace(text, "[redacted]");
        text = SecretField().Replace(text, "${field}[redacted]");
        var kept = new StringBuilder(Math.Min(text.Length, MaxLength));
        foreach (var c in text)
        {
            if (kept.Length == MaxLength)
            {
                kept[^1] = '…';
                break;
            }

            kept.Append(char.IsControl(c) ? ' ' : c);
        }

        return kept.ToString().Trim();
    }

    /// <summary>
    /// The names among <paramref name="candidates"/> that the unredacted text blames, as Envoy words it: "Error adding/updating cluster(s) a: …, b: …", "… in
    /// route r", or the dump of a resource that breaks a constraint. Empty where the text names none of them.
    /// </summary>
    internal static List<string> NamesIn(string text, IReadOnlyList<string> candidates)
    {
        var found = new List<string>();
        var perResource = IsPerResource(text);
        foreach (var name in candidates)
        {
            if (
                name.Length > 0
                && (
                    (
                        perResource
                        && (
                            text.Contains($"(s) {name}: ", StringComparison.Ordinal)
                            || text.Contains($", {name}: ", StringComparison.Ordinal)
                        )
                    ) || EndsAfter(text, $" in route {name}")
                )
            )
            {
                found.Add(name);
            }
        }

        if (found.Count == 0 && !perResource)
        {
            // The dump is in protobuf text form. A name that also stands in a part of the resource must not be blamed: only one candidate may match.
            foreach (var name in candidates)
            {
                if (text.Contains($"name: \"{name}\"", StringComparison.Ordinal))
                {
                    found.Add(name);
                }
            }

            if (found.Count > 1)
            {
                found.Clear();
            }
        }

        return found;
    }

    /// <summary>Whether the text tells of single resources, beside which the client took the others (kind R).</summary>
    internal static bool IsPerResource(string text) => text.Contains("Error adding/updating ", StringComparison.Ordinal);

    /// <summary>
    /// Whether the text says that an address could not be bound, which may change without a word from anyone: another process has it, or the machine has not got it yet.
    /// </summary>
    internal static bool IsBindFailure(string text) =>
        text.Contains("cannot bind ", StringComparison.Ordinal)
        && (
            text.Contains("Address already in use", StringComparison.Ordinal)
            || text.Contains("Cannot assign requested address", StringComparison.Ordinal)
        );

    private static bool EndsAfter(string text, string phrase)
    {
        var at = text.IndexOf(phrase, StringComparison.Ordinal);
        return at >= 0 && (at + phrase.Length == text.Length || AfterName.Contains(text[at + phrase.Length]));
    }

    /// <summary>What Envoy puts before its dumps, so that nobody parses them.</summary>
    [GeneratedRegex(@"goo\.gle/debug(only|proto|str)\s*", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 200)]
    private static partial Regex DebugMarker();

    [GeneratedRegex(
        "-----BEGIN [^-]*-----.*?(-----END [^-]*-----|$)",
        RegexOptions.Singleline | RegexOptions.ExplicitCapture,
        matchTimeoutMilliseconds: 200
    )]
    private static partial Regex Pem();

    [GeneratedRegex(
        """\b(?<field>(private_?key|password|inline_?(string|bytes)|secret|token)\w*"?\s*:\s*)("([^"\\]|\\.)*"?|[^\s,}]+)""",
        RegexOptions.ExplicitCapture,
        matchTimeoutMilliseconds: 200
    )]
    private static partial Regex SecretField();
}
