using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.TestKit;

/// <summary>The tools of the other tests, on an Envoy with a static configuration.</summary>
public sealed class EnvoyFixtureTests
{
    private static string Bootstrap(int listener, int backend) =>
        $$"""
            admin: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } }
            node: { id: from-the-bootstrap, cluster: tests }
            static_resources:
              listeners:
                - name: in
                  address: { socket_address: { address: 127.0.0.1, port_value: {{listener}} } }
                  filter_chains:
                    - filters:
                        - name: http
                          typed_config:
                            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                            stat_prefix: in
                            access_log:
                              - name: stdout
                                typed_config:
                                  "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
                                  log_format: { text_format_source: { inline_string: "%REQ(:PATH)%\n" } }
                            route_config:
                              virtual_hosts:
                                - { name: all, domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: backend } }] }
                            http_filters:
                              - name: router
                                typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
              clusters:
                - name: backend
                  connect_timeout: 1s
                  load_assignment:
                    cluster_name: backend
                    endpoints:
                      - lb_endpoints:
                          - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {{backend}} } } }
            """;

    [Theory]
    [InlineData(EnvoyRelease.Current)]
    [InlineData(EnvoyRelease.Oldest)]
    public async Task An_envoy_serves_shows_what_it_has_and_can_be_started_again(EnvoyRelease release)
    {
        await using var backend = await TestBackend.StartAsync("one");
        await using var envoy = new EnvoyFixture(release);
        var port = FreePort.Next();

        await envoy.StartAsync(Bootstrap(10000, 7000), new Dictionary<int, int> { [10000] = port, [7000] = backend.Port });
        await envoy.ReadyAsync();

        using var http = new HttpClient();
        Assert.Equal("one", await http.GetStringAsync($"http://127.0.0.1:{port}/a%2Fb?c=d"));
        Assert.Equal("/a%2Fb?c=d", backend.LastRequest!.Path);
        Assert.Equal([$"127.0.0.1:{backend.Port}"], await envoy.HostsAsync("backend"));
        Assert.Equal(1, await envoy.StatAsync("cluster.backend.upstream_rq_total"));
        Assert.Equal(envoy.NodeId, (string?)(await envoy.ConfigDumpAsync())["configs"]![0]!["bootstrap"]!["node"]!["id"]);
        await Eventually.Get(
            "the access log",
            _ => Task.FromResult(envoy.Output),
            text => text.Contains("/a%2Fb?c=d", StringComparison.Ordinal)
        );

        envoy.Kill();
        Assert.NotNull(envoy.ExitCode);
        Assert.Contains("starting main dispatch loop", envoy.Log, StringComparison.Ordinal);
        await envoy.StartAsync(Bootstrap(port, backend.Port));
        await envoy.ReadyAsync();
        Assert.Equal("one", await http.GetStringAsync($"http://127.0.0.1:{port}/"));
        await envoy.StopAsync();
        Assert.Equal(0, envoy.ExitCode);
    }

    [Fact]
    public async Task An_envoy_that_refuses_its_bootstrap_fails_the_start_with_its_words()
    {
        await using var envoy = new EnvoyFixture();
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() =>
            envoy.StartAsync("static_resources: { listeners: [{ nam: x }] }")
        );
        Assert.Contains("nam", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_load_counts_each_failed_request_with_its_reason()
    {
        await using var backend = await TestBackend.StartAsync("one");
        await using var envoy = new EnvoyFixture();
        var port = FreePort.Next();
        await envoy.StartAsync(Bootstrap(port, backend.Port));
        await envoy.ReadyAsync();

        await using var load = new LoadGenerator(new Uri($"http://127.0.0.1:{port}/"), requestsPerSecond: 200);
        await Eventually.True("100 requests", _ => Task.FromResult(load.Report.Sent >= 100));
        Assert.Equal(0, load.Report.Failed);

        backend.Status = 418;
        await Eventually.True("a failure", _ => Task.FromResult(load.Report.Failed > 0));
        backend.Status = 200;
        backend.Abort = true;
        await Eventually.True(
            "a reset",
            _ => Task.FromResult(load.Report.Failures.Keys.Any(r => r.Contains("503", StringComparison.Ordinal)))
        );
        backend.Abort = false;

        var report = await load.StopAsync();
        Assert.InRange(backend.Requests, report.Sent - report.Failed, report.Sent);
        Assert.Contains(report.Failures.Keys, r => r.EndsWith(": 418 one", StringComparison.Ordinal));
        Assert.Contains(report.Failures.Keys, r => r.Contains("503 upstream connect error", StringComparison.Ordinal));
    }
}
