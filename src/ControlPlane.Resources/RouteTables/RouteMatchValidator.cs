using System.Collections.Immutable;
using System.Text;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.RouteTables;

/// <summary>Rules of what requests are matched by.</summary>
internal static class RouteMatchValidator
{
    private const int LongestParameterName = 1024;

    public static void Validate(RouteMatchSpec match, string pointer, ProblemCollector problems)
    {
        problems.OneOf(
            pointer,
            isRequired: true,
            ("prefix", match.Prefix is not null),
            ("pathSeparatedPrefix", match.PathSeparatedPrefix is not null),
            ("path", match.Path is not null),
            ("regex", match.Regex is not null),
            ("pathTemplate", match.PathTemplate is not null),
            ("connect", match.Connect)
        );
        // The empty prefix is every request, and what gRPC clients expect.
        if (match.Prefix is { Length: > 0 } prefix)
        {
            ValidatePath(prefix, $"{pointer}/prefix", problems);
        }
        if (match.Path is { } path)
        {
            ValidatePath(path, $"{pointer}/path", problems);
        }
        if (match.PathSeparatedPrefix is { } separated)
        {
            ValidatePathSeparatedPrefix(separated, $"{pointer}/pathSeparatedPrefix", problems);
        }
        problems.RegularExpression($"{pointer}/regex", match.Regex);
        if (match.PathTemplate is { } template && PathTemplate.ExplainMatch(template, out _) is { } fault)
        {
            problems.Error($"{pointer}/pathTemplate", "invalid-path-template", fault);
        }
        if (!match.CaseSensitive && match is { Prefix: null, PathSeparatedPrefix: null, Path: null })
        {
            problems.Warning(
                $"{pointer}/caseSensitive",
                "no-effect",
                "Case counts only in prefix, pathSeparatedPrefix and path. A regular expression says (?i) instead."
            );
        }
        foreach (var (at, method) in match.Methods.Index())
        {
            ValidateMethod(method, $"{pointer}/methods/{at}", problems);
        }
        Validate(match.Headers, $"{pointer}/headers", problems);
        Validate(match.QueryParameters, $"{pointer}/queryParameters", problems);
        Validate(match.RuntimeFraction, $"{pointer}/runtimeFraction", problems);
    }

    public static void Validate(ImmutableArray<HeaderMatchSpec> headers, string pointer, ProblemCollector problems)
    {
        foreach (var (at, header) in headers.Index())
        {
            Validate(header, $"{pointer}/{at}", problems);
        }
    }

    public static void Validate(ImmutableArray<QueryParameterMatchSpec> parameters, string pointer, ProblemCollector problems)
    {
        foreach (var (at, parameter) in parameters.Index())
        {
            Validate(parameter, $"{pointer}/{at}", problems);
        }
    }

    public static void Validate(StringMatchSpec match, string pointer, ProblemCollector problems)
    {
        problems.OneOf(
            pointer,
            isRequired: true,
            ("exact", match.Exact is not null),
            ("prefix", match.Prefix is not null),
            ("suffix", match.Suffix is not null),
            ("contains", match.Contains is not null),
            ("regex", match.Regex is not null)
        );
        problems.NotEmpty($"{pointer}/prefix", match.Prefix);
        problems.NotEmpty($"{pointer}/suffix", match.Suffix);
        problems.NotEmpty($"{pointer}/contains", match.Contains);
        problems.RegularExpression($"{pointer}/regex", match.Regex);
        if (match.IgnoreCase && match.Regex is not null)
        {
            problems.Error(
                $"{pointer}/ignoreCase",
                "ignore-case-of-regex",
                "Envoy refuses ignoreCase for a regular expression. Begin the expression with (?i) instead."
            );
        }
    }

    public static void Validate(FractionSpec? fraction, string pointer, ProblemCollector problems)
    {
        if (fraction is not null)
        {
            problems.Percent($"{pointer}/percent", fraction.Percent);
            problems.NotEmpty($"{pointer}/runtimeKey", fraction.RuntimeKey);
        }
    }

    private static void Validate(HeaderMatchSpec header, string pointer, ProblemCollector problems)
    {
        problems.HeaderToRead($"{pointer}/name", header.Name);
        problems.OneOf(
            pointer,
            isRequired: false,
            ("value", header.Value is not null),
            ("range", header.Range is not null),
            ("present", header.Present is not null)
        );
        if (header.Value is { } value)
        {
            Validate(value, $"{pointer}/value", problems);
        }
        if (header.Range is { } range && range.Start >= range.End)
        {
            problems.Error(
                $"{pointer}/range",
                "empty-range",
                $"The range ends before its 'end', so that {range.Start} to {range.End} holds no number. Write the first number that no longer matches as 'end'."
            );
        }
    }

    private static void Validate(QueryParameterMatchSpec parameter, string pointer, ProblemCollector problems)
    {
        problems.NotEmpty($"{pointer}/name", parameter.Name);
        if (Encoding.UTF8.GetByteCount(parameter.Name) > LongestParameterName)
        {
            problems.Error($"{pointer}/name", "too-long", $"The name of a query parameter has at most {LongestParameterName} bytes.");
        }
        problems.OneOf(pointer, isRequired: false, ("value", parameter.Value is not null), ("present", parameter.Present is not null));
        if (parameter.Value is { } value)
        {
            Validate(value, $"{pointer}/value", problems);
        }
    }

    private static void ValidatePath(string path, string pointer, ProblemCollector problems)
    {
        if (!path.StartsWith('/'))
        {
            problems.Error(
                pointer,
                "invalid-path",
                $"{TextExcerpt.Quote(path)} matches nothing, since every path begins with '/'. Write '/{TextExcerpt.Of(path)}'."
            );
        }
        else if (path.AsSpan().IndexOfAny('?', '#') >= 0)
        {
            problems.Error(
                pointer,
                "invalid-path",
                "The query is no part of the path that is compared. Leave it out, and use queryParameters for conditions on it."
            );
        }
    }

    private static void ValidatePathSeparatedPrefix(string prefix, string pointer, ProblemCollector problems)
    {
        if (prefix == "/")
        {
            problems.Error(pointer, "invalid-path", "For every path write prefix: / instead.");
        }
        else if (prefix.EndsWith('/'))
        {
            problems.Error(
                pointer,
                "invalid-path",
                $"The slash at the end stands for itself. Write {TextExcerpt.Quote(prefix.TrimEnd('/'))}."
            );
        }
        else
        {
            ValidatePath(prefix, pointer, problems);
        }
    }

    private static void ValidateMethod(string method, string pointer, ProblemCollector problems)
    {
        if (method.Length == 0 || !method.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_'))
        {
            problems.Error(pointer, "invalid-method", "A method is a word of letters, digits, '-' and '_', such as GET.");
        }
        else if (method.Any(char.IsAsciiLetterLower))
        {
            problems.Error(
                pointer,
                "invalid-method",
                $"Methods are compared with their case, and {TextExcerpt.Quote(method)} is none that clients send. Write '{TextExcerpt.Of(method.ToUpperInvariant())}'."
            );
        }
    }
}
