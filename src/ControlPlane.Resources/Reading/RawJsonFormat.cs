using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace ControlPlane.Resources.Reading;

/// <summary>Raw parts: any value (<see cref="JsonNode"/>) or any object (<see cref="JsonObject"/>), in the canonical form with keys sorted.</summary>
internal sealed class RawJsonFormat(Type type) : ValueFormat
{
    private readonly bool _objectsOnly = type == typeof(JsonObject);
    private readonly bool _listsOnly = type == typeof(JsonArray);

    public override string Expected =>
        _objectsOnly ? "an object"
        : _listsOnly ? "a list"
        : "a value";

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value)
    {
        if (_objectsOnly && node is not MappingNode || _listsOnly && node is not SequenceNode)
        {
            return Mismatch(node, context, out value);
        }

        var faults = false;
        value = Convert(node, context, ref faults);
        return !faults;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact) => WriteSorted(writer, (JsonNode)value);

    public override bool Same(object left, object right) => CanonicalForm.OfJson((JsonNode)left) == CanonicalForm.OfJson((JsonNode)right);

    private static JsonNode? Convert(DocumentNode node, BindingContext context, ref bool faults)
    {
        switch (node)
        {
            case MappingNode mapping:
                var result = new JsonObject();
                foreach (var entry in mapping.Entries)
                {
                    context.Enter(entry);
                    result[entry.Key] = Convert(entry.Value, context, ref faults);
                    context.Leave();
                }

                return result;
            case SequenceNode sequence:
                var list = new JsonArray();
                for (var i = 0; i < sequence.Items.Count; i++)
                {
                    context.Enter(i, sequence.Items[i]);
                    list.Add(Convert(sequence.Items[i], context, ref faults));
                    context.Leave();
                }

                return list;
            case ScalarNode { Kind: ScalarKind.Text, Text: CanonicalForm.Redacted }:
                faults = true;
                context.Error("redacted-value", RecordFormat.RedactedValue);
                return null;
            case ScalarNode { Kind: ScalarKind.Text } text:
                return JsonValue.Create(text.Text);
            case ScalarNode { Kind: ScalarKind.Boolean } boolean:
                return JsonValue.Create(boolean.Text == "true");
            case ScalarNode { Kind: ScalarKind.Number } number:
                if (ToNumber(number.Text) is { } numeric)
                {
                    return numeric;
                }

                faults = true;
                context.Error("wrong-type", "Expected a finite number, found one beyond the range of 64-bit floating point.");
                return null;
            default:
                return null;
        }
    }

    private static JsonValue? ToNumber(string text)
    {
        if (long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole))
        {
            return JsonValue.Create(whole);
        }

        if (ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var large))
        {
            return JsonValue.Create(large);
        }

        if (!double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) || !double.IsFinite(number))
        {
            return null;
        }

        // 1.0 and 1e0 are 1; beyond 2^53 a double no longer stands for one whole number.
        return Math.Abs(number) <= 1L << 53 && Math.Truncate(number) == number ? JsonValue.Create((long)number) : JsonValue.Create(number);
    }

    internal static void WriteSorted(Utf8JsonWriter writer, JsonNode? node)
    {
        switch (node)
        {
            case JsonObject members:
                writer.WriteStartObject();
                foreach (var (key, value) in members.OrderBy(m => m.Key, StringComparer.Ordinal))
                {
                    writer.WritePropertyName(key);
                    WriteSorted(writer, value);
                }

                writer.WriteEndObject();
                break;
            case JsonArray items:
                writer.WriteStartArray();
                foreach (var item in items)
                {
                    WriteSorted(writer, item);
                }

                writer.WriteEndArray();
                break;
            case null:
                writer.WriteNullValue();
                break;
            default:
                // Numbers come in many CLR types, or as the text they were parsed from: one form for all.
                (node.GetValueKind() == JsonValueKind.Number ? ToNumber(node.ToJsonString()) ?? node : node).WriteTo(writer);
                break;
        }
    }
}
