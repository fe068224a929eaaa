using System.Diagnostics;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Validation;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Envoy.Extensions.Upstreams.Http.V3;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using GeoHeaders = Envoy.Extensions.GeoipProviders.Common.V3.CommonGeoipProviderConfig.Types.GeolocationHeadersToAdd;
using HttpProtocolOptions = Envoy.Extensions.Upstreams.Http.V3.HttpProtocolOptions;
using NetworkFilter = Envoy.Config.Listener.V3.Filter;
using RetryPolicy = Envoy.Config.Route.V3.RetryPolicy;

namespace ControlPlane.Core.Tests.Compilation;

public sealed class ProtoValidatorTests
{
    public static TheoryData<string, IMessage, string, string> Faults =>
        new()
        {
            { "string min_len", new Cluster(), "/name", "value length must be at least 1 characters" },
            {
                "duration gt",
                new Cluster { Name = "a", ConnectTimeout = new Duration() },
                "/connectTimeout",
                "value must be greater than 0s"
            },
            {
                "enum defined_only",
                new Cluster { Name = "a", LbPolicy = (Cluster.Types.LbPolicy)99 },
                "/lbPolicy",
                "value must be one of the defined enum values"
            },
            {
                "uint lte",
                new SocketAddress { Address = "1.2.3.4", PortValue = 70000 },
                "/portValue",
                "value must be less than or equal to 65535"
            },
            {
                "oneof required",
                new SocketAddress { Address = "1.2.3.4" },
                "",
                "port_specifier: value is required; give one of portValue, namedPort"
            },
            {
                "message required",
                new HealthCheck
                {
                    Timeout = Duration(1),
                    Interval = Duration(1),
                    TcpHealthCheck = new(),
                },
                "/unhealthyThreshold",
                "value is required"
            },
            {
                "wrapper gte",
                new LbEndpoint { LoadBalancingWeight = 0 },
                "/loadBalancingWeight",
                "value must be greater than or equal to 1"
            },
            {
                "repeated min_items",
                new VirtualHost { Name = "a" },
                "/domains",
                "value must contain at least 1 item(s)"
            },
            {
                "repeated items",
                new RetryPolicy
                {
                    RetriableStatusCodes = { },
                    RetryBackOff = new RetryPolicy.Types.RetryBackOff { BaseInterval = new Duration() },
                },
                "/retryBackOff/baseInterval",
                "value must be greater than 0s"
            },
            {
                "header name",
                new HeaderValueOption { Header = new HeaderValue { Key = "a\nb" } },
                "/header/key",
                "value holds a line break or NUL"
            },
            {
                "strict header name",
                new GeoHeaders { City = "a b" },
                "/city",
                "value is not a valid header name"
            },
            {
                "string in items",
                new CertificateValidationContext { VerifyCertificateSpki = { "short" } },
                "/verifyCertificateSpki/0",
                "value length must be at least 44"
            },
            {
                "inside Any",
                new NetworkFilter { Name = "hcm", TypedConfig = EnvoyTypes.Pack(new HttpConnectionManager { RouteConfig = new() }) },
                "/typedConfig/statPrefix",
                "value length must be at least 1 characters"
            },
            {
                "inside a map of Any",
                new Cluster
                {
                    Name = "a",
                    TypedExtensionProtocolOptions =
                    {
                        ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"] = EnvoyTypes.Pack(new HttpProtocolOptions()),
                    },
                },
                "/typedExtensionProtocolOptions/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "upstream_protocol_options: value is required"
            },
            {
                "any undecodable",
                new NetworkFilter
                {
                    Name = "x",
                    TypedConfig = new Any
                    {
                        TypeUrl = EnvoyTypes.UrlPrefix + Cluster.Descriptor.FullName,
                        Value = ByteString.CopyFromUtf8("zzzz"),
                    },
                },
                "/typedConfig",
                "not a message of type"
            },
        };

    [Theory]
    [MemberData(nameof(Faults))]
    public void Rules_of_the_descriptors_are_enforced(string rule, IMessage message, string pointer, string text)
    {
        Assert.NotEmpty(rule);
        var problems = Validate(message);
        Assert.Contains(problems, p => p.Pointer == pointer && p.Message.Contains(text, StringComparison.Ordinal));
    }

    [Fact]
    public void A_member_of_a_oneof_that_is_not_chosen_is_not_checked() => Assert.Empty(Validate(new RouteMatch { Path = "/x" }));

    [Fact]
    public void An_Any_of_an_unknown_type_is_a_warning()
    {
        var problem = Assert.Single(
            Validate(
                new NetworkFilter
                {
                    Name = "x",
                    TypedConfig = new Any { TypeUrl = "type.googleapis.com/foo.Bar" },
                }
            )
        );
        Assert.Equal((ProblemSeverity.Warning, "unknown-type", "/typedConfig"), (problem.Severity, problem.Code, problem.Pointer));
    }

    [Fact]
    public void An_endless_packing_is_answered()
    {
        var any = new Any { TypeUrl = "type.googleapis.com/foo.Bar" };
        for (var i = 0; i < 10_000; i++)
        {
            any = EnvoyTypes.Pack(new TypedExtensionConfig { Name = "x", TypedConfig = any });
        }

        Assert.Equal("too-deep", Assert.Single(Validate(any)).Code);
    }

    [Fact]
    public void Every_message_of_the_api_is_found_by_its_name_and_its_rules_compile()
    {
        var files = typeof(Cluster)
            .Assembly.GetTypes()
            .Where(t => t.Name.EndsWith("Reflection", StringComparison.Ordinal))
            .Select(t => (FileDescriptor)t.GetProperty("Descriptor")!.GetValue(null)!);
        var messages = files.SelectMany(f => f.MessageTypes).SelectMany(WithNested).Where(m => m.ClrType is not null).ToArray();
        Assert.InRange(messages.Length, 1000, 10_000);
        foreach (var message in messages)
        {
            Assert.Same(message, EnvoyTypes.FindByName(message.FullName));
            ProtoValidator.Validate(message.Parser.ParseFrom(ByteString.Empty), new ProblemCollector());
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("..")]
    [InlineData("foo.Bar")]
    [InlineData("envoy.config.cluster.v3.cluster")]
    [InlineData("Envoy.Config.Cluster.V3.Cluster")]
    [InlineData("envoy.config.cluster.v3.Cluster.Types.LbPolicy")]
    [InlineData("google.protobuf.Nothing")]
    [InlineData("x, System.Private.CoreLib")]
    public void Names_that_the_api_does_not_have_are_not_found(string name) => Assert.Null(EnvoyTypes.FindByName(name));

    /// <summary>A bound far above what is measured (docs/performance.md), to catch work that is not cached.</summary>
    [Fact]
    public void Checking_an_assignment_of_ten_endpoints_takes_microseconds()
    {
        var assignment = new ClusterLoadAssignment { ClusterName = "a", Endpoints = { new LocalityLbEndpoints() } };
        for (uint i = 0; i < 10; i++)
        {
            assignment
                .Endpoints[0]
                .LbEndpoints.Add(
                    new LbEndpoint
                    {
                        Endpoint = new Envoy.Config.Endpoint.V3.Endpoint
                        {
                            Address = new Address
                            {
                                SocketAddress = new SocketAddress { Address = $"10.0.0.{i}", PortValue = 80 },
                            },
                        },
                        LoadBalancingWeight = 1,
                    }
                );
        }

        Assert.Empty(Validate(assignment));
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < 1000; i++)
        {
            Validate(assignment);
        }

        Assert.InRange(Stopwatch.GetElapsedTime(start).TotalMilliseconds / 1000, 0, 1);
    }

    private static IEnumerable<MessageDescriptor> WithNested(MessageDescriptor message) =>
        message.NestedTypes.SelectMany(WithNested).Prepend(message);

    private static Duration Duration(int seconds) => new() { Seconds = seconds };

    private static IReadOnlyList<ValidationProblem> Validate(IMessage message)
    {
        var problems = new ProblemCollector();
        ProtoValidator.Validate(message, problems);
        return problems.Problems;
    }
}
