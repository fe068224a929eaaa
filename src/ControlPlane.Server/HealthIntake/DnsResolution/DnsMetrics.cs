using System.Diagnostics.Metrics;

namespace ControlPlane.Server.HealthIntake.DnsResolution;

/// <summary>How look-ups of names end.</summary>
internal sealed class DnsMetrics
{
    /// <summary>The meter of all metrics of this folder.</summary>
    public const string MeterName = "ControlPlane.HealthIntake.DnsResolution";

    private readonly Counter<long> _lookups;

    /// <summary>Creates the instruments.</summary>
    public DnsMetrics(IMeterFactory meters)
    {
        _lookups = meters
            .Create(MeterName)
            .CreateCounter<long>("dns.lookups", "{lookup}", "Look-ups of names of upstreams, by how they ended.");
        foreach (var result in Enum.GetValues<DnsResult>())
        {
            _lookups.Add(0, Of(result));
        }
    }

    /// <summary>A look-up has ended.</summary>
    public void LookedUp(DnsResult result) => _lookups.Add(1, Of(result));

    private static KeyValuePair<string, object?> Of(DnsResult result) =>
        new(
            "result",
            result switch
            {
                DnsResult.Found => "found",
                DnsResult.NotFound => "nxdomain",
                DnsResult.Empty => "empty",
                DnsResult.Failure => "failure",
                _ => "timeout",
            }
        );
}
