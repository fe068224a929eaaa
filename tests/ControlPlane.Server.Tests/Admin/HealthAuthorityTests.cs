using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Storage;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>Who decides about the health of an upstream's endpoints: settled when it is made, and stored with it.</summary>
public sealed class HealthAuthorityTests(AdminFixture api) : IClassFixture<AdminFixture>
{
    private const string Body = """{"spec": {"endpoints": {"source": "static", "static": [{"address": "10.0.0.1", "port": 80}]}HEALTH}}""";

    private const string ByEnvoy =
        """{"spec": {"endpoints": {"source": "envoyStrictDns", "hosts": [{"address": "a.example.com", "port": 80}]}}}""";

    [Theory]
    [InlineData("static")]
    [InlineData("registration")]
    public async Task A_new_upstream_whose_endpoints_are_ours_is_central_and_says_so(string source)
    {
        var path = $"/api/v1/upstreams/new-{source}";
        var made = await api.PutAsync(
            path,
            """{"spec": {"endpoints": {"source": "SOURCE"}}}""".Replace("SOURCE", source, StringComparison.Ordinal)
        );
        Assert.Equal("central", Authority(made));
        Assert.Equal("central", Authority(await api.GetAsync(path)));
    }

    [Fact]
    public async Task One_that_every_proxy_resolves_is_not_and_cannot_be_made_so()
    {
        Assert.Null(Authority(await api.PutAsync("/api/v1/upstreams/resolved", ByEnvoy)));
        var problem = (
            await api.PutAsync(
                "/api/v1/upstreams/resolved",
                ByEnvoy.Replace("\"endpoints\"", "\"health\": {\"authority\": \"central\"}, \"endpoints\"", StringComparison.Ordinal)
            )
        ).Is(422, "invalid");
        Assert.Equal("/spec/health/authority", Assert.Single(problem.Errors!.Value).Pointer);
    }

    [Fact]
    public async Task The_same_manifest_written_again_changes_nothing_though_it_does_not_name_the_authority()
    {
        var first = await api.PutAsync("/api/v1/upstreams/again", Bodies.Upstream());
        var second = await api.PutAsync("/api/v1/upstreams/again", Bodies.Upstream());
        Assert.Equal(first.Headers["ETag"], second.Headers["ETag"]);
        Assert.Equal("central", Authority(await api.PutAsync("/api/v1/upstreams/again", Bodies.Upstream(9090))));
    }

    [Fact]
    public async Task A_person_can_choose_and_the_choice_stays()
    {
        const string path = "/api/v1/upstreams/chosen";
        Assert.Equal("envoy", Authority(await api.PutAsync(path, With(""", "health": {"authority": "envoy"}"""))));
        Assert.Equal("envoy", Authority(await api.PutAsync(path, With(""))));
        Assert.Equal("central", Authority(await api.PutAsync(path, With(""", "health": {"authority": "central"}"""))));
        Assert.Equal("central", Authority(await api.PutAsync(path, With(""))));
    }

    [Fact]
    public async Task What_was_stored_without_a_word_stays_with_the_proxies_over_an_upgrade_and_over_writes()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        var store = host.Services.GetRequiredService<IDesiredStateStore>();
        var key = new ResourceKey(ResourceKind.Upstream, "old");
        const string Stored =
            """{"apiVersion":"controlplane/v1","kind":"Upstream","metadata":{"name":"old"},"spec":{"endpoints":{"static":[{"address":"10.0.0.1","port":80}]},"health":{"checks":[{"tcp":{}}]}}}""";
        await store.CommitAsync(
            new WriteBatch(
                0,
                "test",
                "",
                TimeProvider.System.GetUtcNow(),
                "",
                "",
                [
                    new StoredDocument(
                        key,
                        Guid.NewGuid(),
                        1,
                        1,
                        TimeProvider.System.GetUtcNow(),
                        TimeProvider.System.GetUtcNow(),
                        "rest/test",
                        Stored
                    ),
                ],
                []
            ),
            CancellationToken.None
        );
        await Eventually.True("the feed", async stop => await host.Client.FindAsync(key, stop) is not null);

        var cluster = await host.Http.GetStringAsync("/api/v1/upstreams/old/xds");
        Assert.Contains("healthChecks", cluster, StringComparison.Ordinal);
        await host.Client.PutAsync(
            key,
            """{"spec":{"endpoints":{"static":[{"address":"10.0.0.2","port":80}]},"health":{"checks":[{"tcp":{}}]}}}"""
        );
        Assert.Contains("healthChecks", await host.Http.GetStringAsync("/api/v1/upstreams/old/xds"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Under_central_health_proxies_are_sent_no_checks()
    {
        await api.PutAsync("/api/v1/upstreams/unchecked", With(""", "health": {"checks": [{"tcp": {}}]}"""));
        var xds = (await api.GetAsync("/api/v1/upstreams/unchecked/xds")).Text;
        Assert.DoesNotContain("healthChecks", xds, StringComparison.Ordinal);
        Assert.Contains("HEALTHY", xds, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("forceHealthy")]
    [InlineData("freeze")]
    public async Task What_only_central_health_can_do_is_refused_elsewhere_with_the_way_out(string verb)
    {
        var path = $"/api/v1/upstreams/by-envoy-{verb}";
        await api.PutAsync(path, With(""", "health": {"authority": "envoy"}"""));
        var problem = (await api.SendAsync(HttpMethod.Post, $"{path}/endpoints/10.0.0.1:80:{verb}", """{"reason": "x"}""")).Is(
            409,
            "conflict"
        );
        Assert.Contains("'central'", Assert.Single(problem.Errors!.Value).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Every_order_has_a_reason_an_actor_and_an_end()
    {
        await api.PutAsync("/api/v1/upstreams/ordered", Bodies.Upstream());
        foreach (var verb in (string[])["drain", "disable", "forceHealthy", "forceUnhealthy", "freeze"])
        {
            var path = $"/api/v1/upstreams/ordered/endpoints/10.0.0.1:8080:{verb}";
            (await api.SendAsync(HttpMethod.Post, path, "{}")).Is(422, "invalid");
            var order = await api.SendAsync(HttpMethod.Post, path, """{"reason": "because", "expiresIn": "10m"}""");
            Assert.Equal(verb, (string?)order.Json["spec"]!["action"]);
            Assert.Equal("because", (string?)order.Json["spec"]!["reason"]);
            Assert.Equal("rest/local", (string?)order.Json["metadata"]!["managedBy"]);
            var status = (await api.GetAsync("/api/v1/upstreams/ordered/endpoints/10.0.0.1:8080")).Json["status"]!;
            Assert.Equal(verb, (string?)status["override"]!["action"]);
            Assert.NotNull(status["override"]!["expiresAt"]);
        }
    }

    [Fact]
    public async Task Forcing_the_last_endpoint_unhealthy_needs_confirmation()
    {
        await api.PutAsync("/api/v1/upstreams/last", With(""));
        (await api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/last/endpoints/10.0.0.1:80:forceUnhealthy", """{"reason": "x"}""")).Is(
            409,
            "confirmation-required"
        );
    }

    private static string With(string health) => Body.Replace("HEALTH", health, StringComparison.Ordinal);

    private static string? Authority(Answer answer)
    {
        Assert.InRange(answer.Status, 200, 201);
        return (string?)answer.Json["spec"]!["health"]?["authority"];
    }
}
