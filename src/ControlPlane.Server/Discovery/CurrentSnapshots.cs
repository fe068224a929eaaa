using System.Collections.Immutable;
using System.Diagnostics;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Discovery;

/// <summary>Which nodes have the same snapshot: those of one set of node groups. Opaque to discovery.</summary>
/// <param name="Value">Equal for nodes that are to have the same resources.</param>
public readonly record struct ViewKey(string Value)
{
    /// <inheritdoc/>
    public override string ToString() => Value;
}

/// <summary>Decides what a node is to have. Called from any thread.</summary>
public interface IViewSource
{
    /// <summary>The view of a node, by what it said in its first message (P-04).</summary>
    ViewKey ViewOf(NodeIdentity node);

    /// <summary>
    /// The complete snapshot of a view that no node had so far. Called while no other view is read or published: it must see every change whose
    /// publication has begun.
    /// </summary>
    Snapshot Build(ViewKey view);
}

/// <summary>
/// The snapshots in force, one per view. One writer, the publisher; read by every stream. Nothing is served before <see cref="MarkReady"/>.
/// </summary>
public sealed class CurrentSnapshots
{
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly IViewSource _source;
    private ImmutableDictionary<ViewKey, View> _views = ImmutableDictionary<ViewKey, View>.Empty;
    private Dictionary<View, PendingPush> _pending = [];

    /// <summary>Starts without a view.</summary>
    public CurrentSnapshots(IViewSource source)
    {
        _source = source;
    }

    /// <summary>Wakes the push loop.</summary>
    internal SemaphoreSlim PushDue { get; } = new(0, 1);

    /// <summary>Completes with the first complete load; streams that are opened before wait for it.</summary>
    public Task Ready => _ready.Task;

    /// <summary>The views that a node has or had.</summary>
    public IReadOnlyCollection<ViewKey> Views => [.. _views.Keys];

    /// <summary>The first complete load is done: from now on nodes are served.</summary>
    public void MarkReady() => _ready.TrySetResult();

    /// <summary>The snapshot of a node: what it is to have now.</summary>
    public Snapshot Of(NodeIdentity node) => ViewFor(node).Current;

    /// <summary>
    /// Replaces the snapshots of all views in one step and sees to it that every stream that is touched learns of it. Returns at once: the streams are told by
    /// a loop of its own, and changes that come while it is busy are merged.
    /// </summary>
    /// <param name="change">Makes the change of one view; null or an empty one where the view stays as it is.</param>
    public void Publish(Func<ViewKey, Snapshot, SnapshotChange?> change)
    {
        var trace = Activity.Current?.Context ?? default;
        lock (_lock)
        {
            foreach (var (key, view) in _views)
            {
                if (change(key, view.Current) is not { IsEmpty: false } step)
                {
                    continue;
                }

                view.Current = step.After;
                _pending[view] = _pending.TryGetValue(view, out var pending)
                    ? new PendingPush(pending.Change.Then(step), pending.Since, pending.Trace)
                    : new PendingPush(step, Stopwatch.GetTimestamp(), trace);
            }

            if (_pending.Count > 0 && PushDue.CurrentCount == 0)
            {
                PushDue.Release();
            }
        }
    }

    /// <summary>Forgets views that no stream uses; a node that comes back gets its view built anew.</summary>
    public void DropUnused()
    {
        lock (_lock)
        {
            foreach (var (key, view) in _views)
            {
                if (view.Subscribers.Count == 0)
                {
                    _views = _views.Remove(key);
                    _pending.Remove(view);
                }
            }
        }
    }

    internal Dictionary<View, PendingPush> TakePending()
    {
        lock (_lock)
        {
            var pending = _pending;
            _pending = [];
            return pending;
        }
    }

    internal ViewKey KeyOf(NodeIdentity node) => _source.ViewOf(node);

    internal View ViewFor(NodeIdentity node)
    {
        var key = _source.ViewOf(node);
        if (_views.TryGetValue(key, out var view))
        {
            return view;
        }

        lock (_lock)
        {
            if (!_views.TryGetValue(key, out view))
            {
                view = new View(key, _source.Build(key));
                _views = _views.Add(key, view);
            }

            return view;
        }
    }

    /// <summary>As <see cref="ViewFor"/>, and counts the stream in before the view can be dropped.</summary>
    internal View Join(NodeIdentity node, DiscoveryStream stream)
    {
        lock (_lock)
        {
            var view = ViewFor(node);
            stream.Slot = view.Subscribers.Join(stream);
            return view;
        }
    }
}

/// <summary>One snapshot in force, and the streams that have it.</summary>
internal sealed class View(ViewKey key, Snapshot current)
{
    private Snapshot _current = current;

    public ViewKey Key { get; } = key;

    /// <summary>A stream enters itself into <see cref="Subscribers"/> before it reads this, so that it cannot miss a change.</summary>
    public Snapshot Current
    {
        get => Volatile.Read(ref _current);
        set => Volatile.Write(ref _current, value);
    }

    public SubscriberIndex Subscribers { get; } = new();
}

/// <summary>Changes of a view that its streams have not been told of.</summary>
internal sealed class PendingPush(SnapshotChange change, long since, ActivityContext trace)
{
    /// <summary>All of them as one.</summary>
    public SnapshotChange Change { get; } = change;

    /// <summary>Timestamp of the first.</summary>
    public long Since { get; } = since;

    /// <summary>Where it came from.</summary>
    public ActivityContext Trace { get; } = trace;

    /// <summary>Nothing else changes: no cluster waits for these endpoints.</summary>
    public bool IsOfEndpointsAlone { get; } =
        ResourceType.All.All(type => type == ResourceType.Endpoints || change.Changes[type.Index].IsEmpty);
}
