using System.Collections.Immutable;
using System.Text.Json.Nodes;

namespace ControlPlane.Resources.Api;

/// <summary>What became of many objects that were sent together.</summary>
public sealed record ApplyResult
{
    /// <summary>The revision that holds the change; the current one where nothing differed or nothing was written.</summary>
    public required long Revision { get; init; }

    /// <summary>Whether nothing was written because that was asked for.</summary>
    public bool DryRun { get; init; }

    /// <summary>Per object, in the order of the body.</summary>
    public required ImmutableArray<AppliedObject> Objects { get; init; }

    /// <summary>What the author should know.</summary>
    public ImmutableArray<Fault> Warnings { get; init; } = [];

    /// <summary>With <c>wait=acked</c>: which proxies have it.</summary>
    public Propagation? Propagation { get; init; }
}

/// <summary>What became of one object.</summary>
/// <param name="Kind">Its kind.</param>
/// <param name="Name">Its name.</param>
/// <param name="Action"><c>created</c>, <c>updated</c>, <c>unchanged</c> or <c>deleted</c>.</param>
/// <param name="ResourceVersion">Its state now; absent if it is gone, or was not written.</param>
public sealed record AppliedObject(string Kind, string Name, string Action, string? ResourceVersion);

/// <summary>Objects that 'apply' would take.</summary>
/// <param name="Valid">Always true: what is not valid is answered with a problem.</param>
/// <param name="Warnings">What the author should know.</param>
/// <param name="Effects">What would have to be confirmed.</param>
public sealed record ValidateResult(bool Valid, ImmutableArray<Fault> Warnings, ImmutableArray<string>? Effects);

/// <summary>What a change would do, or what differs between two revisions.</summary>
public sealed record DiffResult
{
    /// <summary>Objects that differ, by kind and name.</summary>
    public required ImmutableArray<ObjectDiff> Objects { get; init; }

    /// <summary>xDS resources that differ, in push order; absent between revisions.</summary>
    public ImmutableArray<ResourceDiff>? Resources { get; init; }

    /// <summary>What would have to be confirmed.</summary>
    public ImmutableArray<string>? Effects { get; init; }

    /// <summary>What the author should know.</summary>
    public ImmutableArray<Fault>? Warnings { get; init; }
}

/// <summary>How one object differs.</summary>
/// <param name="Kind">Its kind.</param>
/// <param name="Name">Its name.</param>
/// <param name="Action"><c>created</c>, <c>updated</c> or <c>deleted</c>.</param>
/// <param name="Changes">Every value that differs; of a created or deleted object one entry for the whole.</param>
public sealed record ObjectDiff(string Kind, string Name, string Action, ImmutableArray<ValueDiff> Changes);

/// <summary>How one xDS resource differs.</summary>
/// <param name="Type">The type's short name, for example <c>CDS</c>.</param>
/// <param name="Name">The resource's name.</param>
/// <param name="Action"><c>created</c>, <c>updated</c> or <c>deleted</c>.</param>
/// <param name="Before">Version in force.</param>
/// <param name="After">Version that would be.</param>
/// <param name="Changes">Every value of the message that differs.</param>
public sealed record ResourceDiff(
    string Type,
    string Name,
    string Action,
    string? Before,
    string? After,
    ImmutableArray<ValueDiff> Changes
);

/// <summary>One value that differs.</summary>
/// <param name="Pointer">JSON pointer to it.</param>
/// <param name="Before">What it was; absent if it was not there.</param>
/// <param name="After">What it is; absent if it is not there.</param>
public sealed record ValueDiff(string Pointer, JsonNode? Before, JsonNode? After);

/// <summary>A revision: one write, with its author and reason.</summary>
public sealed record RevisionView
{
    /// <summary>Its number.</summary>
    public required long Revision { get; init; }

    /// <summary>Who wrote it.</summary>
    public required string Author { get; init; }

    /// <summary>Why, in the author's words.</summary>
    public string? Reason { get; init; }

    /// <summary>When.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>W3C trace id of the write, 32 hexadecimal digits, to find it in logs and traces; null if it was in no trace.</summary>
    public string? TraceId { get; init; }

    /// <summary>What else was recorded, for example a check that was passed by.</summary>
    public string? Notes { get; init; }

    /// <summary>What it changed; absent in lists.</summary>
    public ImmutableArray<ObjectDiff>? Changes { get; init; }

    /// <summary>In the list of revisions: how many objects it changed.</summary>
    public int? ObjectCount { get; init; }

    /// <summary>In the list of revisions: the objects that it changed, by kind and name; of many the first 20.</summary>
    public ImmutableArray<ChangedObjectView>? Objects { get; init; }
}

/// <summary>An object that a revision changed.</summary>
/// <param name="Kind">Its kind.</param>
/// <param name="Name">Its name.</param>
/// <param name="Action"><c>created</c>, <c>updated</c> or <c>deleted</c>.</param>
public sealed record ChangedObjectView(string Kind, string Name, string Action);

/// <summary>A page of revisions, newest first.</summary>
/// <param name="Items">The revisions.</param>
/// <param name="Continue">Token for the next page; absent on the last one.</param>
public sealed record RevisionList(ImmutableArray<RevisionView> Items, string? Continue);

/// <summary>One state of one object, with the revision that wrote it.</summary>
/// <param name="Revision">The write.</param>
/// <param name="Object">The object as it became; absent if it was deleted.</param>
public sealed record HistoryItem(RevisionView Revision, ObjectView? Object);

/// <summary>A page of the kept states of an object, newest first.</summary>
/// <param name="Items">The states.</param>
/// <param name="Continue">Token for the next page; absent on the last one.</param>
public sealed record HistoryList(ImmutableArray<HistoryItem> Items, string? Continue);

/// <summary>The Envoy messages that an object became.</summary>
/// <param name="Revision">The revision that is in force.</param>
/// <param name="Resources">The messages.</param>
public sealed record XdsView(long Revision, ImmutableArray<XdsResource> Resources);

/// <summary>One Envoy message.</summary>
/// <param name="Type">The type's short name, for example <c>CDS</c>.</param>
/// <param name="TypeUrl">Its type URL.</param>
/// <param name="Name">The resource's name.</param>
/// <param name="Version">Digest of its bytes: what proxies say they have.</param>
/// <param name="Message">The message as proto-JSON, with secrets taken out.</param>
public sealed record XdsResource(string Type, string TypeUrl, string Name, string Version, JsonNode Message);

/// <summary>One event of the watch.</summary>
/// <param name="Type"><c>written</c> or <c>deleted</c>.</param>
/// <param name="Revision">The revision that did it.</param>
/// <param name="Object">The object as it became, or as it was before it was deleted.</param>
public sealed record WatchEvent(string Type, long Revision, ObjectView Object);
