using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Reading;

/// <summary>
/// The one text of an object: compact JSON, members in the order of declaration, keys of maps and raw parts sorted, defaults left out, values in one spelling
/// (<c>0.25s</c> is <c>250ms</c>). Equal objects have equal texts; the store keeps it and a change is a change of it.
/// </summary>
public static class CanonicalForm
{
    /// <summary>Stands in the place of every secret in what people are shown.</summary>
    public const string Redacted = "[redacted]";

    private static readonly JsonWriterOptions Options = new()
    {
        // Only affects text that is pasted into HTML, which nothing here does.
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        SkipValidation = true,
    };

    /// <summary>The canonical JSON of a manifest, without line breaks.</summary>
    /// <param name="manifest">The object.</param>
    /// <param name="redact">Whether members marked <see cref="SensitiveAttribute"/> are replaced by <see cref="Redacted"/>.</param>
    public static string Write(Manifest manifest, bool redact = false) =>
        ToText(writer =>
        {
            writer.WriteStartObject();
            writer.WriteString("apiVersion", Manifest.ApiVersion);
            writer.WriteString("kind", manifest.Kind.ToString());
            writer.WritePropertyName("metadata");
            ValueFormat.Of(typeof(ResourceMetadata)).Write(writer, manifest.Metadata, redact);
            writer.WritePropertyName("spec");
            ValueFormat.Of(manifest.Spec.GetType()).Write(writer, manifest.Spec, redact);
            writer.WriteEndObject();
        });

    /// <summary>The canonical JSON of a spec alone.</summary>
    public static string Write(ResourceSpec spec, bool redact = false) =>
        ToText(writer => ValueFormat.Of(spec.GetType()).Write(writer, spec, redact));

    /// <summary>The canonical JSON of a record that is no object of its own: what <see cref="ManifestReader.ReadRecord{T}"/> reads.</summary>
    public static string WriteRecord<T>(T record)
        where T : class => ToText(writer => ValueFormat.Of(typeof(T)).Write(writer, record, redact: false));

    /// <summary>The manifest as a YAML document for people, with the members of <see cref="Write(Manifest, bool)"/>.</summary>
    public static string WriteYaml(Manifest manifest, bool redact = false) => YamlText.OfJson(Write(manifest, redact));

    /// <summary>Reads what <see cref="Write(Manifest, bool)"/> wrote. The object was checked before it was stored and is not checked again.</summary>
    /// <exception cref="FormatException">The text is no manifest of this version: the store was written by a newer server, or from outside.</exception>
    public static Manifest Read(string json)
    {
        var document = ManifestReader.ReadStored(Encoding.UTF8.GetBytes(json));
        return document.Manifest
            ?? throw new FormatException(
                "A stored object cannot be read: " + string.Join("; ", document.Problems.Select(p => $"{p.Pointer}: {p.Message}"))
            );
    }

    internal static string OfJson(JsonNode node) => ToText(writer => RawJsonFormat.WriteSorted(writer, node));

    private static string ToText(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, Options))
        {
            write(writer);
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }
}
