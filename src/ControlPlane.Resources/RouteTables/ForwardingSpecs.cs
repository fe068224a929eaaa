using System.Collections.Immutable;

namespace ControlPlane.Resources.RouteTables;

/// <summary>Which circuit-breaker limits of the upstream a request counts against.</summary>
public enum RoutePriority
{
    /// <summary>The limits of the default priority.</summary>
    Default,

    /// <summary>The limits of the high priority.</summary>
    High,
}

/// <summary>One upstream among several.</summary>
public sealed record WeightedUpstreamSpec
{
    /// <summary>The upstream.</summary>
    public required string Name { get; init; }

    /// <summary>Its share of the requests: its weight divided by the sum of all. 0 sends it nothing.</summary>
    public required uint Weight { get; init; }

    /// <summary>Only endpoints with this metadata; added to the route's.</summary>
    public ImmutableSortedDictionary<string, string> Subset { get; init; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>Edits of the headers of the requests that this upstream gets.</summary>
    public HeaderEditsSpec? RequestHeaders { get; init; }

    /// <summary>Edits of the headers of its responses.</summary>
    public HeaderEditsSpec? ResponseHeaders { get; init; }
}

/// <summary>One thing to hash: exactly one of header, cookie, sourceIp and queryParameter.</summary>
public sealed record HashPolicySpec
{
    /// <summary>The value of this header.</summary>
    public string? Header { get; init; }

    /// <summary>A cookie, made by the proxy where it is missing and has a lifetime.</summary>
    public HashCookieSpec? Cookie { get; init; }

    /// <summary>The client's IP address.</summary>
    public bool SourceIp { get; init; }

    /// <summary>The value of this query parameter.</summary>
    public string? QueryParameter { get; init; }

    /// <summary>Whether the policies after this one are skipped once this one gave a hash.</summary>
    public bool Terminal { get; init; }
}

/// <summary>A cookie that keeps a client at one endpoint.</summary>
public sealed record HashCookieSpec
{
    /// <summary>The cookie's name.</summary>
    public required string Name { get; init; }

    /// <summary>How long a cookie lives that the proxy makes; <c>0s</c> is a session cookie. When not given the proxy makes none.</summary>
    public TimeSpan? Ttl { get; init; }

    /// <summary>The path of a cookie that the proxy makes.</summary>
    public string? Path { get; init; }
}

/// <summary>Copies of requests for an upstream under trial. Envoy adds <c>-shadow</c> to the host of the copies.</summary>
public sealed record MirrorSpec
{
    /// <summary>The upstream that gets the copies.</summary>
    public required string Upstream { get; init; }

    /// <summary>The share of requests that is copied; all when not given.</summary>
    public FractionSpec? Fraction { get; init; }
}

/// <summary>
/// Changes of the request on its way to the upstream: at most one of prefix, pathRegex and pathTemplate, and at most one of host, hostFromHeader and
/// hostFromEndpoint.
/// </summary>
public sealed record RewriteSpec
{
    /// <summary>Takes the place of what the match's prefix, pathSeparatedPrefix or path matched.</summary>
    public string? Prefix { get; init; }

    /// <summary>A regular expression over the path without the query, and what takes the place of its matches.</summary>
    public RegexRewriteSpec? PathRegex { get; init; }

    /// <summary>The new path, with the variables of the match's pathTemplate, for example <c>/v2/{id}</c>.</summary>
    public string? PathTemplate { get; init; }

    /// <summary>The new Host.</summary>
    public string? Host { get; init; }

    /// <summary>The new Host is the value of this header.</summary>
    public string? HostFromHeader { get; init; }

    /// <summary>The new Host is the hostname of the chosen endpoint; for upstreams that are resolved by DNS or whose endpoints have hostnames.</summary>
    public bool HostFromEndpoint { get; init; }
}

/// <summary>A regular expression and what takes the place of its matches.</summary>
public sealed record RegexRewriteSpec
{
    /// <summary>RE2 syntax; every part of the path that matches is replaced.</summary>
    public required string Pattern { get; init; }

    /// <summary>The new text; <c>\1</c> to <c>\9</c> stand for the groups of the pattern, <c>\0</c> for the whole match.</summary>
    public required string Substitution { get; init; }
}

/// <summary>Switches one upgrade on or off for a route.</summary>
public sealed record RouteUpgradeSpec
{
    /// <summary>The value of the Upgrade header, for example <c>websocket</c>, or <c>CONNECT</c>.</summary>
    public required string Type { get; init; }

    /// <summary>Whether the upgrade is allowed on this route.</summary>
    public bool Enabled { get; init; } = true;

    /// <summary>For <c>CONNECT</c>: ends the tunnel here and sends its bytes to the upstream as TCP, instead of passing the CONNECT on.</summary>
    public bool Terminate { get; init; }
}

/// <summary>When and how a request is tried again.</summary>
public sealed record RetrySpec
{
    /// <summary>
    /// The conditions of <c>x-envoy-retry-on</c> and <c>x-envoy-retry-grpc-on</c>, for example <c>connect-failure</c>, <c>refused-stream</c>,
    /// <c>gateway-error</c>, <c>unavailable</c>. Those that <see cref="StatusCodes"/> and <see cref="Headers"/> need are added by themselves.
    /// </summary>
    public ImmutableArray<string> On { get; init; } = [];

    /// <summary>How many times at most, the first try not counted; from 0.</summary>
    public uint NumRetries { get; init; } = 1;

    /// <summary>The time limit of each try; when not given only the route's timeout holds, and a slow first try leaves no time for a second.</summary>
    public TimeSpan? PerTryTimeout { get; init; }

    /// <summary>The longest pause of a try in which nothing is received from the upstream.</summary>
    public TimeSpan? PerTryIdleTimeout { get; init; }

    /// <summary>The pause before a retry; Envoy's own is 25 ms at first, doubled each time, with jitter, at most ten times the first.</summary>
    public BackOffSpec? BackOff { get; init; }

    /// <summary>Whether endpoints that were tried already are avoided (Envoy extension <c>envoy.retry_host_predicates.previous_hosts</c>).</summary>
    public bool AvoidPreviousHosts { get; init; } = true;

    /// <summary>How often the choice of an endpoint is repeated to find one that was not tried; from 1.</summary>
    public uint HostSelectionAttempts { get; init; } = 3;

    /// <summary>Status codes that are tried again, from 100 to 599; adds the condition <c>retriable-status-codes</c>.</summary>
    public ImmutableArray<uint> StatusCodes { get; init; } = [];

    /// <summary>Response headers that make a response worth a retry; one is enough; adds the condition <c>retriable-headers</c>.</summary>
    public ImmutableArray<HeaderMatchSpec> Headers { get; init; } = [];

    /// <summary>Only requests with one of these headers are tried again; empty is all.</summary>
    public ImmutableArray<HeaderMatchSpec> RequestHeaders { get; init; } = [];
}

/// <summary>An exponential pause with full jitter.</summary>
public sealed record BackOffSpec
{
    /// <summary>The bound of the first pause; more than 0, at least a millisecond.</summary>
    public required TimeSpan BaseInterval { get; init; }

    /// <summary>The bound of every pause; not below the base; ten times the base when not given.</summary>
    public TimeSpan? MaxInterval { get; init; }
}
