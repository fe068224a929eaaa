using System.Collections;
using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Config.Route.V3;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Udpa.Annotations;
using EnvoyListener = Envoy.Config.Listener.V3.Listener;

namespace ControlPlane.Server.Security;

/// <summary>
/// Takes secrets out of Envoy messages before people see them. Which fields hold secrets the Envoy API says itself, by the option <c>udpa.annotations.sensitive</c>;
/// files and variables that a secret is read from are no secrets and stay.
/// </summary>
internal static class Redaction
{
    /// <summary>A message as proto-JSON without secrets.</summary>
    public static JsonNode ToJson(EncodedResource resource)
    {
        var message = EnvoyTypes.Find(resource.Type.TypeUrl)!.Parser.ParseFrom(resource.Payload.Span);
        return ToJson(message);
    }

    /// <summary>A message as proto-JSON without secrets. The message itself is changed.</summary>
    public static JsonNode ToJson(IMessage message)
    {
        var packed = new HashSet<MessageDescriptor>();
        Redact(message, packed);
        var formatter = new JsonFormatter(JsonFormatter.Settings.Default.WithTypeRegistry(TypeRegistry.FromMessages(packed)));
        return JsonNode.Parse(formatter.Format(message))!;
    }

    /// <summary>Takes secrets out of the raw parts of a spec: its overlay, whole messages and typed configurations. The tree itself is changed.</summary>
    public static JsonObject Apply(ResourceKind kind, JsonObject spec)
    {
        var overlay = kind switch
        {
            ResourceKind.Upstream => Cluster.Descriptor,
            ResourceKind.RouteTable => RouteConfiguration.Descriptor,
            ResourceKind.Listener => EnvoyListener.Descriptor,
            _ => null,
        };
        if (overlay is not null && spec["envoy"] is JsonObject raw)
        {
            RedactRaw(raw, overlay);
        }

        FindTyped(spec);
        return spec;
    }

    private static void Redact(IMessage message, HashSet<MessageDescriptor> packed)
    {
        if (message is Any any)
        {
            RedactPacked(any, packed);
            return;
        }

        foreach (var field in message.Descriptor.Fields.InDeclarationOrder())
        {
            var isSensitive = IsSensitive(field);
            if (!isSensitive && field.FieldType != FieldType.Message)
            {
                continue;
            }

            switch (field.Accessor.GetValue(message))
            {
                case IDictionary map:
                    foreach (var key in map.Keys.Cast<object>().ToList())
                    {
                        if (map[key] is IMessage value)
                        {
                            Redact(value, packed);
                        }
                        else if (isSensitive)
                        {
                            map[key] = CanonicalForm.Redacted;
                        }
                    }

                    break;
                case IList list:
                    for (var i = 0; i < list.Count; i++)
                    {
                        list[i] = Inside(list[i]!, isSensitive, packed);
                    }

                    break;
                case { } value when field.FieldType == FieldType.Message || !value.Equals(""):
                    field.Accessor.SetValue(message, Inside(value, isSensitive, packed));
                    break;
            }
        }
    }

    private static object Inside(object value, bool isSensitive, HashSet<MessageDescriptor> packed)
    {
        switch (value)
        {
            case DataSource source when isSensitive:
                if (source.SpecifierCase is DataSource.SpecifierOneofCase.InlineBytes or DataSource.SpecifierOneofCase.InlineString)
                {
                    source.InlineString = CanonicalForm.Redacted;
                }

                return source;
            case Any when isSensitive:
                return Any.Pack(new StringValue { Value = CanonicalForm.Redacted }).Remember(packed);
            case IMessage message:
                Redact(message, packed);
                return message;
            case ByteString:
                return ByteString.CopyFromUtf8(CanonicalForm.Redacted);
            default:
                return CanonicalForm.Redacted;
        }
    }

    private static void RedactPacked(Any any, HashSet<MessageDescriptor> packed)
    {
        if (any.TypeUrl.Length == 0)
        {
            return;
        }

        try
        {
            if (EnvoyTypes.Unpack(any) is { } inner)
            {
                Redact(inner, packed);
                any.Value = inner.ToByteString();
                packed.Add(inner.Descriptor);
                return;
            }
        }
        catch (InvalidProtocolBufferException)
        {
            // Shown like a type that is not known.
        }

        // Nothing can say which of its bytes are secret.
        var hidden = Any.Pack(new StringValue { Value = $"{any.TypeUrl}: {CanonicalForm.Redacted}" }).Remember(packed);
        any.TypeUrl = hidden.TypeUrl;
        any.Value = hidden.Value;
    }

    private static Any Remember(this Any any, HashSet<MessageDescriptor> packed)
    {
        packed.Add(StringValue.Descriptor);
        return any;
    }

    /// <summary>Looks for typed configurations anywhere in a tree.</summary>
    private static void FindTyped(JsonNode? node)
    {
        switch (node)
        {
            case JsonObject members when TypeOf(members) is { } type:
                RedactRaw(members, type);
                break;
            case JsonObject members:
                foreach (var (_, value) in members.ToList())
                {
                    FindTyped(value);
                }

                break;
            case JsonArray items:
                foreach (var item in items)
                {
                    FindTyped(item);
                }

                break;
        }
    }

    private static void RedactRaw(JsonObject members, MessageDescriptor type)
    {
        foreach (var (name, value) in members.ToList())
        {
            if (FindField(type, name) is not { } field)
            {
                continue;
            }

            if (IsSensitive(field))
            {
                members[name] = Hide(value);
            }
            else if (field.FieldType == FieldType.Message)
            {
                Into(value, field.IsMap ? field.MessageType.Fields[2].MessageTypeOrNull() : field.MessageType, field.IsMap);
            }
        }
    }

    private static void Into(JsonNode? value, MessageDescriptor? type, bool isMap)
    {
        switch (value)
        {
            case JsonArray items:
                foreach (var item in items)
                {
                    Into(item, type, isMap: false);
                }

                break;
            case JsonObject entries when isMap:
                foreach (var (_, entry) in entries.ToList())
                {
                    Into(entry, type, isMap: false);
                }

                break;
            case JsonObject members when type is not null && type.FullName != Any.Descriptor.FullName:
                RedactRaw(members, type);
                break;
            case JsonObject members:
                FindTyped(members);
                break;
        }
    }

    /// <summary>Puts the marker in the place of every text, but for where a secret is read from.</summary>
    private static JsonNode? Hide(JsonNode? node)
    {
        switch (node)
        {
            case JsonObject members:
                foreach (var (name, value) in members.ToList())
                {
                    if (
                        name
                        is not (
                            "filename"
                            or "environment_variable"
                            or "environmentVariable"
                            or "watched_directory"
                            or "watchedDirectory"
                            or "@type"
                        )
                    )
                    {
                        members[name] = Hide(value);
                    }
                }

                return members;
            case JsonArray items:
                for (var i = 0; i < items.Count; i++)
                {
                    items[i] = Hide(items[i]);
                }

                return items;
            case null:
                return null;
            default:
                return JsonValue.Create(CanonicalForm.Redacted);
        }
    }

    private static MessageDescriptor? TypeOf(JsonObject members) =>
        members["@type"] is JsonValue text && text.TryGetValue<string>(out var url) ? EnvoyTypes.Find(url) : null;

    // Proto-JSON takes a field by its own name and by its JSON name.
    private static FieldDescriptor? FindField(MessageDescriptor type, string name) =>
        type.FindFieldByName(name) ?? type.Fields.InDeclarationOrder().FirstOrDefault(f => f.JsonName == name);

    private static MessageDescriptor? MessageTypeOrNull(this FieldDescriptor field) =>
        field.FieldType == FieldType.Message ? field.MessageType : null;

    private static bool IsSensitive(FieldDescriptor field) => field.GetOptions()?.GetExtension(SensitiveExtensions.Sensitive) ?? false;
}
