using System.Formats.Asn1;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;

namespace ControlPlane.Core.Tests.Compilation;

/// <summary>What a real Envoy says to a row with <c>--mode validate</c>.</summary>
public enum EnvoySays
{
    /// <summary>It refuses the resource.</summary>
    No,

    /// <summary>The newest refuses the resource, the oldest supported one takes it.</summary>
    NewestNo,

    /// <summary>It takes the resource.</summary>
    Yes,

    /// <summary>It cannot be asked: the mistake is not expressible as static configuration, or its answer there differs from that to xDS.</summary>
    NotAsked,
}

/// <summary>One mistake (or good example) and what is said about it.</summary>
/// <param name="Name">What is wrong, in a few words.</param>
/// <param name="Kind">Which resource <paramref name="Body"/> is: a key of <see cref="Catalogue.Types"/>.</param>
/// <param name="Body">The members of the resource as a YAML flow mapping without its braces; <c>«NAME»</c> is replaced by a generated PEM.</param>
/// <param name="Code">The code of the problem; null where nothing is wrong. One that begins with <c>!</c> is a warning.</param>
/// <param name="Pointer">Where, from the resource; empty is the resource itself.</param>
/// <param name="Envoy">What Envoy says.</param>
public sealed record CatalogueRow(string Name, string Kind, string Body, string? Code, string Pointer, EnvoySays Envoy);

/// <summary>Every mistake that the control plane knows, as data: its own tests and those against a real Envoy read the same rows.</summary>
public static class Catalogue
{
    /// <summary>The types that rows are of.</summary>
    public static readonly IReadOnlyDictionary<string, string> Types = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["cluster"] = "envoy.config.cluster.v3.Cluster",
        ["assignment"] = "envoy.config.endpoint.v3.ClusterLoadAssignment",
        ["listener"] = "envoy.config.listener.v3.Listener",
        ["routes"] = "envoy.config.route.v3.RouteConfiguration",
        ["secret"] = "envoy.extensions.transport_sockets.tls.v3.Secret",
    };

    private const string Ext = "'@type': type.googleapis.com/envoy.extensions";
    private const string Hcm = $"{Ext}.filters.network.http_connection_manager.v3.HttpConnectionManager, statPrefix: x";
    private const string Router = $"{{name: router, typedConfig: {{{Ext}.filters.http.router.v3.Router}}}}";
    private const string Buffer = $"{{name: buffer, typedConfig: {{{Ext}.filters.http.buffer.v3.Buffer, maxRequestBytes: 5}}}}";
    private const string Routes =
        "routeConfig: {name: r, virtualHosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, directResponse: {status: 200}}]}]}";
    private const string Manager = $"{{name: hcm, typedConfig: {{{Hcm}, {Routes}, httpFilters: [{Router}]}}}}";
    private const string TcpProxy =
        $"{{name: tcp, typedConfig: {{{Ext}.filters.network.tcp_proxy.v3.TcpProxy, statPrefix: x, cluster: a}}}}";
    private const string Address = "address: {socketAddress: {address: 127.0.0.1, portValue: 10000}}";
    private const string UpstreamTls = $"{Ext}.transport_sockets.tls.v3.UpstreamTlsContext";
    private const string DownstreamTls = $"{Ext}.transport_sockets.tls.v3.DownstreamTlsContext";
    private const string HttpFilter = $"{Ext}.filters.http";
    private const string HttpOptions = $"{Ext}.upstreams.http.v3.HttpProtocolOptions";
    private const string HttpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    private const string Static = "name: x, type: STATIC, loadAssignment: {clusterName: x}";
    private const string Check = "timeout: 1s, interval: 1s, unhealthyThreshold: 1, healthyThreshold: 1";

    /// <summary>All rows.</summary>
    public static IReadOnlyList<CatalogueRow> Rows { get; } =
    [.. ClusterRows(), .. AssignmentRows(), .. ListenerRows(), .. RouteRows(), .. SecretRows(), .. RegexRows(), .. FormatRows()];

    private static readonly IReadOnlyDictionary<string, string> Pems = MakePems();

    /// <summary>The row's resource as YAML, without <c>@type</c>.</summary>
    public static string BodyOf(CatalogueRow row)
    {
        var body = row.Body;
        foreach (var (name, pem) in Pems)
        {
            body = body.Replace($"«{name}»", JsonSerializer.Serialize(pem), StringComparison.Ordinal);
        }

        return body;
    }

    private static CatalogueRow Cluster(string name, string body, string? code, string pointer = "", EnvoySays envoy = EnvoySays.No) =>
        new(name, "cluster", body, code, pointer, envoy);

    private static IEnumerable<CatalogueRow> ClusterRows() =>
        [
            Cluster(
                "a good STATIC cluster",
                "name: x, type: STATIC, " + Load("{address: 10.0.0.1, portValue: 80}"),
                null,
                envoy: EnvoySays.Yes
            ),
            Cluster("connect_timeout missing", Static, null, envoy: EnvoySays.Yes),
            Cluster("connect_timeout 0", $"{Static}, connectTimeout: 0s", "envoy-constraint", "/connectTimeout"),
            Cluster("negative connect_timeout", $"{Static}, connectTimeout: -1s", "negative-duration", "/connectTimeout"),
            Cluster("a negative duration elsewhere", $"{Static}, cleanupInterval: -1s", "negative-duration", "/cleanupInterval"),
            Cluster("a duration of centuries", $"{Static}, connectTimeout: 9223372037s", "duration-out-of-range", "/connectTimeout"),
            Cluster("empty name", "type: STATIC", "empty-name", "/name"),
            Cluster(
                "name of 70,000 characters",
                $"name: {new string('n', 70_000)}, type: STATIC, loadAssignment: {{clusterName: x}}",
                "name-too-long",
                "/name",
                EnvoySays.NotAsked
            ),
            Cluster(
                "port 70000",
                "name: x, type: STATIC, " + Load("{address: 10.0.0.1, portValue: 70000}"),
                "envoy-constraint",
                "/loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress/portValue"
            ),
            Cluster("lb_policy out of range", $"{Static}, lbPolicy: 99", "envoy-constraint", "/lbPolicy"),
            Cluster("dns_lookup_family out of range", $"{Static}, dnsLookupFamily: 99", "envoy-constraint", "/dnsLookupFamily"),
            Cluster(
                "health check without thresholds",
                $"{Static}, healthChecks: [{{timeout: 1s, interval: 1s, tcpHealthCheck: {{}}}}]",
                "envoy-constraint",
                "/healthChecks/0/unhealthyThreshold"
            ),
            Cluster(
                "health check with interval 0",
                $"{Static}, healthChecks: [{{timeout: 1s, interval: 0s, unhealthyThreshold: 1, healthyThreshold: 1, tcpHealthCheck: {{}}}}]",
                "envoy-constraint",
                "/healthChecks/0/interval"
            ),
            Cluster(
                "max_ejection_percent 150",
                $"{Static}, outlierDetection: {{maxEjectionPercent: 150}}",
                "envoy-constraint",
                "/outlierDetection/maxEjectionPercent"
            ),
            Cluster(
                "panic threshold 150",
                $"{Static}, commonLbConfig: {{healthyPanicThreshold: {{value: 150}}}}",
                "envoy-constraint",
                "/commonLbConfig/healthyPanicThreshold/value"
            ),
            Cluster("EDS without eds_cluster_config", "name: x, type: EDS", "eds-config-missing", "/edsClusterConfig"),
            Cluster("EDS without config source", "name: x, type: EDS, edsClusterConfig: {}", "eds-config-missing", "/edsClusterConfig"),
            Cluster("EDS over ADS", "name: x, type: EDS, edsClusterConfig: {edsConfig: {ads: {}}}", null, envoy: EnvoySays.Yes),
            Cluster(
                "eds_cluster_config on STATIC",
                $"{Static}, edsClusterConfig: {{edsConfig: {{ads: {{}}}}}}",
                "eds-config-unused",
                "/edsClusterConfig"
            ),
            Cluster(
                "STATIC with host name",
                "name: x, type: STATIC, " + Load("{address: foo.local, portValue: 80}"),
                "address-not-ip",
                "/loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress/address"
            ),
            Cluster(
                "STATIC with three numbers",
                "name: x, type: STATIC, " + Load("{address: 1.2.3, portValue: 80}"),
                "address-not-ip",
                "/loadAssignment"
            ),
            Cluster(
                "STATIC with a leading zero",
                "name: x, type: STATIC, " + Load("{address: 010.0.0.1, portValue: 80}"),
                "address-not-ip",
                "/loadAssignment"
            ),
            Cluster(
                "STATIC with IPv6",
                "name: x, type: STATIC, " + Load("{address: '2001:db8::1', portValue: 80}"),
                null,
                envoy: EnvoySays.Yes
            ),
            Cluster(
                "STATIC with IPv6 and zone",
                "name: x, type: STATIC, " + Load("{address: 'fe80::1%lo', portValue: 80}"),
                null,
                envoy: EnvoySays.Yes
            ),
            Cluster(
                "STATIC with a UNIX socket",
                "name: x, type: STATIC, loadAssignment: {clusterName: x, endpoints: [{locality: {}, lbEndpoints: [{endpoint: {address: {pipe: {path: /run/x}}}}]}]}",
                null,
                envoy: EnvoySays.Yes
            ),
            Cluster(
                "a UNIX socket's path of 108 bytes",
                $"name: x, type: STATIC, loadAssignment: {{clusterName: x, endpoints: [{{lbEndpoints: [{{endpoint: {{address: {{pipe: {{path: /{new string('p', 107)}}}}}}}}}]}}]}}",
                "socket-path-too-long",
                "/loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/pipe/path"
            ),
            Cluster(
                "STATIC with a named port",
                "name: x, type: STATIC, " + Load("{address: 10.0.0.1, namedPort: http}"),
                "named-port",
                "/loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress/namedPort"
            ),
            Cluster(
                "STRICT_DNS with host name",
                "name: x, type: STRICT_DNS, " + Load("{address: foo.local, portValue: 80}"),
                null,
                envoy: EnvoySays.Yes
            ),
            Cluster(
                "STRICT_DNS with resolver_name",
                "name: x, type: STRICT_DNS, " + Load("{address: foo.local, portValue: 80, resolverName: y}"),
                "resolver-name",
                "/loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress/resolverName"
            ),
            Cluster("STATIC without load_assignment", "name: x, type: STATIC", "!no-endpoints", "/loadAssignment", EnvoySays.Yes),
            Cluster(
                "LOGICAL_DNS with 2 endpoints",
                "name: x, type: LOGICAL_DNS, " + Load("{address: a, portValue: 80}", "{address: b, portValue: 80}"),
                "logical-dns-endpoints",
                "/loadAssignment"
            ),
            Cluster("LOGICAL_DNS without endpoints", "name: x, type: LOGICAL_DNS", "logical-dns-endpoints", "/loadAssignment"),
            Cluster(
                "ORIGINAL_DST with endpoints",
                "name: x, type: ORIGINAL_DST, lbPolicy: CLUSTER_PROVIDED, " + Load("{address: 10.0.0.1, portValue: 80}"),
                "original-dst-endpoints",
                "/loadAssignment"
            ),
            Cluster("ORIGINAL_DST with another balancer", "name: x, type: ORIGINAL_DST", "lb-cluster-provided", "/lbPolicy"),
            Cluster("CLUSTER_PROVIDED on STATIC", $"{Static}, lbPolicy: CLUSTER_PROVIDED", "lb-cluster-provided", "/lbPolicy"),
            Cluster(
                "aggregate with another balancer",
                $"name: x, clusterType: {{name: envoy.clusters.aggregate, typedConfig: {{{Ext}.clusters.aggregate.v3.ClusterConfig, clusters: [a]}}}}",
                "lb-cluster-provided",
                "/lbPolicy"
            ),
            Cluster(
                "aggregate of unknown clusters",
                $"name: x, lbPolicy: CLUSTER_PROVIDED, clusterType: {{name: envoy.clusters.aggregate, typedConfig: {{{Ext}.clusters.aggregate.v3.ClusterConfig, clusters: [nope]}}}}",
                null,
                envoy: EnvoySays.Yes
            ),
            Cluster(
                "LOAD_BALANCING_POLICY_CONFIG alone",
                $"{Static}, lbPolicy: LOAD_BALANCING_POLICY_CONFIG",
                "no-lb-policy",
                "/loadBalancingPolicy"
            ),
            Cluster(
                "an empty load_balancing_policy",
                $"{Static}, loadBalancingPolicy: {{}}",
                "no-lb-policy",
                "/loadBalancingPolicy/policies"
            ),
            Cluster(
                "RING_HASH min > max",
                $"{Static}, lbPolicy: RING_HASH, ringHashLbConfig: {{minimumRingSize: 2000, maximumRingSize: 1000}}",
                "ring-size",
                "/ringHashLbConfig/maximumRingSize"
            ),
            Cluster(
                "RING_HASH max below the default min",
                $"{Static}, lbPolicy: RING_HASH, ringHashLbConfig: {{maximumRingSize: 1000}}",
                "ring-size",
                "/ringHashLbConfig/maximumRingSize"
            ),
            Cluster(
                "ring of an extension, min > max",
                $"{Static}, loadBalancingPolicy: {{policies: [{{typedExtensionConfig: {{name: r, typedConfig: {{{Ext}.load_balancing_policies.ring_hash.v3.RingHash, minimumRingSize: 2000, maximumRingSize: 1000}}}}}}]}}",
                "ring-size",
                "/loadBalancingPolicy/policies/0/typedExtensionConfig/typedConfig/maximumRingSize"
            ),
            Cluster(
                "Maglev table not prime",
                $"{Static}, lbPolicy: MAGLEV, maglevLbConfig: {{tableSize: 65536}}",
                "maglev-table-size",
                "/maglevLbConfig/tableSize"
            ),
            Cluster(
                "Maglev table prime",
                $"{Static}, lbPolicy: MAGLEV, maglevLbConfig: {{tableSize: 5000011}}",
                null,
                envoy: EnvoySays.Yes
            ),
            Cluster(
                "threshold priority twice",
                $"{Static}, circuitBreakers: {{thresholds: [{{}}, {{}}]}}",
                "!duplicate-threshold",
                "/circuitBreakers/thresholds/1",
                EnvoySays.Yes
            ),
            Cluster(
                "max_ejection_time below base",
                $"{Static}, outlierDetection: {{baseEjectionTime: 10s, maxEjectionTime: 1s}}",
                "ejection-time",
                "/outlierDetection/maxEjectionTime"
            ),
            Cluster(
                "transport socket without config",
                $"{Static}, transportSocket: {{name: envoy.transport_sockets.raw_buffer}}",
                "config-missing",
                "/transportSocket/typedConfig"
            ),
            Cluster(
                "a transport socket of an unknown type",
                $"{Static}, transportSocket: {{name: foo, typedConfig: {{'@type': foo.Bar}}}}",
                "!unknown-type",
                "/transportSocket/typedConfig"
            ),
            Cluster(
                "HTTP options without protocol",
                $"{Static}, typedExtensionProtocolOptions: {{{HttpOptionsKey}: {{{HttpOptions}}}}}",
                "envoy-constraint",
                $"/typedExtensionProtocolOptions/{HttpOptionsKey}"
            ),
            Cluster(
                "HTTP options under another key",
                $"{Static}, typedExtensionProtocolOptions: {{foo: {{{HttpOptions}, explicitHttpConfig: {{httpProtocolOptions: {{}}}}}}}}",
                "protocol-options-key",
                "/typedExtensionProtocolOptions/foo"
            ),
            Cluster(
                "ALPN without TLS",
                $"{Static}, typedExtensionProtocolOptions: {{{HttpOptionsKey}: {{{HttpOptions}, autoConfig: {{}}}}}}",
                "auto-needs-tls",
                "/typedExtensionProtocolOptions"
            ),
            Cluster(
                "upstream filters without codec",
                $"{Static}, typedExtensionProtocolOptions: {{{HttpOptionsKey}: {{{HttpOptions}, explicitHttpConfig: {{httpProtocolOptions: {{}}}}, httpFilters: [{Buffer}]}}}}",
                "upstream-codec-not-last",
                "/typedExtensionProtocolOptions"
            ),
            Cluster(
                "two health checks",
                $"{Static}, healthChecks: [{{{Check}, tcpHealthCheck: {{}}}}, {{{Check}, tcpHealthCheck: {{}}}}]",
                "health-check-count",
                "/healthChecks/1"
            ),
            Cluster(
                "gRPC health check over HTTP/1",
                $"{Static}, healthChecks: [{{{Check}, grpcHealthCheck: {{}}}}]",
                "grpc-needs-http2",
                "/healthChecks/0/grpcHealthCheck"
            ),
            Cluster(
                "gRPC health check over HTTP/2",
                $"{Static}, healthChecks: [{{{Check}, grpcHealthCheck: {{}}}}], typedExtensionProtocolOptions: {{{HttpOptionsKey}: {{{HttpOptions}, explicitHttpConfig: {{http2ProtocolOptions: {{}}}}}}}}",
                null,
                envoy: EnvoySays.Yes
            ),
            Cluster(
                "health check statuses backwards",
                $"{Static}, healthChecks: [{{{Check}, httpHealthCheck: {{path: /, expectedStatuses: [{{start: 300, end: 200}}]}}}}]",
                "status-range",
                "/healthChecks/0/httpHealthCheck/expectedStatuses/0"
            ),
            Cluster(
                "retriable statuses up to 700",
                $"{Static}, healthChecks: [{{{Check}, httpHealthCheck: {{path: /, retriableStatuses: [{{start: 500, end: 700}}]}}}}]",
                "status-range",
                "/healthChecks/0/httpHealthCheck/retriableStatuses/0"
            ),
            Cluster(
                "health check payload not hexadecimal",
                $"{Static}, healthChecks: [{{{Check}, tcpHealthCheck: {{send: {{text: zz}}}}}}]",
                "invalid-hex",
                "/healthChecks/0/tcpHealthCheck/send/text"
            ),
            Cluster(
                "a body on a GET health check",
                $"{Static}, healthChecks: [{{{Check}, httpHealthCheck: {{path: /, send: {{text: '00'}}}}}}]",
                "health-check-body",
                "/healthChecks/0/httpHealthCheck/send"
            ),
            Cluster(
                "a health check that sets :path",
                $"{Static}, healthChecks: [{{{Check}, httpHealthCheck: {{path: /, requestHeadersToAdd: [{{header: {{key: ':path', value: x}}}}]}}}}]",
                "protected-header",
                "/healthChecks/0/httpHealthCheck/requestHeadersToAdd/0/header/key"
            ),
            Cluster(
                "source address not IP",
                $"{Static}, upstreamBindConfig: {{sourceAddress: {{address: foo, portValue: 0}}}}",
                "address-not-ip",
                "/upstreamBindConfig/sourceAddress/address"
            ),
            Cluster(
                "trusted_ca unparsable",
                $"{Static}, {Tls("validationContext: {trustedCa: {inlineString: x}}")}",
                "invalid-certificate",
                "/transportSocket/typedConfig/commonTlsContext/validationContext/trustedCa"
            ),
            Cluster(
                "trusted_ca empty",
                $"{Static}, {Tls("validationContext: {trustedCa: {inlineString: ''}}")}",
                "empty-data-source",
                "/transportSocket/typedConfig/commonTlsContext/validationContext/trustedCa"
            ),
            Cluster(
                "trusted_ca is a key",
                $"{Static}, {Tls("validationContext: {trustedCa: {inlineString: «KEY»}}")}",
                "invalid-certificate",
                "/transportSocket/typedConfig/commonTlsContext/validationContext/trustedCa"
            ),
            Cluster(
                "trusted_ca with a damaged second one",
                $"{Static}, {Tls("validationContext: {trustedCa: {inlineString: «CERT+DAMAGED»}}")}",
                "invalid-certificate",
                "/transportSocket/typedConfig/commonTlsContext/validationContext/trustedCa"
            ),
            Cluster(
                "trusted_ca of two with words between",
                $"{Static}, {Tls("validationContext: {trustedCa: {inlineString: «CERT+WORDS+EC»}}")}",
                null,
                envoy: EnvoySays.Yes
            ),
            Cluster(
                "SAN matcher without CA",
                $"{Static}, {Tls("validationContext: {matchTypedSubjectAltNames: [{sanType: DNS, matcher: {exact: a}}]}")}",
                "san-without-ca",
                "/transportSocket/typedConfig/commonTlsContext/validationContext/matchTypedSubjectAltNames"
            ),
            Cluster(
                "revocation list without CA",
                $"{Static}, {Tls("validationContext: {crl: {inlineString: x}}")}",
                "crl-without-ca",
                "/transportSocket/typedConfig/commonTlsContext/validationContext/crl"
            ),
            Cluster(
                "SPKI digest not base64",
                $"{Static}, {Tls($"validationContext: {{verifyCertificateSpki: ['{new string('!', 44)}']}}")}",
                "invalid-hash",
                "/transportSocket/typedConfig/commonTlsContext/validationContext/verifyCertificateSpki/0"
            ),
            Cluster(
                "certificate digest not hexadecimal",
                $"{Static}, {Tls($"validationContext: {{verifyCertificateHash: ['{new string('!', 64)}']}}")}",
                "invalid-hash",
                "/transportSocket/typedConfig/commonTlsContext/validationContext/verifyCertificateHash/0"
            ),
            Cluster(
                "two client certificates",
                $"{Static}, {Tls("tlsCertificates: [{}, {}]")}",
                "client-certificates",
                "/transportSocket/typedConfig/commonTlsContext"
            ),
            Cluster(
                "SNI of 300 characters",
                $"{Static}, transportSocket: {{name: tls, typedConfig: {{{UpstreamTls}, sni: {new string('s', 300)}}}}}",
                "envoy-constraint",
                "/transportSocket/typedConfig/sni"
            ),
        ];

    private static string Load(params string[] addresses) =>
        $"loadAssignment: {{clusterName: x, endpoints: [{{locality: {{}}, lbEndpoints: [{string.Join(", ", addresses.Select(a => $"{{endpoint: {{address: {{socketAddress: {a}}}}}}}"))}]}}]}}";

    private static string Tls(string common) =>
        $"transportSocket: {{name: tls, typedConfig: {{{UpstreamTls}, commonTlsContext: {{{common}}}}}}}";

    private static CatalogueRow Assignment(string name, string body, string? code, string pointer = "", EnvoySays envoy = EnvoySays.No) =>
        new(name, "assignment", body, code, pointer, envoy);

    private static IEnumerable<CatalogueRow> AssignmentRows()
    {
        const string At = "/endpoints/0/lbEndpoints/0";
        static string One(string endpoint, string locality = "locality: {}") =>
            $"clusterName: x, endpoints: [{{{locality}, lbEndpoints: [{endpoint}]}}]";
        static string At80(string address, string more = "") =>
            $"{{endpoint: {{address: {{socketAddress: {{address: {address}, portValue: 80}}}}}}{more}}}";
        return
        [
            Assignment("a good assignment", One(At80("10.0.0.1")), null, envoy: EnvoySays.Yes),
            Assignment("an empty assignment", "clusterName: x", null, envoy: EnvoySays.Yes),
            Assignment(
                "priorities 0 and 2",
                $"clusterName: x, endpoints: [{{locality: {{}}, lbEndpoints: [{At80("10.0.0.1")}]}}, {{locality: {{}}, priority: 2, lbEndpoints: [{At80("10.0.0.2")}]}}]",
                "!priority-gap",
                "/endpoints",
                EnvoySays.Yes
            ),
            Assignment("only priority 1", One(At80("10.0.0.1"), "locality: {}, priority: 1"), "!priority-gap", "/endpoints", EnvoySays.Yes),
            Assignment("priority 129", One(At80("10.0.0.1"), "locality: {}, priority: 129"), "envoy-constraint", "/endpoints/0/priority"),
            Assignment(
                "endpoint weight 0",
                One(At80("10.0.0.1", ", loadBalancingWeight: 0")),
                "envoy-constraint",
                $"{At}/loadBalancingWeight"
            ),
            Assignment(
                "locality weight 0",
                One(At80("10.0.0.1"), "locality: {}, loadBalancingWeight: 0"),
                "envoy-constraint",
                "/endpoints/0/loadBalancingWeight"
            ),
            Assignment(
                "endpoint weights overflow",
                One($"{At80("10.0.0.1", ", loadBalancingWeight: 4294967295")}, {At80("10.0.0.2", ", loadBalancingWeight: 4294967295")}"),
                "!weight-overflow",
                "/endpoints/0/lbEndpoints",
                EnvoySays.Yes
            ),
            Assignment(
                "port 70000",
                One("{endpoint: {address: {socketAddress: {address: 10.0.0.1, portValue: 70000}}}}"),
                "envoy-constraint",
                $"{At}/endpoint/address/socketAddress/portValue"
            ),
            Assignment(
                "no port",
                One("{endpoint: {address: {socketAddress: {address: 10.0.0.1}}}}"),
                "envoy-constraint",
                $"{At}/endpoint/address/socketAddress"
            ),
            Assignment(
                "health check port 70000",
                One("{endpoint: {address: {socketAddress: {address: 10.0.0.1, portValue: 80}}, healthCheckConfig: {portValue: 70000}}}"),
                "envoy-constraint",
                $"{At}/endpoint/healthCheckConfig/portValue"
            ),
            Assignment(
                "overprovisioning_factor 0",
                "clusterName: x, policy: {overprovisioningFactor: 0}",
                "envoy-constraint",
                "/policy/overprovisioningFactor"
            ),
            Assignment(
                "endpoint_stale_after 0",
                "clusterName: x, policy: {endpointStaleAfter: 0s}",
                "envoy-constraint",
                "/policy/endpointStaleAfter"
            ),
            Assignment("empty cluster_name", "endpoints: []", "empty-name", "/clusterName"),
            Assignment(
                "two drop_overloads",
                "clusterName: x, policy: {dropOverloads: [{category: a, dropPercentage: {numerator: 1}}, {category: b, dropPercentage: {numerator: 1}}]}",
                "drop-overloads",
                "/policy/dropOverloads/1"
            ),
            Assignment(
                "drop 101 %",
                "clusterName: x, policy: {dropOverloads: [{category: a, dropPercentage: {numerator: 101}}]}",
                "drop-overloads",
                "/policy/dropOverloads/0/dropPercentage"
            ),
            Assignment("host name", One(At80("foo.local")), "address-not-ip", $"{At}/endpoint/address/socketAddress/address"),
            Assignment("IPv6 in brackets", One(At80("'[::1]'")), "address-not-ip", $"{At}/endpoint/address/socketAddress/address"),
            Assignment(
                "additional address is a host name",
                One(
                    "{endpoint: {address: {socketAddress: {address: 10.0.0.1, portValue: 80}}, additionalAddresses: [{address: {socketAddress: {address: foo, portValue: 80}}}]}}"
                ),
                "address-not-ip",
                $"{At}/endpoint/additionalAddresses/0/address/socketAddress/address"
            ),
            Assignment("endpoint without address", One("{endpoint: {}}"), "address-missing", At),
            Assignment("endpoint by name", One("{endpointName: a}"), "address-missing", At),
            Assignment(
                "same address twice",
                One($"{At80("10.0.0.1")}, {At80("10.0.0.1")}"),
                "!duplicate-address",
                "/endpoints/0/lbEndpoints/1",
                EnvoySays.Yes
            ),
            Assignment(
                "same address in two spellings",
                One($"{At80("'2001:db8::1'")}, {At80("'2001:DB8:0::1'")}"),
                "!duplicate-address",
                "/endpoints/0/lbEndpoints/1",
                EnvoySays.Yes
            ),
            Assignment(
                "same address in two priorities",
                $"clusterName: x, endpoints: [{{locality: {{}}, lbEndpoints: [{At80("10.0.0.1")}]}}, {{locality: {{}}, priority: 1, lbEndpoints: [{At80("10.0.0.1")}]}}]",
                "!duplicate-address",
                "/endpoints/1/lbEndpoints/0",
                EnvoySays.Yes
            ),
            Assignment(
                "same locality twice",
                $"clusterName: x, endpoints: [{{locality: {{zone: a}}, lbEndpoints: [{At80("10.0.0.1")}]}}, {{locality: {{zone: a}}, lbEndpoints: [{At80("10.0.0.2")}]}}]",
                "!duplicate-locality",
                "/endpoints/1",
                EnvoySays.Yes
            ),
            Assignment("no locality", One(At80("10.0.0.1"), "priority: 0"), "!no-locality", "/endpoints/0", EnvoySays.Yes),
            Assignment(
                "health_status 99",
                One(At80("10.0.0.1", ", healthStatus: 99")),
                "!unknown-enum-value",
                $"{At}/healthStatus",
                EnvoySays.Yes
            ),
        ];
    }

    private static CatalogueRow Listener(string name, string body, string? code, string pointer = "", EnvoySays envoy = EnvoySays.No) =>
        new(name, "listener", body, code, pointer, envoy);

    private static string Chain(string filters, string more = "") => $"name: x, {Address}, filterChains: [{{filters: [{filters}]{more}}}]";

    private static string Chains(params string[] matches) =>
        $"name: x, {Address}, filterChains: [{string.Join(", ", matches.Select(m => $"{{filters: [{Manager}], filterChainMatch: {{{m}}}}}"))}]";

    private static string Http(string filters, string more = "") =>
        Chain($"{{name: hcm, typedConfig: {{{Hcm}, {Routes}, httpFilters: [{filters}]{more}}}}}");

    private static string Server(string context) =>
        Chain(Manager, $", transportSocket: {{name: tls, typedConfig: {{{DownstreamTls}, {context}}}}}");

    private static IEnumerable<CatalogueRow> ListenerRows()
    {
        const string Config = "/filterChains/0/filters/0/typedConfig";
        const string Socket = "/filterChains/0/transportSocket/typedConfig/commonTlsContext";
        return
        [
            Listener("a good listener", Chain(Manager), null, envoy: EnvoySays.Yes),
            Listener(
                "port 70000",
                $"name: x, address: {{socketAddress: {{address: 127.0.0.1, portValue: 70000}}}}, filterChains: [{{filters: [{Manager}]}}]",
                "envoy-constraint",
                "/address/socketAddress/portValue"
            ),
            Listener("no address", $"name: x, filterChains: [{{filters: [{Manager}]}}]", "address-missing", "/address"),
            Listener(
                "host name",
                $"name: x, address: {{socketAddress: {{address: localhost, portValue: 1}}}}, filterChains: [{{filters: [{Manager}]}}]",
                "address-not-ip",
                "/address/socketAddress/address"
            ),
            Listener(
                "named port",
                $"name: x, address: {{socketAddress: {{address: 127.0.0.1, namedPort: http}}}}, filterChains: [{{filters: [{Manager}]}}]",
                "named-port",
                "/address/socketAddress/namedPort"
            ),
            Listener(
                "internal address",
                $"name: x, address: {{envoyInternalAddress: {{serverListenerName: y}}}}, filterChains: [{{filters: [{Manager}]}}]",
                "internal-address",
                "/address/envoyInternalAddress"
            ),
            Listener("empty name", Chain(Manager).Replace("name: x, ", "", StringComparison.Ordinal), "empty-name", "/name", EnvoySays.Yes),
            Listener(
                "API listener without address",
                $"name: x, apiListener: {{apiListener: {{{Hcm}, {Routes}, httpFilters: [{Router}]}}}}",
                null,
                envoy: EnvoySays.NotAsked
            ),
            Listener("no filter chain", $"name: x, {Address}", "no-filter-chain", "/filterChains"),
            Listener(
                "only a default filter chain",
                $"name: x, {Address}, defaultFilterChain: {{filters: [{Manager}]}}",
                null,
                envoy: EnvoySays.Yes
            ),
            Listener(
                "UDP with filter chains",
                Chain(Manager).Replace("portValue: 10000", "portValue: 10000, protocol: UDP", StringComparison.Ordinal),
                "udp-filter-chains",
                "/filterChains"
            ),
            Listener("filter chain without filters", Chain(""), "!empty-filter-chain", "/filterChains/0/filters", EnvoySays.Yes),
            Listener("unknown network filter", Chain("{name: foo, typedConfig: {'@type': foo.Bar}}"), "!unknown-type", Config),
            Listener(
                "network filter without config",
                Chain("{name: envoy.filters.network.tcp_proxy}"),
                "config-missing",
                "/filterChains/0/filters/0/typedConfig"
            ),
            Listener(
                "listener filter without config",
                Chain(Manager) + ", listenerFilters: [{name: envoy.filters.listener.tls_inspector}]",
                "config-missing",
                "/listenerFilters/0/typedConfig"
            ),
            Listener("connection manager not last", Chain($"{Manager}, {TcpProxy}"), "filter-order", "/filterChains/0/filters/0"),
            Listener(
                "connection limit last",
                Chain(
                    $"{{name: c, typedConfig: {{{Ext}.filters.network.connection_limit.v3.ConnectionLimit, statPrefix: x, maxConnections: 1}}}}"
                ),
                "filter-order",
                "/filterChains/0/filters/0"
            ),
            Listener(
                "unknown HTTP filter",
                Http($"{{name: foo, typedConfig: {{'@type': foo.Bar}}}}, {Router}"),
                "!unknown-type",
                $"{Config}/httpFilters/0/typedConfig"
            ),
            Listener(
                "unknown HTTP filter, optional",
                Http($"{{name: foo, isOptional: true, typedConfig: {{'@type': foo.Bar}}}}, {Router}"),
                "!unknown-type",
                $"{Config}/httpFilters/0/typedConfig",
                EnvoySays.NotAsked
            ),
            Listener(
                "HTTP filter without config",
                Http($"{{name: envoy.filters.http.buffer}}, {Router}"),
                "config-missing",
                $"{Config}/httpFilters/0/typedConfig"
            ),
            Listener("no HTTP filters", Http(""), "!no-http-filters", $"{Config}/httpFilters", EnvoySays.Yes),
            Listener("router not last", Http($"{Router}, {Buffer}"), "router-not-last", $"{Config}/httpFilters/0"),
            Listener("last HTTP filter not terminal", Http(Buffer), "router-not-last", $"{Config}/httpFilters/0"),
            Listener(
                "router disabled",
                Http(Router.Replace("name: router", "name: router, disabled: true", StringComparison.Ordinal)),
                "router-disabled",
                $"{Config}/httpFilters/0/disabled"
            ),
            Listener(
                "HTTP filter from ECDS last",
                Http(
                    $"{{name: e, configDiscovery: {{configSource: {{ads: {{}}}}, typeUrls: ['type.googleapis.com/envoy.extensions.filters.http.router.v3.Router']}}}}"
                ),
                null,
                envoy: EnvoySays.Yes
            ),
            Listener(
                "ECDS without warming and default",
                Http(
                    $"{{name: e, configDiscovery: {{configSource: {{ads: {{}}}}, applyDefaultConfigWithoutWarming: true, typeUrls: ['type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer']}}}}, {Router}"
                ),
                "no-default-config",
                $"{Config}/httpFilters/0/configDiscovery/defaultConfig"
            ),
            Listener(
                "no stat_prefix",
                Chain(
                    $"{{name: hcm, typedConfig: {{{Ext}.filters.network.http_connection_manager.v3.HttpConnectionManager, {Routes}, httpFilters: [{Router}]}}}}"
                ),
                "envoy-constraint",
                $"{Config}/statPrefix"
            ),
            Listener("no routes", Chain($"{{name: hcm, typedConfig: {{{Hcm}, httpFilters: [{Router}]}}}}"), "envoy-constraint", Config),
            Listener(
                "rds without source",
                Chain($"{{name: hcm, typedConfig: {{{Hcm}, rds: {{routeConfigName: r}}, httpFilters: [{Router}]}}}}"),
                "rds-without-source",
                $"{Config}/rds/configSource"
            ),
            Listener(
                "rds without name",
                Chain($"{{name: hcm, typedConfig: {{{Hcm}, rds: {{configSource: {{ads: {{}}}}}}, httpFilters: [{Router}]}}}}"),
                "!rds-without-name",
                $"{Config}/rds/routeConfigName",
                EnvoySays.Yes
            ),
            Listener("HTTP/3 over TCP", Http(Router, ", codecType: HTTP3"), "http3-needs-quic", $"{Config}/codecType"),
            Listener(
                "two ways to the client's address",
                Http(
                    Router,
                    $", xffNumTrustedHops: 1, originalIpDetectionExtensions: [{{name: x, typedConfig: {{{Ext}.http.original_ip_detection.xff.v3.XffConfig}}}}]"
                ),
                "client-address",
                $"{Config}/xffNumTrustedHops"
            ),
            Listener(
                "an upgrade twice",
                Http(Router, ", upgradeConfigs: [{upgradeType: websocket}, {upgradeType: WebSocket}]"),
                "duplicate-upgrade",
                $"{Config}/upgradeConfigs/1"
            ),
            Listener(
                "access log without config",
                Http(Router, ", accessLog: [{name: envoy.access_loggers.file}]"),
                "config-missing",
                $"{Config}/accessLog/0/typedConfig"
            ),
            Listener("equal filter_chain_match", Chains("", ""), "duplicate-filter-chain-match", "/filterChains/1/filterChainMatch"),
            Listener(
                "overlapping server names",
                Chains("serverNames: [a.com, b.com]", "serverNames: [B.com]"),
                "duplicate-filter-chain-match",
                "/filterChains/1/filterChainMatch"
            ),
            Listener(
                "one prefix range in two spellings",
                Chains(
                    "prefixRanges: [{addressPrefix: 10.0.0.0, prefixLen: 8}]",
                    "prefixRanges: [{addressPrefix: 10.1.0.0, prefixLen: 8}]"
                ),
                "duplicate-filter-chain-match",
                "/filterChains/1/filterChainMatch"
            ),
            Listener(
                "overlapping source ports",
                Chains("sourcePorts: [1, 2]", "sourcePorts: [2]"),
                "duplicate-filter-chain-match",
                "/filterChains/1/filterChainMatch"
            ),
            Listener("wildcard and name", Chains("serverNames: ['*.com']", "serverNames: [a.com]"), null, envoy: EnvoySays.Yes),
            Listener(
                "partial wildcard",
                Chains("serverNames: ['a*.com']"),
                "server-name-wildcard",
                "/filterChains/0/filterChainMatch/serverNames/0"
            ),
            Listener(
                "bare wildcard",
                Chains("serverNames: ['*']"),
                "server-name-wildcard",
                "/filterChains/0/filterChainMatch/serverNames/0"
            ),
            Listener(
                "prefix range not IP",
                Chains("prefixRanges: [{addressPrefix: foo, prefixLen: 8}]"),
                "address-not-ip",
                "/filterChains/0/filterChainMatch/prefixRanges/0/addressPrefix"
            ),
            Listener("address_suffix", Chains("addressSuffix: x"), "unimplemented-field", "/filterChains/0/filterChainMatch/addressSuffix"),
            Listener("no certificate", Server("commonTlsContext: {}"), "no-server-certificate", Socket),
            Listener(
                "certificate inline and by SDS",
                Server(
                    "commonTlsContext: {tlsCertificates: [{certificateChain: {inlineString: «CERT»}, privateKey: {inlineString: «KEY»}}], tlsCertificateSdsSecretConfigs: [{name: s, sdsConfig: {ads: {}}}]}"
                ),
                "mixed-certificates",
                Socket
            ),
            Listener(
                "client certificates unverified",
                Server(
                    "requireClientCertificate: true, commonTlsContext: {tlsCertificates: [{certificateChain: {inlineString: «CERT»}, privateKey: {inlineString: «KEY»}}]}"
                ),
                "!client-certificate-unverified",
                "/filterChains/0/transportSocket/typedConfig/requireClientCertificate",
                EnvoySays.Yes
            ),
            Listener(
                "an RBAC range not IP",
                Http(
                    $"{{name: rbac, typedConfig: {{{Ext}.filters.http.rbac.v3.RBAC, rules: {{policies: {{p: {{permissions: [{{any: true}}], principals: [{{directRemoteIp: {{addressPrefix: foo, prefixLen: 8}}}}]}}}}}}}}}}, {Router}"
                ),
                "address-not-ip",
                $"{Config}/httpFilters/0/typedConfig/rules/policies/p/principals/0/directRemoteIp/addressPrefix"
            ),
        ];
    }

    private static CatalogueRow Table(string name, string body, string? code, string pointer = "", EnvoySays envoy = EnvoySays.No) =>
        new(name, "routes", body, code, pointer, envoy);

    private static string Hosts(params string[] hosts) => $"name: r, virtualHosts: [{string.Join(", ", hosts.Select(h => $"{{{h}}}"))}]";

    private static string Host(string domains, string name = "v") =>
        $"name: {name}, domains: [{domains}], routes: [{{match: {{prefix: /}}, directResponse: {{status: 200}}}}]";

    private static string Route(string action, string match = "prefix: /") =>
        Hosts($"name: v, domains: ['*'], routes: [{{match: {{{match}}}, {action}}}]");

    private static string PerFilter(string config) => Route($"route: {{cluster: a}}, typedPerFilterConfig: {{f: {{{config}}}}}");

    private static string TemplateMatch(string template) =>
        $"pathMatchPolicy: {{name: t, typedConfig: {{{Ext}.path.match.uri_template.v3.UriTemplateMatchConfig, pathTemplate: '{template}'}}}}";

    private static string Rewrite(string template, string match) =>
        Route(
            $"route: {{cluster: a, pathRewritePolicy: {{name: t, typedConfig: {{{Ext}.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, pathTemplateRewrite: '{template}'}}}}}}",
            match
        );

    private static string To(string more) => Route($"route: {{cluster: a, {more}}}");

    private static IEnumerable<CatalogueRow> RouteRows()
    {
        const string At = "/virtualHosts/0/routes/0";
        return
        [
            Table("a good table", Hosts(Host("a.com, '*.b.com', 'c.*'"), Host("'*'", "w")), null, envoy: EnvoySays.Yes),
            Table("domain twice", Hosts(Host("x.com"), Host("X.com", "w")), "duplicate-domain", "/virtualHosts/1/domains/0"),
            Table("domain twice in one host", Hosts(Host("x.com, x.com")), "duplicate-domain", "/virtualHosts/0/domains/1"),
            Table("* twice", Hosts(Host("'*'"), Host("'*'", "w")), "duplicate-domain", "/virtualHosts/1/domains/0"),
            Table("virtual host name twice", Hosts(Host("a"), Host("b")), "!duplicate-virtual-host", "/virtualHosts/1/name", EnvoySays.Yes),
            Table("empty domain", Hosts(Host("''")), "!empty-domain", "/virtualHosts/0/domains/0", EnvoySays.Yes),
            Table("a*b.com", Hosts(Host("'a*b.com'")), "!domain-wildcard", "/virtualHosts/0/domains/0", EnvoySays.Yes),
            Table("no virtual hosts", "name: r", "!no-virtual-hosts", "/virtualHosts", EnvoySays.Yes),
            Table(
                "retry_on nonsense",
                To("retryPolicy: {retryOn: '5xx,nonsense'}"),
                "!unknown-retry-condition",
                $"{At}/route/retryPolicy/retryOn",
                EnvoySays.Yes
            ),
            Table("no domains", Hosts("name: v"), "envoy-constraint", "/virtualHosts/0/domains"),
            Table(
                "JWT requirements as the filter has them",
                PerFilter($"{HttpFilter}.jwt_authn.v3.JwtAuthentication"),
                "per-route-config",
                $"{At}/typedPerFilterConfig/f"
            ),
            Table(
                "JWT requirements of a route",
                PerFilter($"{HttpFilter}.jwt_authn.v3.PerRouteConfig, disabled: true"),
                null,
                envoy: EnvoySays.Yes
            ),
            Table(
                "ext_authz as the filter has it",
                PerFilter($"{HttpFilter}.ext_authz.v3.ExtAuthz"),
                "per-route-config",
                $"{At}/typedPerFilterConfig/f"
            ),
            Table(
                "ext_authz as the filter has it, in a wrapper",
                PerFilter(
                    $"'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {{{HttpFilter}.ext_authz.v3.ExtAuthz}}"
                ),
                "per-route-config",
                $"{At}/typedPerFilterConfig/f/config"
            ),
            Table(
                "ext_authz of a route",
                PerFilter($"{HttpFilter}.ext_authz.v3.ExtAuthzPerRoute, disabled: true"),
                null,
                envoy: EnvoySays.Yes
            ),
            Table("CORS of a route", PerFilter($"{HttpFilter}.cors.v3.CorsPolicy"), null, envoy: EnvoySays.Yes),
            Table(
                "fault injection, the same for filter and route",
                PerFilter($"{HttpFilter}.fault.v3.HTTPFault, abort: {{httpStatus: 503, percentage: {{numerator: 1}}}}"),
                null,
                envoy: EnvoySays.Yes
            ),
            Table(
                "local rate limit of a route without tokens",
                PerFilter($"{HttpFilter}.local_ratelimit.v3.LocalRateLimit, statPrefix: x"),
                "token-bucket-missing",
                $"{At}/typedPerFilterConfig/f/tokenBucket"
            ),
            Table(
                "local rate limit of a route",
                PerFilter(
                    $"{HttpFilter}.local_ratelimit.v3.LocalRateLimit, statPrefix: x, tokenBucket: {{maxTokens: 1, fillInterval: 1s}}"
                ),
                null,
                envoy: EnvoySays.Yes
            ),
            Table(
                "rewrite by template without template match",
                Rewrite("/{a}", "prefix: /"),
                "path-rewrite-template",
                $"{At}/route/pathRewritePolicy"
            ),
            Table(
                "rewrite by template with an unknown variable",
                Rewrite("/{b}", TemplateMatch("/{a}")),
                "path-rewrite-template",
                $"{At}/route/pathRewritePolicy/typedConfig/pathTemplateRewrite"
            ),
            Table("rewrite by template", Rewrite("/x/{a}", TemplateMatch("/{a}")), null, envoy: EnvoySays.Yes),
            Table("no match", Hosts("name: v, domains: ['*'], routes: [{route: {cluster: a}}]"), "envoy-constraint", $"{At}/match"),
            Table("empty match", Route("route: {cluster: a}", ""), "envoy-constraint", $"{At}/match"),
            Table("no action", Hosts("name: v, domains: ['*'], routes: [{match: {prefix: /}}]"), "envoy-constraint", At),
            Table("route without cluster", Route("route: {}"), "envoy-constraint", $"{At}/route"),
            Table("empty cluster", Route("route: {cluster: ''}"), "envoy-constraint", $"{At}/route/cluster"),
            Table(
                "empty weighted_clusters",
                Route("route: {weightedClusters: {}}"),
                "envoy-constraint",
                $"{At}/route/weightedClusters/clusters"
            ),
            Table("empty hash_policy", To("hashPolicy: [{}]"), "envoy-constraint", $"{At}/route/hashPolicy/0"),
            Table(
                "retry back-off 0",
                To("retryPolicy: {retryOn: 5xx, retryBackOff: {baseInterval: 0s}}"),
                "envoy-constraint",
                $"{At}/route/retryPolicy/retryBackOff/baseInterval"
            ),
            Table(
                "retry back-off backwards",
                To("retryPolicy: {retryOn: 5xx, retryBackOff: {baseInterval: 2s, maxInterval: 1s}}"),
                "back-off",
                $"{At}/route/retryPolicy/retryBackOff/maxInterval"
            ),
            Table("direct_response code 99", Route("directResponse: {status: 99}"), "envoy-constraint", $"{At}/directResponse/status"),
            Table("redirect code 99", Route("redirect: {responseCode: 99}"), "envoy-constraint", $"{At}/redirect/responseCode"),
            Table("negative timeout", To("timeout: -1s"), "negative-duration", $"{At}/route/timeout"),
            Table(
                "weights sum 0",
                Route("route: {weightedClusters: {clusters: [{name: a, weight: 0}]}}"),
                "weights-sum",
                $"{At}/route/weightedClusters/clusters"
            ),
            Table(
                "weights sum above 32 bit",
                Route("route: {weightedClusters: {clusters: [{name: a, weight: 4294967295}, {name: a, weight: 1}]}}"),
                "weights-sum",
                $"{At}/route/weightedClusters/clusters"
            ),
            Table(
                "weight missing",
                Route("route: {weightedClusters: {clusters: [{name: a, weight: 1}, {name: a}]}}"),
                "weight-missing",
                $"{At}/route/weightedClusters/clusters/1/weight"
            ),
            Table(
                "weighted cluster without name",
                Route("route: {weightedClusters: {clusters: [{weight: 1}]}}"),
                "one-of",
                $"{At}/route/weightedClusters/clusters/0/name"
            ),
            Table(
                "prefix_rewrite and regex_rewrite",
                To("prefixRewrite: /x, regexRewrite: {pattern: {regex: a}, substitution: b}"),
                "rewrite-exclusive",
                $"{At}/route/prefixRewrite"
            ),
            Table(
                "substitution of a missing group",
                To(@"regexRewrite: {pattern: {regex: (a)}, substitution: '\2'}"),
                "!substitution-group",
                $"{At}/route/regexRewrite/substitution",
                EnvoySays.Yes
            ),
            Table("mirror without cluster", To("requestMirrorPolicies: [{}]"), "one-of", $"{At}/route/requestMirrorPolicies/0/cluster"),
            Table(
                "mirror to cluster and header",
                To("requestMirrorPolicies: [{cluster: a, clusterHeader: x}]"),
                "one-of",
                $"{At}/route/requestMirrorPolicies/0/cluster"
            ),
            Table(
                "upgrade twice",
                To("upgradeConfigs: [{upgradeType: websocket}, {upgradeType: websocket}]"),
                "duplicate-upgrade",
                $"{At}/route/upgradeConfigs/1"
            ),
            Table(
                "connect_config on WebSocket",
                To("upgradeConfigs: [{upgradeType: websocket, connectConfig: {}}]"),
                "connect-config",
                $"{At}/route/upgradeConfigs/0/connectConfig"
            ),
            Table(
                "routes and matcher",
                Hosts(
                    "name: v, domains: ['*'], routes: [{match: {prefix: /}, directResponse: {status: 200}}], matcher: {onNoMatch: {action: {name: route, typedConfig: {'@type': type.googleapis.com/envoy.config.route.v3.Route, match: {prefix: /}, directResponse: {status: 200}}}}}"
                ),
                "one-of",
                "/virtualHosts/0/matcher"
            ),
            Table(
                "add :path",
                Route("route: {cluster: a}, requestHeadersToAdd: [{header: {key: ':path', value: x}}]"),
                "protected-header",
                $"{At}/requestHeadersToAdd/0/header/key"
            ),
            Table(
                "add Host to a response",
                Route("route: {cluster: a}, responseHeadersToAdd: [{header: {key: Host, value: x}}]"),
                "protected-header",
                $"{At}/responseHeadersToAdd/0/header/key"
            ),
            Table(
                "remove host",
                Route("route: {cluster: a}, requestHeadersToRemove: [x, host]"),
                "protected-header",
                $"{At}/requestHeadersToRemove/1"
            ),
            Table(
                "remove :status",
                "responseHeadersToRemove: [':status'], " + Hosts(Host("'*'")),
                "protected-header",
                "/responseHeadersToRemove/0"
            ),
            Table(
                "append and append_action",
                Route(
                    "route: {cluster: a}, requestHeadersToAdd: [{header: {key: x, value: y}, append: true, appendAction: OVERWRITE_IF_EXISTS_OR_ADD}]"
                ),
                "one-of",
                $"{At}/requestHeadersToAdd/0/append"
            ),
            Table(
                "direct_response body of 4096",
                Route($"directResponse: {{status: 200, body: {{inlineString: {new string('b', 4096)}}}}}"),
                null,
                envoy: EnvoySays.Yes
            ),
            Table(
                "direct_response body of 4097",
                Route($"directResponse: {{status: 200, body: {{inlineString: {new string('b', 4097)}}}}}"),
                "direct-response-body",
                $"{At}/directResponse/body"
            ),
            Table(
                "direct_response body of 2049 two-byte characters",
                Route($"directResponse: {{status: 200, body: {{inlineString: {new string('ü', 2049)}}}}}"),
                "direct-response-body",
                $"{At}/directResponse/body"
            ),
            Table(
                "direct_response body within a raised limit",
                "maxDirectResponseBodySizeBytes: 6000, "
                    + Route($"directResponse: {{status: 200, body: {{inlineString: {new string('b', 5000)}}}}}"),
                null,
                envoy: EnvoySays.Yes
            ),
            Table(
                "prefix without slash",
                Route("route: {cluster: a}", "prefix: x"),
                "!unreachable-path",
                $"{At}/match/prefix",
                EnvoySays.Yes
            ),
            Table(
                "path with query",
                Route("route: {cluster: a}", "path: '/x?a=b'"),
                "!unreachable-path",
                $"{At}/match/path",
                EnvoySays.Yes
            ),
            Table(
                "path_separated_prefix that ends with a slash",
                Route("route: {cluster: a}", "pathSeparatedPrefix: /x/"),
                "envoy-constraint",
                $"{At}/match/pathSeparatedPrefix"
            ),
            .. PathTemplateRows(),
        ];
    }

    private static IEnumerable<CatalogueRow> PathTemplateRows()
    {
        string[] good = ["/a/{x}", "/a/*", "/**", "/**/a", "/{x=**}", "/{x=a/*}/b", "/{x=**}.ts", "/*/**/c", "/%20", "/***", "/a*"];
        string[] bad =
        [
            "a/{x}",
            "/{x=*}/{x}",
            "/{1x}",
            "/a//b",
            "/a?b",
            "/{x",
            "/{a}/{b=**}/{c}",
            "/{x=foo/**}/{y}",
            "/{y=**}/*",
            "/a/{x}{y}",
            "/ä",
            "/{verylongvariablename12345}",
            "/{}",
            "/{a}/{b}/{c}/{d}/{e}/{f}",
        ];
        static string Template(string template) => Route("route: {cluster: a}", TemplateMatch(template));
        return
        [
            .. good.Select(t => Table("path template " + t, Template(t), null, envoy: EnvoySays.Yes)),
            .. bad.Select(t =>
                Table(
                    "path template " + t,
                    Template(t),
                    "invalid-path-template",
                    "/virtualHosts/0/routes/0/match/pathMatchPolicy/typedConfig/pathTemplate"
                )
            ),
        ];
    }

    private static CatalogueRow Secret(string name, string body, string? code, string pointer = "", EnvoySays envoy = EnvoySays.No) =>
        new(name, "secret", body, code, pointer, envoy);

    private static IEnumerable<CatalogueRow> SecretRows()
    {
        static string Pair(string chain, string key, string more = "") =>
            $"name: s, tlsCertificate: {{certificateChain: {{inlineString: {chain}}}, privateKey: {{inlineString: {key}}}{more}}}";
        static string Staple(string response) => Pair("«CERT»", "«KEY»", $", ocspStaple: {{inlineBytes: {response}}}");
        return
        [
            Secret("certificate and key", Pair("«CERT»", "«KEY»"), null, envoy: EnvoySays.Yes),
            Secret("ECDSA certificate and key", Pair("«EC-CERT»", "«EC-KEY»"), null, envoy: EnvoySays.Yes),
            Secret("certificate with words before it", Pair("«WORDS+CERT»", "«KEY»"), null, envoy: EnvoySays.Yes),
            Secret("key after a certificate", Pair("«CERT»", "«CERT+KEY»"), null, envoy: EnvoySays.Yes),
            Secret(
                "certificate from a file of the proxy",
                "name: s, tlsCertificate: {certificateChain: {filename: /c}, privateKey: {filename: /k}}",
                null,
                envoy: EnvoySays.NotAsked
            ),
            Secret("OCSP staple", Staple("«OCSP»"), null, envoy: EnvoySays.Yes),
            Secret("OCSP staple that is none", Staple("aGVsbG8="), "invalid-ocsp-staple", "/tlsCertificate/ocspStaple"),
            Secret("OCSP staple of another certificate", Staple("«OTHER-OCSP»"), "invalid-ocsp-staple", "/tlsCertificate/ocspStaple"),
            Secret("OCSP staple of two certificates", Staple("«TWO-OCSP»"), "invalid-ocsp-staple", "/tlsCertificate/ocspStaple"),
            Secret("OCSP staple of a failure", Staple("«FAILED-OCSP»"), "invalid-ocsp-staple", "/tlsCertificate/ocspStaple"),
            Secret("certificate unparsable", Pair("x", "«KEY»"), "invalid-certificate", "/tlsCertificate/certificateChain"),
            Secret(
                "a damaged second certificate",
                Pair("«CERT+DAMAGED»", "«KEY»"),
                "invalid-certificate",
                "/tlsCertificate/certificateChain"
            ),
            Secret("key unparsable", Pair("«CERT»", "x"), "invalid-private-key", "/tlsCertificate/privateKey"),
            Secret("key of another certificate", Pair("«CERT»", "«OTHER-KEY»"), "key-mismatch", "/tlsCertificate/privateKey"),
            Secret("key of another kind", Pair("«CERT»", "«EC-KEY»"), "key-mismatch", "/tlsCertificate/privateKey"),
            Secret("RSA key of 1024 bits", Pair("«WEAK-CERT»", "«WEAK-KEY»"), "weak-key", "/tlsCertificate/certificateChain"),
            Secret(
                "encrypted key with its password",
                Pair("«CERT»", "«LOCKED-KEY»", ", password: {inlineString: opensesame}"),
                null,
                envoy: EnvoySays.Yes
            ),
            Secret("encrypted key without password", Pair("«CERT»", "«LOCKED-KEY»"), "encrypted-private-key", "/tlsCertificate/privateKey"),
            Secret(
                "encrypted key with a wrong password",
                Pair("«CERT»", "«LOCKED-KEY»", ", password: {inlineString: wrong}"),
                "encrypted-private-key",
                "/tlsCertificate/privateKey"
            ),
            Secret(
                "key missing",
                "name: s, tlsCertificate: {certificateChain: {inlineString: «CERT»}}",
                "incomplete-certificate",
                "/tlsCertificate/privateKey"
            ),
            Secret("key empty", Pair("«CERT»", "''"), "incomplete-certificate", "/tlsCertificate/privateKey"),
            Secret(
                "certificate missing",
                "name: s, tlsCertificate: {privateKey: {inlineString: «KEY»}}",
                "incomplete-certificate",
                "/tlsCertificate/certificateChain"
            ),
            Secret(
                "certificate_chain without specifier",
                "name: s, tlsCertificate: {certificateChain: {}, privateKey: {inlineString: «KEY»}}",
                "envoy-constraint",
                "/tlsCertificate/certificateChain"
            ),
            Secret("secret without type", "name: s", "!secret-without-type", "", EnvoySays.NotAsked),
            Secret("CA", "name: s, validationContext: {trustedCa: {inlineString: «CERT»}}", null, envoy: EnvoySays.Yes),
            Secret(
                "CA unparsable",
                "name: s, validationContext: {trustedCa: {inlineString: x}}",
                "invalid-certificate",
                "/validationContext/trustedCa"
            ),
            Secret(
                "CA empty",
                "name: s, validationContext: {trustedCa: {inlineString: ''}}",
                "empty-data-source",
                "/validationContext/trustedCa"
            ),
            Secret(
                "SAN regex",
                "name: s, validationContext: {trustedCa: {inlineString: «CERT»}, matchTypedSubjectAltNames: [{sanType: DNS, matcher: {safeRegex: {regex: '('}}}]}",
                "invalid-regex",
                "/validationContext/matchTypedSubjectAltNames/0/matcher/safeRegex/regex"
            ),
            Secret(
                "bad SPKI",
                "name: s, validationContext: {trustedCa: {inlineString: «CERT»}, verifyCertificateSpki: [short]}",
                "envoy-constraint",
                "/validationContext/verifyCertificateSpki/0"
            ),
            Secret(
                "SAN without CA",
                "name: s, validationContext: {matchTypedSubjectAltNames: [{sanType: DNS, matcher: {exact: a}}]}",
                "!san-without-ca",
                "/validationContext/matchTypedSubjectAltNames",
                EnvoySays.NotAsked
            ),
        ];
    }

    private static IEnumerable<CatalogueRow> RegexRows()
    {
        string[] good =
        [
            "(?P<n>a)",
            "(?<n>a)",
            @"\d\w\s\b\B\A\z",
            @"\p{Greek}",
            "[[:alpha:]]",
            "(?i)a",
            "(?i-s:a)",
            "(?U)a*",
            @"\C",
            @"\Qa.b\E",
            @"\xAF",
            @"\012",
            "a]",
            "[]a]",
            "a{,5}",
            "a{",
            @"\a\f\t\n\r\v",
            @"\\",
            "(?i:É)",
            "^$",
            "a??",
            "(?m)^a$",
            "x{0}",
            @"\Q",
            "[[.a.]]",
            "[a&&b]",
            @"\-\:\/\_",
            @"\<",
            "a{50}",
            "é{2}",
            @"\0",
        ];
        string[] bad =
        [
            "(a",
            "a{1001}",
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<!a)",
            @"(a)\1",
            "(?''n''a)",
            @"\Z",
            @"\p{IsGreek}",
            "[[:nope:]]",
            "a**",
            "a*+",
            "a++",
            "a{2}{3}",
            "(?x)a",
            @"\x1",
            @"\8",
            "a|*b",
            "*a",
            "[a",
            "[b-a]",
            @"[a-\d]",
            "a{5,2}",
            "{1}",
            @"\e",
            @"\cA",
            @"\u0041",
            "(?>a)",
            "(?#c)a",
            "(",
            ")",
            @"\",
            "((a{100}){10}){10}",
            @"\h",
            @"\R",
            @"\X",
            @"\K",
            @"\G",
            @"[\b]",
            "[^]",
            @"\E",
            "(?P=n)",
            @"\k<n>",
            "(?(1)a)",
            @"\N",
            @"\p",
            @"\p{}",
            @"\pX",
            @"\é",
        ];
        static string Regex(string regex) => Route("route: {cluster: a}", $"safeRegex: {{regex: '{regex}'}}");
        const string At = "/virtualHosts/0/routes/0/match/safeRegex/regex";
        return
        [
            .. good.Select(r => Table("regex " + r, Regex(r), null, envoy: EnvoySays.Yes)),
            .. bad.Select(r => Table("regex " + r, Regex(r), "invalid-regex", At)),
            Table(@"regex \x{10FFFF}", Regex(@"\x{10FFFF}"), "invalid-regex", At, EnvoySays.NewestNo),
            Table("empty regex", Regex(""), "envoy-constraint", At),
            .. new[] { "a{101}", "[^/]{1,40}", "(foo|bar|baz){20}" }.Select(r => Table("big regex " + r, Regex(r), "!regex-size", At)),
        ];
    }

    private static IEnumerable<CatalogueRow> FormatRows()
    {
        string[] good =
        [
            "%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%",
            "100%%",
            "%REQ(A?B):10%",
            "a %DURATION% b %UPSTREAM_HOST%",
            "%DYNAMIC_METADATA(a:b)%",
            "%GRPC_STATUS(CAMEL_STRING)%",
        ];
        string[] unknown = ["%NOPE%", "a %DURATIONS% b"];
        string[] bad = ["100%", "100% sure", "%REQ%", "%duration%", "%REQ(X%", "%GRPC_STATUS(CAMEL)%"];
        static string Header(string value) =>
            Route($"route: {{cluster: a}}, requestHeadersToAdd: [{{header: {{key: x, value: '{value}'}}}}]");
        static string Log(string format) =>
            Http(
                Router,
                $", accessLog: [{{name: l, typedConfig: {{{Ext}.access_loggers.stream.v3.StdoutAccessLog, logFormat: {{{format}}}}}}}]"
            );
        const string LogAt = "/filterChains/0/filters/0/typedConfig/accessLog/0/typedConfig/logFormat";
        return
        [
            .. good.Select(f => Table("header format " + f, Header(f), null, envoy: EnvoySays.Yes)),
            .. unknown.Select(f =>
                Table(
                    "header format " + f,
                    Header(f),
                    "unknown-command-operator",
                    "/virtualHosts/0/routes/0/requestHeadersToAdd/0/header/value"
                )
            ),
            .. bad.Select(f =>
                Table(
                    "header format " + f,
                    Header(f),
                    "invalid-command-operator",
                    "/virtualHosts/0/routes/0/requestHeadersToAdd/0/header/value"
                )
            ),
            Listener(
                "access log format",
                Log("textFormatSource: {inlineString: '%NOPE%'}"),
                "unknown-command-operator",
                $"{LogAt}/textFormatSource/inlineString"
            ),
            Listener(
                "access log JSON format",
                Log("jsonFormat: {a: {b: ['%NOPE%']}, '%X%': '%DURATION%'}"),
                "unknown-command-operator",
                $"{LogAt}/jsonFormat/a/b/0"
            ),
        ];
    }

    private static Dictionary<string, string> MakePems()
    {
        static string Certificate(CertificateRequest request)
        {
            using var certificate = request.CreateSelfSigned(
                new DateTimeOffset(2020, 1, 1, 0, 0, 0, TimeSpan.Zero),
                new DateTimeOffset(2120, 1, 1, 0, 0, 0, TimeSpan.Zero)
            );
            return certificate.ExportCertificatePem() + "\n";
        }

        static string Signed(RSA key) =>
            Certificate(new CertificateRequest("CN=a", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1));

        using var rsa = RSA.Create(2048);
        using var other = RSA.Create(2048);
        using var weak = RSA.Create(1024);
        using var ec = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var (certificate, ecCertificate) = (Signed(rsa), Certificate(new CertificateRequest("CN=b", ec, HashAlgorithmName.SHA256)));
        var key = rsa.ExportPkcs8PrivateKeyPem() + "\n";
        const string Damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        var encryption = new PbeParameters(PbeEncryptionAlgorithm.Aes256Cbc, HashAlgorithmName.SHA256, 1000);
        return new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CERT"] = certificate,
            ["KEY"] = key,
            ["EC-CERT"] = ecCertificate,
            ["EC-KEY"] = ec.ExportECPrivateKeyPem() + "\n",
            ["OTHER-KEY"] = other.ExportRSAPrivateKeyPem() + "\n",
            ["WEAK-CERT"] = Signed(weak),
            ["WEAK-KEY"] = weak.ExportPkcs8PrivateKeyPem() + "\n",
            ["LOCKED-KEY"] = rsa.ExportEncryptedPkcs8PrivateKeyPem("opensesame", encryption) + "\n",
            ["CERT+DAMAGED"] = certificate + Damaged,
            ["WORDS+CERT"] = "words\n" + certificate,
            ["CERT+KEY"] = certificate + key,
            ["CERT+WORDS+EC"] = $"{certificate}words\n{ecCertificate}",
            ["OCSP"] = OcspResponse(certificate),
            ["OTHER-OCSP"] = OcspResponse(ecCertificate),
            ["TWO-OCSP"] = OcspResponse(certificate, ecCertificate),
            ["FAILED-OCSP"] = Convert.ToBase64String([0x30, 0x03, 0x0a, 0x01, 0x06]),
        };
    }

    /// <summary>An OCSP response in base64 that says of certificates that they are good; nobody signed it.</summary>
    private static string OcspResponse(params string[] pems)
    {
        var now = new DateTimeOffset(2025, 1, 1, 0, 0, 0, TimeSpan.Zero);
        var data = new AsnWriter(AsnEncodingRules.DER);
        using (data.PushSequence())
        {
            using (data.PushSequence())
            {
                using (data.PushSequence(Context(2)))
                {
                    data.WriteOctetString(new byte[20]);
                }

                data.WriteGeneralizedTime(now, omitFractionalSeconds: true);
                using (data.PushSequence())
                {
                    foreach (var pem in pems)
                    {
                        using var certificate = X509Certificate2.CreateFromPem(pem);
                        using (data.PushSequence())
                        {
                            using (data.PushSequence())
                            {
                                WriteAlgorithm("1.3.14.3.2.26");
                                data.WriteOctetString(new byte[20]);
                                data.WriteOctetString(new byte[20]);
                                data.WriteInteger(certificate.SerialNumberBytes.Span);
                            }

                            data.WriteNull(new Asn1Tag(TagClass.ContextSpecific, 0));
                            data.WriteGeneralizedTime(now, omitFractionalSeconds: true);
                        }
                    }
                }
            }

            WriteAlgorithm("1.2.840.113549.1.1.11");
            data.WriteBitString(new byte[256]);
        }

        var response = new AsnWriter(AsnEncodingRules.DER);
        using (response.PushSequence())
        {
            response.WriteEncodedValue([0x0a, 0x01, 0x00]);
            using (response.PushSequence(Context(0)))
            using (response.PushSequence())
            {
                response.WriteObjectIdentifier("1.3.6.1.5.5.7.48.1.1");
                response.WriteOctetString(data.Encode());
            }
        }

        return Convert.ToBase64String(response.Encode());

        void WriteAlgorithm(string oid)
        {
            using (data.PushSequence())
            {
                data.WriteObjectIdentifier(oid);
                data.WriteNull();
            }
        }

        static Asn1Tag Context(int value) => new(TagClass.ContextSpecific, value, isConstructed: true);
    }
}
