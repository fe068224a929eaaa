using System.Text;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Reading;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.Tests.Publishing;

/// <summary>Plans of changes that are written as manifests, without <c>apiVersion</c>.</summary>
internal static class Plans
{
    public static readonly StatePair Nothing = new(DesiredState.Empty, CompiledState.Empty);

    public static ChangePlan Make(StatePair before, params string[] manifests) => Make(before, warn: false, manifests);

    /// <summary>With <c>?validation=warn</c>.</summary>
    public static ChangePlan Passing(StatePair before, params string[] manifests) => Make(before, warn: true, manifests);

    private static ChangePlan Make(StatePair before, bool warn, string[] manifests)
    {
        var yaml = string.Join("\n---\n", manifests.Select(m => "apiVersion: controlplane/v1\n" + m));
        var documents = ManifestReader.Read(Encoding.UTF8.GetBytes(yaml)).Documents;
        Assert.All(documents, d => Assert.Empty(d.Problems));
        return ChangePlan.Make(
            new ChangeRequest
            {
                Author = "alice",
                ValidationWarn = warn,
                Changes = [.. documents.Select(d => new ObjectChange(d.Manifest!.Key, d.Manifest))],
            },
            before,
            new CompilationInputs(TimeProvider.System.GetUtcNow(), _ => SecretMaterial.InlineOnly),
            []
        );
    }
}
