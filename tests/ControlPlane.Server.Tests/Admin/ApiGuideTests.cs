using System.Diagnostics;
using System.Text.RegularExpressions;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>docs/api.md promises that its commands can be copied.</summary>
public sealed partial class ApiGuideTests
{
    [Fact]
    public async Task Each_command_of_the_guide_answers_with_the_status_in_its_comment()
    {
        var guide = await File.ReadAllTextAsync(Path.Combine(Repository.Root(), "docs", "api.md"));
        await using var host = await ControlPlaneHost.StartAsync();
        var wrong = new List<string>();
        var commands = Block().Matches(guide).SelectMany(b => Command().Matches(b.Groups[1].Value)).ToList();

        Assert.True(commands.Count > 25);
        foreach (var command in commands)
        {
            var text = command.Groups[1].Value.Replace("127.0.0.1:8080", host.Admin.Authority, StringComparison.Ordinal);
            var status = await RunAsync(text.TrimEnd() + " -s -o /dev/null -w '%{http_code}'");
            if (status != command.Groups[2].Value)
            {
                wrong.Add($"{status} instead of {command.Groups[2].Value}: {command.Groups[1].Value.Trim()}");
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    private static async Task<string> RunAsync(string command)
    {
        using var shell = Process.Start(new ProcessStartInfo("bash", ["-c", command]) { RedirectStandardOutput = true })!;
        var output = await shell.StandardOutput.ReadToEndAsync();
        await shell.WaitForExitAsync();
        return output;
    }

    [GeneratedRegex(@"```sh\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex Block();

    [GeneratedRegex(@"^(curl .*?)# (\d{3})$", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex Command();
}
