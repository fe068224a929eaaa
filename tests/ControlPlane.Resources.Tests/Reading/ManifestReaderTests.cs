using System.Text;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Tests.Reading;

public sealed class ManifestReaderTests
{
    private const string Group = """
        apiVersion: controlplane/v1
        kind: NodeGroup
        metadata: {name: edge, labels: {team: checkout}}
        spec:
          selectors:
            - ids: [edge-*]
              metadata: {tier: "1"}
        """;

    [Fact]
    public void A_manifest_is_read_alike_from_yaml_and_json()
    {
        const string Json = """
            {"apiVersion": "controlplane/v1", "kind": "NodeGroup", "metadata": {"name": "edge", "labels": {"team": "checkout"}},
             "spec": {"selectors": [{"ids": ["edge-*"], "metadata": {"tier": "1"}}]}}
            """;
        Assert.Equal(CanonicalForm.Write(One(Group)), CanonicalForm.Write(One(Json)));
        Assert.Equal(new ResourceKey(ResourceKind.NodeGroup, "edge"), One(Group).Key);
    }

    [Fact]
    public void Several_yaml_documents_are_several_objects_and_empty_ones_are_none()
    {
        var input = Read($"---\n{Group}\n---\n# nothing\n---\n{Group.Replace("edge", "core", StringComparison.Ordinal)}\n---\n");
        Assert.Empty(input.Problems);
        Assert.Equal(["edge", "core"], input.Documents.Select(d => d.Manifest!.Metadata.Name));
        Assert.Equal(2, input.Documents[0].Line);
    }

    [Theory]
    [InlineData("[%, %]")]
    [InlineData("""{"kind": "List", "apiVersion": "v1", "items": [%, %]}""")]
    public void A_list_is_taken_apart(string list)
    {
        const string Item =
            """{"apiVersion":"controlplane/v1","kind":"NodeGroup","metadata":{"name":"a"},"spec":{"selectors":[{"zone":"z"}]}}""";
        var input = Read(list.Replace("%", Item, StringComparison.Ordinal));
        Assert.Equal(2, input.Documents.Count);
        Assert.False(input.HasErrors);
    }

    [Fact]
    public void All_faults_are_told_at_once_with_pointer_line_and_column()
    {
        var document = Document(
            """
            apiVersion: controlplane/v2
            kind: NodeGroup
            metadata: {name: "a b", lables: {}}
            spec:
              selectors:
                - id: [x]
                  zone: 7
                - ids: x
              more: 1
            """
        );
        Assert.Null(document.Manifest);
        Assert.Equal(
            [
                ("/apiVersion", "unknown-api-version", 1, 1),
                ("/metadata/lables", "unknown-field", 3, 25),
                ("/metadata/name", "invalid-name", 3, 12),
                ("/spec/selectors/0/id", "unknown-field", 6, 7),
                ("/spec/selectors/0/zone", "wrong-type", 7, 7),
                ("/spec/selectors/1/ids", "wrong-type", 8, 7),
                ("/spec/more", "unknown-field", 9, 3),
            ],
            document.Problems.Select(p => (p.Pointer, p.Code, p.Line, p.Column))
        );
        Assert.Contains("Did you mean 'labels'?", document.Problems[1].Message, StringComparison.Ordinal);
        Assert.Contains("Did you mean 'ids'?", document.Problems[3].Message, StringComparison.Ordinal);
        Assert.Contains("Put it in quotes.", document.Problems[4].Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_unknown_field_does_not_keep_the_kind_s_own_checks_from_running()
    {
        var document = Document(
            """{"apiVersion":"controlplane/v1","kind":"NodeGroup","metadata":{"name":"a"},"spec":{"x":1,"selectors":[{"ids":["a*b"]}]}}"""
        );
        Assert.Equal(["unknown-field", "invalid-pattern"], document.Problems.Select(p => p.Code));
        Assert.Equal(("/spec/selectors/0/ids/0", 1), (document.Problems[1].Pointer, document.Problems[1].Line));
    }

    [Theory]
    [InlineData("kind: NodeGroop", "/kind", "unknown-kind", "Did you mean 'NodeGroup'?")]
    [InlineData("kind: 5", "/kind", "wrong-type", "name of a kind")]
    [InlineData("", "/kind", "missing-field", "EnvoyResource")]
    public void A_wrong_kind_is_told_with_the_known_ones(string line, string pointer, string code, string message)
    {
        var problems = Document($"apiVersion: controlplane/v1\n{line}\nmetadata: {{name: a}}\nspec: {{}}\n").Problems;
        var problem = Assert.Single(problems);
        Assert.Equal((pointer, code), (problem.Pointer, problem.Code));
        Assert.Contains(message, problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_the_server_added_is_accepted_and_only_resourceVersion_matters()
    {
        var document = Document(
            """
            apiVersion: controlplane/v1
            kind: NodeGroup
            metadata: {name: a, uid: u, generation: 3, resourceVersion: "17", revision: 17, managedBy: rest/x, source: {repo: r}, createdAt: t, updatedAt: t}
            spec: {selectors: [{zone: z}]}
            status: {anything: [1, 2]}
            """
        );
        Assert.Equal("17", document.ResourceVersion);
        Assert.DoesNotContain("uid", CanonicalForm.Write(document.Manifest!), StringComparison.Ordinal);
    }

    [Fact]
    public void Where_the_object_is_known_the_head_may_be_left_out_and_must_not_contradict()
    {
        var key = new ResourceKey(ResourceKind.NodeGroup, "a");
        var bare = Assert.Single(Read("""{"spec": {"selectors": [{"zone": "z"}]}}""", expected: key).Documents);
        Assert.Equal(key, bare.Manifest!.Key);
        var labelled = Read("""{"metadata": {"labels": {"x": "y"}}, "spec": {"selectors": [{"zone": "z"}]}}""", expected: key);
        Assert.Equal("y", labelled.Documents[0].Manifest!.Metadata.Labels["x"]);
        var other = Read("""{"kind": "EnvoyResource", "metadata": {"name": "b"}, "spec": {}}""", expected: key);
        Assert.Equal(["wrong-kind", "wrong-name"], other.Documents[0].Problems.Select(p => p.Code));
    }

    [Theory]
    [InlineData("""{"a": 1, "a": 2}""", "duplicate-key", 1, 10)]
    [InlineData("a: 1\nb: {c: 1, c: 2}\n", "duplicate-key", 2, 11)]
    [InlineData("{\"a\": 1,\n}", "json-trailing-comma", 2, 1)]
    [InlineData("{\"a\": [1, ]}", "json-trailing-comma", 1, 11)]
    [InlineData("{\n  // why\n  \"a\": 1}", "json-comment", 2, 3)]
    [InlineData("""{"a": 1} x""", "invalid-json", 1, 10)]
    [InlineData("""{"a": """, "invalid-json", 1, 7)]
    [InlineData("""{"a": "\ud800"}""", "invalid-text", 1, 7)]
    [InlineData("a: [1\nb: 2", "invalid-yaml", 1, 4)]
    [InlineData("a: \"\\ud800\"", "invalid-yaml", 1, 4)]
    [InlineData("a: *b", "invalid-yaml", 1, 4)]
    [InlineData("a: &b [*b]", "invalid-yaml", 1, 8)]
    [InlineData("base: &b {x: 1}\na: {<<: *b}", "invalid-yaml", 2, 5)]
    [InlineData("a: !!binary aGk=", "yaml-tag", 1, 4)]
    [InlineData("a: !python/object x", "yaml-tag", 1, 4)]
    [InlineData("? [a]\n: b", "invalid-yaml", 1, 3)]
    [InlineData("", "no-object", 0, 0)]
    [InlineData("# only words\n", "no-object", 0, 0)]
    public void Malformed_text_is_a_problem_with_a_place(string text, string code, int line, int column)
    {
        var problem = Assert.Single(Read(text).Problems);
        Assert.Equal((code, line, column), (problem.Code, problem.Line, problem.Column));
    }

    [Theory]
    [InlineData(new byte[] { (byte)'a', (byte)':', (byte)'\n', 0xff }, 2, 1)]
    [InlineData(new byte[] { (byte)'a', 0 }, 1, 2)]
    [InlineData(new byte[] { (byte)'a', 0xc3 }, 1, 2)]
    public void Bytes_that_are_no_text_are_a_problem_with_a_place(byte[] bytes, int line, int column)
    {
        var problem = Assert.Single(ManifestReader.Read(bytes).Problems);
        Assert.Equal(("invalid-text", line, column), (problem.Code, problem.Line, problem.Column));
    }

    [Fact]
    public void A_byte_order_mark_is_passed_over()
    {
        var input = ManifestReader.Read((byte[])[0xef, 0xbb, 0xbf, .. Encoding.UTF8.GetBytes(Group)]);
        Assert.False(input.HasErrors);
    }

    [Fact]
    public void Documents_before_a_syntax_error_are_read()
    {
        var input = Read($"{Group}\n---\na: [1\nb: 2\n");
        Assert.Equal("edge", Assert.Single(input.Documents).Name);
        Assert.Equal("invalid-yaml", Assert.Single(input.Problems).Code);
        Assert.True(input.HasErrors);
    }

    [Theory]
    [InlineData(ManifestFormat.Json)]
    [InlineData(ManifestFormat.Yaml)]
    public void Nesting_is_bounded(ManifestFormat format)
    {
        Assert.Equal("too-deep", Assert.Single(Read(Nested(65), format).Problems).Code);
        Assert.Equal("too-deep", Assert.Single(Read(Nested(100_000), format).Problems).Code);
        Assert.Empty(Read(Nested(64), format).Problems);
    }

    [Fact]
    public void Nesting_through_aliases_is_bounded()
    {
        var text = new StringBuilder("a0: &a0 {}\n");
        for (var i = 1; i < 70; i++)
        {
            text.Append(System.Globalization.CultureInfo.InvariantCulture, $"a{i}: &a{i} [*a{i - 1}]\n");
        }

        Assert.Equal("too-deep", Assert.Single(Read(text.ToString()).Problems).Code);
    }

    [Fact]
    public void Aliases_cannot_stand_for_billions_of_values()
    {
        var text = new StringBuilder("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for (var i = 1; i < 20; i++)
        {
            var alias = $"*a{i - 1}";
            text.Append(
                System.Globalization.CultureInfo.InvariantCulture,
                $"a{i}: &a{i} [{string.Join(", ", Enumerable.Repeat(alias, 9))}]\n"
            );
        }

        Assert.Equal("too-many-aliases", Assert.Single(Read(text.ToString()).Problems).Code);
    }

    [Fact]
    public void An_alias_stands_for_its_anchor()
    {
        var manifest = One(
            """
            apiVersion: controlplane/v1
            kind: NodeGroup
            metadata: {name: a}
            spec: {selectors: [{ids: &names [x, "y*"]}, {clusters: *names}]}
            """
        );
        Assert.Equal(["x", "y*"], ((NodeGroupSpec)manifest.Spec).Selectors[1].Clusters);
    }

    [Fact]
    public void Size_is_bounded()
    {
        var problem = Assert.Single(ManifestReader.Read(new byte[10 * 1024 * 1024 + 1]).Problems);
        Assert.Equal("too-large", problem.Code);
    }

    [Theory]
    [InlineData("application/json", ManifestFormat.Json)]
    [InlineData("application/merge-patch+json; charset=utf-8", ManifestFormat.Json)]
    [InlineData("Application/YAML", ManifestFormat.Yaml)]
    [InlineData("application/json; charset=\"UTF-8\"", ManifestFormat.Json)]
    [InlineData("application/yaml;charset=us-ascii", ManifestFormat.Yaml)]
    [InlineData(null, ManifestFormat.Guess)]
    public void The_content_type_names_the_format(string? contentType, ManifestFormat format) =>
        Assert.Equal(format, ManifestReader.FormatOf(contentType));

    [Theory]
    [InlineData("image/png")]
    [InlineData("text/plain")]
    [InlineData("application/octet-stream")]
    [InlineData("application/x-www-form-urlencoded")]
    [InlineData("application/json; charset=utf-16")]
    public void A_content_type_of_something_else_is_refused(string contentType) => Assert.Null(ManifestReader.FormatOf(contentType));

    [Fact]
    public void Of_many_faults_the_first_are_told_and_the_others_counted()
    {
        var body = "{" + string.Join(",", Enumerable.Range(0, 5000).Select(i => $"\"k{i}\": 1")) + "}";

        var problems = Assert
            .Single(
                ManifestReader.Read(Encoding.UTF8.GetBytes($$"""{"spec": {{body}}}"""), expected: new(ResourceKind.Upstream, "a")).Documents
            )
            .Problems;

        Assert.Equal(ProblemCollector.MaxOfSeverity + 1, problems.Count);
        Assert.All(problems.Take(ProblemCollector.MaxOfSeverity), p => Assert.Equal("unknown-field", p.Code));
        Assert.Equal(ProblemCollector.More, problems[^1].Code);
        Assert.Contains(" 4901 more", problems[^1].Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Keys_that_stand_twice_are_told_up_to_a_number_and_the_others_counted()
    {
        var body = "{" + string.Join(",", Enumerable.Repeat("\"a\": 1", 5000)) + "}";

        var problems = ManifestReader.Read(Encoding.UTF8.GetBytes(body)).Problems;

        Assert.Equal(ProblemCollector.MaxOfSeverity + 1, problems.Count);
        Assert.Contains(" 4899 more", problems[^1].Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Objects_behind_many_faulty_ones_are_not_looked_at_and_that_is_said()
    {
        var input = ManifestReader.Read(Encoding.UTF8.GetBytes("[" + string.Join(",", Enumerable.Repeat("1", 5000)) + "]"));

        Assert.True(input.HasErrors);
        Assert.Equal(ProblemCollector.MaxOfSeverity + 1, input.Documents.Count);
        var last = Assert.Single(input.Documents[^1].Problems);
        Assert.Equal(ProblemCollector.More, last.Code);
        Assert.Contains("4900 objects", last.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(ManifestFormat.Json)]
    [InlineData(ManifestFormat.Yaml)]
    public void An_input_of_too_many_values_is_refused(ManifestFormat format)
    {
        var limits = ReadLimits.Default with { MaxValues = 10 };
        var fits = "[" + string.Join(", ", Enumerable.Repeat("1", 9)) + "]";

        Assert.Empty(ManifestReader.Read(Encoding.UTF8.GetBytes(fits), format, limits: limits).Problems);
        var problem = Assert.Single(
            ManifestReader
                .Read(Encoding.UTF8.GetBytes(fits.Replace("]", ", 1]", StringComparison.Ordinal)), format, limits: limits)
                .Problems
        );
        Assert.Equal(("too-many-values", 1, 29), (problem.Code, problem.Line, problem.Column));
    }

    [Fact]
    public void What_a_collector_only_counted_is_counted_by_the_one_that_takes_it_over()
    {
        var (inner, outer) = (new ProblemCollector(), new ProblemCollector());
        for (var i = 0; i < 1000; i++)
        {
            inner.Error("/spec", "wrong", "This is wrong.");
        }

        outer.Error("/spec", "wrong", "This is wrong, too.");
        outer.AddAll(inner);

        Assert.Equal(ProblemCollector.MaxOfSeverity + 1, outer.Problems.Count);
        Assert.Contains(" 901 more", outer.Problems[^1].Message, StringComparison.Ordinal);
    }

    [Fact]
    public void No_number_of_warnings_hides_a_fault()
    {
        var problems = new ProblemCollector();
        for (var i = 0; i < 1000; i++)
        {
            problems.Warning("/spec", "odd", "This is odd.");
        }

        problems.Error("/spec", "wrong", "This is wrong.");

        Assert.True(problems.HasErrors);
        Assert.Contains(problems.Problems, p => p.Code == "wrong");
        Assert.Equal(ProblemCollector.MaxOfSeverity + 2, problems.Problems.Count);
    }

    [Theory]
    [InlineData("cart", true)]
    [InlineData("shop.cart-v2:grpc_1", true)]
    [InlineData("10.0.0.1:80", true)]
    [InlineData("", false)]
    [InlineData("..", false)]
    [InlineData("a/b", false)]
    [InlineData("a b", false)]
    [InlineData("ünde", false)]
    public void Names_are_of_one_plain_alphabet(string name, bool good) =>
        Assert.Equal(good, ResourceNames.Explain(ResourceKind.Upstream, name) is null);

    [Theory]
    [InlineData("cart/10.0.0.1:80", true)]
    [InlineData("cart/[2001:db8::1]:80", true)]
    [InlineData("cart", false)]
    [InlineData("cart/", false)]
    [InlineData("/x", false)]
    [InlineData("a/b/c", false)]
    public void Names_of_endpoints_have_two_parts(string name, bool good) =>
        Assert.Equal(good, ResourceNames.Explain(ResourceKind.Endpoint, name) is null);

    [Fact]
    public void Names_have_at_most_253_characters()
    {
        Assert.Null(ResourceNames.Explain(ResourceKind.Upstream, new string('a', 253)));
        Assert.NotNull(ResourceNames.Explain(ResourceKind.Upstream, new string('a', 254)));
    }

    [Fact]
    public void A_problem_found_later_gets_the_place_of_its_pointer_or_of_the_nearest_above()
    {
        var document = Document(Group);
        Assert.Equal((6, 7), Place(document, "/spec/selectors/0/ids"));
        Assert.Equal((6, 13), Place(document, "/spec/selectors/0/ids/0"));
        Assert.Equal((6, 7), Place(document, "/spec/selectors/0/ids/9/x"));
        Assert.Equal((1, 1), Place(document, ""));
    }

    private static (int, int) Place(ManifestDocument document, string pointer)
    {
        var problem = document.Locate(new ValidationProblem(pointer, "x", "x"));
        return (problem.Line, problem.Column);
    }

    private static string Nested(int depth) => new string('[', depth) + new string(']', depth);

    private static ManifestInput Read(string text, ManifestFormat format = ManifestFormat.Guess, ResourceKey? expected = null) =>
        ManifestReader.Read(Encoding.UTF8.GetBytes(text), format, expected);

    private static ManifestDocument Document(string text) => Assert.Single(Read(text).Documents);

    private static Manifest One(string text)
    {
        var document = Document(text);
        Assert.Empty(document.Problems);
        return document.Manifest!;
    }
}
