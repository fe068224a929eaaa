using System.Diagnostics;
using System.Text.Json.Nodes;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.Validation;

/// <summary>What a real Envoy says about a configuration without being started (<c>--mode validate</c>).</summary>
internal static class EnvoyVerdict
{
    /// <summary>Why Envoy refuses a configuration; null where it takes it.</summary>
    public static async Task<string?> RefusalAsync(EnvoyRelease release, string configuration, string extension)
    {
        var executable = EnvoyFixture.Locate(release);
        var file = Path.Combine(Path.GetTempPath(), $"controlplane-validate-{Guid.NewGuid():N}{extension}");
        await File.WriteAllTextAsync(file, configuration);
        try
        {
            using var process = Process.Start(
                new ProcessStartInfo(executable, ["--mode", "validate", "--log-level", "error", "-c", file])
                {
                    UseShellExecute = false,
                    RedirectStandardError = true,
                    RedirectStandardOutput = true,
                }
            )!;
            var error = process.StandardError.ReadToEndAsync();
            var output = process.StandardOutput.ReadToEndAsync();
            await process.WaitForExitAsync();
            return process.ExitCode == 0 ? null : $"exit code {process.ExitCode}: {await error}{await output}";
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>Why Envoy refuses a listener; null where it takes it. Clusters that the listener names are put beside it, empty.</summary>
    public static Task<string?> RefusalOfListenerAsync(EnvoyRelease release, JsonNode listener)
    {
        var configuration = new JsonObject
        {
            ["node"] = new JsonObject { ["id"] = "test", ["cluster"] = "test" },
            ["staticResources"] = new JsonObject
            {
                ["listeners"] = new JsonArray(listener.DeepClone()),
                ["clusters"] = new JsonArray([
                    .. ClusterNames(listener).Distinct(StringComparer.Ordinal).Select(name => (JsonNode)EmptyCluster(name)),
                ]),
            },
        };
        return RefusalAsync(release, configuration.ToJsonString(), ".json");
    }

    /// <summary>Why Envoy refuses a route configuration; null where it takes it.</summary>
    public static Task<string?> RefusalOfRoutesAsync(EnvoyRelease release, JsonNode routeConfiguration)
    {
        var manager = new JsonObject
        {
            ["@type"] = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            ["statPrefix"] = "test",
            ["routeConfig"] = routeConfiguration.DeepClone(),
            ["httpFilters"] = new JsonArray(
                new JsonObject
                {
                    ["name"] = "envoy.filters.http.router",
                    ["typedConfig"] = new JsonObject { ["@type"] = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
                }
            ),
        };
        return RefusalOfListenerAsync(
            release,
            new JsonObject
            {
                ["name"] = "test",
                ["address"] = new JsonObject
                {
                    ["socketAddress"] = new JsonObject { ["address"] = "127.0.0.1", ["portValue"] = 10000 },
                },
                ["filterChains"] = new JsonArray(
                    new JsonObject
                    {
                        ["filters"] = new JsonArray(
                            new JsonObject { ["name"] = "envoy.filters.network.http_connection_manager", ["typedConfig"] = manager }
                        ),
                    }
                ),
            }
        );
    }

    private static JsonObject EmptyCluster(string name) =>
        new()
        {
            ["name"] = name,
            ["type"] = "STATIC",
            ["loadAssignment"] = new JsonObject { ["clusterName"] = name },
        };

    /// <summary>All that stands where Envoy's messages name clusters.</summary>
    private static IEnumerable<string> ClusterNames(JsonNode? node) =>
        node switch
        {
            JsonObject members => members.SelectMany(m =>
                m switch
                {
                    { Key: "cluster" or "clusterName", Value: JsonValue name } => [name.GetValue<string>()],
                    { Key: "clusters", Value: JsonArray weighted } => weighted.Select(w => w!["name"]!.GetValue<string>()),
                    _ => ClusterNames(m.Value),
                }
            ),
            JsonArray items => items.SelectMany(ClusterNames),
            _ => [],
        };
}
