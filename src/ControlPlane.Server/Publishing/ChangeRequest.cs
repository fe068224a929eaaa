using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Validation;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Publishing;

/// <summary>A change that somebody asks for: any number of writes and deletions that take effect together or not at all.</summary>
public sealed record ChangeRequest
{
    /// <summary>Who asks: the name of the token, or of the local user.</summary>
    public required string Author { get; init; }

    /// <summary>Why, in the author's words.</summary>
    public string Reason { get; init; } = "";

    /// <summary>The changes; order does not matter.</summary>
    public required IReadOnlyList<ObjectChange> Changes { get; init; }

    /// <summary>Validate and say what would happen; write nothing.</summary>
    public bool DryRun { get; init; }

    /// <summary>The digest of a dangerous effect that the author has seen and wants: see <see cref="ConfirmationRequired"/>.</summary>
    public string Confirm { get; init; } = "";

    /// <summary>
    /// Take an EnvoyResource or overlay although a check of Envoy's rules refuses it; its faults become warnings and the revision records the bypass. Needs a reason.
    /// </summary>
    public bool ValidationWarn { get; init; }
}

/// <summary>One object's change.</summary>
/// <param name="Key">The object.</param>
/// <param name="Manifest">The state to write; null deletes the object.</param>
/// <param name="ExpectedRevision">If-Match: the object's revision that the author has seen; null for any. 0 means that the object must not exist (If-None-Match: *).</param>
public sealed record ObjectChange(ResourceKey Key, Manifest? Manifest, long? ExpectedRevision = null)
{
    /// <summary>
    /// What its reader found wrong with the object. With any of these nothing is written; the rest of the request is looked through all the same, so that its author sees all
    /// that is to be mended. <see cref="Manifest"/> is then what could be read, or null, and the name of <see cref="Key"/> is empty where that could not.
    /// </summary>
    public ImmutableArray<ValidationProblem> Faults { get; init; } = [];

    /// <summary>Whether it asks for the object to be gone.</summary>
    public bool IsDeletion => Manifest is null && Faults.IsEmpty;
}

/// <summary>How a <see cref="ChangeRequest"/> ended.</summary>
public abstract record ChangeOutcome
{
    private protected ChangeOutcome() { }
}

/// <summary>The change was written (or, of a dry run, would be), or was in force already.</summary>
/// <param name="Revision">The revision that holds it; the current one where nothing differed.</param>
/// <param name="Results">Per object, in the request's order.</param>
/// <param name="Warnings">What the author should know, with the object's index in the request.</param>
/// <param name="Impact">What the change does to the resources that proxies get.</param>
public sealed record ChangeApplied(
    long Revision,
    ImmutableArray<ObjectResult> Results,
    ImmutableArray<ObjectProblem> Warnings,
    ChangeImpact Impact
) : ChangeOutcome;

/// <summary>What became of one object.</summary>
/// <param name="Key">The object.</param>
/// <param name="Action">What happened to it.</param>
/// <param name="Before">Its state before; null if it did not exist.</param>
/// <param name="After">Its state now; null if it is gone.</param>
public sealed record ObjectResult(ResourceKey Key, ObjectAction Action, StoredResource? Before, StoredResource? After);

/// <summary>What a change did to an object.</summary>
public enum ObjectAction
{
    /// <summary>It did not exist.</summary>
    Created,

    /// <summary>It existed and differs now.</summary>
    Updated,

    /// <summary>It was the same already: no revision, no push.</summary>
    Unchanged,

    /// <summary>It is gone.</summary>
    Deleted,
}

/// <summary>The change is refused for what it says: syntax, meaning, references.</summary>
/// <param name="Problems">All of them, over all objects.</param>
/// <param name="Conflict">The reason is a conflict with other objects (a reference to what is deleted, an address taken): 409 rather than 422.</param>
public sealed record ChangeInvalid(ImmutableArray<ObjectProblem> Problems, bool Conflict) : ChangeOutcome;

/// <summary>A problem and the change it is about.</summary>
/// <param name="Index">Position in <see cref="ChangeRequest.Changes"/>.</param>
/// <param name="Key">The object.</param>
/// <param name="Problem">The problem; its pointer starts at that object's root.</param>
public sealed record ObjectProblem(int Index, ResourceKey Key, ValidationProblem Problem);

/// <summary>An object is not in the state that the author expected: 412.</summary>
public sealed record PreconditionFailed(ResourceKey Key, long Expected, StoredResource? Current) : ChangeOutcome;

/// <summary>An object to delete does not exist: 404.</summary>
public sealed record ObjectNotFound(ResourceKey Key) : ChangeOutcome;

/// <summary>Other servers wrote first, each time for many seconds; nothing was written.</summary>
/// <param name="Attempts">How often the change was worked out anew.</param>
public sealed record ChangeOvertaken(int Attempts) : ChangeOutcome;

/// <summary>
/// The change would do harm that is seldom meant: a non-empty upstream to zero endpoints, or more than half of the upstreams deleted. It is done if the request is
/// repeated with <see cref="ChangeRequest.Confirm"/> = <paramref name="Digest"/>, as long as the effect is still the same.
/// </summary>
/// <param name="Digest">Digest of the effects.</param>
/// <param name="Effects">One sentence per effect.</param>
/// <param name="Impact">What the change does to the resources that proxies get.</param>
public sealed record ConfirmationRequired(string Digest, ImmutableArray<string> Effects, ChangeImpact Impact) : ChangeOutcome;

/// <summary>What a change does to the resources that proxies get.</summary>
/// <param name="Resources">Each xDS resource that is added, modified or removed.</param>
public sealed record ChangeImpact(ImmutableArray<ResourceImpact> Resources)
{
    /// <summary>No effect.</summary>
    public static ChangeImpact None { get; } = new([]);
}

/// <summary>One xDS resource that a change adds, modifies or removes.</summary>
/// <param name="Before">What is in force; null if it is added.</param>
/// <param name="After">What will be; null if it is removed.</param>
public sealed record ResourceImpact(EncodedResource? Before, EncodedResource? After);

/// <summary>Raised after each revision was applied to this server's memory, whoever wrote it.</summary>
/// <param name="Revision">The newest revision now.</param>
/// <param name="Written">Objects that were written.</param>
/// <param name="Deleted">Objects that are gone, as they were.</param>
/// <param name="Before">The state before, to see how an object was.</param>
public sealed record RevisionApplied(
    long Revision,
    ImmutableArray<StoredResource> Written,
    ImmutableArray<StoredResource> Deleted,
    DesiredState Before
);
