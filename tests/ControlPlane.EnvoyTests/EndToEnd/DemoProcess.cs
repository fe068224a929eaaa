using System.Collections.Immutable;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using ControlPlane.Server;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>A command that the demo printed.</summary>
/// <param name="Heading">The line above it: what it is said to do.</param>
/// <param name="Text">What a person would type into a shell.</param>
internal sealed record PrintedCommand(string Heading, string Text);

/// <summary><c>--demo</c> as a newcomer starts it, in a process group of its own and with a folder of its own for all that is temporary.</summary>
internal sealed class DemoProcess : IAsyncDisposable
{
    /// <summary>Fixed, as in the README.</summary>
    public const int ListenerPort = 10000;

    private readonly DirectoryInfo _folder;
    private readonly ProcessOutput _output = new();
    private readonly Process _process;

    private DemoProcess(IEnumerable<string> arguments)
    {
        // Skips the test where there is none: before there is anything to clean up.
        var envoy = EnvoyFixture.Locate(EnvoyRelease.Current);
        _folder = Directory.CreateTempSubdirectory("controlplane-demo-test-");
        var start = new ProcessStartInfo("setsid")
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = _folder.FullName,
            ArgumentList =
            {
                // Who starts the tests in the background has made them, and what they start, deaf to Ctrl-C.
                "env",
                "--default-signal=INT",
                "dotnet",
                typeof(ControlPlaneServer).Assembly.Location,
                "--demo",
                "--admin-listen",
                $"127.0.0.1:{FreePort.Next()}",
                "--xds-listen",
                $"127.0.0.1:{FreePort.Next()}",
            },
            Environment =
            {
                ["ENVOY_PATH"] = envoy,
                ["TMPDIR"] = _folder.FullName,
                // The runtime's own sockets would lie in that folder, too.
                ["DOTNET_EnableDiagnostics"] = "0",
            },
        };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        _process = new Process { StartInfo = start };
        _process.OutputDataReceived += _output.Add;
        _process.ErrorDataReceived += _output.Add;
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    /// <summary>Value of the variable that printed commands call <c>$TOKEN</c>.</summary>
    public string Token { get; init; } = "";

    /// <summary>All that it has written so far.</summary>
    public string Output => _output.ToString();

    /// <summary>The commands that it has printed: what stands below a line that ends with a colon.</summary>
    public ImmutableArray<PrintedCommand> Commands
    {
        get
        {
            var commands = ImmutableArray.CreateBuilder<PrintedCommand>();
            var heading = "";
            foreach (var line in Output.Split('\n').Select(l => l.Trim()))
            {
                if (line.EndsWith(':') && !line.StartsWith("curl", StringComparison.Ordinal))
                {
                    heading = line[..^1];
                }
                else if (line.StartsWith("curl ", StringComparison.Ordinal))
                {
                    commands.Add(new PrintedCommand(heading, line));
                }
            }

            return commands.ToImmutable();
        }
    }

    /// <summary>Ids of the processes that it started, itself included, as far as they live.</summary>
    public IReadOnlyList<int> Living
    {
        get
        {
            var mark = $"TMPDIR={_folder.FullName}";
            return
            [
                .. Directory
                    .EnumerateDirectories("/proc")
                    .Select(path => int.TryParse(Path.GetFileName(path), out var id) ? id : 0)
                    .Where(id => id != 0 && Read(id, "environ").Split('\0').Contains(mark)),
            ];
        }
    }

    /// <summary>What it has left in its folder.</summary>
    public IReadOnlyList<string> Leftovers => [.. _folder.EnumerateFileSystemInfos().Select(f => f.Name)];

    /// <summary>Waits until nothing else has the demo's port.</summary>
    public static Task PortIsFreeAsync() =>
        Eventually.True($"port {ListenerPort} to be free", _ => Task.FromResult(IsFree()), TimeSpan.FromMinutes(2));

    /// <summary>Binds the port without listening on it: nobody answers there, and nobody else can have it.</summary>
    public static Socket Take()
    {
        // For a socket that says TCP, .NET would allow that others bind the same port.
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, ListenerPort));
        return socket;
    }

    /// <summary>Starts the demo.</summary>
    /// <param name="token">See <see cref="Token"/>.</param>
    /// <param name="arguments">More of the command line.</param>
    public static DemoProcess Start(string token = "", params IEnumerable<string> arguments) => new(arguments) { Token = token };

    /// <summary>Waits until it has printed a text.</summary>
    public Task PrintedAsync(string text, TimeSpan within) =>
        Eventually.Get($"'{text}'", _ => Task.FromResult(Output), output => output.Contains(text, StringComparison.Ordinal), within);

    /// <summary>Types a command into a shell.</summary>
    /// <returns>What it wrote to its standard output.</returns>
    public async Task<string> TypeAsync(PrintedCommand command)
    {
        using var shell = Process.Start(
            new ProcessStartInfo("sh")
            {
                UseShellExecute = false,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                ArgumentList = { "-c", command.Text },
                Environment = { ["TOKEN"] = Token },
            }
        )!;
        var errors = shell.StandardError.ReadToEndAsync();
        var output = await shell.StandardOutput.ReadToEndAsync();
        await shell.WaitForExitAsync();
        Assert.True(shell.ExitCode == 0, $"{command.Text}\nended with {shell.ExitCode}: {await errors}");
        return output;
    }

    /// <summary>Kills the Envoy that it started.</summary>
    public void KillEnvoy()
    {
        var id = Assert.Single(Living, id => Read(id, "cmdline").Contains("bootstrap.yaml", StringComparison.Ordinal));
        using var envoy = Process.GetProcessById(id);
        envoy.Kill();
    }

    /// <summary>Ctrl-C: a terminal sends the signal to all processes of the group.</summary>
    /// <returns>The exit code.</returns>
    public async Task<int> InterruptAsync()
    {
        using var kill = Process.Start("sh", ["-c", $"kill -s INT -- -{_process.Id}"]);
        await kill.WaitForExitAsync();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10), TimeProvider.System);
        await _process.WaitForExitAsync(limit.Token);
        return _process.ExitCode;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        _process.Dispose();
        _folder.Delete(recursive: true);
    }

    private static string Read(int process, string file)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/{file}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It has ended, or is somebody else's.
            return "";
        }
    }

    private static bool IsFree()
    {
        try
        {
            using var socket = Take();
            return true;
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            return false;
        }
    }
}
