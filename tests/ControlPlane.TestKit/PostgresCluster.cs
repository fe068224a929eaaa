using System.Diagnostics;

namespace ControlPlane.TestKit;

/// <summary>
/// A private cluster in a temporary folder, reached by a Unix socket in that folder. A shell script keeps it: the script ends when its standard input does,
/// so when the test process ends in whatever way the server is stopped and the folder deleted. Signals to the process group pass it by: it outlives the tests
/// by a moment, to clean up.
/// </summary>
internal sealed class PostgresCluster : IPostgresHost
{
    // PostgreSQL refuses to run as root; these accounts exist on most systems.
    private static readonly string[] Accounts = ["postgres", "nobody"];

    private const string Keeper = """
        umask 077
        trap '' HUP INT TERM
        bin=$1 durable=$3
        dir=$(mktemp -d "$2/controlplane-postgres-XXXXXX") || exit 1
        trap 'rm -rf "$dir"' EXIT
        "$bin/initdb" -D "$dir/data" -U controlplane -A trust -E UTF8 --no-locale --no-sync >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
        cat >>"$dir/data/postgresql.conf" <<END
        listen_addresses = ''
        unix_socket_directories = '$dir'
        fsync = $durable
        full_page_writes = $durable
        max_connections = 200
        END
        echo "$dir"
        while read -r command mode; do
            "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 $mode "$command" >/dev/null 2>&1 || { cat "$dir/log" >&2; exit 1; }
            echo done
        done
        "$bin/pg_ctl" -D "$dir/data" -w -m immediate stop >/dev/null 2>&1
        """;

    private readonly Process _keeper;
    private readonly Task<string> _errors;

    private PostgresCluster(Process keeper)
    {
        _keeper = keeper;
        _errors = keeper.StandardError.ReadToEndAsync();
    }

    public string ConnectionString { get; private set; } = "";

    /// <summary>Makes and starts a cluster, or says why this machine cannot.</summary>
    public static async Task<(IPostgresHost? Host, string Reason)> TryStartAsync(bool isDurable)
    {
        if (OperatingSystem.IsWindows())
        {
            return (null, "private clusters are not made on Windows");
        }

        if (FindBinaries() is not { } binaries)
        {
            return (null, "no initdb on PATH or in /usr/lib/postgresql (Debian: apt-get install postgresql)");
        }

        var start = new ProcessStartInfo
        {
            FileName = "sh",
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = "/",
        };
        if (Environment.UserName == "root")
        {
            var known = (await File.ReadAllLinesAsync("/etc/passwd")).Select(l => l.Split(':')[0]).ToHashSet();
            if (Accounts.FirstOrDefault(known.Contains) is not { } account)
            {
                return (null, "PostgreSQL refuses to run as root, and there is no account postgres or nobody");
            }

            start.FileName = "setpriv";
            foreach (var argument in new[] { $"--reuid={account}", $"--regid={GroupOf(account)}", "--clear-groups", "sh" })
            {
                start.ArgumentList.Add(argument);
            }
        }

        foreach (var argument in new[] { "-c", Keeper, "keeper", binaries, Path.GetTempPath().TrimEnd('/'), isDurable ? "on" : "off" })
        {
            start.ArgumentList.Add(argument);
        }

        var cluster = new PostgresCluster(Process.Start(start)!);
        var folder = await cluster.ReplyAsync();
        cluster.ConnectionString = $"Host={folder};Username=controlplane;Database=postgres";
        await cluster.StartAsync();
        return (cluster, "");
    }

    public Task StartAsync() => CommandAsync("start");

    public Task StopAsync(bool isCrash) => CommandAsync(isCrash ? "stop -mimmediate" : "stop -mfast");

    public async ValueTask DisposeAsync()
    {
        _keeper.StandardInput.Close();
        await _keeper.WaitForExitAsync();
        _keeper.Dispose();
    }

    private async Task CommandAsync(string command)
    {
        await _keeper.StandardInput.WriteLineAsync(command);
        await _keeper.StandardInput.FlushAsync();
        await ReplyAsync();
    }

    private async Task<string> ReplyAsync() =>
        await _keeper.StandardOutput.ReadLineAsync()
        ?? throw new InvalidOperationException("The private PostgreSQL cluster failed: " + await _errors);

    private static string? FindBinaries()
    {
        var versions = Directory.Exists("/usr/lib/postgresql")
            ? Directory
                .GetDirectories("/usr/lib/postgresql")
                .OrderByDescending(d => int.TryParse(Path.GetFileName(d), out var version) ? version : 0)
                .Select(d => Path.Combine(d, "bin"))
            : [];
        var path = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries);
        return path.Concat(versions).FirstOrDefault(d => File.Exists(Path.Combine(d, "initdb")) && File.Exists(Path.Combine(d, "pg_ctl")));
    }

    private static string GroupOf(string account) =>
        File.ReadLines("/etc/passwd").Select(l => l.Split(':')).First(fields => fields[0] == account)[3];
}
