using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;

namespace ControlPlane.Core.Compilation;

/// <summary>Decides which proxies belong to a group.</summary>
public static class NodeGroupMatcher
{
    /// <summary>Whether any selector of the group matches the proxy.</summary>
    public static bool Matches(this NodeGroupSpec group, NodeIdentity node)
    {
        foreach (var selector in group.Selectors)
        {
            if (Matches(selector, node))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Whether two groups cannot have a proxy in common, whatever proxies there are: any two of their selectors contradict each other.</summary>
    public static bool IsDisjoint(NodeGroupSpec one, NodeGroupSpec other) =>
        one.Selectors.All(a => other.Selectors.All(b => Contradict(a, b)));

    private static bool Contradict(NodeSelector a, NodeSelector b) =>
        NoneInCommon(a.Ids, b.Ids)
        || NoneInCommon(a.Clusters, b.Clusters)
        || Differ(a.Region, b.Region)
        || Differ(a.Zone, b.Zone)
        || Differ(a.SubZone, b.SubZone)
        || a.Metadata.Any(wanted => b.Metadata.TryGetValue(wanted.Key, out var value) && value != wanted.Value);

    private static bool Differ(string? a, string? b) => a is not null && b is not null && a != b;

    private static bool NoneInCommon(ImmutableArray<string> a, ImmutableArray<string> b) =>
        !a.IsEmpty && !b.IsEmpty && a.All(x => b.All(y => !IsLike(x.TrimEnd('*'), y) && !IsLike(y.TrimEnd('*'), x)));

    private static bool Matches(NodeSelector selector, NodeIdentity node) =>
        (selector.Ids.IsEmpty || selector.Ids.Any(pattern => IsLike(node.Id, pattern)))
        && (selector.Clusters.IsEmpty || selector.Clusters.Any(pattern => IsLike(node.Cluster, pattern)))
        && (selector.Region is null || selector.Region == node.Region)
        && (selector.Zone is null || selector.Zone == node.Zone)
        && (selector.SubZone is null || selector.SubZone == node.SubZone)
        && selector.Metadata.All(wanted => node.Metadata.TryGetValue(wanted.Key, out var value) && value == wanted.Value);

    private static bool IsLike(string text, string pattern) =>
        pattern.EndsWith('*') ? text.StartsWith(pattern.AsSpan()[..^1], StringComparison.Ordinal) : text == pattern;
}
