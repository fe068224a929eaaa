using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.RouteTables;

/// <summary>Rules of a route table by itself: what Envoy would refuse, and what it would take to its author's harm.</summary>
public static class RouteTableValidator
{
    /// <summary>The filter whose settings <see cref="CorsSpec"/> compiles to.</summary>
    private const string CorsFilter = "envoy.filters.http.cors";

    /// <summary>Validates a route table.</summary>
    public static void Validate(RouteTableSpec spec, ProblemCollector problems)
    {
        HeaderEditsValidator.Validate(spec.RequestHeaders, "/spec/requestHeaders", problems);
        HeaderEditsValidator.ValidateResponse(spec.ResponseHeaders, "/spec/responseHeaders", problems);
        ValidateFilterConfig(spec.TypedPerFilterConfig, cors: null, "/spec", problems);
        if (spec.VirtualHosts.IsEmpty)
        {
            problems.Warning("/spec/virtualHosts", "no-virtual-hosts", "Without a virtual host every request is answered with 404.");
        }
        ValidateDomains(spec, problems);

        var hostNames = new Dictionary<string, int>(StringComparer.Ordinal);
        var routeNames = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (at, host) in spec.VirtualHosts.Index())
        {
            var pointer = $"/spec/virtualHosts/{at}";
            if (!hostNames.TryAdd(host.EffectiveName, at))
            {
                problems.Warning(
                    pointer,
                    "duplicate-virtual-host",
                    $"The virtual host /spec/virtualHosts/{hostNames[host.EffectiveName]} has the same name, so that their statistics are mixed. Name one differently."
                );
            }
            ValidateVirtualHost(host, pointer, routeNames, problems);
        }
    }

    private static void ValidateDomains(RouteTableSpec spec, ProblemCollector problems)
    {
        var owners = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var (h, host) in spec.VirtualHosts.Index())
        {
            if (host.Domains.IsEmpty)
            {
                problems.Error(
                    $"/spec/virtualHosts/{h}/domains",
                    "no-domains",
                    "A virtual host needs at least one domain; '*' is every host."
                );
            }
            foreach (var (d, domain) in host.Domains.Index())
            {
                var pointer = $"/spec/virtualHosts/{h}/domains/{d}";
                ValidateDomain(domain, pointer, spec.IgnorePortInHostMatching, problems);
                if (!owners.TryAdd(domain, pointer))
                {
                    problems.Error(
                        pointer,
                        "duplicate-domain",
                        $"The domain {TextExcerpt.Quote(domain)} stands at {owners[domain]} already, and may stand once in a table (case does not matter). Move the routes together."
                    );
                }
            }
        }
    }

    private static void ValidateDomain(string domain, string pointer, bool ignorePort, ProblemCollector problems)
    {
        var star = domain.IndexOf('*', StringComparison.Ordinal);
        var stars = domain.Count(c => c == '*');
        if (domain.Length == 0 || domain.Any(c => char.IsControl(c) || c == ' '))
        {
            problems.Error(pointer, "invalid-domain", "A domain is a host name such as shop.example, and has no blanks.");
        }
        else if (domain.Contains('/', StringComparison.Ordinal))
        {
            problems.Error(
                pointer,
                "invalid-domain",
                $"{TextExcerpt.Quote(domain)} has a slash. Write the host alone, without scheme and path."
            );
        }
        else if (stars > 1 || (stars == 1 && star != 0 && star != domain.Length - 1))
        {
            problems.Error(
                pointer,
                "invalid-domain",
                $"{TextExcerpt.Quote(domain)}: one '*' may stand at the beginning (*.shop.example) or at the end (shop.*). Anywhere else Envoy takes it for a letter."
            );
        }
        else if (ignorePort && HasPort(domain))
        {
            problems.Error(
                pointer,
                "domain-with-port",
                $"{TextExcerpt.Quote(domain)} names a port, and ports are left out of the comparison. Remove the port, or say ignorePortInHostMatching: false."
            );
        }
    }

    private static bool HasPort(string domain) =>
        domain.LastIndexOf(':') is var colon and >= 0
        && colon > domain.LastIndexOf(']')
        && domain.AsSpan(colon + 1).IndexOfAnyExceptInRange('0', '9') < 0
        && (domain.IndexOf(':', StringComparison.Ordinal) == colon || domain.Contains(']', StringComparison.Ordinal));

    private static void ValidateVirtualHost(
        VirtualHostSpec host,
        string pointer,
        Dictionary<string, string> routeNames,
        ProblemCollector problems
    )
    {
        problems.Label($"{pointer}/name", host.Name);
        RetryValidator.Validate(host.Retry, timeout: null, $"{pointer}/retry", problems);
        ValidateCors(host.Cors, $"{pointer}/cors", problems);
        RateLimitValidator.Validate(host.RateLimits, $"{pointer}/rateLimits", problems);
        HeaderEditsValidator.Validate(host.RequestHeaders, $"{pointer}/requestHeaders", problems);
        HeaderEditsValidator.ValidateResponse(host.ResponseHeaders, $"{pointer}/responseHeaders", problems);
        ValidateFilterConfig(host.TypedPerFilterConfig, host.Cors, pointer, problems);
        if (host.Routes.IsEmpty)
        {
            problems.Warning($"{pointer}/routes", "no-routes", "Without a route every request to these domains is answered with 404.");
        }
        foreach (var (at, route) in host.Routes.Index())
        {
            var routePointer = $"{pointer}/routes/{at}";
            problems.Label($"{routePointer}/name", route.Name);
            if (route.Name is { } name && !routeNames.TryAdd(name, routePointer))
            {
                problems.Error(
                    $"{routePointer}/name",
                    "duplicate-route-name",
                    $"The route {routeNames[name]} has this name, too. Log records are attributed by it: choose another, or leave it out."
                );
            }
            ValidateRoute(route, routePointer, problems);
            var hidden = host.Routes.Take(at).Index().FirstOrDefault(r => Covers(r.Item.Match, route.Match), (-1, null!));
            if (hidden.Index >= 0)
            {
                problems.Warning(
                    $"{routePointer}/match",
                    "unreachable-route",
                    $"The route {hidden.Index} before this one takes all of its requests. Put the narrower match first."
                );
            }
        }
    }

    /// <summary>Whether an earlier match leaves nothing for a later one; only where that can be seen at once.</summary>
    private static bool Covers(RouteMatchSpec earlier, RouteMatchSpec later)
    {
        var isUnconditional =
            earlier is
            {
                Methods.IsEmpty: true,
                Headers.IsEmpty: true,
                QueryParameters.IsEmpty: true,
                Grpc: false,
                RuntimeFraction: null or { Percent: 100, RuntimeKey: null },
            };
        if (!isUnconditional || earlier.Prefix is null)
        {
            return false;
        }
        // A prefix never matches a CONNECT request, which has no path.
        var isAll = earlier.Prefix is "" or "/" && !later.Connect;
        var path = later.Prefix ?? later.PathSeparatedPrefix ?? later.Path;
        return isAll
            || (earlier.CaseSensitive == later.CaseSensitive && path?.StartsWith(earlier.Prefix, StringComparison.Ordinal) == true);
    }

    private static void ValidateRoute(RouteSpec route, string pointer, ProblemCollector problems)
    {
        RouteMatchValidator.Validate(route.Match, $"{pointer}/match", problems);
        problems.OneOf(
            pointer,
            isRequired: true,
            ("upstream", route.Upstream is not null),
            ("upstreams", !route.Upstreams.IsEmpty),
            ("redirect", route.Redirect is not null),
            ("directResponse", route.DirectResponse is not null),
            ("nonForwarding", route.NonForwarding)
        );
        if (route.Upstream is not null || !route.Upstreams.IsEmpty)
        {
            RouteActionValidator.Validate(route, pointer, problems);
        }
        else
        {
            RouteActionValidator.ValidateNotForwarding(route, pointer, problems);
        }
        if (route.Redirect is { } redirect)
        {
            RouteActionValidator.Validate(redirect, route.Match, $"{pointer}/redirect", problems);
        }
        if (route.DirectResponse is { } response)
        {
            RouteActionValidator.Validate(response, $"{pointer}/directResponse", problems);
        }
        ValidateCors(route.Cors, $"{pointer}/cors", problems);
        HeaderEditsValidator.Validate(route.RequestHeaders, $"{pointer}/requestHeaders", problems);
        HeaderEditsValidator.ValidateResponse(route.ResponseHeaders, $"{pointer}/responseHeaders", problems);
        ValidateFilterConfig(route.TypedPerFilterConfig, route.Cors, pointer, problems);
    }

    private static void ValidateFilterConfig(
        ImmutableSortedDictionary<string, JsonObject> configs,
        CorsSpec? cors,
        string pointer,
        ProblemCollector problems
    )
    {
        foreach (var (filter, config) in configs)
        {
            var at = $"{pointer}/typedPerFilterConfig/{JsonPointer.Escape(filter)}";
            problems.NotEmpty(at, filter);
            problems.TypedConfig(at, config);
            if (filter == CorsFilter && cors is not null)
            {
                problems.Error(at, "cors-twice", "'cors' says the settings of this filter already. Keep one of the two.");
            }
        }
    }

    private static void ValidateCors(CorsSpec? cors, string pointer, ProblemCollector problems)
    {
        if (cors is null)
        {
            return;
        }
        if (cors.AllowOrigins.IsEmpty)
        {
            problems.Error(
                $"{pointer}/allowOrigins",
                "no-origins",
                "Without an origin nobody is allowed anything. Give some, or leave 'cors' out."
            );
        }
        foreach (var (at, origin) in cors.AllowOrigins.Index())
        {
            ValidateOrigin(origin, cors.AllowCredentials, $"{pointer}/allowOrigins/{at}", problems);
        }
        ValidateTokens(cors.AllowMethods, $"{pointer}/allowMethods", problems);
        ValidateTokens(cors.AllowHeaders, $"{pointer}/allowHeaders", problems);
        ValidateTokens(cors.ExposeHeaders, $"{pointer}/exposeHeaders", problems);
        if (cors.MaxAge is { } age && problems.NotNegative($"{pointer}/maxAge", age) && age.Ticks % TimeSpan.TicksPerSecond != 0)
        {
            problems.Error($"{pointer}/maxAge", "out-of-range", "Browsers count whole seconds.");
        }
    }

    private static void ValidateOrigin(StringMatchSpec origin, bool allowCredentials, string pointer, ProblemCollector problems)
    {
        RouteMatchValidator.Validate(origin, pointer, problems);
        if (origin.Exact is not { } exact)
        {
            return;
        }
        if (exact == "*" && allowCredentials)
        {
            problems.Warning(
                pointer,
                "any-origin-with-credentials",
                "Every page of the web may then call with its visitor's cookies. List the origins, or leave allowCredentials out."
            );
        }
        else if (exact is not ("*" or "null") && (!exact.Contains("://", StringComparison.Ordinal) || exact.EndsWith('/')))
        {
            problems.Warning(
                pointer,
                "not-an-origin",
                $"Browsers send scheme and host, as in https://shop.example, and nothing after it: {TextExcerpt.Quote(exact)} matches none."
            );
        }
    }

    private static void ValidateTokens(ImmutableArray<string> tokens, string pointer, ProblemCollector problems)
    {
        foreach (var (at, token) in tokens.Index())
        {
            if (!HttpRules.IsToken(token))
            {
                problems.Error(
                    $"{pointer}/{at}",
                    "invalid-token",
                    $"{TextExcerpt.Quote(token)} is no single word. Write each as an item of the list."
                );
            }
        }
    }
}
