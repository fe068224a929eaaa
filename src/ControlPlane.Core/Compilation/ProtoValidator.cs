using System.Collections;
using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using ControlPlane.Resources.Validation;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Validate;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Checks messages against the rules in their own descriptors (protoc-gen-validate), as Envoy does when it receives them, and in its words. The rules of a
/// message type are turned into checks once.
/// </summary>
public static class ProtoValidator
{
    /// <summary>The code of every problem found here.</summary>
    public const string Code = "envoy-constraint";

    /// <summary>For a walk together with other visitors.</summary>
    internal static IMessageVisitor Visitor { get; } = new RuleVisitor();

    /// <summary>Checks a message and all that is inside it. Pointers begin at the message.</summary>
    public static void Validate(IMessage message, ProblemCollector problems) => MessageWalker.Walk(message, problems, Visitor);

    private sealed class RuleVisitor : IMessageVisitor
    {
        private readonly ConcurrentDictionary<MessageDescriptor, Action<IMessage, MessagePath>[]> _checks = new();

        public void Visit(IMessage message, MessagePath path)
        {
            foreach (var check in _checks.GetOrAdd(message.Descriptor, Compile))
            {
                check(message, path);
            }
        }
    }

    private static Action<IMessage, MessagePath>[] Compile(MessageDescriptor descriptor)
    {
        if (descriptor.GetOptions()?.GetExtension(ValidateExtensions.Disabled) == true)
        {
            return [];
        }

        var checks = new List<Action<IMessage, MessagePath>>();
        foreach (var oneof in descriptor.Oneofs)
        {
            if (oneof.GetOptions()?.GetExtension(ValidateExtensions.Required) == true)
            {
                var choices = string.Join(", ", oneof.Fields.Select(f => f.JsonName));
                checks.Add(
                    (message, path) =>
                    {
                        if (oneof.Accessor.GetCaseFieldDescriptor(message) is null)
                        {
                            path.Error("", Code, $"{oneof.Name}: value is required; give one of {choices}.");
                        }
                    }
                );
            }
        }

        foreach (var field in descriptor.Fields.InDeclarationOrder())
        {
            if (field.GetOptions()?.GetExtension(ValidateExtensions.Rules) is { } rules && FieldCheck(field, rules) is { } check)
            {
                checks.Add(check);
            }
        }

        return [.. checks];
    }

    /// <summary>A check of a value: what is wrong with it, or null.</summary>
    private delegate string? ValueCheck(object value);

    private static Action<IMessage, MessagePath>? FieldCheck(FieldDescriptor field, FieldRules rules)
    {
        var accessor = field.Accessor;
        var tail = "/" + field.JsonName;
        if (field.IsMap)
        {
            return MapCheck(field, rules.Map);
        }

        if (field.IsRepeated)
        {
            return RepeatedCheck(field, rules.Repeated);
        }

        var required = IsRequired(rules);
        var check = ScalarCheck(rules);
        if (!required && check is null)
        {
            return null;
        }

        var isMember = field.RealContainingOneof is not null;
        return (message, path) =>
        {
            if (isMember && !ReferenceEquals(field.RealContainingOneof!.Accessor.GetCaseFieldDescriptor(message), field))
            {
                return;
            }

            var value = accessor.GetValue(message);
            if (value is null)
            {
                if (required)
                {
                    path.Error(tail, Code, $"{field.JsonName}: value is required.");
                }
            }
            else if (check?.Invoke(value) is { } fault)
            {
                path.Error(tail, Code, $"{field.JsonName}: {fault}.");
            }
        };
    }

    private static Action<IMessage, MessagePath>? RepeatedCheck(FieldDescriptor field, RepeatedRules? rules)
    {
        if (rules is null)
        {
            return null;
        }

        var itemCheck = rules.Items is { } items ? ScalarCheck(items) : null;
        return (message, path) =>
        {
            var list = (IList)field.Accessor.GetValue(message);
            if (CountFault((ulong)list.Count, rules.HasMinItems, rules.MinItems, rules.HasMaxItems, rules.MaxItems, "item(s)") is { } fault)
            {
                path.Error("/" + field.JsonName, Code, $"{field.JsonName}: {fault}.");
            }

            for (var i = 0; itemCheck is not null && i < list.Count; i++)
            {
                if (itemCheck(list[i]!) is { } itemFault)
                {
                    path.Error($"/{field.JsonName}/{i}", Code, $"{field.JsonName}[{i}]: {itemFault}.");
                }
            }

            if (rules.Unique && list.Cast<object>().Distinct().Count() != list.Count)
            {
                path.Error("/" + field.JsonName, Code, $"{field.JsonName}: repeated value must contain unique items.");
            }
        };
    }

    private static Action<IMessage, MessagePath>? MapCheck(FieldDescriptor field, MapRules? rules)
    {
        if (rules is null)
        {
            return null;
        }

        var keyCheck = rules.Keys is { } keys ? ScalarCheck(keys) : null;
        var valueCheck = rules.Values is { } values ? ScalarCheck(values) : null;
        return (message, path) =>
        {
            var map = (IDictionary)field.Accessor.GetValue(message);
            if (CountFault((ulong)map.Count, rules.HasMinPairs, rules.MinPairs, rules.HasMaxPairs, rules.MaxPairs, "pair(s)") is { } fault)
            {
                path.Error("/" + field.JsonName, Code, $"{field.JsonName}: {fault}.");
            }

            foreach (DictionaryEntry entry in map)
            {
                if ((keyCheck?.Invoke(entry.Key) ?? valueCheck?.Invoke(entry.Value!)) is { } entryFault)
                {
                    var key = JsonPointer.Escape(Convert.ToString(entry.Key, CultureInfo.InvariantCulture)!);
                    path.Error($"/{field.JsonName}/{key}", Code, $"{field.JsonName}: {entryFault}.");
                }
            }
        };
    }

    private static string? CountFault(ulong count, bool hasMin, ulong min, bool hasMax, ulong max, string unit) =>
        hasMin && count < min ? $"value must contain at least {min} {unit}"
        : hasMax && count > max ? $"value must contain no more than {max} {unit}"
        : null;

    private static bool IsRequired(FieldRules rules) =>
        rules.Message?.Required == true
        || rules.TypeCase switch
        {
            FieldRules.TypeOneofCase.Any => rules.Any.Required,
            FieldRules.TypeOneofCase.Duration => rules.Duration.Required,
            FieldRules.TypeOneofCase.Timestamp => rules.Timestamp.Required,
            _ => false,
        };

    private static ValueCheck? ScalarCheck(FieldRules rules) =>
        rules.TypeCase switch
        {
            FieldRules.TypeOneofCase.String => StringCheck(rules.String),
            FieldRules.TypeOneofCase.Bytes => BytesCheck(rules.Bytes),
            FieldRules.TypeOneofCase.Enum => EnumCheck(rules.Enum),
            FieldRules.TypeOneofCase.Bool when rules.Bool.HasConst => v =>
                (bool)v == rules.Bool.Const ? null : "value must equal " + (rules.Bool.Const ? "true" : "false"),
            FieldRules.TypeOneofCase.Duration => DurationCheck(rules.Duration),
            FieldRules.TypeOneofCase.Any => AnyCheck(rules.Any),
            FieldRules.TypeOneofCase.Float => NumberCheck<float>(rules.Float),
            FieldRules.TypeOneofCase.Double => NumberCheck<double>(rules.Double),
            FieldRules.TypeOneofCase.Int32 => NumberCheck<int>(rules.Int32),
            FieldRules.TypeOneofCase.Int64 => NumberCheck<long>(rules.Int64),
            FieldRules.TypeOneofCase.Uint32 => NumberCheck<uint>(rules.Uint32),
            FieldRules.TypeOneofCase.Uint64 => NumberCheck<ulong>(rules.Uint64),
            FieldRules.TypeOneofCase.Sint32 => NumberCheck<int>(rules.Sint32),
            FieldRules.TypeOneofCase.Sint64 => NumberCheck<long>(rules.Sint64),
            FieldRules.TypeOneofCase.Fixed32 => NumberCheck<uint>(rules.Fixed32),
            FieldRules.TypeOneofCase.Fixed64 => NumberCheck<ulong>(rules.Fixed64),
            FieldRules.TypeOneofCase.Sfixed32 => NumberCheck<int>(rules.Sfixed32),
            FieldRules.TypeOneofCase.Sfixed64 => NumberCheck<long>(rules.Sfixed64),
            _ => null,
        };

    /// <summary>The twelve rule messages for numbers have the same fields, read here by name.</summary>
    private static ValueCheck NumberCheck<T>(IMessage rules)
        where T : struct, IComparable<T>
    {
        T? Bound(string name)
        {
            var field = rules.Descriptor.FindFieldByName(name);
            return field.Accessor.HasValue(rules) ? (T)field.Accessor.GetValue(rules) : null;
        }

        HashSet<T> Set(string name) => [.. ((IList)rules.Descriptor.FindFieldByName(name).Accessor.GetValue(rules)).Cast<T>()];

        return RangeCheck(
            value => (T)value,
            Bound("const"),
            new Bounds<T>(Bound("lt"), Bound("lte"), Bound("gt"), Bound("gte")),
            Set("in"),
            Set("not_in"),
            v => Convert.ToString(v, CultureInfo.InvariantCulture)!
        );
    }

    private static ValueCheck DurationCheck(DurationRules rules)
    {
        static decimal? Seconds(Duration? duration) => duration is null ? null : duration.Seconds + duration.Nanos / 1_000_000_000m;

        var range = RangeCheck(
            value => Seconds((Duration)value)!.Value,
            Seconds(rules.Const),
            new Bounds<decimal>(Seconds(rules.Lt), Seconds(rules.Lte), Seconds(rules.Gt), Seconds(rules.Gte)),
            [.. rules.In.Select(d => Seconds(d)!.Value)],
            [.. rules.NotIn.Select(d => Seconds(d)!.Value)],
            v => v.ToString("0.#########", CultureInfo.InvariantCulture) + "s"
        );
        return value => range(value);
    }

    private readonly record struct Bounds<T>(T? Lt, T? Lte, T? Gt, T? Gte)
        where T : struct, IComparable<T>;

    private static ValueCheck RangeCheck<T>(
        Func<object, T> read,
        T? constant,
        Bounds<T> bounds,
        HashSet<T> allowed,
        HashSet<T> forbidden,
        Func<T, string> format
    )
        where T : struct, IComparable<T>
    {
        var low = bounds.Gt ?? bounds.Gte;
        var high = bounds.Lt ?? bounds.Lte;
        var fault = (low, high) switch
        {
            ({ } l, { } h) =>
                $"value must be inside range {(bounds.Gt is null ? '[' : '(')}{format(l)}, {format(h)}{(bounds.Lt is null ? ']' : ')')}",
            ({ } l, null) => $"value must be greater than {(bounds.Gt is null ? "or equal to " : "")}{format(l)}",
            (null, { } h) => $"value must be less than {(bounds.Lt is null ? "or equal to " : "")}{format(h)}",
            _ => "",
        };
        return boxed =>
        {
            var value = read(boxed);
            if (constant is { } exact && value.CompareTo(exact) != 0)
            {
                return "value must equal " + format(exact);
            }

            if (
                (bounds.Gt is { } gt && value.CompareTo(gt) <= 0)
                || (bounds.Gte is { } gte && value.CompareTo(gte) < 0)
                || (bounds.Lt is { } lt && value.CompareTo(lt) >= 0)
                || (bounds.Lte is { } lte && value.CompareTo(lte) > 0)
            )
            {
                return fault;
            }

            return allowed.Count > 0 && !allowed.Contains(value) ? "value must be in list " + string.Join(", ", allowed.Select(format))
                : forbidden.Contains(value) ? "value must not be in list " + string.Join(", ", forbidden.Select(format))
                : null;
        };
    }

    private static ValueCheck EnumCheck(EnumRules rules) =>
        value =>
        {
            if (rules.DefinedOnly && !System.Enum.IsDefined(value.GetType(), value))
            {
                return "value must be one of the defined enum values";
            }

            if (!rules.HasConst && rules.In.Count == 0 && rules.NotIn.Count == 0)
            {
                return null;
            }

            var number = Convert.ToInt32(value, CultureInfo.InvariantCulture);
            return rules.HasConst && number != rules.Const ? $"value must equal {rules.Const}"
                : rules.In.Count > 0 && !rules.In.Contains(number) ? "value must be in list " + string.Join(", ", rules.In)
                : rules.NotIn.Contains(number) ? "value must not be in list " + string.Join(", ", rules.NotIn)
                : null;
        };

    private static ValueCheck? AnyCheck(AnyRules rules)
    {
        // The API has the rule on fields that are no Any, where only its 'required' means something.
        if (rules.In.Count == 0 && rules.NotIn.Count == 0)
        {
            return null;
        }

        return value =>
        {
            var url = ((Any)value).TypeUrl;
            return rules.In.Count > 0 && !rules.In.Contains(url) ? "type URL must be in list " + string.Join(", ", rules.In)
                : rules.NotIn.Contains(url) ? "type URL must not be in list " + string.Join(", ", rules.NotIn)
                : null;
        };
    }

    private static ValueCheck BytesCheck(BytesRules rules) =>
        value =>
        {
            var length = (ulong)((ByteString)value).Length;
            return rules.HasLen && length != rules.Len ? $"value length must be {rules.Len} bytes"
                : rules.HasMinLen && length < rules.MinLen ? $"value length must be at least {rules.MinLen} bytes"
                : rules.HasMaxLen && length > rules.MaxLen ? $"value length must be at most {rules.MaxLen} bytes"
                : null;
        };

    private static ValueCheck StringCheck(StringRules rules)
    {
        var countsRunes = rules.HasLen || rules.HasMinLen || rules.HasMaxLen;
        var countsBytes = rules.HasLenBytes || rules.HasMinBytes || rules.HasMaxBytes;
        var pattern = rules.HasPattern ? StringPattern(rules.Pattern) : null;
        var known = KnownPattern(rules);
        return boxed =>
        {
            var value = (string)boxed;
            if (value.Length == 0 && rules.IgnoreEmpty)
            {
                return null;
            }

            if (rules.HasConst && value != rules.Const)
            {
                return $"value must equal {rules.Const}";
            }

            if (
                (countsRunes && RuneFault(rules, value) is { } fault)
                || (countsBytes && (fault = BytesFault(rules, value)) is not null)
                || (fault = AffixFault(rules, value)) is not null
            )
            {
                return fault;
            }

            return pattern is not null && !pattern.IsMatch(value) ? $"value does not match regex pattern {rules.Pattern}"
                : known is { } wellKnown && !wellKnown.Pattern.IsMatch(value) ? wellKnown.Fault
                : rules.In.Count > 0 && !rules.In.Contains(value) ? "value must be in list " + string.Join(", ", rules.In)
                : rules.NotIn.Contains(value) ? "value must not be in list " + string.Join(", ", rules.NotIn)
                : null;
        };
    }

    private static string? RuneFault(StringRules rules, string value)
    {
        var length = (ulong)value.EnumerateRunes().Count();
        return rules.HasLen && length != rules.Len ? $"value length must be {rules.Len} characters"
            : rules.HasMinLen && length < rules.MinLen ? $"value length must be at least {rules.MinLen} characters"
            : rules.HasMaxLen && length > rules.MaxLen ? $"value length must be at most {rules.MaxLen} characters"
            : null;
    }

    private static string? BytesFault(StringRules rules, string value)
    {
        var length = (ulong)Encoding.UTF8.GetByteCount(value);
        return rules.HasLenBytes && length != rules.LenBytes ? $"value length must be {rules.LenBytes} bytes"
            : rules.HasMinBytes && length < rules.MinBytes ? $"value length must be at least {rules.MinBytes} bytes"
            : rules.HasMaxBytes && length > rules.MaxBytes ? $"value length must be at most {rules.MaxBytes} bytes"
            : null;
    }

    private static string? AffixFault(StringRules rules, string value) =>
        rules.HasPrefix && !value.StartsWith(rules.Prefix, StringComparison.Ordinal) ? $"value does not have prefix {rules.Prefix}"
        : rules.HasSuffix && !value.EndsWith(rules.Suffix, StringComparison.Ordinal) ? $"value does not have suffix {rules.Suffix}"
        : rules.HasContains && !value.Contains(rules.Contains, StringComparison.Ordinal) ? $"value does not contain {rules.Contains}"
        : rules.HasNotContains && value.Contains(rules.NotContains, StringComparison.Ordinal) ? $"value contains {rules.NotContains}"
        : null;

    /// <summary>The header patterns of protoc-gen-validate; the API uses none of its other well-known forms.</summary>
    private static (Regex Pattern, string Fault)? KnownPattern(StringRules rules) =>
        (rules.WellKnownRegex, rules.Strict) switch
        {
            (KnownRegex.HttpHeaderName, true) => (
                StringPattern(@"\A:?[0-9a-zA-Z!#$%&'*+\-.^_|~`]+\z"),
                "value is not a valid header name (letters, digits and ! # $ % & ' * + - . ^ _ | ~ `)"
            ),
            (KnownRegex.HttpHeaderValue, true) => (
                StringPattern(@"\A[^\u0000-\u0008\u000A-\u001F\u007F]*\z"),
                "value is not a valid header value (it holds a control character)"
            ),
            // Without "strict" names and values have the same form, which an absent field fits.
            (KnownRegex.HttpHeaderName or KnownRegex.HttpHeaderValue, false) => (
                StringPattern(@"\A[^\u0000\u000A\u000D]*\z"),
                "value holds a line break or NUL"
            ),
            _ => null,
        };

    private static Regex StringPattern(string pattern) => new(pattern, RegexOptions.CultureInvariant | RegexOptions.NonBacktracking);
}
