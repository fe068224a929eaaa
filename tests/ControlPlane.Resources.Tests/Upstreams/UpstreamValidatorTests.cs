using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Tests.Upstreams;

public sealed class UpstreamValidatorTests
{
    /// <summary>An upstream that is in order; rows add what is not.</summary>
    private const string Endpoints = "endpoints: { static: [{ address: 10.0.1.1, port: 80 }, { address: 10.0.1.2, port: 80 }] }";

    public static TheoryData<string, string, string> Faults() =>
        new()
        {
            { "connectTimeout: 0s", "/spec/connectTimeout", "out-of-range" },
            { "connectTimeout: 1000h", "/spec/connectTimeout", "out-of-range" },
            { "bufferLimitBytes: 0", "/spec/bufferLimitBytes", "out-of-range" },
            { "protocol: auto", "/spec/protocol", "auto-needs-tls" },
            { "protocol: tcp\nhttp: { idleTimeout: 1s }", "/spec/http", "not-for-tcp" },
            { "http: { maxRequestsPerConnection: 0 }", "/spec/http/maxRequestsPerConnection", "out-of-range" },
            { "http: { maxConnectionDuration: 0s }", "/spec/http/maxConnectionDuration", "out-of-range" },
            { "http: { maxConcurrentStreams: 100 }", "/spec/http/maxConcurrentStreams", "not-for-http1" },
            { "http: { keepalive: {} }", "/spec/http/keepalive", "not-for-http1" },
            { "protocol: http2\nhttp: { maxConcurrentStreams: 0 }", "/spec/http/maxConcurrentStreams", "out-of-range" },
            { "protocol: http2\nhttp: { keepalive: { interval: 0s } }", "/spec/http/keepalive/interval", "out-of-range" },
            { "protocol: http2\nhttp: { initialStreamWindowBytes: 1 }", "/spec/http/initialStreamWindowBytes", "out-of-range" },
            { "keepalive: { time: 1500ms }", "/spec/keepalive/time", "out-of-range" },
            { "keepalive: { probes: 0 }", "/spec/keepalive/probes", "out-of-range" },
            {
                "circuitBreakers: { default: { maxConnectionPools: 0 } }",
                "/spec/circuitBreakers/default/maxConnectionPools",
                "out-of-range"
            },
            {
                "circuitBreakers: { default: { retryBudget: { percent: 101 } } }",
                "/spec/circuitBreakers/default/retryBudget/percent",
                "out-of-range"
            },
            { "circuitBreakers: { high: { maxRetries: 3, retryBudget: {} } }", "/spec/circuitBreakers/high", "too-many-alternatives" },
            // load balancing
            { "loadBalancing: { leastRequest: {} }", "/spec/loadBalancing/leastRequest", "not-for-this-policy" },
            {
                "loadBalancing: { policy: leastRequest, leastRequest: { choiceCount: 1 } }",
                "/spec/loadBalancing/leastRequest/choiceCount",
                "out-of-range"
            },
            { "loadBalancing: { policy: maglev, slowStart: { window: 1m } }", "/spec/loadBalancing/slowStart", "not-for-this-policy" },
            { "loadBalancing: { slowStart: { window: 0s } }", "/spec/loadBalancing/slowStart/window", "out-of-range" },
            { "loadBalancing: { slowStart: { window: 1m, aggression: 0 } }", "/spec/loadBalancing/slowStart/aggression", "out-of-range" },
            {
                "loadBalancing: { policy: ringHash, ringHash: { minimumRingSize: 2000, maximumRingSize: 1000 } }",
                "/spec/loadBalancing/ringHash/minimumRingSize",
                "ring-size-order"
            },
            {
                "loadBalancing: { policy: ringHash, ringHash: { maximumRingSize: 8388609 } }",
                "/spec/loadBalancing/ringHash/maximumRingSize",
                "out-of-range"
            },
            {
                "loadBalancing: { policy: maglev, maglev: { tableSize: 65536 } }",
                "/spec/loadBalancing/maglev/tableSize",
                "maglev-table-not-prime"
            },
            { "loadBalancing: { policy: maglev, maglev: { tableSize: 5000013 } }", "/spec/loadBalancing/maglev/tableSize", "out-of-range" },
            { "loadBalancing: { policy: maglev, hashBalanceFactor: 99 }", "/spec/loadBalancing/hashBalanceFactor", "out-of-range" },
            { "loadBalancing: { hashBalanceFactor: 150 }", "/spec/loadBalancing/hashBalanceFactor", "not-for-this-policy" },
            { "loadBalancing: { overprovisioningFactor: 0 }", "/spec/loadBalancing/overprovisioningFactor", "out-of-range" },
            { "loadBalancing: { locality: { zoneAware: {} } }", "/spec/loadBalancing/locality/zoneAware", "not-for-this-mode" },
            {
                "loadBalancing: { locality: { weights: [{ locality: {}, weight: 1 }] } }",
                "/spec/loadBalancing/locality/weights",
                "not-for-this-mode"
            },
            {
                "loadBalancing: { locality: { mode: weighted, weights: [{ locality: { zone: a }, weight: 0 }] } }",
                "/spec/loadBalancing/locality/weights/0/weight",
                "out-of-range"
            },
            {
                "loadBalancing: { locality: { mode: weighted, weights: [{ locality: { zone: a }, weight: 1 }, { locality: { zone: a }, weight: 2 }] } }",
                "/spec/loadBalancing/locality/weights/1/locality",
                "duplicate-locality"
            },
            {
                "loadBalancing: { locality: { mode: weighted, weights: [{ locality: { zone: a }, weight: 4294967295 }, { locality: { zone: b }, weight: 1 }] } }",
                "/spec/loadBalancing/locality/weights",
                "weight-sum"
            },
            { "loadBalancing: { subsets: { selectors: [] } }", "/spec/loadBalancing/subsets/selectors", "selector-required" },
            {
                "loadBalancing: { subsets: { selectors: [{ keys: [] }] } }",
                "/spec/loadBalancing/subsets/selectors/0/keys",
                "selector-keys"
            },
            {
                "loadBalancing: { subsets: { selectors: [{ keys: [a, a] }] } }",
                "/spec/loadBalancing/subsets/selectors/0/keys",
                "selector-keys"
            },
            {
                "loadBalancing: { subsets: { selectors: [{ keys: [a, b] }, { keys: [b, a] }] } }",
                "/spec/loadBalancing/subsets/selectors/1/keys",
                "duplicate-selector"
            },
            {
                "loadBalancing: { subsets: { selectors: [{ keys: [a] }], fallback: defaultSubset } }",
                "/spec/loadBalancing/subsets/defaultSubset",
                "default-subset"
            },
            {
                "loadBalancing: { subsets: { selectors: [{ keys: [a] }], defaultSubset: { a: b } } }",
                "/spec/loadBalancing/subsets/defaultSubset",
                "default-subset"
            },
            // TLS
            { "tls: { sni: a.example.com }", "/spec/tls", "ca-required" },
            { "tls: { sni: a.example.com, ca: system, insecureSkipVerify: true }", "/spec/tls", "too-many-alternatives" },
            { "tls: { sni: a.example.com, ca: system, caSecret: internal }", "/spec/tls", "too-many-alternatives" },
            { "tls: { ca: system }", "/spec/tls", "san-required" },
            { "tls: { sni: 10.0.1.1, ca: system }", "/spec/tls/sni", "sni-is-ip" },
            { "tls: { sni: '*.example.com', ca: system }", "/spec/tls/sni", "invalid-sni" },
            { "tls: { sni: 'a.example.com:443', ca: system }", "/spec/tls/sni", "invalid-sni" },
            {
                "tls: { insecureSkipVerify: true, subjectAltNames: [{ dns: a.example.com }] }",
                "/spec/tls/subjectAltNames",
                "san-without-ca"
            },
            { "tls: { ca: system, subjectAltNames: [{}] }", "/spec/tls/subjectAltNames/0", "missing-alternative" },
            { "tls: { ca: system, subjectAltNames: [{ ip: here }] }", "/spec/tls/subjectAltNames/0/ip", "invalid-address" },
            {
                "tls: { sni: a.example.com, ca: system, minVersion: tls13, maxVersion: tls12 }",
                "/spec/tls/minVersion",
                "tls-version-order"
            },
            { "protocol: auto\ntls: { sni: a.example.com, ca: system, alpn: [h2] }", "/spec/tls/alpn", "alpn-of-auto" },
            { "tls: { sni: a.example.com, ca: system, alpn: [''] }", "/spec/tls/alpn/0", "out-of-range" },
            // health
            { "health: { checks: [{}] }", "/spec/health/checks/0", "missing-alternative" },
            { "health: { checks: [{ tcp: {}, http: { path: / } }] }", "/spec/health/checks/0", "too-many-alternatives" },
            { "health: { authority: envoy, checks: [{ tcp: {} }, { tcp: {} }] }", "/spec/health/checks", "one-check" },
            { "health: { checks: [{ tcp: {}, interval: 100ms, edgeInterval: 100ms }] }", "/spec/health/checks/0/interval", "out-of-range" },
            { "health: { checks: [{ tcp: {}, edgeInterval: 20ms }] }", "/spec/health/checks/0/edgeInterval", "out-of-range" },
            { "health: { checks: [{ tcp: {}, interval: 20s, timeout: 11s }] }", "/spec/health/checks/0/timeout", "out-of-range" },
            { "health: { checks: [{ tcp: {}, fall: 1 }] }", "/spec/health/checks/0/fall", "out-of-range" },
            { "health: { quorum: { downShare: 0.5 } }", "/spec/health/quorum/downShare", "out-of-range" },
            { "health: { quorum: { upShare: 0.4 } }", "/spec/health/quorum/upShare", "out-of-range" },
            { "health: { quorum: { mode: lax } }", "/spec/health/quorum/mode", "unknown-word" },
            { "health: { veto: { minimumRequests: 5 } }", "/spec/health/veto/minimumRequests", "out-of-range" },
            { "health: { veto: { successRate: 90 } }", "/spec/health/veto/successRate", "out-of-range" },
            { "health: { veto: { waitWindows: 7 } }", "/spec/health/veto/waitWindows", "out-of-range" },
            { "health: { outlier: { deviations: 1 } }", "/spec/health/outlier/deviations", "out-of-range" },
            { "health: { outlier: { gap: 0.3 } }", "/spec/health/outlier/downGap", "out-of-range" },
            { "health: { outlier: { minimumRequests: 1 } }", "/spec/health/outlier/minimumRequests", "out-of-range" },
            { "health: { outlier: { downRate: 50 } }", "/spec/health/outlier/downRate", "out-of-range" },
            { "health: { outlier: { policy: envoys } }", "/spec/health/outlier/policy", "unknown-word" },
            {
                "health: { outlier: { policy: envoy, successRate: { minimumHosts: 1 } } }",
                "/spec/health/outlier/successRate/minimumHosts",
                "out-of-range"
            },
            { "health: { hold: { active: 0s } }", "/spec/health/hold/active", "out-of-range" },
            { "health: { hold: { passive: 10m } }", "/spec/health/hold/maxPassive", "out-of-range" },
            { "health: { flapDamping: { suppress: 1000 } }", "/spec/health/flapDamping/suppress", "out-of-range" },
            { "health: { flapDamping: { reuse: 3000 } }", "/spec/health/flapDamping/reuse", "out-of-range" },
            { "health: { flapDamping: { ceiling: 1000 } }", "/spec/health/flapDamping/ceiling", "out-of-range" },
            { "health: { guards: { velocityPercent: 0 } }", "/spec/health/guards/velocityPercent", "out-of-range" },
            { "health: { guards: { massPercent: 101 } }", "/spec/health/guards/massPercent", "out-of-range" },
            { "health: { rampTime: 2h }", "/spec/health/rampTime", "out-of-range" },
            { "health: { authority: envoy, onTotalFailure: spray }", "/spec/health/onTotalFailure", "needs-central-health" },
            { "health: { authority: envoy, quorum: { mode: strict } }", "/spec/health/quorum", "needs-central-health" },
            { "health: { checks: [{ grpc: {} }] }", "/spec/health/checks/0/grpc", "grpc-check-needs-http2" },
            { "protocol: tcp\nhealth: { checks: [{ http: { path: / } }] }", "/spec/health/checks/0/http", "http-check-on-tcp" },
            { "health: { checks: [{ http: { path: readyz } }] }", "/spec/health/checks/0/http/path", "invalid-path" },
            { "health: { checks: [{ http: { path: '/a b' } }] }", "/spec/health/checks/0/http/path", "invalid-path" },
            { "health: { checks: [{ http: { path: /, host: 'http://a' } }] }", "/spec/health/checks/0/http/host", "invalid-host" },
            { "health: { checks: [{ http: { path: /, method: CONNECT } }] }", "/spec/health/checks/0/http/method", "invalid-method" },
            {
                "health: { checks: [{ http: { path: /, headers: { Host: a } } }] }",
                "/spec/health/checks/0/http/headers/Host",
                "host-header"
            },
            {
                "health: { checks: [{ http: { path: /, headers: { ':path': a } } }] }",
                "/spec/health/checks/0/http/headers/:path",
                "invalid-header-name"
            },
            {
                "health: { checks: [{ http: { path: /, headers: { a: \"b\\nc\" } } }] }",
                "/spec/health/checks/0/http/headers/a",
                "invalid-header-value"
            },
            {
                "health: { checks: [{ http: { path: /, expectedStatuses: ['600'] } }] }",
                "/spec/health/checks/0/http/expectedStatuses/0",
                "invalid-status"
            },
            {
                "health: { checks: [{ http: { path: /, expectedStatuses: ['300-200'] } }] }",
                "/spec/health/checks/0/http/expectedStatuses/0",
                "invalid-status"
            },
            {
                "health: { checks: [{ http: { path: /, retriableStatuses: [5xx] } }] }",
                "/spec/health/checks/0/http/retriableStatuses/0",
                "invalid-status"
            },
            { "health: { checks: [{ tcp: { send: {} } }] }", "/spec/health/checks/0/tcp/send", "missing-alternative" },
            { "health: { checks: [{ tcp: { receive: [{ hex: abc }] } }] }", "/spec/health/checks/0/tcp/receive/0/hex", "invalid-hex" },
            { "health: { checks: [{ tcp: {}, interval: 0s }] }", "/spec/health/checks/0/interval", "out-of-range" },
            { "health: { checks: [{ tcp: {}, rise: 0 }] }", "/spec/health/checks/0/rise", "out-of-range" },
            {
                "health: { authority: envoy, checks: [{ tcp: {}, interval: 500h, timeout: 500h, fall: 4294967295 }] }",
                "/spec/health/checks/0/fall",
                "out-of-range"
            },
            { "health: { checks: [{ tcp: {}, fall: 0 }] }", "/spec/health/checks/0/fall", "out-of-range" },
            { "health: { checks: [{ tcp: {}, edgeInterval: 6s }] }", "/spec/health/checks/0/edgeInterval", "edge-interval-order" },
            { "health: { checks: [{ tcp: {}, port: 70000 }] }", "/spec/health/checks/0/port", "out-of-range" },
            { "health: { panicThresholdPercent: 101 }", "/spec/health/panicThresholdPercent", "out-of-range" },
            { "health: { minimumHealthyPercent: 101 }", "/spec/health/minimumHealthyPercent", "out-of-range" },
            {
                "health: { outlierDetection: { consecutiveGatewayFailures: 0 } }",
                "/spec/health/outlierDetection/consecutiveGatewayFailures",
                "out-of-range"
            },
            {
                "health: { outlierDetection: { baseEjectionTime: 5m } }",
                "/spec/health/outlierDetection/maxEjectionTime",
                "ejection-time-order"
            },
            {
                "health: { outlierDetection: { successRate: { minimumHosts: 2 } } }",
                "/spec/health/outlierDetection/successRate/minimumHosts",
                "out-of-range"
            },
            {
                "health: { outlierDetection: { failurePercentage: { threshold: 0 } } }",
                "/spec/health/outlierDetection/failurePercentage/threshold",
                "out-of-range"
            },
            {
                "health: { minimumHealthyPercent: 0, outlierDetection: { maxEjectionPercent: 100 } }",
                "/spec/health/outlierDetection/maxEjectionPercent",
                "ejects-everything"
            },
            {
                "health: { outlierDetection: { maxEjectionPercent: 50 } }",
                "/spec/health/outlierDetection/maxEjectionPercent",
                "ejects-below-minimum"
            },
        };

    [Theory]
    [MemberData(nameof(Faults))]
    public void A_fault_is_refused_where_it_stands(string yaml, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.Upstream, $"{yaml}\n{Endpoints}", pointer, code, ProblemSeverity.Error);

    [Theory]
    [InlineData("envoyStrictDns")]
    [InlineData("envoyLogicalDns")]
    public void Central_health_of_endpoints_that_every_proxy_resolves_is_refused(string source) =>
        SpecText.HasProblem(
            ResourceKind.Upstream,
            $"health: {{ authority: central }}\nendpoints: {{ source: {source}, hosts: [{{ address: a.example.com, port: 80 }}] }}",
            "/spec/health/authority",
            "central-needs-endpoints",
            ProblemSeverity.Error
        );

    public static TheoryData<string, string, string> EndpointFaults() =>
        new()
        {
            { "{ static: [{ address: 10.0.1.1, port: 0 }] }", "/spec/endpoints/static/0/port", "out-of-range" },
            { "{ static: [{ address: 10.0.1.1, port: 70000 }] }", "/spec/endpoints/static/0/port", "out-of-range" },
            { "{ static: [{ address: cart.local, port: 80 }] }", "/spec/endpoints/static/0/address", "host-name-not-resolved" },
            { "{ static: [{ address: '[::1]', port: 80 }] }", "/spec/endpoints/static/0/address", "invalid-address" },
            { "{ static: [{ address: 'fe80::1%eth0', port: 80 }] }", "/spec/endpoints/static/0/address", "invalid-address" },
            { "{ static: [{ address: 10.0.1, port: 80 }] }", "/spec/endpoints/static/0/address", "invalid-address" },
            { "{ static: [{ address: 010.0.1.1, port: 80 }] }", "/spec/endpoints/static/0/address", "invalid-address" },
            { "{ static: [{ address: '10.0.1.1:80', port: 80 }] }", "/spec/endpoints/static/0/address", "invalid-address" },
            { "{ static: [{ address: 0.0.0.0, port: 80 }] }", "/spec/endpoints/static/0/address", "unspecified-address" },
            { "{ static: [{ address: '::', port: 80 }] }", "/spec/endpoints/static/0/address", "unspecified-address" },
            { "{ static: [{ address: 'unix:run/app.sock' }] }", "/spec/endpoints/static/0/address", "invalid-address" },
            { "{ static: [{ address: 'unix:/run/app.sock', port: 80 }] }", "/spec/endpoints/static/0/port", "port-of-unix-socket" },
            { "{ static: [{ address: 10.0.1.1, port: 80, weight: 0 }] }", "/spec/endpoints/static/0/weight", "out-of-range" },
            { "{ static: [{ address: 10.0.1.1, port: 80, priority: 129 }] }", "/spec/endpoints/static/0/priority", "out-of-range" },
            { "{ static: [{ address: 10.0.1.1, port: 80, hostname: 'a b' }] }", "/spec/endpoints/static/0/hostname", "invalid-host" },
            {
                "{ static: [{ address: 10.0.1.1, port: 80, healthCheck: { port: 0 } }] }",
                "/spec/endpoints/static/0/healthCheck/port",
                "out-of-range"
            },
            {
                "{ static: [{ address: 10.0.1.1, port: 80, healthCheck: { address: a.local } }] }",
                "/spec/endpoints/static/0/healthCheck/address",
                "invalid-address"
            },
            {
                "{ static: [{ address: 'unix:/a', healthCheck: { port: 80 } }] }",
                "/spec/endpoints/static/0/healthCheck/port",
                "port-of-unix-socket"
            },
            {
                "{ static: [{ address: 10.0.1.1, port: 80, additionalAddresses: [{ address: 10.0.1.1, port: 80 }] }] }",
                "/spec/endpoints/static/0/additionalAddresses/0",
                "duplicate-address"
            },
            {
                "{ static: [{ address: 10.0.1.1, port: 80, additionalAddresses: [{ address: 'unix:/a', port: 80 }] }] }",
                "/spec/endpoints/static/0/additionalAddresses/0/address",
                "invalid-address"
            },
            {
                "{ static: [{ address: 10.0.1.1, port: 80 }, { address: 10.0.1.2, port: 80 }, { address: 10.0.1.1, port: 80, weight: 2 }] }",
                "/spec/endpoints/static/2",
                "duplicate-endpoint"
            },
            {
                "{ static: [{ address: '::1', port: 80 }, { address: '0:0::1', port: 80 }] }",
                "/spec/endpoints/static/1",
                "duplicate-endpoint"
            },
            {
                "{ static: [{ address: 10.0.1.1, port: 80, weight: 4294967295 }, { address: 10.0.1.2, port: 80 }] }",
                "/spec/endpoints/static",
                "weight-sum"
            },
            { "{ source: registration, static: [{ address: 10.0.1.1, port: 80 }] }", "/spec/endpoints/static", "not-for-this-source" },
            { "{ source: registration, hosts: [{ address: a.local, port: 80 }] }", "/spec/endpoints/hosts", "not-for-this-source" },
            { "{ source: registration, dns: { refreshRate: 1m } }", "/spec/endpoints/dns", "not-for-this-source" },
            { "{ source: envoyStrictDns }", "/spec/endpoints/hosts", "host-required" },
            { "{ source: dns }", "/spec/endpoints/hosts", "host-required" },
            { "{ source: dns, hosts: [{ address: a.local }] }", "/spec/endpoints/hosts/0/port", "port-required" },
            { "{ source: dns, hosts: [{ address: 10.0.1.1 }] }", "/spec/endpoints/hosts/0/port", "out-of-range" },
            {
                "{ source: dns, hosts: [{ address: a.local, port: 80 }], dns: { respectTtl: true } }",
                "/spec/endpoints/dns",
                "not-for-this-source"
            },
            {
                "{ source: envoyStrictDns, hosts: [{ address: a.local, port: 80 }], resolution: { minInterval: 9s } }",
                "/spec/endpoints/resolution",
                "not-for-this-source"
            },
            {
                "{ source: dns, hosts: [{ address: a.local, port: 80 }], resolution: { minInterval: 500ms } }",
                "/spec/endpoints/resolution/minInterval",
                "out-of-range"
            },
            {
                "{ source: dns, hosts: [{ address: a.local, port: 80 }], resolution: { minInterval: 2m } }",
                "/spec/endpoints/resolution/maxInterval",
                "out-of-range"
            },
            {
                "{ source: dns, hosts: [{ address: a.local, port: 80 }], resolution: { servers: [ns.local] } }",
                "/spec/endpoints/resolution/servers/0",
                "invalid-address"
            },
            {
                "{ source: dns, hosts: [{ address: a.local, port: 80 }, { address: a.local, port: 80 }] }",
                "/spec/endpoints/hosts/1",
                "duplicate-endpoint"
            },
            {
                "{ source: envoyStrictDns, hosts: [{ address: a.local, port: 80 }], dns: { refreshRate: 1ms } }",
                "/spec/endpoints/dns/refreshRate",
                "out-of-range"
            },
            {
                "{ source: envoyStrictDns, hosts: [{ address: a.local, port: 80, additionalAddresses: [{ address: 10.0.1.1, port: 80 }] }] }",
                "/spec/endpoints/hosts/0/additionalAddresses",
                "not-for-this-source"
            },
            { "{ source: envoyStrictDns, hosts: [{ address: 'unix:/a' }] }", "/spec/endpoints/hosts/0/address", "invalid-address" },
            {
                "{ source: envoyStrictDns, hosts: [{ address: 'a..local', port: 80 }] }",
                "/spec/endpoints/hosts/0/address",
                "invalid-address"
            },
            {
                "{ source: envoyLogicalDns, hosts: [{ address: a.local, port: 80 }, { address: b.local, port: 80 }] }",
                "/spec/endpoints/hosts",
                "logical-dns-one-host"
            },
        };

    [Theory]
    [MemberData(nameof(EndpointFaults))]
    public void A_fault_of_an_endpoint_is_refused_where_it_stands(string yaml, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.Upstream, $"endpoints: {yaml}", pointer, code, ProblemSeverity.Error);

    public static TheoryData<string, string, string> Doubts() =>
        new()
        {
            { "endpoints: {}", "/spec/endpoints/static", "no-endpoints" },
            {
                "endpoints: { source: envoyStrictDns, hosts: [{ address: a.local, port: 80 }], dns: { refreshRate: 500ms } }",
                "/spec/endpoints/dns/refreshRate",
                "dns-refresh-too-fast"
            },
            { "endpoints: { static: [{ address: 10.0.1.1, port: 80, priority: 1 }] }", "/spec/endpoints/static", "priority-gap" },
            {
                "loadBalancing: { policy: random }\nendpoints: { static: [{ address: 10.0.1.1, port: 80, weight: 2 }, { address: 10.0.1.2, port: 80 }] }",
                "/spec/endpoints/static",
                "weights-ignored"
            },
            {
                $"circuitBreakers: {{ default: {{ maxRequests: 0 }} }}\n{Endpoints}",
                "/spec/circuitBreakers/default/maxRequests",
                "blocks-everything"
            },
            { $"tls: {{ sni: a.example.com, ca: system, minVersion: tls11 }}\n{Endpoints}", "/spec/tls/minVersion", "tls-version-old" },
            { $"tls: {{ sni: a.example.com, ca: system, alpn: [h2] }}\n{Endpoints}", "/spec/tls/alpn/0", "alpn-of-another-protocol" },
            {
                $"protocol: grpc\ntls: {{ sni: a.example.com, ca: system, alpn: [h2, http/1.1] }}\n{Endpoints}",
                "/spec/tls/alpn/1",
                "alpn-of-another-protocol"
            },
            {
                $"health: {{ authority: envoy, panicThresholdPercent: 80 }}\n{Endpoints}",
                "/spec/health/panicThresholdPercent",
                "panic-threshold-inert"
            },
            {
                $"health: {{ checks: [{{ tcp: {{}}, timeout: 5s }}] }}\n{Endpoints}",
                "/spec/health/checks/0/timeout",
                "timeout-above-interval"
            },
            { $"health: {{ checks: [{{ tcp: {{}}, interval: 25s }}] }}\n{Endpoints}", "/spec/health/checks/0", "slow-detection" },
            { $"health: {{ panicThresholdPercent: 40 }}\n{Endpoints}", "/spec/health/panicThresholdPercent", "panic-overrides-verdicts" },
            {
                $"health: {{ authority: envoy, checks: [{{ tcp: {{}}, fall: 1 }}] }}\n{Endpoints}",
                "/spec/health/checks/0/fall",
                "single-failure"
            },
            {
                $"health: {{ checks: [{{ tcp: {{}}, interval: 500ms, edgeInterval: 500ms, timeout: 400ms }}] }}\n{Endpoints}",
                "/spec/health/checks/0/interval",
                "interval-short"
            },
            {
                $"health: {{ checks: [{{ http: {{ path: /, codec: http2 }} }}] }}\n{Endpoints}",
                "/spec/health/checks/0/http/codec",
                "check-disagrees-with-traffic"
            },
            {
                $"health: {{ outlierDetection: {{ successRate: {{ stdevFactor: 1000 }} }} }}\n{Endpoints}",
                "/spec/health/outlierDetection/successRate/stdevFactor",
                "success-rate-eager"
            },
            {
                $"health: {{ outlierDetection: {{ maxEjectionPercent: 10 }} }}\n{Endpoints}",
                "/spec/health/outlierDetection/maxEjectionPercent",
                "ejection-inert"
            },
            {
                $"health: {{ authority: envoy, minimumHealthyPercent: 10, outlierDetection: {{ maxEjectionPercent: 60 }} }}\n{Endpoints}",
                "/spec/health/outlierDetection/maxEjectionPercent",
                "ejection-causes-panic"
            },
        };

    [Theory]
    [MemberData(nameof(Doubts))]
    public void What_is_doubtful_is_taken_with_a_warning(string yaml, string pointer, string code)
    {
        SpecText.HasProblem(ResourceKind.Upstream, yaml, pointer, code, ProblemSeverity.Warning);
        SpecText.Good<UpstreamSpec>(ResourceKind.Upstream, yaml);
    }

    [Theory]
    [InlineData("endpoints: { source: registration }")]
    [InlineData(
        "endpoints: { static: [{ address: '2001:db8::1', port: 65535 }, { address: 'unix:/run/app.sock' }, { address: 'unix:@app' }] }"
    )]
    [InlineData("endpoints: { static: [{ address: 10.0.1.1, port: 80 }, { address: 10.0.1.1, port: 81 }] }")]
    [InlineData(
        "endpoints: { source: dns, hosts: [{ address: a.example.com, port: 80 }, { address: _http._tcp.example.com }], resolution: { minInterval: 1s, maxInterval: 5m, addresses: all, servers: [10.0.0.53, '10.0.0.54:5353', '2001:db8::53', '[2001:db8::53]:5353'] } }"
    )]
    [InlineData(
        "endpoints: { source: envoyStrictDns, hosts: [{ address: a.example.com, port: 80 }, { address: _srv.b-c.local., port: 80 }, { address: 10.0.1.1, port: 80 }] }"
    )]
    [InlineData(
        "protocol: tcp\nendpoints: { static: [{ address: 10.0.1.1, port: 5432, healthCheck: { port: 8008 } }] }\nhealth: { checks: [{ http: { path: / } }] }"
    )]
    public void What_is_in_order_is_taken_without_a_word(string yaml) => Assert.Empty(SpecText.ProblemsOf(ResourceKind.Upstream, yaml));

    [Fact]
    public void All_faults_are_told_at_once() =>
        Assert.Equal(
            ["/spec/connectTimeout", "/spec/endpoints/static/0/port", "/spec/tls", "/spec/health/checks/0/rise"],
            SpecText
                .ProblemsOf(
                    ResourceKind.Upstream,
                    """
                    connectTimeout: 0s
                    tls: { sni: a.example.com }
                    endpoints: { static: [{ address: 10.0.1.1, port: 0 }] }
                    health: { checks: [{ tcp: {}, rise: 0 }] }
                    """
                )
                .Select(p => p.Pointer)
        );

    [Fact]
    public void An_upstream_refers_to_its_groups_and_secrets()
    {
        var spec = SpecText.Good<UpstreamSpec>(
            ResourceKind.Upstream,
            $"nodeGroups: [edge]\ntls: {{ sni: a.example.com, caSecret: internal-ca, certificateSecret: client }}\n{Endpoints}"
        );
        Assert.Equal(
            [
                ("/spec/nodeGroups/0", new ResourceKey(ResourceKind.NodeGroup, "edge")),
                ("/spec/tls/caSecret", new ResourceKey(ResourceKind.Secret, "internal-ca")),
                ("/spec/tls/certificateSecret", new ResourceKey(ResourceKind.Secret, "client")),
            ],
            spec.References().Select(r => (r.Pointer, r.Target))
        );
    }

    [Fact]
    public void A_certificate_is_not_taken_in_the_place_of_a_CA()
    {
        var spec = SpecText.Good<UpstreamSpec>(ResourceKind.Upstream, $"tls: {{ sni: a.example.com, caSecret: internal-ca }}\n{Endpoints}");
        var reference = spec.References().Single();
        var certificate = SpecText.Good<SecretSpec>(ResourceKind.Secret, "certificate: { chain: { file: a }, privateKey: { file: b } }");
        var authorities = SpecText.Good<SecretSpec>(ResourceKind.Secret, "validationContext: { ca: { file: a } }");
        Assert.Equal(
            ("/spec/tls/caSecret", "secret-of-another-kind"),
            (reference.Misfit(certificate)!.Pointer, reference.Misfit(certificate)!.Code)
        );
        Assert.Null(reference.Misfit(authorities));
    }

    [Fact]
    public void A_long_value_is_not_repeated_whole_in_the_message()
    {
        var problem = Assert.Single(
            SpecText.ProblemsOf(ResourceKind.Endpoint, $"address: {new string('x', 10_000)}\nport: 80"),
            p => p.Severity == ProblemSeverity.Error
        );
        Assert.True(problem.Message.Length < 500);
    }
}
