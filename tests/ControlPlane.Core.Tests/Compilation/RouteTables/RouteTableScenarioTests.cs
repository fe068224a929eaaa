using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Tests.Compilation.RouteTables;

/// <summary>Each file in Scenarios is a route table as a user writes it; beside it stands what Envoy is sent.</summary>
public sealed class RouteTableScenarioTests
{
    private static string Folder => ApprovedFile.Folder("Compilation", "RouteTables", "Scenarios");

    public static TheoryData<string> Scenarios() => Scenario.Names(Folder);

    [Theory]
    [MemberData(nameof(Scenarios))]
    public void A_route_table_compiles_to_what_was_approved(string name)
    {
        var scenario = Scenario.Read(Folder, name);
        var manifest = scenario.Manifests[0];
        var problems = new ProblemCollector();
        var compiled = RouteTableCompiler.Compile(manifest.Metadata.Name, (RouteTableSpec)manifest.Spec, problems);
        MessagePipeline.Complete(ResourceType.Route, manifest.Metadata.Name, compiled, overlay: null, problems);
        Assert.Empty(problems.Problems);
        scenario.Verify("routeConfiguration", ProtoJsonWriter.Write(compiled, redact: false));
    }
}
