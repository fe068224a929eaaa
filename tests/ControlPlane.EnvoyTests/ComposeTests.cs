using System.Diagnostics;
using System.Runtime.CompilerServices;
using ControlPlane.Server;
using ControlPlane.TestKit;
using YamlDotNet.RepresentationModel;

namespace ControlPlane.EnvoyTests;

/// <summary>What compose.yaml tells its containers, tried without containers.</summary>
public sealed class ComposeTests
{
    private static readonly YamlMappingNode Services = Load();

    [Fact]
    public void The_server_takes_the_options_that_compose_gives_it()
    {
        var arguments = Words(Services["controlplane"]["command"])
            .Select(a => a.Replace("${POSTGRES_PASSWORD:-controlplane}", "secret", StringComparison.Ordinal));
        Assert.IsType<CommandLine.Serve>(CommandLine.Parse([.. arguments], _ => null));
    }

    [Fact]
    public void The_token_that_compose_makes_is_one_that_the_server_can_make()
    {
        var script = Words(Services["token"]["command"]).Single();
        var arguments = script.Split("ControlPlane.Server.dll ")[1].Split(')')[0].Split(' ');
        Assert.Equal("compose", Assert.IsType<CommandLine.CreateToken>(CommandLine.Parse(arguments, _ => null)).Name);
    }

    [Fact]
    public async Task The_bootstrap_that_compose_makes_names_the_server_and_is_valid()
    {
        await using var envoy = new EnvoyFixture();
        var folder = Directory.CreateTempSubdirectory("controlplane-compose-");
        try
        {
            // The container's script, up to where it would start Envoy.
            var made = Path.Combine(folder.FullName, "envoy.yaml");
            var script = Words(Services["envoy"]["command"])[^1]
                .Replace("/etc/envoy/", RepositoryPath("envoy/"), StringComparison.Ordinal)
                .Replace("/tmp/envoy.yaml", made, StringComparison.Ordinal)
                .Split("exec envoy")[0];
            using (var bash = Process.Start("bash", ["-euc", script]))
            {
                await bash.WaitForExitAsync();
                Assert.Equal(0, bash.ExitCode);
            }

            var bootstrap = await File.ReadAllTextAsync(made);
            Assert.Contains("{ address: controlplane, port_value: 18000 }", bootstrap, StringComparison.Ordinal);
            Assert.Null(await envoy.ValidateAsync(bootstrap));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static YamlMappingNode Load()
    {
        var yaml = new YamlStream();
        using var text = File.OpenText(RepositoryPath("compose.yaml"));
        yaml.Load(text);
        return (YamlMappingNode)yaml.Documents[0].RootNode["services"];
    }

    private static IReadOnlyList<string> Words(YamlNode node) => [.. ((YamlSequenceNode)node).Select(n => ((YamlScalarNode)n).Value!)];

    private static string RepositoryPath(string path, [CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "../..", path);
}
