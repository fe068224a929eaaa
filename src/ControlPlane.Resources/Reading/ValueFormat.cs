using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace ControlPlane.Resources.Reading;

/// <summary>
/// How values of one CLR type stand in documents: reading, writing and comparing in one place, so that what is written can always be read. Made by reflection
/// once per type and kept.
/// </summary>
internal abstract class ValueFormat
{
    private static readonly ConcurrentDictionary<Type, ValueFormat> Formats = new();

    /// <summary>The format of a type.</summary>
    /// <exception cref="NotSupportedException">A spec uses a type that documents cannot hold: a mistake in our code.</exception>
    public static ValueFormat Of(Type type) => Formats.GetOrAdd(type, Create);

    /// <summary>What a value looks like, in the words of a message: <c>a whole number from 0 to 65535</c>.</summary>
    public abstract string Expected { get; }

    /// <summary>The value of a member that is not given and has no default of its own; null for none.</summary>
    public virtual object? Empty => null;

    /// <summary>Whether a member was left without any value by the constructor.</summary>
    public virtual bool IsAbsent(object? value) => value is null;

    /// <summary>Reads a value; where it is wrong, records why and returns false.</summary>
    public abstract bool TryRead(DocumentNode node, BindingContext context, out object? value);

    /// <summary>Writes a value in its canonical form.</summary>
    public abstract void Write(Utf8JsonWriter writer, object value, bool redact);

    /// <summary>Whether two values have the same canonical form.</summary>
    public virtual bool Same(object left, object right) => left.Equals(right);

    /// <summary>Records that a node is of another type than expected.</summary>
    protected bool Mismatch(DocumentNode node, BindingContext context, out object? value)
    {
        var hint = (node, this) switch
        {
            (ScalarNode { Kind: ScalarKind.Number or ScalarKind.Boolean }, TextFormat) => " Put it in quotes.",
            (ScalarNode { Kind: ScalarKind.Null }, _) => " Leave the member out to have the default.",
            _ => "",
        };
        // What is no whole number, or out of range, is shown: where a number is expected there is no secret.
        var found =
            node is ScalarNode { Kind: ScalarKind.Number } number && (this is WholeNumberFormat or NumberFormat)
                ? "the number " + TextExcerpt.Of(number.Text)
                : node.Noun;
        context.Error("wrong-type", $"Expected {Expected}, found {found}.{hint}");
        value = null;
        return false;
    }

    private static ValueFormat Create(Type type)
    {
        if (type == typeof(string))
        {
            return new TextFormat();
        }

        if (type == typeof(bool))
        {
            return new BooleanFormat();
        }

        if (type == typeof(int))
        {
            return new WholeNumberFormat(int.MinValue, int.MaxValue, n => (int)n);
        }

        if (type == typeof(uint))
        {
            return new WholeNumberFormat(uint.MinValue, uint.MaxValue, n => (uint)n);
        }

        if (type == typeof(long))
        {
            return new WholeNumberFormat(long.MinValue, long.MaxValue, n => n);
        }

        if (type == typeof(double))
        {
            return new NumberFormat();
        }

        if (type == typeof(TimeSpan))
        {
            return new DurationFormat();
        }

        if (type == typeof(DateTimeOffset))
        {
            return new TimestampFormat();
        }

        if (type.IsEnum)
        {
            return new EnumFormat(type);
        }

        if (typeof(JsonNode).IsAssignableFrom(type))
        {
            return new RawJsonFormat(type);
        }

        if (type.IsGenericType && type.GetGenericTypeDefinition() == typeof(ImmutableArray<>))
        {
            return Generic(typeof(ListFormat<>), type.GetGenericArguments()[0]);
        }

        if (
            type.IsGenericType
            && type.GetGenericTypeDefinition() == typeof(ImmutableSortedDictionary<,>)
            && type.GetGenericArguments()[0] == typeof(string)
        )
        {
            return Generic(typeof(MapFormat<>), type.GetGenericArguments()[1]);
        }

        return RecordFormat.Supports(type) ? new RecordFormat(type) : throw new NotSupportedException($"No document format for {type}");
    }

    private static ValueFormat Generic(Type format, Type item) => (ValueFormat)Activator.CreateInstance(format.MakeGenericType(item))!;
}
