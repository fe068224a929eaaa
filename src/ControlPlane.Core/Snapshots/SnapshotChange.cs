using System.Collections.Immutable;

namespace ControlPlane.Core.Snapshots;

/// <summary>One step from a snapshot to its successor, with what differs, so that no reader has to compare the whole.</summary>
/// <param name="Before">The snapshot that was in force.</param>
/// <param name="After">The snapshot that is in force now.</param>
/// <param name="Changes">
/// Per type (index of <see cref="ResourceType"/>) the names that were added, modified or removed, in canonical form
/// (<see cref="ResourceName.Canonical"/>) and distinct. May name more than what differs, never less.
/// </param>
public sealed record SnapshotChange(Snapshot Before, Snapshot After, ImmutableArray<ImmutableArray<string>> Changes)
{
    private static readonly ImmutableArray<ImmutableArray<string>> NoChanges =
    [
        .. ResourceType.All.Select(_ => ImmutableArray<string>.Empty),
    ];

    /// <summary>True if nothing differs.</summary>
    public bool IsEmpty => ReferenceEquals(Before, After);

    /// <summary>Makes the successor of a snapshot from what was compiled anew.</summary>
    /// <param name="before">The snapshot in force. It is also the successor where nothing differs (S-31, D-27).</param>
    /// <param name="revision">The revision that the successor stands for.</param>
    /// <param name="updated">Resources to add or replace, of any types; one per type and name.</param>
    /// <param name="removed">Resources to take away; those that are not there are ignored.</param>
    public static SnapshotChange Make(
        Snapshot before,
        long revision,
        IEnumerable<EncodedResource> updated,
        IEnumerable<ResourceReference> removed
    )
    {
        var updatedByType = updated.ToLookup(resource => resource.Type);
        var removedByType = removed.ToLookup(reference => reference.Type, reference => reference.Name);
        var sets = new List<ResourceSet>();
        var changes = NoChanges.ToBuilder();
        foreach (var type in ResourceType.All)
        {
            var old = before[type];
            var set = old.With(updatedByType[type], removedByType[type]);
            if (ReferenceEquals(old, set))
            {
                continue;
            }

            sets.Add(set);
            changes[type.Index] =
            [
                .. updatedByType[type]
                    .Select(resource => ResourceName.Canonical(resource.Name))
                    .Concat(removedByType[type].Select(ResourceName.Canonical))
                    .Distinct(StringComparer.Ordinal)
                    .Where(name => !ReferenceEquals(old.Find(name), set.Find(name)))
                    .Order(StringComparer.Ordinal),
            ];
        }

        return sets.Count == 0
            ? new SnapshotChange(before, before, NoChanges)
            : new SnapshotChange(before, before.With(revision, sets), changes.MoveToImmutable());
    }

    /// <summary>The step between two snapshots that need not be neighbours, found by comparing them.</summary>
    public static SnapshotChange Between(Snapshot before, Snapshot after) =>
        new(
            before,
            after,
            [
                .. ResourceType.All.Select(type =>
                    ResourceSet.Differences(before[type], after[type]).Order(StringComparer.Ordinal).ToImmutableArray()
                ),
            ]
        );

    /// <summary>This step and the one that follows it, as one.</summary>
    public SnapshotChange Then(SnapshotChange next)
    {
        var changes = Changes.ToBuilder();
        for (var index = 0; index < changes.Count; index++)
        {
            var more = next.Changes[index];
            if (!more.IsEmpty)
            {
                changes[index] = changes[index].IsEmpty ? more : [.. changes[index].Union(more, StringComparer.Ordinal)];
            }
        }

        return new SnapshotChange(Before, next.After, changes.MoveToImmutable());
    }
}
