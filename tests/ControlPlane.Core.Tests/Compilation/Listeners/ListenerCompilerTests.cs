using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;
using HttpManager = Envoy.Extensions.Filters.Network.HttpConnectionManager.V3.HttpConnectionManager;

namespace ControlPlane.Core.Tests.Compilation.Listeners;

/// <summary>What the scenarios cannot show.</summary>
public sealed class ListenerCompilerTests
{
    private static string Folder => ApprovedFile.Folder("Compilation", "Listeners", "Scenarios");

    [Theory]
    [InlineData("filter-jwt", "login")]
    [InlineData("filter-ext-authz", "authz")]
    [InlineData("access-logs", "access-logs")]
    [InlineData("http-with-everything", "otel-collector")]
    [InlineData("tcp-one-upstream", "postgres")]
    public void Upstreams_that_a_listener_names_are_found_in_its_message(string scenario, string upstream)
    {
        var manifest = Scenario.Read(Folder, scenario).Manifests[0];
        var problems = new ProblemCollector();
        var message = ListenerCompiler.Compile("edge", (ListenerSpec)manifest.Spec, _ => null, problems);

        var compiled = MessagePipeline.Complete(ResourceType.Listener, "edge", message, overlay: null, problems)!;

        Assert.Contains(compiled.References, r => r.Type == ResourceType.Cluster && r.Name == upstream);
    }

    [Fact]
    public void Secrets_and_route_tables_that_a_listener_names_are_found_in_its_message()
    {
        var manifest = Scenario.Read(Folder, "https-client-certificates").Manifests[0];
        var problems = new ProblemCollector();
        var message = ListenerCompiler.Compile("edge", (ListenerSpec)manifest.Spec, _ => null, problems);

        var compiled = MessagePipeline.Complete(ResourceType.Listener, "edge", message, overlay: null, problems)!;

        Assert.Equal(
            [(ResourceType.Route, "shop"), (ResourceType.Secret, "partners"), (ResourceType.Secret, "shop-cert")],
            compiled
                .References.Select(r => (r.Type, r.Name))
                .Distinct()
                .OrderBy(r => r.Name == "shop" ? "" : r.Name, StringComparer.Ordinal)
        );
    }

    [Fact]
    public void A_change_of_a_route_table_by_rds_leaves_the_listener_as_it_was()
    {
        var spec = new ListenerSpec
        {
            Address = "127.0.0.1",
            Port = 8080,
            Http = new HttpSpec { RouteTable = "shop" },
        };

        var before = ListenerCompiler.Compile("edge", spec, _ => Table("before.example"), new ProblemCollector());
        var after = ListenerCompiler.Compile("edge", spec, _ => Table("after.example"), new ProblemCollector());

        Assert.Equal(before, after);
    }

    [Fact]
    public void An_inline_route_table_that_does_not_exist_is_a_problem_at_the_place_that_names_it()
    {
        var spec = new ListenerSpec
        {
            Address = "127.0.0.1",
            Port = 8080,
            Http = new HttpSpec { RouteTable = "shop", InlineRouteTable = true },
        };
        var problems = new ProblemCollector();

        ListenerCompiler.Compile("edge", spec, _ => null, problems);

        var problem = Assert.Single(problems.Problems);
        Assert.Equal(("/spec/http/routeTable", "unknown-reference"), (problem.Pointer, problem.Code));
    }

    [Fact]
    public void A_fault_inside_a_raw_filter_is_told_where_it_stands()
    {
        var spec = new ListenerSpec
        {
            Address = "127.0.0.1",
            Port = 8080,
            Http = new HttpSpec
            {
                RouteTable = "shop",
                Filters =
                [
                    new HttpFilterSpec
                    {
                        Name = "buffer",
                        TypedConfig = JsonNode
                            .Parse(
                                """{"@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "maxRequestByte": 1}"""
                            )!
                            .AsObject(),
                    },
                ],
            },
        };
        var problems = new ProblemCollector();

        ListenerCompiler.Compile("edge", spec, _ => null, problems);

        var problem = Assert.Single(problems.Problems);
        Assert.Equal("/spec/http/filters/0/typedConfig/maxRequestByte", problem.Pointer);
        Assert.Contains("Did you mean 'maxRequestBytes'?", problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_overlay_is_merged_over_the_compiled_listener()
    {
        var message = ListenerCompiler.Compile(
            "edge",
            new ListenerSpec
            {
                Address = "127.0.0.1",
                Port = 8080,
                Http = new HttpSpec { RouteTable = "shop" },
            },
            _ => null,
            new ProblemCollector()
        );
        var problems = new ProblemCollector();

        MessagePipeline.Complete(
            ResourceType.Listener,
            "edge",
            message,
            JsonNode.Parse("""{"tcpBacklogSize": 4096, "listenerFiltersTimeout": "1s"}""")!.AsObject(),
            problems
        );

        Assert.Empty(problems.Problems);
        Assert.Equal(4096u, message.TcpBacklogSize);
        Assert.Equal("shop", HttpManager.Parser.ParseFrom(message.FilterChains[0].Filters[0].TypedConfig.Value).Rds.RouteConfigName);
    }

    private static RouteTableSpec Table(string domain) => new() { VirtualHosts = [new VirtualHostSpec { Domains = [domain] }] };
}
