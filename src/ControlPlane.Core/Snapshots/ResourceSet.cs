using System.Collections.Immutable;

namespace ControlPlane.Core.Snapshots;

/// <summary>All resources of one type that a kind of node is to have. Immutable; a change makes a new set that shares all that stayed.</summary>
public sealed class ResourceSet
{
    private readonly ImmutableDictionary<string, EncodedResource> _resources;
    private byte[]? _deltaBody;
    private byte[]? _sotwBody;

    private readonly int _doubted;

    private ResourceSet(ResourceType type, ImmutableDictionary<string, EncodedResource> resources, UInt128 digest, int doubted)
    {
        _doubted = doubted;
        Type = type;
        _resources = resources;
        Digest = digest;
        Version = digest.ToString("x32", null);
    }

    /// <summary>The type of every resource in the set.</summary>
    public ResourceType Type { get; }

    /// <summary>
    /// Digest of the set of (name, version): equal sets have equal versions on every server and over restarts. It is a sum modulo 2^128 of
    /// SHA-256 digests, so that a change costs one subtraction and one addition, whatever the size of the set (an XOR would cancel).
    /// </summary>
    public string Version { get; }

    /// <summary><see cref="Version"/> as a number.</summary>
    public UInt128 Digest { get; }

    /// <summary>
    /// Every resource's <see cref="EncodedResource.DeltaEntry"/> in one piece, by name: what a stream without any of them is sent. Made when it is first
    /// asked for, and shared by every stream.
    /// </summary>
    public ReadOnlyMemory<byte> DeltaBody => _deltaBody ??= Join(static resource => resource.DeltaEntry);

    /// <summary>Likewise of <see cref="EncodedResource.SotwEntry"/>.</summary>
    public ReadOnlyMemory<byte> SotwBody => _sotwBody ??= Join(static resource => resource.SotwEntry);

    /// <summary>Number of resources.</summary>
    public int Count => _resources.Count;

    /// <summary>Whether a resource is <see cref="EncodedResource.IsDoubted"/>.</summary>
    public bool HasDoubted => _doubted > 0;

    /// <summary>The resources, in no particular order.</summary>
    public IEnumerable<EncodedResource> Resources => _resources.Values;

    /// <summary>The resources with their canonical names, in no particular order.</summary>
    internal ImmutableDictionary<string, EncodedResource> Named => _resources;

    /// <summary>The set without resources.</summary>
    public static ResourceSet Empty(ResourceType type) =>
        new(type, ImmutableDictionary<string, EncodedResource>.Empty.WithComparers(StringComparer.Ordinal), UInt128.Zero, doubted: 0);

    /// <summary>Builds a set from scratch; names must be distinct (V-06).</summary>
    public static ResourceSet Create(ResourceType type, IEnumerable<EncodedResource> resources) => Empty(type).With(resources, []);

    /// <summary>The resource of a name, or null. Of an <c>xdstp:</c> name, <see cref="ResourceName.Canonical"/> is what counts (G-11).</summary>
    public EncodedResource? Find(string name) => _resources.GetValueOrDefault(name);

    /// <summary>Adds or replaces resources and takes names away. Returns this very set where nothing differs.</summary>
    public ResourceSet With(IEnumerable<EncodedResource> updated, IEnumerable<string> removed)
    {
        var builder = _resources.ToBuilder();
        var digest = Digest;
        var doubted = _doubted;
        foreach (var name in removed.Select(ResourceName.Canonical))
        {
            if (builder.TryGetValue(name, out var old))
            {
                builder.Remove(name);
                digest -= old.Digest;
                doubted -= old.IsDoubted ? 1 : 0;
            }
        }

        foreach (var resource in updated)
        {
            var name = ResourceName.Canonical(resource.Name);
            if (builder.TryGetValue(name, out var old))
            {
                if (old.Version == resource.Version)
                {
                    continue;
                }

                digest -= old.Digest;
                doubted -= old.IsDoubted ? 1 : 0;
            }

            builder[name] = resource;
            digest += resource.Digest;
            doubted += resource.IsDoubted ? 1 : 0;
        }

        return digest == Digest ? this : new ResourceSet(Type, builder.ToImmutable(), digest, doubted);
    }

    /// <summary>The names that one of two sets has and the other has not, or has with other content. Costs a walk over both.</summary>
    public static IEnumerable<string> Differences(ResourceSet before, ResourceSet after)
    {
        if (ReferenceEquals(before, after))
        {
            yield break;
        }

        foreach (var (name, resource) in after._resources)
        {
            if (before.Find(name)?.Version != resource.Version)
            {
                yield return name;
            }
        }

        foreach (var name in before._resources.Keys)
        {
            if (!after._resources.ContainsKey(name))
            {
                yield return name;
            }
        }
    }

    /// <summary>The resources by name; the order does not depend on how the set came about.</summary>
    public EncodedResource[] InOrder()
    {
        var resources = _resources.Values.ToArray();
        Array.Sort(resources, static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        return resources;
    }

    private byte[] Join(Func<EncodedResource, ReadOnlyMemory<byte>> entry)
    {
        var resources = InOrder();
        var joined = new byte[resources.Sum(resource => entry(resource).Length)];
        var at = 0;
        foreach (var resource in resources)
        {
            entry(resource).Span.CopyTo(joined.AsSpan(at));
            at += entry(resource).Length;
        }

        return joined;
    }
}
