using System.ComponentModel;
using System.Diagnostics;

namespace ControlPlane.Server.Demo;

/// <summary>An Envoy as a child of this process, which ends with it.</summary>
internal sealed class EnvoyProcess : IAsyncDisposable
{
    private static readonly TimeSpan LongestAnswer = TimeSpan.FromSeconds(5);

    private readonly Process _process;
    private readonly DirectoryInfo _directory;
    private volatile string _lastError = "";

    private EnvoyProcess(Process process, DirectoryInfo directory)
    {
        _process = process;
        _directory = directory;
        process.ErrorDataReceived += (_, line) => _lastError = line.Data ?? _lastError;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        Ended = process.WaitForExitAsync();
    }

    /// <summary>Completes when the process has ended, by whomever.</summary>
    public Task Ended { get; }

    /// <summary>The end of its log or, before it has one, of what it said on standard error.</summary>
    public string LastWords
    {
        get
        {
            var log = LogIn(_directory);
            return File.Exists(log) ? string.Join(Environment.NewLine, File.ReadLines(log).TakeLast(3)) : _lastError;
        }
    }

    /// <summary>How it has ended; only to be asked when it has.</summary>
    public string EndReason => $"Envoy has ended with code {_process.ExitCode}. {LastWords}";

    private static string LogIn(DirectoryInfo directory) => Path.Combine(directory.FullName, "envoy.log");

    /// <summary>Finds an Envoy: <c>ENVOY_PATH</c>, else <c>envoy</c> in a folder of <c>PATH</c>.</summary>
    /// <param name="environment">Gives the value of an environment variable, or null.</param>
    /// <param name="cancellationToken">Ends the wait for a program that does not answer.</param>
    /// <returns>Its path, or why there is none.</returns>
    public static async Task<(string? Executable, string Why)> FindAsync(
        Func<string, string?> environment,
        CancellationToken cancellationToken
    )
    {
        if (environment("ENVOY_PATH") is { Length: > 0 } given)
        {
            return await AskAsync(given, cancellationToken) is { } fault ? (null, $"ENVOY_PATH is {given}, {fault}.") : (given, "");
        }

        var found = (environment("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(folder => Path.Combine(folder, "envoy"))
            .FirstOrDefault(File.Exists);
        return found is null ? (null, "No Envoy was found.")
            : await AskAsync(found, cancellationToken) is { } unfit ? (null, $"The 'envoy' on PATH is {found}, {unfit}.")
            : (found, "");
    }

    /// <summary>Asks a program for its version.</summary>
    /// <returns>Why it is no Envoy that can be started; null if it is one.</returns>
    private static async Task<string?> AskAsync(string executable, CancellationToken cancellationToken)
    {
        if (Directory.Exists(executable))
        {
            return "which is a folder; name the program itself";
        }

        if (!File.Exists(executable))
        {
            return "which does not exist";
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            var start = new ProcessStartInfo(executable, "--version")
            {
                UseShellExecute = false,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            };
            using var process = Process.Start(start)!;
            try
            {
                process.BeginErrorReadLine();
                limit.CancelAfter(LongestAnswer);
                var answer = await process.StandardOutput.ReadToEndAsync(limit.Token);
                return answer.Contains(" version: ", StringComparison.Ordinal)
                    ? null
                    : "which is no Envoy: it does not tell an Envoy's version";
            }
            finally
            {
                process.Kill(entireProcessTree: true);
            }
        }
        catch (Win32Exception e)
        {
            return $"which cannot be started ({e.Message.TrimEnd('.')}); make it executable with 'chmod +x', if it is an Envoy for this machine";
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return $"which did not tell its version within {LongestAnswer.TotalSeconds:0} s";
        }
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
