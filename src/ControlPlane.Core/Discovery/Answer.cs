using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Discovery;

/// <summary>What a request says about the responses before it.</summary>
public enum AnswerKind
{
    /// <summary>Nothing: it only says what the client wants.</summary>
    None,

    /// <summary>The response is applied. Of CDS, Envoy says so when every cluster is warm.</summary>
    Ack,

    /// <summary>The response is refused, in whole or in part.</summary>
    Nack,

    /// <summary>It is about a response that is answered or overtaken, or that this stream never sent. Normal under load, not an error.</summary>
    Stale,
}

/// <summary>What a request said about a response.</summary>
/// <param name="Kind">Applied or refused.</param>
/// <param name="Type">The type of the response.</param>
/// <param name="Version">The version that was answered.</param>
public readonly record struct Answer(AnswerKind Kind, ResourceType Type, UInt128 Version)
{
    /// <summary>From the response to its answer.</summary>
    public TimeSpan Elapsed { get; init; }

    /// <summary>The resources that were refused; empty where the client does not say and it has to be found out.</summary>
    public ImmutableArray<string> Names { get; init; } = [];

    /// <summary>What the client said, redacted. With an acknowledgement: it refused an earlier response, which this one has corrected (S-10).</summary>
    public string? Text { get; init; }

    /// <summary>
    /// Of an acknowledgement: the client held another version of this type and moves to this one now. False for what a client is given first, and for what
    /// is sent once more.
    /// </summary>
    public bool IsMove { get; init; }

    /// <inheritdoc cref="Answer(AnswerKind, ResourceType, UInt128)"/>
    public Answer()
        : this(AnswerKind.None, ResourceType.Cluster, default) { }
}
