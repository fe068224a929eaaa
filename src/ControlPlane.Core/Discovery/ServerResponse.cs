using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Discovery;

/// <summary>
/// A response to send: what a <c>DiscoveryResponse</c> or <c>DeltaDiscoveryResponse</c> is made of. The resources are shared with every other stream; only
/// the nonce is the stream's own.
/// </summary>
public sealed class ServerResponse
{
    internal ServerResponse(
        XdsProtocol protocol,
        ResourceType type,
        long nonce,
        UInt128 version,
        ResourceSet? whole,
        ImmutableArray<EncodedResource> resources,
        ImmutableArray<string> removed
    )
    {
        Protocol = protocol;
        Type = type;
        Nonce = nonce;
        Version = version;
        Whole = whole;
        Resources = resources;
        Removed = removed;
    }

    /// <summary>Which of the two messages it is.</summary>
    public XdsProtocol Protocol { get; }

    /// <summary>The type of every resource in it.</summary>
    public ResourceType Type { get; }

    /// <summary>Written in decimal as <c>nonce</c>; greater than that of every earlier response of the stream (V-01, V-02).</summary>
    public long Nonce { get; }

    /// <summary>
    /// Digest of all that the client holds of the type once it has applied this, written as 32 hexadecimal digits: <c>version_info</c> of state of the
    /// world (V-10, V-11), <c>system_version_info</c> of Delta, where it informs only.
    /// </summary>
    public UInt128 Version { get; }

    /// <summary>If not null, the response holds this whole set and <see cref="Resources"/> is empty.</summary>
    public ResourceSet? Whole { get; }

    /// <summary>The resources, by name.</summary>
    public ImmutableArray<EncodedResource> Resources { get; }

    /// <summary>Delta: <c>removed_resources</c>.</summary>
    public ImmutableArray<string> Removed { get; }

    /// <summary>Number of resources in it.</summary>
    public int Count => Whole?.Count ?? Resources.Length;
}
