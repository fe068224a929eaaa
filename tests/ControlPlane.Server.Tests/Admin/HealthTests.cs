using ControlPlane.Resources;
using ControlPlane.Server.Admin;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Admin;

public sealed class HealthTests
{
    [Fact]
    public async Task A_running_server_is_alive_started_and_ready()
    {
        await using var host = await ControlPlaneHost.StartAsync();

        Assert.Equal("ok\n", await host.Http.GetStringAsync("/livez"));
        await Eventually.True("the start", async stop => (await host.Http.GetAsync("/startupz", stop)).IsSuccessStatusCode);
        Assert.Equal("ok\n", await host.Http.GetStringAsync("/readyz"));
        await Eventually.Get(
            "all parts to be well",
            _ => host.Http.GetStringAsync("/readyz?verbose"),
            text => text == "[+]health ok\n[+]state ok\n[+]store ok\nok\n"
        );
        Assert.Equal(400, (int)(await host.Http.GetAsync("/readyz?verbos")).StatusCode);
    }

    [Theory]
    [InlineData(ReadinessState.Degraded, 200, "degraded", "[~]part degraded: because\n")]
    [InlineData(ReadinessState.Failed, 503, "not ready", "[-]part failed: because\n")]
    public async Task The_worst_check_decides_and_degraded_is_still_ready(object state, int status, string summary, string line)
    {
        await using var host = await ControlPlaneHost.StartAsync(services: b =>
            b.Services.AddSingleton(new ReadinessCheck("part", () => ((ReadinessState)state, "because")))
        );

        var answer = await host.Http.GetAsync("/readyz?verbose=true");

        Assert.Equal(status, (int)answer.StatusCode);
        var text = await answer.Content.ReadAsStringAsync();
        Assert.Contains(line, text, StringComparison.Ordinal);
        Assert.EndsWith(summary + "\n", text, StringComparison.Ordinal);
        Assert.Equal(summary + "\n", await (await host.Http.GetAsync("/readyz")).Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task A_fault_of_the_server_is_a_problem_without_a_stack_trace()
    {
        await using var host = await ControlPlaneHost.StartAsync(services: b =>
            b.Services.AddSingleton(new ReadinessCheck("part", () => throw new InvalidOperationException("inner-detail")))
        );

        var answer = await host.Http.GetAsync("/readyz");

        Assert.Equal(500, (int)answer.StatusCode);
        var text = await answer.Content.ReadAsStringAsync();
        Assert.Contains("urn:controlplane:problem:internal", text, StringComparison.Ordinal);
        Assert.DoesNotContain("inner-detail", text, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Health_needs_no_token_and_everything_else_does()
    {
        var folder = Directory.CreateTempSubdirectory("cp-health-").FullName;
        try
        {
            var (_, line) = ControlPlane.Server.Security.TokenFile.Create("ci", ControlPlane.Server.Security.TokenRole.Write);
            await File.WriteAllTextAsync(Path.Combine(folder, "tokens"), line);
            await using var host = await ControlPlaneHost.StartAsync(o => o with { AdminTokenFile = Path.Combine(folder, "tokens") });

            Assert.Equal(200, (int)(await host.Http.GetAsync("/livez")).StatusCode);
            Assert.Equal(200, (int)(await host.Http.GetAsync("/readyz?verbose")).StatusCode);
            foreach (var path in (string[])["/api/v1/upstreams", "/api/v1/nodes", "/api/v1/watch", "/api/v1/export", "/metrics"])
            {
                Assert.Equal(401, (int)(await host.Http.GetAsync(path)).StatusCode);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
