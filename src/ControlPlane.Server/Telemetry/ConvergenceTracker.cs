using System.Collections.Concurrent;
using System.Diagnostics;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Telemetry;

/// <summary>
/// Remembers which commit put a version in force, so that the acknowledgement of that version tells how long the change took, and becomes a span of the
/// trace that the change began. Holds the newest <see cref="Capacity"/> versions: one that a proxy acknowledges later than that is not measured.
/// </summary>
internal sealed class ConvergenceTracker(PublishingMetrics metrics)
{
    /// <summary>Versions that are remembered: a burst of changes to all types in a few views, for longer than a proxy takes to answer.</summary>
    public const int Capacity = 4096;

    private readonly ConcurrentDictionary<(ResourceType, UInt128), Commit> _commits = [];
    private readonly ConcurrentQueue<(ResourceType, UInt128)> _order = [];

    private sealed record Commit(DateTimeOffset At, ActivityContext Trace);

    /// <summary>A set of resources was put in force. Called before any stream can see it.</summary>
    /// <param name="type">Type of the set.</param>
    /// <param name="version">Version of the whole set.</param>
    /// <param name="committedAt">When the revision behind it was committed.</param>
    /// <param name="trace">The span of the commit; default if it is not traced.</param>
    public void Published(ResourceType type, UInt128 version, DateTimeOffset committedAt, ActivityContext trace)
    {
        var key = (type, version);
        if (!_commits.TryAdd(key, new Commit(committedAt, trace)))
        {
            // A state came back, for example by a rollback: the newest commit counts, in the old one's place.
            _commits[key] = new Commit(committedAt, trace);
            return;
        }

        _order.Enqueue(key);
        if (_order.Count > Capacity && _order.TryDequeue(out var oldest))
        {
            _commits.TryRemove(oldest, out _);
        }
    }

    /// <summary>A proxy answered a response. Answers that repeat an acknowledged version are not to be reported.</summary>
    /// <param name="type">Type of the response.</param>
    /// <param name="version">The version that was answered.</param>
    /// <param name="node">Id of the proxy; goes into the span alone.</param>
    /// <param name="streamOpenedAt">When the stream began: what a proxy is given because it connects did not converge, it was in force already.</param>
    /// <param name="sentAt">When the response was written.</param>
    /// <param name="answeredAt">When the answer was read.</param>
    /// <param name="refusal">Null for an ACK; of a NACK the redacted reason, which ends the span but is no convergence.</param>
    public void Answered(
        ResourceType type,
        UInt128 version,
        string node,
        DateTimeOffset streamOpenedAt,
        DateTimeOffset sentAt,
        DateTimeOffset answeredAt,
        string? refusal = null
    )
    {
        if (!_commits.TryGetValue((type, version), out var commit) || streamOpenedAt > commit.At)
        {
            return;
        }

        if (refusal is null)
        {
            // Never negative: the commit may carry another server's clock.
            metrics.Converged(type, answeredAt > commit.At ? answeredAt - commit.At : TimeSpan.Zero);
        }

        Tracing.Pushed(commit.Trace, type, node, sentAt, answeredAt, refusal);
    }
}
