using System.Text;
using ControlPlane.Resources.Reading;
using CsCheck;

namespace ControlPlane.Resources.Tests.Reading;

/// <summary>Whatever the bytes are: an answer, never an exception.</summary>
public sealed class ReaderFuzzTests
{
    private const string Seed = """
        apiVersion: controlplane/v1
        kind: NodeGroup
        metadata: {name: edge, labels: {team: "a\u0020b"}, annotations: {x: >-
          folded
          text}}
        spec:
          selectors:
            - ids: &ids [edge-*, 'it''s', !!str 5]
              metadata:
                ? complex
                : |2-
                    block
            - clusters: *ids
        ---
        [{"kind": "List", "a": -1.5e+3}, {}]
        """;

    private const string JsonSeed = """
        {"apiVersion":"controlplane/v1","kind":"EnvoyResource","metadata":{"name":"x","resourceVersion":7},
         "spec":{"resource":{"@type":"a/b","s":"\u00e9\n","n":-1.5e+3,"l":[true,false,null]}},"status":{}}
        """;

    private static readonly Gen<string> Pieces = Gen.OneOf(
        ":",
        "- ",
        "\n",
        "\n  ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "&a",
        "*a",
        "!",
        "!!str ",
        "|",
        ">",
        "#",
        "%YAML 1.2\n",
        "%YAML 99999999999.1\n",
        "---\n",
        "...\n",
        "\\u",
        "\\ud800",
        "\\U00110000",
        "\\x",
        "\t",
        "?",
        "<<",
        "~",
        "\u0000",
        "\ufeff",
        "\u2028",
        "//",
        "/*",
        "1e999",
        "0x",
        "%TAG ! x\n",
        "@",
        "`",
        "|+9\n"
    );

    [Fact]
    public void Random_bytes_are_answered() => Gen.Byte.Array[0, 200].Sample(bytes => Answers(bytes), iter: 5_000);

    [Fact]
    public void Random_pieces_of_syntax_are_answered() =>
        Pieces.Array[0, 40].Sample(pieces => Answers(Encoding.UTF8.GetBytes(string.Concat(pieces))), iter: 20_000);

    [Fact]
    public void Mutations_of_good_documents_are_answered() =>
        (
            from seed in Gen.OneOf(Seed, JsonSeed)
            from edits in Gen.Select(Gen.Int[0, seed.Length - 1], Gen.Int[0, 6], Pieces).Array[1, 6]
            select edits.Aggregate(seed, Mutate)
        ).Sample(text => Answers(Encoding.UTF8.GetBytes(text)), iter: 20_000);

    [Theory]
    [InlineData("[", 1_000_000)]
    [InlineData("{\"a\":", 500_000)]
    [InlineData("- ", 1_000_000)]
    [InlineData("a: &a\n", 100_000)]
    [InlineData("? ", 500_000)]
    [InlineData("\"", 1_000_001)]
    [InlineData("'", 1_000_001)]
    [InlineData("a,", 500_000)]
    [InlineData("[a,", 300_000)]
    [InlineData("a: b\n", 200_000)]
    [InlineData("#\n", 1_000_000)]
    [InlineData("---\n", 300_000)]
    [InlineData("--- a\n", 200_000)]
    [InlineData(" ", 2_000_000)]
    [InlineData("\n ", 1_000_000)]
    [InlineData("a", 5_000_000)]
    [InlineData("!", 1_000_000)]
    [InlineData("&", 1_000_000)]
    [InlineData("%", 1_000_000)]
    [InlineData("|", 1_000_000)]
    [InlineData("[a: ", 100_000)]
    [InlineData("{a, ", 100_000)]
    public void Repetition_costs_no_more_than_its_length(string piece, int count)
    {
        var bytes = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat(piece, count)));
        foreach (var format in Enum.GetValues<ManifestFormat>())
        {
            // The runner's own time limit is the bound: quadratic work on these inputs takes hours.
            Answers(bytes, format);
        }
    }

    private static string Mutate(string text, (int At, int Length, string Piece) edit)
    {
        var at = Math.Min(edit.At, text.Length);
        return text[..at] + edit.Piece + text[Math.Min(text.Length, at + edit.Length)..];
    }

    private static bool Answers(byte[] bytes)
    {
        Answers(bytes, ManifestFormat.Guess);
        Answers(bytes, ManifestFormat.Yaml);
        Answers(bytes, ManifestFormat.Json);
        return true;
    }

    private static void Answers(byte[] bytes, ManifestFormat format)
    {
        var input = ManifestReader.Read(bytes, format);
        Assert.True(input.Problems.Count > 0 || input.Documents.Count > 0);
        Assert.All(input.Documents, d => Assert.True(d.Manifest is not null || d.Problems.Count > 0));
        Assert.All(input.Problems, p => Assert.True(p.Message.Length is > 0 and < 1000));
    }
}
