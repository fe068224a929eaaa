using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace ControlPlane.Core.Tests.Compilation;

/// <summary>
/// Expected results that stand in files beside the tests. With <c>CONTROLPLANE_APPROVE=1</c> in the environment they are written instead of compared; the
/// difference is for a reviewer to read.
/// </summary>
internal static class ApprovedFile
{
    private static readonly JsonSerializerOptions Readable = new()
    {
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private static bool IsApproving => Environment.GetEnvironmentVariable("CONTROLPLANE_APPROVE") == "1";

    /// <summary>A folder of the source tree, below that of the test project.</summary>
    public static string Folder(params ReadOnlySpan<string> below)
    {
        var root = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(root.FullName, "ControlPlane.sln")))
        {
            root = root.Parent ?? throw new InvalidOperationException("The tests run outside of the source tree, where their files are.");
        }
        return Path.Combine([root.FullName, "tests", "ControlPlane.Core.Tests", .. below]);
    }

    public static void Verify(string path, JsonNode actual)
    {
        var text = actual.ToJsonString(Readable).ReplaceLineEndings("\n") + "\n";
        if (IsApproving)
        {
            File.WriteAllText(path, text);
        }
        Assert.True(File.Exists(path), $"{path} does not exist: run with CONTROLPLANE_APPROVE=1, read it, and commit it.");
        Assert.Equal(File.ReadAllText(path).ReplaceLineEndings("\n"), text);
    }
}
