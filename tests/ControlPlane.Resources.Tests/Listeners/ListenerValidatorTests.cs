using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Tests.Listeners;

/// <summary>What Envoy would refuse is refused here, with its place; what it would take to its author's harm is a warning.</summary>
public sealed class ListenerValidatorTests
{
    private const string Http = "http: {routeTable: shop}";
    private const string Certificates = "certificates: [{secret: a}]";

    [Theory]
    [InlineData("address: 0.0.0.0\nport: 80", "/spec", "missing-alternative")]
    [InlineData("address: 0.0.0.0\nport: 80\nhttp: {routeTable: a}\ntcp: {upstream: a}", "/spec", "too-many-alternatives")]
    [InlineData("port: 80\n" + Http, "/spec/address", "address-required")]
    [InlineData("address: localhost\nport: 80\n" + Http, "/spec/address", "invalid-address")]
    [InlineData("address: '[::1]'\nport: 80\n" + Http, "/spec/address", "invalid-address")]
    [InlineData("address: '127.1'\nport: 80\n" + Http, "/spec/address", "invalid-address")]
    [InlineData("address: 'unix:'\n" + Http, "/spec/address", "invalid-address")]
    [InlineData("address: unix:run/a.sock\n" + Http, "/spec/address", "invalid-address")]
    [InlineData("address: unix:/run/a.sock\nport: 80\n" + Http, "/spec/port", "port-of-unix-socket")]
    [InlineData("address: 0.0.0.0\n" + Http, "/spec/port", "port-required")]
    [InlineData("address: 0.0.0.0\nport: 0\n" + Http, "/spec/port", "out-of-range")]
    [InlineData("address: 0.0.0.0\nport: 70000\n" + Http, "/spec/port", "out-of-range")]
    [InlineData("address: 0.0.0.0\nport: 80\nbufferLimitBytes: 0\n" + Http, "/spec/bufferLimitBytes", "out-of-range")]
    [InlineData("address: 0.0.0.0\nport: 80\nmaxConnections: 0\n" + Http, "/spec/maxConnections", "out-of-range")]
    [InlineData("apiListener: {routeTable: a}\naddress: 0.0.0.0", "/spec/address", "not-for-grpc")]
    [InlineData("apiListener: {routeTable: a}\ngrpcServer: {routeTable: a}", "/spec", "too-many-alternatives")]
    [InlineData("grpcServer: {routeTable: a}\naddress: 10.0.0.1", "/spec/port", "port-required")]
    [InlineData("grpcServer: {routeTable: a}\naddress: 10.0.0.1\nport: 80\nproxyProtocol: {}", "/spec/proxyProtocol", "not-for-grpc")]
    public void A_fault_of_the_whole_is_refused(string yaml, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.Listener, yaml, pointer, code, ProblemSeverity.Error);

    [Theory]
    [InlineData("tls: {}\n" + Http, "/spec/tls/certificates", "no-certificates")]
    [InlineData("tls: {" + Certificates + ", minVersion: tls13, maxVersion: tls12}\n" + Http, "/spec/tls/maxVersion", "tls-versions")]
    [InlineData("tls: {" + Certificates + ", cipherSuites: [NOPE]}\n" + Http, "/spec/tls/cipherSuites/0", "unknown-cipher-suite")]
    [InlineData(
        "tls: {" + Certificates + ", cipherSuites: [TLS_AES_128_GCM_SHA256]}\n" + Http,
        "/spec/tls/cipherSuites/0",
        "unknown-cipher-suite"
    )]
    [InlineData(
        "tls: {" + Certificates + ", clientValidation: {secret: b, subjectAltNames: [{}]}}\n" + Http,
        "/spec/tls/clientValidation/subjectAltNames/0",
        "missing-alternative"
    )]
    [InlineData(
        "tls: {certificates: [{secret: a, serverNames: ['a*.example']}]}\n" + Http,
        "/spec/tls/certificates/0/serverNames/0",
        "invalid-server-name"
    )]
    [InlineData(
        "tls: {certificates: [{secret: a, serverNames: [a.example, b.example]}, {secret: b, serverNames: [A.example]}]}\n" + Http,
        "/spec/tls/certificates/1/serverNames/0",
        "duplicate-server-name"
    )]
    [InlineData("tls: {" + Certificates + "}\nfilterChains: [{serverNames: [a], tcp: {upstream: a}}]", "/spec/tls", "tls-without-default")]
    [InlineData("filterChains: [{tcp: {upstream: a}}]", "/spec/filterChains/0/serverNames", "no-server-names")]
    [InlineData("filterChains: [{serverNames: [a]}]", "/spec/filterChains/0", "missing-alternative")]
    [InlineData("filterChains: [{serverNames: ['*'], tcp: {upstream: a}}]", "/spec/filterChains/0/serverNames/0", "invalid-server-name")]
    [InlineData(
        "filterChains: [{serverNames: [10.0.0.1], tcp: {upstream: a}}]",
        "/spec/filterChains/0/serverNames/0",
        "invalid-server-name"
    )]
    [InlineData(
        "filterChains: [{serverNames: [a.example.], tcp: {upstream: a}}]",
        "/spec/filterChains/0/serverNames/0",
        "invalid-server-name"
    )]
    [InlineData(
        "filterChains: [{serverNames: [a.example], tcp: {upstream: a}}, {serverNames: [A.EXAMPLE], tcp: {upstream: b}}]",
        "/spec/filterChains/1/serverNames/0",
        "duplicate-server-name"
    )]
    [InlineData("filterChains: [{serverNames: [a], http: {routeTable: a}}]", "/spec/filterChains/0/http", "http-without-tls")]
    [InlineData(
        "filterChains: [{serverNames: [a], tls: {certificates: [{secret: s, serverNames: [b]}]}, tcp: {upstream: a}}]",
        "/spec/filterChains/0/tls/certificates/0/serverNames",
        "names-of-chain"
    )]
    [InlineData("tcp: {}", "/spec/tcp", "missing-alternative")]
    [InlineData("tcp: {upstreams: [{name: a, weight: 0}, {name: b, weight: 1}]}", "/spec/tcp/upstreams/0/weight", "out-of-range")]
    [InlineData("tcp: {upstreams: [{name: a, weight: 4294967295}, {name: b, weight: 1}]}", "/spec/tcp/upstreams", "weight-sum")]
    [InlineData("tcp: {upstream: a, maxConnectAttempts: 0}", "/spec/tcp/maxConnectAttempts", "out-of-range")]
    [InlineData("tcp: {upstream: a, maxConnectionDuration: 0s}", "/spec/tcp/maxConnectionDuration", "out-of-range")]
    [InlineData("accessLogs: [{}]\n" + Http, "/spec/accessLogs/0", "missing-alternative")]
    [InlineData("accessLogs: [{stdout: {text: a, json: {}}}]\n" + Http, "/spec/accessLogs/0/stdout", "too-many-alternatives")]
    [InlineData("accessLogs: [{stdout: {text: '%NOPE%'}}]\n" + Http, "/spec/accessLogs/0/stdout/text", "unknown-command-operator")]
    [InlineData(
        "accessLogs: [{stdout: {json: {a: {b: ['%PROTOCOL%', '50%']}}}}]\n" + Http,
        "/spec/accessLogs/0/stdout/json/a/b/1",
        "invalid-command-operator"
    )]
    [InlineData(
        "accessLogs: [{grpc: {upstream: a, bufferFlushInterval: 0s}}]\n" + Http,
        "/spec/accessLogs/0/grpc/bufferFlushInterval",
        "out-of-range"
    )]
    public void A_fault_of_connections_is_refused(string yaml, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.Listener, "address: 0.0.0.0\nport: 443\n" + yaml, pointer, code, ProblemSeverity.Error);

    [Theory]
    [InlineData("timeouts: {request: 100us}", "/timeouts/request", "out-of-range")]
    [InlineData("limits: {maxRequestHeadersKb: 8193}", "/limits/maxRequestHeadersKb", "out-of-range")]
    [InlineData("limits: {maxHeadersCount: 0}", "/limits/maxHeadersCount", "out-of-range")]
    [InlineData("limits: {maxRequestsPerConnection: 0}", "/limits/maxRequestsPerConnection", "out-of-range")]
    [InlineData("http2: {maxConcurrentStreams: 0}", "/http2/maxConcurrentStreams", "out-of-range")]
    [InlineData("http2: {initialStreamWindowSize: 65534}", "/http2/initialStreamWindowSize", "out-of-range")]
    [InlineData("http2: {keepalive: {interval: 0s, timeout: 1s}}", "/http2/keepalive/interval", "out-of-range")]
    [InlineData("upgrades: [websocket, websocket]", "/upgrades/1", "duplicate-upgrade")]
    [InlineData("tracing: {upstream: otel, samplingPercent: 101}", "/tracing/samplingPercent", "out-of-range")]
    [InlineData("filters: [{name: a, typedConfig: {}}]", "/filters/0/typedConfig", "type-required")]
    [InlineData("filters: [{name: a, typedConfig: {'@type': Lua}}]", "/filters/0/typedConfig", "type-required")]
    [InlineData("filters: [{name: a, before: b, typedConfig: {'@type': x/y}}]", "/filters/0/before", "unknown-filter")]
    [InlineData(
        "filters: [{name: a, first: true, before: envoy.filters.http.router, typedConfig: {'@type': x/y}}]",
        "/filters/0",
        "too-many-alternatives"
    )]
    [InlineData("filters: [{name: a, after: envoy.filters.http.router, typedConfig: {'@type': x/y}}]", "/filters/0/after", "after-router")]
    [InlineData("filters: [{name: envoy.filters.http.cors, typedConfig: {'@type': x/y}}]", "/filters/0/name", "duplicate-filter")]
    [InlineData("filters: [{name: envoy.filters.http.router, typedConfig: {'@type': x/y}}]", "/filters/0", "router-given")]
    [InlineData(
        "filters: [{name: mine, typedConfig: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]",
        "/filters/0",
        "router-given"
    )]
    [InlineData(
        "cors: false, filters: [{name: a, after: envoy.filters.http.cors, typedConfig: {'@type': x/y}}]",
        "/filters/0/after",
        "unknown-filter"
    )]
    public void A_fault_of_HTTP_is_refused(string http, string pointer, string code) =>
        SpecText.HasProblem(
            ResourceKind.Listener,
            $"address: 0.0.0.0\nport: 80\nhttp: {{routeTable: shop, {http}}}",
            "/spec/http" + pointer,
            code,
            ProblemSeverity.Error
        );

    [Theory]
    [InlineData("tls: {" + Certificates + ", minVersion: tls10}\n" + Http, "/spec/tls/minVersion", "weak-tls")]
    [InlineData(
        "tls: {" + Certificates + ", minVersion: tls13, cipherSuites: [AES128-SHA]}\n" + Http,
        "/spec/tls/cipherSuites",
        "no-effect"
    )]
    [InlineData(
        "tls: {" + Certificates + "}\nhttp: {routeTable: shop, forwardClientCertificate: sanitizeSet}",
        "/spec/http/forwardClientCertificate",
        "no-client-certificates"
    )]
    public void What_Envoy_takes_to_its_authors_harm_is_a_warning(string yaml, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.Listener, "address: 0.0.0.0\nport: 443\n" + yaml, pointer, code, ProblemSeverity.Warning);

    [Fact]
    public void A_filter_may_stand_next_to_one_that_was_put_in_before() =>
        Assert.Empty(
            SpecText.ProblemsOf(
                ResourceKind.Listener,
                """
                address: 0.0.0.0
                port: 80
                http:
                  routeTable: shop
                  filters:
                    - {name: a, typedConfig: {"@type": x/y}}
                    - {name: b, before: a, typedConfig: {"@type": x/y}}
                """
            )
        );

    [Fact]
    public void A_filter_that_comes_later_is_told_apart_from_one_that_does_not_exist()
    {
        var problem = Assert.Single(
            SpecText.ProblemsOf(
                ResourceKind.Listener,
                """
                address: 0.0.0.0
                port: 80
                http:
                  routeTable: shop
                  filters:
                    - {name: b, before: a, typedConfig: {"@type": x/y}}
                    - {name: a, typedConfig: {"@type": x/y}}
                """
            )
        );
        Assert.Equal(("/spec/http/filters/0/before", "unknown-filter"), (problem.Pointer, problem.Code));
        Assert.Contains("comes later", problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Everything_that_a_listener_names_is_a_reference_with_its_place()
    {
        var spec = SpecText.Good<ListenerSpec>(
            ResourceKind.Listener,
            """
            nodeGroups: [edge]
            address: 0.0.0.0
            port: 443
            tls: {certificates: [{secret: fallback}], clientValidation: {secret: clients}}
            http: {routeTable: shop, tracing: {upstream: otel}}
            filterChains:
              - serverNames: [a.example]
                tls: {certificates: [{secret: a}]}
                tcp: {upstreams: [{name: one, weight: 1}]}
              - {serverNames: [b.example], tcp: {upstream: two}}
            accessLogs: [{stdout: {}}, {grpc: {upstream: logs}}]
            """
        );

        Assert.Equal(
            [
                "/spec/nodeGroups/0 NodeGroup/edge",
                "/spec/tls/certificates/0/secret Secret/fallback",
                "/spec/tls/clientValidation/secret Secret/clients",
                "/spec/http/routeTable RouteTable/shop",
                "/spec/http/tracing/upstream Upstream/otel",
                "/spec/filterChains/0/tls/certificates/0/secret Secret/a",
                "/spec/filterChains/0/tcp/upstreams/0/name Upstream/one",
                "/spec/filterChains/1/tcp/upstream Upstream/two",
                "/spec/accessLogs/1/grpc/upstream Upstream/logs",
            ],
            spec.References().Select(r => $"{r.Pointer} {r.Target}")
        );
    }

    [Theory]
    [InlineData("apiListener: {routeTable: a}", "/spec/apiListener/routeTable")]
    [InlineData("grpcServer: {routeTable: a}\naddress: 10.0.0.1\nport: 50051", "/spec/grpcServer/routeTable")]
    public void A_proxyless_listener_names_its_route_table(string yaml, string pointer)
    {
        var reference = Assert.Single(SpecText.Good<ListenerSpec>(ResourceKind.Listener, yaml).References());
        Assert.Equal((pointer, new ResourceKey(ResourceKind.RouteTable, "a")), (reference.Pointer, reference.Target));
    }
}
