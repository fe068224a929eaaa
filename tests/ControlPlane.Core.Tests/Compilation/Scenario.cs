using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Tests.Compilation;

/// <summary>A YAML file as a user writes it, read as the product reads it.</summary>
internal sealed record Scenario(string Path, ImmutableArray<Manifest> Manifests, ImmutableArray<ValidationProblem> Problems)
{
    public static TheoryData<string> Names(string folder) =>
        [.. Directory.GetFiles(folder, "*.yaml").Select(f => System.IO.Path.GetFileNameWithoutExtension(f)).Order(StringComparer.Ordinal)];

    public static Scenario Read(string folder, string name)
    {
        var path = System.IO.Path.Combine(folder, name + ".yaml");
        var input = ManifestReader.Read(File.ReadAllBytes(path), ManifestFormat.Yaml);
        ImmutableArray<ValidationProblem> problems = [.. input.Problems, .. input.Documents.SelectMany(d => d.Problems)];
        Assert.DoesNotContain(problems, p => p.Severity == ProblemSeverity.Error);
        return new Scenario(path, [.. input.Documents.Select(d => d.Manifest!)], problems);
    }

    public T? Find<T>(string name)
        where T : ResourceSpec => Manifests.Where(m => m.Metadata.Name == name).Select(m => m.Spec).OfType<T>().SingleOrDefault();

    /// <summary>Compares with the file of the same name that ends in <c>.json</c>; warnings stand in it, too.</summary>
    public void Verify(string key, JsonNode? message)
    {
        var actual = new JsonObject();
        if (!Problems.IsEmpty)
        {
            actual["warnings"] = new JsonArray([.. Problems.Select(p => JsonValue.Create($"{p.Pointer}: {p.Code}"))]);
        }
        actual[key] = message;
        ApprovedFile.Verify(System.IO.Path.ChangeExtension(Path, ".json"), actual);
    }
}
