using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Server.Admin;

namespace ControlPlane.Server.Tests.Admin;

public sealed class ApiDocumentTests(AdminFixture api) : IClassFixture<AdminFixture>
{
    /// <summary>Set to 1 to write docs/openapi.json instead of comparing with it.</summary>
    private const string UpdateVariable = "UPDATE_OPENAPI";

    [Fact]
    public async Task The_committed_document_is_what_the_server_does()
    {
        var made = await ApiDocument.MakeAsync(api.Host.Services, TestContext.Current.CancellationToken);
        var path = Path.Combine(Repository.Root(), "docs", "openapi.json");
        if (Environment.GetEnvironmentVariable(UpdateVariable) == "1")
        {
            await File.WriteAllTextAsync(path, made);
            return;
        }

        Assert.True(
            made == await File.ReadAllTextAsync(path),
            $"docs/openapi.json is not what the routes and specs say. Run this test with {UpdateVariable}=1 and commit the file."
        );
    }

    [Fact]
    public async Task The_document_and_its_page_are_served_without_the_internet()
    {
        var document = await api.GetAsync("/openapi/v1.json");
        Assert.Equal("3.1.1", (string?)document.Json["openapi"]);

        var page = await api.GetAsync("/docs/");
        Assert.Equal("text/html", page.MediaType);
        Assert.DoesNotContain("https://", page.Text, StringComparison.Ordinal);
        foreach (var script in (string[])["scalar.js", "scalar.aspnetcore.js"])
        {
            Assert.Contains(script, page.Text, StringComparison.Ordinal);
            Assert.Equal(200, (await api.GetAsync("/docs/" + script)).Status);
        }

        Assert.Contains("\"url\":\"openapi/v1.json\"", page.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Specs_are_described_with_durations_words_and_required_members()
    {
        var schemas = (await api.GetAsync("/openapi/v1.json")).Json["components"]!["schemas"]!;

        var upstream = schemas["UpstreamSpec"]!;
        Assert.Contains("h|m|s|ms", (string?)upstream["properties"]!["connectTimeout"]!["pattern"], StringComparison.Ordinal);
        Assert.NotEmpty((string)upstream["description"]!);
        Assert.Contains("endpoints", upstream["required"]!.AsArray().Select(r => (string?)r));
        Assert.Contains("registration", schemas["EndpointSource"]!["enum"]!.AsArray().Select(w => (string?)w));
        Assert.Equal("#/components/schemas/UpstreamSpec", (string?)schemas["Upstream"]!["properties"]!["spec"]!["$ref"]);
    }

    [Fact]
    public async Task Every_reference_in_the_document_leads_somewhere_and_every_operation_has_a_name_of_its_own()
    {
        var document = (await api.GetAsync("/openapi/v1.json")).Json;
        var schemas = document["components"]!["schemas"]!.AsObject().Select(s => "#/components/schemas/" + s.Key).ToHashSet();
        using var parsed = JsonDocument.Parse(document.ToJsonString());
        var references = new List<string>();
        var operations = new List<string>();
        Collect(parsed.RootElement, references, operations);

        Assert.NotEmpty(references);
        Assert.All(references, r => Assert.Contains(r, schemas));
        Assert.Equal(operations.Count, operations.Distinct().Count());
        Assert.DoesNotContain(document["paths"]!.AsObject(), p => p.Key.StartsWith("/v3/", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Waits_conditions_and_tokens_are_in_the_document()
    {
        var document = (await api.GetAsync("/openapi/v1.json")).Json;
        JsonNode Operation(string path, string method) => document["paths"]![path]![method]!;
        string[] Headers(string path, string method) =>
            [
                .. Operation(path, method)["parameters"]!
                    .AsArray()
                    .Where(p => (string?)p!["in"] == "header")
                    .Select(p => (string)p!["name"]!)
                    .Order(StringComparer.Ordinal),
            ];

        foreach (
            var (path, method) in ((string, string)[])
                [
                    ("/api/v1/upstreams/{name}", "put"),
                    ("/api/v1/upstreams/{name}", "patch"),
                    ("/api/v1/upstreams/{name}", "delete"),
                    ("/api/v1/upstreams/{name}/endpoints", "post"),
                    ("/api/v1/apply", "post"),
                    ("/api/v1/revisions/{revision}:rollback", "post"),
                ]
        )
        {
            var responses = Operation(path, method)["responses"]!;
            Assert.Equal(responses["200"]!["content"]!.ToJsonString(), responses["202"]!["content"]!.ToJsonString());
        }

        Assert.Equal(["If-Match", "If-None-Match"], Headers("/api/v1/upstreams/{name}", "put"));
        Assert.Equal(["If-Match"], Headers("/api/v1/upstreams/{name}", "patch"));
        Assert.Equal(["If-Match"], Headers("/api/v1/upstreams/{name}", "delete"));
        Assert.Equal(["If-None-Match"], Headers("/api/v1/upstreams/{name}", "get"));
        Assert.NotNull(Operation("/api/v1/upstreams/{name}", "get")["responses"]!["304"]);
        Assert.NotNull(Operation("/api/v1/upstreams/{name}", "put")["responses"]!["201"]!["headers"]!["ETag"]);

        var scheme = Assert.Single(document["components"]!["securitySchemes"]!.AsObject());
        Assert.Equal(("http", "bearer"), ((string?)scheme.Value!["type"], (string?)scheme.Value["scheme"]));
        Assert.Equal($$"""[{"{{scheme.Key}}":[]}]""", Operation("/api/v1/apply", "post")["security"]!.ToJsonString());
        Assert.Null(Operation("/livez", "get")["security"]);
    }

    [Fact]
    public async Task Answers_have_what_the_document_requires_and_nothing_that_it_does_not_know()
    {
        await api.PutAsync("/api/v1/upstreams/described", Bodies.Registering);
        await api.PutAsync("/api/v1/upstreams/described/endpoints/a", Bodies.Endpoint());
        await api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/described/endpoints/a:drain", """{"reason": "update"}""");
        await api.PutAsync("/api/v1/secrets/described", """{"spec": {"generic": {"inline": "abc"}}}""");
        var document = (await api.GetAsync("/openapi/v1.json")).Json;
        var many = """[{"apiVersion": "controlplane/v1", "kind": "Upstream", "metadata": {"name": "new"}, "spec": SPEC}]""".Replace(
            "SPEC",
            """{"endpoints": {"source": "registration"}}""",
            StringComparison.Ordinal
        );
        var wrong = new List<string>();
        foreach (
            var (method, template, path, body) in ((string, string, string, string?)[])
                [
                    ("get", "/api/v1/upstreams", "/api/v1/upstreams?limit=1", null),
                    ("get", "/api/v1/upstreams/{name}", "/api/v1/upstreams/described", null),
                    ("get", "/api/v1/upstreams/{name}/xds", "/api/v1/upstreams/described/xds", null),
                    ("get", "/api/v1/upstreams/{name}/history", "/api/v1/upstreams/described/history", null),
                    ("get", "/api/v1/upstreams/{name}/health", "/api/v1/upstreams/described/health", null),
                    ("get", "/api/v1/upstreams/{name}/health/history", "/api/v1/upstreams/described/health/history", null),
                    ("get", "/api/v1/upstreams/{name}/endpoints", "/api/v1/upstreams/described/endpoints", null),
                    ("get", "/api/v1/upstreams/{name}/endpoints/{id}", "/api/v1/upstreams/described/endpoints/a", null),
                    ("get", "/api/v1/secrets/{name}", "/api/v1/secrets/described", null),
                    ("get", "/api/v1/overrides", "/api/v1/overrides", null),
                    ("get", "/api/v1/export", "/api/v1/export", null),
                    ("get", "/api/v1/revisions", "/api/v1/revisions?limit=1", null),
                    ("get", "/api/v1/revisions/{revision}", "/api/v1/revisions/1", null),
                    ("get", "/api/v1/revisions/{from}..{to}", "/api/v1/revisions/1..2", null),
                    ("get", "/api/v1/nodes", "/api/v1/nodes", null),
                    ("put", "/api/v1/upstreams/{name}", "/api/v1/upstreams/described?wait=acked", Bodies.Registering),
                    ("post", "/api/v1/apply", "/api/v1/apply?dryRun=true", many),
                    ("post", "/api/v1/apply", "/api/v1/apply?wait=acked", many),
                    ("post", "/api/v1/validate", "/api/v1/validate", many),
                    ("post", "/api/v1/diff", "/api/v1/diff", many.Replace("new", "newer", StringComparison.Ordinal)),
                    ("post", "/api/v1/revisions/{revision}:rollback", "/api/v1/revisions/2:rollback?dryRun=true&kinds=Secret", null),
                    ("get", "/api/v1/upstreams/{name}", "/api/v1/upstreams/nowhere", null),
                    ("put", "/api/v1/upstreams/{name}", "/api/v1/upstreams/described", """{"spec": {"nonsense": 1}}"""),
                ]
        )
        {
            var answer = await api.SendAsync(HttpMethod.Parse(method), path, body, headers: ("Accept", "application/json"));
            var responses = document["paths"]![template]![method]!["responses"]!;
            var content = (responses[$"{answer.Status}"] ?? responses["default"])!["content"]!;
            Compare(document, content[answer.MediaType]!["schema"]!, JsonNode.Parse(answer.Text), $"{method} {path}", wrong);
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong.Distinct()));
    }

    /// <summary>Looks for members that are missing or not described.</summary>
    private static void Compare(JsonNode document, JsonNode schema, JsonNode? value, string place, List<string> wrong)
    {
        while (schema["$ref"] is { } reference)
        {
            schema = document["components"]!["schemas"]![((string)reference!).Split('/')[^1]]!;
        }

        if (schema["oneOf"] is JsonArray choices)
        {
            Compare(document, choices.First(c => (string?)c!["type"] != "null")!, value, place, wrong);
            return;
        }

        switch (value)
        {
            case JsonObject members when schema["properties"] is JsonObject known:
                wrong.AddRange(
                    (schema["required"]?.AsArray() ?? []).Where(r => !members.ContainsKey((string)r!)).Select(r => $"{place} lacks {r}")
                );
                foreach (var (name, member) in members)
                {
                    if (known[name] is { } inner)
                    {
                        Compare(document, inner, member, $"{place} {name}", wrong);
                    }
                    else
                    {
                        wrong.Add($"{place} has {name}, which is not described");
                    }
                }

                break;
            case JsonArray items when schema["items"] is { } each:
                foreach (var item in items)
                {
                    Compare(document, each, item, place, wrong);
                }

                break;
        }
    }

    private static void Collect(JsonElement element, List<string> references, List<string> operations)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                foreach (var property in element.EnumerateObject())
                {
                    if (property is { Name: "$ref", Value.ValueKind: JsonValueKind.String })
                    {
                        references.Add(property.Value.GetString()!);
                    }
                    else if (property is { Name: "operationId", Value.ValueKind: JsonValueKind.String })
                    {
                        operations.Add(property.Value.GetString()!);
                    }

                    Collect(property.Value, references, operations);
                }

                break;
            case JsonValueKind.Array:
                foreach (var item in element.EnumerateArray())
                {
                    Collect(item, references, operations);
                }

                break;
        }
    }
}
