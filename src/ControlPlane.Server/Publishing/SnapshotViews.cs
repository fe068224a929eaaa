using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;

namespace ControlPlane.Server.Publishing;

/// <summary>A combination of node groups, by name: all nodes that are in exactly these groups are to have the same resources.</summary>
/// <param name="Groups">The groups' names, sorted, joined by a comma; empty for nodes in no group.</param>
public readonly record struct ViewKey(string Groups)
{
    /// <summary>The groups' names.</summary>
    public ImmutableHashSet<string> Names => Groups.Length == 0 ? [] : [.. Groups.Split(',')];

    /// <summary>The view of a node: the groups that select it.</summary>
    public static ViewKey Of(NodeIdentity node, DesiredState desired) =>
        new(
            string.Join(
                ',',
                desired
                    .List(ResourceKind.NodeGroup)
                    .Where(g => NodeSelector.Matches((NodeGroupSpec)g.Value.Manifest.Spec, node))
                    .Select(g => g.Key)
            )
        );
}
