using System.Diagnostics.Metrics;

namespace ControlPlane.Server.Telemetry;

/// <summary>How the database does, seen from this server. Recorded by <see cref="MeasuredStore"/>.</summary>
internal sealed class StoreMetrics
{
    public const string MeterName = "ControlPlane.Store";

    private const int Unknown = -1;

    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private readonly Histogram<double> _query;
    private readonly Histogram<double> _notifyLag;
    private volatile int _state = Unknown;

    // The oldest commit of this server that the feed has not told of yet, and the newest revision that it told of.
    private (long Revision, long Timestamp)? _untold;
    private long _told;

    public StoreMetrics(IMeterFactory factory, TimeProvider time)
    {
        _time = time;
        var meter = factory.Create(MeterName);
        _query = meter.CreateHistogram("store.query.duration", "s", "Time of one operation on the store.", advice: Buckets.Seconds);
        _notifyLag = meter.CreateHistogram(
            "store.notify.lag",
            "s",
            "Time from this server's commit until the store's change feed told of it.",
            advice: Buckets.Seconds
        );
        meter.CreateObservableGauge(
            "store.state",
            // Nothing before the first operation: neither answer would be true.
            () => _state == Unknown ? Array.Empty<Measurement<int>>() : [new Measurement<int>(_state)],
            description: "1 while the store answers, 0 while it is unavailable and proxies are served from memory."
        );
    }

    /// <summary>An operation ended.</summary>
    /// <param name="operation">One of a fixed set of words.</param>
    /// <param name="result">ok, conflict, unavailable, cancelled or failed.</param>
    /// <param name="startedAt">Timestamp of its start.</param>
    public void Queried(string operation, string result, long startedAt)
    {
        _query.Record(
            _time.GetElapsedTime(startedAt).TotalSeconds,
            KeyValuePair.Create<string, object?>("operation", operation),
            KeyValuePair.Create<string, object?>("result", result)
        );

        // A cancelled operation tells nothing about the store; any other answer means that it is there.
        if (result != "cancelled")
        {
            _state = result == "unavailable" ? 0 : 1;
        }
    }

    /// <summary>This server committed a revision.</summary>
    public void Committed(long revision)
    {
        lock (_lock)
        {
            if (revision <= _told)
            {
                // The feed was faster than the answer to the commit.
                _notifyLag.Record(0);
            }
            else
            {
                _untold ??= (revision, _time.GetTimestamp());
            }
        }
    }

    /// <summary>The change feed told of a revision, which stands for all before it.</summary>
    public void Notified(long revision)
    {
        lock (_lock)
        {
            _told = Math.Max(_told, revision);
            if (_untold is { } commit && commit.Revision <= revision)
            {
                _notifyLag.Record(_time.GetElapsedTime(commit.Timestamp).TotalSeconds);
                _untold = null;
            }
        }
    }
}
