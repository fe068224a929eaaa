using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using ControlPlane.Core.Snapshots;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// Reads <c>config.core.v3.Node</c>. Nine tenths of an Envoy's node are the names of its extensions, the same for every Envoy of a build: they are read once
/// per build and shared.
/// </summary>
internal static class NodeReader
{
    /// <summary>Longest id, cluster and locality, in characters.</summary>
    public const int MaxNameLength = 1024;

    private const int MaxMetadataBytes = 64 * 1024;
    private const int MaxMetadataEntries = 256;
    private const int MaxMetadataLength = 1024;
    private const int MaxKnownBuilds = 256;

    private static readonly ConcurrentDictionary<UInt128, ImmutableHashSet<string>> KnownBuilds = new();

    /// <exception cref="InvalidDataException">The message is malformed, or a name is too long.</exception>
    public static NodeIdentity Read(ReadOnlySequence<byte> message)
    {
        var reader = new WireReader(message);
        var node = new NodeIdentity { Id = "" };
        var features = ImmutableArray.CreateBuilder<string>();
        IncrementalHash? build = null;
        try
        {
            while (reader.Next())
            {
                switch (reader.Field)
                {
                    case 1:
                        node = node with { Id = ReadName(ref reader, "node.id") };
                        break;
                    case 2:
                        node = node with { Cluster = ReadName(ref reader, "node.cluster") };
                        break;
                    case 3:
                        node = node with { Metadata = ReadMetadata(reader.ReadBytes()) };
                        break;
                    case 4:
                        node = ReadLocality(node, reader.ReadBytes());
                        break;
                    case 6:
                        node = node with { UserAgent = ReadName(ref reader, "node.user_agent_name") };
                        break;
                    case 7:
                        node = node with { UserAgentVersion = ReadName(ref reader, "node.user_agent_version") };
                        break;
                    case 8:
                        node = node with { UserAgentVersion = ReadBuildVersion(reader.ReadBytes()) };
                        break;
                    case 9:
                        build ??= IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
                        foreach (var segment in reader.ReadBytes())
                        {
                            build.AppendData(segment.Span);
                        }

                        break;
                    case 10 when features.Count < 100:
                        features.Add(ReadName(ref reader, "node.client_features"));
                        break;
                    default:
                        reader.Skip();
                        break;
                }
            }

            return node with
            {
                ClientFeatures = features.DrainToImmutable(),
                Extensions = build is null ? null : ExtensionsOf(build, message),
            };
        }
        finally
        {
            build?.Dispose();
        }
    }

    private static string ReadName(ref WireReader reader, string field)
    {
        var bytes = reader.ReadBytes();
        return bytes.Length <= MaxNameLength
            ? Encoding.UTF8.GetString(bytes)
            : throw new InvalidDataException($"{field} is longer than {MaxNameLength} bytes.");
    }

    private static NodeIdentity ReadLocality(NodeIdentity node, ReadOnlySequence<byte> message)
    {
        var reader = new WireReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    node = node with { Region = ReadName(ref reader, "node.locality.region") };
                    break;
                case 2:
                    node = node with { Zone = ReadName(ref reader, "node.locality.zone") };
                    break;
                case 3:
                    node = node with { SubZone = ReadName(ref reader, "node.locality.sub_zone") };
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return node;
    }

    private static string ReadBuildVersion(ReadOnlySequence<byte> message)
    {
        var reader = new WireReader(message);
        Span<ulong> numbers = stackalloc ulong[3];
        while (reader.Next())
        {
            if (reader.Field != 1)
            {
                reader.Skip();
                continue;
            }

            var version = new WireReader(reader.ReadBytes());
            while (version.Next())
            {
                if (version.Field is >= 1 and <= 3)
                {
                    numbers[version.Field - 1] = version.ReadVarint();
                }
                else
                {
                    version.Skip();
                }
            }
        }

        return $"{numbers[0]}.{numbers[1]}.{numbers[2]}";
    }

    private static ImmutableSortedDictionary<string, string> ReadMetadata(ReadOnlySequence<byte> message)
    {
        // Metadata is free text of whoever runs the node: what is too large or too deep to select by is left out, not refused.
        var entries = ImmutableSortedDictionary.CreateBuilder<string, string>(StringComparer.Ordinal);
        if (message.Length <= MaxMetadataBytes)
        {
            try
            {
                Flatten("", Struct.Parser.ParseFrom(message), entries);
            }
            catch (InvalidProtocolBufferException)
            {
                entries.Clear();
            }
        }

        return entries.ToImmutable();
    }

    private static void Flatten(string prefix, Struct fields, ImmutableSortedDictionary<string, string>.Builder entries)
    {
        foreach (var (name, value) in fields.Fields)
        {
            var key = prefix.Length == 0 ? name : prefix + "." + name;
            if (value.KindCase == Value.KindOneofCase.StructValue)
            {
                Flatten(key, value.StructValue, entries);
                continue;
            }

            var text = value.KindCase switch
            {
                Value.KindOneofCase.StringValue => value.StringValue,
                Value.KindOneofCase.NumberValue => value.NumberValue.ToString("R"),
                Value.KindOneofCase.BoolValue => value.BoolValue ? "true" : "false",
                _ => null,
            };
            if (
                text is not null
                && text.Length <= MaxMetadataLength
                && key.Length <= MaxMetadataLength
                && entries.Count < MaxMetadataEntries
            )
            {
                entries[key] = text;
            }
        }
    }

    private static ImmutableHashSet<string> ExtensionsOf(IncrementalHash build, ReadOnlySequence<byte> message)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        build.GetHashAndReset(hash);
        var key = System.Buffers.Binary.BinaryPrimitives.ReadUInt128LittleEndian(hash);
        if (KnownBuilds.TryGetValue(key, out var known))
        {
            return known;
        }

        var names = ImmutableHashSet.CreateBuilder<string>(StringComparer.Ordinal);
        var reader = new WireReader(message);
        while (reader.Next())
        {
            if (reader.Field != 9)
            {
                reader.Skip();
                continue;
            }

            var extension = new WireReader(reader.ReadBytes());
            while (extension.Next())
            {
                // Extension.name and Extension.type_urls.
                if (extension.Field is 1 or 6)
                {
                    names.Add(extension.ReadString());
                }
                else
                {
                    extension.Skip();
                }
            }
        }

        var extensions = names.ToImmutable();
        return KnownBuilds.Count < MaxKnownBuilds ? KnownBuilds.GetOrAdd(key, extensions) : extensions;
    }
}
