using System.Collections.Immutable;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Discovery;

/// <summary>One open stream of a node, or its polls; taken at one moment.</summary>
public sealed record StreamStatus
{
    /// <summary>Number of the stream in this process.</summary>
    public required long Id { get; init; }

    /// <summary>The form of the protocol: <c>delta</c>, <c>sotw</c>, or <c>rest</c> of polls.</summary>
    public required string Protocol { get; init; }

    /// <summary><c>ADS</c>, the abbreviation of the one type that a single service serves, or <c>REST</c> of polls.</summary>
    public required string Service { get; init; }

    /// <summary>When it was opened, or the first poll came.</summary>
    public required DateTimeOffset Since { get; init; }

    /// <summary>Address of the other end, as gRPC names it.</summary>
    public required string Peer { get; init; }

    /// <summary>The node's view.</summary>
    public required string? View { get; init; }

    /// <summary>The revision that the view's snapshot stands for.</summary>
    public required long? Revision { get; init; }

    /// <summary>What it asked for and how far that got, in the order of push.</summary>
    public required ImmutableArray<SubscriptionStatus> Subscriptions { get; init; }

    /// <summary>Clusters that do not become active; null for none.</summary>
    public required Warming? Warming { get; init; }
}

/// <summary>A node that has a stream or polls, or did not long ago.</summary>
public sealed record NodeStatus
{
    /// <summary>What it said that it is.</summary>
    public required NodeIdentity Identity { get; init; }

    /// <summary>Its open streams and its polls; none if it is gone.</summary>
    public required ImmutableArray<StreamStatus> Streams { get; init; }

    /// <summary>When its last stream ended, or it was found to poll no more; null while it is connected.</summary>
    public required DateTimeOffset? DisconnectedAt { get; init; }
}

/// <summary>A node that was turned away.</summary>
/// <param name="Node">What it said that it is.</param>
/// <param name="Peer">Address of the other end.</param>
/// <param name="Reason">Why.</param>
/// <param name="At">When it tried last.</param>
/// <param name="Attempts">How often it tried.</param>
public sealed record RefusedNode(NodeIdentity Node, string Peer, string Reason, DateTimeOffset At, int Attempts);

/// <summary>How far one resource got with one node.</summary>
/// <param name="Node">The node.</param>
/// <param name="Delivery">How far; where the node asked on several streams, the worst of them.</param>
public sealed record NodeDelivery(NodeIdentity Node, Delivery Delivery);

/// <summary>
/// Who is connected, what each has, and what it refused. Kept by the streams and polls themselves and read from them when someone asks: nothing is stored twice.
/// </summary>
public sealed class ConnectedNodes
{
    private const int MaxRefused = 100;
    private const int MaxRemembered = 20_000;

    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly Dictionary<string, Entry> _nodes = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Id, string Reason), RefusedNode> _refused = [];
    private ImmutableArray<(NodeIdentity Identity, ImmutableArray<INodeConnection> Streams)> _connected;
    private TaskCompletionSource? _changed;
    private DateTimeOffset _forgotAt;

    /// <summary>Starts without a node.</summary>
    public ConnectedNodes(TimeProvider time)
    {
        _time = time;
    }

    /// <summary>Told of streams that open and close, and of nodes that begin and cease to poll.</summary>
    internal Action<INodeConnection, int>? ConnectionsChanged { get; set; }

    /// <summary>Told of each attempt of a node that may not enter.</summary>
    internal event Action<RefusedNode>? NodeRefused;

    private sealed class Entry
    {
        public required NodeIdentity Identity { get; set; }

        /// <summary>Replaced and never changed: readers keep what they took.</summary>
        public ImmutableArray<INodeConnection> Streams { get; set; } = [];

        public DateTimeOffset? DisconnectedAt { get; set; }
    }

    /// <summary>Every node, by id.</summary>
    public IReadOnlyList<NodeStatus> List()
    {
        Entry[] entries;
        lock (_lock)
        {
            entries = [.. _nodes.Values];
        }

        return [.. entries.Select(StatusOf).OrderBy(node => node.Identity.Id, StringComparer.Ordinal)];
    }

    /// <summary>One node; null if it is not known.</summary>
    public NodeStatus? Find(string id)
    {
        Entry? entry;
        lock (_lock)
        {
            entry = _nodes.GetValueOrDefault(id);
        }

        return entry is null ? null : StatusOf(entry);
    }

    /// <summary>What connected nodes said that they are, without how far each got.</summary>
    public IReadOnlyList<NodeIdentity> Connected() => [.. Streams().Select(node => node.Identity)];

    /// <summary>Nodes that were turned away, the latest first.</summary>
    public IReadOnlyList<RefusedNode> Refused()
    {
        lock (_lock)
        {
            return [.. _refused.Values.OrderByDescending(node => node.At)];
        }
    }

    /// <summary>How far a resource got with each connected node that asked for it. Nodes that did not are left out.</summary>
    public IReadOnlyList<NodeDelivery> DeliveriesOf(ResourceType type, string name)
    {
        var deliveries = new List<NodeDelivery>();
        foreach (var (identity, streams) in Streams())
        {
            var delivery = WorstOf(streams, type, name);
            if (delivery.State != DeliveryState.None)
            {
                deliveries.Add(new NodeDelivery(identity, delivery));
            }
        }

        return deliveries;
    }

    /// <summary>How far a resource got with one node.</summary>
    public Delivery DeliveryOf(string nodeId, ResourceType type, string name)
    {
        ImmutableArray<INodeConnection> streams;
        lock (_lock)
        {
            streams = _nodes.TryGetValue(nodeId, out var entry) ? entry.Streams : [];
        }

        return WorstOf(streams, type, name);
    }

    /// <summary>
    /// Completes with the next acknowledgement, refusal, connection or disconnection. To wait for a condition take the task first, then look, then await it.
    /// </summary>
    public Task NextChange()
    {
        lock (_lock)
        {
            _changed ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _changed.Task;
        }
    }

    internal int CountStale()
    {
        var now = _time.GetUtcNow();
        return Streams().Count(node => node.Streams.Any(stream => stream.IsStaleAt(now)));
    }

    internal void Changed()
    {
        if (Volatile.Read(ref _changed) is null)
        {
            return;
        }

        TaskCompletionSource? changed;
        lock (_lock)
        {
            changed = _changed;
            _changed = null;
        }

        changed?.TrySetResult();
    }

    internal void Connected(INodeConnection stream)
    {
        var node = stream.Node!;
        lock (_lock)
        {
            if (!_nodes.TryGetValue(node.Id, out var entry))
            {
                _nodes[node.Id] = entry = new Entry { Identity = node };
            }

            entry.Identity = node;
            entry.Streams = entry.Streams.Add(stream);
            _connected = default;
            entry.DisconnectedAt = null;
        }

        ConnectionsChanged?.Invoke(stream, 1);
        Changed();
    }

    internal void Disconnected(INodeConnection stream)
    {
        lock (_lock)
        {
            if (_nodes.TryGetValue(stream.Node!.Id, out var entry) && entry.Streams.Contains(stream))
            {
                entry.Streams = entry.Streams.Remove(stream);
                _connected = default;
                if (entry.Streams.IsEmpty)
                {
                    entry.DisconnectedAt = _time.GetUtcNow();
                    if (_nodes.Count > MaxRemembered)
                    {
                        _nodes.Remove(stream.Node.Id);
                    }
                }
            }
        }

        ConnectionsChanged?.Invoke(stream, -1);
        Changed();
    }

    /// <summary>A node that is connected says anew what it is.</summary>
    internal void Identified(NodeIdentity node)
    {
        lock (_lock)
        {
            if (_nodes.TryGetValue(node.Id, out var entry))
            {
                entry.Identity = node;
                _connected = default;
            }
        }
    }

    internal void Refused(NodeIdentity node, string peer, string reason)
    {
        RefusedNode refused;
        lock (_lock)
        {
            var key = (node.Id, reason);
            var attempts = _refused.TryGetValue(key, out var before) ? before.Attempts + 1 : 1;
            if (before is null && _refused.Count >= MaxRefused)
            {
                _refused.Remove(_refused.MinBy(entry => entry.Value.At).Key);
            }

            _refused[key] = refused = new RefusedNode(node, peer, reason, _time.GetUtcNow(), attempts);
        }

        NodeRefused?.Invoke(refused);
        Changed();
    }

    /// <summary>Forgets nodes that went before a time. Looks once a minute at most.</summary>
    internal void Forget(DateTimeOffset before)
    {
        if (before - _forgotAt < TimeSpan.FromMinutes(1))
        {
            return;
        }

        _forgotAt = before;
        lock (_lock)
        {
            foreach (var (id, _) in _nodes.Where(node => node.Value.DisconnectedAt < before).ToList())
            {
                _nodes.Remove(id);
            }
        }
    }

    /// <summary>The connected nodes; made anew when one comes or goes, since each write asks for them.</summary>
    private ImmutableArray<(NodeIdentity Identity, ImmutableArray<INodeConnection> Streams)> Streams()
    {
        lock (_lock)
        {
            if (_connected.IsDefault)
            {
                _connected = [.. _nodes.Values.Where(entry => !entry.Streams.IsEmpty).Select(entry => (entry.Identity, entry.Streams))];
            }

            return _connected;
        }
    }

    private NodeStatus StatusOf(Entry entry)
    {
        NodeIdentity identity;
        ImmutableArray<INodeConnection> streams;
        DateTimeOffset? disconnectedAt;
        lock (_lock)
        {
            identity = entry.Identity;
            streams = entry.Streams;
            disconnectedAt = entry.DisconnectedAt;
        }

        var now = _time.GetUtcNow();
        return new NodeStatus
        {
            Identity = identity,
            Streams = [.. streams.Select(stream => stream.Status(now))],
            DisconnectedAt = disconnectedAt,
        };
    }

    private static Delivery WorstOf(ImmutableArray<INodeConnection> streams, ResourceType type, string name)
    {
        Delivery worst = default;
        foreach (var stream in streams)
        {
            var delivery = stream.DeliveryOf(type, name);
            if (Rank(delivery.State) > Rank(worst.State))
            {
                worst = delivery;
            }
        }

        return worst;
    }

    private static int Rank(DeliveryState state) =>
        state switch
        {
            DeliveryState.Nacked => 3,
            DeliveryState.Pending => 2,
            DeliveryState.Acked => 1,
            _ => 0,
        };
}
