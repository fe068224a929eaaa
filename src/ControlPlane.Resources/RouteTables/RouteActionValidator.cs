using System.Text;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.RouteTables;

/// <summary>Rules of what is done with a request.</summary>
internal static class RouteActionValidator
{
    /// <summary>Envoy's limit (<c>RouteConfiguration.max_direct_response_body_size_bytes</c>).</summary>
    private const int LargestBody = 4096;

    /// <summary>Envoy's own (<c>RouteAction.timeout</c>).</summary>
    private static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(15);

    public static void Validate(RouteSpec action, string pointer, ProblemCollector problems)
    {
        problems.NotEmpty($"{pointer}/upstream", action.Upstream);
        ValidateUpstreams(action, pointer, problems);
        problems.Timeout($"{pointer}/timeout", action.Timeout);
        problems.Timeout($"{pointer}/idleTimeout", action.IdleTimeout);
        problems.Timeout($"{pointer}/maxStreamDuration", action.MaxStreamDuration);
        problems.Timeout($"{pointer}/grpcTimeoutHeaderMax", action.GrpcTimeoutHeaderMax);
        RetryValidator.Validate(action.Retry, action.Timeout ?? DefaultTimeout, $"{pointer}/retry", problems);
        foreach (var (at, policy) in action.HashPolicy.Index())
        {
            ValidateHashPolicy(policy, $"{pointer}/hashPolicy/{at}", problems);
        }
        foreach (var (at, mirror) in action.Mirror.Index())
        {
            problems.NotEmpty($"{pointer}/mirror/{at}/upstream", mirror.Upstream);
            RouteMatchValidator.Validate(mirror.Fraction, $"{pointer}/mirror/{at}/fraction", problems);
        }
        if (action.Rewrite is { } rewrite)
        {
            ValidateRewrite(rewrite, action.Match, $"{pointer}/rewrite", problems);
        }
        ValidateUpgrades(action, $"{pointer}/upgrades", problems);
        RateLimitValidator.Validate(action.RateLimits, $"{pointer}/rateLimits", problems);
    }

    /// <summary>Refuses what is about forwarding on a route that does not forward.</summary>
    public static void ValidateNotForwarding(RouteSpec route, string pointer, ProblemCollector problems)
    {
        ReadOnlySpan<(string Field, bool IsGiven)> fields =
        [
            ("subset", !route.Subset.IsEmpty),
            ("timeout", route.Timeout is not null),
            ("idleTimeout", route.IdleTimeout is not null),
            ("maxStreamDuration", route.MaxStreamDuration is not null),
            ("grpcTimeoutHeaderMax", route.GrpcTimeoutHeaderMax is not null),
            ("retry", route.Retry is not null),
            ("hashPolicy", !route.HashPolicy.IsEmpty),
            ("mirror", !route.Mirror.IsEmpty),
            ("rewrite", route.Rewrite is not null),
            ("upgrades", !route.Upgrades.IsEmpty),
            ("rateLimits", !route.RateLimits.IsEmpty),
            ("priority", route.Priority != RoutePriority.Default),
        ];
        foreach (var (field, isGiven) in fields)
        {
            if (isGiven)
            {
                problems.Error(
                    $"{pointer}/{field}",
                    "not-forwarding",
                    $"'{field}' is about requests that go to an upstream, and these do not. Leave it out."
                );
            }
        }
    }

    public static void Validate(RedirectSpec redirect, RouteMatchSpec match, string pointer, ProblemCollector problems)
    {
        if (redirect is { Scheme: null, Host: null, Port: null, Path: null, PrefixRewrite: null, PathRegex: null, StripQuery: false })
        {
            problems.Error(
                pointer,
                "redirect-to-itself",
                "A redirect that changes nothing sends the client round in circles. Give a scheme, host, port or path."
            );
        }
        if (redirect.Scheme is not (null or "http" or "https"))
        {
            problems.Error($"{pointer}/scheme", "invalid-scheme", "The scheme is 'http' or 'https'.");
        }
        if (redirect.Host is { } host)
        {
            ValidateHost(host, $"{pointer}/host", "The port has a field of its own.", problems);
        }
        if (redirect.Port is { } port)
        {
            problems.InRange($"{pointer}/port", port, 1u, 65535u);
        }
        problems.OneOf(
            pointer,
            isRequired: false,
            ("path", redirect.Path is not null),
            ("prefixRewrite", redirect.PrefixRewrite is not null),
            ("pathRegex", redirect.PathRegex is not null)
        );
        ValidateNewPath(redirect.Path, $"{pointer}/path", problems);
        ValidatePrefixRewrite(redirect.PrefixRewrite, match, $"{pointer}/prefixRewrite", problems);
        ValidateRegexRewrite(redirect.PathRegex, $"{pointer}/pathRegex", problems);
        if (redirect.StatusCode is not (301 or 302 or 303 or 307 or 308))
        {
            problems.Error(
                $"{pointer}/statusCode",
                "out-of-range",
                $"{redirect.StatusCode} is no redirect. Write 301, 302, 303, 307 or 308."
            );
        }
    }

    public static void Validate(DirectResponseSpec response, string pointer, ProblemCollector problems)
    {
        problems.InRange($"{pointer}/status", response.Status, 200u, 599u);
        var size = Encoding.UTF8.GetByteCount(response.Body ?? "");
        if (size > LargestBody)
        {
            problems.Error(
                $"{pointer}/body",
                "body-too-large",
                $"The body has {size} bytes, and Envoy takes at most {LargestBody}. Serve larger ones from an upstream."
            );
        }
        if (size > 0 && response.Status is 204 or 304)
        {
            problems.Warning($"{pointer}/body", "no-effect", $"A response with status {response.Status} has no body (RFC 9110, 6.4.1).");
        }
    }

    private static void ValidateUpstreams(RouteSpec action, string pointer, ProblemCollector problems)
    {
        if (action.Upstreams.IsEmpty)
        {
            return;
        }
        problems.Weights($"{pointer}/upstreams", action.Upstreams.Select(u => u.Weight));
        foreach (var (at, upstream) in action.Upstreams.Index())
        {
            problems.NotEmpty($"{pointer}/upstreams/{at}/name", upstream.Name);
            HeaderEditsValidator.Validate(upstream.RequestHeaders, $"{pointer}/upstreams/{at}/requestHeaders", problems);
            HeaderEditsValidator.ValidateResponse(upstream.ResponseHeaders, $"{pointer}/upstreams/{at}/responseHeaders", problems);
        }
    }

    private static void ValidateHashPolicy(HashPolicySpec policy, string pointer, ProblemCollector problems)
    {
        problems.OneOf(
            pointer,
            isRequired: true,
            ("header", policy.Header is not null),
            ("cookie", policy.Cookie is not null),
            ("sourceIp", policy.SourceIp),
            ("queryParameter", policy.QueryParameter is not null)
        );
        if (policy.Header is { } header)
        {
            problems.HeaderToRead($"{pointer}/header", header);
        }
        problems.NotEmpty($"{pointer}/queryParameter", policy.QueryParameter);
        if (policy.Cookie is { } cookie)
        {
            if (!HttpRules.IsToken(cookie.Name))
            {
                problems.Error($"{pointer}/cookie/name", "invalid-token", "A cookie's name is a single word (RFC 6265, 4.1.1).");
            }
            problems.Timeout($"{pointer}/cookie/ttl", cookie.Ttl);
            ValidateNewPath(cookie.Path, $"{pointer}/cookie/path", problems);
            if (cookie is { Path: not null, Ttl: null })
            {
                problems.Warning($"{pointer}/cookie/path", "no-effect", "The proxy makes no cookie without a 'ttl', which may be 0s.");
            }
        }
    }

    private static void ValidateRewrite(RewriteSpec rewrite, RouteMatchSpec match, string pointer, ProblemCollector problems)
    {
        problems.OneOf(
            pointer,
            isRequired: false,
            ("prefix", rewrite.Prefix is not null),
            ("pathRegex", rewrite.PathRegex is not null),
            ("pathTemplate", rewrite.PathTemplate is not null)
        );
        problems.OneOf(
            pointer,
            isRequired: false,
            ("host", rewrite.Host is not null),
            ("hostFromHeader", rewrite.HostFromHeader is not null),
            ("hostFromEndpoint", rewrite.HostFromEndpoint)
        );
        ValidatePrefixRewrite(rewrite.Prefix, match, $"{pointer}/prefix", problems);
        ValidateRegexRewrite(rewrite.PathRegex, $"{pointer}/pathRegex", problems);
        if (rewrite.PathTemplate is { } template)
        {
            ValidateTemplateRewrite(template, match, $"{pointer}/pathTemplate", problems);
        }
        if (rewrite.Host is { } host)
        {
            ValidateHost(host, $"{pointer}/host", hintForPort: null, problems);
        }
        if (rewrite.HostFromHeader is { } header)
        {
            problems.HeaderToRead($"{pointer}/hostFromHeader", header);
        }
    }

    private static void ValidateTemplateRewrite(string template, RouteMatchSpec match, string pointer, ProblemCollector problems)
    {
        if (match.PathTemplate is null)
        {
            problems.Error(
                pointer,
                "template-without-match",
                "Envoy rewrites by a template only what was matched by one. Give the match a pathTemplate, or rewrite by 'prefix' or 'pathRegex'."
            );
        }
        else if (
            PathTemplate.ExplainMatch(match.PathTemplate, out var variables) is null
            && PathTemplate.ExplainRewrite(template, variables) is { } fault
        )
        {
            problems.Error(pointer, "invalid-path-template", fault);
        }
    }

    private static void ValidatePrefixRewrite(string? prefix, RouteMatchSpec match, string pointer, ProblemCollector problems)
    {
        if (prefix is null)
        {
            return;
        }
        ValidateNewPath(prefix, pointer, problems);
        if (match.PathTemplate is not null)
        {
            problems.Error(
                pointer,
                "prefix-of-template",
                "Envoy cannot replace the prefix of a path that was matched by a template. Use 'pathTemplate' or 'pathRegex'."
            );
        }
        var matched = match.PathSeparatedPrefix ?? match.Prefix;
        if (prefix.EndsWith('/') && matched is { Length: > 1 } && !matched.EndsWith('/'))
        {
            problems.Warning(
                pointer,
                "double-slash",
                $"{TextExcerpt.Of(matched)}/x becomes {TextExcerpt.Of(prefix)}/x. Match '{TextExcerpt.Of(matched)}/' in a route before, or use pathRegex: {{pattern: \"^{TextExcerpt.Of(matched)}/*\", substitution: {TextExcerpt.Of(prefix)}}}."
            );
        }
    }

    private static void ValidateRegexRewrite(RegexRewriteSpec? rewrite, string pointer, ProblemCollector problems)
    {
        if (rewrite is null)
        {
            return;
        }
        problems.RegularExpression($"{pointer}/pattern", rewrite.Pattern);
        problems.HeaderValue($"{pointer}/substitution", rewrite.Substitution);
        for (var at = rewrite.Substitution.IndexOf('\\', StringComparison.Ordinal); at >= 0; )
        {
            var next = at + 1 < rewrite.Substitution.Length ? rewrite.Substitution[at + 1] : '\0';
            if (!char.IsAsciiDigit(next) && next != '\\')
            {
                problems.Error(
                    $"{pointer}/substitution",
                    "invalid-substitution",
                    "A backslash stands before the number of a group (\\1) or before another backslash. Envoy would take it and never rewrite."
                );
                return;
            }
            at = at + 2 < rewrite.Substitution.Length ? rewrite.Substitution.IndexOf('\\', at + 2) : -1;
        }
    }

    private static void ValidateNewPath(string? path, string pointer, ProblemCollector problems)
    {
        if (path is null)
        {
            return;
        }
        problems.HeaderValue(pointer, path);
        if (!path.StartsWith('/'))
        {
            problems.Error(pointer, "invalid-path", $"A path begins with '/'. Write '/{TextExcerpt.Of(path)}'.");
        }
    }

    private static void ValidateHost(string host, string pointer, string? hintForPort, ProblemCollector problems)
    {
        if (host.Length == 0 || host.Any(c => char.IsControl(c) || c is ' ' or '/'))
        {
            problems.Error(pointer, "invalid-host", "Write the host alone, without scheme, path and blanks, for example shop.example.");
        }
        else if (hintForPort is not null && host.Contains(':', StringComparison.Ordinal) && !host.EndsWith(']'))
        {
            problems.Error(pointer, "invalid-host", $"Write the host alone. {hintForPort}");
        }
    }

    private static void ValidateUpgrades(RouteSpec action, string pointer, ProblemCollector problems)
    {
        var seen = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        foreach (var (at, upgrade) in action.Upgrades.Index())
        {
            if (!HttpRules.IsToken(upgrade.Type))
            {
                problems.Error(
                    $"{pointer}/{at}/type",
                    "invalid-token",
                    "The type is one word of the Upgrade header, such as websocket, or CONNECT."
                );
            }
            if (!seen.Add(upgrade.Type))
            {
                problems.Error(
                    $"{pointer}/{at}/type",
                    "duplicate-upgrade",
                    $"{TextExcerpt.Quote(upgrade.Type)} stands twice in this list. Keep one."
                );
            }
            if (upgrade.Terminate && !upgrade.Type.Equals("CONNECT", StringComparison.OrdinalIgnoreCase))
            {
                problems.Error($"{pointer}/{at}/terminate", "terminate-without-connect", "Only CONNECT tunnels can be ended here.");
            }
        }
    }
}
