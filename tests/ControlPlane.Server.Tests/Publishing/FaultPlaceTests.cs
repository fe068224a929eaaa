using System.Text.Json;
using ControlPlane.Resources.Validation;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Tests.Security;

namespace ControlPlane.Server.Tests.Publishing;

/// <summary>What is wrong inside the raw parts of friendly objects is told where it stands in the manifest, and once.</summary>
public sealed class FaultPlaceTests
{
    private const string Ext = "'@type': type.googleapis.com/envoy.extensions.filters.http";
    private const string Upstream = "kind: Upstream\nmetadata: {name: api}\nspec: {endpoints: {source: registration}}";
    private const string RouteTable =
        "kind: RouteTable\nmetadata: {name: r}\nspec: {virtualHosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, upstream: api}]}]}";

    private static readonly string Filters = $$"""
        [
          {name: csrf, first: true, typedConfig: { {{Ext}}.buffer.v3.Buffer, maxRequestBytes: 5 } },
          {name: limit, typedConfig: { {{Ext}}.local_ratelimit.v3.LocalRateLimit } },
          {name: authz, before: limit, typedConfig: { {{Ext}}.ext_authz.v3.ExtAuthz, grpcService: {envoyGrpc: {clusterName: nowhere} } } },
          {name: rbac, typedConfig: { {{Ext}}.rbac.v3.RBAC, rules: {policies: {p: {
            principals: [{any: true}], permissions: [{urlPath: {path: {safeRegex: {regex: '('} } } }] } } } } }]
        """;

    [Theory]
    [InlineData("http: {routeTable: r, filters: FILTERS}", "/spec/http")]
    [InlineData(
        "filterChains: [{serverNames: [a.com], tcp: {upstream: api}}, {serverNames: [b.com], tls: {certificates: [{secret: s}]}, http: {routeTable: r, filters: FILTERS}}]",
        "/spec/filterChains/1/http"
    )]
    [InlineData(
        "maxConnections: 5\n  tls: {certificates: [{secret: s, serverNames: [a.com]}, {secret: s, serverNames: [b.com]}]}\n  http: {routeTable: r, filters: FILTERS}",
        "/spec/http"
    )]
    public void Faults_inside_the_configurations_of_filters(string traffic, string http)
    {
        var listener =
            "kind: Listener\nmetadata: {name: l}\nspec:\n  address: 127.0.0.1\n  port: 443\n  "
            + traffic.Replace("FILTERS", Filters.ReplaceLineEndings(" "), StringComparison.Ordinal);
        var problems = Problems(Upstream, RouteTable, Secret(), listener);
        Assert.Equal(
            [
                ($"{http}/filters/1/typedConfig/statPrefix", "envoy-constraint"),
                ($"{http}/filters/2/typedConfig/grpcService/envoyGrpc/clusterName", "reference-not-found"),
                ($"{http}/filters/3/typedConfig/rules/policies/p/permissions/0/urlPath/path/safeRegex/regex", "invalid-regex"),
            ],
            problems.Select(p => (p.Pointer, p.Code)).Order()
        );
        Assert.All(problems, p => Assert.DoesNotContain("that this compiles to", p.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void Faults_inside_what_filters_get_of_routes()
    {
        var table = $$"""
            kind: RouteTable
            metadata: {name: r}
            spec:
              typedPerFilterConfig: {a: { {{Ext}}.buffer.v3.BufferPerRoute, buffer: {} } }
              virtualHosts:
                - name: v
                  domains: ['*']
                  typedPerFilterConfig: {a: { {{Ext}}.buffer.v3.BufferPerRoute, buffer: {} } }
                  routes:
                    - match: {path: /a}
                      upstream: api
                    - match: {path: /b}
                      upstream: api
                      typedPerFilterConfig: {a/b: { {{Ext}}.buffer.v3.BufferPerRoute, buffer: {} } }
            """;
        Assert.Equal(
            [
                "/spec/typedPerFilterConfig/a/buffer/maxRequestBytes",
                "/spec/virtualHosts/0/routes/1/typedPerFilterConfig/a~1b/buffer/maxRequestBytes",
                "/spec/virtualHosts/0/typedPerFilterConfig/a/buffer/maxRequestBytes",
            ],
            Problems(Upstream, table).Select(p => p.Pointer).Order()
        );
    }

    [Fact]
    public void A_filter_may_name_a_cluster_of_the_bootstrap_if_its_author_insists() =>
        Assert.Equal(
            "/spec/http/filters/0/typedConfig/grpcService/envoyGrpc/clusterName",
            Assert
                .Single(
                    Assert
                        .IsType<ChangeApplied>(
                            Plans
                                .Passing(
                                    Plans.Nothing,
                                    Upstream,
                                    RouteTable,
                                    $$"""
                                    kind: Listener
                                    metadata: {name: l}
                                    spec:
                                      address: 127.0.0.1
                                      port: 80
                                      http:
                                        routeTable: r
                                        filters:
                                          - name: authz
                                            typedConfig: { {{Ext}}.ext_authz.v3.ExtAuthz, grpcService: {envoyGrpc: {clusterName: static} } }
                                    """
                                )
                                .Outcome
                        )
                        .Warnings
                )
                .Problem.Pointer
        );

    [Theory]
    [InlineData("{healthStatus: HEALTHY}", "/healthStatus", "owned-field")]
    [InlineData("{load_balancing_weight: 5}", "/load_balancing_weight", "owned-field")]
    [InlineData("{endpointName: other}", "/endpointName", "owned-field")]
    [InlineData("{endpoint: null}", "/endpoint", "owned-field")]
    [InlineData("{endpoint: {address: {pipe: {path: /x} } } }", "/endpoint", "owned-field")]
    [InlineData("{metdata: {} }", "/metdata", "unknown-field")]
    [InlineData("{endpoint: {healthCheckConfig: {portValue: 70000} } }", "/endpoint/healthCheckConfig/portValue", "envoy-constraint")]
    [InlineData(
        "{endpoint: {additionalAddresses: [{address: {socketAddress: {address: foo, portValue: 1} } }] } }",
        "/endpoint/additionalAddresses/0/address/socketAddress/address",
        "address-not-ip"
    )]
    public void Faults_inside_the_raw_part_of_an_endpoint(string raw, string place, string code)
    {
        var ok = "kind: Endpoint\nmetadata: {name: api/ok}\nspec: {address: 10.0.0.2, port: 80, envoy: {metadata: {} } }";
        var registered = $"kind: Endpoint\nmetadata: {{name: api/a}}\nspec: {{address: 10.0.0.1, port: 80, envoy: {raw} }}";
        var listed =
            $"kind: Upstream\nmetadata: {{name: listed}}\nspec: {{endpoints: {{static: [{{address: 10.0.0.1, port: 80, envoy: {raw} }}] }} }}";
        var named =
            $"kind: Upstream\nmetadata: {{name: named}}\nspec: {{endpoints: {{source: dns, hosts: [{{address: a.example.com, port: 80, envoy: {raw} }}] }} }}";

        var invalid = Assert.IsType<ChangeInvalid>(Plans.Make(Plans.Nothing, Upstream, ok, registered, listed, named).Outcome);

        Assert.Equal(
            [
                ("Endpoint/api/a", "/spec/envoy" + place, code),
                ("Upstream/listed", "/spec/endpoints/static/0/envoy" + place, code),
                ("Upstream/named", "/spec/endpoints/hosts/0/envoy" + place, code),
            ],
            invalid.Problems.Select(p => (p.Key.ToString(), p.Problem.Pointer, p.Problem.Code)).Order()
        );
    }

    [Fact]
    public void Registered_endpoints_that_an_upstream_does_not_use_any_more_are_warned_of()
    {
        var endpoint = "kind: Endpoint\nmetadata: {name: api/a}\nspec: {address: 10.0.0.1, port: 80}";
        var before = Plans.Make(Plans.Nothing, Upstream, endpoint);
        Assert.Empty(Assert.IsType<ChangeApplied>(before.Outcome).Warnings);

        var switched = Plans.Make(
            before.After,
            "kind: Upstream\nmetadata: {name: api}\nspec: {endpoints: {source: static, static: [{address: 10.0.0.2, port: 80}]}}"
        );

        var warning = Assert.Single(Assert.IsType<ChangeApplied>(switched.Outcome).Warnings).Problem;
        Assert.Equal(("/spec/endpoints/source", "registered-endpoints-unused"), (warning.Pointer, warning.Code));
    }

    [Fact]
    public void Every_unknown_cluster_of_a_message_is_told()
    {
        const string Raw = """
            kind: EnvoyResource
            metadata: {name: raw}
            spec:
              resource:
                '@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration
                name: raw
                virtualHosts:
                  - name: v
                    domains: ['*']
                    routes: [{match: {path: /a}, route: {cluster: one}}, {match: {path: /b}, route: {cluster: two}}]
            """;
        Assert.Equal(2, Problems(Raw).Count(p => p.Code == "reference-not-found"));
    }

    private static string Secret()
    {
        using var certificates = new TestCertificates();
        var (certificate, key) = certificates.Issue(names => names.AddDnsName("a.com"));
        return "kind: Secret\nmetadata: {name: s}\nspec: {certificate: {chain: {inline: "
            + JsonSerializer.Serialize(certificate)
            + "}, privateKey: {inline: "
            + JsonSerializer.Serialize(key)
            + "}}}";
    }

    private static List<ValidationProblem> Problems(params string[] manifests) =>
        [.. Assert.IsType<ChangeInvalid>(Plans.Make(Plans.Nothing, manifests).Outcome).Problems.Select(p => p.Problem)];
}
