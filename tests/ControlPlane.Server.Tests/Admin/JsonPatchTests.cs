using System.Text;
using System.Text.Json.Nodes;
using ControlPlane.Server.Publishing;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Admin;

public sealed class JsonPatchTests(AdminFixture api) : IClassFixture<AdminFixture>
{
    private Task<Answer> PatchAsync(string path, string operations) =>
        api.SendAsync(HttpMethod.Patch, path, operations, "application/json-patch+json");

    private async Task<string> UpstreamAsync(string name)
    {
        var path = "/api/v1/upstreams/" + name;
        Assert.Equal(201, (await api.PutAsync(path, Bodies.Upstream())).Status);
        return path;
    }

    [Fact]
    public async Task Nested_copies_that_double_the_object_are_refused_and_cost_little()
    {
        var path = await UpstreamAsync("bomb");
        var operations = string.Join(
            ',',
            Enumerable.Range(0, 26).Select(i => $$"""{"op": "copy", "from": "/spec", "path": "/spec/x{{i}}"}""")
        );
        var before = GC.GetTotalAllocatedBytes();

        (await PatchAsync(path, $"[{operations}]")).Is(422, "invalid");

        Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, 1L << 30);
    }

    [Fact]
    public async Task A_copy_that_nests_deeper_than_an_object_may_be_is_refused()
    {
        var path = await UpstreamAsync("deep");
        var operations = new StringBuilder("""[{"op": "add", "path": "/metadata/annotations", "value": {"a": {}}}""");
        var place = "/metadata/annotations/a";
        for (var i = 0; i < 10; i++)
        {
            operations.Append($$""", {"op": "copy", "from": "/metadata", "path": "{{place}}/m"}""");
            place += "/m/annotations/a";
        }

        var answer = (await PatchAsync(path, operations.Append(']').ToString())).Is(422, "invalid");
        Assert.Contains("64 levels", answer.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Too_many_operations_are_refused()
    {
        var path = await UpstreamAsync("many-operations");
        var operations = string.Join(',', Enumerable.Repeat("""{"op": "test", "path": "/kind", "value": "Upstream"}""", 10_001));
        Assert.Contains("10000", (await PatchAsync(path, $"[{operations}]")).Is(400, "syntax").Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_empty_path_is_the_whole_object()
    {
        const string Path = "/api/v1/upstreams/whole";
        await api.PutAsync(Path, Bodies.Registering);
        var replaced = await PatchAsync(
            Path,
            """[{"op": "replace", "path": "", "value": {"spec": {"connectTimeout": "7s", "endpoints": {"source": "registration"}}}}]"""
        );
        Assert.Equal(200, replaced.Status);
        Assert.Equal("7s", (string?)replaced.Json["spec"]!["connectTimeout"]);

        var added = await PatchAsync(Path, """[{"op": "add", "path": "", "value": {"spec": {"endpoints": {"source": "registration"}}}}]""");
        Assert.Equal(200, added.Status);
        Assert.Null(added.Json["spec"]!["connectTimeout"]);

        (await PatchAsync(Path, """[{"op": "remove", "path": ""}]""")).Is(422, "invalid");
        (await PatchAsync(Path, """[{"op": "replace", "path": "", "value": null}]""")).Is(422, "invalid");
        (await PatchAsync(Path, """[{"op": "replace", "path": "", "value": 5}]""")).Is(422, "invalid");
    }

    [Fact]
    public async Task Single_values_can_be_copied_and_moved()
    {
        var path = await UpstreamAsync("scalars");
        var patched = await PatchAsync(
            path,
            """
            [
              {"op": "add", "path": "/metadata/labels", "value": {"a": "x", "c": "z"}},
              {"op": "copy", "from": "/metadata/labels/a", "path": "/metadata/labels/b"},
              {"op": "move", "from": "/metadata/labels/c", "path": "/metadata/labels/d"}
            ]
            """
        );
        Assert.Equal(200, patched.Status);
        Assert.Equal("""{"a":"x","b":"x","d":"z"}""", patched.Json["metadata"]!["labels"]!.ToJsonString());
    }

    [Theory]
    [InlineData(
        """{"op": "add", "path": "/spec/endpoints/static/-", "value": {"address": "10.0.0.9", "port": 1}}""",
        "10.0.0.1 10.0.0.2 10.0.0.9"
    )]
    [InlineData(
        """{"op": "add", "path": "/spec/endpoints/static/1", "value": {"address": "10.0.0.9", "port": 1}}""",
        "10.0.0.1 10.0.0.9 10.0.0.2"
    )]
    [InlineData("""{"op": "remove", "path": "/spec/endpoints/static/0"}""", "10.0.0.2")]
    [InlineData("""{"op": "move", "from": "/spec/endpoints/static/0", "path": "/spec/endpoints/static/1"}""", "10.0.0.2 10.0.0.1")]
    [InlineData("""{"op": "replace", "path": "/spec/endpoints/static/0/address", "value": "10.0.0.7"}""", "10.0.0.7 10.0.0.2")]
    public async Task Items_of_lists_are_reached_by_their_index(string operation, string addresses)
    {
        var path = await UpstreamAsync("list-" + Guid.NewGuid().ToString("N"));
        var patched = await PatchAsync(path, $"[{operation}]");
        Assert.Equal(200, patched.Status);
        Assert.Equal(
            addresses,
            string.Join(' ', patched.Json["spec"]!["endpoints"]!["static"]!.AsArray().Select(e => (string?)e!["address"]))
        );
    }

    [Theory]
    [InlineData("""{"op": "remove", "path": "/spec/endpoints/static/2"}""", 422)]
    [InlineData("""{"op": "remove", "path": "/spec/endpoints/static/-"}""", 422)]
    [InlineData("""{"op": "remove", "path": "/spec/endpoints/static/00"}""", 422)]
    [InlineData("""{"op": "replace", "path": "/spec/endpoints/static/-", "value": {}}""", 422)]
    [InlineData("""{"op": "add", "path": "/spec/endpoints/static/3", "value": {}}""", 422)]
    [InlineData("""{"op": "add", "path": "/nothing/here", "value": 1}""", 422)]
    [InlineData("""{"op": "replace", "path": "/metadata/labels", "value": {}}""", 422)]
    [InlineData("""{"op": "move", "from": "/spec", "path": "/spec/inside"}""", 422)]
    [InlineData("""{"op": "move", "from": "", "path": "/spec/inside"}""", 422)]
    [InlineData("""{"op": "copy", "from": "/none", "path": "/spec/inside"}""", 422)]
    [InlineData("""{"op": "test", "path": "/none", "value": null}""", 422)]
    [InlineData("""{"op": "test", "path": "/kind", "value": "Listener"}""", 409)]
    [InlineData("""{"op": "add", "path": "spec", "value": 1}""", 400)]
    [InlineData("""{"op": "add", "path": "/a~2b", "value": 1}""", 400)]
    [InlineData("""{"op": "add", "path": 5, "value": 1}""", 400)]
    [InlineData("""{"op": "add", "path": "/spec/x"}""", 400)]
    [InlineData("""{"op": "move", "path": "/spec/x"}""", 400)]
    [InlineData("5", 400)]
    public async Task An_operation_that_cannot_be_done_is_told_and_nothing_is_changed(string operation, int status)
    {
        var path = await UpstreamAsync("refused-" + Guid.NewGuid().ToString("N"));
        var answer = await PatchAsync(path, $$"""[{"op": "add", "path": "/spec/connectTimeout", "value": "9s"}, {{operation}}]""");
        Assert.Equal(status, answer.Problem.Status);
        Assert.Contains("peration 1", answer.Problem.Detail, StringComparison.Ordinal);
        var fault = Assert.Single(answer.Problem.Errors!.Value);
        Assert.Equal(answer.Problem.Detail, fault.Message);
        Assert.NotEmpty(fault.Code);
        Assert.NotNull(fault.Pointer);
        Assert.Null((await api.GetAsync(path)).Json["spec"]!["connectTimeout"]);
    }

    [Theory]
    [InlineData("move", "/metadata/annotations/seen")]
    [InlineData("copy", "/metadata/annotations/seen")]
    [InlineData("copy", "/metadata/labels/seen")]
    public async Task No_operation_carries_a_secret_to_where_it_is_shown(string operation, string target)
    {
        var path = "/api/v1/secrets/carried-" + Guid.NewGuid().ToString("N");
        await api.PutAsync(
            path,
            """{"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}}, "spec": {"generic": {"inline": "carry-me-not"}}}"""
        );

        var answer = await PatchAsync(
            path,
            $$"""[{"op": "{{operation}}", "from": "/spec/generic/inline", "path": "{{target}}"}, {"op": "add", "path": "/spec/generic/inline", "value": "other"}]"""
        );

        var fault = Assert.Single(answer.Is(422, "invalid").Errors!.Value);
        Assert.Equal((target, "redacted-value"), (fault.Pointer, fault.Code));
        Assert.DoesNotContain("carry-me-not", answer.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("carry-me-not", (await api.GetAsync(path)).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_patch_of_the_first_list_item_keeps_the_secrets_of_the_others()
    {
        var path = "/api/v1/secrets/tickets";
        string Key(char c) => new(c, 80);
        await api.PutAsync(path, $$$"""{"spec": {"sessionTicketKeys": [{"inline": "{{{Key('a')}}}"}, {"inline": "{{{Key('b')}}}"}]}}""");

        Assert.Equal(200, (await PatchAsync(path, """[{"op": "remove", "path": "/spec/sessionTicketKeys/0"}]""")).Status);

        var stored = api.Host.Services.GetRequiredService<CurrentState>().Desired;
        var spec = (Resources.Secrets.SecretSpec)
            stored.Find(new Resources.ResourceKey(Resources.ResourceKind.Secret, "tickets"))!.Manifest.Spec;
        Assert.Equal(Key('b'), Assert.Single(spec.SessionTicketKeys).Inline);
    }

    [Theory]
    [InlineData("application/json-patch+json")]
    [InlineData("application/merge-patch+json")]
    [InlineData("PUT")]
    public async Task Another_type_beside_a_kept_secret_does_not_show_it(string way)
    {
        var path = "/api/v1/envoyresources/retyped-" + Guid.NewGuid().ToString("N");
        JsonObject Body(string type, string value) =>
            new()
            {
                ["spec"] = new JsonObject
                {
                    ["resource"] = new JsonObject
                    {
                        ["@type"] = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
                        ["name"] = path,
                        ["typedConfig"] = new JsonObject
                        {
                            ["@type"] = type,
                            ["session_ticket_keys"] = new JsonObject
                            {
                                ["keys"] = new JsonArray(new JsonObject { ["inline_string"] = value }),
                            },
                        },
                    },
                },
            };
        const string Known = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
        const string Unknown = "type.googleapis.com/example.Nothing";
        var created = await api.PutAsync(path + "?validation=warn&reason=test", Body(Known, "retype-me-not").ToJsonString());
        Assert.Equal(201, created.Status);
        Assert.DoesNotContain("retype-me-not", created.Text, StringComparison.Ordinal);

        var answer = way switch
        {
            "PUT" => await api.PutAsync(path, Body(Unknown, "[redacted]").ToJsonString()),
            "application/merge-patch+json" => await api.SendAsync(
                HttpMethod.Patch,
                path,
                """{"spec": {"resource": {"typedConfig": {"@type": "TYPE"}}}}""".Replace("TYPE", Unknown, StringComparison.Ordinal),
                way
            ),
            _ => await PatchAsync(path, $$"""[{"op": "replace", "path": "/spec/resource/typedConfig/@type", "value": "{{Unknown}}"}]"""),
        };

        Assert.Equal("redacted-value", Assert.Single(answer.Is(422, "invalid").Errors!.Value).Code);
        Assert.DoesNotContain("retype-me-not", answer.Text, StringComparison.Ordinal);
    }
}
