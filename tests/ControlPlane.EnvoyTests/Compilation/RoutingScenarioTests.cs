using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.Compilation;

/// <summary>What route tables and listeners compile to, and the bootstraps, shown to real Envoys.</summary>
[Trait("Category", "Slow")]
public sealed class RoutingScenarioTests
{
    [Theory]
    [InlineData(EnvoyRelease.Current)]
    [InlineData(EnvoyRelease.Oldest)]
    public async Task Every_approved_route_table_is_one_that_Envoy_takes(EnvoyRelease release)
    {
        await using var envoy = new EnvoyFixture(release);
        var listeners = Approved("RouteTables", "routeConfiguration").Select(t => StaticConfiguration.Around(t.Message)).ToList();
        Assert.True(listeners.Count > 10);
        Assert.Null(await envoy.ValidateAsync(StaticConfiguration.Of(listeners)));
    }

    [Theory]
    [InlineData(EnvoyRelease.Current)]
    [InlineData(EnvoyRelease.Oldest)]
    public async Task Every_approved_listener_is_one_that_Envoy_takes(EnvoyRelease release)
    {
        await using var envoy = new EnvoyFixture(release);
        // Envoy takes an API listener over xDS and passes over it; among static ones it has no place.
        var listeners = Approved("Listeners", "listener").Where(l => l.Message["apiListener"] is null).Select(l => l.Message).ToList();
        Assert.True(listeners.Count > 15);
        listeners.ForEach(l => StaticConfiguration.PutRoutesInline(l, new JsonObject()));
        Assert.Null(await envoy.ValidateAsync(StaticConfiguration.Of(listeners)));
    }

    [Theory]
    [InlineData(EnvoyRelease.Current)]
    [InlineData(EnvoyRelease.Oldest)]
    public async Task Every_bootstrap_is_one_that_Envoy_takes(EnvoyRelease release)
    {
        await using var envoy = new EnvoyFixture(release);
        var files = Directory.GetFiles(RepositoryPath("envoy"), "*.yaml");
        Assert.NotEmpty(files);
        foreach (var file in files)
        {
            Assert.Null(await envoy.ValidateAsync(await File.ReadAllTextAsync(file)));
        }
    }

    private static IEnumerable<(string Name, JsonNode Message)> Approved(string kind, string member) =>
        Directory
            .GetFiles(RepositoryPath($"tests/ControlPlane.Core.Tests/Compilation/{kind}/Scenarios"), "*.json")
            .Select(f => (Path.GetFileNameWithoutExtension(f), JsonNode.Parse(File.ReadAllText(f))![member]!));

    private static string RepositoryPath(string path, [CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "..", "..", "..", path);
}
