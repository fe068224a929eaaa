using System.Diagnostics.Metrics;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Telemetry;

/// <summary>What publishing costs, and how long a change takes to the proxies.</summary>
internal sealed class PublishingMetrics
{
    public const string MeterName = "ControlPlane.Publishing";

    private readonly Histogram<double> _build;
    private readonly Histogram<double> _convergence;

    public PublishingMetrics(IMeterFactory factory)
    {
        var meter = factory.Create(MeterName);
        _build = meter.CreateHistogram(
            "xds.snapshot.build.duration",
            "s",
            "Time to compile what a revision, or the clock, touched into new snapshots.",
            advice: Buckets.Seconds
        );
        _convergence = meter.CreateHistogram(
            "xds.convergence.duration",
            "s",
            "Time from the commit of a change to a connected proxy's acknowledgement of it.",
            advice: Buckets.Seconds
        );
    }

    /// <summary>A build ended, whatever came of it.</summary>
    public void SnapshotBuilt(TimeSpan duration) => _build.Record(duration.TotalSeconds);

    /// <summary>A proxy acknowledged a change; see <see cref="ConvergenceTracker"/>.</summary>
    public void Converged(ResourceType type, TimeSpan sinceCommit) =>
        _convergence.Record(sinceCommit.TotalSeconds, KeyValuePair.Create<string, object?>("xds.resource_type", type.ShortName));
}
