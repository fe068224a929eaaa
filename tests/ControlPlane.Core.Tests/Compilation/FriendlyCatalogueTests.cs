using System.Text;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using Google.Protobuf;

namespace ControlPlane.Core.Tests.Compilation;

/// <summary>The same mistakes in the friendly kinds, as far as these can express them.</summary>
public sealed class FriendlyCatalogueTests
{
    private static readonly DateTimeOffset Now = TimeProvider.System.GetUtcNow();

    /// <summary>A spec of a friendly kind, and where in it a mistake is.</summary>
    private sealed record Friendly(ResourceKind Kind, string Spec, string Pointer);

    /// <summary>Rows of the catalogue, each with the spec that says the same, and where it says it.</summary>
    private static readonly Dictionary<string, Friendly> Specs = new(StringComparer.Ordinal)
    {
        ["cluster: a good STATIC cluster"] = Static("{address: 10.0.0.1, port: 80}", ""),
        ["cluster: connect_timeout 0"] = Upstream("connectTimeout: 0s", "/connectTimeout"),
        ["cluster: negative connect_timeout"] = Upstream("connectTimeout: -1s", "/connectTimeout"),
        ["cluster: a duration of centuries"] = Upstream("connectTimeout: 9223372037s", "/connectTimeout"),
        ["cluster: port 70000"] = Static("{address: 10.0.0.1, port: 70000}", "/port"),
        ["cluster: health check with interval 0"] = Upstream("health: {checks: [{tcp: {}, interval: 0s}]}", "/health/checks/0/interval"),
        ["cluster: max_ejection_percent 150"] = Upstream(
            "health: {outlierDetection: {maxEjectionPercent: 150}}",
            "/health/outlierDetection/maxEjectionPercent"
        ),
        ["cluster: panic threshold 150"] = Upstream("health: {panicThresholdPercent: 150}", "/health/panicThresholdPercent"),
        ["cluster: STATIC with host name"] = Static("{address: foo.local, port: 80}", "/address"),
        ["cluster: STATIC with three numbers"] = Static("{address: 1.2.3, port: 80}", "/address"),
        ["cluster: STATIC with a leading zero"] = Static("{address: 010.0.0.1, port: 80}", "/address"),
        ["cluster: STATIC with IPv6"] = Static("{address: '2001:db8::1', port: 80}", ""),
        ["cluster: STATIC with a UNIX socket"] = Static("{address: unix:/run/x}", ""),
        ["cluster: a UNIX socket's path of 108 bytes"] = Static($"{{address: unix:/{new string('p', 107)}}}", "/address"),
        ["cluster: STRICT_DNS with host name"] = Dns("envoyStrictDns", "{address: foo.local, port: 80}", ""),
        ["cluster: LOGICAL_DNS with 2 endpoints"] = Dns("envoyLogicalDns", "{address: a, port: 80}, {address: b, port: 80}", "/endpoints"),
        ["cluster: LOGICAL_DNS without endpoints"] = Dns("envoyLogicalDns", "", "/endpoints"),
        ["cluster: RING_HASH min > max"] = Balancing(
            "ringHash, ringHash: {minimumRingSize: 2000, maximumRingSize: 1000}",
            "/ringHash/minimumRingSize"
        ),
        ["cluster: RING_HASH max below the default min"] = Balancing(
            "ringHash, ringHash: {maximumRingSize: 1000}",
            "/ringHash/minimumRingSize"
        ),
        ["cluster: Maglev table not prime"] = Balancing("maglev, maglev: {tableSize: 65536}", "/maglev/tableSize"),
        ["cluster: Maglev table prime"] = Balancing("maglev, maglev: {tableSize: 5000011}", ""),
        ["cluster: max_ejection_time below base"] = Upstream(
            "health: {outlierDetection: {baseEjectionTime: 10s, maxEjectionTime: 1s}}",
            "/health/outlierDetection/maxEjectionTime"
        ),
        ["cluster: ALPN without TLS"] = Upstream("protocol: auto", "/protocol"),
        ["cluster: two health checks"] = Upstream("health: {authority: envoy, checks: [{tcp: {}}, {tcp: {}}]}", "/health/checks"),
        ["cluster: gRPC health check over HTTP/1"] = Upstream("health: {authority: envoy, checks: [{grpc: {}}]}", "/health/checks/0/grpc"),
        ["cluster: gRPC health check over HTTP/2"] = Upstream("protocol: http2\nhealth: {authority: envoy, checks: [{grpc: {}}]}", ""),
        ["cluster: health check statuses backwards"] = Check("expectedStatuses: [300-200]", "/expectedStatuses/0"),
        ["cluster: retriable statuses up to 700"] = Check("retriableStatuses: [500-700]", "/retriableStatuses/0"),
        ["cluster: health check payload not hexadecimal"] = Upstream(
            "health: {checks: [{tcp: {send: {hex: zz}}}]}",
            "/health/checks/0/tcp/send/hex"
        ),
        ["cluster: a health check that sets :path"] = Check("headers: {':path': x}", "/headers"),
        ["cluster: SAN matcher without CA"] = Upstream(
            "tls: {insecureSkipVerify: true, subjectAltNames: [{dns: a}]}",
            "/tls/subjectAltNames"
        ),
        ["cluster: SNI of 300 characters"] = Upstream($"tls: {{ca: system, sni: {new string('s', 300)}}}", "/tls/sni"),

        ["assignment: a good assignment"] = Static("{address: 10.0.0.1, port: 80}", ""),
        ["assignment: priorities 0 and 2"] = Static("{address: 10.0.0.1, port: 80}, {address: 10.0.0.2, port: 80, priority: 2}", null),
        ["assignment: only priority 1"] = Static("{address: 10.0.0.1, port: 80, priority: 1}", null),
        ["assignment: priority 129"] = Static("{address: 10.0.0.1, port: 80, priority: 129}", "/priority"),
        ["assignment: endpoint weight 0"] = Static("{address: 10.0.0.1, port: 80, weight: 0}", "/weight"),
        ["assignment: locality weight 0"] = Balancing(
            "roundRobin, locality: {mode: weighted, weights: [{locality: {zone: a}, weight: 0}]}",
            "/locality/weights/0/weight"
        ),
        ["assignment: endpoint weights overflow"] = Static(
            "{address: 10.0.0.1, port: 80, weight: 4294967295}, {address: 10.0.0.2, port: 80, weight: 4294967295}",
            null
        ),
        ["assignment: port 70000"] = Static("{address: 10.0.0.1, port: 70000}", "/port"),
        ["assignment: no port"] = Static("{address: 10.0.0.1}", "/port"),
        ["assignment: health check port 70000"] = Static("{address: 10.0.0.1, port: 80, healthCheck: {port: 70000}}", "/healthCheck/port"),
        ["assignment: overprovisioning_factor 0"] = Balancing("roundRobin, overprovisioningFactor: 0", "/overprovisioningFactor"),
        ["assignment: host name"] = Static("{address: foo.local, port: 80}", "/address"),
        ["assignment: IPv6 in brackets"] = Static("{address: '[::1]', port: 80}", "/address"),
        ["assignment: additional address is a host name"] = Static(
            "{address: 10.0.0.1, port: 80, additionalAddresses: [{address: foo, port: 80}]}",
            "/additionalAddresses/0/address"
        ),
        ["assignment: endpoint without address"] = Static("{port: 80}", "/address"),
        ["assignment: same address twice"] = Static("{address: 10.0.0.1, port: 80}, {address: 10.0.0.1, port: 80}", null),
        ["assignment: same address in two spellings"] = Static(
            "{address: '2001:db8::1', port: 80}, {address: '2001:DB8:0::1', port: 80}",
            null
        ),

        ["listener: a good listener"] = Listener("http: {routeTable: r}", ""),
        ["listener: port 70000"] = Plain("address: 127.0.0.1\nport: 70000\nhttp: {routeTable: r}", "/port"),
        ["listener: no address"] = Plain("http: {routeTable: r}", "/address"),
        ["listener: host name"] = Plain("address: foo.local\nport: 80\nhttp: {routeTable: r}", "/address"),
        ["listener: no filter chain"] = Listener("{}", ""),
        ["listener: an upgrade twice"] = Listener("http: {routeTable: r, upgrades: [websocket, websocket]}", "/http/upgrades/1"),
        ["listener: overlapping server names"] = Listener(
            "filterChains: [{serverNames: [a.com, b.com], tcp: {upstream: a}}, {serverNames: [b.com], tcp: {upstream: a}}]",
            "/filterChains/1/serverNames/0"
        ),
        ["listener: partial wildcard"] = Listener(
            "filterChains: [{serverNames: ['a*.com'], tcp: {upstream: a}}]",
            "/filterChains/0/serverNames/0"
        ),
        ["listener: bare wildcard"] = Listener("filterChains: [{serverNames: ['*'], tcp: {upstream: a}}]", "/filterChains/0/serverNames/0"),
        ["listener: no certificate"] = Listener("tls: {}\nhttp: {routeTable: r}", "/tls/certificates"),
        ["listener: access log format"] = Listener(
            "accessLogs: [{stdout: {text: '%NOPE%'}}]\nhttp: {routeTable: r}",
            "/accessLogs/0/stdout/text"
        ),
        ["listener: access log JSON format"] = Listener(
            "accessLogs: [{stdout: {json: {a: {b: ['%NOPE%']}}}}]\nhttp: {routeTable: r}",
            "/accessLogs/0/stdout/json/a/b/0"
        ),

        ["routes: a good table"] = Table("{name: v, domains: [a.com, '*.b.com', 'c.*']}, {name: w, domains: ['*']}", ""),
        ["routes: domain twice"] = Table("{name: v, domains: [x.com]}, {name: w, domains: [X.com]}", "/virtualHosts/1/domains/0"),
        ["routes: domain twice in one host"] = Table("{name: v, domains: [x.com, x.com]}", "/virtualHosts/0/domains/1"),
        ["routes: * twice"] = Table("{name: v, domains: ['*']}, {name: w, domains: ['*']}", "/virtualHosts/1/domains/0"),
        ["routes: virtual host name twice"] = Table("{name: v, domains: [a]}, {name: v, domains: [b]}", "/virtualHosts/1"),
        ["routes: empty domain"] = Table("{name: v, domains: ['']}", "/virtualHosts/0/domains/0"),
        ["routes: a*b.com"] = Table("{name: v, domains: ['a*b.com']}", "/virtualHosts/0/domains/0"),
        ["routes: no virtual hosts"] = Table("", "/virtualHosts"),
        ["routes: no domains"] = Table("{name: v}", "/virtualHosts/0/domains"),
        ["routes: retry_on nonsense"] = To("retry: {on: [5xx, nonsense]}", "/retry/on/1"),
        ["routes: no match"] = Route("upstream: a", "/match"),
        ["routes: empty match"] = Route("match: {}, upstream: a", "/match"),
        ["routes: no action"] = Route("match: {prefix: /}", ""),
        ["routes: empty cluster"] = Route("match: {prefix: /}, upstream: ''", "/upstream"),
        ["routes: empty weighted_clusters"] = Route("match: {prefix: /}, upstreams: []", ""),
        ["routes: empty hash_policy"] = To("hashPolicy: [{}]", "/hashPolicy/0"),
        ["routes: retry back-off 0"] = To("retry: {on: [5xx], backOff: {baseInterval: 0s}}", "/retry/backOff/baseInterval"),
        ["routes: retry back-off backwards"] = To(
            "retry: {on: [5xx], backOff: {baseInterval: 2s, maxInterval: 1s}}",
            "/retry/backOff/maxInterval"
        ),
        ["routes: direct_response code 99"] = Direct("status: 99", "/status"),
        ["routes: redirect code 99"] = Route("match: {prefix: /}, redirect: {host: a, statusCode: 99}", "/redirect/statusCode"),
        ["routes: negative timeout"] = To("timeout: -1s", "/timeout"),
        ["routes: weights sum 0"] = Route("match: {prefix: /}, upstreams: [{name: a, weight: 0}]", "/upstreams"),
        ["routes: weights sum above 32 bit"] = Route(
            "match: {prefix: /}, upstreams: [{name: a, weight: 4294967295}, {name: a, weight: 1}]",
            "/upstreams"
        ),
        ["routes: weight missing"] = Route("match: {prefix: /}, upstreams: [{name: a, weight: 1}, {name: a}]", "/upstreams/1"),
        ["routes: weighted cluster without name"] = Route("match: {prefix: /}, upstreams: [{weight: 1}]", "/upstreams/0"),
        ["routes: prefix_rewrite and regex_rewrite"] = To("rewrite: {prefix: /x, pathRegex: {pattern: a, substitution: b}}", "/rewrite"),
        // Found in the message that it compiles to, whose place is named in words.
        ["routes: substitution of a missing group"] = To(@"rewrite: {pathRegex: {pattern: (a), substitution: '\2'}}", ""),
        ["routes: JWT requirements as the filter has them"] = PerFilter("jwt_authn.v3.JwtAuthentication", ""),
        ["routes: JWT requirements of a route"] = PerFilter("jwt_authn.v3.PerRouteConfig, disabled: true", ""),
        ["routes: ext_authz as the filter has it"] = PerFilter("ext_authz.v3.ExtAuthz", ""),
        ["routes: ext_authz of a route"] = PerFilter("ext_authz.v3.ExtAuthzPerRoute, disabled: true", ""),
        ["routes: CORS of a route"] = PerFilter("cors.v3.CorsPolicy", ""),
        ["routes: local rate limit of a route without tokens"] = PerFilter(
            "local_ratelimit.v3.LocalRateLimit, statPrefix: x",
            "/tokenBucket"
        ),
        ["routes: local rate limit of a route"] = PerFilter(
            "local_ratelimit.v3.LocalRateLimit, statPrefix: x, tokenBucket: {maxTokens: 1, fillInterval: 1s}",
            ""
        ),
        ["routes: rewrite by template without template match"] = To("rewrite: {pathTemplate: '/{a}'}", "/rewrite/pathTemplate"),
        ["routes: rewrite by template with an unknown variable"] = Route(
            "match: {pathTemplate: '/{a}'}, upstream: a, rewrite: {pathTemplate: '/{b}'}",
            "/rewrite/pathTemplate"
        ),
        ["routes: rewrite by template"] = Route("match: {pathTemplate: '/{a}'}, upstream: a, rewrite: {pathTemplate: '/x/{a}'}", ""),
        ["routes: mirror without cluster"] = To("mirror: [{}]", "/mirror/0"),
        ["routes: upgrade twice"] = To("upgrades: [{type: websocket}, {type: websocket}]", "/upgrades/1/type"),
        ["routes: connect_config on WebSocket"] = To("upgrades: [{type: websocket, terminate: true}]", "/upgrades/0"),
        ["routes: add :path"] = To("requestHeaders: {set: {':path': x}}", "/requestHeaders/set/:path"),
        ["routes: add Host to a response"] = To("responseHeaders: {set: {Host: x}}", "/responseHeaders/set/Host"),
        ["routes: remove host"] = To("requestHeaders: {remove: [x, host]}", "/requestHeaders/remove/1"),
        ["routes: remove :status"] = To("responseHeaders: {remove: [':status']}", "/responseHeaders/remove/0"),
        ["routes: append and append_action"] = To("requestHeaders: {set: {x: y}, append: {x: y}}", "/requestHeaders/append/x"),
        ["routes: direct_response body of 4096"] = Direct($"status: 200, body: {new string('b', 4096)}", ""),
        ["routes: direct_response body of 4097"] = Direct($"status: 200, body: {new string('b', 4097)}", "/body"),
        ["routes: direct_response body of 2049 two-byte characters"] = Direct($"status: 200, body: {new string('ü', 2049)}", "/body"),
        ["routes: prefix without slash"] = Route("match: {prefix: x}, upstream: a", "/match/prefix"),
        ["routes: path with query"] = Route("match: {path: '/x?a=b'}, upstream: a", "/match/path"),
        ["routes: path_separated_prefix that ends with a slash"] = Route(
            "match: {pathSeparatedPrefix: /x/}, upstream: a",
            "/match/pathSeparatedPrefix"
        ),
        ["routes: empty regex"] = Route("match: {regex: ''}, upstream: a", "/match/regex"),

        ["secret: certificate and key"] = Pair("«CERT»", "«KEY»", ""),
        ["secret: certificate unparsable"] = Pair("x", "«KEY»", "/certificate/chain"),
        ["secret: key unparsable"] = Pair("«CERT»", "x", "/certificate/privateKey"),
        ["secret: key missing"] = Secret("certificate: {chain: {inline: «CERT»}}", "/certificate/privateKey"),
        ["secret: key empty"] = Pair("«CERT»", "''", "/certificate/privateKey"),
        ["secret: certificate missing"] = Secret("certificate: {privateKey: {inline: «KEY»}}", "/certificate/chain"),
        ["secret: certificate_chain without specifier"] = Secret(
            "certificate: {chain: {}, privateKey: {inline: «KEY»}}",
            "/certificate/chain"
        ),
        ["secret: secret without type"] = Secret("{}", ""),
        ["secret: CA"] = Secret("validationContext: {ca: {inline: «CERT»}}", ""),
        ["secret: CA unparsable"] = Secret("validationContext: {ca: {inline: x}}", "/validationContext/ca"),
        ["secret: CA empty"] = Secret("validationContext: {ca: {inline: ''}}", "/validationContext/ca"),
    };

    public static TheoryData<string> Names => [.. All.Keys];

    /// <summary>Those of the table, and those that are many of a kind.</summary>
    private static Dictionary<string, Friendly> All
    {
        get
        {
            var all = new Dictionary<string, Friendly>(Specs, StringComparer.Ordinal);
            foreach (var row in Catalogue.Rows)
            {
                if (Rest(row, "regex ") is { } regex)
                {
                    all[$"routes: {row.Name}"] = Route($"match: {{regex: '{regex}'}}, upstream: a", "/match/regex");
                }
                else if (Rest(row, "big regex ") is { } big)
                {
                    all[$"routes: {row.Name}"] = Route($"match: {{regex: '{big}'}}, upstream: a", "/match/regex");
                }
                else if (Rest(row, "path template ") is { } template)
                {
                    all[$"routes: {row.Name}"] = Route($"match: {{pathTemplate: '{template}'}}, upstream: a", "/match/pathTemplate");
                }
                else if (Rest(row, "header format ") is { } format)
                {
                    all[$"routes: {row.Name}"] = To($"requestHeaders: {{set: {{x: '{format}'}}}}", "/requestHeaders/set/x");
                }
            }

            return all;
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void What_Envoy_refuses_is_refused_in_a_friendly_spec_with_its_place(string name)
    {
        var row = Catalogue.Rows.Single(r => $"{r.Kind}: {r.Name}" == name);
        var (kind, spec, pointer) = All[name];
        var problems = ProblemsOf(kind, Catalogue.BodyOf(row with { Body = spec }));
        if (row.Code is null)
        {
            Assert.DoesNotContain(problems, p => p.Severity == ProblemSeverity.Error);
            return;
        }

        // The mistake is the one meant, and not one of the spelling here.
        Assert.DoesNotContain(problems, p => p.Code == "unknown-field");

        // What is no more than a warning in Envoy's own words may be an error in ours.
        Assert.Contains(
            problems,
            p => p.Pointer.StartsWith(pointer, StringComparison.Ordinal) && (p.Severity == ProblemSeverity.Error || row.Code[0] == '!')
        );
    }

    /// <summary>What reading and compiling find.</summary>
    private static IReadOnlyList<ValidationProblem> ProblemsOf(ResourceKind kind, string spec)
    {
        var text = $"apiVersion: controlplane/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec:\n  {spec.ReplaceLineEndings("\n  ")}\n";
        var document = Assert.Single(ManifestReader.Read(Encoding.UTF8.GetBytes(text), ManifestFormat.Yaml).Documents);
        var problems = new ProblemCollector();
        foreach (var problem in document.Problems)
        {
            problems.Add(problem);
        }

        if (!problems.HasErrors)
        {
            var origins = new MessageOrigins();
            var (type, message) = Compile(document.Manifest!.Spec, problems, origins);
            if (message is not null)
            {
                MessagePipeline.Complete(type, "x", message, overlay: null, problems, origins);
            }
        }

        return problems.Problems;
    }

    private static (ResourceType Type, IMessage? Message) Compile(ResourceSpec spec, ProblemCollector problems, MessageOrigins origins) =>
        spec switch
        {
            UpstreamSpec upstream => (ResourceType.Cluster, UpstreamCompiler.CompileCluster("x", upstream)),
            RouteTableSpec table => (ResourceType.Route, RouteTableCompiler.Compile("x", table, problems, origins)),
            ListenerSpec listener => (ResourceType.Listener, ListenerCompiler.Compile("x", listener, _ => null, problems, origins)),
            SecretSpec secret => (ResourceType.Secret, SecretCompiler.Compile("x", secret, SecretMaterial.InlineOnly, Now, problems)),
            _ => throw new ArgumentOutOfRangeException(nameof(spec)),
        };

    private static string? Rest(CatalogueRow row, string start) =>
        row.Name.StartsWith(start, StringComparison.Ordinal) ? row.Name[start.Length..] : null;

    private static Friendly Upstream(string spec, string pointer) =>
        new(ResourceKind.Upstream, "endpoints: {source: registration}\n" + spec, "/spec" + pointer);

    private static Friendly Balancing(string policy, string pointer) =>
        Upstream($"loadBalancing: {{policy: {policy}}}", "/loadBalancing" + pointer);

    private static Friendly Check(string http, string pointer) =>
        Upstream($"health: {{checks: [{{http: {{path: /, {http}}}}}]}}", "/health/checks/0/http" + pointer);

    /// <summary>An upstream with endpoints; the pointer is from the first of them, or null for the list.</summary>
    private static Friendly Static(string endpoints, string? pointer) =>
        new(
            ResourceKind.Upstream,
            $"endpoints: {{source: static, static: [{endpoints}]}}",
            pointer is null ? "/spec/endpoints" : "/spec/endpoints/static/0" + pointer
        );

    private static Friendly Dns(string source, string hosts, string pointer) =>
        new(ResourceKind.Upstream, $"endpoints: {{source: {source}, hosts: [{hosts}]}}", "/spec" + pointer);

    private static Friendly Listener(string spec, string pointer) =>
        Plain(spec == "{}" ? "address: 127.0.0.1\nport: 10000" : "address: 127.0.0.1\nport: 10000\n" + spec, pointer);

    private static Friendly Plain(string spec, string pointer) => new(ResourceKind.Listener, spec, "/spec" + pointer);

    private static Friendly Table(string hosts, string pointer) =>
        new(
            ResourceKind.RouteTable,
            $"virtualHosts: [{hosts.Replace("]}", "], routes: [{match: {prefix: /}, directResponse: {status: 200}}]}", StringComparison.Ordinal)}]",
            "/spec" + pointer
        );

    private static Friendly Route(string route, string pointer) =>
        new(
            ResourceKind.RouteTable,
            $"virtualHosts: [{{name: v, domains: ['*'], routes: [{{{route}}}]}}]",
            "/spec/virtualHosts/0/routes/0" + pointer
        );

    private static Friendly To(string more, string pointer) => Route($"match: {{prefix: /}}, upstream: a, {more}", pointer);

    private static Friendly PerFilter(string config, string pointer) =>
        To(
            $"typedPerFilterConfig: {{f: {{'@type': type.googleapis.com/envoy.extensions.filters.http.{config}}}}}",
            "/typedPerFilterConfig/f" + pointer
        );

    private static Friendly Direct(string response, string pointer) =>
        Route($"match: {{prefix: /}}, directResponse: {{{response}}}", "/directResponse" + pointer);

    private static Friendly Secret(string spec, string pointer) => new(ResourceKind.Secret, spec, "/spec" + pointer);

    private static Friendly Pair(string chain, string key, string pointer) =>
        Secret($"certificate: {{chain: {{inline: {chain}}}, privateKey: {{inline: {key}}}}}", pointer);
}
