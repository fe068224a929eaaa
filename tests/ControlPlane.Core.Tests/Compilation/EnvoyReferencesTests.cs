using System.Text;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Tests.Compilation;

public sealed class EnvoyReferencesTests
{
    [Fact]
    public void A_route_table_names_its_clusters()
    {
        var compiled = Compile(
            """
            '@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration
            name: r
            virtualHosts:
              - name: v
                domains: ['*']
                requestMirrorPolicies: [{cluster: mirror}]
                routes:
                  - {match: {prefix: /a}, route: {cluster: plain}}
                  - {match: {prefix: /b}, route: {weightedClusters: {clusters: [{name: one, weight: 1}, {name: two, weight: 1}]}}}
                  - {match: {prefix: /c}, route: {clusterHeader: x}}
            """
        );
        Assert.Equal(
            [
                ("CDS", "mirror", "/spec/resource/virtualHosts/0/requestMirrorPolicies/0/cluster"),
                ("CDS", "plain", "/spec/resource/virtualHosts/0/routes/0/route/cluster"),
                ("CDS", "one", "/spec/resource/virtualHosts/0/routes/1/route/weightedClusters/clusters/0/name"),
                ("CDS", "two", "/spec/resource/virtualHosts/0/routes/1/route/weightedClusters/clusters/1/name"),
            ],
            Found(compiled).OrderBy(f => f.Item3, StringComparer.Ordinal)
        );
    }

    [Fact]
    public void A_listener_names_route_tables_secrets_clusters_and_discovered_filters_also_inside_its_filters()
    {
        var compiled = Compile(
            """
            '@type': type.googleapis.com/envoy.config.listener.v3.Listener
            name: l
            address: {socketAddress: {address: 127.0.0.1, portValue: 1}}
            filterChains:
              - transportSocket:
                  name: tls
                  typedConfig:
                    '@type': EXT.transport_sockets.tls.v3.DownstreamTlsContext
                    commonTlsContext:
                      tlsCertificateSdsSecretConfigs: [{name: cert, sdsConfig: {ads: {}}}, {name: static}]
                      combinedValidationContext:
                        defaultValidationContext: {}
                        validationContextSdsSecretConfig: {name: ca, sdsConfig: {ads: {}}}
                filters:
                  - name: hcm
                    typedConfig:
                      '@type': EXT.filters.network.http_connection_manager.v3.HttpConnectionManager
                      statPrefix: x
                      rds: {routeConfigName: table, configSource: {ads: {}}}
                      httpFilters:
                        - {name: later, configDiscovery: {configSource: {ads: {}}, typeUrls: [EXT.filters.http.buffer.v3.Buffer]}}
                        - name: authz
                          typedConfig:
                            '@type': EXT.filters.http.ext_authz.v3.ExtAuthz
                            grpcService: {envoyGrpc: {clusterName: authz}}
                        - name: jwt
                          typedConfig:
                            '@type': EXT.filters.http.jwt_authn.v3.JwtAuthentication
                            providers: {p: {remoteJwks: {httpUri: {uri: 'http://x', cluster: jwks, timeout: 1s}}}}
                        - {name: router, typedConfig: {'@type': EXT.filters.http.router.v3.Router}}
                      accessLog:
                        - name: als
                          typedConfig:
                            '@type': EXT.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
                            commonConfig: {logName: l, transportApiVersion: V3, grpcService: {envoyGrpc: {clusterName: als}}}
            """
        );
        Assert.Equal(
            [("CDS", "als"), ("CDS", "authz"), ("CDS", "jwks"), ("ECDS", "later"), ("RDS", "table"), ("SDS", "ca"), ("SDS", "cert")],
            Found(compiled).Select(f => (f.Item1, f.Item2)).Order()
        );
        var authz = compiled.References.Single(r => r.Name == "authz");
        Assert.Equal(
            "/spec/resource/filterChains/0/filters/0/typedConfig/httpFilters/1/typedConfig/grpcService/envoyGrpc/clusterName",
            authz.Pointer
        );
        Assert.Equal(
            [
                "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
                "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                "envoy.extensions.filters.http.router.v3.Router",
                "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            ],
            compiled.Extensions.Select(e => e.TypeUrl["type.googleapis.com/".Length..]).Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public void A_cluster_names_its_assignment_and_its_members()
    {
        var eds = Compile(
            """
            '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster
            name: c
            type: EDS
            edsClusterConfig: {serviceName: s, edsConfig: {ads: {}}}
            """
        );
        Assert.Equal([("EDS", "s", "/spec/resource/edsClusterConfig")], Found(eds));
        var aggregate = Compile(
            """
            '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster
            name: c
            lbPolicy: CLUSTER_PROVIDED
            clusterType: {name: aggregate, typedConfig: {'@type': EXT.clusters.aggregate.v3.ClusterConfig, clusters: [a, b]}}
            """
        );
        Assert.Equal(
            [
                ("CDS", "a", "/spec/resource/clusterType/typedConfig/clusters/0"),
                ("CDS", "b", "/spec/resource/clusterType/typedConfig/clusters/1"),
            ],
            Found(aggregate)
        );
    }

    [Fact]
    public void What_does_not_come_over_this_stream_is_no_reference()
    {
        var compiled = Compile(
            """
            '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster
            name: c
            type: EDS
            edsClusterConfig: {edsConfig: {pathConfigSource: {path: /eds.yaml}}}
            """
        );
        Assert.Empty(compiled.References);
    }

    [Fact]
    public void An_optional_filter_and_one_behind_a_wrapper_are_extensions_too()
    {
        var compiled = Compile(
            """
            '@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration
            name: r
            virtualHosts:
              - name: v
                domains: ['*']
                typedPerFilterConfig:
                  a: {'@type': EXT.filters.http.buffer.v3.BufferPerRoute, disabled: true}
                  b:
                    '@type': type.googleapis.com/envoy.config.route.v3.FilterConfig
                    isOptional: true
                    config: {'@type': EXT.filters.http.cors.v3.CorsPolicy}
                  c: {'@type': type.googleapis.com/foo.Bar, x: 1}
            """
        );
        Assert.Equal(
            [("a", "BufferPerRoute", false), ("b", "CorsPolicy", true), ("c", "Bar", false)],
            compiled.Extensions.Select(e => (e.Name, e.TypeUrl[(e.TypeUrl.LastIndexOf('.') + 1)..], e.IsOptional)).Order()
        );
    }

    private static IEnumerable<(string, string, string)> Found(CompiledResource compiled) =>
        compiled.References.Select(r => (r.Type.ShortName, r.Name, r.Pointer));

    private static CompiledResource Compile(string resource)
    {
        var yaml =
            "spec:\n  resource:\n"
            + string.Concat(
                resource
                    .Replace("EXT", "type.googleapis.com/envoy.extensions", StringComparison.Ordinal)
                    .Split('\n')
                    .Select(l => $"    {l}\n")
            );
        var key = new ResourceKey(ResourceKind.EnvoyResource, "x");
        var document = Assert.Single(ManifestReader.Read(Encoding.UTF8.GetBytes(yaml), ManifestFormat.Yaml, key).Documents);
        Assert.Empty(document.Problems);
        var problems = new ProblemCollector();
        var compiled = EnvoyResourceCompiler.Compile((EnvoyResourceSpec)document.Manifest!.Spec, problems);
        Assert.DoesNotContain(problems.Problems, p => p.Severity == ProblemSeverity.Error);
        return compiled!;
    }
}
