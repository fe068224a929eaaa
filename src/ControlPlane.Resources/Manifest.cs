using System.Collections.Immutable;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Validation;

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

    /// <summary>
    /// Settles what the author left open and what must not change by itself later: it is decided when the object is created, stored with it, and kept by writes that
    /// do not speak of it.
    /// </summary>
    /// <param name="stored">The spec that is replaced; null where the object is new.</param>
    public virtual ResourceSpec Settle(ResourceSpec? stored) => this;
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
/// <param name="Content">What the target must hold, where it is a secret; null for any other kind.</param>
public readonly record struct SpecReference(string Pointer, ResourceKey Target, SecretContent? Content = null)
{
    /// <summary>
    /// Says why an object, though it exists, cannot be what is referred to; null if it can. Envoy takes a certificate in the place of a CA without a word, and then verifies nothing.
    /// </summary>
    /// <param name="target">The spec of the object that bears the name of <see cref="Target"/>.</param>
    public ValidationProblem? Misfit(ResourceSpec target) =>
        Content is { } needed && target is SecretSpec secret && secret.Content() is { } held
            ? SecretContents.Misfit(Pointer, Target, needed, held)
            : null;
}

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
