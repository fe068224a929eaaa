using System.Collections.Frozen;
using System.Globalization;
using System.Text.Json;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Reading;

internal sealed class TextFormat : ValueFormat
{
    public override string Expected => "text";

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value)
    {
        if (node is not ScalarNode { Kind: ScalarKind.Text } scalar)
        {
            return Mismatch(node, context, out value);
        }

        value = scalar.Text;
        return true;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact) => writer.WriteStringValue((string)value);
}

internal sealed class BooleanFormat : ValueFormat
{
    public override string Expected => "true or false";

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value)
    {
        if (node is not ScalarNode { Kind: ScalarKind.Boolean } scalar)
        {
            return Mismatch(node, context, out value);
        }

        value = scalar.Text == "true";
        return true;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact) => writer.WriteBooleanValue((bool)value);
}

/// <summary>Whole numbers in the range of their CLR type.</summary>
internal sealed class WholeNumberFormat(long min, long max, Func<long, object> convert) : ValueFormat
{
    public override string Expected { get; } =
        max == long.MaxValue ? "a whole number" : string.Create(CultureInfo.InvariantCulture, $"a whole number from {min} to {max}");

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value)
    {
        if (
            node is not ScalarNode { Kind: ScalarKind.Number } scalar
            || !long.TryParse(scalar.Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
            || number < min
            || number > max
        )
        {
            return Mismatch(node, context, out value);
        }

        value = convert(number);
        return true;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact) =>
        writer.WriteNumberValue(Convert.ToInt64(value, CultureInfo.InvariantCulture));
}

internal sealed class NumberFormat : ValueFormat
{
    public override string Expected => "a finite number";

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value)
    {
        if (
            node is not ScalarNode { Kind: ScalarKind.Number } scalar
            || !double.TryParse(scalar.Text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
            || !double.IsFinite(number)
        )
        {
            return Mismatch(node, context, out value);
        }

        // Minus zero compares equal to zero and must be written like it.
        value = number == 0 ? 0d : number;
        return true;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact) => writer.WriteNumberValue((double)value);
}

/// <summary>See <see cref="DurationText"/>.</summary>
internal sealed class DurationFormat : ValueFormat
{
    public override string Expected => "a duration such as 250ms, 5s or 1m30s";

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value)
    {
        if (node is not ScalarNode { Kind: ScalarKind.Text } scalar)
        {
            return Mismatch(node, context, out value);
        }

        if (!DurationText.TryParse(scalar.Text, out var duration))
        {
            context.Error(
                "invalid-duration",
                $"{TextExcerpt.Quote(scalar.Text)} is not a duration. Write numbers with a unit of h, m, s, ms or us, for example 250ms, 5s or 1m30s."
            );
            value = null;
            return false;
        }

        value = duration;
        return true;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact) =>
        writer.WriteStringValue(DurationText.Format((TimeSpan)value));
}

/// <summary>Points in time by RFC 3339, written in UTC.</summary>
internal sealed class TimestampFormat : ValueFormat
{
    private const string Canonical = "yyyy-MM-dd'T'HH:mm:ss.FFFFFFF'Z'";

    private static readonly string[] Accepted = ["yyyy-MM-dd'T'HH:mm:ss.FFFFFFF'Z'", "yyyy-MM-dd'T'HH:mm:ss.FFFFFFFzzz"];

    public override string Expected => "a time such as 2030-01-31T12:00:00Z";

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value)
    {
        if (node is not ScalarNode { Kind: ScalarKind.Text } scalar)
        {
            return Mismatch(node, context, out value);
        }

        if (
            !DateTimeOffset.TryParseExact(
                scalar.Text,
                Accepted,
                CultureInfo.InvariantCulture,
                DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal,
                out var time
            )
        )
        {
            context.Error(
                "invalid-timestamp",
                $"{TextExcerpt.Quote(scalar.Text)} is not a time by RFC 3339. Write for example 2030-01-31T12:00:00Z."
            );
            value = null;
            return false;
        }

        value = time;
        return true;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact) =>
        writer.WriteStringValue(((DateTimeOffset)value).UtcDateTime.ToString(Canonical, CultureInfo.InvariantCulture));
}

/// <summary>Enum members as camelCase words.</summary>
internal sealed class EnumFormat : ValueFormat
{
    private readonly string[] _words;
    private readonly FrozenDictionary<string, object> _byWord;
    private readonly FrozenDictionary<object, string> _byValue;

    public EnumFormat(Type type)
    {
        var values = Enum.GetValues(type).Cast<object>().ToArray();
        _words = [.. values.Select(v => JsonNamingPolicy.CamelCase.ConvertName(v.ToString()!))];
        _byWord = _words.Zip(values).ToFrozenDictionary(p => p.First, p => p.Second, StringComparer.Ordinal);
        _byValue = _words.Zip(values).ToFrozenDictionary(p => p.Second, p => p.First);
        Expected = "one of " + string.Join(", ", _words);
    }

    public override string Expected { get; }

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value)
    {
        if (node is not ScalarNode { Kind: ScalarKind.Text } scalar)
        {
            return Mismatch(node, context, out value);
        }

        if (!_byWord.TryGetValue(scalar.Text, out value))
        {
            var suggestion = context.IsFull ? "" : Suggestion.For(scalar.Text, _words);
            context.Error("unknown-word", $"{TextExcerpt.Quote(scalar.Text)} is not known here. Write {Expected}.{suggestion}");
            return false;
        }

        return true;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact) => writer.WriteStringValue(_byValue[value]);
}
