using System.Collections.Immutable;
using ControlPlane.Resources;

namespace ControlPlane.Core.Compilation;

/// <summary>All objects at one revision, with the indexes that compilation and admission need. Immutable; a change shares all that stayed.</summary>
public sealed class DesiredState
{
    private static readonly ImmutableSortedDictionary<string, StoredResource> NoObjects = ImmutableSortedDictionary.Create<
        string,
        StoredResource
    >(StringComparer.Ordinal);

    private static readonly ImmutableHashSet<ResourceKey> NoReferrers = [];

    // Per kind: the objects by name. Of the two sub-resource kinds: by upstream, then by id.
    private readonly ImmutableArray<ImmutableSortedDictionary<string, StoredResource>> _objects;
    private readonly ImmutableDictionary<ResourceKey, ImmutableSortedDictionary<string, StoredResource>> _children;
    private readonly ImmutableDictionary<ResourceKey, ImmutableHashSet<ResourceKey>> _referrers;

    private DesiredState(
        long revision,
        ImmutableArray<ImmutableSortedDictionary<string, StoredResource>> objects,
        ImmutableDictionary<ResourceKey, ImmutableSortedDictionary<string, StoredResource>> children,
        ImmutableDictionary<ResourceKey, ImmutableHashSet<ResourceKey>> referrers,
        ImmutableDictionary<string, ResolvedEndpoints> resolved
    )
    {
        Resolved = resolved;
        Revision = revision;
        _objects = objects;
        _children = children;
        _referrers = referrers;
    }

    /// <summary>The state before the first revision.</summary>
    public static DesiredState Empty { get; } =
        new(
            0,
            [.. Enum.GetValues<ResourceKind>().Select(_ => NoObjects)],
            ImmutableDictionary<ResourceKey, ImmutableSortedDictionary<string, StoredResource>>.Empty,
            ImmutableDictionary<ResourceKey, ImmutableHashSet<ResourceKey>>.Empty,
            ImmutableDictionary<string, ResolvedEndpoints>.Empty
        );

    /// <summary>The newest revision that the state holds.</summary>
    public long Revision { get; }

    /// <summary>
    /// What the names of upstreams resolve to, by upstream, of those that were resolved since the start. It is no part of what people wrote and of no revision; it lies here because
    /// such an endpoint is in every way one of its upstream.
    /// </summary>
    public ImmutableDictionary<string, ResolvedEndpoints> Resolved { get; }

    /// <summary>The object of a key, or null.</summary>
    public StoredResource? Find(ResourceKey key) =>
        IsSubResource(key.Kind)
            ? Children(key.Kind, key.Parent).GetValueOrDefault(key.Id)
            : _objects[(int)key.Kind].GetValueOrDefault(key.Name);

    /// <summary>Objects of a top-level kind by name, in ordinal order. For sub-resources see <see cref="Children"/>.</summary>
    public ImmutableSortedDictionary<string, StoredResource> List(ResourceKind kind) => _objects[(int)kind];

    /// <summary>The registered or resolved endpoints, or the overrides, of an upstream by id, in ordinal order.</summary>
    public ImmutableSortedDictionary<string, StoredResource> Children(ResourceKind kind, string upstream) =>
        kind == ResourceKind.Endpoint && Resolved.GetValueOrDefault(upstream) is { Endpoints: { } resolved }
            ? resolved
            : StoredChildren(kind, upstream);

    /// <summary>Those of <see cref="Children"/> that are objects in the store.</summary>
    public ImmutableSortedDictionary<string, StoredResource> StoredChildren(ResourceKind kind, string upstream) =>
        _children.GetValueOrDefault(new ResourceKey(kind, upstream), NoObjects);

    /// <summary>Every object, sub-resources included.</summary>
    public IEnumerable<StoredResource> All => _objects.SelectMany(o => o.Values).Concat(_children.Values.SelectMany(c => c.Values));

    /// <summary>The objects whose specs name this one.</summary>
    public ImmutableHashSet<ResourceKey> Referrers(ResourceKey key) => _referrers.GetValueOrDefault(key, NoReferrers);

    /// <summary>Whether objects of a kind belong to an upstream and are named <c>UPSTREAM/ID</c>.</summary>
    public static bool IsSubResource(ResourceKind kind) => kind is ResourceKind.Endpoint or ResourceKind.Override;

    /// <summary>The same state with other resolved endpoints.</summary>
    public DesiredState WithResolved(ImmutableDictionary<string, ResolvedEndpoints> resolved) =>
        ReferenceEquals(resolved, Resolved) ? this : new(Revision, _objects, _children, _referrers, resolved);

    /// <summary>The successor at a revision. Deleting what does not exist is not an error: a catch-up may say so.</summary>
    public DesiredState Apply(long revision, IReadOnlyCollection<StoredResource> written, IReadOnlyCollection<ResourceKey> deleted)
    {
        var objects = new Dictionary<ResourceKind, ImmutableSortedDictionary<string, StoredResource>.Builder>();
        var children = new Dictionary<ResourceKey, ImmutableSortedDictionary<string, StoredResource>.Builder>();
        var referrers = _referrers.ToBuilder();

        foreach (var key in deleted)
        {
            Unlink(key);
            BuilderOf(key).Remove(IsSubResource(key.Kind) ? key.Id : key.Name);
        }

        foreach (var resource in written)
        {
            var key = resource.Key;
            Unlink(key);
            BuilderOf(key)[IsSubResource(key.Kind) ? key.Id : key.Name] = resource;
            foreach (var reference in resource.Manifest.Spec.References())
            {
                referrers[reference.Target] = referrers.GetValueOrDefault(reference.Target, NoReferrers).Add(key);
            }
        }

        var newObjects = _objects.ToBuilder();
        foreach (var (kind, builder) in objects)
        {
            newObjects[(int)kind] = builder.ToImmutable();
        }

        var newChildren = _children.ToBuilder();
        foreach (var (parent, builder) in children)
        {
            if (builder.Count == 0)
            {
                newChildren.Remove(parent);
            }
            else
            {
                newChildren[parent] = builder.ToImmutable();
            }
        }

        return new DesiredState(revision, newObjects.MoveToImmutable(), newChildren.ToImmutable(), referrers.ToImmutable(), Resolved);

        ImmutableSortedDictionary<string, StoredResource>.Builder BuilderOf(ResourceKey key)
        {
            if (!IsSubResource(key.Kind))
            {
                return objects.TryGetValue(key.Kind, out var known) ? known : objects[key.Kind] = _objects[(int)key.Kind].ToBuilder();
            }

            var parent = new ResourceKey(key.Kind, key.Parent);
            return children.TryGetValue(parent, out var builder)
                ? builder
                : children[parent] = StoredChildren(key.Kind, key.Parent).ToBuilder();
        }

        void Unlink(ResourceKey key)
        {
            if (Find(key) is not { } old)
            {
                return;
            }

            foreach (var reference in old.Manifest.Spec.References())
            {
                if (referrers.TryGetValue(reference.Target, out var known))
                {
                    known = known.Remove(key);
                    if (known.IsEmpty)
                    {
                        referrers.Remove(reference.Target);
                    }
                    else
                    {
                        referrers[reference.Target] = known;
                    }
                }
            }
        }
    }
}
