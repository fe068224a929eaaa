using System.Diagnostics;
using System.Net.Sockets;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>What a newcomer sees.</summary>
[Trait("Category", "Slow")]
public sealed class DemoTests
{
    [Fact]
    public async Task The_demo_answers_through_Envoy_and_each_command_that_it_prints_works_and_nothing_is_left_behind()
    {
        // Finds it as the demo does, or skips.
        EnvoyFixture.Locate(EnvoyRelease.Current);
        await using var server = new ServerProcess();
        await server.StartAsync("--demo");
        await Eventually.True(
            "the demo",
            _ => Task.FromResult(server.Output.Contains("The demo runs", StringComparison.Ordinal)),
            TimeSpan.FromSeconds(30)
        );
        var commands = server
            .Output.Split('\n')
            .Select(line => line.Trim())
            .Where(line => line.StartsWith("curl ", StringComparison.Ordinal))
            .ToList();
        Assert.Equal(8, commands.Count);
        foreach (var command in commands)
        {
            var answer = await RunAsync("curl -sSf " + command["curl ".Length..]);
            Assert.NotEmpty(answer);
        }

        Assert.StartsWith("Hello from ", await RunAsync("curl -sSf 127.0.0.1:10000"), StringComparison.Ordinal);
        await Eventually.True(
            "what clients noticed",
            _ =>
                Task.FromResult(
                    server.Output.Contains("green has stopped. After ", StringComparison.Ordinal)
                        && server.Output.Contains("Clients noticed", StringComparison.Ordinal)
                ),
            TimeSpan.FromSeconds(20)
        );

        await RunAsync($"kill -INT {server.ProcessId}");
        await Eventually.True("Envoy's end", async _ => !await ListensAsync(10000), TimeSpan.FromSeconds(20));
    }

    private static async Task<string> RunAsync(string command)
    {
        using var process = Process.Start(
            new ProcessStartInfo("bash", ["-c", command]) { RedirectStandardOutput = true, RedirectStandardError = true }
        )!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, $"{command}: {await errors}");
        return output;
    }

    private static async Task<bool> ListensAsync(int port)
    {
        using var client = new TcpClient();
        try
        {
            await client.ConnectAsync("127.0.0.1", port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
