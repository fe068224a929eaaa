using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using Google.Protobuf;

namespace ControlPlane.Core.Tests.Compilation.Upstreams;

/// <summary>Each file in Scenarios is an upstream as a user writes it, with its endpoints and orders; beside it stands what Envoy is sent.</summary>
public sealed class UpstreamScenarioTests
{
    /// <summary>The instant at which orders are looked at.</summary>
    private static readonly DateTimeOffset Now = new(2030, 1, 1, 12, 0, 0, TimeSpan.Zero);

    private static string Folder => ApprovedFile.Folder("Compilation", "Upstreams", "Scenarios");

    public static TheoryData<string> Scenarios() => Scenario.Names(Folder);

    [Theory]
    [MemberData(nameof(Scenarios))]
    public void An_upstream_compiles_to_what_was_approved(string name)
    {
        var scenario = Scenario.Read(Folder, name);
        var upstream = (UpstreamSpec)scenario.Manifests[0].Spec;
        var published = new JsonObject { ["cluster"] = Json(ResourceType.Cluster, UpstreamCompiler.CompileCluster("cart", upstream)) };
        if (upstream.Endpoints.Source is EndpointSource.Static or EndpointSource.Registration)
        {
            var lifecycle = EndpointLifecycle.At(upstream, Parts<EndpointSpec>(scenario), Parts<OverrideSpec>(scenario), Now);
            published["assignment"] = Json(
                ResourceType.Endpoints,
                UpstreamCompiler.CompileAssignment("cart", upstream, lifecycle.Endpoints)
            );
            published["nextChange"] = lifecycle.NextChange;
        }
        scenario.Verify("published", published);
    }

    [Theory]
    [MemberData(nameof(Scenarios))]
    public void What_is_stored_reads_back_as_the_same_object(string name)
    {
        foreach (var manifest in Scenario.Read(Folder, name).Manifests)
        {
            var stored = CanonicalForm.Write(manifest);
            Assert.Equal(stored, CanonicalForm.Write(CanonicalForm.Read(stored)));
        }
    }

    private static Dictionary<string, T> Parts<T>(Scenario scenario)
        where T : ResourceSpec => scenario.Manifests.Where(m => m.Spec is T).ToDictionary(m => m.Key.Id, m => (T)m.Spec);

    /// <summary>The message as it is published, once it has passed every check that a message must pass.</summary>
    private static JsonObject Json(ResourceType type, IMessage message)
    {
        var problems = new ProblemCollector();
        Assert.NotNull(MessagePipeline.Complete(type, "cart", message, overlay: null, problems));
        Assert.Empty(problems.Problems);
        return ProtoJsonWriter.Write(message, redact: false);
    }
}
