using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;
using Envoy.Config.Cluster.V3;
using Google.Protobuf;

namespace ControlPlane.Core.Tests.Compilation;

public sealed class EnvoyResourceCompilerTests
{
    private const string Prefix = "type.googleapis.com/";

    [Theory]
    [InlineData("envoy.service.runtime.v3.Runtime", """{"name": "rt", "layer": {"a.b": 1}}""", null, "RTDS", "rt")]
    [InlineData(
        "envoy.config.core.v3.TypedExtensionConfig",
        """{"name": "f", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "maxRequestBytes": 1}}""",
        null,
        "ECDS",
        "f"
    )]
    [InlineData("envoy.config.route.v3.VirtualHost", """{"name": "v", "domains": ["a.com"]}""", "table/a.com", "VHDS", "table/a.com")]
    [InlineData(
        "envoy.config.route.v3.ScopedRouteConfiguration",
        """{"name": "s", "routeConfigurationName": "r", "key": {"fragments": [{"stringKey": "x"}]}}""",
        null,
        "SRDS",
        "s"
    )]
    [InlineData(
        "envoy.config.cluster.v3.Cluster",
        """{"name": "xdstp://a/b?c=d", "type": "STATIC", "loadAssignment": {"clusterName": "x"}}""",
        null,
        "CDS",
        "xdstp://a/b?c=d"
    )]
    public void Every_served_type_gets_the_name_that_it_is_served_under(
        string type,
        string json,
        string? resourceName,
        string shortName,
        string name
    )
    {
        var (compiled, problems) = Compile(Json(type, json, resourceName));
        Assert.Empty(problems);
        Assert.Equal((shortName, name), (compiled!.Type.ShortName, compiled.Name));
    }

    [Theory]
    [InlineData("envoy.config.cluster.v3.Clustre", "{}", null, "unsupported-type", "/spec/resource/@type")]
    [InlineData("envoy.config.core.v3.Address", "{}", null, "unsupported-type", "/spec/resource/@type")]
    [InlineData("envoy.config.cluster.v3.Cluster", """{"name": "a"}""", "b", "wrong-name", "/spec/resourceName")]
    [InlineData(
        "envoy.config.route.v3.VirtualHost",
        """{"name": "v", "domains": ["a.com"]}""",
        null,
        "missing-field",
        "/spec/resourceName"
    )]
    [InlineData("envoy.config.listener.v3.Listener", "{}", null, "empty-name", "/spec/resource/name")]
    [InlineData("envoy.config.endpoint.v3.ClusterLoadAssignment", "{}", null, "empty-name", "/spec/resource/clusterName")]
    public void A_resource_that_cannot_be_served_is_refused(string type, string json, string? resourceName, string code, string pointer)
    {
        var (compiled, problems) = Compile(Json(type, json, resourceName));
        Assert.Null(compiled);
        var problem = Assert.Single(problems);
        Assert.Equal((code, pointer), (problem.Code, problem.Pointer));
    }

    [Fact]
    public void Bytes_are_decoded_checked_and_served_with_the_fields_that_are_not_known_here()
    {
        var cluster = new Cluster
        {
            Name = "a",
            Type = Cluster.Types.DiscoveryType.Static,
            LoadAssignment = new() { ClusterName = "a" },
        };
        // Field 5000 of a newer API.
        byte[] bytes = [.. cluster.ToByteArray(), 0xc0, 0xb8, 0x02, 0x07];
        var (compiled, problems) = Compile(
            new EnvoyResourceSpec { TypeUrl = Prefix + Cluster.Descriptor.FullName, ValueBase64 = Convert.ToBase64String(bytes) }
        );
        Assert.Empty(problems);
        Assert.Equal(bytes.Length, compiled!.Encode([]).Payload.Length);
    }

    [Fact]
    public void Bytes_of_something_else_are_refused()
    {
        var (compiled, problems) = Compile(
            new EnvoyResourceSpec { TypeUrl = Prefix + Cluster.Descriptor.FullName, ValueBase64 = "/////w==" }
        );
        Assert.Null(compiled);
        Assert.Equal(("/spec/valueBase64", "undecodable"), (problems[0].Pointer, problems[0].Code));
    }

    [Fact]
    public void Views_show_no_secret_of_raw_resources()
    {
        var secret = Json(
            "envoy.extensions.transport_sockets.tls.v3.Secret",
            """{"name": "s", "tls_certificate": {"private_key": {"inline_string": "hunter2"}, "certificateChain": {"inlineString": "public"}}}""",
            null
        );
        var nested = Json(
            "envoy.config.listener.v3.Listener",
            """
            {"name": "l", "filterChains": [{"transportSocket": {"name": "tls", "typedConfig":
              {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
               "commonTlsContext": {"tlsCertificates": [{"privateKey": {"inlineString": "hunter2"}}]}}}},
              {"transportSocket": {"name": "x", "typedConfig": {"typeUrl": "a/b", "valueBase64": "aHVudGVyMg=="}}},
              {"transportSocket": {"name": "x", "typedConfig": {"@type": "a/b", "apiToken": "hunter2", "plain": "public"}}}]}
            """,
            null
        );
        var bytes = new EnvoyResourceSpec { TypeUrl = "a/b", ValueBase64 = "aHVudGVyMg==" };
        foreach (var spec in new[] { secret, nested, bytes })
        {
            var view = Redaction.View(new Manifest(ResourceKind.EnvoyResource, new ResourceMetadata { Name = "x" }, spec)).ToJsonString();
            Assert.DoesNotContain("hunter2", view, StringComparison.Ordinal);
            Assert.DoesNotContain("aHVudGVyMg", view, StringComparison.Ordinal);
            Assert.Contains(CanonicalForm.Redacted, view, StringComparison.Ordinal);
            Assert.Equal(spec != bytes, view.Contains("public", StringComparison.Ordinal));
        }
    }

    private static EnvoyResourceSpec Json(string type, string json, string? resourceName)
    {
        var resource = JsonNode.Parse(json)!.AsObject();
        resource["@type"] = Prefix + type;
        return new EnvoyResourceSpec { Resource = resource, ResourceName = resourceName };
    }

    private static (CompiledResource?, IReadOnlyList<ValidationProblem>) Compile(EnvoyResourceSpec spec)
    {
        var problems = new ProblemCollector();
        return (EnvoyResourceCompiler.Compile(spec, problems), problems.Problems);
    }
}
