using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Validation;
using Google.Protobuf;

namespace ControlPlane.Core.Compilation;

/// <summary>A complete Envoy message with what it needs of others.</summary>
/// <param name="Type">The xDS type.</param>
/// <param name="Name">The name to serve under.</param>
/// <param name="Message">The message. Nobody changes it any more.</param>
/// <param name="References">Other xDS resources that it names, in the order of the message; the same one may come several times.</param>
/// <param name="Extensions">The extensions that a proxy must have for it, each once.</param>
public sealed record CompiledResource(
    ResourceType Type,
    string Name,
    IMessage Message,
    ImmutableArray<MessageReference> References,
    ImmutableArray<ExtensionUse> Extensions
)
{
    /// <summary>The form that goes on the wire.</summary>
    /// <param name="problems">What was found in it. Whoever publishes it though a fault is among them has let that past.</param>
    public EncodedResource Encode(IEnumerable<ValidationProblem> problems) =>
        EncodedResource.Create(
            Type,
            Name,
            Message,
            References.Select(r => new ResourceReference(r.Type, r.Name)),
            problems.Any(p => p.Severity == ProblemSeverity.Error)
        );
}

/// <summary>One mention of another xDS resource in a message.</summary>
/// <param name="Type">The type of the resource that is mentioned.</param>
/// <param name="Name">Its name.</param>
/// <param name="Pointer">Where: a JSON pointer into the manifest.</param>
public sealed record MessageReference(ResourceType Type, string Name, string Pointer)
{
    /// <summary>What the resource must hold, where it is a secret; null for any other type.</summary>
    public SecretContent? Content { get; init; }

    /// <summary>What the resource is used for, where it is a cluster.</summary>
    public ClusterUse ClusterUse { get; init; }
}

/// <summary>What a cluster is named for, as far as not every cluster will do.</summary>
public enum ClusterUse
{
    /// <summary>Requests or connections of clients, or calls over HTTP: any cluster will do.</summary>
    Traffic,

    /// <summary>gRPC calls that the proxy makes itself.</summary>
    Grpc,

    /// <summary>A source of configuration beside the stream of this server. Envoy opens it over clusters of its bootstrap alone.</summary>
    ConfigSource,
}

/// <summary>One extension that a message uses.</summary>
/// <param name="Name">The name that the message calls it by, for example <c>envoy.filters.http.lua</c>; may be the user's own word.</param>
/// <param name="TypeUrl">The type of its configuration; empty where it has none.</param>
/// <param name="IsOptional">Whether a proxy without it takes the message all the same.</param>
/// <param name="Pointer">Where it is first used: a JSON pointer into the manifest.</param>
public sealed record ExtensionUse(string Name, string TypeUrl, bool IsOptional, string Pointer);
