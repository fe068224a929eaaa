using System.Collections.Immutable;
using System.Text.Json;

namespace ControlPlane.Resources.Reading;

internal sealed class ListFormat<T> : ValueFormat
    where T : notnull
{
    private readonly ValueFormat _item = Of(typeof(T));

    public override string Expected => "a list";

    public override object? Empty => ImmutableArray<T>.Empty;

    public override bool IsAbsent(object? value) => value is ImmutableArray<T> { IsDefault: true };

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value)
    {
        if (node is not SequenceNode sequence)
        {
            return Mismatch(node, context, out value);
        }

        var good = true;
        var items = ImmutableArray.CreateBuilder<T>(sequence.Items.Count);
        for (var i = 0; i < sequence.Items.Count; i++)
        {
            context.Enter(i, sequence.Items[i]);
            if (_item.TryRead(sequence.Items[i], context, out var item))
            {
                items.Add((T)item!);
            }
            else
            {
                good = false;
            }

            context.Leave();
        }

        value = items.DrainToImmutable();
        return good;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact)
    {
        writer.WriteStartArray();
        foreach (var item in Given(value))
        {
            _item.Write(writer, item, redact);
        }

        writer.WriteEndArray();
    }

    public override bool Same(object left, object right)
    {
        var (a, b) = (Given(left), Given(right));
        return a.Length == b.Length && a.Zip(b).All(p => _item.Same(p.First, p.Second));
    }

    private static ImmutableArray<T> Given(object value) => (ImmutableArray<T>)value is { IsDefault: false } given ? given : [];
}

internal sealed class MapFormat<T> : ValueFormat
    where T : notnull
{
    private readonly ValueFormat _item = Of(typeof(T));

    public override string Expected => "an object";

    public override object? Empty { get; } = ImmutableSortedDictionary.Create<string, T>(StringComparer.Ordinal);

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value)
    {
        if (node is not MappingNode mapping)
        {
            return Mismatch(node, context, out value);
        }

        var good = true;
        var items = ImmutableSortedDictionary.CreateBuilder<string, T>(StringComparer.Ordinal);
        foreach (var entry in mapping.Entries)
        {
            context.Enter(entry);
            if (_item.TryRead(entry.Value, context, out var item))
            {
                items[entry.Key] = (T)item!;
            }
            else
            {
                good = false;
            }

            context.Leave();
        }

        value = items.ToImmutable();
        return good;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact)
    {
        writer.WriteStartObject();
        foreach (var (key, item) in ((ImmutableSortedDictionary<string, T>)value).OrderBy(p => p.Key, StringComparer.Ordinal))
        {
            writer.WritePropertyName(key);
            _item.Write(writer, item, redact);
        }

        writer.WriteEndObject();
    }

    public override bool Same(object left, object right)
    {
        var (a, b) = ((ImmutableSortedDictionary<string, T>)left, (ImmutableSortedDictionary<string, T>)right);
        return a.Count == b.Count && a.All(p => b.TryGetValue(p.Key, out var other) && _item.Same(p.Value, other));
    }
}
