using System.Buffers;
using System.Buffers.Text;
using System.Collections.Immutable;
using System.Text;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using Grpc.Core;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// The four messages of <c>discovery.proto</c> as bytes. Responses are a head of some hundred bytes and the resources as they were encoded once; requests are
/// read without their node, once that is known.
/// </summary>
internal static class DiscoveryMessages
{
    private static readonly byte[][] TypeUrls = [.. ResourceType.All.Select(type => Encoding.ASCII.GetBytes(type.TypeUrl))];

    public static Marshaller<ClientRequest> SotwRequests { get; } =
        new(CannotWrite, context => ReadSotw(context.PayloadAsReadOnlySequence()));

    public static Marshaller<ClientRequest> DeltaRequests { get; } =
        new(CannotWrite, context => ReadDelta(context.PayloadAsReadOnlySequence()));

    public static Marshaller<ServerResponse> Responses(string identifier)
    {
        var controlPlane = Encoding.UTF8.GetBytes(identifier);
        return new Marshaller<ServerResponse>((response, context) => Write(response, controlPlane, context), CannotRead);
    }

    /// <exception cref="InvalidDataException">The message is malformed.</exception>
    internal static ClientRequest ReadSotw(ReadOnlySequence<byte> message)
    {
        var reader = new WireReader(message);
        string version = "",
            typeUrl = "",
            nonce = "";
        string? error = null;
        NodeIdentity? node = null;
        var names = ImmutableArray.CreateBuilder<string>();
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    version = reader.ReadString();
                    break;
                case 2:
                    node = ReadNode(ref reader);
                    break;
                case 3:
                    names.Add(reader.ReadString());
                    break;
                case 4:
                    typeUrl = ReadTypeUrl(ref reader);
                    break;
                case 5:
                    nonce = reader.ReadString();
                    break;
                case 6:
                    error = ReadStatus(reader.ReadBytes());
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return new ClientRequest
        {
            VersionInfo = version,
            TypeUrl = typeUrl,
            Nonce = nonce,
            Error = error,
            Node = node,
            Names = Distinct(names),
        };
    }

    /// <exception cref="InvalidDataException">The message is malformed.</exception>
    internal static ClientRequest ReadDelta(ReadOnlySequence<byte> message)
    {
        var reader = new WireReader(message);
        string typeUrl = "",
            nonce = "";
        string? error = null;
        NodeIdentity? node = null;
        var names = ImmutableArray.CreateBuilder<string>();
        var unsubscribed = ImmutableArray.CreateBuilder<string>();
        Dictionary<string, string>? versions = null;
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    node = ReadNode(ref reader);
                    break;
                case 2:
                    typeUrl = ReadTypeUrl(ref reader);
                    break;
                case 3:
                    names.Add(reader.ReadString());
                    break;
                case 4:
                    unsubscribed.Add(reader.ReadString());
                    break;
                case 5:
                    ReadEntry(reader.ReadBytes(), versions ??= new(StringComparer.Ordinal));
                    break;
                case 6:
                    nonce = reader.ReadString();
                    break;
                case 7:
                    error = ReadStatus(reader.ReadBytes());
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return new ClientRequest
        {
            TypeUrl = typeUrl,
            Nonce = nonce,
            Error = error,
            Node = node,
            Names = names.DrainToImmutable(),
            Unsubscribed = unsubscribed.DrainToImmutable(),
            InitialVersions = versions,
        };
    }

    private static ImmutableArray<string> Distinct(ImmutableArray<string>.Builder names)
    {
        // A name said twice is one name; as a rule none is.
        var all = names.DrainToImmutable();
        return all.Length < 2 || new HashSet<string>(all, StringComparer.Ordinal).Count == all.Length
            ? all
            : [.. all.Distinct(StringComparer.Ordinal)];
    }

    private static NodeIdentity? ReadNode(ref WireReader reader)
    {
        if (StreamReading.Current is { NodeIsKnown: true })
        {
            reader.Skip();
            return null;
        }

        return NodeReader.Read(reader.ReadBytes());
    }

    /// <summary>The type URL; that of a known type without a copy.</summary>
    private static string ReadTypeUrl(ref WireReader reader)
    {
        var bytes = reader.ReadBytes();
        if (bytes.IsSingleSegment)
        {
            for (var i = 0; i < TypeUrls.Length; i++)
            {
                if (bytes.FirstSpan.SequenceEqual(TypeUrls[i]))
                {
                    return ResourceType.All[i].TypeUrl;
                }
            }
        }

        return Encoding.UTF8.GetString(bytes);
    }

    /// <summary><c>google.rpc.Status.message</c>; empty if it has none.</summary>
    private static string ReadStatus(ReadOnlySequence<byte> message)
    {
        var reader = new WireReader(message);
        var text = "";
        while (reader.Next())
        {
            if (reader.Field == 2)
            {
                text = reader.ReadString();
            }
            else
            {
                reader.Skip();
            }
        }

        return text;
    }

    private static void ReadEntry(ReadOnlySequence<byte> message, Dictionary<string, string> entries)
    {
        var reader = new WireReader(message);
        string key = "",
            value = "";
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    key = reader.ReadString();
                    break;
                case 2:
                    value = reader.ReadString();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        entries[ResourceName.Canonical(key)] = value;
    }

    // Field numbers of DiscoveryResponse and DeltaDiscoveryResponse; those of version, resources, type_url and nonce are the same.
    private const byte VersionTag = (1 << 3) | 2;
    private const byte TypeUrlTag = (4 << 3) | 2;
    private const byte NonceTag = (5 << 3) | 2;
    private const byte DeltaRemovedTag = (6 << 3) | 2;
    private const byte SotwControlPlaneTag = (6 << 3) | 2;
    private const byte DeltaControlPlaneTag = (7 << 3) | 2;
    private const int MaxNonceLength = 19;

    /// <summary>Length in bytes of a response on the wire.</summary>
    internal static int Measure(ServerResponse response, int identifierLength)
    {
        Span<byte> nonce = stackalloc byte[MaxNonceLength];
        Utf8Formatter.TryFormat(response.Nonce, nonce, out var nonceLength);
        var length =
            FieldSize(32)
            + FieldSize(TypeUrls[response.Type.Index].Length)
            + FieldSize(nonceLength)
            + FieldSize(FieldSize(identifierLength));
        foreach (var resource in response.Resources)
        {
            length += Entry(response, resource).Length;
        }

        if (response.Whole is not null)
        {
            length += Body(response, response.Whole).Length;
        }

        foreach (var name in response.Removed)
        {
            length += FieldSize(Encoding.UTF8.GetByteCount(name));
        }

        return length;
    }

    internal static void Write(ServerResponse response, byte[] identifier, IBufferWriter<byte> output)
    {
        Span<byte> digits = stackalloc byte[32];
        response.Version.TryFormat(digits, out _, "x32", null);
        WriteField(output, VersionTag, digits);
        WriteField(output, TypeUrlTag, TypeUrls[response.Type.Index]);
        Utf8Formatter.TryFormat(response.Nonce, digits, out var nonceLength);
        WriteField(output, NonceTag, digits[..nonceLength]);
        WriteTagAndLength(
            output,
            response.Protocol == XdsProtocol.Delta ? DeltaControlPlaneTag : SotwControlPlaneTag,
            FieldSize(identifier.Length)
        );
        WriteField(output, (1 << 3) | 2, identifier);
        foreach (var resource in response.Resources)
        {
            output.Write(Entry(response, resource).Span);
        }

        if (response.Whole is not null)
        {
            output.Write(Body(response, response.Whole).Span);
        }

        foreach (var name in response.Removed)
        {
            WriteTagAndLength(output, DeltaRemovedTag, Encoding.UTF8.GetByteCount(name));
            Encoding.UTF8.GetBytes(name, output);
        }
    }

    private static void Write(ServerResponse response, byte[] identifier, SerializationContext context)
    {
        var length = Measure(response, identifier.Length);
        context.SetPayloadLength(length);
        Write(response, identifier, context.GetBufferWriter());
        context.Complete();
    }

    private static ReadOnlyMemory<byte> Entry(ServerResponse response, EncodedResource resource) =>
        response.Protocol == XdsProtocol.Delta ? resource.DeltaEntry : resource.SotwEntry;

    private static ReadOnlyMemory<byte> Body(ServerResponse response, ResourceSet set) =>
        response.Protocol == XdsProtocol.Delta ? set.DeltaBody : set.SotwBody;

    private static int FieldSize(int length) => 1 + Google.Protobuf.CodedOutputStream.ComputeLengthSize(length) + length;

    private static void WriteField(IBufferWriter<byte> output, byte tag, ReadOnlySpan<byte> value)
    {
        WriteTagAndLength(output, tag, value.Length);
        output.Write(value);
    }

    private static void WriteTagAndLength(IBufferWriter<byte> output, byte tag, int length)
    {
        var span = output.GetSpan(6);
        span[0] = tag;
        var at = 1;
        var rest = (uint)length;
        while (rest >= 0x80)
        {
            span[at++] = (byte)(rest | 0x80);
            rest >>= 7;
        }

        span[at++] = (byte)rest;
        output.Advance(at);
    }

    private static void CannotWrite(ClientRequest request, SerializationContext context) =>
        throw new NotSupportedException("The server never writes a request.");

    private static ServerResponse CannotRead(DeserializationContext context) =>
        throw new NotSupportedException("The server never reads a response.");
}
