using System.Text.Json.Nodes;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.Server.Tests.Security;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>Secrets go in and never come out.</summary>
public sealed class SecretViewTests(AdminFixture api) : IClassFixture<AdminFixture>, IDisposable
{
    private readonly TestCertificates _certificates = new();

    public void Dispose() => _certificates.Dispose();

    private (JsonObject Body, string Key) CertificateSecret(string name)
    {
        var (certificate, key) = _certificates.Issue(n => n.AddDnsName(name));
        var spec = new JsonObject
        {
            ["certificate"] = new JsonObject
            {
                ["chain"] = new JsonObject { ["inline"] = certificate },
                ["privateKey"] = new JsonObject { ["inline"] = key },
            },
        };
        return (new JsonObject { ["spec"] = spec }, key);
    }

    [Fact]
    public async Task No_answer_holds_an_inline_secret()
    {
        var (body, key) = CertificateSecret("shown.example");
        var secretLine = key.Split('\n')[1];
        const string Path = "/api/v1/secrets/shown";
        Assert.Equal(201, (await api.PutAsync(Path, body.ToJsonString())).Status);
        await api.Client.PatchAsync(
            new ResourceKey(ResourceKind.Secret, "shown"),
            JsonNode.Parse("""{"metadata": {"labels": {"a": "b"}}}""")!
        );

        foreach (
            var path in (string[])
                [
                    Path,
                    "/api/v1/secrets",
                    Path + "/xds",
                    Path + "/history",
                    "/api/v1/export",
                    "/api/v1/revisions/1",
                    "/api/v1/revisions/1..2",
                ]
        )
        {
            var answer = await api.GetAsync(path);
            Assert.Equal(200, answer.Status);
            Assert.DoesNotContain(secretLine, answer.Text, StringComparison.Ordinal);
            Assert.DoesNotContain("PRIVATE KEY", answer.Text, StringComparison.Ordinal);
        }

        var shown = (await api.GetAsync(Path)).Json["status"]!["certificate"]!;
        Assert.Equal("shown.example", (string?)shown["names"]![0]);
        Assert.Matches("^[0-9a-f]{64}$", (string)shown["sha256"]!);
    }

    [Fact]
    public async Task A_key_that_was_pasted_in_the_place_of_a_fields_name_is_not_repeated()
    {
        var (body, key) = CertificateSecret("pasted.example");
        body["spec"]!["certificate"]!["privateKey"] = new JsonObject { [key] = "" };

        var answer = await api.PutAsync("/api/v1/secrets/pasted", body.ToJsonString());

        var fault = answer.Is(422, "invalid").Errors!.Value.Single(e => e.Code == "unknown-field");
        Assert.EndsWith("…", fault.Pointer, StringComparison.Ordinal);
        Assert.DoesNotContain(key.Split('\n')[1], answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_was_shown_can_be_sent_back_and_keeps_the_secret()
    {
        var (body, _) = CertificateSecret("kept.example");
        var put = await api.PutAsync("/api/v1/secrets/kept", body.ToJsonString());
        var version = (string)(await api.GetAsync("/api/v1/secrets/kept/xds")).Json["resources"]![0]!["version"]!;

        var shown = (await api.GetAsync("/api/v1/secrets/kept")).Json;
        Assert.Equal("[redacted]", (string?)shown["spec"]!["certificate"]!["privateKey"]!["inline"]);
        Assert.Equal(put.Headers["ETag"], (await api.PutAsync("/api/v1/secrets/kept", shown.ToJsonString())).Headers["ETag"]);

        shown["metadata"]!["labels"] = new JsonObject { ["a"] = "b" };
        Assert.Equal(200, (await api.PutAsync("/api/v1/secrets/kept", shown.ToJsonString())).Status);
        var yaml = (await api.GetAsync("/api/v1/export?kinds=Secret&labelSelector=a%3Db")).Text;
        Assert.Equal("unchanged", (await api.Client.ApplyAsync(yaml)).Objects[0].Action);
        Assert.Equal(version, (string?)(await api.GetAsync("/api/v1/secrets/kept/xds")).Json["resources"]![0]!["version"]);
    }

    [Fact]
    public async Task A_marker_that_stands_for_nothing_is_refused_at_its_place()
    {
        var problem = (
            await api.SendAsync(HttpMethod.Put, "/api/v1/secrets/new", "spec:\n  generic:\n    inline: '[redacted]'\n", "application/yaml")
        ).Is(422, "invalid");

        var fault = Assert.Single(problem.Errors!.Value);
        Assert.Equal(("redacted-value", "/spec/generic/inline", 3), (fault.Code, fault.Pointer, fault.Line));
    }

    [Fact]
    public async Task A_changed_secret_is_seen_as_a_change_without_its_value()
    {
        await api.PutAsync("/api/v1/secrets/changing", """{"spec": {"generic": {"inline": "first-value"}}}""");

        var diff = await api.SendAsync(
            HttpMethod.Post,
            "/api/v1/diff",
            """{"apiVersion": "controlplane/v1", "kind": "Secret", "metadata": {"name": "changing"}, "spec": {"generic": {"inline": "second-value"}}}"""
        );

        var change = diff.Json["objects"]![0]!["changes"]![0]!;
        Assert.Equal(
            ("/spec/generic/inline", "[redacted]", "[redacted]"),
            ((string?)change["pointer"], (string?)change["before"], (string?)change["after"])
        );
        Assert.DoesNotContain("-value", diff.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Secrets_inside_raw_messages_are_redacted_and_kept()
    {
        const string Body = """
            {"spec": {"resource": {
              "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
              "name": "raw", "generic_secret": {"secret": {"inline_string": "raw-value"}}}}}
            """;
        Assert.Equal(201, (await api.PutAsync("/api/v1/envoyresources/raw", Body)).Status);
        var version = (string)(await api.GetAsync("/api/v1/envoyresources/raw/xds")).Json["resources"]![0]!["version"]!;

        var shown = await api.GetAsync("/api/v1/envoyresources/raw");
        Assert.DoesNotContain("raw-value", shown.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("raw-value", (await api.GetAsync("/api/v1/envoyresources/raw/xds")).Text, StringComparison.Ordinal);
        Assert.Equal(shown.Headers["ETag"], (await api.PutAsync("/api/v1/envoyresources/raw", shown.Text)).Headers["ETag"]);
        Assert.Equal(version, (string?)(await api.GetAsync("/api/v1/envoyresources/raw/xds")).Json["resources"]![0]!["version"]);
    }

    [Fact]
    public async Task A_failed_test_of_a_patch_does_not_tell_the_secret()
    {
        await api.PutAsync("/api/v1/secrets/guessed", """{"spec": {"generic": {"inline": "guess-me"}}}""");

        var answer = await api.SendAsync(
            HttpMethod.Patch,
            "/api/v1/secrets/guessed",
            """[{"op": "test", "path": "/spec/generic/inline", "value": "wrong"}]""",
            "application/json-patch+json"
        );

        answer.Is(409, "conflict");
        Assert.DoesNotContain("guess-me", answer.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"spec": {"generic": {"inline": 987654321}}}""")]
    [InlineData("""{"spec": {"generic": 987654321}}""")]
    [InlineData("""{"spec": {"sessionTicketKeys": 987654321}}""")]
    [InlineData("""{"spec": {"envoy": 987654321}}""")]
    [InlineData("""{"spec": {"envoy": {"genericSecret": {"secret": {"inlineString": 987654321}}}}}""")]
    public async Task A_number_in_the_place_of_a_secret_is_refused_and_not_repeated(string body)
    {
        var answer = await api.PutAsync("/api/v1/secrets/number", body);
        answer.Is(422, "invalid");
        Assert.DoesNotContain("987654321", answer.Text, StringComparison.Ordinal);
    }
}
