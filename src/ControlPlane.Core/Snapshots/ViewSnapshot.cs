using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;

namespace ControlPlane.Core.Snapshots;

/// <summary>
/// Decides which resources the members of one combination of node groups, in one zone, are to have, and remembers what it decided. Mutable, with one owner; what it hands out is immutable.
/// </summary>
/// <remarks>
/// An object is in the view if it names no group, or one of the view's. A secret is in the view only if something in the view refers to it, so that a key never goes to a node
/// that has no use for it.
/// </remarks>
public sealed class ViewSnapshot
{
    private readonly ImmutableHashSet<string> _groups;
    private readonly string? _zone;
    private readonly Dictionary<ResourceKey, ImmutableArray<EncodedResource>> _published = [];

    /// <summary>Creates a view without resources.</summary>
    /// <param name="groups">The combination of groups.</param>
    /// <param name="zone">The zone whose assignments the members get where there are such; null gets what everyone gets.</param>
    public ViewSnapshot(ImmutableHashSet<string> groups, string? zone = null)
    {
        _groups = groups;
        _zone = zone;
    }

    /// <summary>Makes the step that brings the view in step with the compiled state for the objects that changed.</summary>
    /// <param name="current">What is in force for the view.</param>
    /// <param name="revision">The revision of the desired state that <paramref name="compiled"/> is of.</param>
    /// <param name="compiled">The compiled state.</param>
    /// <param name="changed">The objects that may differ from what the view holds.</param>
    public SnapshotChange Advance(Snapshot current, long revision, CompiledState compiled, IReadOnlyCollection<ResourceKey> changed)
    {
        var updated = new List<EncodedResource>();
        var removed = new List<ResourceReference>();
        var pending = new Queue<ResourceKey>(changed);
        var seen = new HashSet<ResourceKey>(changed);
        while (pending.TryDequeue(out var key))
        {
            var before = _published.GetValueOrDefault(key, []);
            var after = Visible(key, compiled);
            removed.AddRange(
                before
                    .Where(old => !after.Any(now => now.Type == old.Type && now.Name == old.Name))
                    .Select(old => new ResourceReference(old.Type, old.Name))
            );
            updated.AddRange(after);
            if (after.IsEmpty)
            {
                _published.Remove(key);
            }
            else
            {
                _published[key] = after;
            }

            // What this object began or ceased to refer to may have become visible or invisible: secrets only.
            foreach (var target in before.Concat(after).SelectMany(r => r.References))
            {
                if (target.Type == ResourceType.Secret && compiled.OwnerOf(target) is { } owner && seen.Add(owner))
                {
                    pending.Enqueue(owner);
                }
            }
        }

        return SnapshotChange.Make(current, revision, updated, removed);
    }

    private ImmutableArray<EncodedResource> Visible(ResourceKey key, CompiledState compiled)
    {
        if (compiled.Find(key) is not { } compiledObject || !InView(compiledObject))
        {
            return [];
        }

        var visible = compiledObject.Resources.Where(r => r.Type != ResourceType.Secret || IsUsed(r, compiled));
        return _zone is not null && compiledObject.ZoneAssignments.TryGetValue(_zone, out var assignment)
            ? [.. visible.Select(r => r.Type == ResourceType.Endpoints ? assignment : r)]
            : [.. visible];
    }

    private bool IsUsed(EncodedResource secret, CompiledState compiled) =>
        compiled.Referrers(new ResourceReference(secret.Type, secret.Name)).Any(r => compiled.Find(r) is { } user && InView(user));

    private bool InView(CompiledObject compiledObject) =>
        compiledObject.NodeGroups.IsEmpty || compiledObject.NodeGroups.Any(_groups.Contains);
}
