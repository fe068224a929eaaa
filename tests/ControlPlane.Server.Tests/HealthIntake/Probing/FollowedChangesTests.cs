using System.Globalization;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.HealthIntake.Probing;

/// <summary>The whole way: an upstream in the API, real probes of real backends, a verdict with its reason.</summary>
public sealed class FollowedChangesTests
{
    private const string Fast = """{"interval": "500ms", "edgeInterval": "200ms", "timeout": "1s", "http": {"path": "/ready"}}""";

    [Fact]
    public async Task A_backend_that_stops_listening_is_down_and_comes_back_when_it_listens_again()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await using var first = await TestBackend.StartAsync("first");
        await using var second = await TestBackend.StartAsync("second");
        var third = await TestBackend.StartAsync("third");
        var port = third.Port;
        await PutAsync(host, Fast, first.Port, second.Port, port);
        await StateAsync(host, port, "UP");

        await third.DisposeAsync();
        var down = await StateAsync(host, port, "DOWN");
        var evidence = Assert.Single(down.Active.Evidence);
        Assert.Equal(
            ("prober", "FAIL", "refused", "connection refused"),
            (evidence.Author, evidence.Verdict, evidence.Class, evidence.Text)
        );
        Assert.Equal("UNHEALTHY", down.Status);

        await using var again = await TestBackend.StartAsync("third", port: port);
        await StateAsync(host, port, "PROBATION");
    }

    [Fact]
    public async Task A_changed_check_is_the_one_that_counts()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await using var backend = await TestBackend.StartAsync("b");
        await PutAsync(host, Fast, backend.Port);
        await StateAsync(host, backend.Port, "UP");
        Assert.Equal("/ready", backend.LastRequest!.Path);

        await PutAsync(host, Fast.Replace("/ready", "/live", StringComparison.Ordinal), backend.Port);
        await Eventually.True("the new path", _ => Task.FromResult(backend.LastRequest!.Path == "/live"));
    }

    [Fact]
    public async Task A_registered_endpoint_is_probed_until_its_upstream_has_no_checks_any_more()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await using var backend = await TestBackend.StartAsync("b");
        await host.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, "shop"),
            $"spec: {{endpoints: {{source: registration}}, health: {{checks: [{Fast}]}}}}"
        );
        await host.Client.PutAsync(
            new ResourceKey(ResourceKind.Endpoint, "shop/one"),
            string.Create(CultureInfo.InvariantCulture, $$$"""{"spec": {"address": "127.0.0.1", "port": {{{backend.Port}}}}}""")
        );
        await Eventually.True("probes", _ => Task.FromResult(backend.Requests > 2));

        await host.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, "shop"), "spec: {endpoints: {source: registration}}");
        await Eventually.Get(
            "an end of the probes",
            async stop =>
            {
                var before = backend.Requests;
                await Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System, stop);
                return backend.Requests - before;
            },
            more => more == 0
        );
    }

    [Fact]
    public async Task What_may_not_be_probed_is_up_without_a_pass()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await host.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, "shop"),
            $"spec: {{endpoints: {{source: static, static: [{{address: 169.254.169.254, port: 80}}]}}, health: {{checks: [{Fast}]}}}}"
        );
        var endpoint = await StateAsync(host, "169.254.169.254:80", "UP");
        Assert.Empty(endpoint.Active.Evidence);
    }

    private static async Task PutAsync(ControlPlaneHost host, string check, params int[] ports)
    {
        var endpoints = string.Join(
            ", ",
            ports.Select(p => string.Create(CultureInfo.InvariantCulture, $$"""{"address": "127.0.0.1", "port": {{p}}}"""))
        );
        await host.Client.PutAsync(
            new ResourceKey(ResourceKind.Upstream, "shop"),
            $"spec: {{endpoints: {{source: static, static: [{endpoints}]}}, health: {{checks: [{check}]}}}}"
        );
    }

    private static Task<EndpointHealthView> StateAsync(ControlPlaneHost host, int port, string state) =>
        StateAsync(host, string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{port}"), state);

    private static async Task<EndpointHealthView> StateAsync(ControlPlaneHost host, string id, string state)
    {
        var health = await Eventually.Get(
            $"{id} in {state}",
            _ => host.Client.HealthAsync("shop"),
            h => h.Endpoints.Any(e => e.Endpoint == id && e.State == state)
        );
        return health.Endpoints.Single(e => e.Endpoint == id);
    }
}
