using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;
using CsCheck;

namespace ControlPlane.Resources.Tests.Reading;

internal enum Colour
{
    DeepRed,
    Blue,
}

internal sealed record Sample : ResourceSpec
{
    public required string Name { get; init; }

    public bool Flag { get; init; } = true;

    public int Port { get; init; }

    public uint? Weight { get; init; } = 1;

    public long Big { get; init; }

    public double Share { get; init; } = 0.5;

    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);

    public DateTimeOffset? Until { get; init; }

    public Colour Colour { get; init; }

    public ImmutableArray<Sample> Children { get; init; }

    public ImmutableArray<string> Words { get; init; } = ["a"];

    public ImmutableSortedDictionary<string, TimeSpan> Waits { get; init; } = ImmutableSortedDictionary<string, TimeSpan>.Empty;

    public JsonObject? Raw { get; init; }

    [Sensitive]
    public string? Password { get; init; }

    public string Computed => Name + "!";
}

public sealed class ValueFormatTests
{
    private static readonly Gen<TimeSpan> Durations = Gen.OneOf(
            Gen.Long[-1_000_000_000_000_000, 1_000_000_000_000_000],
            Gen.Long[0, 100_000],
            Gen.Const(long.MaxValue),
            Gen.Const(long.MinValue + 1)
        )
        .Select(t => new TimeSpan(t));

    private static readonly Gen<string> Texts = Gen.OneOf(
        Gen.String[Gen.Char[' ', '~'], 0, 12],
        Gen.String[Gen.Char["yesno0x1.:-#'\"\\{}[],&*!|>%@` \t\né漢"], 0, 12],
        Gen.OneOf(
            "no",
            "yes",
            "null",
            "~",
            "0x1F",
            "1e3",
            "1:20",
            "-",
            "a\nb\n",
            "a\n\nb\n",
            " a\n",
            "---",
            "😀",
            "line\u2028",
            "\u0085",
            "\ufeff"
        ),
        Gen.Const("-----BEGIN X-----\nMIIB\n-----END X-----\n")
    );

    private static readonly Gen<JsonNode?> RawValues = Gen.Recursive<JsonNode?>(
        (depth, self) =>
            depth > 3
                ? Leaves()
                : Gen.OneOf(
                    Leaves(),
                    Gen.Select(Texts, self).Array[0, 3].Select(JsonNode? (pairs) => Object(pairs)),
                    self.Array[0, 3].Select(JsonNode? (items) => new JsonArray([.. items.Select(i => i?.DeepClone())]))
                )
    );

    private static readonly Gen<Sample> Samples = Gen.Recursive<Sample>(
        (depth, self) =>
            from name in Texts
            from flag in Gen.Bool
            from port in Gen.Int
            from weight in Gen.OneOf(Gen.UInt.Select(w => (uint?)w), Gen.Const((uint?)null))
            from big in Gen.Long
            from share in Gen.Double.Where(double.IsFinite)
            from timeout in Durations
            from until in Gen.OneOf(Gen.DateTimeOffset.Select(t => (DateTimeOffset?)t), Gen.Const((DateTimeOffset?)null))
            from colour in Gen.Enum<Colour>()
            from children in depth > 2 ? Gen.Const(Array.Empty<Sample>()) : self.Array[0, 2]
            from words in Texts.Array[0, 3]
            from waits in Gen.Select(Texts, Durations).Array[0, 3]
            from raw in Gen.Select(Texts, RawValues).Array[0, 3]
            select new Sample
            {
                Name = name,
                Flag = flag,
                Port = port,
                Weight = weight,
                Big = big,
                Share = share,
                Timeout = timeout,
                Until = until,
                Colour = colour,
                Children = [.. children],
                Words = [.. words],
                Waits = waits.DistinctBy(w => w.Item1).ToImmutableSortedDictionary(w => w.Item1, w => w.Item2, StringComparer.Ordinal),
                Raw = raw.Length == 0 ? null : Object(raw),
            }
    );

    private static readonly ValueFormat Format = ValueFormat.Of(typeof(Sample));

    [Fact]
    public void Reading_the_canonical_form_gives_the_same_object() =>
        Samples.Sample(sample =>
        {
            var back = Read(CanonicalForm.Write(sample));
            return Format.Same(sample, back) && CanonicalForm.Write(back) == CanonicalForm.Write(sample);
        });

    [Fact]
    public void Reading_the_yaml_form_gives_the_same_object() =>
        Samples.Sample(sample => Format.Same(sample, ReadYaml(YamlText.OfJson(CanonicalForm.Write(sample)))), iter: 1000);

    [Fact]
    public void The_order_of_keys_never_matters() =>
        Gen.Select(Samples, Gen.Int)
            .Sample(
                (sample, seed) =>
                {
                    var canonical = CanonicalForm.Write(sample);
                    var shuffled = Shuffle(JsonNode.Parse(canonical), new Random(seed))!.ToJsonString();
                    return CanonicalForm.Write(Read(shuffled)) == canonical;
                }
            );

    [Fact]
    public void Durations_have_one_spelling() =>
        Durations.Sample(d => DurationText.TryParse(DurationText.Format(d), out var back) && back == d);

    [Theory]
    [InlineData("0.25s", "250ms")]
    [InlineData("90s", "1m30s")]
    [InlineData("1.5h", "1h30m")]
    [InlineData("0ms", "0s")]
    [InlineData("-5s", "-5s")]
    [InlineData("100ns", "100ns")]
    [InlineData("1m1m", "2m")]
    [InlineData("1000us", "1ms")]
    public void Durations_are_normalised(string text, string canonical)
    {
        Assert.True(DurationText.TryParse(text, out var value));
        Assert.Equal(canonical, DurationText.Format(value));
    }

    [Theory]
    [InlineData("")]
    [InlineData("5")]
    [InlineData("s")]
    [InlineData("5 s")]
    [InlineData("5S")]
    [InlineData("1..5s")]
    [InlineData("5d")]
    [InlineData("50ns")]
    [InlineData("9999999999999h")]
    [InlineData("--5s")]
    [InlineData("1e3s")]
    public void What_is_no_duration_is_refused(string text) => Assert.False(DurationText.TryParse(text, out _));

    [Fact]
    public void Defaults_are_left_out_and_null_is_kept_where_it_is_not_the_default()
    {
        Assert.Equal("""{"name":"x"}""", CanonicalForm.Write(new Sample { Name = "x" }));
        Assert.Equal("""{"name":"x","weight":null}""", CanonicalForm.Write(new Sample { Name = "x", Weight = null }));
        Assert.Null(Read("""{"name":"x","weight":null}""").Weight);
    }

    [Fact]
    public void A_list_without_initialiser_is_empty() => Assert.Empty(Read("""{"name":"x"}""").Children);

    [Fact]
    public void A_member_that_cannot_be_set_is_no_field() =>
        Assert.Equal(["unknown-field"], Problems("""{"name":"x","computed":"y"}""").Select(p => p.Code));

    [Fact]
    public void Secrets_are_redacted_in_views_and_the_placeholder_is_not_taken_back()
    {
        var sample = new Sample
        {
            Name = "x",
            Password = "hunter2",
            Children = [new Sample { Name = "y", Password = "hunter2" }],
        };
        Assert.DoesNotContain("hunter2", CanonicalForm.Write(sample, redact: true), StringComparison.Ordinal);
        Assert.Contains("hunter2", CanonicalForm.Write(sample), StringComparison.Ordinal);
        var problem = Assert.Single(Problems("""{"name":"x","password":"[redacted]"}"""));
        Assert.Equal(("/password", "redacted-value"), (problem.Pointer, problem.Code));
    }

    [Theory]
    [InlineData("name", "5", "wrong-type", "Expected text, found a number. Put it in quotes.")]
    [InlineData("flag", "no", "wrong-type", "Expected true or false, found text.")]
    [InlineData("port", "1.5", "wrong-type", "Expected a whole number from -2147483648 to 2147483647, found the number 1.5.")]
    [InlineData("port", "2147483648", "wrong-type", "found the number 2147483648")]
    [InlineData("port", "~", "wrong-type", "found null. Leave the member out")]
    [InlineData("weight", "-1", "wrong-type", "Expected a whole number from 0 to 4294967295")]
    [InlineData("big", "9223372036854775808", "wrong-type", "Expected a whole number")]
    [InlineData("share", ".nan", "wrong-type", "Expected a finite number")]
    [InlineData("share", "1e999", "wrong-type", "Expected a finite number")]
    [InlineData("timeout", "5", "wrong-type", "Expected a duration such as 250ms")]
    [InlineData("timeout", "5 seconds", "invalid-duration", "'5 seconds' is not a duration")]
    [InlineData("until", "tomorrow", "invalid-timestamp", "RFC 3339")]
    [InlineData("colour", "deepred", "unknown-word", "Write one of deepRed, blue. Did you mean 'deepRed'?")]
    [InlineData("children", "{}", "wrong-type", "Expected a list, found an object.")]
    [InlineData("words", "[a, 5]", "wrong-type", "Expected text")]
    [InlineData("waits", "{a: 5}", "wrong-type", "Expected a duration")]
    [InlineData("raw", "[]", "wrong-type", "Expected an object, found a list.")]
    [InlineData("raw", "{a: .inf}", "wrong-type", "Expected a finite number")]
    public void A_wrong_value_is_told_with_what_was_expected(string member, string value, string code, string message)
    {
        var problem = Assert.Single(Problems($"name: x\n{member}: {value}\n".Replace("name: x\nname", "name", StringComparison.Ordinal)));
        Assert.StartsWith("/" + member, problem.Pointer, StringComparison.Ordinal);
        Assert.Equal(code, problem.Code);
        Assert.Contains(message, problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_required_member_that_is_missing_is_told()
    {
        var problem = Assert.Single(Problems("{port: 5}"));
        Assert.Equal(("/name", "missing-field"), (problem.Pointer, problem.Code));
    }

    [Theory]
    [InlineData("no", ScalarKind.Text, "no")]
    [InlineData("1_000", ScalarKind.Text, "1_000")]
    [InlineData("0o17", ScalarKind.Number, "15")]
    [InlineData("017", ScalarKind.Number, "017")]
    [InlineData("0xfF", ScalarKind.Number, "255")]
    [InlineData("+.5", ScalarKind.Number, "0.5")]
    [InlineData("-.5e3", ScalarKind.Number, "-0.5e3")]
    [InlineData("1:20", ScalarKind.Text, "1:20")]
    [InlineData("2030-01-01", ScalarKind.Text, "2030-01-01")]
    [InlineData("TRUE", ScalarKind.Boolean, "true")]
    [InlineData("tRUE", ScalarKind.Text, "tRUE")]
    [InlineData("~", ScalarKind.Null, "")]
    [InlineData("0xffffffffffffffffff", ScalarKind.Number, "0xffffffffffffffffff")]
    internal void Plain_scalars_follow_the_core_schema(string text, ScalarKind kind, string value)
    {
        var scalar = YamlCoreSchema.Resolve(text, 1, 1);
        Assert.Equal((kind, value), (scalar.Kind, scalar.Text));
    }

    [Fact]
    public void Raw_numbers_have_one_spelling()
    {
        var spellings = new[] { "1", "1.0", "1e0", "10e-1" };
        Assert.All(
            spellings,
            s =>
                Assert.Equal(
                    """{"name":"x","raw":{"a":1}}""",
                    CanonicalForm.Write(new Sample { Name = "x", Raw = JsonNode.Parse($$"""{"a":{{s}}}""")!.AsObject() })
                )
        );
    }

    private static Gen<JsonNode?> Leaves() =>
        Gen.OneOf(
            Texts.Select(JsonNode? (t) => JsonValue.Create(t)),
            Gen.Long.Select(JsonNode? (n) => JsonValue.Create(n)),
            Gen.ULong.Select(JsonNode? (n) => JsonValue.Create(n)),
            Gen.Double.Where(double.IsFinite).Select(JsonNode? (n) => JsonValue.Create(n)),
            Gen.Bool.Select(JsonNode? (b) => JsonValue.Create(b)),
            Gen.Const((JsonNode?)null)
        );

    private static JsonObject Object((string Key, JsonNode? Value)[] members) =>
        new(members.DistinctBy(m => m.Key).Select(m => KeyValuePair.Create(m.Key, m.Value?.DeepClone())));

    private static JsonNode? Shuffle(JsonNode? node, Random random) =>
        node switch
        {
            JsonObject members => new JsonObject(
                members.OrderBy(_ => random.Next()).Select(m => KeyValuePair.Create(m.Key, Shuffle(m.Value, random)))
            ),
            JsonArray items => new JsonArray([.. items.Select(i => Shuffle(i, random))]),
            _ => node?.DeepClone(),
        };

    private static Sample Read(string json) =>
        Bind(JsonDocumentParser.Parse(Encoding.UTF8.GetBytes(json), ReadLimits.Default, new DuplicateKeys()));

    private static Sample ReadYaml(string yaml) =>
        Bind(Assert.Single(YamlDocumentParser.Parse(yaml, ReadLimits.Default, new DuplicateKeys())));

    private static Sample Bind(DocumentNode node)
    {
        var problems = new ProblemCollector();
        Format.TryRead(node, new BindingContext(problems, 1, 1), out var value);
        Assert.Empty(problems.Problems);
        return (Sample)value!;
    }

    private static IReadOnlyList<ValidationProblem> Problems(string yaml)
    {
        var problems = new ProblemCollector();
        var root = Assert.Single(YamlDocumentParser.Parse(yaml, ReadLimits.Default, new DuplicateKeys()));
        Format.TryRead(root, new BindingContext(problems, 1, 1), out _);
        return problems.Problems;
    }
}
