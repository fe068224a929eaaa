using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Admin;

public sealed class EndpointTests(AdminFixture api) : IClassFixture<AdminFixture>
{
    [Fact]
    public async Task Endpoints_are_registered_under_an_id_of_ones_own_or_their_address()
    {
        await api.PutAsync("/api/v1/upstreams/reg", Bodies.Registering);

        Assert.Equal(201, (await api.PutAsync("/api/v1/upstreams/reg/endpoints/a", Bodies.Endpoint("10.0.0.1"))).Status);
        var posted = await api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/reg/endpoints", Bodies.Endpoint("2001:db8::1"));
        Assert.Equal(201, posted.Status);
        Assert.Equal("reg/[2001:db8::1]:8080", (string?)posted.Json["metadata"]!["name"]);

        // The place that the answer names is the place where it is.
        var read = await api.GetAsync(posted.Headers["Location"]);
        Assert.Equal(posted.Headers["ETag"], read.Headers["ETag"]);
        Assert.Equal(200, (await api.GetAsync("/api/v1/upstreams/reg/endpoints/%5B2001:db8::1%5D%3A8080")).Status);
        Assert.Equal("registered", (string?)read.Json["status"]!["source"]);

        var list = (await api.GetAsync("/api/v1/upstreams/reg/endpoints")).Json["items"]!.AsArray();
        Assert.Equal(["reg/[2001:db8::1]:8080", "reg/a"], list.Select(e => (string)e!["metadata"]!["name"]!));
    }

    [Fact]
    public async Task Endpoints_and_orders_have_a_history_that_outlives_them()
    {
        await api.PutAsync("/api/v1/upstreams/past", Bodies.Registering);
        await api.PutAsync("/api/v1/upstreams/past/endpoints/a", Bodies.Endpoint("10.0.0.1"));
        await api.PutAsync("/api/v1/upstreams/past/endpoints/b", Bodies.Endpoint("10.0.0.3"));
        await api.PutAsync("/api/v1/upstreams/past/endpoints/a", Bodies.Endpoint("10.0.0.2"));
        await api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/past/endpoints/a:drain", """{"reason": "update"}""");
        await api.SendAsync(HttpMethod.Delete, "/api/v1/upstreams/past/endpoints/a");

        var endpoint = (await api.Client.HistoryAsync(ResourceKey.Sub(ResourceKind.Endpoint, "past", "a"))).Items;
        Assert.Equal([null, "10.0.0.2", "10.0.0.1"], endpoint.Select(i => (string?)i.Object?.Spec["address"]));
        var order = (await api.Client.HistoryAsync(ResourceKey.Sub(ResourceKind.Override, "past", "a"))).Items;
        Assert.Equal([null, "update"], order.Select(i => (string?)i.Object?.Spec["reason"]));
        (await api.GetAsync("/api/v1/upstreams/past/endpoints/none/history")).Is(404, "not-found");
        (await api.GetAsync("/api/v1/overrides/past/none/history")).Is(404, "not-found");
    }

    [Fact]
    public async Task The_xds_of_an_endpoint_is_its_upstreams_assignment()
    {
        await api.PutAsync("/api/v1/upstreams/assigned", Bodies.Registering);
        await api.PutAsync("/api/v1/upstreams/assigned/endpoints/a", Bodies.Endpoint("10.0.0.7"));

        var resource = Assert.Single((await api.Client.XdsAsync(ResourceKey.Sub(ResourceKind.Endpoint, "assigned", "a"))).Resources);
        Assert.Equal(("EDS", "assigned"), (resource.Type, resource.Name));
        Assert.Contains("10.0.0.7", resource.Message.ToJsonString(), StringComparison.Ordinal);

        await api.PutAsync("/api/v1/upstreams/standing", Bodies.Upstream());
        Assert.Single((await api.Client.XdsAsync(ResourceKey.Sub(ResourceKind.Endpoint, "standing", "10.0.0.1:8080"))).Resources);
        (await api.GetAsync("/api/v1/upstreams/standing/endpoints/none/xds")).Is(404, "not-found");
    }

    [Fact]
    public async Task One_address_twice_is_a_conflict_that_names_the_other()
    {
        await api.PutAsync("/api/v1/upstreams/twice", Bodies.Registering);
        await api.PutAsync("/api/v1/upstreams/twice/endpoints/a", Bodies.Endpoint());

        var problem = (await api.PutAsync("/api/v1/upstreams/twice/endpoints/b", Bodies.Endpoint())).Is(409, "conflict");

        Assert.Contains("a", problem.Errors!.Value[0].Message, StringComparison.Ordinal);
        var further = await api.PutAsync(
            "/api/v1/upstreams/twice/endpoints/c",
            """{"spec": {"address": "10.0.0.9", "port": 1, "additionalAddresses": [{"address": "10.0.0.1", "port": 8080}]}}"""
        );
        Assert.Equal("/spec/additionalAddresses/0", Assert.Single(further.Is(409, "conflict").Errors!.Value).Pointer);
        // To register the same again is no conflict with itself.
        Assert.Equal(200, (await api.PutAsync("/api/v1/upstreams/twice/endpoints/a", Bodies.Endpoint())).Status);
    }

    [Fact]
    public async Task A_put_of_the_upstream_never_touches_registered_endpoints()
    {
        await api.PutAsync("/api/v1/upstreams/kept", Bodies.Registering);
        var endpoint = await api.PutAsync("/api/v1/upstreams/kept/endpoints/a", Bodies.Endpoint());

        await api.PutAsync("/api/v1/upstreams/kept", """{"spec": {"connectTimeout": "3s", "endpoints": {"source": "registration"}}}""");

        Assert.Equal(endpoint.Headers["ETag"], (await api.GetAsync("/api/v1/upstreams/kept/endpoints/a")).Headers["ETag"]);
    }

    [Fact]
    public async Task Endpoints_of_nothing_and_of_other_sources_are_refused()
    {
        (await api.GetAsync("/api/v1/upstreams/none/endpoints")).Is(404, "not-found");
        (await api.PutAsync("/api/v1/upstreams/none/endpoints/a", Bodies.Endpoint())).Is(422, "invalid");
        await api.PutAsync("/api/v1/upstreams/static", Bodies.Upstream());
        (await api.PutAsync("/api/v1/upstreams/static/endpoints/a", Bodies.Endpoint("10.9.9.9"))).Is(409, "conflict");
        var inSpec = (await api.PutAsync("/api/v1/upstreams/static/endpoints/10.0.0.1:8080", Bodies.Endpoint())).Is(409, "conflict");
        Assert.Contains("/spec/endpoints/static", inSpec.Detail, StringComparison.Ordinal);
        (await api.SendAsync(HttpMethod.Delete, "/api/v1/upstreams/static/endpoints/10.0.0.1:8080")).Is(409, "conflict");
    }

    [Fact]
    public async Task Deleting_the_last_endpoint_needs_confirmation()
    {
        await api.PutAsync("/api/v1/upstreams/last", Bodies.Registering);
        await api.PutAsync("/api/v1/upstreams/last/endpoints/a", Bodies.Endpoint());

        var problem = (await api.SendAsync(HttpMethod.Delete, "/api/v1/upstreams/last/endpoints/a")).Is(409, "confirmation-required");

        Assert.Equal(200, (await api.SendAsync(HttpMethod.Delete, $"/api/v1/upstreams/last/endpoints/a?{problem.Confirm}")).Status);
    }

    [Theory]
    [InlineData("registered")]
    [InlineData("spec")]
    public async Task An_endpoint_is_drained_disabled_and_cleared_wherever_it_is_defined(string source)
    {
        var upstream = "orders-" + source;
        if (source == "spec")
        {
            await api.PutAsync($"/api/v1/upstreams/{upstream}", Bodies.Upstream());
        }
        else
        {
            await api.PutAsync($"/api/v1/upstreams/{upstream}", Bodies.Registering);
            await api.SendAsync(HttpMethod.Post, $"/api/v1/upstreams/{upstream}/endpoints", Bodies.Endpoint("10.0.0.1"));
            await api.SendAsync(HttpMethod.Post, $"/api/v1/upstreams/{upstream}/endpoints", Bodies.Endpoint("10.0.0.2"));
        }

        const string Id = "10.0.0.1:8080";
        var path = $"/api/v1/upstreams/{upstream}/endpoints/{Id}";
        var drained = await api.SendAsync(HttpMethod.Post, path + ":drain", """{"reason": "maintenance"}""");
        Assert.Equal(201, drained.Status);
        Assert.Equal("Override", (string?)drained.Json["kind"]);
        await StateIsAsync("draining");

        Assert.Equal(
            200,
            (await api.SendAsync(HttpMethod.Post, path + ":disable", "reason: broken disk\nexpiresIn: never\n", "application/yaml")).Status
        );
        await StateIsAsync("disabled");
        var order = (await api.GetAsync($"/api/v1/overrides/{upstream}/{Id}")).Json["spec"]!;
        Assert.Equal("disable", (string?)order["action"]);
        Assert.Null(order["expiresAt"]);
        Assert.Equal(source, (string?)(await api.GetAsync(path)).Json["status"]!["source"]);
        Assert.Equal("broken disk", (string?)(await api.GetAsync(path)).Json["status"]!["override"]!["reason"]);

        Assert.Equal(200, (await api.SendAsync(HttpMethod.Post, path + ":clear")).Status);
        await StateIsAsync("active");
        Assert.Equal(200, (await api.SendAsync(HttpMethod.Post, path + ":clear")).Status);
        (await api.GetAsync($"/api/v1/overrides/{upstream}/{Id}")).Is(404, "not-found");

        // The health model has to decide about an endpoint that is back before proxies are told of it.
        Task StateIsAsync(string state) =>
            Eventually.True(
                $"the endpoint to be {state}",
                async _ => (string?)(await api.GetAsync(path)).Json["status"]!["state"] == state
            );
    }

    [Theory]
    [InlineData(":drain", "{}", 422, "invalid")]
    [InlineData(":drain", """{"reason": "x", "expiresIn": "soon"}""", 422, "invalid")]
    [InlineData(":drain", """{"reason": "x", "expiresIn": "1h", "expiresAt": "never"}""", 422, "invalid")]
    [InlineData(":drain", """{"reason": "x", "expiresAt": "2001-01-01T00:00:00Z"}""", 422, "invalid")]
    [InlineData(":drain", """{"reason": "x", "expires": "1h"}""", 422, "invalid")]
    [InlineData(":drain", """{"reason": """, 422, "invalid")]
    [InlineData(":explode", """{"reason": "x"}""", 404, "not-found")]
    [InlineData("", """{"reason": "x"}""", 404, "not-found")]
    public async Task A_wrong_order_is_refused(string verb, string body, int status, string problem)
    {
        await api.PutAsync("/api/v1/upstreams/wrong-orders", Bodies.Upstream());

        (await api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/wrong-orders/endpoints/10.0.0.1:8080" + verb, body)).Is(status, problem);
    }

    [Fact]
    public async Task An_order_about_an_unknown_endpoint_is_404()
    {
        await api.PutAsync("/api/v1/upstreams/unknown-orders", Bodies.Upstream());

        (await api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/unknown-orders/endpoints/10.7.7.7:1:drain", """{"reason": "x"}""")).Is(
            404,
            "not-found"
        );
    }

    [Theory]
    [InlineData("2000-01-02T03:04:05Z", "False", "Expired", "2000-01-02 03:04:05Z", "active")]
    [InlineData("8000-01-01T00:00:00Z", "True", "Valid", "in force", "disabled")]
    public async Task An_order_says_whether_it_is_in_force(string end, string status, string reason, string words, string state)
    {
        var upstream = "expiring-" + state;
        await api.PutAsync($"/api/v1/upstreams/{upstream}", Bodies.Registering);
        await api.PutAsync($"/api/v1/upstreams/{upstream}/endpoints/a", Bodies.Endpoint());
        await api.PutAsync($"/api/v1/upstreams/{upstream}/endpoints/b", Bodies.Endpoint("10.0.0.2"));
        var applied = await api.SendAsync(
            HttpMethod.Post,
            "/api/v1/apply",
            $$"""
            apiVersion: controlplane/v1
            kind: Override
            metadata: {name: {{upstream}}/a}
            spec: {action: disable, reason: bad disk, startedAt: '2000-01-01T00:00:00Z', expiresAt: '{{end}}'}
            """,
            "application/yaml"
        );
        Assert.Equal(200, applied.Status);

        var orders = (await api.GetAsync("/api/v1/overrides")).Json["items"]!.AsArray();
        var condition = orders.Single(o => (string?)o!["metadata"]!["name"] == $"{upstream}/a")!["status"]!["conditions"]![0]!;
        Assert.Equal(
            ("Accepted", status, reason),
            ((string?)condition["type"], (string?)condition["status"], (string?)condition["reason"])
        );
        Assert.Contains(words, (string?)condition["message"], StringComparison.Ordinal);
        Assert.Equal(state, (string?)(await api.GetAsync($"/api/v1/upstreams/{upstream}/endpoints/a")).Json["status"]!["state"]);
    }

    [Fact]
    public async Task Orders_end_after_an_hour_unless_said_and_drained_endpoints_leave_after_the_drain_time()
    {
        var time = new FakeTimeProvider(new DateTimeOffset(2030, 1, 1, 0, 0, 0, TimeSpan.Zero));
        await using var host = await ControlPlaneHost.StartAsync(services: b => b.Services.AddSingleton<TimeProvider>(time));
        await host.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, "timed"), Bodies.Upstream());
        var endpoint = ResourceKey.Sub(ResourceKind.Endpoint, "timed", "10.0.0.1:8080");

        var order = await host.Client.OrderAsync("timed", endpoint.Id, "drain", new EndpointOrder { Reason = "x" });
        Assert.Equal("2030-01-01T01:00:00Z", (string?)order.Spec["expiresAt"]);

        time.Advance(TimeSpan.FromMinutes(30));
        Assert.Equal("drained", (await host.Client.FindAsync(endpoint))!.Status!.State);
        time.Advance(TimeSpan.FromMinutes(31));
        await Eventually.True("the endpoint to be back", async _ => (await host.Client.FindAsync(endpoint))!.Status!.State == "active");
    }

    [Fact]
    public async Task An_endpoint_of_an_upstream_that_takes_its_endpoints_from_elsewhere_is_unused()
    {
        await api.PutAsync("/api/v1/upstreams/turned", Bodies.Registering);
        await api.PutAsync("/api/v1/upstreams/turned/endpoints/a", Bodies.Endpoint());
        await api.PutAsync("/api/v1/upstreams/turned", Bodies.Upstream());

        var status = (await api.Client.FindAsync(ResourceKey.Sub(ResourceKind.Endpoint, "turned", "a")))!.Status!;

        Assert.Equal("unused", status.State);
        Assert.Equal(("False", "Unused"), (status.Conditions[1].Status, status.Conditions[1].Reason));
    }

    [Fact]
    public async Task Registering_an_address_twice_is_a_conflict_and_a_name_is_for_put()
    {
        await api.PutAsync("/api/v1/upstreams/again", Bodies.Registering);
        const string Path = "/api/v1/upstreams/again/endpoints";
        Assert.Equal(201, (await api.SendAsync(HttpMethod.Post, Path, Bodies.Endpoint())).Status);

        var twice = (await api.SendAsync(HttpMethod.Post, Path, """{"spec": {"address": "10.0.0.1", "port": 8080, "weight": 3}}""")).Is(
            409,
            "conflict"
        );
        Assert.Equal("address-taken", Assert.Single(twice.Errors!.Value).Code);
        Assert.Equal(1, (int?)(await api.GetAsync(Path + "/10.0.0.1:8080")).Json["spec"]!["weight"] ?? 1);

        var named = await api.SendAsync(
            HttpMethod.Post,
            Path,
            """{"metadata": {"name": "b"}, "spec": {"address": "10.0.0.3", "port": 1}}"""
        );
        Assert.Contains("'again/ADDRESS:PORT'", Assert.Single(named.Is(422, "invalid").Errors!.Value).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Draining_the_last_endpoint_needs_confirmation()
    {
        await api.PutAsync("/api/v1/upstreams/drain-last", Bodies.Registering);
        await api.PutAsync("/api/v1/upstreams/drain-last/endpoints/a", Bodies.Endpoint());

        (await api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/drain-last/endpoints/a:disable", """{"reason": "x"}""")).Is(
            409,
            "confirmation-required"
        );
    }
}
