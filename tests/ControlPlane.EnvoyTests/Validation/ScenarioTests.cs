using System.Text.Json.Nodes;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.Validation;

/// <summary>What compiled scenarios were approved as, is what every supported Envoy takes.</summary>
[Trait("Category", "slow")]
public sealed class ScenarioTests
{
    public static TheoryData<string, EnvoyRelease> RouteTables() => Approved("RouteTables");

    /// <summary>Envoy takes an API listener over xDS and passes over it; in its own configuration it has no place.</summary>
    public static TheoryData<string, EnvoyRelease> Listeners() => Approved("Listeners", except: "grpc-client");

    public static TheoryData<string, EnvoyRelease> Bootstraps() => InBoth(Directory.GetFiles(Path.Combine(Root, "envoy"), "*.yaml"));

    [Theory]
    [MemberData(nameof(RouteTables))]
    public async Task Envoy_takes_compiled_route_tables(string scenario, EnvoyRelease release)
    {
        var compiled = await ReadAsync("RouteTables", scenario, "routeConfiguration");
        Assert.Null(await EnvoyVerdict.RefusalOfRoutesAsync(release, compiled));
    }

    [Theory]
    [MemberData(nameof(Listeners))]
    public async Task Envoy_takes_compiled_listeners(string scenario, EnvoyRelease release)
    {
        var compiled = await ReadAsync("Listeners", scenario, "listener");
        PutRoutesInline(compiled);
        Assert.Null(await EnvoyVerdict.RefusalOfListenerAsync(release, compiled));
    }

    [Theory]
    [MemberData(nameof(Bootstraps))]
    public async Task Envoy_takes_the_bootstraps(string name, EnvoyRelease release)
    {
        var text = await File.ReadAllTextAsync(Path.Combine(Root, "envoy", name + ".yaml"));
        Assert.Null(await EnvoyVerdict.RefusalAsync(release, text, ".yaml"));
    }

    private static string Root
    {
        get
        {
            var folder = new DirectoryInfo(AppContext.BaseDirectory);
            while (!File.Exists(Path.Combine(folder.FullName, "ControlPlane.sln")))
            {
                folder =
                    folder.Parent
                    ?? throw new InvalidOperationException("The tests run outside of the source tree, where their files are.");
            }
            return folder.FullName;
        }
    }

    private static string Folder(string kind) => Path.Combine(Root, "tests", "ControlPlane.Core.Tests", "Compilation", kind, "Scenarios");

    private static TheoryData<string, EnvoyRelease> Approved(string kind, string? except = null) =>
        InBoth(
            Directory
                .GetFiles(Folder(kind), "*.json")
                .Where(f => except is null || !Path.GetFileName(f).StartsWith(except, StringComparison.Ordinal))
        );

    private static TheoryData<string, EnvoyRelease> InBoth(IEnumerable<string> files)
    {
        var data = new TheoryData<string, EnvoyRelease>();
        foreach (var name in files.Select(f => Path.GetFileNameWithoutExtension(f)).Order(StringComparer.Ordinal))
        {
            data.Add(name, EnvoyRelease.Current);
            data.Add(name, EnvoyRelease.Oldest);
        }
        return data;
    }

    private static async Task<JsonNode> ReadAsync(string kind, string scenario, string member) =>
        JsonNode.Parse(await File.ReadAllTextAsync(Path.Combine(Folder(kind), scenario + ".json")))![member]!;

    /// <summary>Validation reads no xDS: a table by RDS becomes an empty one.</summary>
    private static void PutRoutesInline(JsonNode? node)
    {
        if (node is JsonObject members)
        {
            if (members.Remove("rds"))
            {
                members["routeConfig"] = new JsonObject();
            }
            foreach (var (_, value) in members)
            {
                PutRoutesInline(value);
            }
        }
        else if (node is JsonArray items)
        {
            foreach (var item in items)
            {
                PutRoutesInline(item);
            }
        }
    }
}
