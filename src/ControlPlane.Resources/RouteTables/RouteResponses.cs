using System.Collections.Immutable;

namespace ControlPlane.Resources.RouteTables;

/// <summary>A redirect; what is not given stays as the client asked for it. At most one of path, prefixRewrite and pathRegex.</summary>
public sealed record RedirectSpec
{
    /// <summary>The new scheme, <c>http</c> or <c>https</c>; a standard port in the Host is changed with it.</summary>
    public string? Scheme { get; init; }

    /// <summary>The new host, without a port.</summary>
    public string? Host { get; init; }

    /// <summary>The new port, from 1 to 65535.</summary>
    public uint? Port { get; init; }

    /// <summary>The new path; the query is kept unless it brings its own.</summary>
    public string? Path { get; init; }

    /// <summary>Takes the place of what the match's prefix, pathSeparatedPrefix or path matched.</summary>
    public string? PrefixRewrite { get; init; }

    /// <summary>A regular expression over the path, and what takes the place of its matches.</summary>
    public RegexRewriteSpec? PathRegex { get; init; }

    /// <summary>301, 302, 303, 307 or 308.</summary>
    public uint StatusCode { get; init; } = 301;

    /// <summary>Whether the query is taken away.</summary>
    public bool StripQuery { get; init; }
}

/// <summary>A fixed answer.</summary>
public sealed record DirectResponseSpec
{
    /// <summary>The status code, from 200 to 599.</summary>
    public required uint Status { get; init; }

    /// <summary>The body; at most 4096 bytes in UTF-8. Its content type is <c>text/plain</c> unless responseHeaders sets another.</summary>
    public string? Body { get; init; }
}

/// <summary>
/// Edits of headers. Values may hold Envoy's command operators, for example <c>%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%</c>; a percent sign is written
/// <c>%%</c>.
/// </summary>
public sealed record HeaderEditsSpec
{
    /// <summary>Headers that get this value, whatever they had.</summary>
    public ImmutableSortedDictionary<string, string> Set { get; init; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>Headers to which this value is added; they then have several.</summary>
    public ImmutableSortedDictionary<string, string> Append { get; init; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>Headers that get this value only where they are absent.</summary>
    public ImmutableSortedDictionary<string, string> AddIfAbsent { get; init; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>Names of headers that are taken away.</summary>
    public ImmutableArray<string> Remove { get; init; } = [];
}

/// <summary>
/// Cross-origin rules. The listener must have the filter for them, which it has unless it says <c>cors: false</c>
/// (Envoy extension <c>envoy.filters.http.cors</c>).
/// </summary>
public sealed record CorsSpec
{
    /// <summary>Origins that may read the answers, for example <c>{exact: "https://shop.example"}</c>; <c>{exact: "*"}</c> is every origin.</summary>
    public ImmutableArray<StringMatchSpec> AllowOrigins { get; init; } = [];

    /// <summary>Methods that scripts may use.</summary>
    public ImmutableArray<string> AllowMethods { get; init; } = [];

    /// <summary>Request headers that scripts may set.</summary>
    public ImmutableArray<string> AllowHeaders { get; init; } = [];

    /// <summary>Response headers that scripts may read.</summary>
    public ImmutableArray<string> ExposeHeaders { get; init; } = [];

    /// <summary>How long browsers may remember the answer to a preflight; in whole seconds.</summary>
    public TimeSpan? MaxAge { get; init; }

    /// <summary>Whether browsers may send cookies and credentials along.</summary>
    public bool AllowCredentials { get; init; }

    /// <summary>Whether a page on a public address may call this private one.</summary>
    public bool AllowPrivateNetworkAccess { get; init; }
}
