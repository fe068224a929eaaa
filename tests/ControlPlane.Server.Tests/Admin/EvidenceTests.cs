using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>What checkers of others say, and what becomes of it.</summary>
public sealed class EvidenceTests(AdminFixture api) : IClassFixture<AdminFixture>
{
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    [Fact]
    public async Task Evidence_counts_under_the_tokens_name_and_each_item_is_answered()
    {
        await PutCentralAsync("a");
        await api.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, "theirs"),
            """{"spec": {"health": {"authority": "envoy"}, "endpoints": {"source": "static", "static": [{"address": "10.0.0.1", "port": 80}]}}}"""
        );

        var result = await api.Client.PostEvidenceAsync([
            Item("a", "10.0.0.1:8080") with
            {
                Zone = "z1",
            },
            Item("a", "10.0.0.2:8080") with
            {
                Passed = false,
                Class = EvidenceClass.Status,
                Text = "HTTP 503",
            },
            Item("a", "10.0.0.9:8080"),
            Item("none", "10.0.0.1:8080"),
            Item("theirs", "10.0.0.1:80"),
        ]);

        Assert.Equal(("external/local", 2), (result.Author, result.Accepted));
        Assert.Equal(
            ["accepted", "accepted", "unknownEndpoint", "unknownUpstream", "unknownUpstream"],
            result.Items.Select(i => i.Outcome)
        );
        Assert.Contains("no endpoint '10.0.0.9:8080'", result.Items[2].Detail, StringComparison.Ordinal);
        Assert.Contains("does not exist", result.Items[3].Detail, StringComparison.Ordinal);
        Assert.Contains("authority", result.Items[4].Detail, StringComparison.Ordinal);
        var health = await api.Client.HealthAsync("a");
        var passed = Assert.Single(health.Endpoints[0].Active.Evidence);
        Assert.Equal(("external/local", "z1", "PASS"), (passed.Author, passed.Zone, passed.Verdict));
        var failed = Assert.Single(health.Endpoints[1].Active.Evidence);
        Assert.Equal(("status", "HTTP 503"), (failed.Class, failed.Text));
        Assert.Equal(Minute, failed.ExpiresAt - failed.ReceivedAt);
    }

    [Theory]
    [InlineData("""{"items": []}""", "/items", "wrong-count")]
    [InlineData("""{}""", "/items", "missing-field")]
    [InlineData("""{"items": [{"upstream": "a", "endpoint": "x", "passed": true, "ttl": "11m"}]}""", "/items/0/ttl", "out-of-range")]
    [InlineData("""{"items": [{"upstream": "a", "endpoint": "x", "passed": true, "ttl": "0s"}]}""", "/items/0/ttl", "out-of-range")]
    [InlineData("""{"items": [{"upstream": "a", "endpoint": "x", "passed": true, "ttl": "-5s"}]}""", "/items/0/ttl", "out-of-range")]
    [InlineData("""{"items": [{"upstream": "a", "endpoint": "x", "passed": true}]}""", "/items/0/ttl", "missing-field")]
    [InlineData(
        """{"items": [{"upstream": "a", "endpoint": "x", "passed": true, "class": "refused", "ttl": "5s"}]}""",
        "/items/0/class",
        "contradiction"
    )]
    [InlineData("""{"items": [{"upstream": "a", "endpoint": "x", "passd": true, "ttl": "5s"}]}""", "/items/0/passd", "unknown-field")]
    [InlineData("""{"items": [{"upstream": "a", "endpoint": "x", "passed": "yes", "ttl": "5s"}]}""", "/items/0/passed", "wrong-type")]
    [InlineData(
        """{"items": [{"upstream": "a", "endpoint": "x", "passed": true, "ttl": "5s", "zone": "a\nb"}]}""",
        "/items/0/zone",
        "invalid-zone"
    )]
    public async Task What_is_wrong_with_evidence_is_said_with_its_place(string body, string pointer, string code)
    {
        var answer = await api.SendAsync(HttpMethod.Post, "/api/v1/evidence", body);

        Assert.Contains(answer.Is(422, "invalid").Errors!.Value, e => (e.Pointer, e.Code) == (pointer, code));
    }

    [Fact]
    public async Task More_than_a_thousand_items_are_refused_as_a_whole()
    {
        await PutCentralAsync("many");
        var items = new JsonArray([
            .. Enumerable
                .Range(0, 1001)
                .Select(_ => new JsonObject
                {
                    ["upstream"] = "many",
                    ["endpoint"] = "10.0.0.1:8080",
                    ["passed"] = true,
                    ["ttl"] = "30s",
                }),
        ]);

        var answer = await api.SendAsync(HttpMethod.Post, "/api/v1/evidence", new JsonObject { ["items"] = items }.ToJsonString());

        Assert.Contains("split", answer.Is(422, "invalid").Errors!.Value.Single().Message, StringComparison.Ordinal);
        Assert.Empty((await api.Client.HealthAsync("many")).Endpoints[0].Active.Evidence);
    }

    [Fact]
    public async Task A_clock_that_is_wrong_counts_for_nothing()
    {
        await PutCentralAsync("clock");

        await api.Client.PostEvidenceAsync([
            Item("clock", "10.0.0.1:8080") with
            {
                BegunAt = DateTimeOffset.MaxValue,
            },
            Item("clock", "10.0.0.2:8080") with
            {
                BegunAt = DateTimeOffset.MinValue,
            },
        ]);

        var health = await api.Client.HealthAsync("clock");
        Assert.All(health.Endpoints, e => Assert.Equal("PASS", Assert.Single(e.Active.Evidence).Verdict));
    }

    private static EvidenceItem Item(string upstream, string endpoint) =>
        new()
        {
            Upstream = upstream,
            Endpoint = endpoint,
            Passed = true,
            Ttl = Minute,
        };

    private Task PutCentralAsync(string name) =>
        api.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, name),
            """
            {"spec": {"health": {"authority": "central", "checks": [{"tcp": {}}]}, "endpoints": {"source": "static", "static": [
            {"address": "10.0.0.1", "port": 8080, "healthCheck": {"disabled": true}}, {"address": "10.0.0.2", "port": 8080, "healthCheck": {"disabled": true}}]}}}
            """
        );
}
