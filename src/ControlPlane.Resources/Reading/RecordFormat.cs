using System.Collections.Frozen;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json;

namespace ControlPlane.Resources.Reading;

/// <summary>
/// Records: members by their camelCase names in the order of declaration. Unknown members are faults, <c>required</c> ones must be given, and a member that
/// equals the default of a fresh record is not written.
/// </summary>
internal sealed class RecordFormat : ValueFormat
{
    /// <summary>The fault of sending back what a view showed.</summary>
    public const string RedactedValue =
        $"'{CanonicalForm.Redacted}' stands in views in the place of a secret. Give the secret itself, or a reference to it.";

    private readonly Type _type;

    /// <summary>Made on first use, since a record may hold others of its own type.</summary>
    private readonly Lazy<FrozenDictionary<string, Member>> _byName;
    private readonly Lazy<Member[]> _members;
    private readonly ConstructorInvoker? _constructor;

    public RecordFormat(Type type)
    {
        _type = type;
        _constructor = type.GetConstructor(Type.EmptyTypes) is { } constructor ? ConstructorInvoker.Create(constructor) : null;
        _members = new Lazy<Member[]>(FindMembers);
        _byName = new Lazy<FrozenDictionary<string, Member>>(() => _members.Value.ToFrozenDictionary(m => m.Name, StringComparer.Ordinal));
    }

    public override string Expected => "an object";

    /// <summary>A member: how to get and set it, and what it is when nobody does. A list or map without an initialiser is filled in as empty.</summary>
    private sealed record Member(
        string Name,
        ValueFormat Format,
        MethodInvoker Get,
        MethodInvoker Set,
        bool IsRequired,
        bool IsNullable,
        bool IsSensitive,
        object? Default,
        bool FillIn,
        int Index
    );

    /// <summary>Whether a type is written as an object with members.</summary>
    public static bool Supports(Type type) =>
        type is { IsAbstract: false, IsInterface: false, IsPrimitive: false }
        && (type.IsValueType || type.GetConstructor(Type.EmptyTypes) is not null)
        && Nullable.GetUnderlyingType(type) is null;

    public override bool TryRead(DocumentNode node, BindingContext context, out object? value) =>
        TryRead(node, context, ignored: null, out value);

    /// <summary>Reads a record and passes over members that others take care of.</summary>
    public bool TryRead(DocumentNode node, BindingContext context, FrozenSet<string>? ignored, out object? value)
    {
        if (node is not MappingNode mapping)
        {
            return Mismatch(node, context, out value);
        }

        var members = _members.Value;
        Span<bool> given = members.Length <= 64 ? stackalloc bool[members.Length] : new bool[members.Length];
        value = New();
        var good = true;
        foreach (var entry in mapping.Entries)
        {
            if (!_byName.Value.TryGetValue(entry.Key, out var member))
            {
                if (ignored is null || !ignored.Contains(entry.Key))
                {
                    // The rest of the record is whole: its validator may still look at it.
                    context.UnknownMember(
                        entry,
                        _byName.Value.Keys,
                        () => members.Length == 0 ? "" : $" Known are: {string.Join(", ", members.Select(m => m.Name))}."
                    );
                }

                continue;
            }

            given[member.Index] = true;
            context.Enter(entry);
            if (entry.Value is ScalarNode { Kind: ScalarKind.Null } && member.IsNullable)
            {
                member.Set.Invoke(value, (object?)null);
            }
            else if (member.IsSensitive && entry.Value is ScalarNode { Text: CanonicalForm.Redacted })
            {
                context.Error("redacted-value", RedactedValue);
                good = false;
            }
            else if (member.Format.TryRead(entry.Value, context, out var memberValue))
            {
                member.Set.Invoke(value, memberValue);
            }
            else
            {
                good = false;
            }

            context.Leave();
        }

        foreach (var member in members)
        {
            if (given[member.Index])
            {
                continue;
            }

            if (member.IsRequired)
            {
                context.MissingMember(member.Name, $"'{member.Name}' is missing. Give {member.Format.Expected}.");
                good = false;
            }
            else if (member.FillIn)
            {
                member.Set.Invoke(value, member.Default);
            }
        }

        return good;
    }

    public override void Write(Utf8JsonWriter writer, object value, bool redact)
    {
        writer.WriteStartObject();
        foreach (var member in _members.Value)
        {
            var item = member.Get.Invoke(value);
            if (!member.IsRequired && IsDefault(member, item))
            {
                continue;
            }

            writer.WritePropertyName(member.Name);
            if (item is null)
            {
                writer.WriteNullValue();
            }
            else if (redact && member.IsSensitive)
            {
                writer.WriteStringValue(CanonicalForm.Redacted);
            }
            else
            {
                member.Format.Write(writer, item, redact);
            }
        }

        writer.WriteEndObject();
    }

    public override bool Same(object left, object right) =>
        _members.Value.All(m =>
            (m.Get.Invoke(left), m.Get.Invoke(right)) switch
            {
                (null, null) => true,
                ({ } a, { } b) => m.Format.Same(a, b),
                _ => false,
            }
        );

    private static bool IsDefault(Member member, object? value) =>
        value is null ? member.Default is null : member.Default is { } standard && member.Format.Same(value, standard);

    private object New() => _constructor?.Invoke() ?? RuntimeHelpers.GetUninitializedObject(_type);

    private Member[] FindMembers()
    {
        var nullability = new NullabilityInfoContext();
        var fresh = New();
        return
        [
            .. _type
                .GetProperties(BindingFlags.Public | BindingFlags.Instance)
                .Where(p => p.SetMethod is { IsPublic: true } && p.GetMethod is { IsPublic: true })
                .OrderBy(p => p.MetadataToken)
                .Select(
                    (p, i) =>
                    {
                        var underlying = Nullable.GetUnderlyingType(p.PropertyType);
                        var format = Of(underlying ?? p.PropertyType);
                        var isNullable = underlying is not null || nullability.Create(p).WriteState == NullabilityState.Nullable;
                        var standard = p.GetValue(fresh);
                        var fillIn = !isNullable && format.Empty is not null && format.IsAbsent(standard);
                        return new Member(
                            JsonNamingPolicy.CamelCase.ConvertName(p.Name),
                            format,
                            MethodInvoker.Create(p.GetMethod!),
                            MethodInvoker.Create(p.SetMethod!),
                            p.IsDefined(typeof(RequiredMemberAttribute)),
                            isNullable,
                            p.IsDefined(typeof(SensitiveAttribute)),
                            fillIn ? format.Empty : standard,
                            fillIn,
                            i
                        );
                    }
                ),
        ];
    }
}
