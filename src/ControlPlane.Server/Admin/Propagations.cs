using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.Admin;

/// <summary>How far changes have got: which proxies acknowledged, which refused and with which words, which have not answered.</summary>
internal sealed class Propagations(
    ConnectedNodes nodes,
    SnapshotViews views,
    SnapshotPublisher publisher,
    CurrentState current,
    TimeProvider time
)
{
    /// <summary>How far an object's resources have got with the connected nodes.</summary>
    public Propagation Of(CompiledObject compiled) => Of(compiled.Resources.Select(r => new ResourceReference(r.Type, r.Name)));

    /// <summary>Waits until every connected node that is to have a change answered, or time is up.</summary>
    public async Task<Propagation> WaitAsync(ChangeApplied change, TimeSpan limit, CancellationToken cancellationToken)
    {
        var touched = change
            .Impact.Resources.Select(r => (r.After ?? r.Before)!)
            .Select(r => new ResourceReference(r.Type, r.Name))
            .ToImmutableArray();
        using var timeout = new CancellationTokenSource(limit, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            await publisher.PublishedAsync(change.Revision, either.Token);
            while (true)
            {
                // Taken before the look: an answer that comes in between is not missed.
                var next = nodes.NextChange();
                if (Of(touched).IsComplete)
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

        return Of(touched) with
        {
            Offline = Offline(change),
        };
    }

    private Propagation Of(IEnumerable<ResourceReference> resources)
    {
        var compiled = current.Compiled;
        var byNode = new SortedDictionary<string, (DeliveryState State, List<Resources.Api.Refusal> Refusals)>(StringComparer.Ordinal);
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

                var known = byNode.TryGetValue(node.Id, out var before) ? before : (State: DeliveryState.None, Refusals: []);
                if (delivery.Refusal is { } refusal)
                {
                    known.Refusals.Add(
                        new Resources.Api.Refusal(node.Id, resource.Type.ShortName, resource.Name, refusal.Text, refusal.Since)
                    );
                }

                // In order of declaration: none, pending, acknowledged, refused. One resource that is pending makes the node pending, unless one was refused.
                var state = (known.State, delivery.State) switch
                {
                    (DeliveryState.Nacked, _) or (_, DeliveryState.Nacked) => DeliveryState.Nacked,
                    (DeliveryState.Pending, _) or (_, DeliveryState.Pending) => DeliveryState.Pending,
                    _ => DeliveryState.Acked,
                };
                byNode[node.Id] = (state, known.Refusals);
            }
        }

        return new Propagation
        {
            Replica = Environment.MachineName,
            Acked = byNode.Count(n => n.Value.State == DeliveryState.Acked),
            Nacked = [.. byNode.SelectMany(n => n.Value.Refusals)],
            Pending = [.. byNode.Where(n => n.Value.State == DeliveryState.Pending).Select(n => n.Key)],
        };
    }

    /// <summary>Nodes that left not long ago and would be told of the change if they came back: those that are in a group of one of its objects.</summary>
    private ImmutableArray<string> Offline(ChangeApplied change)
    {
        var compiled = current.Compiled;
        var owners = CompiledState.Affected(current.Desired, change.Results.Select(r => r.Key));
        // Of an object that is gone nobody knows any more for whom it was.
        var groups = owners.Select(o => compiled.Find(o)?.NodeGroups ?? []).ToList();
        return
        [
            .. nodes.List().Where(n => n.DisconnectedAt is not null && groups.Exists(g => IsFor(g, n.Identity))).Select(n => n.Identity.Id),
        ];
    }

    private bool IsFor(ImmutableArray<string> groups, NodeIdentity node) => groups.IsEmpty || groups.Any(views.GroupsOf(node).Contains);
}
