using System.Collections.Immutable;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace ControlPlane.Resources.Api;

/// <summary>An object as the API shows it: its manifest, what the server added, and its status. Secrets in it are replaced by a marker.</summary>
public sealed record ObjectView
{
    /// <summary>Always <see cref="Manifest.ApiVersion"/>.</summary>
    public string ApiVersion { get; init; } = Manifest.ApiVersion;

    /// <summary>The object's kind.</summary>
    public required string Kind { get; init; }

    /// <summary>What names, describes and dates the object.</summary>
    public required ObjectMetadata Metadata { get; init; }

    /// <summary>The desired state, canonical: what equals a default is left out.</summary>
    public required JsonObject Spec { get; init; }

    /// <summary>What became of it; absent in histories and events.</summary>
    public ObjectStatus? Status { get; init; }

    /// <summary>In answers to writes: what the author should know.</summary>
    public ImmutableArray<Fault>? Warnings { get; init; }

    /// <summary>In answers to writes with <c>wait=acked</c>: which proxies have it.</summary>
    public Propagation? Propagation { get; init; }
}

/// <summary><c>metadata</c> with the server's part.</summary>
public sealed record ObjectMetadata
{
    /// <summary>The object's name, unique in its kind; of an endpoint or an override <c>UPSTREAM/ID</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Short key-value pairs to select by.</summary>
    public ImmutableSortedDictionary<string, string>? Labels { get; init; }

    /// <summary>Free text for people and tools.</summary>
    public ImmutableSortedDictionary<string, string>? Annotations { get; init; }

    /// <summary>Identity over the object's life; absent of endpoints that stand in their upstream's spec.</summary>
    public Guid? Uid { get; init; }

    /// <summary>Counts changes of the spec, from 1.</summary>
    public long? Generation { get; init; }

    /// <summary>Names this state of the object. The ETag is this in quotes; a body that carries it is refused where the object has moved on.</summary>
    public string? ResourceVersion { get; init; }

    /// <summary>The revision that wrote this state.</summary>
    public long? Revision { get; init; }

    /// <summary>When the object was first written.</summary>
    public DateTimeOffset? CreatedAt { get; init; }

    /// <summary>When this state was written.</summary>
    public DateTimeOffset? UpdatedAt { get; init; }

    /// <summary>Who owns the object, for example <c>rest/alice</c>.</summary>
    public string? ManagedBy { get; init; }
}

/// <summary>What became of an object.</summary>
public sealed record ObjectStatus
{
    /// <summary><c>Accepted</c>: it compiles and is in force. <c>Programmed</c>: the proxies that are to have it and are connected to the server that answers acknowledged it.</summary>
    public required ImmutableArray<Condition> Conditions { get; init; }

    /// <summary>How far it has got; absent of kinds that proxies do not get.</summary>
    public Propagation? Propagation { get; init; }

    /// <summary>The xDS resources that are in force for it.</summary>
    public ImmutableArray<ResourceVersion>? Resources { get; init; }

    /// <summary>What the author should know about the state in force.</summary>
    public ImmutableArray<Fault>? Warnings { get; init; }

    /// <summary>Of an upstream: its endpoints, counted by <see cref="State"/>.</summary>
    public ImmutableSortedDictionary<string, int>? Endpoints { get; init; }

    /// <summary>
    /// Of an endpoint: what proxies are told of it, <c>active</c>, <c>degraded</c>, <c>unhealthy</c> or <c>draining</c>, or why they are not told of it: by an order it is <c>drained</c> or
    /// <c>disabled</c>, by its health <c>leftOut</c>, and <c>unused</c> where its upstream's endpoints come from elsewhere.
    /// </summary>
    public string? State { get; init; }

    /// <summary>Of an endpoint: where it is defined, <c>registered</c>, <c>spec</c> (of its upstream) or <c>dns</c>.</summary>
    public string? Source { get; init; }

    /// <summary>Of an endpoint: the operator's order in force.</summary>
    public OverrideView? Override { get; init; }

    /// <summary>Of a secret: the certificate, which is public, so that one can see which one is in force.</summary>
    public CertificateView? Certificate { get; init; }
}

/// <summary>One answer to a yes-or-no question about an object.</summary>
/// <param name="Type">The question: <c>Accepted</c> or <c>Programmed</c>.</param>
/// <param name="Status"><c>True</c>, <c>False</c> or <c>Unknown</c>.</param>
/// <param name="Reason">One word for programs.</param>
/// <param name="Message">A sentence for people.</param>
public sealed record Condition(string Type, string Status, string Reason, string Message);

/// <summary>One xDS resource by its version.</summary>
/// <param name="Type">The type's short name, for example <c>CDS</c>.</param>
/// <param name="Name">The resource's name.</param>
/// <param name="Version">Digest of its bytes.</param>
public sealed record ResourceVersion(string Type, string Name, string Version);

/// <summary>
/// Which of the proxies that are to have a change have it: after <c>wait=acked</c> those of all servers on the database, in an object's status those that are connected to the
/// server that answers.
/// </summary>
public sealed record Propagation
{
    /// <summary>The server that answers.</summary>
    public required string Replica { get; init; }

    /// <summary>Number of nodes that acknowledged it, or something newer.</summary>
    public required int Acked { get; init; }

    /// <summary>What nodes refused of it, with their words. A node that has not answered the rest is pending as well.</summary>
    public ImmutableArray<Refusal> Nacked { get; init; } = [];

    /// <summary>Nodes that are connected and have not answered yet.</summary>
    public ImmutableArray<string> Pending { get; init; } = [];

    /// <summary>Nodes that were connected lately and are not now.</summary>
    public ImmutableArray<string> Offline { get; init; } = [];

    /// <summary>After <c>wait=acked</c>: servers that could not be asked. What their proxies have is not known.</summary>
    public ImmutableArray<UnreachableReplica> Unreachable { get; init; } = [];

    /// <summary>Whether every connected node answered, as far as the servers could be asked, and all could be.</summary>
    [JsonIgnore]
    public bool IsComplete => Pending.IsEmpty && Unreachable.IsEmpty;
}

/// <summary>One node's refusal of one resource, in Envoy's words.</summary>
/// <param name="Node">The node's id.</param>
/// <param name="Type">The type's short name, for example <c>LDS</c>.</param>
/// <param name="Resource">The resource's name; empty if the words do not tell which of several it is.</param>
/// <param name="Message">Envoy's text, with whatever looks like a secret taken out.</param>
/// <param name="At">When.</param>
public sealed record Refusal(string Node, string Type, string Resource, string Message, DateTimeOffset At);

/// <summary>An operator's order about an endpoint.</summary>
/// <param name="Action"><c>drain</c> or <c>disable</c>.</param>
/// <param name="Reason">Why.</param>
/// <param name="StartedAt">When it began.</param>
/// <param name="ExpiresAt">When it ends by itself; absent is never.</param>
/// <param name="By">Who ordered it.</param>
public sealed record OverrideView(string Action, string Reason, DateTimeOffset StartedAt, DateTimeOffset? ExpiresAt, string By);

/// <summary>A certificate in force.</summary>
/// <param name="Subject">Whose it is.</param>
/// <param name="Names">DNS names, URIs and addresses of its subject alternative name.</param>
/// <param name="NotBefore">Valid from.</param>
/// <param name="NotAfter">Valid until.</param>
/// <param name="Sha256">Fingerprint: SHA-256 of the certificate, hexadecimal.</param>
public sealed record CertificateView(
    string Subject,
    ImmutableArray<string> Names,
    DateTimeOffset NotBefore,
    DateTimeOffset NotAfter,
    string Sha256
);

/// <summary>A page of objects. Can be sent to <c>apply</c> as it is.</summary>
public sealed record ObjectList
{
    /// <summary>Always <c>List</c>.</summary>
    public string Kind { get; init; } = "List";

    /// <summary>The revision that the whole list, over all pages, is of.</summary>
    public required long Revision { get; init; }

    /// <summary>Token for the next page; absent on the last one.</summary>
    public string? Continue { get; init; }

    /// <summary>The objects, by name in ordinal order.</summary>
    public required ImmutableArray<ObjectView> Items { get; init; }
}
