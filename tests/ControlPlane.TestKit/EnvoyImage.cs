using System.ComponentModel;
using System.Diagnostics;

namespace ControlPlane.TestKit;

/// <summary>
/// Envoy from its Docker image, where an engine answers. The executable is taken out of the image and runs as any other: so its ports, its files and its end are
/// those of a process of this machine.
/// </summary>
internal static class EnvoyImage
{
    private static readonly Lock Lock = new();

    /// <summary>The image of a version.</summary>
    public static string Name(string version) => $"envoyproxy/envoy:v{version}";

    /// <summary>Path of the executable; null if there is no engine, or it cannot get the image.</summary>
    public static string? Executable(string version)
    {
        var path = Path.Combine(Path.GetTempPath(), $"controlplane-envoy-{version}", "envoy");
        lock (Lock)
        {
            if (File.Exists(path))
            {
                return path;
            }

            // Made, not started: files can be copied out of it.
            if (!OperatingSystem.IsLinux() || Docker("create", Name(version)) is not { } container)
            {
                return null;
            }

            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            var part = $"{path}.{Environment.ProcessId}";
            try
            {
                if (Docker("cp", $"{container}:/usr/local/bin/envoy", part) is null)
                {
                    return null;
                }

                // Other test processes may do the same: whoever is last replaces equal by equal.
                File.Move(part, path, overwrite: true);
                return path;
            }
            finally
            {
                Docker("rm", container);
            }
        }
    }

    /// <summary>Runs the client; gives what it printed, or null if it failed or is not there.</summary>
    private static string? Docker(params ReadOnlySpan<string> arguments)
    {
        var start = new ProcessStartInfo("docker")
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        try
        {
            using var process = Process.Start(start)!;
            process.ErrorDataReceived += static (_, _) => { };
            process.BeginErrorReadLine();
            var output = process.StandardOutput.ReadToEnd().Trim();
            process.WaitForExit();
            return process.ExitCode == 0 ? output : null;
        }
        catch (Win32Exception)
        {
            return null;
        }
    }
}
