using System.Collections.Concurrent;
using System.Diagnostics;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Telemetry;

/// <summary>
/// Remembers which commit put a version in force, so that the acknowledgement of that version tells how long the change took, and becomes a span of the
/// trace that the change began. Holds the newest <see cref="Capacity"/> versions: one that a proxy acknowledges later than that is not measured.
/// </summary>
internal sealed class ConvergenceTracker(PublishingMetrics metrics, TimeProvider time)
{
    /// <summary>Versions that are remembered: a burst of changes to all types in a few views, for longer than a proxy takes to answer.</summary>
    public const int Capacity = 4096;

    private readonly ConcurrentDictionary<(ResourceType Type, UInt128 Version), Commit> _commits = [];
    private readonly ConcurrentQueue<(ResourceType Type, UInt128 Version)> _order = [];

    private sealed record Commit(DateTimeOffset At, ActivityContext Trace);

    /// <summary>A snapshot is about to be put in force. The current span is that of the change.</summary>
    /// <param name="change">What differs.</param>
    /// <param name="committedAt">When the revision behind it was committed.</param>
    public void Publishing(SnapshotChange change, DateTimeOffset committedAt)
    {
        var commit = new Commit(committedAt, Activity.Current?.Context ?? default);
        foreach (var type in ResourceType.All)
        {
            if (!change.Changes[type.Index].IsEmpty)
            {
                Remember((type, change.After[type].Digest), commit);
            }
        }
    }

    /// <summary>A proxy moved to a version, or refused it.</summary>
    /// <param name="answer">What it said.</param>
    /// <param name="node">Id of the proxy; goes into the span alone.</param>
    /// <param name="streamOpenedAt">When the stream began: what a proxy is given because it connects was in force already, and did not take that long.</param>
    public void Answered(in Answer answer, string node, DateTimeOffset streamOpenedAt)
    {
        if (!_commits.TryGetValue((answer.Type, answer.Version), out var commit) || streamOpenedAt > commit.At)
        {
            return;
        }

        var now = time.GetUtcNow();
        var isRefusal = answer.Kind == AnswerKind.Nack;
        if (!isRefusal)
        {
            // Never negative: the commit may carry another server's clock.
            metrics.Converged(answer.Type, now > commit.At ? now - commit.At : TimeSpan.Zero);
        }

        Tracing.Answered(commit.Trace, answer.Type, node, now - answer.Elapsed, now, isRefusal ? answer.Text ?? "" : null);
    }

    private void Remember((ResourceType Type, UInt128 Version) key, Commit commit)
    {
        if (!_commits.TryAdd(key, commit))
        {
            // A state came back, for example by a rollback: the newest commit counts, in the old one's place.
            _commits[key] = commit;
            return;
        }

        _order.Enqueue(key);
        if (_order.Count > Capacity && _order.TryDequeue(out var oldest))
        {
            _commits.TryRemove(oldest, out _);
        }
    }
}
