using System.Globalization;

namespace ControlPlane.Benchmarks.Fleet;

/// <summary>What a process has used, as Linux tells it in <c>/proc</c>; nothing where the process is not named.</summary>
internal sealed class ProcessUsage(int? pid)
{
    private const double TicksPerSecond = 100;

    public bool IsKnown => pid is not null;

    /// <summary>Processor time of all threads, user and kernel, in seconds.</summary>
    public double CpuSeconds
    {
        get
        {
            if (pid is null)
            {
                return 0;
            }

            var fields = File.ReadAllText($"/proc/{pid}/stat").Split(") ")[1].Split(' ');
            return (long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture))
                / TicksPerSecond;
        }
    }

    /// <summary>Resident memory, in KiB.</summary>
    public long ResidentKiB =>
        pid is null
            ? 0
            : long.Parse(
                File.ReadLines($"/proc/{pid}/status")
                    .First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal))
                    .Split(' ', StringSplitOptions.RemoveEmptyEntries)[1],
                CultureInfo.InvariantCulture
            );
}
