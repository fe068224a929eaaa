using System.Text.Json.Nodes;
using ControlPlane.AdminClient;
using ControlPlane.Resources;

namespace ControlPlane.Server.Tests.Admin;

public sealed class ObjectTests(AdminFixture api) : IClassFixture<AdminFixture>
{
    [Fact]
    public async Task Put_creates_with_201_and_replaces_with_200()
    {
        var created = await api.PutAsync("/api/v1/upstreams/put", Bodies.Upstream());
        Assert.Equal(201, created.Status);
        Assert.Equal("/api/v1/upstreams/put", created.Headers["Location"]);
        Assert.Equal("Upstream", (string?)created.Json["kind"]);
        Assert.Equal("put", (string?)created.Json["metadata"]!["name"]);
        Assert.Equal("rest/local", (string?)created.Json["metadata"]!["managedBy"]);
        Assert.Equal(1, (long)created.Json["metadata"]!["generation"]!);

        var replaced = await api.PutAsync("/api/v1/upstreams/put", Bodies.Upstream(9090));
        Assert.Equal(200, replaced.Status);
        Assert.Equal(2, (long)replaced.Json["metadata"]!["generation"]!);
        Assert.Equal((string?)created.Json["metadata"]!["uid"], (string?)replaced.Json["metadata"]!["uid"]);
        Assert.NotEqual(created.Headers["ETag"], replaced.Headers["ETag"]);
    }

    [Fact]
    public async Task An_identical_put_makes_no_revision_and_keeps_the_etag()
    {
        var first = await api.PutAsync("/api/v1/upstreams/same", Bodies.Upstream());
        var newest = (await api.Client.RevisionsAsync(1)).Items[0].Revision;

        var again = await api.PutAsync("/api/v1/upstreams/same", Bodies.Upstream());

        Assert.Equal(200, again.Status);
        Assert.Equal(first.Headers["ETag"], again.Headers["ETag"]);
        Assert.Equal(newest, (await api.Client.RevisionsAsync(1)).Items[0].Revision);
    }

    [Fact]
    public async Task What_was_read_can_be_sent_back_as_it_is()
    {
        await api.PutAsync("/api/v1/upstreams/back", Bodies.Upstream());
        var read = await api.GetAsync("/api/v1/upstreams/back");

        var sent = await api.PutAsync("/api/v1/upstreams/back", read.Text);

        Assert.Equal(200, sent.Status);
        Assert.Equal(read.Headers["ETag"], sent.Headers["ETag"]);
    }

    [Fact]
    public async Task If_match_lets_only_the_state_that_was_seen_be_replaced()
    {
        var first = await api.PutAsync("/api/v1/upstreams/seen", Bodies.Upstream());
        var second = await api.PutAsync("/api/v1/upstreams/seen", Bodies.Upstream(9090), ("If-Match", first.Headers["ETag"]));
        Assert.Equal(200, second.Status);

        var stale = (await api.PutAsync("/api/v1/upstreams/seen", Bodies.Upstream(7070), ("If-Match", first.Headers["ETag"]))).Is(
            412,
            "precondition-failed"
        );
        Assert.Equal(second.Headers["ETag"].Trim('"'), stale.Current!.Metadata.ResourceVersion);

        (await api.SendAsync(HttpMethod.Delete, "/api/v1/upstreams/seen", headers: ("If-Match", first.Headers["ETag"]))).Is(
            412,
            "precondition-failed"
        );
        Assert.Equal(
            200,
            (await api.SendAsync(HttpMethod.Delete, "/api/v1/upstreams/seen", headers: ("If-Match", second.Headers["ETag"]))).Status
        );
        (await api.PutAsync("/api/v1/upstreams/seen", Bodies.Upstream(), ("If-Match", "*"))).Is(412, "precondition-failed");
    }

    [Fact]
    public async Task A_stale_resource_version_in_the_body_is_refused()
    {
        var first = await api.PutAsync("/api/v1/upstreams/stale", Bodies.Upstream());
        await api.PutAsync("/api/v1/upstreams/stale", Bodies.Upstream(9090));

        (await api.PutAsync("/api/v1/upstreams/stale", first.Text)).Is(412, "precondition-failed");
    }

    [Fact]
    public async Task If_none_match_only_creates()
    {
        Assert.Equal(201, (await api.PutAsync("/api/v1/upstreams/once", Bodies.Upstream(), ("If-None-Match", "*"))).Status);

        var problem = (await api.PutAsync("/api/v1/upstreams/once", Bodies.Upstream(9090), ("If-None-Match", "*"))).Is(
            412,
            "precondition-failed"
        );

        Assert.Contains("exists already", problem.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("If-Match", "42")]
    [InlineData("If-None-Match", "\"42\"")]
    public async Task A_condition_that_cannot_be_meant_is_refused(string header, string value) =>
        (await api.PutAsync("/api/v1/upstreams/odd", Bodies.Upstream(), (header, value))).Is(400, "header");

    [Theory]
    [InlineData("W/\"CURRENT\"")]
    [InlineData("\"x\"")]
    [InlineData("\"0\"")]
    [InlineData("\"8888888\", \"9999999\"")]
    public async Task If_match_of_no_state_that_the_object_is_in_is_412(string value)
    {
        var written = await api.PutAsync("/api/v1/upstreams/no-state", Bodies.Upstream());
        value = value.Replace("CURRENT", written.Headers["ETag"].Trim('"'), StringComparison.Ordinal);

        var refused = (await api.PutAsync("/api/v1/upstreams/no-state", Bodies.Upstream(9090), ("If-Match", value))).Is(
            412,
            "precondition-failed"
        );

        Assert.Equal(written.Headers["ETag"].Trim('"'), refused.Current!.Metadata.ResourceVersion);
        Assert.DoesNotContain("-1", refused.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/api/v1/apply")]
    [InlineData("/api/v1/revisions/1:rollback")]
    [InlineData("/api/v1/upstreams/any/endpoints/a:drain")]
    public async Task A_condition_where_none_is_heeded_is_refused(string path)
    {
        (await api.SendAsync(HttpMethod.Post, path, "{}", headers: ("If-Match", "\"1\""))).Is(400, "header");
        (await api.SendAsync(HttpMethod.Post, path, "{}", headers: ("If-None-Match", "*"))).Is(400, "header");
    }

    [Fact]
    public async Task If_match_with_several_states_holds_where_the_object_is_in_one()
    {
        var written = await api.PutAsync("/api/v1/upstreams/several", Bodies.Upstream());

        var replaced = await api.PutAsync(
            "/api/v1/upstreams/several",
            Bodies.Upstream(9090),
            ("If-Match", $"\"9999999\", {written.Headers["ETag"]}")
        );

        Assert.Equal(200, replaced.Status);
    }

    [Fact]
    public async Task If_none_match_of_a_read_saves_what_the_reader_has()
    {
        var written = await api.PutAsync("/api/v1/upstreams/known", Bodies.Upstream());
        var tag = written.Headers["ETag"];

        foreach (var known in (string[])[tag, "W/" + tag, $"\"9999999\", {tag}", "*"])
        {
            var same = await api.GetAsync("/api/v1/upstreams/known", ("If-None-Match", known));
            Assert.Equal((304, "", tag), (same.Status, same.Text, same.Headers["ETag"]));
        }

        var other = await api.GetAsync("/api/v1/upstreams/known", ("If-None-Match", "\"9999999\""));
        Assert.Equal((200, tag), (other.Status, other.Headers["ETag"]));
    }

    [Theory]
    [InlineData("/livez")]
    [InlineData("/readyz?verbose")]
    [InlineData("/metrics")]
    [InlineData("/openapi/v1.json")]
    [InlineData("/api/v1/upstreams")]
    [InlineData("/api/v1/upstreams/headed")]
    [InlineData("/api/v1/watch")]
    [InlineData("/api/v1/health/watch")]
    [InlineData("/api/v1/upstreams/nowhere")]
    public async Task Head_is_answered_as_get_is_without_the_body(string path)
    {
        await api.PutAsync("/api/v1/upstreams/headed", Bodies.Upstream());
        using var get = await api.Host.Http.SendAsync(
            new HttpRequestMessage(HttpMethod.Get, path),
            HttpCompletionOption.ResponseHeadersRead
        );
        using var request = new HttpRequestMessage(HttpMethod.Head, path);

        using var head = await api.Host.Http.SendAsync(request);

        Assert.Equal(get.StatusCode, head.StatusCode);
        Assert.Equal(get.Content.Headers.ContentType, head.Content.Headers.ContentType);
        Assert.Equal(get.Headers.ETag, head.Headers.ETag);
        Assert.Empty(await head.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task What_is_not_known_at_a_path_is_answered_with_what_is()
    {
        var problem = (await api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/x/history", "{}")).Is(405, "method-not-allowed");
        Assert.EndsWith("Known there: GET, HEAD.", problem.Detail, StringComparison.Ordinal);

        var nothing = (await api.GetAsync("/api/v1/upstreams/x/nothing")).Is(404, "not-found");
        Assert.DoesNotContain("Did you mean", nothing.Detail, StringComparison.Ordinal);
        Assert.Contains("'upstreams'", (await api.GetAsync("/api/v1/upstream/x")).Is(404, "not-found").Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_history_of_an_object_is_read_page_by_page_to_its_end()
    {
        var key = new ResourceKey(ResourceKind.Upstream, "paged");
        for (var port = 1; port <= 5; port++)
        {
            await api.Client.PutAsync(key, Bodies.Upstream(port));
        }

        await api.Client.DeleteAsync(key);
        var ports = new List<int?>();
        string? next = null;
        do
        {
            var page = await api.Client.HistoryAsync(key, 2, next);
            ports.AddRange(page.Items.Select(i => (int?)i.Object?.Spec["endpoints"]!["static"]![0]!["port"]));
            next = page.Continue;
        } while (next is not null);

        Assert.Equal([null, 5, 4, 3, 2, 1], ports);
        var other = (await api.Client.RevisionsAsync(1)).Continue;
        (await api.GetAsync("/api/v1/upstreams/paged/history?continue=" + other)).Is(400, "parameter");
    }

    [Fact]
    public async Task The_times_of_an_object_are_the_same_in_the_answer_to_its_write_and_in_the_store()
    {
        var written = (await api.Client.PutAsync(new(ResourceKind.Upstream, "timed"), Bodies.Upstream())).Metadata;
        var stored = (await api.Client.HistoryAsync(new(ResourceKind.Upstream, "timed"))).Items[0].Object!.Metadata;

        Assert.Equal((stored.CreatedAt, stored.UpdatedAt), (written.CreatedAt, written.UpdatedAt));
    }

    [Fact]
    public async Task A_body_of_very_many_faults_is_answered_in_short()
    {
        var spec = string.Join(",", Enumerable.Range(0, 200_000).Select(i => $"\"k{i}\": 1"));

        var answer = await api.PutAsync("/api/v1/upstreams/faults?dryRun=true", "{\"spec\": {" + spec + "}}");

        Assert.Equal("more-problems", answer.Is(422, "invalid").Errors!.Value[^1].Code);
        Assert.True(answer.Text.Length < 200_000, $"{answer.Text.Length} characters");
    }

    [Fact]
    public async Task A_dry_run_answers_and_writes_nothing()
    {
        var answer = await api.PutAsync("/api/v1/upstreams/dry?dryRun=true", Bodies.Upstream());

        Assert.Equal(200, answer.Status);
        Assert.Null(answer.Json["metadata"]!["resourceVersion"]);
        (await api.GetAsync("/api/v1/upstreams/dry")).Is(404, "not-found");
        (await api.PutAsync("/api/v1/upstreams/dry?dryRun=true", """{"spec": {"nonsense": 1}}""")).Is(422, "invalid");
    }

    [Fact]
    public async Task Kind_and_name_of_body_and_url_must_agree()
    {
        var wrongKind = (
            await api.PutAsync("/api/v1/upstreams/a", """{"apiVersion": "controlplane/v1", "kind": "Listener", "spec": {}}""")
        ).Is(422, "invalid");
        Assert.Contains(wrongKind.Errors!.Value, e => e.Code == "wrong-kind");

        var wrongName = (await api.PutAsync("/api/v1/upstreams/a", """{"metadata": {"name": "b"}, "spec": {}}""")).Is(422, "invalid");
        Assert.Contains(wrongName.Errors!.Value, e => e.Pointer == "/metadata/name");
    }

    [Fact]
    public async Task All_faults_are_told_at_once_with_their_places()
    {
        var body = """
            spec:
              conectTimeout: 1s
              endpoints:
                source: static
                static:
                  - {address: 10.0.0.1, port: 70000}
                  - {address: 10.0.0.1}
            """;

        var problem = (await api.SendAsync(HttpMethod.Put, "/api/v1/upstreams/faulty", body, "application/yaml")).Is(422, "invalid");

        var unknown = Assert.Single(problem.Errors!.Value, e => e.Code == "unknown-field");
        Assert.Equal("/spec/conectTimeout", unknown.Pointer);
        Assert.Equal((2, 3), (unknown.Line, unknown.Column));
        Assert.Contains("Did you mean 'connectTimeout'?", unknown.Message, StringComparison.Ordinal);
        var port = Assert.Single(problem.Errors!.Value, e => e.Pointer == "/spec/endpoints/static/0/port");
        Assert.Equal(6, port.Line);
        Assert.True(problem.Errors!.Value.Length >= 3);
    }

    [Fact]
    public async Task Faults_of_fields_references_and_overlay_are_told_at_once()
    {
        var body = """
            {
              "spec": {
                "endpoints": {"static": [{"address": "10.0.0.1", "port": 70000}]},
                "nodeGroups": ["nope"],
                "envoy": {"lbPolicy": "FOO"}
              }
            }
            """;

        var problem = (await api.SendAsync(HttpMethod.Put, "/api/v1/upstreams/faulty", body)).Is(422, "invalid");

        Assert.Equal(
            [("/spec/endpoints/static/0/port", 3), ("/spec/envoy/lbPolicy", 5), ("/spec/nodeGroups/0", 4)],
            problem.Errors!.Value.Select(e => (e.Pointer!, e.Line!.Value)).Order()
        );
    }

    [Theory]
    [InlineData("{", "application/json")]
    [InlineData("""{"spec": {}, "spec": {}}""", "application/json")]
    [InlineData("a: [1\nb: 2", "application/yaml")]
    [InlineData("", "application/json")]
    public async Task What_cannot_be_read_is_400(string body, string contentType) =>
        (await api.SendAsync(HttpMethod.Put, "/api/v1/upstreams/x", body, contentType)).Is(400, "syntax");

    [Fact]
    public async Task Deep_nesting_and_large_bodies_are_refused_and_the_server_goes_on()
    {
        var deep = string.Concat(Enumerable.Repeat("{\"a\":", 5000)) + "1" + new string('}', 5000);
        (await api.PutAsync("/api/v1/upstreams/x", deep)).Is(400, "syntax");

        var large = "{\"spec\": {}, \"metadata\": {\"annotations\": {\"a\": \"" + new string('x', 11 * 1024 * 1024) + "\"}}}";
        var problem = (await api.PutAsync("/api/v1/upstreams/x", large)).Is(413, "body-too-large");
        Assert.Contains("10 MB", problem.Detail, StringComparison.Ordinal);
        Assert.Equal(200, (await api.GetAsync("/api/v1/upstreams")).Status);
    }

    [Fact]
    public async Task Other_media_types_are_415_and_a_form_is_explained()
    {
        await api.PutAsync("/api/v1/upstreams/media", Bodies.Upstream());
        (await api.SendAsync(HttpMethod.Put, "/api/v1/upstreams/x", "<a/>", "application/xml")).Is(415, "media-type");
        var form = (await api.SendAsync(HttpMethod.Put, "/api/v1/upstreams/x", "a=b", "application/x-www-form-urlencoded")).Is(
            415,
            "media-type"
        );
        Assert.Contains("curl", form.Detail, StringComparison.Ordinal);
        (await api.SendAsync(HttpMethod.Patch, "/api/v1/upstreams/x", "a: b", "application/yaml")).Is(415, "media-type");
        foreach (var type in (string[])["text/plain", "application/octet-stream", "application/json; charset=utf-16"])
        {
            (await api.SendAsync(HttpMethod.Put, "/api/v1/upstreams/x", Bodies.Upstream(), type)).Is(415, "media-type");
            (await api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/media/endpoints/10.0.0.1:8080:drain", "{}", type)).Is(
                415,
                "media-type"
            );
        }

        Assert.Equal(200, (await api.SendAsync(HttpMethod.Put, "/api/v1/upstreams/x?dryRun=true", Bodies.Upstream(), null)).Status);
    }

    [Fact]
    public async Task Yaml_is_taken_and_given()
    {
        var put = await api.SendAsync(
            HttpMethod.Put,
            "/api/v1/nodegroups/yaml",
            "spec:\n  selectors:\n    - clusters: [edge]\n",
            "application/yaml",
            ("Accept", "application/yaml")
        );

        Assert.Equal(201, put.Status);
        Assert.Equal("application/yaml", put.MediaType);
        Assert.Contains("\nkind: NodeGroup\n", put.Text, StringComparison.Ordinal);
        Assert.Equal(
            "application/json",
            (await api.GetAsync("/api/v1/nodegroups/yaml", ("Accept", "application/json, application/yaml;q=0.5"))).MediaType
        );
        Assert.Equal(
            "application/yaml",
            (await api.GetAsync("/api/v1/nodegroups/yaml", ("Accept", "application/json;q=0.5, application/yaml"))).MediaType
        );
    }

    [Fact]
    public async Task A_reference_to_nothing_is_refused_and_so_is_deleting_what_is_referred_to()
    {
        var missing = (await api.PutAsync("/api/v1/routetables/ref", Bodies.RouteTable("ref-missing"))).Is(422, "invalid");
        var fault = Assert.Single(missing.Errors!.Value);
        Assert.Equal("reference-not-found", fault.Code);
        Assert.Contains("Upstream/ref-missing", fault.Message, StringComparison.Ordinal);

        await api.PutAsync("/api/v1/upstreams/ref-used", Bodies.Upstream());
        Assert.Equal(201, (await api.PutAsync("/api/v1/routetables/ref", Bodies.RouteTable("ref-used"))).Status);
        var used = (await api.SendAsync(HttpMethod.Delete, "/api/v1/upstreams/ref-used")).Is(409, "conflict");
        Assert.Contains("RouteTable/ref", used.Errors!.Value[0].Message, StringComparison.Ordinal);
        Assert.EndsWith("Change or delete that first.", used.Errors!.Value[0].Message, StringComparison.Ordinal);

        Assert.Equal(200, (await api.SendAsync(HttpMethod.Delete, "/api/v1/routetables/ref")).Status);
        Assert.Equal(200, (await api.SendAsync(HttpMethod.Delete, "/api/v1/upstreams/ref-used")).Status);
        (await api.SendAsync(HttpMethod.Delete, "/api/v1/upstreams/ref-used")).Is(404, "not-found");
    }

    [Fact]
    public async Task Each_name_in_a_raw_resource_that_nothing_has_is_told()
    {
        static string Route(string cluster) => $$$"""{"match": {"prefix": "/{{{cluster}}}"}, "route": {"cluster": "{{{cluster}}}"}}""";
        var body = """
            {"spec": {"resource": {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "raw-names",
             "virtualHosts": [{"name": "all", "domains": ["*"], "routes": [ROUTES]}]}}}
            """.Replace("ROUTES", Route("no-one") + "," + Route("no-two"), StringComparison.Ordinal);

        var faults = (await api.PutAsync("/api/v1/envoyresources/raw-names", body)).Is(422, "invalid").Errors!.Value;

        Assert.Equal(2, faults.Count(f => f.Code == "reference-not-found"));
    }

    [Fact]
    public async Task Emptying_an_upstream_needs_the_digest_of_what_it_does()
    {
        await api.PutAsync("/api/v1/upstreams/emptied", Bodies.Upstream());
        var body = """{"spec": {"endpoints": {"source": "static", "static": []}}}""";

        var problem = (await api.PutAsync("/api/v1/upstreams/emptied", body)).Is(409, "confirmation-required");
        Assert.Contains("Upstream/emptied", problem.Effects!.Value[0], StringComparison.Ordinal);
        Assert.Equal("confirm=" + problem.Digest, problem.Confirm);
        (await api.PutAsync("/api/v1/upstreams/emptied?confirm=0000", body)).Is(409, "confirmation-required");

        Assert.Equal(200, (await api.PutAsync($"/api/v1/upstreams/emptied?{problem.Confirm}", body)).Status);
    }

    [Theory]
    [InlineData("dryrun=true", "Did you mean 'dryRun'?")]
    [InlineData("dryRun=yes", "not true or false")]
    [InlineData("dryRun=true&dryRun=false", "2 times")]
    [InlineData("wait=healthy", "'acked' or 'none'")]
    [InlineData("wait=acked&timeout=1d", "a duration such as 30s")]
    [InlineData("validation=warn", "needs a reason")]
    [InlineData("limit=5", "Known are: dryRun")]
    public async Task Query_parameters_are_strict(string query, string expected)
    {
        var problem = (await api.PutAsync("/api/v1/upstreams/strict?" + query, Bodies.Upstream())).Is(400, "parameter");

        Assert.Contains(expected, problem.Detail, StringComparison.Ordinal);
        (await api.GetAsync("/api/v1/upstreams/strict")).Is(404, "not-found");
    }

    [Fact]
    public async Task A_merge_patch_changes_parts_and_null_takes_away()
    {
        await api.PutAsync(
            "/api/v1/upstreams/merge",
            """{"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"connectTimeout": "1s", "endpoints": {"source": "registration"}}}"""
        );

        var patched = await api.SendAsync(
            HttpMethod.Patch,
            "/api/v1/upstreams/merge",
            """{"metadata": {"labels": {"a": null, "c": "3"}}, "spec": {"connectTimeout": "250ms"}}""",
            "application/merge-patch+json"
        );

        Assert.Equal(200, patched.Status);
        Assert.Equal("""{"b":"2","c":"3"}""", patched.Json["metadata"]!["labels"]!.ToJsonString());
        Assert.Equal("250ms", (string?)patched.Json["spec"]!["connectTimeout"]);
        (
            await api.SendAsync(
                HttpMethod.Patch,
                "/api/v1/upstreams/merge",
                """{"spec": {"nonsense": 1}}""",
                "application/merge-patch+json"
            )
        ).Is(422, "invalid");
        (await api.SendAsync(HttpMethod.Patch, "/api/v1/upstreams/nowhere", "{}", "application/merge-patch+json")).Is(404, "not-found");
        (await api.SendAsync(HttpMethod.Patch, "/api/v1/upstreams/merge", "[1]", "application/merge-patch+json")).Is(400, "syntax");
        (
            await api.SendAsync(
                HttpMethod.Patch,
                "/api/v1/upstreams/merge",
                """{"metadata": {"name": "other"}}""",
                "application/merge-patch+json"
            )
        ).Is(422, "invalid");
    }

    [Theory]
    [InlineData("application/merge-patch+json", """{"metadata": {"resourceVersion": "VERSION"}, "spec": {"connectTimeout": "7s"}}""")]
    [InlineData(
        "application/json-patch+json",
        """[{"op": "replace", "path": "/metadata/resourceVersion", "value": "VERSION"}, {"op": "add", "path": "/spec/connectTimeout", "value": "7s"}]"""
    )]
    public async Task A_patch_that_names_a_resource_version_changes_that_state_alone(string type, string patch)
    {
        var path = "/api/v1/upstreams/versioned-" + Guid.NewGuid().ToString("N");
        var stale = (string?)(await api.PutAsync(path, Bodies.Upstream())).Json["metadata"]!["resourceVersion"];
        var now = (string?)(await api.PutAsync(path, Bodies.Upstream(9090))).Json["metadata"]!["resourceVersion"];

        var refused = (await api.SendAsync(HttpMethod.Patch, path, patch.Replace("VERSION", stale, StringComparison.Ordinal), type)).Is(
            412,
            "precondition-failed"
        );

        Assert.Equal(now, refused.Current!.Metadata.ResourceVersion);
        Assert.Equal(
            200,
            (await api.SendAsync(HttpMethod.Patch, path, patch.Replace("VERSION", now, StringComparison.Ordinal), type)).Status
        );
    }

    [Fact]
    public async Task A_json_patch_can_test_what_the_server_added()
    {
        const string Type = "application/json-patch+json";
        const string Path = "/api/v1/upstreams/tested";
        var metadata = (await api.PutAsync(Path, Bodies.Upstream())).Json["metadata"]!;

        string Test(string member, string? value) =>
            $$$"""[{"op": "test", "path": "/metadata/{{{member}}}", "value": "{{{value}}}"}, {"op": "add", "path": "/metadata/labels", "value": {"a": "{{{member}}}"}}]""";

        (await api.SendAsync(HttpMethod.Patch, Path, Test("resourceVersion", "1"), Type)).Is(409, "conflict");
        Assert.Equal(
            200,
            (await api.SendAsync(HttpMethod.Patch, Path, Test("resourceVersion", (string?)metadata["resourceVersion"]), Type)).Status
        );
        Assert.Equal(200, (await api.SendAsync(HttpMethod.Patch, Path, Test("uid", (string?)metadata["uid"]), Type)).Status);
    }

    [Theory]
    [InlineData("application/merge-patch+json", "{'metadata': {'annotations': {'z': 'a\\ud800'}}}", "invalid-text")]
    [InlineData("application/merge-patch+json", "{'metadata': {'annotations': {'a\\ud800b': null}}}", "invalid-text")]
    [InlineData("application/merge-patch+json", "{'a': 1, 'a': 2}", "duplicate-key")]
    [InlineData("application/merge-patch+json", "{'a': 1,}", "json-trailing-comma")]
    [InlineData("application/json-patch+json", "[{'op': 'add', 'path': '/metadata/\\ud800', 'value': 1}]", "invalid-text")]
    [InlineData("application/json-patch+json", "[{'op': '\\ud800', 'path': '/metadata', 'value': 1}]", "invalid-text")]
    [InlineData("application/json-patch+json", "[{'op': 'add', 'path': '/metadata', 'value': {'x': '\\udc00'}}]", "invalid-text")]
    public async Task A_patch_that_is_no_text_is_told_where(string type, string patch, string code)
    {
        await api.PutAsync("/api/v1/upstreams/texts", Bodies.Upstream());

        var fault = (await api.SendAsync(HttpMethod.Patch, "/api/v1/upstreams/texts", patch.Replace('\'', '"'), type))
            .Is(400, "syntax")
            .Errors!.Value[0];

        Assert.Equal((code, 1), (fault.Code, fault.Line));
    }

    [Fact]
    public async Task A_patch_that_is_not_utf8_is_told_where()
    {
        using var content = new ByteArrayContent([.. "{\"metadata\": {\"annotations\": {\"z\": \"a"u8, 0xff, .. "\"}}}"u8]);
        content.Headers.ContentType = new("application/merge-patch+json");

        using var answer = await api.Host.Http.PatchAsync("/api/v1/upstreams/texts", content);

        Assert.Equal(400, (int)answer.StatusCode);
        Assert.Contains("invalid-text", await answer.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_json_patch_does_all_of_its_operations_or_none()
    {
        await api.PutAsync("/api/v1/upstreams/ops", """{"spec": {"connectTimeout": "1s", "endpoints": {"source": "registration"}}}""");
        const string Type = "application/json-patch+json";

        var patched = await api.SendAsync(
            HttpMethod.Patch,
            "/api/v1/upstreams/ops",
            """[{"op": "test", "path": "/spec/connectTimeout", "value": "1s"}, {"op": "replace", "path": "/spec/connectTimeout", "value": "2s"}, {"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]""",
            Type
        );
        Assert.Equal(200, patched.Status);
        Assert.Equal("2s", (string?)patched.Json["spec"]!["connectTimeout"]);
        Assert.Equal("y", (string?)patched.Json["metadata"]!["labels"]!["x"]);

        var failed = (
            await api.SendAsync(
                HttpMethod.Patch,
                "/api/v1/upstreams/ops",
                """[{"op": "replace", "path": "/spec/connectTimeout", "value": "3s"}, {"op": "test", "path": "/metadata/labels/x", "value": "z"}]""",
                Type
            )
        ).Is(409, "conflict");
        Assert.Contains("operation 1", failed.Detail, StringComparison.Ordinal);
        (await api.SendAsync(HttpMethod.Patch, "/api/v1/upstreams/ops", """[{"op": "remove", "path": "/spec/nothing"}]""", Type)).Is(
            422,
            "invalid"
        );
        (await api.SendAsync(HttpMethod.Patch, "/api/v1/upstreams/ops", """[{"op": "frobnicate", "path": "/spec"}]""", Type)).Is(
            400,
            "syntax"
        );
        (await api.SendAsync(HttpMethod.Patch, "/api/v1/upstreams/ops", """{"op": "test"}""", Type)).Is(400, "syntax");
        Assert.Equal("2s", (string?)(await api.GetAsync("/api/v1/upstreams/ops")).Json["spec"]!["connectTimeout"]);
    }

    [Fact]
    public async Task Patches_at_the_same_time_do_not_lose_each_other()
    {
        const int Writers = 32;
        var key = new ResourceKey(ResourceKind.Upstream, "many-writers");
        await api.Client.PutAsync(key, Bodies.Registering);

        await Task.WhenAll(
            Enumerable
                .Range(0, Writers)
                .Select(i =>
                    api.Client.PatchAsync(
                        key,
                        new JsonObject { ["metadata"] = new JsonObject { ["labels"] = new JsonObject { [$"writer-{i}"] = "x" } } }
                    )
                )
        );

        Assert.Equal(Writers, (await api.Client.FindAsync(key))!.Metadata.Labels!.Count);
    }

    [Fact]
    public async Task Lists_are_of_one_revision_over_all_pages()
    {
        for (var i = 0; i < 5; i++)
        {
            await api.PutAsync(
                $"/api/v1/nodegroups/page-{i}",
                """{"metadata": {"labels": {"set": "page"}}, "spec": {"selectors": [{"ids": ["a"]}]}}"""
            );
        }

        const string Path = "/api/v1/nodegroups?labelSelector=set%3Dpage&limit=2";
        var first = (await api.GetAsync(Path)).Json;
        await api.SendAsync(HttpMethod.Delete, "/api/v1/nodegroups/page-2");
        await api.PutAsync(
            "/api/v1/nodegroups/page-21",
            """{"metadata": {"labels": {"set": "page"}}, "spec": {"selectors": [{"ids": ["a"]}]}}"""
        );
        var second = (await api.GetAsync($"{Path}&continue={first["continue"]}")).Json;
        var third = (await api.GetAsync($"{Path}&continue={second["continue"]}")).Json;

        Assert.Equal(["page-0", "page-1"], Names(first));
        Assert.Equal(["page-2", "page-3"], Names(second));
        Assert.Equal(["page-4"], Names(third));
        Assert.Null(third["continue"]);
        Assert.Equal((long)first["revision"]!, (long)third["revision"]!);
        (await api.GetAsync($"/api/v1/upstreams?continue={first["continue"]}")).Is(400, "parameter");
        (await api.GetAsync("/api/v1/nodegroups?continue=rubbish")).Is(400, "parameter");

        static IEnumerable<string> Names(JsonObject list) => list["items"]!.AsArray().Select(i => (string)i!["metadata"]!["name"]!);
    }

    [Fact]
    public async Task A_list_can_be_applied_as_it_is()
    {
        await api.PutAsync(
            "/api/v1/nodegroups/relisted",
            """{"metadata": {"labels": {"set": "relisted"}}, "spec": {"selectors": [{"ids": ["a"]}]}}"""
        );
        var list = await api.GetAsync("/api/v1/nodegroups?labelSelector=set=relisted");

        var applied = await api.Client.ApplyAsync(list.Text);

        Assert.Equal("unchanged", Assert.Single(applied.Objects).Action);
    }

    [Fact]
    public async Task History_shows_every_state_with_its_author_and_reason()
    {
        var key = new ResourceKey(ResourceKind.Upstream, "historic");
        await api.Client.PutAsync(
            key,
            """{"spec": {"connectTimeout": "1s", "endpoints": {"source": "registration"}}}""",
            new WriteOptions { Reason = "first" }
        );
        await api.Client.PutAsync(
            key,
            """{"spec": {"connectTimeout": "2s", "endpoints": {"source": "registration"}}}""",
            new WriteOptions { Reason = "second" }
        );
        await api.Client.DeleteAsync(key, new WriteOptions { Reason = "gone" });

        var items = (await api.GetAsync("/api/v1/upstreams/historic/history")).Json["items"]!.AsArray();

        Assert.Equal(["gone", "second", "first"], items.Select(i => (string)i!["revision"]!["reason"]!));
        Assert.All(items, i => Assert.Equal("local", (string)i!["revision"]!["author"]!));
        Assert.Null(items[0]!["object"]);
        Assert.Equal("1s", (string?)items[2]!["object"]!["spec"]!["connectTimeout"]);
        (await api.GetAsync("/api/v1/upstreams/never/history")).Is(404, "not-found");
    }

    [Fact]
    public async Task The_xds_view_shows_the_messages_with_their_versions()
    {
        await api.PutAsync("/api/v1/upstreams/shown", Bodies.Upstream());

        var resources = (await api.GetAsync("/api/v1/upstreams/shown/xds")).Json["resources"]!.AsArray();

        Assert.Equal(["CDS", "EDS"], resources.Select(r => (string)r!["type"]!));
        Assert.All(resources, r => Assert.Matches("^[0-9a-f]{16}$", (string)r!["version"]!));
        Assert.Equal("shown", (string?)resources[0]!["message"]!["name"]);
        Assert.Equal("shown", (string?)resources[1]!["message"]!["clusterName"]);
    }

    [Fact]
    public async Task Without_a_proxy_the_status_says_that_nobody_is_to_have_it()
    {
        await api.PutAsync("/api/v1/upstreams/status", Bodies.Upstream());

        var status = (await api.GetAsync("/api/v1/upstreams/status")).Json["status"]!;

        Assert.Equal(
            ["Accepted True Compiled", "Programmed Unknown NoNodes"],
            status["conditions"]!.AsArray().Select(c => $"{c!["type"]} {c["status"]} {c["reason"]}")
        );
        Assert.Equal(2, (int)status["endpoints"]!["active"]!);
    }

    [Fact]
    public async Task Unknown_paths_and_methods_are_problems_that_help()
    {
        var near = (await api.GetAsync("/api/v1/upstream/x")).Is(404, "not-found");
        Assert.Contains("Did you mean 'upstreams'?", near.Detail, StringComparison.Ordinal);
        var method = await api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/x");
        Assert.Contains("PUT", method.Is(405, "method-not-allowed").Detail, StringComparison.Ordinal);
        (await api.GetAsync("/nowhere")).Is(404, "not-found");
    }

    [Fact]
    public async Task Wait_acked_without_proxies_answers_at_once()
    {
        var answer = await api.PutAsync("/api/v1/upstreams/waited?wait=acked&timeout=20s", Bodies.Upstream());

        Assert.Equal(201, answer.Status);
        Assert.Equal(
            $$"""{"replica":"{{Environment.MachineName}}","acked":0,"nacked":[],"pending":[],"offline":[],"unreachable":[]}""",
            answer.Json["propagation"]!.ToJsonString()
        );
    }

    [Theory]
    [InlineData("upstreams/%FF")]
    [InlineData("upstreams/a%20b")]
    [InlineData("upstreams/a%2Fb")]
    [InlineData("upstreams/%C3%BC")]
    [InlineData("nodegroups/a,b")]
    [InlineData("upstreams/rule/endpoints/a%20b")]
    public async Task A_name_in_the_url_is_held_to_the_rule_of_names(string path)
    {
        await api.PutAsync("/api/v1/upstreams/rule", Bodies.Registering);
        var body =
            path.StartsWith("nodegroups", StringComparison.Ordinal) ? """{"spec": {"selectors": [{"ids": ["a"]}]}}"""
            : path.Contains("endpoints", StringComparison.Ordinal) ? Bodies.Endpoint()
            : Bodies.Upstream();

        var fault = Assert.Single((await api.PutAsync("/api/v1/" + path, body)).Is(422, "invalid").Errors!.Value);

        Assert.Equal("invalid-name", fault.Code);
        Assert.Contains("letters, digits and - _", fault.Message, StringComparison.Ordinal);
    }
}
