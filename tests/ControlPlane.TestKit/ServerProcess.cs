using System.Diagnostics;
using ControlPlane.AdminClient;
using ControlPlane.Server;

namespace ControlPlane.TestKit;

/// <summary>The server as a process of its own, so that it can be killed and started again on the same ports and data.</summary>
public sealed class ServerProcess : IAsyncDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("controlplane-process-").FullName;
    private readonly HttpClient _http;
    private ProcessOutput _output = new();
    private ProcessOutput _errors = new();
    private Process? _process;

    /// <summary>Picks ports and a data folder; starts nothing yet.</summary>
    public ServerProcess()
    {
        _http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{AdminPort}") };
        Client = new AdminApiClient(_http);
    }

    /// <summary>Port of the REST API.</summary>
    public int AdminPort { get; } = FreePort.Next();

    /// <summary>Port for proxies.</summary>
    public int XdsPort { get; } = FreePort.Next();

    /// <summary>The process's folder for data.</summary>
    public string DataDir => _folder;

    /// <summary>Client of the REST API.</summary>
    public AdminApiClient Client { get; }

    /// <summary>For requests that the client does not make.</summary>
    public HttpClient Http => _http;

    /// <summary>The process that runs.</summary>
    public int ProcessId => _process?.Id ?? throw new InvalidOperationException("The server does not run.");

    /// <summary>What the server has written to its standard output since its last start.</summary>
    public string Output => _output.ToString();

    /// <summary>What the server has written to its standard error since its last start.</summary>
    public string Errors => _errors.ToString();

    /// <summary>Starts the server and waits until it is ready.</summary>
    /// <param name="arguments">More of the command line.</param>
    public async Task StartAsync(params IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo("dotnet")
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            ArgumentList =
            {
                typeof(ControlPlaneServer).Assembly.Location,
                "--admin-listen",
                $"127.0.0.1:{AdminPort}",
                "--xds-listen",
                $"127.0.0.1:{XdsPort}",
                "--data-dir",
                _folder,
            },
        };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        _process = Process.Start(start)!;
        _output = new ProcessOutput();
        _errors = new ProcessOutput();
        _process.OutputDataReceived += _output.Add;
        _process.ErrorDataReceived += _errors.Add;
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        await Eventually.True(
            "the server to be ready",
            async token => (await _http.GetAsync("/readyz", token)).IsSuccessStatusCode,
            TimeSpan.FromSeconds(60)
        );
    }

    /// <summary>Ends the process as <c>kill -9</c> does.</summary>
    public void Kill()
    {
        _process?.Kill();
        _process?.WaitForExit();
        _process?.Dispose();
        _process = null;
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        Kill();
        _http.Dispose();
        Directory.Delete(_folder, recursive: true);
        return ValueTask.CompletedTask;
    }
}
