using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Validation;
using CsCheck;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Config.Listener.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Tests.Compilation;

public sealed class MessagePipelineTests
{
    private static readonly (ResourceType Type, MessageDescriptor Descriptor)[] Roots =
    [
        (ResourceType.Cluster, Cluster.Descriptor),
        (ResourceType.Endpoints, ClusterLoadAssignment.Descriptor),
        (ResourceType.Secret, Secret.Descriptor),
        (ResourceType.Listener, Listener.Descriptor),
        (ResourceType.Route, RouteConfiguration.Descriptor),
        (ResourceType.VirtualHost, VirtualHost.Descriptor),
        (ResourceType.Listener, HttpConnectionManager.Descriptor),
    ];

    [Fact]
    public void Whatever_a_message_holds_there_is_an_answer() =>
        Gen.Select(Gen.Int[0, Roots.Length - 1], Gen.Int)
            .Sample(
                (root, seed) =>
                {
                    var message = RandomMessage.Make(Roots[root].Descriptor, new Random(seed));
                    var problems = new ProblemCollector();
                    MessagePipeline.Complete(Roots[root].Type, "x", message, "/spec/resource", problems);
                    Assert.All(problems.Problems, p => Assert.StartsWith("/spec/resource", p.Pointer, StringComparison.Ordinal));
                    ProtoJsonWriter.Write(message);
                },
                iter: 5_000
            );

    [Theory]
    [InlineData("""{"name": "other"}""", "/spec/envoy/name")]
    [InlineData("""{"type": "STATIC"}""", "/spec/envoy/type")]
    [InlineData("""{"cluster_type": {"name": "x"}}""", "/spec/envoy/cluster_type")]
    [InlineData("""{"eds_cluster_config": null}""", "/spec/envoy/eds_cluster_config")]
    [InlineData("""{"edsClusterConfig": {"serviceName": "x"}}""", "/spec/envoy/edsClusterConfig")]
    [InlineData("""{"loadAssignment": {"clusterName": "x"}}""", "/spec/envoy/loadAssignment")]
    [InlineData("""{"load_assignment": {"endpoints": []}}""", "/spec/envoy/load_assignment")]
    public void What_the_control_plane_owns_cannot_be_overlaid(string overlay, string pointer)
    {
        var (compiled, problems) = Complete(Eds(), overlay);
        Assert.Null(compiled);
        var problem = Assert.Single(problems);
        Assert.Equal((pointer, "owned-field"), (problem.Pointer, problem.Code));
    }

    [Theory]
    [InlineData("shop", "{}", null)]
    [InlineData("shop.v2.eu", "{}", "/metadata/name")]
    [InlineData("shop.v2.eu", """{"altStatName": "shop-v2-eu"}""", null)]
    public void A_name_that_Envoys_statistics_cut_at_its_dot_is_warned_of_unless_they_have_another(
        string name,
        string overlay,
        string? pointer
    )
    {
        var cluster = Eds();
        cluster.Name = name;
        var (compiled, problems) = Complete(cluster, overlay);
        Assert.NotNull(compiled);
        if (pointer is null)
        {
            Assert.Empty(problems);
            return;
        }

        var problem = Assert.Single(problems);
        Assert.Equal((pointer, "dotted-name", ProblemSeverity.Warning), (problem.Pointer, problem.Code, problem.Severity));
        Assert.Contains("says 'shop'", problem.Message, StringComparison.Ordinal);
        Assert.Contains("'shop-v2-eu'", problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Endpoints_cannot_be_overlaid()
    {
        var problems = new ProblemCollector();
        var assignment = new ClusterLoadAssignment { ClusterName = "x" };
        Assert.Null(
            MessagePipeline.Complete(ResourceType.Endpoints, "x", assignment, new JsonObject { ["policy"] = new JsonObject() }, problems)
        );
        Assert.Equal("owned-field", Assert.Single(problems.Problems).Code);
    }

    [Fact]
    public void Faults_of_the_overlay_point_into_it_and_others_to_the_spec()
    {
        var cluster = Eds();
        cluster.ConnectTimeout = new Duration();
        var (compiled, problems) = Complete(cluster, """{"lb_policy": "MAGLEV", "maglev_lb_config": {"tableSize": 10}}""");
        Assert.NotNull(compiled);
        Assert.Equal(
            [("/spec", "envoy-constraint"), ("/spec/envoy/maglevLbConfig/tableSize", "maglev-table-size")],
            problems.Select(p => (p.Pointer, p.Code))
        );
        Assert.Contains("In the Cluster that this compiles to, at /connectTimeout:", problems[0].Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_overlay_wins_over_what_the_spec_compiled_to()
    {
        var cluster = Eds();
        cluster.PerConnectionBufferLimitBytes = 1;
        var (compiled, problems) = Complete(cluster, """{"perConnectionBufferLimitBytes": 32768}""");
        Assert.Empty(problems);
        Assert.Equal(32768u, ((Cluster)compiled!.Message).PerConnectionBufferLimitBytes);
    }

    [Fact]
    public void Equal_content_has_equal_bytes_whatever_the_order_of_its_maps()
    {
        static EncodedResource Encoded(params string[] keys)
        {
            var options = keys.ToDictionary(
                k => k,
                k => new Struct { Fields = { [k] = Value.ForString(k), ["z" + k] = Value.ForBool(true) } }
            );
            var manager = new HttpConnectionManager { StatPrefix = "x" };
            foreach (var (key, value) in options)
            {
                manager.RouteConfig ??= new RouteConfiguration { Metadata = new Envoy.Config.Core.V3.Metadata() };
                manager.RouteConfig.Metadata.FilterMetadata[key] = value;
            }

            var listener = new Listener
            {
                Name = "x",
                FilterChains =
                {
                    new FilterChain
                    {
                        Filters =
                        {
                            new Envoy.Config.Listener.V3.Filter { Name = "h", TypedConfig = EnvoyTypes.Pack(manager) },
                        },
                    },
                },
            };
            return MessagePipeline.Complete(ResourceType.Listener, "x", listener, "/spec/resource", new ProblemCollector()).Encode([]);
        }

        Assert.Equal(Encoded("a", "b", "c").Version, Encoded("c", "a", "b").Version);
    }

    private static Cluster Eds() =>
        new()
        {
            Name = "x",
            Type = Cluster.Types.DiscoveryType.Eds,
            EdsClusterConfig = new Cluster.Types.EdsClusterConfig { EdsConfig = new Envoy.Config.Core.V3.ConfigSource { Ads = new() } },
        };

    private static (CompiledResource?, IReadOnlyList<ValidationProblem>) Complete(Cluster cluster, string overlay)
    {
        var problems = new ProblemCollector();
        var compiled = MessagePipeline.Complete(ResourceType.Cluster, cluster.Name, cluster, JsonNode.Parse(overlay)!.AsObject(), problems);
        return (compiled, problems.Problems);
    }
}
