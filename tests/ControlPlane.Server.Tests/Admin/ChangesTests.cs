using System.Diagnostics;
using System.Text.Json.Nodes;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>What concerns all objects: each test has a server of its own.</summary>
public sealed class ChangesTests : IAsyncLifetime
{
    private readonly AdminFixture _api = new();

    public ValueTask InitializeAsync() => _api.InitializeAsync();

    public ValueTask DisposeAsync() => _api.DisposeAsync();

    private const string Shop = """
        apiVersion: controlplane/v1
        kind: RouteTable
        metadata: {name: shop, labels: {team: shop}}
        spec:
          virtualHosts:
            - name: all
              domains: ["*"]
              routes:
                - match: {prefix: /}
                  upstream: cart
        ---
        apiVersion: controlplane/v1
        kind: Endpoint
        metadata: {name: cart/a}
        spec: {address: 10.0.0.1, port: 8080}
        ---
        apiVersion: controlplane/v1
        kind: Upstream
        metadata: {name: cart, labels: {team: shop}}
        spec:
          endpoints: {source: registration}
        """;

    [Fact]
    public async Task Apply_takes_objects_in_any_order_as_one_revision()
    {
        var result = await _api.Client.ApplyAsync(Shop, new WriteOptions { Reason = "first" });

        Assert.Equal(1, result.Revision);
        Assert.Equal(["created", "created", "created"], result.Objects.Select(o => o.Action));
        var revision = await _api.Client.RevisionAsync(1);
        Assert.Equal(("local", "first"), (revision.Author, revision.Reason));
        Assert.Equal(3, revision.Changes!.Value.Length);

        Assert.Equal(["unchanged", "unchanged", "unchanged"], (await _api.Client.ApplyAsync(Shop)).Objects.Select(o => o.Action));
        Assert.Single((await _api.Client.RevisionsAsync()).Items);
    }

    [Fact]
    public async Task Apply_is_all_or_nothing_and_names_each_object_at_fault()
    {
        var broken = Shop.Replace("upstream: cart", "upstream: carrt", StringComparison.Ordinal)
            .Replace("port: 8080", "port: 0", StringComparison.Ordinal);

        var problem = (await _api.SendAsync(HttpMethod.Post, "/api/v1/apply", broken, "application/yaml")).Is(422, "invalid");

        var endpoint = Assert.Single(problem.Errors!.Value, e => e.Object == "Endpoint/cart/a");
        Assert.Equal("/spec/port", endpoint.Pointer);
        Assert.Equal(15, endpoint.Line);
        (await _api.GetAsync("/api/v1/upstreams/cart")).Is(404, "not-found");

        Assert.Single(problem.Errors!.Value, e => (e.Object, e.Line, e.Code) == ("RouteTable/shop", 10, "reference-not-found"));

        var reference = (
            await _api.SendAsync(
                HttpMethod.Post,
                "/api/v1/apply",
                Shop.Replace("upstream: cart", "upstream: carrt", StringComparison.Ordinal),
                "application/yaml"
            )
        ).Is(422, "invalid");
        Assert.Equal(("RouteTable/shop", 10), (reference.Errors!.Value[0].Object, reference.Errors!.Value[0].Line));
    }

    [Fact]
    public async Task Each_object_at_fault_is_told_and_none_that_only_names_one()
    {
        const string Unreadable = """
            apiVersion: controlplane/v1
            kind: Upstream
            metadata: {name: cart}
            spec: {endpoints: {source: registration, sauce: 1}}
            ---
            apiVersion: controlplane/v1
            kind: Upstream
            metadata: {name: pay}
            spec: {endpoints: {source: registration}, envoy: {lbPolicy: FOO}}
            ---
            apiVersion: controlplane/v1
            kind: EnvoyResource
            metadata: {name: raw}
            spec:
              resource: {"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration, name: raw, virtualHosts: [
                {name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: cart}}, {match: {prefix: /}, route: {cluster: nope}}]}]}
            ---
            """;

        var faults = (await _api.SendAsync(HttpMethod.Post, "/api/v1/apply", Unreadable + "\n" + Shop.Split("---")[0], "application/yaml"))
            .Is(422, "invalid")
            .Errors!.Value;

        Assert.Equal(
            [("Upstream/cart", "/spec/endpoints/sauce"), ("Upstream/pay", "/spec/envoy/lbPolicy")],
            faults.Select(f => (f.Object!, f.Pointer!))
        );
    }

    [Fact]
    public async Task One_object_twice_in_a_request_is_refused() =>
        Assert.Contains(
            (await _api.SendAsync(HttpMethod.Post, "/api/v1/apply", Shop + "\n---\n" + Shop, "application/yaml"))
                .Is(422, "invalid")
                .Errors!.Value,
            e => e.Code == "duplicate-object"
        );

    [Fact]
    public async Task An_upstream_of_the_name_of_the_bootstraps_cluster_is_refused() =>
        Assert.Contains(
            (
                await _api.SendAsync(
                    HttpMethod.Put,
                    "/api/v1/upstreams/xds_cluster",
                    """{"spec":{"endpoints":{"static":[{"address":"127.0.0.1","port":80}]}}}""",
                    "application/json"
                )
            )
                .Is(422, "invalid")
                .Errors!.Value,
            e => e.Code == "reserved-name" && e.Pointer == "/metadata/name"
        );

    [Fact]
    public async Task Validate_and_diff_write_nothing()
    {
        var valid = await _api.SendAsync(HttpMethod.Post, "/api/v1/validate", Shop, "application/yaml");
        Assert.Equal(200, valid.Status);
        Assert.True((bool)valid.Json["valid"]!);
        (
            await _api.SendAsync(
                HttpMethod.Post,
                "/api/v1/validate",
                Shop.Replace("10.0.0.1", "nowhere", StringComparison.Ordinal),
                "application/yaml"
            )
        ).Is(422, "invalid");

        var diff = await _api.Client.DiffAsync(Shop);
        Assert.Equal(["created", "created", "created"], diff.Objects.Select(o => o.Action));
        Assert.Contains(diff.Resources!.Value, r => r is { Type: "CDS", Name: "cart", Action: "created" });
        Assert.Empty((await _api.Client.RevisionsAsync()).Items);
    }

    [Fact]
    public async Task Diff_shows_values_of_objects_and_messages_and_what_would_have_to_be_confirmed()
    {
        await _api.Client.ApplyAsync(Shop);
        await _api.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, "other"), Bodies.Upstream());

        var diff = await _api.Client.DiffAsync(
            """
            apiVersion: controlplane/v1
            kind: Upstream
            metadata: {name: other}
            spec: {connectTimeout: 250ms, endpoints: {source: static, static: []}}
            """
        );

        var change = Assert.Single(diff.Objects);
        Assert.Contains(change.Changes, c => c.Pointer == "/spec/connectTimeout" && (string?)c.After == "250ms" && c.Before is null);
        var cluster = Assert.Single(diff.Resources!.Value, r => r.Type == "CDS");
        Assert.NotEqual(cluster.Before, cluster.After);
        Assert.Contains(cluster.Changes, c => c.Pointer == "/connectTimeout" && (string?)c.Before == "5s" && (string?)c.After == "0.25s");
        Assert.Contains("Upstream/other", Assert.Single(diff.Effects!.Value), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_export_can_be_applied_elsewhere()
    {
        await _api.Client.ApplyAsync(Shop);
        await _api.Client.OrderAsync(
            "cart",
            "a",
            "drain",
            new EndpointOrder { Reason = "x" },
            new WriteOptions { Confirm = await DigestOfDrainAsync() }
        );

        var yaml = await _api.GetAsync("/api/v1/export");
        var json = await _api.GetAsync("/api/v1/export", ("Accept", "application/json"));

        Assert.Equal("application/yaml", yaml.MediaType);
        Assert.Equal(3, yaml.Text.Split("apiVersion:").Length - 1);
        Assert.DoesNotContain("resourceVersion", yaml.Text, StringComparison.Ordinal);
        Assert.Equal(3, json.Json["items"]!.AsArray().Count);
        await using var elsewhere = await ControlPlaneHost.StartAsync();
        Assert.Equal(3, (await elsewhere.Client.ApplyAsync(yaml.Text)).Objects.Length);
        Assert.All((await elsewhere.Client.ApplyAsync(json.Text)).Objects, o => Assert.Equal("unchanged", o.Action));
        Assert.Equal(2, (await _api.GetAsync("/api/v1/export?labelSelector=team%3Dshop")).Text.Split("apiVersion:").Length - 1);
        Assert.Contains("kind: Override", (await _api.GetAsync("/api/v1/export?kinds=override")).Text, StringComparison.Ordinal);
        (await _api.GetAsync("/api/v1/export?kinds=Upstreams")).Is(400, "parameter");
    }

    private async Task<string?> DigestOfDrainAsync() =>
        (await _api.SendAsync(HttpMethod.Post, "/api/v1/upstreams/cart/endpoints/a:drain", """{"reason": "x"}""")).Problem.Digest;

    [Fact]
    public async Task A_revision_names_the_trace_of_its_write()
    {
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Microsoft.AspNetCore",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
        };
        ActivitySource.AddActivityListener(listener);
        var trace = ActivityTraceId.CreateRandom().ToHexString();

        await _api.PutAsync("/api/v1/upstreams/cart", Bodies.Upstream(), ("traceparent", $"00-{trace}-00f067aa0ba902b7-01"));

        Assert.Equal(trace, (await _api.Client.RevisionAsync(1)).TraceId);
    }

    [Fact]
    public async Task Revisions_are_paged_compared_and_rolled_back_to()
    {
        await _api.Client.ApplyAsync(Shop);
        var key = new ResourceKey(ResourceKind.Upstream, "cart");
        await _api.Client.PatchAsync(key, JsonNode.Parse("""{"spec": {"connectTimeout": "1s"}}""")!);
        await _api.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, "extra"), Bodies.Upstream());

        var page = await _api.Client.RevisionsAsync(limit: 2);
        var rest = await _api.Client.RevisionsAsync(limit: 2, page.Continue);
        Assert.Equal([3L, 2L, 1L], page.Items.Concat(rest.Items).Select(r => r.Revision));
        Assert.Null(rest.Continue);

        var listed = (await _api.Client.RevisionsAsync()).Items;
        Assert.All(listed, r => Assert.Equal(r.ObjectCount, r.Objects!.Value.Length));
        Assert.All(
            listed,
            r => Assert.Contains(r.Objects!.Value[0].Action, (string[])["created", "updated", "deleted"], StringComparer.Ordinal)
        );
        Assert.Equal("created", listed[^1].Objects!.Value[0].Action);
        var compared = (await _api.GetAsync("/api/v1/revisions/1..3")).Json["objects"]!.AsArray();
        Assert.Equal(["updated cart", "created extra"], compared.Select(o => $"{o!["action"]} {o["name"]}"));
        Assert.Equal("/spec/connectTimeout", (string?)compared[0]!["changes"]![0]!["pointer"]);

        var problem = (await _api.SendAsync(HttpMethod.Get, "/api/v1/revisions/9")).Is(404, "not-found");
        Assert.Contains("the newest is 3", problem.Detail, StringComparison.Ordinal);

        var back = await _api.Client.RollbackAsync(1);
        Assert.Equal(4, back.Revision);
        Assert.Empty((await _api.GetAsync("/api/v1/revisions/1..4")).Json["objects"]!.AsArray());
        Assert.Equal("rollback to revision 1", (await _api.Client.RevisionAsync(4)).Reason);

        Assert.Equal("rollback to revision 3: undo", (await RollBackAsync("3:rollback?reason=undo")).Reason);
        Assert.Equal("rollback to revision 4", (await RollBackAsync("4:rollback")).Reason);

        async Task<RevisionView> RollBackAsync(string path)
        {
            var answer = await _api.SendAsync(HttpMethod.Post, "/api/v1/revisions/" + path);
            return await _api.Client.RevisionAsync((long)answer.Json["revision"]!);
        }

        // To go back to where one is changes nothing.
        Assert.Equal(6, (await _api.Client.RollbackAsync(6)).Revision);
    }

    [Fact]
    public async Task A_rollback_can_be_of_some_kinds_and_brings_endpoints_back_with_their_upstream()
    {
        await _api.Client.ApplyAsync(Shop);
        await _api.Client.PutAsync(ResourceKey.Sub(ResourceKind.Endpoint, "cart", "b"), Bodies.Endpoint("10.0.0.2"));
        await _api.Client.DeleteAsync(new ResourceKey(ResourceKind.RouteTable, "shop"));

        await _api.Client.RollbackAsync(1, [ResourceKind.RouteTable]);
        Assert.NotNull(await _api.Client.FindAsync(ResourceKey.Sub(ResourceKind.Endpoint, "cart", "b")));
        Assert.NotNull(await _api.Client.FindAsync(new ResourceKey(ResourceKind.RouteTable, "shop")));

        await _api.Client.DeleteAsync(new ResourceKey(ResourceKind.RouteTable, "shop"));
        await _api.Client.DeleteAsync(new ResourceKey(ResourceKind.Upstream, "cart"));
        await _api.Client.RollbackAsync(2);
        Assert.Equal(2, (await _api.Client.ListAsync(ResourceKind.Endpoint, "cart")).Items.Length);
    }

    [Fact]
    public async Task A_check_of_envoys_can_be_passed_by_with_a_reason_that_is_recorded()
    {
        const string Body = """{"spec": {"envoy": {"maintenanceInterval": "x"}, "endpoints": {"source": "registration"}}}""";
        (await _api.PutAsync("/api/v1/upstreams/x", Body)).Is(422, "invalid");
        const string Refused =
            """{"spec": {"envoy": {"commonLbConfig": {"healthyPanicThreshold": {"value": 1000}}}, "endpoints": {"source": "registration"}}}""";
        (await _api.PutAsync("/api/v1/upstreams/x", Refused)).Is(422, "invalid");

        var taken = await _api.PutAsync("/api/v1/upstreams/x?validation=warn&reason=a%20test", Refused);

        Assert.Equal(201, taken.Status);
        Assert.Contains("299", taken.Headers["Warning"], StringComparison.Ordinal);
        Assert.NotEmpty(taken.Json["warnings"]!.AsArray());
        Assert.Contains("validation=warn", (await _api.Client.RevisionAsync(1)).Notes, StringComparison.Ordinal);
    }
}
