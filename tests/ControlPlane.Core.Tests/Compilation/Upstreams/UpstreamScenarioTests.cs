using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Upstreams;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using HttpOptions = Envoy.Extensions.Upstreams.Http.V3.HttpProtocolOptions;

namespace ControlPlane.Core.Tests.Compilation.Upstreams;

/// <summary>Each file in Scenarios is an upstream as a user writes it; beside it stands what Envoy is sent.</summary>
public sealed class UpstreamScenarioTests
{
    /// <summary>The instant at which orders are looked at.</summary>
    private static readonly DateTimeOffset Now = new(2030, 1, 1, 12, 0, 0, TimeSpan.Zero);

    private static readonly JsonFormatter ProtoJson = new(
        new JsonFormatter.Settings(
            formatDefaultValues: false,
            TypeRegistry.FromMessages(HttpOptions.Descriptor, UpstreamTlsContext.Descriptor)
        )
    );

    public static TheoryData<string> Scenarios() =>
        [.. Directory.GetFiles(ScenarioFolder, "*.yaml").Select(f => Path.GetFileNameWithoutExtension(f)).Order(StringComparer.Ordinal)];

    private static string ScenarioFolder => ApprovedFile.Folder("Compilation", "Upstreams", "Scenarios");

    [Theory]
    [MemberData(nameof(Scenarios))]
    public void An_upstream_compiles_to_what_was_approved(string scenario)
    {
        var input = ManifestReader.Read(File.ReadAllBytes(Path.Combine(ScenarioFolder, scenario + ".yaml")), ManifestFormat.Yaml);
        Assert.Empty(input.Problems);
        var problems = input.Documents.SelectMany(d => d.Problems).ToList();
        Assert.DoesNotContain(problems, p => p.Severity == Resources.Validation.ProblemSeverity.Error);
        var manifests = input.Documents.Select(d => d.Manifest!).ToList();
        var upstream = (UpstreamSpec)manifests[0].Spec;
        var lifecycle = EndpointLifecycle.At(upstream, Subresources<EndpointSpec>(manifests), Subresources<OverrideSpec>(manifests), Now);

        var actual = new JsonObject
        {
            ["warnings"] = new JsonArray([.. problems.Select(p => JsonValue.Create($"{p.Pointer}: {p.Code}"))]),
            ["cluster"] = Json(UpstreamCompiler.CompileCluster("cart", upstream)),
        };
        if (upstream.Endpoints.Source is EndpointSource.Static or EndpointSource.Registration)
        {
            actual["assignment"] = Json(UpstreamCompiler.CompileAssignment("cart", upstream, lifecycle.Endpoints));
            actual["nextChange"] = lifecycle.NextChange;
        }
        ApprovedFile.Verify(Path.Combine(ScenarioFolder, scenario + ".json"), actual);
    }

    private static Dictionary<string, T> Subresources<T>(IEnumerable<Manifest> manifests)
        where T : ResourceSpec => manifests.Where(m => m.Spec is T && m.Key.Name != m.Key.Id).ToDictionary(m => m.Key.Id, m => (T)m.Spec);

    private static JsonNode? Json(IMessage message) => JsonNode.Parse(ProtoJson.Format(message));
}
