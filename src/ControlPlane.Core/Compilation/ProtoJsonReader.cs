using System.Buffers.Text;
using System.Collections;
using System.Collections.Concurrent;
using System.Collections.Frozen;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Validation;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Enum = System.Enum;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Reads proto-JSON into a message: all faults in one pass, each with its pointer, where Google's parser stops at the first and names no place. Field names are
/// taken in camelCase and snake_case.
/// </summary>
/// <remarks>
/// As an overlay, JSON is merged into a message that has content: objects merge, lists and values replace, null clears; an <c>Any</c> of the same type merges, of
/// another replaces. An <c>Any</c> of a type that is not known here is given as <c>{typeUrl, valueBase64}</c>; given with fields it is sent as a
/// <c>xds.type.v3.TypedStruct</c>, which Envoy converts.
/// </remarks>
internal sealed class ProtoJsonReader
{
    private static readonly ConcurrentDictionary<MessageDescriptor, FrozenDictionary<string, FieldDescriptor>> FieldsByName = new();

    private readonly ProblemCollector _problems;
    private readonly bool _isOverlay;
    private readonly StringBuilder _pointer;

    private ProtoJsonReader(string pointer, bool isOverlay, ProblemCollector problems)
    {
        _pointer = new StringBuilder(pointer);
        _isOverlay = isOverlay;
        _problems = problems;
    }

    /// <summary>Reads a message from scratch.</summary>
    /// <param name="json">The message without <c>@type</c>; a member of that name is passed over.</param>
    /// <param name="message">An empty message, which is filled.</param>
    /// <param name="pointer">Where the JSON stands.</param>
    /// <param name="problems">Gets the faults.</param>
    public static void Read(JsonObject json, IMessage message, string pointer, ProblemCollector problems) =>
        new ProtoJsonReader(pointer, isOverlay: false, problems).ReadMessage(json, message);

    /// <summary>Merges an overlay into a message.</summary>
    public static void Merge(JsonObject overlay, IMessage message, string pointer, ProblemCollector problems) =>
        new ProtoJsonReader(pointer, isOverlay: true, problems).ReadMessage(overlay, message);

    private void ReadMessage(JsonObject json, IMessage message)
    {
        var fields = FieldsByName.GetOrAdd(message.Descriptor, FindFields);
        var seen = new HashSet<int>();
        var oneofs = new HashSet<OneofDescriptor>();
        foreach (var (key, value) in json)
        {
            if (key == "@type")
            {
                continue;
            }

            var at = Enter(JsonPointer.Escape(key));
            if (!fields.TryGetValue(key, out var field))
            {
                // What is only counted needs no words, and these are dear.
                var suggestion = _problems.IsFull
                    ? ""
                    : Suggestion.For(key, message.Descriptor.Fields.InDeclarationOrder().Select(f => f.JsonName));
                Error("unknown-field", $"{message.Descriptor.FullName} has no field '{Short(key)}'.{suggestion}");
            }
            else if (!seen.Add(field.FieldNumber))
            {
                Error("duplicate-key", $"The field {field.Name} is given twice, in two spellings. Remove one.");
            }
            else if (value is not null && field.RealContainingOneof is { } oneof && !oneofs.Add(oneof))
            {
                var choices = string.Join(", ", oneof.Fields.Select(f => f.JsonName));
                Error("one-of", $"Only one of {choices} may be given.");
            }
            else
            {
                ReadField(field, value, message);
            }

            Leave(at);
        }
    }

    private void ReadField(FieldDescriptor field, JsonNode? value, IMessage message)
    {
        if (value is null && (_isOverlay || !IsJsonValue(field)))
        {
            field.Accessor.Clear(message);
        }
        else if (field.IsMap)
        {
            ReadMap(field, value, (IDictionary)field.Accessor.GetValue(message));
        }
        else if (field.IsRepeated)
        {
            ReadList(field, value, (IList)field.Accessor.GetValue(message));
        }
        else if (
            ReadSingle(field, value, field.FieldType == FieldType.Message ? field.Accessor.GetValue(message) as IMessage : null) is
            { } single
        )
        {
            field.Accessor.SetValue(message, single);
        }
    }

    private void ReadList(FieldDescriptor field, JsonNode? value, IList list)
    {
        if (value is not JsonArray items)
        {
            WrongType("a list", value);
            return;
        }

        list.Clear();
        for (var i = 0; i < items.Count; i++)
        {
            var at = Enter(i.ToString(CultureInfo.InvariantCulture));
            if (ReadSingle(field, items[i], existing: null) is { } item)
            {
                list.Add(item);
            }

            Leave(at);
        }
    }

    private void ReadMap(FieldDescriptor field, JsonNode? value, IDictionary map)
    {
        if (value is not JsonObject entries)
        {
            WrongType("an object", value);
            return;
        }

        var (keyField, valueField) = (field.MessageType.Fields[1], field.MessageType.Fields[2]);
        foreach (var (text, entry) in entries)
        {
            var at = Enter(JsonPointer.Escape(text));
            if (ReadMapKey(keyField, text) is { } key)
            {
                if (entry is null && _isOverlay)
                {
                    map.Remove(key);
                }
                else if (ReadSingle(valueField, entry, map.Contains(key) ? map[key] as IMessage : null) is { } item)
                {
                    map[key] = item;
                }
            }

            Leave(at);
        }
    }

    private object? ReadMapKey(FieldDescriptor field, string text)
    {
        if (field.FieldType == FieldType.String)
        {
            return text;
        }

        if (field.FieldType == FieldType.Bool)
        {
            return bool.TryParse(text, out var flag) ? flag : WrongType("true or false as key", JsonValue.Create(text));
        }

        return ReadScalar(field, JsonValue.Create(text));
    }

    /// <summary>Reads one value of a field; null after a fault.</summary>
    private object? ReadSingle(FieldDescriptor field, JsonNode? value, IMessage? existing)
    {
        if (field.FieldType != FieldType.Message)
        {
            return ReadScalar(field, value);
        }

        var type = field.MessageType;
        if (type.FullName == Any.Descriptor.FullName)
        {
            return ReadAny(value, existing as Any);
        }

        if (IsWrapper(type))
        {
            return ReadScalar(type.Fields[1], value);
        }

        if (type.FullName == Struct.Descriptor.FullName && _isOverlay && value is JsonObject patch && existing is Struct old)
        {
            return ReadWellKnown(type, MergePatch(JsonNode.Parse(JsonFormatter.Default.Format(old))!.AsObject(), patch));
        }

        if (MessageWalker.IsValue(type))
        {
            return ReadWellKnown(type, value);
        }

        if (value is not JsonObject json)
        {
            return WrongType($"an object ({type.FullName})", value);
        }

        var message = existing ?? Empty(type);
        ReadMessage(json, message);
        return message;
    }

    private IMessage? ReadWellKnown(MessageDescriptor type, JsonNode? value)
    {
        try
        {
            return JsonParser.Default.Parse(value?.ToJsonString() ?? "null", type);
        }
        catch (InvalidProtocolBufferException)
        {
            var expected = type.Name switch
            {
                nameof(Duration) => "a duration in seconds such as \"0.25s\" (proto-JSON knows no other unit)",
                nameof(Timestamp) => "a time such as \"2030-01-31T12:00:00Z\"",
                nameof(FieldMask) => "field paths separated by commas",
                nameof(ListValue) => "a list",
                _ => "an object",
            };
            Error("wrong-type", $"Expected {expected}.");
            return null;
        }
    }

    private Any? ReadAny(JsonNode? node, Any? existing)
    {
        if (node is not JsonObject json)
        {
            WrongType("an object with @type", node);
            return null;
        }

        if (!json.ContainsKey("@type"))
        {
            return ReadRawAny(json);
        }

        if (json["@type"] is not JsonValue typeNode || !typeNode.TryGetValue(out string? url) || url.Length == 0)
        {
            Error("wrong-type", "'@type' is the type's URL as text, for example type.googleapis.com/envoy.config.cluster.v3.Cluster.");
            return null;
        }

        if (EnvoyTypes.Find(url) is not { } type)
        {
            return ReadUnknown(url, json);
        }

        if (type.FullName == Any.Descriptor.FullName)
        {
            return ReadAny(json["value"], existing: null) is { } inner ? EnvoyTypes.Pack(inner) : null;
        }

        if (MessageWalker.IsValue(type))
        {
            return ReadWellKnown(type, json["value"]) is { } value ? EnvoyTypes.Pack(value) : null;
        }

        var message = _isOverlay && existing is not null && existing.Is(type) ? EnvoyTypes.Unpack(existing)! : Empty(type);
        ReadMessage(json, message);
        return EnvoyTypes.Pack(message);
    }

    private Any? ReadRawAny(JsonObject json)
    {
        var (url, bytes) = (json["typeUrl"] ?? json["type_url"], json["valueBase64"] ?? json["value_base64"]);
        if (
            json.Count == 2
            && url is JsonValue urlValue
            && urlValue.TryGetValue(out string? typeUrl)
            && bytes is JsonValue bytesValue
            && bytesValue.TryGetValue(out string? base64)
        )
        {
            if (DecodeBase64(base64) is { } decoded)
            {
                return new Any { TypeUrl = typeUrl, Value = decoded };
            }

            Error("invalid-base64", "'valueBase64' is not base64.");
            return null;
        }

        Error(
            "missing-field",
            "'@type' is missing. Give the type of this configuration, or 'typeUrl' and 'valueBase64' for a message that only the proxy knows."
        );
        return null;
    }

    private Any? ReadUnknown(string url, JsonObject json)
    {
        var content = new JsonObject(json.Where(m => m.Key != "@type").Select(m => KeyValuePair.Create(m.Key, m.Value?.DeepClone())));
        if (ReadWellKnown(Struct.Descriptor, content) is not Struct value)
        {
            return null;
        }

        _problems.Warning(
            _pointer.ToString(),
            "unknown-type",
            $"The type {Short(url)} is not known to this server. It is passed on unchecked as a TypedStruct, which Envoy converts where it has the extension."
        );
        return EnvoyTypes.Pack(new Xds.Type.V3.TypedStruct { TypeUrl = url, Value = value });
    }

    private object? ReadScalar(FieldDescriptor field, JsonNode? node)
    {
        if (node is not JsonValue value)
        {
            return WrongType(Expected(field), node);
        }

        var kind = value.GetValueKind();
        var text =
            kind == JsonValueKind.String ? value.GetValue<string>()
            : kind == JsonValueKind.Number ? value.ToJsonString()
            : "";
        object? result = field.FieldType switch
        {
            FieldType.String when kind == JsonValueKind.String => text,
            FieldType.Bytes when kind == JsonValueKind.String => DecodeBase64(text),
            FieldType.Bool when kind is JsonValueKind.True or JsonValueKind.False => kind == JsonValueKind.True,
            FieldType.Enum => ReadEnum(field.EnumType, kind, text),
            FieldType.Double => ReadFloat(text) is { } number ? number : null,
            FieldType.Float => ReadFloat(text) is { } number && (!double.IsFinite(number) || float.IsFinite((float)number))
                ? (float)number
                : null,
            FieldType.Int32 or FieldType.SInt32 or FieldType.SFixed32 => ReadWhole(text, int.MinValue, int.MaxValue) is { } number
                ? (int)number
                : null,
            FieldType.UInt32 or FieldType.Fixed32 => ReadWhole(text, 0, uint.MaxValue) is { } number ? (uint)number : null,
            FieldType.Int64 or FieldType.SInt64 or FieldType.SFixed64 => ReadWhole(text, long.MinValue, long.MaxValue) is { } number
                ? (long)number
                : null,
            FieldType.UInt64 or FieldType.Fixed64 => ReadWhole(text, 0, ulong.MaxValue) is { } number ? (ulong)number : null,
            _ => null,
        };
        return result
            ?? WrongType(
                Expected(field)
                    + (field.FieldType == FieldType.Enum && !_problems.IsFull ? Suggestion.For(text, Words(field.EnumType)) : ""),
                value
            );
    }

    private static object? ReadEnum(EnumDescriptor type, JsonValueKind kind, string text) =>
        kind == JsonValueKind.String ? type.FindValueByName(text)?.Number
        : kind == JsonValueKind.Number && ReadWhole(text, int.MinValue, int.MaxValue) is { } number ? (int)number
        : null;

    private static decimal? ReadWhole(string text, decimal min, decimal max) =>
        decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
        && decimal.Truncate(number) == number
        && number >= min
        && number <= max
            ? number
            : null;

    private static double? ReadFloat(string text) =>
        text switch
        {
            "NaN" => double.NaN,
            "Infinity" => double.PositiveInfinity,
            "-Infinity" => double.NegativeInfinity,
            _ => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number)
                ? number
                : null,
        };

    private static ByteString? DecodeBase64(string text)
    {
        var standard = text.TrimEnd('=').Replace('+', '-').Replace('/', '_');
        return Base64Url.IsValid(standard) ? UnsafeByteOperations.UnsafeWrap(Base64Url.DecodeFromChars(standard)) : null;
    }

    private static string Expected(FieldDescriptor field) =>
        field.FieldType switch
        {
            FieldType.String => "text",
            FieldType.Bytes => "bytes in base64",
            FieldType.Bool => "true or false",
            FieldType.Enum => "one of " + string.Join(", ", Words(field.EnumType)),
            FieldType.Double or FieldType.Float => "a number",
            FieldType.Int32 or FieldType.SInt32 or FieldType.SFixed32 => $"a whole number from {int.MinValue} to {int.MaxValue}",
            FieldType.UInt32 or FieldType.Fixed32 => $"a whole number from 0 to {uint.MaxValue}",
            _ => "a whole number of 64 bits",
        };

    private static IEnumerable<string> Words(EnumDescriptor type) => type.Values.Select(v => v.Name);

    private object? WrongType(string expected, JsonNode? found)
    {
        // Never the value itself: it may be a secret.
        var noun = found switch
        {
            null => "null",
            JsonObject => "an object",
            JsonArray => "a list",
            _ => found.GetValueKind() switch
            {
                JsonValueKind.String => "other text",
                JsonValueKind.Number => "a number",
                _ => "true or false",
            },
        };
        Error("wrong-type", $"Expected {expected.TrimEnd('.', '?')}{(expected.EndsWith('?') ? "?" : "")} (found {noun}).");
        return null;
    }

    /// <summary>RFC 7396 on the content of a Struct.</summary>
    private static JsonObject MergePatch(JsonObject target, JsonObject patch)
    {
        foreach (var (key, value) in patch)
        {
            if (value is null)
            {
                target.Remove(key);
            }
            else if (value is JsonObject inner && target[key] is JsonObject existing)
            {
                target[key] = MergePatch(existing.DeepClone().AsObject(), inner);
            }
            else
            {
                target[key] = value.DeepClone();
            }
        }

        return target;
    }

    /// <summary>Every field under both of its spellings.</summary>
    private static FrozenDictionary<string, FieldDescriptor> FindFields(MessageDescriptor type) =>
        type
            .Fields.InDeclarationOrder()
            .SelectMany(f => new[] { KeyValuePair.Create(f.Name, f), KeyValuePair.Create(f.JsonName, f) })
            .DistinctBy(p => p.Key)
            .ToFrozenDictionary(StringComparer.Ordinal);

    private static bool IsWrapper(MessageDescriptor type) => type.File.Name == "google/protobuf/wrappers.proto";

    private static bool IsJsonValue(FieldDescriptor field) =>
        field is { FieldType: FieldType.Message, IsRepeated: false } && field.MessageType.FullName == Value.Descriptor.FullName;

    private static IMessage Empty(MessageDescriptor type) => type.Parser.ParseFrom(ByteString.Empty);

    private static string Short(string text) => text.Length <= 100 ? text : text[..100] + "…";

    private int Enter(string segment)
    {
        var length = _pointer.Length;
        _pointer.Append('/').Append(segment);
        return length;
    }

    private void Leave(int length) => _pointer.Length = length;

    private void Error(string code, string message) => _problems.Error(_pointer.ToString(), code, message);
}
