using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Publishing;
using Refusal = ControlPlane.Resources.Api.Refusal;

namespace ControlPlane.Server.Admin;

/// <summary>A change whose arrival at the proxies is waited for.</summary>
/// <param name="Revision">The revision that it is.</param>
/// <param name="Resources">What it touched.</param>
/// <param name="Audiences">Of each of its objects the node groups that it is for; none is every node.</param>
internal sealed record AwaitedChange(
    long Revision,
    ImmutableArray<ResourceReference> Resources,
    ImmutableArray<IReadOnlyList<string>> Audiences
);

/// <summary>How far a change has got with the nodes of one server. A node that refused a part and has another on its way is in two lists.</summary>
internal sealed record NodesProgress
{
    /// <summary>Nodes that acknowledged all of it, or something newer.</summary>
    public ImmutableArray<string> Acked { get; init; } = [];

    /// <summary>Nodes that have not answered all of it.</summary>
    public ImmutableArray<string> Pending { get; init; } = [];

    /// <summary>What nodes refused of it.</summary>
    public ImmutableArray<Refusal> Nacked { get; init; } = [];

    /// <summary>Nodes that left not long ago and would be told of it if they came back.</summary>
    public ImmutableArray<string> Offline { get; init; } = [];

    /// <summary>Every node that is connected, those included that the change does not concern.</summary>
    public ImmutableArray<string> Connected { get; init; } = [];
}

/// <summary>How far changes have got: which proxies acknowledged, which refused and with which words, which have not answered.</summary>
internal sealed class Propagations(
    ConnectedNodes nodes,
    SnapshotViews views,
    SnapshotPublisher publisher,
    CurrentState current,
    NodePeers peers,
    TimeProvider time
)
{
    /// <summary>How far an object's resources have got with the nodes that are connected to this server.</summary>
    public Propagation Of(CompiledObject compiled)
    {
        // Each write is answered with this, and a fleet is large: nothing is put together that one server alone cannot say twice.
        var here = ProgressOf(compiled.Resources.Select(r => new ResourceReference(r.Type, r.Name)));
        return new Propagation
        {
            Replica = Environment.MachineName,
            Acked = here.Acked.Length,
            Nacked = InOrder(here.Nacked),
            Pending = here.Pending.Sort(StringComparer.Ordinal),
        };
    }

    /// <summary>Waits until every node that is to have a change and is connected to any of the servers answered, or time is up.</summary>
    public async Task<Propagation> WaitAsync(ChangeApplied change, TimeSpan limit, CancellationToken cancellationToken)
    {
        var compiled = current.Compiled;
        // What was written before and is written again may still be on its way.
        var unchanged = CompiledState.Affected(
            current.Desired,
            change.Results.Where(r => r.Action == ObjectAction.Unchanged).Select(r => r.Key)
        );
        var awaited = new AwaitedChange(
            change.Revision,
            [
                .. change
                    .Impact.Resources.Select(r => (r.After ?? r.Before)!)
                    .Concat(unchanged.SelectMany(key => compiled.Find(key)?.Resources ?? []))
                    .Select(r => new ResourceReference(r.Type, r.Name))
                    .Distinct(),
            ],
            [
                .. CompiledState
                    .Affected(current.Desired, change.Results.Select(r => r.Key))
                    // Of an object that is gone nobody knows any more for whom it was.
                    .Select(owner => (IReadOnlyList<string>)(compiled.Find(owner)?.NodeGroups ?? [])),
            ]
        );
        var asked = peers.WaitAsync(awaited, limit, asker: null, cancellationToken);
        var here = await WaitHereAsync(awaited, limit, cancellationToken);
        var (others, unreachable) = NodePeers.Read<NodesProgress>(await asked);
        return PropagationOf([here, .. others], unreachable);
    }

    /// <summary>Waits until every node that is to have a change and is connected to this server answered, or time is up.</summary>
    public async Task<NodesProgress> WaitHereAsync(AwaitedChange awaited, TimeSpan limit, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(limit, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        var isPublished = false;
        try
        {
            await publisher.PublishedAsync(awaited.Revision, either.Token);
            isPublished = true;
            while (true)
            {
                // Taken before the look: an answer that comes in between is not missed.
                var next = nodes.NextChange();
                if (ProgressOf(awaited.Resources).Pending.IsEmpty)
                {
                    break;
                }

                await next.WaitAsync(either.Token);
            }
        }
        catch (OperationCanceledException) when (timeout.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            // What is still pending then says itself.
        }

        var progress = ProgressOf(awaited.Resources);
        return progress with
        {
            // What they acknowledged before they could be sent it is something older.
            Acked = isPublished ? progress.Acked : [],
            Pending = isPublished ? progress.Pending : [.. progress.Acked, .. progress.Pending],
            Connected = [.. nodes.Connected().Select(n => n.Id)],
            Offline =
            [
                .. nodes
                    .List()
                    .Where(n => n.DisconnectedAt is not null && awaited.Audiences.Any(groups => IsFor(groups, n.Identity)))
                    .Select(n => n.Identity.Id),
            ],
        };
    }

    private NodesProgress ProgressOf(IEnumerable<ResourceReference> resources)
    {
        var compiled = current.Compiled;
        var isPending = new Dictionary<string, bool>(StringComparer.Ordinal);
        var refusals = new List<Refusal>();
        foreach (var resource in resources)
        {
            // Who asks for everything has also what it is not to have: it acknowledged its absence.
            var groups = compiled.OwnerOf(resource) is { } owner ? compiled.Find(owner)!.NodeGroups : [];
            foreach (var (node, delivery) in nodes.DeliveriesOf(resource.Type, resource.Name))
            {
                if (!IsFor(groups, node))
                {
                    continue;
                }

                isPending[node.Id] = isPending.GetValueOrDefault(node.Id) || delivery.State == DeliveryState.Pending;
                if (delivery.Refusal is { } refusal)
                {
                    refusals.Add(new Refusal(node.Id, resource.Type.ShortName, resource.Name, refusal.Text, refusal.Since));
                }
            }
        }

        var refusing = refusals.Select(r => r.Node).ToHashSet(StringComparer.Ordinal);
        return new NodesProgress
        {
            Acked = [.. isPending.Where(n => !n.Value && !refusing.Contains(n.Key)).Select(n => n.Key)],
            Pending = [.. isPending.Where(n => n.Value).Select(n => n.Key)],
            Nacked = [.. refusals],
        };
    }

    /// <summary>Puts together what servers say. A node that has streams to several has acknowledged a change when it did on each.</summary>
    private static Propagation PropagationOf(ImmutableArray<NodesProgress> servers, ImmutableArray<UnreachableReplica> unreachable)
    {
        var pending = servers.SelectMany(s => s.Pending).ToHashSet(StringComparer.Ordinal);
        var nacked = InOrder(servers.SelectMany(s => s.Nacked));
        return new Propagation
        {
            Replica = Environment.MachineName,
            Acked = servers.SelectMany(s => s.Acked).Except(pending).Except(nacked.Select(r => r.Node)).Count(),
            Nacked = nacked,
            Pending = [.. pending.Order(StringComparer.Ordinal)],
            Offline = [.. servers.SelectMany(s => s.Offline).Except(servers.SelectMany(s => s.Connected)).Order(StringComparer.Ordinal)],
            Unreachable = unreachable,
        };
    }

    private static ImmutableArray<Refusal> InOrder(IEnumerable<Refusal> refusals) =>
        [
            .. refusals
                .OrderBy(r => r.Node, StringComparer.Ordinal)
                .ThenBy(r => r.Type, StringComparer.Ordinal)
                .ThenBy(r => r.Resource, StringComparer.Ordinal),
        ];

    private bool IsFor(IReadOnlyList<string> groups, NodeIdentity node) =>
        groups.Count == 0 || views.GroupsOf(node).Intersect(groups).Any();
}
