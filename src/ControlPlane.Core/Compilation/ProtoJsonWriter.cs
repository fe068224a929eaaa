using System.Collections;
using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Reading;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Udpa.Annotations;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Writes messages as proto-JSON for people: fields that Envoy marks sensitive are redacted, and what cannot be unpacked is shown as
/// <c>{typeUrl, valueBase64}</c> instead of failing.
/// </summary>
public static class ProtoJsonWriter
{
    private const int MaxDepth = 100;

    private static readonly ConcurrentDictionary<FieldDescriptor, bool> Sensitive = new();

    /// <summary>The JSON of a message, without <c>@type</c>.</summary>
    /// <param name="message">The message.</param>
    /// <param name="redact">Whether secrets are replaced by <see cref="CanonicalForm.Redacted"/>; bytes of unknown types count as such.</param>
    public static JsonObject Write(IMessage message, bool redact = true) => WriteMessage(message, redact, 0);

    /// <summary>Whether a field is marked <c>udpa.annotations.sensitive</c>.</summary>
    internal static bool IsSensitive(FieldDescriptor field) =>
        Sensitive.GetOrAdd(field, f => f.GetOptions()?.GetExtension(SensitiveExtensions.Sensitive) == true);

    private static JsonObject WriteMessage(IMessage message, bool redact, int depth)
    {
        if (message is Any any)
        {
            return WriteAny(any, redact, depth);
        }

        var json = new JsonObject();
        foreach (var field in message.Descriptor.Fields.InFieldNumberOrder())
        {
            var value = field.Accessor.GetValue(message);
            if (IsGiven(field, message, value))
            {
                json[field.JsonName] = redact && IsSensitive(field) ? CanonicalForm.Redacted : WriteField(field, value, redact, depth);
            }
        }

        return json;
    }

    private static bool IsGiven(FieldDescriptor field, IMessage message, object? value) =>
        field.IsRepeated ? ((ICollection)value!).Count > 0
        : field.HasPresence ? field.Accessor.HasValue(message)
        : value switch
        {
            string text => text.Length > 0,
            ByteString bytes => bytes.Length > 0,
            bool flag => flag,
            double number => BitConverter.DoubleToInt64Bits(number) != 0,
            float number => BitConverter.SingleToInt32Bits(number) != 0,
            _ => Convert.ToDecimal(value, CultureInfo.InvariantCulture) != 0,
        };

    private static JsonNode? WriteField(FieldDescriptor field, object? value, bool redact, int depth)
    {
        if (field.IsMap)
        {
            var valueField = field.MessageType.Fields[2];
            var entries = new SortedDictionary<string, JsonNode?>(StringComparer.Ordinal);
            foreach (DictionaryEntry entry in (IDictionary)value!)
            {
                entries[WriteKey(entry.Key)] = WriteSingle(valueField, entry.Value, redact, depth);
            }

            return new JsonObject(entries);
        }

        return field.IsRepeated
            ? new JsonArray([.. ((IList)value!).Cast<object?>().Select(item => WriteSingle(field, item, redact, depth))])
            : WriteSingle(field, value, redact, depth);
    }

    private static string WriteKey(object key) =>
        key is bool flag ? (flag ? "true" : "false") : Convert.ToString(key, CultureInfo.InvariantCulture)!;

    private static JsonNode? WriteSingle(FieldDescriptor field, object? value, bool redact, int depth)
    {
        if (value is IMessage message)
        {
            return depth >= MaxDepth ? "[too deep]"
                : message is not Any && MessageWalker.IsValue(message.Descriptor) ? WriteWellKnown(message)
                : WriteMessage(message, redact, depth + 1);
        }

        return field.FieldType == FieldType.Enum ? WriteEnum(field.EnumType, value!) : WriteScalar(value);
    }

    private static JsonNode WriteEnum(EnumDescriptor type, object value)
    {
        var number = Convert.ToInt32(value, CultureInfo.InvariantCulture);
        return type.FindValueByNumber(number) is { } known ? known.Name : number;
    }

    private static JsonNode? WriteScalar(object? value) =>
        value switch
        {
            string text => text,
            bool flag => flag,
            ByteString bytes => bytes.ToBase64(),
            int number => number,
            uint number => number,
            // 64 bits do not fit into the numbers of every JSON reader.
            long number => number.ToString(CultureInfo.InvariantCulture),
            ulong number => number.ToString(CultureInfo.InvariantCulture),
            double number => double.IsFinite(number) ? number : number.ToString(CultureInfo.InvariantCulture),
            float number => float.IsFinite(number) ? number : number.ToString(CultureInfo.InvariantCulture),
            _ => null,
        };

    private static JsonNode? WriteWellKnown(IMessage message)
    {
        if (message is Duration duration)
        {
            return WriteDuration(duration);
        }

        try
        {
            return JsonNode.Parse(JsonFormatter.Default.Format(message));
        }
        catch (InvalidOperationException)
        {
            // Outside of what JSON can write, such as a time after the year 9999 or NaN in a Struct.
            return "[not expressible in JSON]";
        }
    }

    private static string WriteDuration(Duration duration)
    {
        var seconds = duration.Seconds + duration.Nanos / 1_000_000_000m;
        return seconds.ToString("0.#########", CultureInfo.InvariantCulture) + "s";
    }

    private static JsonObject WriteAny(Any any, bool redact, int depth)
    {
        var message = TryUnpack(any);
        if (message is null)
        {
            return new JsonObject { ["typeUrl"] = any.TypeUrl, ["valueBase64"] = redact ? CanonicalForm.Redacted : any.Value.ToBase64() };
        }

        var json = new JsonObject { ["@type"] = any.TypeUrl };
        if (message is not Any && MessageWalker.IsValue(message.Descriptor))
        {
            json["value"] =
                message.Descriptor.File.Name == "google/protobuf/wrappers.proto"
                    ? WriteScalar(message.Descriptor.Fields[1].Accessor.GetValue(message))
                    : WriteWellKnown(message);
        }
        else if (message is Any inner)
        {
            json["value"] = depth >= MaxDepth ? "[too deep]" : WriteAny(inner, redact, depth + 1);
        }
        else
        {
            foreach (var (key, value) in depth >= MaxDepth ? [] : WriteMessage(message, redact, depth + 1))
            {
                json[key] = value?.DeepClone();
            }
        }

        return json;
    }

    private static IMessage? TryUnpack(Any any)
    {
        try
        {
            return any.TypeUrl.Length == 0 ? null : EnvoyTypes.Unpack(any);
        }
        catch (InvalidProtocolBufferException)
        {
            return null;
        }
    }
}
