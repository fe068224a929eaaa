using System.Collections;
using System.Globalization;
using ControlPlane.Core.Compilation;
using Envoy.Config.Core.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Tests.Compilation;

/// <summary>Fills messages at random, from their descriptors.</summary>
internal static class RandomMessage
{
    public static IMessage Make(MessageDescriptor type, Random random, int depth = 0)
    {
        if (WellKnown(type, random) is { } value)
        {
            return value;
        }

        var message = type.Parser.ParseFrom(ByteString.Empty);
        var fields = type.Fields.InDeclarationOrder();
        var wanted = depth > 4 ? 0 : random.Next(1, 5);
        for (var i = 0; i < wanted && fields.Count > 0; i++)
        {
            Set(fields[random.Next(fields.Count)], message, random, depth);
        }

        return message;
    }

    private static void Set(FieldDescriptor field, IMessage message, Random random, int depth)
    {
        if (field.IsMap)
        {
            var map = (IDictionary)field.Accessor.GetValue(message);
            for (var i = random.Next(3); i > 0; i--)
            {
                map[Single(field.MessageType.Fields[1], random, depth)] = Single(field.MessageType.Fields[2], random, depth);
            }
        }
        else if (field.IsRepeated)
        {
            var list = (IList)field.Accessor.GetValue(message);
            for (var i = random.Next(3); i > 0; i--)
            {
                list.Add(Single(field, random, depth));
            }
        }
        else
        {
            field.Accessor.SetValue(message, Single(field, random, depth));
        }
    }

    private static object Single(FieldDescriptor field, Random random, int depth) =>
        field.FieldType switch
        {
            FieldType.Message when field.MessageType.File.Name == "google/protobuf/wrappers.proto" && !field.IsRepeated => Single(
                field.MessageType.Fields[1],
                random,
                depth
            ),
            FieldType.Message => Make(field.MessageType, random, depth + 1),
            FieldType.String => new[] { "", "a", "ü€😀", "\n\t\"", "a/b~c" }[random.Next(5)],
            FieldType.Bytes => ByteString.CopyFrom([.. Enumerable.Range(0, random.Next(5)).Select(_ => (byte)random.Next(256))]),
            FieldType.Bool => random.Next(2) == 1,
            FieldType.Enum => field.EnumType.Values[random.Next(field.EnumType.Values.Count)].Number,
            FieldType.Double => new[] { 0, -1.5, 1e300, double.NaN, double.PositiveInfinity, random.NextDouble() }[random.Next(6)],
            FieldType.Float => new[] { 0, -1.5f, float.NegativeInfinity, random.NextSingle() }[random.Next(4)],
            FieldType.Int64 or FieldType.SInt64 or FieldType.SFixed64 => random.NextInt64(),
            FieldType.UInt64 or FieldType.Fixed64 => (ulong)random.NextInt64() * 2,
            FieldType.UInt32 or FieldType.Fixed32 => (uint)random.NextInt64(uint.MaxValue),
            _ => random.Next(int.MinValue, int.MaxValue),
        };

    private static IMessage? WellKnown(MessageDescriptor type, Random random) =>
        type.FullName switch
        {
            "google.protobuf.Any" => random.Next(3) switch
            {
                0 => EnvoyTypes.Pack(Make(UpstreamTlsContext.Descriptor, random, 3)),
                1 => EnvoyTypes.Pack(new Duration { Seconds = random.Next(100) }),
                _ => EnvoyTypes.Pack(new UInt32Value { Value = (uint)random.Next() }),
            },
            "google.protobuf.Duration" => new Duration { Seconds = random.Next(1000), Nanos = random.Next(1_000_000_000) },
            "google.protobuf.Timestamp" => new Timestamp { Seconds = random.Next(), Nanos = random.Next(1000) * 1_000_000 },
            "google.protobuf.Struct" => Struct.Parser.ParseJson(
                string.Create(CultureInfo.InvariantCulture, $$"""{"a": [{{random.Next()}}, null, {"b": "x"}], "c": true}""")
            ),
            "google.protobuf.Value" => Value.ForString("v"),
            "google.protobuf.ListValue" => Value.ForList(Value.ForBool(true)).ListValue,
            "google.protobuf.FieldMask" => new FieldMask { Paths = { "a_b.c" } },
            _ => null,
        };
}
