using System.Diagnostics;

namespace ControlPlane.Server.Demo;

/// <summary>An Envoy as a child of this process, which ends with it.</summary>
internal sealed class EnvoyProcess : IAsyncDisposable
{
    private readonly Process _process;
    private readonly DirectoryInfo _directory;

    private EnvoyProcess(Process process, DirectoryInfo directory)
    {
        _process = process;
        _directory = directory;
        Ended = process.WaitForExitAsync();
    }

    /// <summary>Completes when the process has ended, by whomever.</summary>
    public Task Ended { get; }

    /// <summary>The end of its log.</summary>
    public string LastWords
    {
        get
        {
            var log = LogIn(_directory);
            return File.Exists(log) ? string.Join(Environment.NewLine, File.ReadLines(log).TakeLast(3)) : "";
        }
    }

    /// <summary>How it has ended; only to be asked when it has.</summary>
    public string EndReason => $"Envoy has ended with code {_process.ExitCode}. {LastWords}";

    private static string LogIn(DirectoryInfo directory) => Path.Combine(directory.FullName, "envoy.log");

    /// <summary>Finds an Envoy: <c>ENVOY_PATH</c>, else <c>envoy</c> in a folder of <c>PATH</c>. Null if there is none.</summary>
    public static string? Find()
    {
        if (Environment.GetEnvironmentVariable("ENVOY_PATH") is { Length: > 0 } given)
        {
            return File.Exists(given) ? given : null;
        }

        return (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(folder => Path.Combine(folder, "envoy"))
            .FirstOrDefault(File.Exists);
    }

    /// <summary>Starts an Envoy with a bootstrap; its log goes to a file in a folder of its own, which is deleted with it.</summary>
    public static EnvoyProcess Start(string executable, string nodeId, string bootstrap)
    {
        var directory = Directory.CreateTempSubdirectory("controlplane-demo-envoy-");
        var config = Path.Combine(directory.FullName, "bootstrap.yaml");
        File.WriteAllText(config, bootstrap);
        var start = new ProcessStartInfo(executable)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        foreach (
            var argument in (string[])
                [
                    "-c",
                    config,
                    // Merged over the file: the demo's proxy leaves the usual admin port to others.
                    "--config-yaml",
                    "admin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }",
                    "--service-node",
                    nodeId,
                    "--disable-hot-restart",
                    "--concurrency",
                    "1",
                    "--log-level",
                    "warning",
                    "--log-path",
                    LogIn(directory),
                ]
        )
        {
            start.ArgumentList.Add(argument);
        }

        var process = Process.Start(start) ?? throw new InvalidOperationException($"{executable} did not start.");
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return new EnvoyProcess(process, directory);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
        }

        await Ended;
        _process.Dispose();
        _directory.Delete(recursive: true);
    }
}
