using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;

namespace ControlPlane.Core.Snapshots;

/// <summary>One mention of another xDS resource inside a resource's message.</summary>
/// <param name="Type">The type of the resource that is mentioned.</param>
/// <param name="Name">Its name.</param>
public readonly record struct ResourceReference(ResourceType Type, string Name);

/// <summary>
/// A resource as it goes on the wire: serialised once per change and shared by every stream that is sent it. Immutable.
/// </summary>
/// <remarks>
/// One array holds the whole entry of a delta response. Its tail is, byte for byte, the entry of a state-of-the-world response
/// (<c>Resource.resource</c> and <c>DiscoveryResponse.resources</c> are both an <c>Any</c> in field 2), and the tail of that is the message.
/// </remarks>
public sealed class EncodedResource
{
    /// <summary>Stands for content that a client holds from an earlier stream and that this server does not know. Never sent.</summary>
    internal static readonly EncodedResource Unknown = new(ResourceType.Cluster, "", "", [], 0, 0, [], default);

    private readonly byte[] _entry;
    private readonly int _anyAt;
    private readonly int _payloadAt;

    private EncodedResource(
        ResourceType type,
        string name,
        string version,
        byte[] entry,
        int anyAt,
        int payloadAt,
        ImmutableArray<ResourceReference> references,
        UInt128 digest,
        bool isDoubted = false
    )
    {
        Type = type;
        Name = name;
        Version = version;
        _entry = entry;
        _anyAt = anyAt;
        _payloadAt = payloadAt;
        References = references;
        Digest = digest;
        IsDoubted = isDoubted;
    }

    /// <summary>The resource's type.</summary>
    public ResourceType Type { get; }

    /// <summary>The resource's name, equal to the name inside the message (V-07).</summary>
    public string Name { get; }

    /// <summary>Digest of the deterministic bytes: 16 hexadecimal digits. Equal content has an equal version on every server and over restarts (V-12).</summary>
    public string Version { get; }

    /// <summary>What the message names: clusters of routes, secrets of clusters and listeners, route tables of listeners. Distinct.</summary>
    public ImmutableArray<ResourceReference> References { get; }

    /// <summary>
    /// A check of Envoy's rules finds fault with it, and somebody let it past. It is sent to each client by itself, after everything else, so that its refusal
    /// holds up nothing.
    /// </summary>
    public bool IsDoubted { get; }

    /// <summary>The serialised message.</summary>
    public ReadOnlyMemory<byte> Payload => _entry.AsMemory(_payloadAt);

    /// <summary>Field 2 of <c>DeltaDiscoveryResponse</c>: tag, length and a <c>Resource</c>.</summary>
    public ReadOnlyMemory<byte> DeltaEntry => _entry;

    /// <summary>Field 2 of <c>DiscoveryResponse</c>: tag, length and an <c>Any</c>.</summary>
    public ReadOnlyMemory<byte> SotwEntry => _entry.AsMemory(_anyAt);

    /// <summary>Digest of (name, version); <see cref="ResourceSet"/> adds these up.</summary>
    internal UInt128 Digest { get; }

    /// <summary>Serialises a message deterministically (maps sorted, V-14) and derives its version.</summary>
    /// <param name="type">The resource's type; <paramref name="message"/> must be of it.</param>
    /// <param name="name">The name inside the message.</param>
    /// <param name="message">The message.</param>
    /// <param name="references">What the message names; duplicates are dropped.</param>
    /// <param name="isDoubted"><see cref="IsDoubted"/>.</param>
    public static EncodedResource Create(
        ResourceType type,
        string name,
        IMessage message,
        IEnumerable<ResourceReference>? references = null,
        bool isDoubted = false
    )
    {
        var payload = Serialize(message);
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(payload, hash);
        var version = Convert.ToHexStringLower(hash[..8]);

        var nameBytes = Encoding.UTF8.GetByteCount(name);
        var anyLength = StringFieldSize(type.TypeUrl.Length) + BytesFieldSize(payload.Length);
        var resourceLength = StringFieldSize(version.Length) + StringFieldSize(nameBytes) + BytesFieldSize(anyLength);
        var entry = new byte[BytesFieldSize(resourceLength)];
        var output = new CodedOutputStream(entry);
        output.WriteTag(2, WireFormat.WireType.LengthDelimited);
        output.WriteLength(resourceLength);
        output.WriteTag(1, WireFormat.WireType.LengthDelimited);
        output.WriteString(version);
        output.WriteTag(3, WireFormat.WireType.LengthDelimited);
        output.WriteString(name);
        var anyAt = (int)output.Position;
        output.WriteTag(2, WireFormat.WireType.LengthDelimited);
        output.WriteLength(anyLength);
        output.WriteTag(1, WireFormat.WireType.LengthDelimited);
        output.WriteString(type.TypeUrl);
        if (payload.Length > 0)
        {
            output.WriteTag(2, WireFormat.WireType.LengthDelimited);
            output.WriteLength(payload.Length);
        }
        output.Flush();
        var payloadAt = entry.Length - payload.Length;
        payload.CopyTo(entry, payloadAt);

        return new EncodedResource(
            type,
            name,
            version,
            entry,
            anyAt,
            payloadAt,
            references is null ? [] : [.. references.Distinct()],
            SetDigest(name, version),
            isDoubted
        );
    }

    private static byte[] Serialize(IMessage message)
    {
        var bytes = new byte[message.CalculateSize()];
        using var output = new CodedOutputStream(bytes) { Deterministic = true };
        message.WriteTo(output);
        output.CheckNoSpaceLeft();
        return bytes;
    }

    private static UInt128 SetDigest(string name, string version)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(Encoding.UTF8.GetBytes($"{name}\0{version}"), hash);
        return BinaryPrimitives.ReadUInt128LittleEndian(hash);
    }

    private static int StringFieldSize(int length) => BytesFieldSize(length);

    private static int BytesFieldSize(int length) => length == 0 ? 0 : 1 + CodedOutputStream.ComputeLengthSize(length) + length;
}
