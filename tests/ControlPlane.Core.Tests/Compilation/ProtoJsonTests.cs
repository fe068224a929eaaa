using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Validation;
using CsCheck;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Config.Listener.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Tests.Compilation;

public sealed class ProtoJsonTests
{
    private static readonly MessageDescriptor[] Roots =
    [
        Cluster.Descriptor,
        ClusterLoadAssignment.Descriptor,
        Listener.Descriptor,
        RouteConfiguration.Descriptor,
        Secret.Descriptor,
        HttpConnectionManager.Descriptor,
    ];

    /// <summary>Random messages of the API: any field, set at random.</summary>
    private static readonly Gen<IMessage> Messages = Gen.Select(Gen.Int[0, Roots.Length - 1], Gen.Int)
        .Select((root, seed) => RandomMessage.Make(Roots[root], new Random(seed)));

    [Fact]
    public void What_is_written_is_read_back_the_same() =>
        Messages.Sample(
            message =>
            {
                var problems = new ProblemCollector();
                var back = message.Descriptor.Parser.ParseFrom(ByteString.Empty);
                ProtoJsonReader.Read(ProtoJsonWriter.Write(message, redact: false), back, "", problems);
                Assert.Empty(problems.Problems);
                return back.Equals(message);
            },
            iter: 500
        );

    [Fact]
    public void Googles_parser_reads_what_is_written_and_writes_what_is_read()
    {
        var registry = TypeRegistry.FromMessages([.. Roots, UpstreamTlsContext.Descriptor, Duration.Descriptor, UInt32Value.Descriptor]);
        var parser = new JsonParser(new JsonParser.Settings(100, registry));
        var formatter = new JsonFormatter(JsonFormatter.Settings.Default.WithTypeRegistry(registry));
        Messages.Sample(
            message =>
            {
                Assert.Equal(message, parser.Parse(ProtoJsonWriter.Write(message, redact: false).ToJsonString(), message.Descriptor));
                var back = message.Descriptor.Parser.ParseFrom(ByteString.Empty);
                ProtoJsonReader.Read(JsonNode.Parse(formatter.Format(message))!.AsObject(), back, "", new ProblemCollector());
                return back.Equals(message);
            },
            iter: 300
        );
    }

    [Fact]
    public void Both_spellings_of_a_field_are_taken() =>
        Assert.Equal(
            Read<Cluster>("""{"connectTimeout": "0.25s", "lb_policy": "MAGLEV"}"""),
            Read<Cluster>("""{"connect_timeout": "0.250s", "lbPolicy": 5}""")
        );

    [Theory]
    [InlineData("""{"conect_timeout": "1s"}""", "/r/conect_timeout", "unknown-field", "Did you mean 'connectTimeout'?")]
    [InlineData("""{"connectTimeout": "1s", "connect_timeout": "1s"}""", "/r/connect_timeout", "duplicate-key", "twice")]
    [InlineData("""{"type": "EDS", "clusterType": {"name": "x"}}""", "/r/clusterType", "one-of", "type, clusterType")]
    [InlineData("""{"connectTimeout": "250ms"}""", "/r/connectTimeout", "wrong-type", "0.25s")]
    [InlineData("""{"connectTimeout": 5}""", "/r/connectTimeout", "wrong-type", "duration")]
    [InlineData("""{"lbPolicy": "MAGLEF"}""", "/r/lbPolicy", "wrong-type", "Did you mean 'MAGLEV'?")]
    [InlineData("""{"name": 5}""", "/r/name", "wrong-type", "Expected text (found a number)")]
    [InlineData("""{"perConnectionBufferLimitBytes": -1}""", "/r/perConnectionBufferLimitBytes", "wrong-type", "from 0 to 4294967295")]
    [InlineData("""{"perConnectionBufferLimitBytes": 1.5}""", "/r/perConnectionBufferLimitBytes", "wrong-type", "whole number")]
    [InlineData("""{"healthChecks": {}}""", "/r/healthChecks", "wrong-type", "Expected a list")]
    [InlineData("""{"healthChecks": [null]}""", "/r/healthChecks/0", "wrong-type", "found null")]
    [InlineData("""{"edsClusterConfig": []}""", "/r/edsClusterConfig", "wrong-type", "Expected an object")]
    [InlineData(
        """{"typedExtensionProtocolOptions": {"a/b": {"x": 1}}}""",
        "/r/typedExtensionProtocolOptions/a~1b",
        "missing-field",
        "@type"
    )]
    [InlineData(
        """{"transportSocket": {"name": "x", "typedConfig": {"@type": "a/envoy.config.core.v3.Address", "pip": {}}}}""",
        "/r/transportSocket/typedConfig/pip",
        "unknown-field",
        "Did you mean 'pipe'?"
    )]
    [InlineData(
        """{"transportSocket": {"name": "x", "typedConfig": {"typeUrl": "a/b", "valueBase64": "§"}}}""",
        "/r/transportSocket/typedConfig",
        "invalid-base64",
        "base64"
    )]
    [InlineData("""{"metadata": {"filterMetadata": {"a": 5}}}""", "/r/metadata/filterMetadata/a", "wrong-type", "Expected an object")]
    public void A_fault_is_told_with_its_place(string json, string pointer, string code, string message)
    {
        var problems = new ProblemCollector();
        ProtoJsonReader.Read(JsonNode.Parse(json)!.AsObject(), new Cluster(), "/r", problems);
        var problem = Assert.Single(problems.Problems);
        Assert.Equal((pointer, code), (problem.Pointer, problem.Code));
        Assert.Contains(message, problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Faults_never_repeat_a_value()
    {
        var problems = new ProblemCollector();
        var json = JsonNode.Parse(
            """{"tlsCertificate": {"privateKey": {"inlineBytes": "hunter2!"}, "password": "hunter2!"}, "genericSecret": {"secret": 5}}"""
        )!;
        ProtoJsonReader.Read(json.AsObject(), new Secret(), "", problems);
        Assert.Equal(3, problems.Problems.Count);
        Assert.All(problems.Problems, p => Assert.DoesNotContain("hunter2", p.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void An_overlay_merges_objects_replaces_lists_and_values_and_clears_with_null()
    {
        var cluster = new Cluster
        {
            Name = "a",
            ConnectTimeout = new Duration { Seconds = 5 },
            CircuitBreakers = new CircuitBreakers { Thresholds = { new CircuitBreakers.Types.Thresholds { MaxConnections = 1 } } },
            OutlierDetection = new OutlierDetection { Consecutive5Xx = 5, MaxEjectionPercent = 10 },
            Metadata = new Metadata { FilterMetadata = { ["x"] = Struct.Parser.ParseJson("""{"a": {"b": 1, "c": 2}, "d": 3}""") } },
        };
        Merge(
            cluster,
            """
            {"connectTimeout": null, "circuit_breakers": {"thresholds": [{"maxRequests": 7}]}, "outlierDetection": {"maxEjectionPercent": 20},
             "metadata": {"filterMetadata": {"x": {"a": {"b": null, "e": 5}}}}}
            """
        );
        Assert.Equal(
            new Cluster
            {
                Name = "a",
                CircuitBreakers = new CircuitBreakers { Thresholds = { new CircuitBreakers.Types.Thresholds { MaxRequests = 7 } } },
                OutlierDetection = new OutlierDetection { Consecutive5Xx = 5, MaxEjectionPercent = 20 },
                Metadata = new Metadata { FilterMetadata = { ["x"] = Struct.Parser.ParseJson("""{"a": {"c": 2, "e": 5}, "d": 3}""") } },
            },
            cluster
        );
    }

    [Fact]
    public void An_overlay_merges_a_typed_config_of_the_same_type_and_replaces_another()
    {
        var cluster = new Cluster
        {
            Name = "a",
            TransportSocket = new TransportSocket
            {
                Name = "tls",
                TypedConfig = EnvoyTypes.Pack(new UpstreamTlsContext { Sni = "x", AllowRenegotiation = true }),
            },
        };
        Merge(
            cluster,
            """{"transportSocket": {"typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "y"}}}"""
        );
        Assert.Equal(
            new UpstreamTlsContext { Sni = "y", AllowRenegotiation = true },
            EnvoyTypes.Unpack(cluster.TransportSocket.TypedConfig)
        );
        Merge(
            cluster,
            """{"transportSocket": {"typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"}}}"""
        );
        Assert.Equal(new DownstreamTlsContext(), EnvoyTypes.Unpack(cluster.TransportSocket.TypedConfig));
    }

    [Fact]
    public void An_overlay_of_a_oneof_switches_it()
    {
        var cluster = new Cluster { Name = "a", RingHashLbConfig = new Cluster.Types.RingHashLbConfig() };
        Merge(cluster, """{"maglevLbConfig": {"tableSize": "65537"}}""");
        Assert.Equal(
            new Cluster
            {
                Name = "a",
                MaglevLbConfig = new Cluster.Types.MaglevLbConfig { TableSize = 65537 },
            },
            cluster
        );
    }

    [Fact]
    public void A_type_that_only_the_proxy_knows_is_passed_on_as_bytes_or_as_a_TypedStruct()
    {
        var raw = Read<TypedExtensionConfig>(
            """{"name": "x", "typedConfig": {"typeUrl": "type.googleapis.com/foo.Bar", "valueBase64": "CAE="}}"""
        );
        Assert.Equal(new Any { TypeUrl = "type.googleapis.com/foo.Bar", Value = ByteString.FromBase64("CAE=") }, raw.TypedConfig);

        var problems = new ProblemCollector();
        var json = JsonNode.Parse("""{"name": "x", "typedConfig": {"@type": "type.googleapis.com/foo.Bar", "a": [1, null]}}""")!;
        var message = new TypedExtensionConfig();
        ProtoJsonReader.Read(json.AsObject(), message, "", problems);
        Assert.Equal(("/typedConfig", "unknown-type", ProblemSeverity.Warning), Place(Assert.Single(problems.Problems)));
        var packed = message.TypedConfig.Unpack<Xds.Type.V3.TypedStruct>();
        Assert.Equal(("type.googleapis.com/foo.Bar", 1d), (packed.TypeUrl, packed.Value.Fields["a"].ListValue.Values[0].NumberValue));
    }

    [Fact]
    public void Sensitive_fields_and_unknown_bytes_are_redacted_in_views()
    {
        var secret = new Secret
        {
            Name = "s",
            TlsCertificate = new TlsCertificate
            {
                CertificateChain = new DataSource { InlineString = "public" },
                PrivateKey = new DataSource { InlineString = "hunter2" },
            },
        };
        var socket = new TransportSocket { TypedConfig = EnvoyTypes.Pack(secret) };
        var text = ProtoJsonWriter.Write(socket).ToJsonString();
        Assert.DoesNotContain("hunter2", text, StringComparison.Ordinal);
        Assert.Contains("public", text, StringComparison.Ordinal);

        var unknown = new TransportSocket
        {
            TypedConfig = new Any { TypeUrl = "foo.Bar", Value = secret.ToByteString() },
        };
        Assert.Equal("[redacted]", (string?)ProtoJsonWriter.Write(unknown)["typedConfig"]!["valueBase64"]);
        Assert.Equal(
            secret.ToByteString().ToBase64(),
            (string?)ProtoJsonWriter.Write(unknown, redact: false)["typedConfig"]!["valueBase64"]
        );
    }

    private static (string, string, ProblemSeverity) Place(ValidationProblem problem) => (problem.Pointer, problem.Code, problem.Severity);

    private static T Read<T>(string json)
        where T : IMessage, new()
    {
        var problems = new ProblemCollector();
        var message = new T();
        ProtoJsonReader.Read(JsonNode.Parse(json)!.AsObject(), message, "", problems);
        Assert.Empty(problems.Problems);
        return message;
    }

    private static void Merge(IMessage message, string json)
    {
        var problems = new ProblemCollector();
        ProtoJsonReader.Merge(JsonNode.Parse(json)!.AsObject(), message, "", problems);
        Assert.Empty(problems.Problems);
    }
}
