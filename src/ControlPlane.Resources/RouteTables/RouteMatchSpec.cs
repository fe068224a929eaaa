using System.Collections.Immutable;

namespace ControlPlane.Resources.RouteTables;

/// <summary>Which requests a route is for: exactly one rule for the path, and all of the other conditions that are given.</summary>
public sealed record RouteMatchSpec
{
    /// <summary>The path begins with this text: <c>/api</c> matches <c>/api</c>, <c>/api/x</c> and also <c>/apix</c>.</summary>
    public string? Prefix { get; init; }

    /// <summary>
    /// The path is this one or lies below it: <c>/api</c> matches <c>/api</c> and <c>/api/x</c>, not <c>/apix</c>. Without a <c>/</c> at its end, without
    /// <c>?</c> and <c>#</c>.
    /// </summary>
    public string? PathSeparatedPrefix { get; init; }

    /// <summary>The path, without the query, is exactly this one.</summary>
    public string? Path { get; init; }

    /// <summary>The whole path, without the query, matches this regular expression (RE2 syntax).</summary>
    public string? Regex { get; init; }

    /// <summary>
    /// The path matches this template, for example <c>/users/{id}/files/{file=**}</c>: <c>*</c> is one segment, <c>**</c> the rest; up to five variables,
    /// which <see cref="RewriteSpec.PathTemplate"/> may use (Envoy extension <c>envoy.path.match.uri_template</c>).
    /// </summary>
    public string? PathTemplate { get; init; }

    /// <summary>CONNECT requests, whatever their authority is; the listener must have the upgrade <c>connect</c>.</summary>
    public bool Connect { get; init; }

    /// <summary>Whether upper and lower case differ in prefix, pathSeparatedPrefix and path.</summary>
    public bool CaseSensitive { get; init; } = true;

    /// <summary>The request's method is one of these, for example <c>GET</c>.</summary>
    public ImmutableArray<string> Methods { get; init; } = [];

    /// <summary>Conditions on headers; all must hold.</summary>
    public ImmutableArray<HeaderMatchSpec> Headers { get; init; } = [];

    /// <summary>Conditions on query parameters; all must hold.</summary>
    public ImmutableArray<QueryParameterMatchSpec> QueryParameters { get; init; } = [];

    /// <summary>Only gRPC requests: content type <c>application/grpc</c> or one that begins with <c>application/grpc+</c>.</summary>
    public bool Grpc { get; init; }

    /// <summary>Only this share of the requests that match otherwise; the rest goes on to the next routes.</summary>
    public FractionSpec? RuntimeFraction { get; init; }
}

/// <summary>A share of requests, which a proxy's runtime can change without a new table.</summary>
public sealed record FractionSpec
{
    /// <summary>Percent, from 0 to 100, with at most four decimals (Envoy counts in millionths).</summary>
    public double Percent { get; init; } = 100;

    /// <summary>The runtime key whose value takes the place of <see cref="Percent"/> where the proxy has it.</summary>
    public string? RuntimeKey { get; init; }
}

/// <summary>A condition on a text: exactly one of exact, prefix, suffix, contains and regex.</summary>
public sealed record StringMatchSpec
{
    /// <summary>Is this text.</summary>
    public string? Exact { get; init; }

    /// <summary>Begins with this text.</summary>
    public string? Prefix { get; init; }

    /// <summary>Ends with this text.</summary>
    public string? Suffix { get; init; }

    /// <summary>Holds this text.</summary>
    public string? Contains { get; init; }

    /// <summary>Matches this regular expression as a whole (RE2 syntax).</summary>
    public string? Regex { get; init; }

    /// <summary>Whether upper and lower case are the same; not for <see cref="Regex"/>, which says <c>(?i)</c> instead.</summary>
    public bool IgnoreCase { get; init; }
}

/// <summary>A condition on one header: a value, a range of numbers, or that it is there. Without any of them: that it is there.</summary>
public sealed record HeaderMatchSpec
{
    /// <summary>The header's name; <c>:method</c>, <c>:authority</c>, <c>:path</c> and <c>:scheme</c> are possible. Case does not matter.</summary>
    public required string Name { get; init; }

    /// <summary>The condition on the value.</summary>
    public StringMatchSpec? Value { get; init; }

    /// <summary>The value is a whole number in this range.</summary>
    public NumberRangeSpec? Range { get; init; }

    /// <summary>Whether the header must be there (true) or absent (false).</summary>
    public bool? Present { get; init; }

    /// <summary>Turns the condition round.</summary>
    public bool Invert { get; init; }

    /// <summary>Whether an absent header counts as one with an empty value.</summary>
    public bool TreatMissingAsEmpty { get; init; }
}

/// <summary>Whole numbers from <see cref="Start"/> up to but without <see cref="End"/>.</summary>
public sealed record NumberRangeSpec
{
    /// <summary>The first number that matches.</summary>
    public required long Start { get; init; }

    /// <summary>The first number that no longer matches.</summary>
    public required long End { get; init; }
}

/// <summary>A condition on one query parameter: a value, or that it is there. Without any of them: that it is there.</summary>
public sealed record QueryParameterMatchSpec
{
    /// <summary>The parameter's name, as it stands in the URL; at most 1024 bytes.</summary>
    public required string Name { get; init; }

    /// <summary>The condition on the value.</summary>
    public StringMatchSpec? Value { get; init; }

    /// <summary>Whether the parameter must be there (true) or absent (false).</summary>
    public bool? Present { get; init; }
}
