using System.Collections.Concurrent;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Finds the messages of the Envoy API by name. A file's descriptors are only built when one of its messages is asked for: building all costs more than a second.
/// </summary>
public static class EnvoyTypes
{
    /// <summary>What stands before the full name in every type URL of Envoy.</summary>
    public const string UrlPrefix = "type.googleapis.com/";

    private static readonly ConcurrentDictionary<string, MessageDescriptor?> ByName = new(StringComparer.Ordinal);

    /// <summary>Bounds what unknown names, which come from outside, may leave behind in <see cref="ByName"/>.</summary>
    private const int MaxCached = 10_000;

    /// <summary>The message of a type URL; whatever stands before the last <c>/</c> counts for nothing. Null for types that the API at hand does not have.</summary>
    public static MessageDescriptor? Find(string typeUrl) => FindByName(typeUrl[(typeUrl.LastIndexOf('/') + 1)..]);

    /// <summary>The message of a full protobuf name, or null.</summary>
    public static MessageDescriptor? FindByName(string fullName)
    {
        if (ByName.TryGetValue(fullName, out var known))
        {
            return known;
        }

        var found = Load(fullName);
        if (found is not null || ByName.Count < MaxCached)
        {
            ByName[fullName] = found;
        }

        return found;
    }

    /// <summary>Decodes what an <c>Any</c> holds; null where its type is not known.</summary>
    /// <exception cref="InvalidProtocolBufferException">The bytes are not of that type.</exception>
    public static IMessage? Unpack(Any any) => Find(any.TypeUrl)?.Parser.ParseFrom(any.Value);

    /// <summary>What an <c>Any</c> holds, if it is of a type; null where it is not, or where its bytes cannot be read, of which a walk tells.</summary>
    public static T? Unpack<T>(Any? any)
        where T : class, IMessage, new()
    {
        try
        {
            return any?.TryUnpack<T>(out var message) == true ? message : null;
        }
        catch (InvalidProtocolBufferException)
        {
            return null;
        }
    }

    /// <summary>
    /// Packs a message as a <c>typed_config</c>. Unlike <see cref="Any.Pack(IMessage)"/> the bytes are deterministic (maps sorted, V-14), which versions by content need.
    /// </summary>
    public static Any Pack(IMessage message) => new() { TypeUrl = UrlPrefix + message.Descriptor.FullName, Value = Serialize(message) };

    /// <summary>The deterministic bytes of a message.</summary>
    public static ByteString Serialize(IMessage message)
    {
        var bytes = new byte[message.CalculateSize()];
        using var output = new CodedOutputStream(bytes) { Deterministic = true };
        message.WriteTo(output);
        output.CheckNoSpaceLeft();
        return UnsafeByteOperations.UnsafeWrap(bytes);
    }

    private static MessageDescriptor? Load(string fullName)
    {
        var type =
            fullName.StartsWith("google.protobuf.", StringComparison.Ordinal)
                ? typeof(Any).Assembly.GetType($"{typeof(Any).Namespace}.{fullName["google.protobuf.".Length..]}")
            : ClrName(fullName) is { } name ? typeof(Envoy.Config.Cluster.V3.Cluster).Assembly.GetType(name)
            : null;
        var descriptor = type?.GetProperty("Descriptor")?.GetValue(null) as MessageDescriptor;
        return descriptor?.FullName == fullName ? descriptor : null;
    }

    /// <summary>The class that protoc generates: packages in Pascal case, messages inside a message under its <c>Types</c>.</summary>
    private static string? ClrName(string fullName)
    {
        var name = new StringBuilder(fullName.Length);
        var insideMessage = false;
        foreach (var segment in fullName.Split('.'))
        {
            if (segment.Length == 0 || !segment.All(c => char.IsAsciiLetterOrDigit(c) || c == '_'))
            {
                return null;
            }

            name.Append(
                name.Length == 0 ? ""
                : insideMessage ? "+Types+"
                : "."
            );
            if (char.IsAsciiLetterUpper(segment[0]))
            {
                insideMessage = true;
                name.Append(segment);
            }
            else
            {
                AppendPascal(name, segment);
            }
        }

        return name.ToString();
    }

    private static void AppendPascal(StringBuilder name, string segment)
    {
        var capital = true;
        foreach (var c in segment)
        {
            if (c != '_')
            {
                name.Append(capital ? char.ToUpperInvariant(c) : c);
            }

            capital = c == '_' || char.IsAsciiDigit(c);
        }
    }
}
