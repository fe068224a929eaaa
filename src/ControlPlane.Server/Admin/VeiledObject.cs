using System.Globalization;
using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Server.Admin;

/// <summary>
/// An object to work on whose secrets stand behind marks, each of its own: what is moved about can be put back, but only into the place that it came from, where the
/// index in a list does not count.
/// </summary>
internal sealed class VeiledObject
{
    private readonly string _mark = $"{CanonicalForm.Redacted} {Guid.NewGuid():N} ";
    private readonly List<(string Shape, JsonNode Value)> _secrets = [];

    private VeiledObject(JsonObject view, JsonObject whole)
    {
        Json = view;
        Veil(view, whole, "");
    }

    /// <summary>The object, to be changed.</summary>
    public JsonObject Json { get; }

    /// <summary>The object with its secrets taken out.</summary>
    public static VeiledObject Of(Manifest manifest) =>
        new(Redaction.View(manifest), JsonNode.Parse(CanonicalForm.Write(manifest))!.AsObject());

    /// <summary>A value of <see cref="Json"/> as answers show it.</summary>
    public JsonNode? Shown(JsonNode node)
    {
        var shown = node.DeepClone();
        Replace(ref shown, "", "", (_, _, _) => JsonValue.Create(CanonicalForm.Redacted));
        return shown;
    }

    /// <summary>Puts the secrets back.</summary>
    /// <param name="changed">What became of <see cref="Json"/>.</param>
    /// <returns>Where secrets are now, as JSON pointers, and one of those where they do not belong; null if all do.</returns>
    public (List<string> Places, string? Misplaced) Unveil(ref JsonNode? changed)
    {
        var places = new List<string>();
        string? misplaced = null;
        Replace(
            ref changed,
            "",
            "",
            (index, pointer, shape) =>
            {
                if (_secrets[index].Shape != shape)
                {
                    misplaced ??= pointer;
                }

                places.Add(pointer);
                return _secrets[index].Value.DeepClone();
            }
        );
        return (places, misplaced);
    }

    /// <summary>Whether answers hide what is at a place of an object: another <c>@type</c> beside a secret can turn it into something that is shown.</summary>
    /// <param name="view">The object as answers show it.</param>
    /// <param name="pointer">The place.</param>
    public static bool Hides(JsonNode view, string pointer)
    {
        JsonNode? node = view;
        foreach (var segment in JsonPointer.Segments(pointer))
        {
            node = node switch
            {
                JsonObject members => members[segment],
                JsonArray items => items[int.Parse(segment, CultureInfo.InvariantCulture)],
                _ => node,
            };
        }

        return node is null || IsRedacted(node);
    }

    private void Veil(JsonNode view, JsonNode whole, string shape)
    {
        switch (view, whole)
        {
            case (JsonObject members, JsonObject others):
                foreach (var name in members.Select(m => m.Key).ToList())
                {
                    if (members[name] is { } member && others[name] is { } other)
                    {
                        var inside = $"{shape}/{JsonPointer.Escape(name)}";
                        if (IsRedacted(member))
                        {
                            members[name] = MarkFor(inside, other);
                        }
                        else
                        {
                            Veil(member, other, inside);
                        }
                    }
                }

                break;
            case (JsonArray items, JsonArray others):
                for (var i = 0; i < items.Count; i++)
                {
                    if (items[i] is { } item && others[i] is { } other)
                    {
                        if (IsRedacted(item))
                        {
                            items[i] = MarkFor(shape + "/-", other);
                        }
                        else
                        {
                            Veil(item, other, shape + "/-");
                        }
                    }
                }

                break;
        }
    }

    private static bool IsRedacted(JsonNode node) =>
        node is JsonValue value && value.TryGetValue(out string? text) && text == CanonicalForm.Redacted;

    private JsonValue MarkFor(string shape, JsonNode value)
    {
        _secrets.Add((shape, value));
        return JsonValue.Create($"{_mark}{_secrets.Count - 1}");
    }

    private void Replace(ref JsonNode? node, string pointer, string shape, Func<int, string, string, JsonNode?> by)
    {
        switch (node)
        {
            case JsonObject members:
                foreach (var name in members.Select(m => m.Key).ToList())
                {
                    var (before, step) = (members[name], "/" + JsonPointer.Escape(name));
                    var after = before;
                    Replace(ref after, pointer + step, shape + step, by);
                    if (!ReferenceEquals(before, after))
                    {
                        members[name] = after;
                    }
                }

                break;
            case JsonArray items:
                for (var i = 0; i < items.Count; i++)
                {
                    var before = items[i];
                    var after = before;
                    Replace(ref after, $"{pointer}/{i}", shape + "/-", by);
                    if (!ReferenceEquals(before, after))
                    {
                        items[i] = after;
                    }
                }

                break;
            case JsonValue value when value.TryGetValue(out string? text) && text.StartsWith(_mark, StringComparison.Ordinal):
                node = by(int.Parse(text.AsSpan(_mark.Length), CultureInfo.InvariantCulture), pointer, shape);
                break;
        }
    }
}
