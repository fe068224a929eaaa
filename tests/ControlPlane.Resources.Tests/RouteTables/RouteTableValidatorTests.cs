using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Tests.RouteTables;

/// <summary>What Envoy would refuse is refused here, with its place; what it would take to its author's harm is a warning.</summary>
public sealed class RouteTableValidatorTests
{
    private const string Route = "/spec/virtualHosts/0/routes/0";

    [Theory]
    [InlineData("virtualHosts: [{domains: []}]", "/spec/virtualHosts/0/domains", "no-domains")]
    [InlineData("virtualHosts: [{domains: ['']}]", "/spec/virtualHosts/0/domains/0", "invalid-domain")]
    [InlineData("virtualHosts: [{domains: ['a b']}]", "/spec/virtualHosts/0/domains/0", "invalid-domain")]
    [InlineData("virtualHosts: [{domains: ['https://a.example']}]", "/spec/virtualHosts/0/domains/0", "invalid-domain")]
    [InlineData("virtualHosts: [{domains: ['a*b.example']}]", "/spec/virtualHosts/0/domains/0", "invalid-domain")]
    [InlineData("virtualHosts: [{domains: ['*.*']}]", "/spec/virtualHosts/0/domains/0", "invalid-domain")]
    [InlineData("virtualHosts: [{domains: ['a.example:80']}]", "/spec/virtualHosts/0/domains/0", "domain-with-port")]
    [InlineData("virtualHosts: [{domains: ['[::1]:80']}]", "/spec/virtualHosts/0/domains/0", "domain-with-port")]
    [InlineData("virtualHosts: [{domains: [a.example, A.Example]}]", "/spec/virtualHosts/0/domains/1", "duplicate-domain")]
    [InlineData("virtualHosts: [{domains: ['*']}, {name: b, domains: ['*']}]", "/spec/virtualHosts/1/domains/0", "duplicate-domain")]
    [InlineData("virtualHosts: [{name: '', domains: [a]}]", "/spec/virtualHosts/0/name", "empty-text")]
    [InlineData("virtualHosts: [{domains: [a], cors: {}}]", "/spec/virtualHosts/0/cors/allowOrigins", "no-origins")]
    [InlineData("virtualHosts: [{domains: [a], retry: {}}]", "/spec/virtualHosts/0/retry/on", "no-retry-condition")]
    [InlineData("virtualHosts: [{domains: [a], rateLimits: [{actions: []}]}]", "/spec/virtualHosts/0/rateLimits/0/actions", "no-actions")]
    [InlineData("typedPerFilterConfig: {a.b/c: {}}", "/spec/typedPerFilterConfig/a.b~1c", "type-required")]
    [InlineData("requestHeaders: {set: {':path': /x}}", "/spec/requestHeaders/set/:path", "header-not-changeable")]
    [InlineData("requestHeaders: {remove: [Host]}", "/spec/requestHeaders/remove/0", "header-not-changeable")]
    [InlineData("responseHeaders: {append: {'a b': x}}", "/spec/responseHeaders/append/a b", "invalid-header-name")]
    [InlineData("responseHeaders: {set: {x-a: '1'}, append: {X-A: '2'}}", "/spec/responseHeaders/append/X-A", "duplicate-header")]
    [InlineData("responseHeaders: {set: {x-a: \"a\\nb\"}}", "/spec/responseHeaders/set/x-a", "invalid-header-value")]
    [InlineData("responseHeaders: {set: {x-a: '%NOPE%'}}", "/spec/responseHeaders/set/x-a", "unknown-command-operator")]
    [InlineData("responseHeaders: {set: {x-a: 100%}}", "/spec/responseHeaders/set/x-a", "invalid-command-operator")]
    [InlineData("responseHeaders: {set: {x-a: '%REQ%'}}", "/spec/responseHeaders/set/x-a", "invalid-command-operator")]
    [InlineData("responseHeaders: {set: {x-a: '%PROTOCOL(x)%'}}", "/spec/responseHeaders/set/x-a", "invalid-command-operator")]
    public void A_fault_of_a_table_is_refused(string yaml, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.RouteTable, yaml, pointer, code, ProblemSeverity.Error);

    [Theory]
    [InlineData("match: {prefix: /}", "", "missing-alternative")]
    [InlineData("match: {prefix: /}, upstream: a, redirect: {host: b.example}", "", "too-many-alternatives")]
    [InlineData("match: {prefix: /}, upstream: a, upstreams: [{name: b, weight: 1}]", "", "too-many-alternatives")]
    [InlineData("match: {}, upstream: a", "/match", "missing-alternative")]
    [InlineData("match: {prefix: /, path: /a}, upstream: a", "/match", "too-many-alternatives")]
    [InlineData("match: {prefix: api}, upstream: a", "/match/prefix", "invalid-path")]
    [InlineData("match: {path: '/a?b'}, upstream: a", "/match/path", "invalid-path")]
    [InlineData("match: {pathSeparatedPrefix: /}, upstream: a", "/match/pathSeparatedPrefix", "invalid-path")]
    [InlineData("match: {pathSeparatedPrefix: /a/}, upstream: a", "/match/pathSeparatedPrefix", "invalid-path")]
    [InlineData("match: {regex: ''}, upstream: a", "/match/regex", "empty-text")]
    [InlineData("match: {regex: '(?=a)'}, upstream: a", "/match/regex", "invalid-regex")]
    [InlineData("match: {pathTemplate: '/{x}/{x}'}, upstream: a", "/match/pathTemplate", "invalid-path-template")]
    [InlineData("match: {prefix: /, methods: [get]}, upstream: a", "/match/methods/0", "invalid-method")]
    [InlineData("match: {prefix: /, methods: ['GET|PUT']}, upstream: a", "/match/methods/0", "invalid-method")]
    [InlineData("match: {prefix: /, headers: [{name: 'x y'}]}, upstream: a", "/match/headers/0/name", "invalid-header-name")]
    [InlineData(
        "match: {prefix: /, headers: [{name: x, present: true, value: {exact: a}}]}, upstream: a",
        "/match/headers/0",
        "too-many-alternatives"
    )]
    [InlineData("match: {prefix: /, headers: [{name: x, value: {}}]}, upstream: a", "/match/headers/0/value", "missing-alternative")]
    [InlineData(
        "match: {prefix: /, headers: [{name: x, value: {prefix: ''}}]}, upstream: a",
        "/match/headers/0/value/prefix",
        "empty-text"
    )]
    [InlineData(
        "match: {prefix: /, headers: [{name: x, value: {regex: a, ignoreCase: true}}]}, upstream: a",
        "/match/headers/0/value/ignoreCase",
        "ignore-case-of-regex"
    )]
    [InlineData(
        "match: {prefix: /, headers: [{name: x, range: {start: 5, end: 5}}]}, upstream: a",
        "/match/headers/0/range",
        "empty-range"
    )]
    [InlineData("match: {prefix: /, queryParameters: [{name: ''}]}, upstream: a", "/match/queryParameters/0/name", "empty-text")]
    [InlineData("match: {prefix: /, runtimeFraction: {percent: 101}}, upstream: a", "/match/runtimeFraction/percent", "out-of-range")]
    [InlineData("match: {prefix: /, runtimeFraction: {percent: 0.00001}}, upstream: a", "/match/runtimeFraction/percent", "out-of-range")]
    [InlineData("match: {prefix: /}, upstream: ''", "/upstream", "empty-text")]
    [InlineData("match: {prefix: /}, upstreams: [{name: a, weight: 0}]", "/upstreams", "weight-sum")]
    [InlineData("match: {prefix: /}, upstreams: [{name: a, weight: 4294967295}, {name: b, weight: 1}]", "/upstreams", "weight-sum")]
    [InlineData("match: {prefix: /}, upstream: a, timeout: -1s", "/timeout", "out-of-range")]
    [InlineData("match: {prefix: /}, upstream: a, idleTimeout: 100us", "/idleTimeout", "out-of-range")]
    [InlineData("match: {prefix: /}, upstream: a, maxStreamDuration: 1000h", "/maxStreamDuration", "out-of-range")]
    [InlineData("match: {prefix: /}, upstream: a, retry: {on: ['5xx,reset']}", "/retry/on/0", "several-conditions")]
    [InlineData(
        "match: {prefix: /}, upstream: a, retry: {on: [5xx], backOff: {baseInterval: 0s}}",
        "/retry/backOff/baseInterval",
        "out-of-range"
    )]
    [InlineData(
        "match: {prefix: /}, upstream: a, retry: {on: [5xx], backOff: {baseInterval: 1s, maxInterval: 500ms}}",
        "/retry/backOff/maxInterval",
        "max-below-base"
    )]
    [InlineData("match: {prefix: /}, upstream: a, retry: {statusCodes: [99]}", "/retry/statusCodes/0", "out-of-range")]
    [InlineData(
        "match: {prefix: /}, upstream: a, retry: {on: [5xx], hostSelectionAttempts: 0}",
        "/retry/hostSelectionAttempts",
        "out-of-range"
    )]
    [InlineData("match: {prefix: /}, upstream: a, hashPolicy: [{}]", "/hashPolicy/0", "missing-alternative")]
    [InlineData("match: {prefix: /}, upstream: a, hashPolicy: [{cookie: {name: 'a b'}}]", "/hashPolicy/0/cookie/name", "invalid-token")]
    [InlineData("match: {prefix: /}, upstream: a, mirror: [{upstream: ''}]", "/mirror/0/upstream", "empty-text")]
    [InlineData("match: {prefix: /}, upstream: a, rewrite: {prefix: x}", "/rewrite/prefix", "invalid-path")]
    [InlineData(
        "match: {prefix: /}, upstream: a, rewrite: {prefix: /x, pathRegex: {pattern: a, substitution: b}}",
        "/rewrite",
        "too-many-alternatives"
    )]
    [InlineData("match: {prefix: /}, upstream: a, rewrite: {host: a.example, hostFromEndpoint: true}", "/rewrite", "too-many-alternatives")]
    [InlineData("match: {prefix: /}, upstream: a, rewrite: {pathTemplate: /x}", "/rewrite/pathTemplate", "template-without-match")]
    [InlineData(
        "match: {pathTemplate: '/{x}'}, upstream: a, rewrite: {pathTemplate: '/{y}'}",
        "/rewrite/pathTemplate",
        "invalid-path-template"
    )]
    [InlineData("match: {pathTemplate: '/{x}'}, upstream: a, rewrite: {prefix: /y}", "/rewrite/prefix", "prefix-of-template")]
    [InlineData(
        "match: {prefix: /}, upstream: a, rewrite: {pathRegex: {pattern: a, substitution: '\\x'}}",
        "/rewrite/pathRegex/substitution",
        "invalid-substitution"
    )]
    [InlineData("match: {prefix: /}, upstream: a, rewrite: {host: 'http://a'}", "/rewrite/host", "invalid-host")]
    [InlineData("match: {prefix: /}, upstream: a, upgrades: [{type: a}, {type: A}]", "/upgrades/1/type", "duplicate-upgrade")]
    [InlineData(
        "match: {prefix: /}, upstream: a, upgrades: [{type: websocket, terminate: true}]",
        "/upgrades/0/terminate",
        "terminate-without-connect"
    )]
    [InlineData(
        "match: {prefix: /}, upstream: a, rateLimits: [{stage: 11, actions: [{remoteAddress: true}]}]",
        "/rateLimits/0/stage",
        "out-of-range"
    )]
    [InlineData("match: {prefix: /}, upstream: a, rateLimits: [{actions: [{}]}]", "/rateLimits/0/actions/0", "missing-alternative")]
    [InlineData(
        "match: {prefix: /}, upstream: a, rateLimits: [{actions: [{maskedRemoteAddress: {v4PrefixLength: 33}}]}]",
        "/rateLimits/0/actions/0/maskedRemoteAddress/v4PrefixLength",
        "out-of-range"
    )]
    [InlineData(
        "match: {prefix: /}, upstream: a, rateLimits: [{actions: [{headerValueMatch: {value: a}}]}]",
        "/rateLimits/0/actions/0/headerValueMatch/headers",
        "empty-list"
    )]
    [InlineData("match: {prefix: /}, redirect: {}", "/redirect", "redirect-to-itself")]
    [InlineData("match: {prefix: /}, redirect: {scheme: ftp}", "/redirect/scheme", "invalid-scheme")]
    [InlineData("match: {prefix: /}, redirect: {host: 'a:80'}", "/redirect/host", "invalid-host")]
    [InlineData("match: {prefix: /}, redirect: {port: 70000}", "/redirect/port", "out-of-range")]
    [InlineData("match: {prefix: /}, redirect: {path: /a, prefixRewrite: /b}", "/redirect", "too-many-alternatives")]
    [InlineData("match: {prefix: /}, redirect: {path: a}", "/redirect/path", "invalid-path")]
    [InlineData("match: {pathTemplate: '/{x}'}, redirect: {prefixRewrite: /y}", "/redirect/prefixRewrite", "prefix-of-template")]
    [InlineData("match: {prefix: /}, redirect: {host: a, statusCode: 300}", "/redirect/statusCode", "out-of-range")]
    [InlineData("match: {prefix: /}, redirect: {host: a}, timeout: 1s", "/timeout", "not-forwarding")]
    [InlineData("match: {prefix: /}, directResponse: {status: 99}", "/directResponse/status", "out-of-range")]
    [InlineData("match: {prefix: /}, directResponse: {status: 200}, retry: {on: [5xx]}", "/retry", "not-forwarding")]
    [InlineData("match: {prefix: /}, upstream: a, cors: {allowOrigins: [{}]}", "/cors/allowOrigins/0", "missing-alternative")]
    [InlineData(
        "match: {prefix: /}, upstream: a, cors: {allowOrigins: [{exact: '*'}], allowMethods: ['GET,PUT']}",
        "/cors/allowMethods/0",
        "invalid-token"
    )]
    [InlineData("match: {prefix: /}, upstream: a, cors: {allowOrigins: [{exact: '*'}], maxAge: 500ms}", "/cors/maxAge", "out-of-range")]
    [InlineData(
        "match: {prefix: /}, upstream: a, cors: {allowOrigins: [{exact: '*'}]}, typedPerFilterConfig: {envoy.filters.http.cors: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy}}",
        "/typedPerFilterConfig/envoy.filters.http.cors",
        "cors-twice"
    )]
    public void A_fault_of_a_route_is_refused(string route, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.RouteTable, Table(route), Route + pointer, code, ProblemSeverity.Error);

    [Theory]
    [InlineData("match: {regex: /a, caseSensitive: false}, upstream: a", "/match/caseSensitive", "no-effect")]
    [InlineData("match: {prefix: /}, upstream: a, responseHeaders: {remove: [Server]}", "/responseHeaders", "server-header")]
    [InlineData("match: {prefix: /}, upstream: a, retry: {on: [5xxx]}", "/retry/on/0", "unknown-retry-condition")]
    [InlineData("match: {prefix: /}, upstream: a, retry: {on: [retriable-status-codes]}", "/retry/statusCodes", "no-effect")]
    [InlineData("match: {prefix: /}, upstream: a, retry: {on: [retriable-headers]}", "/retry/headers", "no-effect")]
    [InlineData("match: {prefix: /}, upstream: a, retry: {on: [5xx], perTryTimeout: 15s}", "/retry/perTryTimeout", "no-time-for-retry")]
    [InlineData("match: {prefix: /api}, upstream: a, rewrite: {prefix: /}", "/rewrite/prefix", "double-slash")]
    [InlineData("match: {prefix: /}, upstream: a, hashPolicy: [{cookie: {name: a, path: /}}]", "/hashPolicy/0/cookie/path", "no-effect")]
    [InlineData("match: {prefix: /}, directResponse: {status: 204, body: x}", "/directResponse/body", "no-effect")]
    [InlineData(
        "match: {prefix: /}, upstream: a, cors: {allowOrigins: [{exact: '*'}], allowCredentials: true}",
        "/cors/allowOrigins/0",
        "any-origin-with-credentials"
    )]
    [InlineData("match: {prefix: /}, upstream: a, cors: {allowOrigins: [{exact: shop.example}]}", "/cors/allowOrigins/0", "not-an-origin")]
    [InlineData(
        "match: {prefix: /}, upstream: a, requestHeaders: {set: {x-a: '%SPAN_ID%'}}",
        "/requestHeaders/set/x-a",
        "new-command-operator"
    )]
    public void What_Envoy_takes_to_its_authors_harm_is_a_warning(string route, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.RouteTable, Table(route), Route + pointer, code, ProblemSeverity.Warning);

    [Theory]
    [InlineData("", "/spec/virtualHosts", "no-virtual-hosts")]
    [InlineData("virtualHosts: [{domains: [a]}]", "/spec/virtualHosts/0/routes", "no-routes")]
    [InlineData(
        "virtualHosts: [{name: x, domains: [a], routes: [{match: {prefix: /}, upstream: a}]}, {name: x, domains: [b], routes: [{match: {prefix: /}, upstream: a}]}]",
        "/spec/virtualHosts/1",
        "duplicate-virtual-host"
    )]
    [InlineData(
        "virtualHosts: [{domains: [a], routes: [{match: {prefix: /a}, upstream: a}, {match: {path: /ab}, upstream: b}]}]",
        "/spec/virtualHosts/0/routes/1/match",
        "unreachable-route"
    )]
    public void A_table_that_leaves_requests_without_an_answer_is_a_warning(string yaml, string pointer, string code) =>
        SpecText.HasProblem(
            ResourceKind.RouteTable,
            yaml.Length == 0 ? "ignorePortInHostMatching: true" : yaml,
            pointer,
            code,
            ProblemSeverity.Warning
        );

    [Theory]
    [InlineData("{match: {prefix: /, methods: [GET]}, upstream: a}, {match: {prefix: /}, upstream: b}")]
    [InlineData("{match: {prefix: /}, upstream: a}, {match: {connect: true}, upstream: b}")]
    [InlineData("{match: {prefix: /a/}, upstream: a}, {match: {prefix: /a}, upstream: b}")]
    [InlineData("{match: {prefix: /a, runtimeFraction: {percent: 10}}, upstream: a}, {match: {prefix: /a}, upstream: b}")]
    public void A_route_that_an_earlier_one_does_not_cover_is_no_warning(string routes) =>
        Assert.Empty(SpecText.ProblemsOf(ResourceKind.RouteTable, $"virtualHosts: [{{domains: ['*'], routes: [{routes}]}}]"));

    [Fact]
    public void A_body_may_have_4096_bytes_and_no_more()
    {
        Assert.Empty(
            SpecText.ProblemsOf(
                ResourceKind.RouteTable,
                Table($"match: {{prefix: /}}, directResponse: {{status: 200, body: {Umlauts(2048)}}}")
            )
        );
        SpecText.HasProblem(
            ResourceKind.RouteTable,
            Table($"match: {{prefix: /}}, directResponse: {{status: 200, body: {Umlauts(2049)}}}"),
            Route + "/directResponse/body",
            "body-too-large",
            ProblemSeverity.Error
        );

        static string Umlauts(int count) => new('ä', count);
    }

    [Fact]
    public void Two_routes_of_one_name_are_refused_also_in_different_virtual_hosts() =>
        SpecText.HasProblem(
            ResourceKind.RouteTable,
            "virtualHosts: [{domains: [a], routes: [{name: x, match: {prefix: /}, upstream: a}]}, {domains: [b], routes: [{name: x, match: {prefix: /}, upstream: a}]}]",
            "/spec/virtualHosts/1/routes/0/name",
            "duplicate-route-name",
            ProblemSeverity.Error
        );

    [Fact]
    public void All_faults_of_a_table_are_told_at_once()
    {
        var problems = SpecText.ProblemsOf(
            ResourceKind.RouteTable,
            Table("match: {prefix: api, methods: [get]}, upstreams: [{name: a, weight: 0}], timeout: 100us, rewrite: {prefix: x}")
        );
        Assert.Equal(5, problems.Count);
    }

    [Fact]
    public void An_unknown_condition_is_told_with_the_one_that_was_meant()
    {
        var problem = Assert.Single(
            SpecText.ProblemsOf(ResourceKind.RouteTable, Table("match: {prefix: /}, upstream: a, retry: {on: [conect-failure]}"))
        );
        Assert.Contains("Did you mean 'connect-failure'?", problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Everything_that_a_table_names_is_a_reference_with_its_place()
    {
        var spec = SpecText.Good<RouteTableSpec>(
            ResourceKind.RouteTable,
            """
            nodeGroups: [edge]
            virtualHosts:
              - domains: [a]
                routes:
                  - {match: {path: /a}, upstream: one, mirror: [{upstream: two}]}
                  - {match: {path: /b}, upstreams: [{name: three, weight: 1}, {name: four, weight: 1}]}
            """
        );

        Assert.Equal(
            [
                "/spec/nodeGroups/0 NodeGroup/edge",
                "/spec/virtualHosts/0/routes/0/upstream Upstream/one",
                "/spec/virtualHosts/0/routes/0/mirror/0/upstream Upstream/two",
                "/spec/virtualHosts/0/routes/1/upstreams/0/name Upstream/three",
                "/spec/virtualHosts/0/routes/1/upstreams/1/name Upstream/four",
            ],
            spec.References().Select(r => $"{r.Pointer} {r.Target}")
        );
    }

    private static string Table(string route) => $"virtualHosts: [{{domains: ['*'], routes: [{{{route}}}]}}]";
}
