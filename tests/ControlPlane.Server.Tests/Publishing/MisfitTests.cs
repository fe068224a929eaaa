using System.Text;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Tests.Security;

namespace ControlPlane.Server.Tests.Publishing;

/// <summary>Resources that exist, and are not what they are named for.</summary>
public sealed class MisfitTests
{
    private const string Ext = "'@type': type.googleapis.com/envoy.extensions";
    private static readonly TestCertificates Certificates = new();
    private static readonly (string Certificate, string Key) Server = Certificates.Issue(names => names.AddDnsName("a"));

    /// <summary>Everything that a secret can hold, friendly and raw.</summary>
    private static readonly Dictionary<string, string> Secrets = new(StringComparer.Ordinal)
    {
        ["friendly certificate"] = Secret($"certificate: {{chain: {Inline(Server.Certificate)}, privateKey: {Inline(Server.Key)}}}"),
        ["friendly validationContext"] = Secret($"validationContext: {{ca: {Inline(Certificates.AuthorityPem)}}}"),
        ["friendly generic"] = Secret("generic: {inline: value}"),
        ["raw certificate"] = RawSecret("tlsCertificate: {certificateChain: {filename: /a}, privateKey: {filename: /b}}"),
        ["raw validationContext"] = RawSecret("validationContext: {trustedCa: {filename: /a}}"),
        ["raw sessionTicketKeys"] = RawSecret($"sessionTicketKeys: {{keys: [{{inlineBytes: {Convert.ToBase64String(new byte[80])}}}]}}"),
        ["raw generic"] = RawSecret("genericSecret: {secret: {inlineString: x}}"),
    };

    /// <summary>Every place that names a secret: what it needs, the object, and where in it the name stands.</summary>
    private static readonly Dictionary<string, (string Needs, string Manifest, string Pointer)> Users = new(StringComparer.Ordinal)
    {
        ["certificate of a raw listener"] = (
            "certificate",
            RawListener($"tlsCertificateSdsSecretConfigs: [{Sds}]", ""),
            "/spec/resource/filterChains/0/transportSocket/typedConfig/commonTlsContext/tlsCertificateSdsSecretConfigs/0/name"
        ),
        ["session ticket keys of a raw listener"] = (
            "sessionTicketKeys",
            RawListener(
                "tlsCertificates: [{certificateChain: {filename: /a}, privateKey: {filename: /b}}]",
                $", sessionTicketKeysSdsSecretConfig: {Sds}"
            ),
            "/spec/resource/filterChains/0/transportSocket/typedConfig/sessionTicketKeysSdsSecretConfig/name"
        ),
        ["CA of an overlay"] = (
            "validationContext",
            Overlay($"validationContextSdsSecretConfig: {Sds}"),
            "/spec/envoy/transportSocket/typedConfig/commonTlsContext/validationContextSdsSecretConfig/name"
        ),
        ["CA of a combined context"] = (
            "validationContext",
            Overlay($"combinedValidationContext: {{defaultValidationContext: {{}}, validationContextSdsSecretConfig: {Sds}}}"),
            "/spec/envoy/transportSocket/typedConfig/commonTlsContext/combinedValidationContext/validationContextSdsSecretConfig/name"
        ),
        ["client certificate of an overlay"] = (
            "certificate",
            Overlay($"validationContext: {{trustedCa: {{filename: /a}}}}, tlsCertificateSdsSecretConfigs: [{Sds}]"),
            "/spec/envoy/transportSocket/typedConfig/commonTlsContext/tlsCertificateSdsSecretConfigs/0/name"
        ),
        ["token of a filter"] = (
            "generic",
            $$"""
            kind: EnvoyResource
            metadata: {name: user}
            spec:
              resource:
                '@type': type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
                name: user
                typedConfig:
                  {{Ext}}.filters.http.credential_injector.v3.CredentialInjector
                  credential:
                    name: generic
                    typedConfig: { {{Ext}}.http.injected_credentials.generic.v3.Generic, credential: {{Sds}} }
            """,
            "/spec/resource/typedConfig/credential/typedConfig/credential/name"
        ),
    };

    private const string Sds = "{name: s, sdsConfig: {ads: {}, resourceApiVersion: V3}}";

    public static TheoryData<string, string> Pairs =>
        [.. Users.Keys.SelectMany(user => Secrets.Keys.Select(secret => new TheoryDataRow<string, string>(user, secret)))];

    [Theory]
    [MemberData(nameof(Pairs))]
    public void A_secret_is_taken_where_it_holds_what_is_needed_and_nowhere_else(string user, string secret)
    {
        var (needs, manifest, pointer) = Users[user];
        var outcome = Plans.Make(Plans.Nothing, Secrets[secret], manifest).Outcome;
        if (secret.EndsWith(' ' + needs, StringComparison.Ordinal))
        {
            Assert.IsType<ChangeApplied>(outcome);
            return;
        }

        var problem = Assert.Single(Assert.IsType<ChangeInvalid>(outcome).Problems);
        Assert.Equal((1, pointer, "secret-of-another-kind"), (problem.Index, problem.Problem.Pointer, problem.Problem.Code));
        Assert.Contains($"('{needs}') is needed", problem.Problem.Message, StringComparison.Ordinal);
    }

    /// <summary>Each user with a secret that fits and one that does not; of another object kind it would be another object.</summary>
    public static TheoryData<string, string, string> Changes =>
        [
            .. from user in Users
            from good in Secrets.Keys
            where good.EndsWith(' ' + user.Value.Needs, StringComparison.Ordinal)
            from bad in Secrets.Keys
            where !bad.EndsWith(' ' + user.Value.Needs, StringComparison.Ordinal) && bad[0] == good[0]
            select new TheoryDataRow<string, string, string>(user.Key, good, bad),
        ];

    [Theory]
    [MemberData(nameof(Changes))]
    public void A_secret_that_a_message_names_cannot_become_of_another_kind(string user, string good, string bad)
    {
        var (_, manifest, pointer) = Users[user];
        var before = Plans.Make(Plans.Nothing, Secrets[good], manifest);
        Assert.IsType<ChangeApplied>(before.Outcome);

        var invalid = Assert.IsType<ChangeInvalid>(Plans.Make(before.After, Secrets[bad]).Outcome);
        Assert.True(invalid.Conflict);
        var problem = Assert.Single(invalid.Problems);
        Assert.Equal("secret-of-another-kind", problem.Problem.Code);
        Assert.Contains($" names this at {pointer}: ", problem.Problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_source_of_configuration_is_opened_over_the_bootstraps_cluster_and_over_none_of_ours()
    {
        var ours = Assert.Single(
            Assert.IsType<ChangeInvalid>(Plans.Make(Plans.Nothing, Upstream("http1"), SourceOver("api")).Outcome).Problems
        );
        Assert.Equal("bootstrap-cluster-needed", ours.Problem.Code);
        Assert.Equal(
            "/spec/resource/edsClusterConfig/edsConfig/apiConfigSource/grpcServices/0/envoyGrpc/clusterName",
            ours.Problem.Pointer
        );
        Assert.Contains("Upstream/api", ours.Problem.Message, StringComparison.Ordinal);

        var unknown = Assert.Single(Assert.IsType<ChangeInvalid>(Plans.Make(Plans.Nothing, SourceOver("elsewhere")).Outcome).Problems);
        Assert.Equal("reference-not-found", unknown.Problem.Code);
        Assert.Contains("of its own bootstrap", unknown.Problem.Message, StringComparison.Ordinal);
        Assert.IsType<ChangeApplied>(Plans.Passing(Plans.Nothing, SourceOver("elsewhere")).Outcome);

        Assert.Empty(Assert.IsType<ChangeApplied>(Plans.Make(Plans.Nothing, SourceOver("xds_cluster")).Outcome).Warnings);
    }

    [Fact]
    public void An_upstream_that_takes_a_name_from_the_bootstrap_is_in_conflict_with_a_source_of_configuration()
    {
        var before = Plans.Passing(Plans.Nothing, SourceOver("api"));
        var invalid = Assert.IsType<ChangeInvalid>(Plans.Make(before.After, Upstream("http1")).Outcome);
        Assert.True(invalid.Conflict);
        Assert.Contains("EnvoyResource/raw names this at", Assert.Single(invalid.Problems).Problem.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("http1", "accessLogs: [{grpc: {upstream: api}}]", "http: {routeTable: r}", "/spec/accessLogs/0/grpc/upstream")]
    [InlineData("tcp", "accessLogs: [{grpc: {upstream: api}}]", "tcp: {upstream: api}", "/spec/accessLogs/0/grpc/upstream")]
    [InlineData("http1", "", "http: {routeTable: r, tracing: {upstream: api}}", "/spec/http/tracing/upstream")]
    [InlineData("grpc", "accessLogs: [{grpc: {upstream: api}}]", "http: {routeTable: r, tracing: {upstream: api}}", null)]
    [InlineData("http2", "accessLogs: [{grpc: {upstream: api}}]", "http: {routeTable: r, tracing: {upstream: api}}", null)]
    public void Logs_and_traces_sent_by_gRPC_to_an_upstream_that_speaks_another_protocol_are_warned_of(
        string protocol,
        string logs,
        string traffic,
        string? pointer
    )
    {
        var plan = Plans.Make(Plans.Nothing, Upstream(protocol), RouteTable, Listener(logs, traffic));
        var applied = Assert.IsType<ChangeApplied>(plan.Outcome);
        if (pointer is null)
        {
            Assert.Empty(applied.Warnings);
            return;
        }

        var warning = Assert.Single(applied.Warnings);
        Assert.Equal((2, pointer, "grpc-needs-http2"), (warning.Index, warning.Problem.Pointer, warning.Problem.Code));
        Assert.Contains("Set /spec/protocol of Upstream/api to 'grpc'", warning.Problem.Message, StringComparison.Ordinal);

        var again = Assert.IsType<ChangeApplied>(Plans.Make(plan.After, Upstream(protocol, "connectTimeout: 7s")).Outcome);
        Assert.Contains("Listener/l names this at", Assert.Single(again.Warnings).Problem.Message, StringComparison.Ordinal);
    }

    private const string RouteTable = """
        kind: RouteTable
        metadata: {name: r}
        spec: {virtualHosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, upstream: api}]}]}
        """;

    private static string Listener(string logs, string traffic) =>
        $$"""
            kind: Listener
            metadata: {name: l}
            spec:
              address: 127.0.0.1
              port: 80
              {{logs}}
              {{traffic}}
            """;

    private static string Upstream(string protocol, string more = "") =>
        $$"""
            kind: Upstream
            metadata: {name: api}
            spec:
              protocol: {{protocol}}
              endpoints: {source: registration}
              {{more}}
            """;

    private static string SourceOver(string cluster) =>
        $$"""
            kind: EnvoyResource
            metadata: {name: raw}
            spec:
              resource:
                '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster
                name: raw
                type: EDS
                edsClusterConfig:
                  edsConfig:
                    resourceApiVersion: V3
                    apiConfigSource: {apiType: GRPC, transportApiVersion: V3, grpcServices: [{envoyGrpc: {clusterName: {{cluster}} } }]}
            """;

    private static string Overlay(string tls) =>
        $$"""
            kind: Upstream
            metadata: {name: user}
            spec:
              endpoints: {source: registration}
              envoy:
                transportSocket:
                  name: envoy.transport_sockets.tls
                  typedConfig: { {{Ext}}.transport_sockets.tls.v3.UpstreamTlsContext, sni: a, commonTlsContext: { {{tls}} } }
            """;

    private static string RawListener(string tls, string context) =>
        $$"""
            kind: EnvoyResource
            metadata: {name: user}
            spec:
              resource:
                '@type': type.googleapis.com/envoy.config.listener.v3.Listener
                name: user
                address: {socketAddress: {address: 127.0.0.1, portValue: 80} }
                filterChains:
                  - filters: [{name: echo, typedConfig: { {{Ext}}.filters.network.echo.v3.Echo } }]
                    transportSocket:
                      name: envoy.transport_sockets.tls
                      typedConfig: { {{Ext}}.transport_sockets.tls.v3.DownstreamTlsContext, commonTlsContext: { {{tls}} } {{context}} }
            """;

    private static string Secret(string content) => $"kind: Secret\nmetadata: {{name: s}}\nspec: {{{content}}}";

    private static string RawSecret(string content) =>
        $$"""
            kind: EnvoyResource
            metadata: {name: s}
            spec: {resource: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, name: s, {{content}} } }
            """;

    private static string Inline(string text) => $"{{inline: {System.Text.Json.JsonSerializer.Serialize(text)}}}";
}
