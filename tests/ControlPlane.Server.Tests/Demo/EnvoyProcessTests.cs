using ControlPlane.Server.Demo;

namespace ControlPlane.Server.Tests.Demo;

/// <summary>How <c>--demo</c> looks for an Envoy, and what it says where there is none that it can start.</summary>
public sealed class EnvoyProcessTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("cp-demo-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task What_ENVOY_PATH_names_is_tried_before_and_what_is_wrong_with_it_is_said()
    {
        var text = Program("text", "no program", UnixFileMode.UserRead);
        var stranger = Program("stranger", "#!/bin/sh\necho stranger 1.0", UnixFileMode.UserRead | UnixFileMode.UserExecute);
        var noFormat = Program("no-format", "no program", UnixFileMode.UserRead | UnixFileMode.UserExecute);

        Assert.Equal($"ENVOY_PATH is {_folder}, which is a folder; name the program itself.", await WhyNotAsync(_folder));
        Assert.Equal($"ENVOY_PATH is {_folder}/none, which does not exist.", await WhyNotAsync($"{_folder}/none"));
        Assert.StartsWith($"ENVOY_PATH is {text}, which cannot be started (", await WhyNotAsync(text), StringComparison.Ordinal);
        Assert.Contains("'chmod +x'", await WhyNotAsync(text), StringComparison.Ordinal);
        Assert.Contains("which cannot be started (", await WhyNotAsync(noFormat), StringComparison.Ordinal);
        Assert.Contains("which is no Envoy", await WhyNotAsync(stranger), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_ENVOY_PATH_the_first_envoy_on_PATH_is_taken_if_it_is_one()
    {
        var envoy = Program(
            "envoy",
            "#!/bin/sh\necho \"$0  version: 0123abcd/1.40.0/Clean/RELEASE/BoringSSL\"",
            UnixFileMode.UserRead | UnixFileMode.UserExecute
        );

        Assert.Equal((envoy, ""), await FindAsync("PATH", $"/nowhere:{_folder}"));
        Assert.Equal((null, "No Envoy was found."), await FindAsync("PATH", "/nowhere"));

        File.SetUnixFileMode(envoy, UnixFileMode.UserRead);
        var (none, why) = await FindAsync("PATH", _folder);
        Assert.Null(none);
        Assert.StartsWith($"The 'envoy' on PATH is {envoy}, which cannot be started", why, StringComparison.Ordinal);
    }

    private static async Task<string> WhyNotAsync(string path)
    {
        var (executable, why) = await FindAsync("ENVOY_PATH", path);
        Assert.Null(executable);
        return why;
    }

    private static Task<(string? Executable, string Why)> FindAsync(string variable, string value) =>
        EnvoyProcess.FindAsync(name => name == variable ? value : null, TestContext.Current.CancellationToken);

    private string Program(string name, string text, UnixFileMode mode)
    {
        var path = Path.Combine(_folder, name);
        File.WriteAllText(path, text);
        File.SetUnixFileMode(path, mode);
        return path;
    }
}
