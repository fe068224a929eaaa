using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;

namespace ControlPlane.Core.Snapshots;

/// <summary>
/// The resources that the members of one combination of node groups are to have, kept in step with the compiled state. Mutable, with one owner; what it hands out is immutable.
/// </summary>
/// <remarks>
/// An object is in the view if it names no group, or one of the view's. A secret is in the view only if something in the view refers to it, so that a key never goes to a node
/// that has no use for it.
/// </remarks>
public sealed class ViewSnapshot
{
    private readonly ImmutableHashSet<string> _groups;
    private readonly Dictionary<ResourceKey, ImmutableArray<EncodedResource>> _published = [];

    /// <summary>Creates the view of a combination of groups, without resources.</summary>
    public ViewSnapshot(ImmutableHashSet<string> groups)
    {
        _groups = groups;
    }

    /// <summary>What is in force for the view's nodes.</summary>
    public Snapshot Current { get; private set; } = Snapshot.Empty;

    /// <summary>Brings the view in step with the compiled state for the objects that changed. Returns what differs; null if nothing does.</summary>
    /// <param name="revision">The revision of the desired state that <paramref name="compiled"/> is of.</param>
    /// <param name="compiled">The compiled state.</param>
    /// <param name="changed">The objects that may differ from what the view holds.</param>
    public SnapshotChange? Advance(long revision, CompiledState compiled, IReadOnlyCollection<ResourceKey> changed)
    {
        var count = ResourceType.All.Length;
        var updated = new List<EncodedResource>?[count];
        var removed = new List<string>?[count];

        var pending = new Queue<ResourceKey>(changed);
        var seen = new HashSet<ResourceKey>(changed);
        while (pending.TryDequeue(out var key))
        {
            var before = _published.GetValueOrDefault(key, []);
            var after = Visible(key, compiled);
            foreach (var resource in before)
            {
                if (!after.Any(a => a.Type == resource.Type && a.Name == resource.Name))
                {
                    (removed[resource.Type.Index] ??= []).Add(resource.Name);
                }
            }

            foreach (var resource in after)
            {
                (updated[resource.Type.Index] ??= []).Add(resource);
            }

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

        var sets = new List<ResourceSet>();
        var names = new ImmutableArray<string>[count];
        foreach (var type in ResourceType.All)
        {
            var old = Current[type];
            names[type.Index] = [];
            if (updated[type.Index] is null && removed[type.Index] is null)
            {
                continue;
            }

            var set = old.With(updated[type.Index] ?? [], removed[type.Index] ?? []);
            if (!ReferenceEquals(set, old))
            {
                sets.Add(set);
                names[type.Index] =
                [
                    .. (updated[type.Index] ?? []).Select(r => r.Name).Concat(removed[type.Index] ?? []).Distinct().Where(n => old.Find(n) != set.Find(n)),
                ];
            }
        }

        if (sets.Count == 0)
        {
            return null;
        }

        var change = new SnapshotChange(Current, Current.With(revision, sets), [.. names]);
        Current = change.After;
        return change;
    }

    private ImmutableArray<EncodedResource> Visible(ResourceKey key, CompiledState compiled)
    {
        if (compiled.Find(key) is not { } compiledObject || !InView(compiledObject))
        {
            return [];
        }

        return [.. compiledObject.Resources.Where(r => r.Type != ResourceType.Secret || IsUsed(r, compiled))];
    }

    private bool IsUsed(EncodedResource secret, CompiledState compiled) =>
        compiled.Referrers(new ResourceReference(secret.Type, secret.Name)).Any(r => compiled.Find(r) is { } user && InView(user));

    private bool InView(CompiledObject compiledObject) =>
        compiledObject.NodeGroups.IsEmpty || compiledObject.NodeGroups.Any(_groups.Contains);
}
