using System.Collections.Immutable;

namespace ControlPlane.Core.Snapshots;

/// <summary>Everything that one kind of node is to have, over all types, at one revision. Immutable and complete.</summary>
public sealed class Snapshot
{
    private readonly ImmutableArray<ResourceSet> _sets;

    private Snapshot(long revision, ImmutableArray<ResourceSet> sets)
    {
        Revision = revision;
        _sets = sets;
    }

    /// <summary>The snapshot without resources.</summary>
    public static Snapshot Empty { get; } = new(0, [.. ResourceType.All.Select(ResourceSet.Empty)]);

    /// <summary>The revision of the desired state that this was compiled from. Tells a reader what is in force; never a version on the wire.</summary>
    public long Revision { get; }

    /// <summary>The resources of a type.</summary>
    public ResourceSet this[ResourceType type] => _sets[type.Index];

    /// <summary>The successor: the same snapshot with some sets replaced.</summary>
    public Snapshot With(long revision, IEnumerable<ResourceSet> sets)
    {
        var builder = _sets.ToBuilder();
        foreach (var set in sets)
        {
            builder[set.Type.Index] = set;
        }

        return new Snapshot(revision, builder.MoveToImmutable());
    }
}
