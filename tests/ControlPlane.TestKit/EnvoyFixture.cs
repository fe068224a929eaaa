using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Xunit;

namespace ControlPlane.TestKit;

/// <summary>Which Envoy a test runs on.</summary>
public enum EnvoyRelease
{
    /// <summary>The newest supported one: <c>ENVOY_PATH</c>, else <c>envoy</c> on PATH, else the one in the Docker image.</summary>
    Current,

    /// <summary>The oldest supported one: <c>OLD_ENVOY_PATH</c>, else the one in the Docker image.</summary>
    Oldest,
}

/// <summary>
/// A real Envoy process, in a folder of its own that goes with it. Where the machine has no such Envoy, the test is skipped with the reason, and fails when
/// <c>CI=true</c>.
/// </summary>
public sealed partial class EnvoyFixture : IAsyncDisposable
{
    // A test process that is ended from outside runs no DisposeAsync; its Envoys must not outlive it.
    private static readonly ConcurrentDictionary<EnvoyFixture, Process> Running = [];

    private readonly string _executable;
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-envoy-");
    private readonly HttpClient _admin = new() { Timeout = TimeSpan.FromSeconds(10) };
    private ProcessOutput _log = new();
    private ProcessOutput _output = new();
    private Process? _process;
    private int _starts;

    static EnvoyFixture() =>
        AppDomain.CurrentDomain.ProcessExit += static (_, _) =>
        {
            foreach (var (_, process) in Running)
            {
                process.Kill();
            }
        };

    /// <summary>Finds the executable; skips the test (in CI: fails it) if there is none.</summary>
    public EnvoyFixture(EnvoyRelease release = EnvoyRelease.Current)
    {
        try
        {
            _executable = Locate(release);
        }
        catch
        {
            _folder.Delete();
            throw;
        }
    }

    /// <summary>Path of an Envoy's executable; skips the test (in CI: fails it) if there is none.</summary>
    public static string Locate(EnvoyRelease release)
    {
        var (found, missing) = Find(release);
        if (found is null)
        {
            if (Environment.GetEnvironmentVariable("CI") == "true")
            {
                Assert.Fail(missing!);
            }

            Assert.Skip(missing!);
        }

        return found;
    }

    /// <summary>The node id that this Envoy announces unless the caller of <see cref="StartAsync"/> chose one.</summary>
    public string NodeId { get; private set; } = "envoy-" + Guid.NewGuid().ToString("N")[..8];

    /// <summary>Base address of the admin interface, with a trailing slash. Known once Envoy was started.</summary>
    public Uri Admin
    {
        get => field ?? throw new InvalidOperationException("Envoy was not started.");
        private set;
    }

    /// <summary>Everything that Envoy logged since its last start.</summary>
    public string Log => _log.ToString();

    /// <summary>What Envoy wrote to its standard output since its last start: access logs.</summary>
    public string Output => _output.ToString();

    /// <summary>Exit code of the process; null while it runs.</summary>
    public int? ExitCode => _process is { HasExited: true } exited ? exited.ExitCode : null;

    /// <summary>
    /// Starts Envoy and returns once its admin interface answers. It may not serve yet: see <see cref="ReadyAsync"/>. After <see cref="StopAsync"/> or
    /// <see cref="Kill"/> it can be started again.
    /// </summary>
    /// <param name="bootstrap">YAML text. Its admin port is replaced by a free one.</param>
    /// <param name="ports">Other <c>port_value</c>s to replace, from what stands in the text to what is listened on, for example 18000 → the server's port.</param>
    /// <param name="nodeId">Node id; <see cref="NodeId"/> if not given.</param>
    /// <param name="cluster">Service cluster of the node; the bootstrap's if not given.</param>
    /// <param name="logLevel">trace, debug, info, warning, error, critical or off; or levels per component such as <c>info,upstream:debug</c>.</param>
    public async Task StartAsync(
        string bootstrap,
        IReadOnlyDictionary<int, int>? ports = null,
        string? nodeId = null,
        string? cluster = null,
        string logLevel = "info",
        CancellationToken cancellationToken = default
    )
    {
        if (_process is { HasExited: false })
        {
            throw new InvalidOperationException("Envoy runs already.");
        }

        _starts++;
        NodeId = nodeId ?? NodeId;
        var bootstrapPath = Path.Combine(_folder.FullName, "bootstrap.yaml");
        var adminPath = Path.Combine(_folder.FullName, $"admin-{_starts}");
        await File.WriteAllTextAsync(bootstrapPath, WithPorts(bootstrap, ports), cancellationToken);

        // Merged over the file: the admin interface takes any free port and writes the address that it got.
        var overrides = new JsonObject
        {
            ["admin"] = new JsonObject
            {
                ["address"] = new JsonObject
                {
                    ["socket_address"] = new JsonObject { ["address"] = "127.0.0.1", ["port_value"] = 0 },
                },
            },
            ["node"] = new JsonObject { ["id"] = NodeId },
        };
        if (cluster is not null)
        {
            overrides["node"]!["cluster"] = cluster;
        }

        var levels = logLevel.Split(',', 2);
        var start = new ProcessStartInfo(_executable)
        {
            WorkingDirectory = _folder.FullName,
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            ArgumentList =
            {
                "--config-path",
                bootstrapPath,
                "--config-yaml",
                overrides.ToJsonString(),
                "--admin-address-path",
                adminPath,
                "--log-level",
                levels[0],
                "--concurrency",
                "1",
                // No shared memory, which would be left behind by a kill; several Envoys on one machine need no base ids then.
                "--disable-hot-restart",
                // Old listeners drain for this long: tests do not wait for the default of ten minutes.
                "--drain-time-s",
                "3",
            },
        };
        if (levels.Length > 1)
        {
            start.ArgumentList.Add("--component-log-level");
            start.ArgumentList.Add(levels[1]);
        }

        _process?.Dispose();
        _log = new ProcessOutput();
        _output = new ProcessOutput();
        _process = new Process { StartInfo = start };
        _process.ErrorDataReceived += _log.Add;
        _process.OutputDataReceived += _output.Add;
        _process.Start();
        _process.BeginErrorReadLine();
        _process.BeginOutputReadLine();
        Running[this] = _process;

        var address = await Eventually.Get(
            "Envoy's admin address",
            async token => ExitCode is null && File.Exists(adminPath) ? await File.ReadAllTextAsync(adminPath, token) : "",
            // Envoy creates the file before it writes the address: complete is HOST:PORT.
            text => ExitCode is not null || AdminAddress().IsMatch(text),
            cancellationToken: cancellationToken
        );
        if (ExitCode is { } code)
        {
            // Until the pipes are read to their ends.
            await _process.WaitForExitAsync(cancellationToken);
            throw new InvalidOperationException($"Envoy ended with code {code} at its start:\n{Log}");
        }

        Admin = new Uri($"http://{address}/");
    }

    /// <summary>Checks a bootstrap as <c>envoy --mode validate</c> does, without starting it.</summary>
    /// <returns>Null if Envoy takes it, else what it says.</returns>
    public async Task<string?> ValidateAsync(string bootstrap, CancellationToken cancellationToken = default)
    {
        var path = Path.Combine(_folder.FullName, $"validate-{Guid.NewGuid():N}.yaml");
        await File.WriteAllTextAsync(path, bootstrap, cancellationToken);
        using var process = Process.Start(
            new ProcessStartInfo(_executable)
            {
                UseShellExecute = false,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                ArgumentList = { "--mode", "validate", "--config-path", path, "--log-level", "error", "--concurrency", "1" },
            }
        )!;
        var output = process.StandardOutput.ReadToEndAsync(cancellationToken);
        var errors = await process.StandardError.ReadToEndAsync(cancellationToken);
        await process.WaitForExitAsync(cancellationToken);
        return process.ExitCode == 0 ? null : errors + await output;
    }

    /// <summary>Waits until Envoy serves: <c>/ready</c> answers LIVE, which it does once the first configuration is complete.</summary>
    public Task ReadyAsync(TimeSpan? within = null, CancellationToken cancellationToken = default) =>
        Eventually.Get(
            "Envoy to serve",
            token => GetAsync("ready", token),
            static text => text.StartsWith("LIVE", StringComparison.Ordinal),
            within,
            cancellationToken
        );

    /// <summary>Text of an admin page, whatever its status code: <c>ready</c>, <c>listeners</c>, <c>clusters</c>, <c>stats?filter=…</c>.</summary>
    public async Task<string> GetAsync(string path, CancellationToken cancellationToken = default)
    {
        using var response = await _admin.GetAsync(new Uri(Admin, path), cancellationToken);
        return await response.Content.ReadAsStringAsync(cancellationToken);
    }

    /// <summary>Posts to an admin page that changes something: <c>logging?level=debug</c>, <c>drain_listeners</c>, <c>reset_counters</c>.</summary>
    public async Task PostAsync(string path, CancellationToken cancellationToken = default)
    {
        using var response = await _admin.PostAsync(new Uri(Admin, path), content: null, cancellationToken);
        response.EnsureSuccessStatusCode();
    }

    /// <summary>The configuration in force, endpoints included.</summary>
    public async Task<JsonNode> ConfigDumpAsync(CancellationToken cancellationToken = default) =>
        JsonNode.Parse(await GetAsync("config_dump?include_eds", cancellationToken))!;

    /// <summary>Clusters with their hosts, as <c>/clusters?format=json</c> shows them.</summary>
    public async Task<JsonNode> ClustersAsync(CancellationToken cancellationToken = default) =>
        JsonNode.Parse(await GetAsync("clusters?format=json", cancellationToken))!;

    /// <summary>
    /// The hosts of a cluster as ADDRESS:PORT (or the path of a socket) in ordinal order; empty if the cluster does not exist or has none.
    /// </summary>
    public async Task<IReadOnlyList<string>> HostsAsync(string cluster, CancellationToken cancellationToken = default)
    {
        return
        [
            .. (await HostStatusesAsync(cluster, cancellationToken))
                .Select(host =>
                    host!["address"]!["socket_address"] is { } socket
                        ? $"{(string)socket["address"]!}:{(int?)socket["port_value"] ?? 0}"
                        : (string)host["address"]!["pipe"]!["path"]!
                )
                .Order(StringComparer.Ordinal),
        ];
    }

    /// <summary>
    /// What Envoy makes of a host: its <c>eds_health_status</c> as EDS said it, or, where Envoy took it out by itself, <c>EJECTED</c>; null if the cluster has no such host.
    /// </summary>
    /// <param name="cluster">The cluster.</param>
    /// <param name="port">The host's port.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<string?> HealthOfAsync(string cluster, int port, CancellationToken cancellationToken = default)
    {
        var host = await HostAsync(cluster, port, cancellationToken);
        return host is null ? null
            : (bool?)host["health_status"]?["failed_outlier_check"] == true ? "EJECTED"
            : (string?)host["health_status"]?["eds_health_status"] ?? "UNKNOWN";
    }

    /// <summary>The weight of a host in load balancing; null if the cluster has no such host.</summary>
    /// <param name="cluster">The cluster.</param>
    /// <param name="port">The host's port.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<int?> WeightOfAsync(string cluster, int port, CancellationToken cancellationToken = default) =>
        (int?)(await HostAsync(cluster, port, cancellationToken))?["weight"];

    /// <summary>Value of one counter or gauge, by its full name; null while Envoy has none of that name.</summary>
    public async Task<long?> StatAsync(string name, CancellationToken cancellationToken = default)
    {
        var stats = JsonNode.Parse(await GetAsync($"stats?format=json&filter=^{Regex.Escape(name)}$", cancellationToken))!;
        return (long?)stats["stats"]!.AsArray().FirstOrDefault(s => (string?)s!["name"] == name)?["value"];
    }

    /// <summary>Ends Envoy as an operator would, and waits for it.</summary>
    public async Task StopAsync(CancellationToken cancellationToken = default)
    {
        if (_process is { HasExited: false } process)
        {
            await PostAsync("quitquitquit", cancellationToken);
            await process.WaitForExitAsync(cancellationToken);
        }
    }

    /// <summary>Ends Envoy at once, as a crash would.</summary>
    public void Kill()
    {
        if (_process is { HasExited: false } process)
        {
            process.Kill();
            process.WaitForExit();
        }
    }

    /// <summary>Ends Envoy and deletes its folder.</summary>
    public ValueTask DisposeAsync()
    {
        Kill();
        Running.TryRemove(this, out _);
        _process?.Dispose();
        _admin.Dispose();
        _folder.Delete(recursive: true);
        return ValueTask.CompletedTask;
    }

    private async Task<JsonArray> HostStatusesAsync(string cluster, CancellationToken cancellationToken)
    {
        var clusters = (await ClustersAsync(cancellationToken))["cluster_statuses"]?.AsArray() ?? [];
        return clusters.FirstOrDefault(c => (string?)c!["name"] == cluster)?["host_statuses"]?.AsArray() ?? [];
    }

    private async Task<JsonNode?> HostAsync(string cluster, int port, CancellationToken cancellationToken) =>
        (await HostStatusesAsync(cluster, cancellationToken)).FirstOrDefault(h =>
            (int?)h!["address"]?["socket_address"]?["port_value"] == port
        );

    private static (string? Path, string? Missing) Find(EnvoyRelease release)
    {
        var (variable, version) = release == EnvoyRelease.Current ? ("ENVOY_PATH", "1.40.0") : ("OLD_ENVOY_PATH", "1.36.4");
        var given = Environment.GetEnvironmentVariable(variable);
        if (!string.IsNullOrEmpty(given))
        {
            return File.Exists(given) ? (given, null) : (null, $"{variable} is {given}, which does not exist.");
        }

        var onPath = (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(folder => Path.Combine(folder, "envoy"))
            .FirstOrDefault(File.Exists);
        if (release == EnvoyRelease.Current && onPath is not null)
        {
            return (onPath, null);
        }

        return EnvoyImage.Executable(version) is { } fromImage
            ? (fromImage, null)
            : (
                null,
                $"Needs an Envoy {version}: set {variable} to its executable, or have a Docker engine that can get {EnvoyImage.Name(version)}."
            );
    }

    private static string WithPorts(string bootstrap, IReadOnlyDictionary<int, int>? ports) =>
        PortValue()
            .Replace(
                bootstrap,
                match => ports is not null && ports.TryGetValue(int.Parse(match.ValueSpan), out var port) ? port.ToString() : match.Value
            );

    [GeneratedRegex(@"(?<=port_value:\s*)\d+\b", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex PortValue();

    [GeneratedRegex(@"^\S+:[1-9]\d*$", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex AdminAddress();
}
