using System.Net.Http.Json;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests;

/// <summary>What the server's metrics say of changes that a real Envoy takes.</summary>
public sealed class ConvergenceTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task A_change_that_envoy_takes_is_timed_from_its_write_to_its_acknowledgement()
    {
        await using var envoy = new EnvoyFixture();
        await using var server = await ControlPlaneHost.StartAsync();
        var http = server.Http;

        // What Envoy is given because it connects was in force before: it has not taken long to converge.
        await PutAsync(http, "first");
        await envoy.StartAsync(
            await File.ReadAllTextAsync(RepositoryPath("envoy/edge.yaml")),
            new Dictionary<int, int> { [18000] = server.Xds.Port }
        );
        await envoy.ReadyAsync();
        await Eventually.Get("the first cluster", token => envoy.HostsAsync("first", token), hosts => hosts.Count == 1);
        Assert.Null(await ConvergedAsync(http, "CDS"));

        await PutAsync(http, "second");
        var converged = await Eventually.Get("a converged CDS change", _ => ConvergedAsync(http, "CDS"), value => value is not null);
        Assert.Equal("1", converged);

        // Its state is decided on its own clock, and Envoy can be faster.
        var metrics = await Eventually.Get(
            "the endpoint's state",
            token => http.GetStringAsync("metrics", token),
            text => Regex.IsMatch(text, """(?m)^upstream_endpoints\{.*state="up",upstream="second".*\} 1$""", RegexOptions.None, Patience)
        );
        Assert.Matches("""(?m)^xds_connections\{.*protocol="delta",service="ADS".*\} 1$""", metrics);
        Assert.Matches("""(?m)^store_query_duration_seconds_count\{.*operation="commit",result="ok".*\} 2$""", metrics);
        Assert.Matches("""(?m)^store_state\{.*\} 1$""", metrics);
        Assert.DoesNotContain(envoy.NodeId, metrics, StringComparison.Ordinal);
    }

    private static async Task PutAsync(HttpClient http, string name)
    {
        using var response = await http.PutAsJsonAsync(
            $"api/v1/upstreams/{name}",
            new
            {
                apiVersion = "controlplane/v1",
                kind = "Upstream",
                metadata = new { name },
                spec = new { endpoints = new { source = "static", @static = new[] { new { address = "127.0.0.1", port = 9 } } } },
            }
        );
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
    }

    private static async Task<string?> ConvergedAsync(HttpClient http, string type)
    {
        var line = $$"""^xds_convergence_duration_seconds_count\{.*xds_resource_type="{{type}}".*\} (?<count>\d+)$""";
        var found = Regex.Match(
            await http.GetStringAsync("metrics"),
            line,
            RegexOptions.Multiline | RegexOptions.ExplicitCapture,
            Patience
        );
        return found.Success ? found.Groups["count"].Value : null;
    }

    private static string RepositoryPath(string path, [CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "../..", path);
}
