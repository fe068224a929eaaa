using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.Server.Telemetry;

namespace ControlPlane.Server.Publishing;

/// <summary>
/// The views of this server's nodes. A view is a combination of node groups: all nodes that are in exactly these groups are to have the same resources. Its key
/// is the groups' names, sorted and joined by a comma. While the proxies of a zone get something else of some upstream than everyone, its nodes have views of their own,
/// with the zone behind an at sign; what a node says of its zone counts for nothing else.
/// </summary>
internal sealed class SnapshotViews(CurrentState state, CurrentVerdicts verdicts, ConvergenceTracker convergence) : IViewSource
{
    /// <summary>In no group's name.</summary>
    private const char BeforeZone = '@';

    // Written in Build and AdvanceAll, which CurrentSnapshots calls one at a time.
    private readonly Dictionary<ViewKey, ViewSnapshot> _views = [];

    /// <summary>The groups that a node is in, by name.</summary>
    public ImmutableArray<string> GroupsOf(NodeIdentity node) =>
        [.. state.Desired.List(ResourceKind.NodeGroup).Where(g => ((NodeGroupSpec)g.Value.Manifest.Spec).Matches(node)).Select(g => g.Key)];

    /// <inheritdoc/>
    public ViewKey ViewOf(NodeIdentity node)
    {
        var groups = string.Join(',', GroupsOf(node));
        return new ViewKey(verdicts.Zones.Contains(node.Zone) ? groups + BeforeZone + node.Zone : groups);
    }

    /// <inheritdoc/>
    public Snapshot Build(ViewKey view)
    {
        // The newest state, which may be ahead of what was published: the publication under way then finds nothing to change in this view.
        var (desired, compiled) = state.Pair;
        var at = view.Value.IndexOf(BeforeZone, StringComparison.Ordinal);
        var groups = at < 0 ? view.Value : view.Value[..at];
        var made = new ViewSnapshot(groups.Length == 0 ? [] : [.. groups.Split(',')], at < 0 ? null : view.Value[(at + 1)..]);
        _views[view] = made;
        return made.Advance(Snapshot.Empty, desired.Revision, compiled, [.. compiled.Objects.Select(o => o.Owner)]).After;
    }

    /// <summary>Brings every view in step with the state in force.</summary>
    /// <param name="snapshots">The snapshots in force.</param>
    /// <param name="changed">The objects that may differ from what was published before.</param>
    /// <param name="committedAt">When the oldest change among them was written.</param>
    public void Publish(CurrentSnapshots snapshots, IReadOnlyCollection<ResourceKey> changed, DateTimeOffset committedAt)
    {
        var (desired, compiled) = state.Pair;
        snapshots.Publish(
            (view, current) =>
            {
                var step = _views[view].Advance(current, desired.Revision, compiled, changed);
                convergence.Publishing(step, committedAt);
                return step;
            }
        );
    }
}
