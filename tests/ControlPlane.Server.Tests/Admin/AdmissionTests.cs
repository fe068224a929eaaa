using System.Text.Json.Nodes;
using ControlPlane.AdminClient;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>What is taken and what is not where objects meet.</summary>
public sealed class AdmissionTests(AdminFixture api) : IClassFixture<AdminFixture>
{
    private const string Warn = "?validation=warn&reason=test";

    private static int s_port = 20_000;

    private static int NextPort() => Interlocked.Increment(ref s_port);

    private Task<Answer> PatchAsync(string path, string merge) =>
        api.SendAsync(HttpMethod.Patch, path, merge, "application/merge-patch+json");

    private Task<Answer> PostAsync(string path) => api.SendAsync(HttpMethod.Post, path);

    private Task<Answer> OrderAsync(string path) => api.SendAsync(HttpMethod.Post, path, """{"reason": "test"}""");

    private async Task GivenAsync(string path, string body)
    {
        var answer = await api.PutAsync("/api/v1/" + path, body);
        Assert.True(answer.Status == 201, answer.Text);
    }

    private static void Is(int status, Answer answer) => Assert.True(answer.Status == status, $"{answer.Status}: {answer.Text}");

    private static string Listener(int port, string routeTable, string address = "127.0.0.1", string more = "") =>
        """{"spec": {"address": "ADDRESS", "port": PORT, "http": {"routeTable": "TABLE"}MORE}}"""
            .Replace("ADDRESS", address, StringComparison.Ordinal)
            .Replace("PORT", $"{port}", StringComparison.Ordinal)
            .Replace("TABLE", routeTable, StringComparison.Ordinal)
            .Replace("MORE", more, StringComparison.Ordinal);

    private static string RawListener(string name, string address, int port, string groups = "[]") =>
        """
            {"spec": {"nodeGroups": GROUPS, "resource": {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "NAME",
              "address": {"socketAddress": {"address": "ADDRESS", "portValue": PORT}},
              "filterChains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typedConfig": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "statPrefix": "x", "cluster": "raw-target"}}]}]}}}
            """.Replace("NAME", name, StringComparison.Ordinal).Replace("ADDRESS", address, StringComparison.Ordinal).Replace(
            "PORT",
            $"{port}",
            StringComparison.Ordinal
        ).Replace("GROUPS", groups, StringComparison.Ordinal);

    private async Task GivenRawTargetAsync()
    {
        Assert.InRange((await api.PutAsync("/api/v1/upstreams/raw-target", Bodies.Upstream())).Status, 200, 201);
        Assert.InRange((await api.PutAsync("/api/v1/routetables/raw-routes", Bodies.RouteTable("raw-target"))).Status, 200, 201);
    }

    private static string Group(string condition) => $$$"""{"spec": {"selectors": [{ {{{condition}}} }]}}""";

    private static string InGroups(string body, string groups)
    {
        var json = JsonNode.Parse(body)!.AsObject();
        json["spec"]!["nodeGroups"] = JsonNode.Parse(groups);
        return json.ToJsonString();
    }

    private static Fault Single(Answer answer, int status, string code)
    {
        var fault = Assert.Single(answer.Is(status, status == 409 ? "conflict" : "invalid").Errors!.Value);
        Assert.Equal(code, fault.Code);
        return fault;
    }

    [Fact]
    public async Task What_was_let_past_a_check_keeps_no_other_change_out()
    {
        const string Refused =
            """{"spec": {"endpoints": {"source": "registration"}, "envoy": {"commonLbConfig": {"healthyPanicThreshold": {"value": 150}}}}}""";
        (await api.PutAsync("/api/v1/upstreams/passed", Refused)).Is(422, "invalid");
        Is(201, await api.PutAsync("/api/v1/upstreams/passed" + Warn, Refused));

        Is(201, await api.PutAsync("/api/v1/upstreams/passed/endpoints/a", Bodies.Endpoint()));
        Is(201, await api.PutAsync("/api/v1/upstreams/passed/endpoints/b", Bodies.Endpoint(port: 8081)));
        Is(201, await OrderAsync("/api/v1/upstreams/passed/endpoints/a:drain"));
        Is(200, await PatchAsync("/api/v1/upstreams/passed", """{"metadata": {"labels": {"a": "b"}}}"""));
        var revision = (await api.Client.RevisionsAsync(1)).Items[0].Revision;
        Is(200, await PatchAsync("/api/v1/upstreams/passed", """{"metadata": {"labels": {"a": "c"}}}"""));
        Is(200, await PostAsync($"/api/v1/revisions/{revision}:rollback?kinds=Upstream"));

        // What touches the spec is checked as ever.
        (await PatchAsync("/api/v1/upstreams/passed", """{"spec": {"connectTimeout": "3s"}}""")).Is(422, "invalid");
    }

    [Fact]
    public async Task What_was_let_past_in_a_listener_does_not_keep_out_its_inline_route_table()
    {
        await GivenAsync("upstreams/inlined-target", Bodies.Upstream());
        await GivenAsync("routetables/inlined-passed", Bodies.RouteTable("inlined-target"));
        var listener = Listener(
                NextPort(),
                "inlined-passed",
                more: """, "envoy": {"perConnectionBufferLimitBytes": 1, "filterChains": [{"filters": []}], "listenerFiltersTimeout": "-1s"}"""
            )
            .Replace("\"routeTable\"", "\"inlineRouteTable\": true, \"routeTable\"", StringComparison.Ordinal);
        (await api.PutAsync("/api/v1/listeners/inlined-passed", listener)).Is(422, "invalid");
        Is(201, await api.PutAsync("/api/v1/listeners/inlined-passed" + Warn, listener));

        Is(200, await PatchAsync("/api/v1/routetables/inlined-passed", """{"spec": {"envoy": {"maxDirectResponseBodySizeBytes": 100}}}"""));
    }

    [Theory]
    [InlineData("127.0.0.1", "127.0.0.1")]
    [InlineData("::1", "0:0:0:0:0:0:0:1")]
    public async Task Two_listeners_on_one_address_are_refused_however_they_are_written(string address, string sameAddress)
    {
        await GivenRawTargetAsync();
        var port = NextPort();
        var name = $"shared-{port}";
        await GivenAsync($"listeners/{name}", Listener(port, "raw-routes", address));

        var raw = await api.PutAsync($"/api/v1/envoyresources/{name}-raw", RawListener(name + "-raw", sameAddress, port));
        Assert.Contains($"Listener/{name}", Single(raw, 409, "address-taken").Message, StringComparison.Ordinal);
        Single(await api.PutAsync($"/api/v1/listeners/{name}-2", Listener(port, "raw-routes", sameAddress)), 409, "address-taken");
        Single(
            await api.PutAsync(
                $"/api/v1/listeners/{name}-3",
                Listener(
                    NextPort(),
                    "raw-routes",
                    more: """, "envoy": {"additionalAddresses": [{"address": {"socketAddress": {"address": "ADDRESS", "portValue": PORT}}}]}"""
                        .Replace("ADDRESS", sameAddress, StringComparison.Ordinal)
                        .Replace("PORT", $"{port}", StringComparison.Ordinal)
                )
            ),
            409,
            "address-taken"
        );
    }

    [Fact]
    public async Task Two_raw_listeners_on_one_address_are_refused_and_other_addresses_are_not()
    {
        await GivenRawTargetAsync();
        var port = NextPort();
        await GivenAsync("envoyresources/raw-1", RawListener("raw-1", "127.0.0.1", port));
        Single(await api.PutAsync("/api/v1/envoyresources/raw-2", RawListener("raw-2", "127.0.0.1", port)), 409, "address-taken");

        // Envoy binds a wildcard beside a specific address.
        await GivenAsync("envoyresources/raw-3", RawListener("raw-3", "0.0.0.0", port));
        await GivenAsync("envoyresources/raw-4", RawListener("raw-4", "127.0.0.2", port));
    }

    [Fact]
    public async Task Groups_that_could_have_a_proxy_in_common_make_a_shared_address_a_warning()
    {
        await GivenRawTargetAsync();
        var port = NextPort();
        await GivenAsync("nodegroups/meet-edge", Group("\"ids\": [\"edge-*\"]"));
        await GivenAsync("nodegroups/meet-zone", Group("\"zone\": \"z1\""));
        await GivenAsync("nodegroups/meet-core", Group("\"ids\": [\"core-*\"]"));
        await GivenAsync("envoyresources/meet-1", RawListener("meet-1", "127.0.0.1", port, "[\"meet-edge\"]"));

        var overlapping = await api.PutAsync("/api/v1/envoyresources/meet-2", RawListener("meet-2", "127.0.0.1", port, "[\"meet-zone\"]"));
        Is(201, overlapping);
        Assert.Equal("address-taken", (string?)overlapping.Json["warnings"]![0]!["code"]);

        await api.SendAsync(HttpMethod.Delete, "/api/v1/envoyresources/meet-2");
        var apart = await api.PutAsync("/api/v1/envoyresources/meet-3", RawListener("meet-3", "127.0.0.1", port, "[\"meet-core\"]"));
        Is(201, apart);
        Assert.Null(apart.Json["warnings"]);
    }

    [Fact]
    public async Task A_group_does_not_come_to_hold_a_proxy_that_would_get_two_listeners_of_one_address()
    {
        await GivenRawTargetAsync();
        var port = NextPort();
        await GivenAsync("nodegroups/grow-a", Group("\"ids\": [\"grow-a-*\"]"));
        await GivenAsync("nodegroups/grow-b", Group("\"ids\": [\"grow-b-*\"]"));
        await GivenAsync("envoyresources/grow-a", RawListener("grow-a", "127.0.0.1", port, "[\"grow-a\"]"));
        await GivenAsync("envoyresources/grow-b", RawListener("grow-b", "127.0.0.1", port, "[\"grow-b\"]"));
        const string Both = """{"spec": {"selectors": [{"ids": ["grow-*"]}]}}""";

        // As far as anyone knows there is no such proxy.
        var possible = await api.PutAsync("/api/v1/nodegroups/grow-a?dryRun=true", Both);
        Is(200, possible);
        var warning = Assert.Single(possible.Json["warnings"]!.AsArray())!;
        Assert.Equal(("address-taken", "/spec/selectors"), ((string?)warning["code"], (string?)warning["pointer"]));

        using var client = new XdsClient(api.Host.Xds.ToString());
        using var stream = client.OpenDelta("grow-b-1");
        await stream.AskAsync(ResourceType.Cluster.TypeUrl);
        await stream.ExpectResponseAsync(ResourceType.Cluster.TypeUrl);
        var fault = Single(await api.PutAsync("/api/v1/nodegroups/grow-a", Both), 409, "address-taken");
        Assert.Equal("/spec/selectors", fault.Pointer);
        Assert.Contains("the proxy 'grow-b-1' gets both", fault.Message, StringComparison.Ordinal);
        Assert.Contains("EnvoyResource/grow-a and EnvoyResource/grow-b both listen on", fault.Message, StringComparison.Ordinal);

        // Another change of the group is nobody's business.
        var other = await api.PutAsync("/api/v1/nodegroups/grow-a", Group("\"ids\": [\"grow-a-*\", \"grow-c-*\"]"));
        Is(200, other);
        Assert.Null(other.Json["warnings"]);
    }

    public static TheoryData<string, string> Doubtful =>
        new()
        {
            { "routetables", """{"spec": {"virtualHosts": []}}""" },
            {
                "routetables",
                """{"spec": {"virtualHosts": [{"name": "a", "domains": ["a.test"], "routes": []}, {"name": "a", "domains": ["b.test"], "routes": []}]}}"""
            },
            {
                "routetables",
                """
                    {"spec": {"virtualHosts": [{"name": "a", "domains": ["a.test"], "routes": [
                      {"match": {"regex": "(a{1,100}){1,10}"}, "upstream": "raw-target", "retry": {"on": ["5xx", "sometimes"]}},
                      {"match": {"regex": "(b{1,100}){1,10}"}, "upstream": "raw-target", "retry": {"on": ["never", "sometimes"]}}]}]}}
                    """
            },
            { "upstreams", """{"spec": {"endpoints": {"source": "static", "static": []}}}""" },
            {
                "upstreams",
                """{"spec": {"endpoints": {"source": "static", "static": [{"address": "10.0.0.1", "port": 80, "priority": 0}, {"address": "10.0.0.2", "port": 80, "priority": 2}]}}}"""
            },
        };

    [Theory]
    [MemberData(nameof(Doubtful))]
    public async Task Each_doubt_is_told_once_where_it_is(string collection, string body)
    {
        await GivenRawTargetAsync();
        var answer = await api.PutAsync($"/api/v1/{collection}/doubt?dryRun=true", body);
        Is(200, answer);
        var warnings = answer.Json["warnings"]!.AsArray().Select(w => (Pointer: (string?)w!["pointer"], Code: (string?)w["code"])).ToList();
        Assert.NotEmpty(warnings);
        Assert.Equal(warnings.Distinct(), warnings);
        Assert.DoesNotContain("/spec", warnings.Select(w => w.Pointer));
    }

    [Fact]
    public async Task A_doubt_about_a_route_table_is_not_told_again_at_the_listener_that_holds_it()
    {
        await GivenRawTargetAsync();
        const string Table =
            """{"spec": {"virtualHosts": [{"name": "a", "domains": ["a.test"], "routes": [{"match": {"path": "/"}, "upstream": "raw-target", "retry": {"on": ["CONDITION"]}}]}]}}""";
        await GivenAsync("routetables/told", Table.Replace("CONDITION", "sometimes", StringComparison.Ordinal));
        var listener = Listener(NextPort(), "told")
            .Replace("\"routeTable\"", "\"inlineRouteTable\": true, \"routeTable\"", StringComparison.Ordinal);
        var written = await api.PutAsync("/api/v1/listeners/told", listener);
        Is(201, written);
        Assert.Null(written.Json["warnings"]);

        var changed = await api.PutAsync("/api/v1/routetables/told", Table.Replace("CONDITION", "never", StringComparison.Ordinal));
        Assert.Equal("unknown-retry-condition", (string?)Assert.Single(changed.Json["warnings"]!.AsArray())!["code"]);
    }

    [Fact]
    public async Task A_reference_to_what_only_other_proxies_get_is_refused()
    {
        await GivenAsync("nodegroups/ref-a", Group("\"ids\": [\"ref-a-*\"]"));
        await GivenAsync("nodegroups/ref-b", Group("\"ids\": [\"ref-b-*\"]"));
        await GivenAsync("upstreams/ref-up", InGroups(Bodies.Upstream(), "[\"ref-b\"]"));

        var fault = Single(await api.PutAsync("/api/v1/routetables/ref-all", Bodies.RouteTable("ref-up")), 422, "reference-outside-group");
        Assert.Contains("RouteTable/ref-all is for all proxies", fault.Message, StringComparison.Ordinal);
        Assert.Contains("Upstream/ref-up, which is only for group ref-b", fault.Message, StringComparison.Ordinal);
        Single(
            await api.PutAsync("/api/v1/routetables/ref-all", InGroups(Bodies.RouteTable("ref-up"), "[\"ref-a\", \"ref-b\"]")),
            422,
            "reference-outside-group"
        );

        await GivenAsync("routetables/ref-b", InGroups(Bodies.RouteTable("ref-up"), "[\"ref-b\"]"));
        Single(await api.PutAsync("/api/v1/listeners/ref-all", Listener(NextPort(), "ref-b")), 422, "reference-outside-group");
    }

    [Fact]
    public async Task A_target_does_not_leave_the_proxies_of_those_that_name_it()
    {
        await GivenAsync("nodegroups/leave-a", Group("\"ids\": [\"leave-a-*\"]"));
        await GivenAsync("nodegroups/leave-b", Group("\"ids\": [\"leave-b-*\"]"));
        await GivenAsync("upstreams/leave", Bodies.Upstream());
        await GivenAsync("routetables/leave", InGroups(Bodies.RouteTable("leave"), "[\"leave-a\"]"));

        var fault = Single(
            await PatchAsync("/api/v1/upstreams/leave", """{"spec": {"nodeGroups": ["leave-b"]}}"""),
            409,
            "reference-outside-group"
        );
        Assert.Equal("/spec/nodeGroups", fault.Pointer);
        Assert.Contains("RouteTable/leave", fault.Message, StringComparison.Ordinal);

        Is(200, await PatchAsync("/api/v1/upstreams/leave", """{"spec": {"nodeGroups": ["leave-a", "leave-b"]}}"""));
    }

    [Fact]
    public async Task An_order_goes_with_its_endpoint_in_the_same_revision()
    {
        await GivenAsync("upstreams/ordered", Bodies.Registering);
        await GivenAsync("upstreams/ordered/endpoints/a", Bodies.Endpoint());
        await GivenAsync("upstreams/ordered/endpoints/b", Bodies.Endpoint("10.0.0.2"));
        Is(201, await OrderAsync("/api/v1/upstreams/ordered/endpoints/a:disable"));
        var ordered = (await api.Client.RevisionsAsync(1)).Items[0].Revision;

        Is(200, await api.SendAsync(HttpMethod.Delete, "/api/v1/upstreams/ordered/endpoints/a"));

        (await api.GetAsync("/api/v1/overrides/ordered/a")).Is(404, "not-found");
        Assert.Equal(ordered + 1, (await api.Client.RevisionsAsync(1)).Items[0].Revision);
        Is(200, await PostAsync($"/api/v1/revisions/{ordered}:rollback"));
        Is(200, await api.GetAsync("/api/v1/overrides/ordered/a"));
        Is(200, await PostAsync($"/api/v1/revisions/{ordered + 1}:rollback"));
        (await api.GetAsync("/api/v1/overrides/ordered/a")).Is(404, "not-found");
    }

    [Fact]
    public async Task An_order_goes_with_an_endpoint_that_leaves_the_spec()
    {
        await GivenAsync("upstreams/stating", Bodies.Upstream());
        Is(201, await OrderAsync("/api/v1/upstreams/stating/endpoints/10.0.0.1:8080:drain"));

        Is(
            200,
            await PatchAsync(
                "/api/v1/upstreams/stating",
                """{"spec": {"endpoints": {"static": [{"address": "10.0.0.2", "port": 8080}]}}}"""
            )
        );

        (await api.GetAsync("/api/v1/overrides/stating/10.0.0.1:8080")).Is(404, "not-found");
    }

    [Fact]
    public async Task The_overlay_of_a_route_table_is_in_the_listener_that_holds_it_inline()
    {
        await GivenAsync("upstreams/overlaid", Bodies.Upstream());
        var table = JsonNode.Parse(Bodies.RouteTable("overlaid"))!.AsObject();
        table["spec"]!["envoy"] = new JsonObject { ["maxDirectResponseBodySizeBytes"] = 1234 };
        await GivenAsync("routetables/overlaid", table.ToJsonString());
        await GivenAsync(
            "listeners/overlaid",
            Listener(NextPort(), "overlaid")
                .Replace("\"routeTable\"", "\"inlineRouteTable\": true, \"routeTable\"", StringComparison.Ordinal)
        );

        Assert.Contains("1234", (await api.GetAsync("/api/v1/listeners/overlaid/xds")).Text, StringComparison.Ordinal);
        Is(200, await PatchAsync("/api/v1/routetables/overlaid", """{"spec": {"envoy": {"maxDirectResponseBodySizeBytes": 4321}}}"""));
        Assert.Contains("4321", (await api.GetAsync("/api/v1/listeners/overlaid/xds")).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_cluster_of_the_bootstrap_is_taken_with_a_reason()
    {
        var body = RawListener("to-bootstrap", "127.0.0.1", NextPort()).Replace("raw-target", "local_service", StringComparison.Ordinal);
        var fault = Single(await api.PutAsync("/api/v1/envoyresources/to-bootstrap", body), 422, "reference-not-found");
        Assert.Contains("validation=warn", fault.Message, StringComparison.Ordinal);

        var taken = await api.PutAsync("/api/v1/envoyresources/to-bootstrap" + Warn, body);
        Is(201, taken);
        Assert.Equal("reference-not-found", (string?)taken.Json["warnings"]![0]!["code"]);
        Is(200, await PatchAsync("/api/v1/envoyresources/to-bootstrap", """{"metadata": {"labels": {"a": "b"}}}"""));
    }

    [Theory]
    [InlineData("", true)]
    [InlineData(""", "commonTlsContext": {"validationContext": {}}""", true)]
    [InlineData(""", "commonTlsContext": {"validationContext": {"systemRootCerts": {}}}""", true)]
    [InlineData(
        """, "commonTlsContext": {"validationContext": {"trustedCa": {"filename": "/etc/ssl/certs/ca-certificates.crt"}}}""",
        false
    )]
    [InlineData(""", "commonTlsContext": {"validationContext": {"trustChainVerification": "ACCEPT_UNTRUSTED"}}""", false)]
    public async Task Tls_of_an_overlay_that_verifies_nobody_is_told(string context, bool isTold)
    {
        var body = """
            {"spec": {"endpoints": {"source": "registration"}, "envoy": {"transportSocket": {"name": "envoy.transport_sockets.tls", "typedConfig": {
              "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "a.example"MORE}}}}}
            """.Replace("MORE", context, StringComparison.Ordinal);
        var answer = await api.PutAsync($"/api/v1/upstreams/tls-{NextPort()}", body);
        Is(201, answer);
        Assert.Equal(isTold, answer.Text.Contains("peer-unverified", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_friendly_spec_that_says_so_is_not_told_that_it_verifies_nobody()
    {
        var answer = await api.PutAsync(
            "/api/v1/upstreams/tls-friendly",
            """{"spec": {"endpoints": {"source": "registration"}, "tls": {"insecureSkipVerify": true}}}"""
        );
        Is(201, answer);
        Assert.DoesNotContain("peer-unverified", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Answers_about_proxies_name_the_server_that_knows_them()
    {
        var answer = await api.PutAsync("/api/v1/upstreams/replica?wait=acked", Bodies.Upstream());
        Is(201, answer);
        Assert.Equal(Environment.MachineName, (string?)answer.Json["propagation"]!["replica"]);
        Assert.Equal(Environment.MachineName, (await api.Client.NodesAsync()).Replica);
        var shown = (await api.GetAsync("/api/v1/upstreams/replica")).Json["status"]!;
        Assert.Contains("connected to this server", shown.ToJsonString(), StringComparison.Ordinal);
    }
}
