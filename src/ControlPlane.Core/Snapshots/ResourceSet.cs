using System.Collections.Immutable;

namespace ControlPlane.Core.Snapshots;

/// <summary>All resources of one type that a kind of node is to have. Immutable; a change makes a new set that shares all that stayed.</summary>
public sealed class ResourceSet
{
    private readonly ImmutableDictionary<string, EncodedResource> _resources;
    private readonly UInt128 _digest;

    private ResourceSet(ResourceType type, ImmutableDictionary<string, EncodedResource> resources, UInt128 digest)
    {
        Type = type;
        _resources = resources;
        _digest = digest;
        Version = digest.ToString("x32", null);
    }

    /// <summary>The type of every resource in the set.</summary>
    public ResourceType Type { get; }

    /// <summary>
    /// Digest of the set of (name, version): equal sets have equal versions on every server and over restarts. It is a sum modulo 2^128 of
    /// SHA-256 digests, so that a change costs one subtraction and one addition, whatever the size of the set (an XOR would cancel).
    /// </summary>
    public string Version { get; }

    /// <summary>Number of resources.</summary>
    public int Count => _resources.Count;

    /// <summary>The resources, in no particular order.</summary>
    public IEnumerable<EncodedResource> Resources => _resources.Values;

    /// <summary>The set without resources.</summary>
    public static ResourceSet Empty(ResourceType type) =>
        new(type, ImmutableDictionary<string, EncodedResource>.Empty.WithComparers(StringComparer.Ordinal), UInt128.Zero);

    /// <summary>Builds a set from scratch; names must be distinct (V-06).</summary>
    public static ResourceSet Create(ResourceType type, IEnumerable<EncodedResource> resources) => Empty(type).With(resources, []);

    /// <summary>The resource of a name, or null.</summary>
    public EncodedResource? Find(string name) => _resources.GetValueOrDefault(name);

    /// <summary>Adds or replaces resources and takes names away. Returns this very set where nothing differs.</summary>
    public ResourceSet With(IEnumerable<EncodedResource> updated, IEnumerable<string> removed)
    {
        var builder = _resources.ToBuilder();
        var digest = _digest;
        foreach (var name in removed)
        {
            if (builder.TryGetValue(name, out var old))
            {
                builder.Remove(name);
                digest -= old.Digest;
            }
        }

        foreach (var resource in updated)
        {
            if (builder.TryGetValue(resource.Name, out var old))
            {
                if (old.Version == resource.Version)
                {
                    continue;
                }

                digest -= old.Digest;
            }

            builder[resource.Name] = resource;
            digest += resource.Digest;
        }

        return digest == _digest ? this : new ResourceSet(Type, builder.ToImmutable(), digest);
    }
}
