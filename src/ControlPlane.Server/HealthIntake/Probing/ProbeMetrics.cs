using System.Diagnostics.Metrics;
using ControlPlane.Core.Health;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>What the probers do. How often probes fail, and whether they come in time.</summary>
internal sealed class ProbeMetrics
{
    /// <summary>The meter of all metrics of this folder.</summary>
    public const string MeterName = "ControlPlane.HealthIntake";

    private readonly Counter<long> _probes;
    private readonly Histogram<double> _lateness;

    /// <summary>Creates the instruments.</summary>
    public ProbeMetrics(IMeterFactory meters)
    {
        var meter = meters.Create(MeterName);
        _probes = meter.CreateCounter<long>("health.probes", "{probe}", "Probes that ended, by how.");
        _lateness = meter.CreateHistogram(
            "health.probe.lateness",
            "s",
            "How much later than planned a probe began.",
            tags: null,
            new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] }
        );
        foreach (var failure in Enum.GetValues<FailureClass>())
        {
            _probes.Add(0, ResultOf(failure));
        }
    }

    /// <summary>A probe begins.</summary>
    /// <param name="lateness">Since when it was due.</param>
    public void Began(TimeSpan lateness) => _lateness.Record(lateness.TotalSeconds);

    /// <summary>A probe has ended.</summary>
    public void Ended(ProbeOutcome outcome) => _probes.Add(1, ResultOf(outcome.Class));

    private static KeyValuePair<string, object?> ResultOf(FailureClass? failure) =>
        new("result", Names[failure is { } known ? (int)known : ^1]);

    // In the order of FailureClass, then what says nothing of the endpoint.
    private static readonly string[] Names =
    [
        "pass",
        "refused",
        "unreachable",
        "connect_timeout",
        "tls_timeout",
        "timeout",
        "reset",
        "tls",
        "status",
        "body",
        "protocol",
        "unknown",
        "own_fault",
    ];
}
