using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using Google.Protobuf.Reflection;

namespace ControlPlane.Core.Compilation;

/// <summary>What people are shown of an object: no secret, neither of the friendly part nor of raw Envoy messages inside it.</summary>
public static class Redaction
{
    private static readonly string[] SecretWords =
    [
        "password",
        "secret",
        "token",
        "privateKey",
        "private_key",
        "apiKey",
        "api_key",
        "credential",
    ];

    /// <summary>The manifest as JSON, without defaults and without secrets.</summary>
    public static JsonObject View(Manifest manifest)
    {
        var json = JsonNode.Parse(CanonicalForm.Write(manifest, redact: true))!.AsObject();
        var spec = json["spec"]!.AsObject();
        if (spec["envoy"] is JsonObject overlay && OverlaidType(manifest.Kind) is { } type)
        {
            RedactMessage(overlay, type);
        }

        RedactPacked(spec);
        return json;
    }

    private static MessageDescriptor? OverlaidType(ResourceKind kind) =>
        kind switch
        {
            ResourceKind.Upstream => Envoy.Config.Cluster.V3.Cluster.Descriptor,
            ResourceKind.Endpoint => Envoy.Config.Endpoint.V3.LbEndpoint.Descriptor,
            ResourceKind.RouteTable => Envoy.Config.Route.V3.RouteConfiguration.Descriptor,
            ResourceKind.Listener => Envoy.Config.Listener.V3.Listener.Descriptor,
            ResourceKind.Secret => Envoy.Extensions.TransportSockets.Tls.V3.Secret.Descriptor,
            _ => null,
        };

    /// <summary>Finds objects with an <c>@type</c>, wherever they stand.</summary>
    private static void RedactPacked(JsonNode? node)
    {
        if (node is JsonArray items)
        {
            foreach (var item in items)
            {
                RedactPacked(item);
            }
        }
        else if (node is JsonObject members)
        {
            if (members["@type"] is JsonValue url && url.TryGetValue(out string? typeUrl) && EnvoyTypes.Find(typeUrl) is { } type)
            {
                RedactMessage(members, type);
            }
            else
            {
                RedactUnknown(members);
            }

            foreach (var (_, value) in members)
            {
                RedactPacked(value);
            }
        }
    }

    /// <summary>Of messages that are not known here nobody can say what is secret: bytes are, and members whose names sound like it.</summary>
    private static void RedactUnknown(JsonObject members)
    {
        if (members.ContainsKey("valueBase64"))
        {
            members["valueBase64"] = CanonicalForm.Redacted;
        }

        if (!members.ContainsKey("@type"))
        {
            return;
        }

        foreach (
            var name in members
                .Select(m => m.Key)
                .Where(k => SecretWords.Any(w => k.Contains(w, StringComparison.OrdinalIgnoreCase)))
                .ToList()
        )
        {
            members[name] = CanonicalForm.Redacted;
        }
    }

    private static void RedactMessage(JsonObject json, MessageDescriptor type)
    {
        foreach (var field in type.Fields.InDeclarationOrder())
        {
            foreach (var name in new[] { field.JsonName, field.Name })
            {
                if (!json.TryGetPropertyValue(name, out var value) || value is null)
                {
                    continue;
                }

                if (ProtoJsonWriter.IsSensitive(field))
                {
                    json[name] = CanonicalForm.Redacted;
                }
                else if (field.FieldType == FieldType.Message)
                {
                    RedactField(field, value);
                }

                break;
            }
        }
    }

    private static void RedactField(FieldDescriptor field, JsonNode value)
    {
        if (field.IsMap)
        {
            if (field.MessageType.Fields[2] is { FieldType: FieldType.Message } item && value is JsonObject entries)
            {
                foreach (var (_, entry) in entries)
                {
                    RedactObject(entry, item.MessageType);
                }
            }
        }
        else if (value is JsonArray items)
        {
            foreach (var entry in items)
            {
                RedactObject(entry, field.MessageType);
            }
        }
        else
        {
            RedactObject(value, field.MessageType);
        }
    }

    private static void RedactObject(JsonNode? node, MessageDescriptor type)
    {
        if (node is JsonObject json)
        {
            RedactMessage(json, type);
        }
    }
}
