using System.Collections.Immutable;

namespace ControlPlane.Resources;

/// <summary>What people write: one object as it stands in a Git file or a request body.</summary>
/// <param name="Kind">The object's kind.</param>
/// <param name="Metadata">Name, labels and annotations.</param>
/// <param name="Spec">The desired state; its type belongs to <paramref name="Kind"/>.</param>
public sealed record Manifest(ResourceKind Kind, ResourceMetadata Metadata, ResourceSpec Spec)
{
    /// <summary>The only value of <c>apiVersion</c>.</summary>
    public const string ApiVersion = "controlplane/v1";

    /// <summary>The object's key.</summary>
    public ResourceKey Key => new(Kind, Metadata.Name);
}

/// <summary>The part of <c>metadata</c> that people write.</summary>
public sealed record ResourceMetadata
{
    /// <summary>The object's name, unique in its kind.</summary>
    public required string Name { get; init; }

    /// <summary>Short key-value pairs to select by.</summary>
    public ImmutableSortedDictionary<string, string> Labels { get; init; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>Free text for people and tools; never selected by.</summary>
    public ImmutableSortedDictionary<string, string> Annotations { get; init; } = ImmutableSortedDictionary<string, string>.Empty;
}

/// <summary>The desired state of an object. Every kind has one record that derives from this one; it is the only shape the object has from the file to the compiler.</summary>
public abstract record ResourceSpec
{
    /// <summary>What this object names elsewhere, with the place where it does so. Used to check references, to refuse deletions and to order publication.</summary>
    public virtual IEnumerable<SpecReference> References() => [];
}

/// <summary>A spec that becomes resources of proxies: it says which.</summary>
public interface INodeScoped
{
    /// <summary>Names of the node groups whose members get the resources; empty for every node.</summary>
    ImmutableArray<string> NodeGroups { get; }
}

/// <summary>One mention of another object in a spec.</summary>
/// <param name="Pointer">JSON pointer from the manifest's root, for example <c>/spec/tls/caSecret</c>.</param>
/// <param name="Target">The object that must exist.</param>
public readonly record struct SpecReference(string Pointer, ResourceKey Target);

/// <summary>An object as the store holds it: the manifest plus what the server added.</summary>
public sealed record StoredResource
{
    /// <summary>What the user wrote.</summary>
    public required Manifest Manifest { get; init; }

    /// <summary>Identity over the object's life; a deleted and recreated object gets a new one.</summary>
    public required Guid Uid { get; init; }

    /// <summary>Counts changes of the spec, from 1.</summary>
    public required long Generation { get; init; }

    /// <summary>The revision that wrote this state. Also the object's resourceVersion and strong ETag.</summary>
    public required long Revision { get; init; }

    /// <summary>When the object was first written.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>When this state was written.</summary>
    public required DateTimeOffset UpdatedAt { get; init; }

    /// <summary>Who owns the object, for example <c>rest/alice</c>.</summary>
    public required string ManagedBy { get; init; }

    /// <summary>The object's key.</summary>
    public ResourceKey Key => Manifest.Key;
}
