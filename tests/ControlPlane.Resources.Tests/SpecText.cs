using System.Text;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Tests;

/// <summary>Specs as people write them.</summary>
internal static class SpecText
{
    /// <summary>Everything that is found in a spec.</summary>
    public static IReadOnlyList<ValidationProblem> ProblemsOf(ResourceKind kind, string yaml) => Read(kind, yaml).Problems;

    /// <summary>A spec without errors.</summary>
    public static T Good<T>(ResourceKind kind, string yaml)
        where T : ResourceSpec
    {
        var document = Read(kind, yaml);
        Assert.DoesNotContain(document.Problems, p => p.Severity == ProblemSeverity.Error);
        return (T)document.Manifest!.Spec;
    }

    /// <summary>Asserts that a spec has one problem, of a code, at a place that people can find.</summary>
    public static void HasProblem(ResourceKind kind, string yaml, string pointer, string code, ProblemSeverity severity)
    {
        var problems = ProblemsOf(kind, yaml).Where(p => p.Severity == severity).ToList();
        var problem = Assert.Single(problems);
        Assert.Equal((pointer, code), (problem.Pointer, problem.Code));
        Assert.True(problem.Line > 0);
        Assert.True(problem.Message[^1] is '.' or '?', problem.Message);
    }

    private static ManifestDocument Read(ResourceKind kind, string yaml)
    {
        var name = kind is ResourceKind.Endpoint or ResourceKind.Override ? "cart/one" : "cart";
        var text = $"apiVersion: controlplane/v1\nkind: {kind}\nmetadata: {{ name: {name} }}\nspec:\n  {yaml.ReplaceLineEndings("\n  ")}\n";
        var input = ManifestReader.Read(Encoding.UTF8.GetBytes(text), ManifestFormat.Yaml);
        Assert.Empty(input.Problems);
        return Assert.Single(input.Documents);
    }
}
