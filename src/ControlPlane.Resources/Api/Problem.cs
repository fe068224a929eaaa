using System.Collections.Immutable;

namespace ControlPlane.Resources.Api;

/// <summary>Why a request was not done: RFC 9457, media type <c>application/problem+json</c>.</summary>
public sealed record Problem
{
    /// <summary>Media type of a problem.</summary>
    public const string MediaType = "application/problem+json";

    /// <summary>How every <see cref="Type"/> begins.</summary>
    public const string TypePrefix = "urn:controlplane:problem:";

    /// <summary>The problem's stable name, for example <c>urn:controlplane:problem:invalid</c>.</summary>
    public required string Type { get; init; }

    /// <summary>The problem in a few words, the same for every problem of the type.</summary>
    public required string Title { get; init; }

    /// <summary>HTTP status code.</summary>
    public required int Status { get; init; }

    /// <summary>What happened this time, and how to mend it.</summary>
    public string? Detail { get; init; }

    /// <summary>Every fault that was found, where there is more to say than <see cref="Detail"/>.</summary>
    public ImmutableArray<Fault>? Errors { get; init; }

    /// <summary>W3C trace id of the request, to find it in logs and traces.</summary>
    public string? TraceId { get; init; }

    /// <summary>With <c>precondition-failed</c>: the object as it is now; absent if it does not exist.</summary>
    public ObjectView? Current { get; init; }

    /// <summary>With <c>confirmation-required</c>: what the change would do, one sentence each.</summary>
    public ImmutableArray<string>? Effects { get; init; }

    /// <summary>With <c>confirmation-required</c>: digest of <see cref="Effects"/>.</summary>
    public string? Digest { get; init; }

    /// <summary>With <c>confirmation-required</c>: the query to add to the same request to do it all the same.</summary>
    public string? Confirm { get; init; }

    /// <summary>With <c>continue-expired</c>: a token that goes on from the same place in the state of now.</summary>
    public string? Continue { get; init; }
}

/// <summary>One thing that is wrong, or worth knowing.</summary>
/// <param name="Code">Stable, kebab-case, for example <c>unknown-field</c>.</param>
/// <param name="Message">A sentence that says what was wrong and how to mend it.</param>
/// <param name="Object">The object, <c>Kind/name</c>, in requests about several.</param>
/// <param name="Pointer">JSON pointer (RFC 6901) from the object's root, for example <c>/spec/endpoints/static/0/port</c>.</param>
/// <param name="Line">Line in the body, from 1, where it is known.</param>
/// <param name="Column">Column in the line, from 1, where it is known.</param>
public sealed record Fault(
    string Code,
    string Message,
    string? Object = null,
    string? Pointer = null,
    int? Line = null,
    int? Column = null
);
