using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Tests.Compilation.Listeners;

/// <summary>Each file in Scenarios is a listener as a user writes it, sometimes with what it contains; beside it stands what Envoy is sent.</summary>
public sealed class ListenerScenarioTests
{
    private static string Folder => ApprovedFile.Folder("Compilation", "Listeners", "Scenarios");

    public static TheoryData<string> Scenarios() => Scenario.Names(Folder);

    [Theory]
    [MemberData(nameof(Scenarios))]
    public void A_listener_compiles_to_what_was_approved(string name)
    {
        var scenario = Scenario.Read(Folder, name);
        var manifest = scenario.Manifests[0];
        var problems = new ProblemCollector();
        var compiled = ListenerCompiler.Compile(
            manifest.Metadata.Name,
            (ListenerSpec)manifest.Spec,
            scenario.Find<RouteTableSpec>,
            problems
        );
        MessagePipeline.Complete(ResourceType.Listener, manifest.Metadata.Name, compiled, overlay: null, problems);
        Assert.Empty(problems.Problems);
        scenario.Verify("listener", ProtoJsonWriter.Write(compiled, redact: false));
    }
}
