using System.Collections.Concurrent;
using System.Net;
using System.Text.RegularExpressions;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Telemetry;
using ControlPlane.TestKit;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Server.Tests.Telemetry;

[Collection(nameof(WholeProcess))]
public sealed class MetricsEndpointTests
{
    [Fact]
    public async Task Metrics_are_scraped_under_their_prometheus_names_with_buckets_in_seconds()
    {
        await using var app = await StartAsync();
        var publishing = app.Services.GetRequiredService<PublishingMetrics>();
        publishing.SnapshotBuilt(TimeSpan.FromMilliseconds(3));
        publishing.Converged(ResourceType.Cluster, TimeSpan.FromMilliseconds(30));
        var store = app.Services.GetRequiredService<StoreMetrics>();
        store.Queried("commit", "ok", TimeProvider.System.GetTimestamp());
        store.Notified(1);
        store.Committed(1);
        using var http = new HttpClient { BaseAddress = new Uri(app.Urls.Single()) };
        await http.GetStringAsync("hello");

        var text = await http.GetStringAsync("metrics");

        AssertHas(text, """xds_snapshot_build_duration_seconds_bucket\{.*le="0.0025"\} 0$""");
        AssertHas(text, """xds_snapshot_build_duration_seconds_bucket\{.*le="0.005"\} 1$""");
        AssertHas(text, """xds_convergence_duration_seconds_count\{.*xds_resource_type="CDS".*\} 1$""");
        AssertHas(text, """store_query_duration_seconds_count\{.*operation="commit",result="ok".*\} 1$""");
        AssertHas(text, """store_notify_lag_seconds_count\{.*\} 1$""");
        AssertHas(text, """store_state\{.*\} 1$""");
        AssertHas(text, """upstream_endpoints\{.*state="healthy",upstream="web".*\} 1$""");
        AssertHas(text, """http_server_request_duration_seconds_count\{.*http_route="/hello".*\} 1$""");
        AssertHas(text, """dotnet_process_memory_working_set_bytes\{.*\} \d+""");
        AssertHas(text, "kestrel_active_connections");
        Assert.DoesNotMatch("(?m)^http_server_request_duration.*http_route=\"/metrics\"", await http.GetStringAsync("metrics"));
    }

    [Fact]
    public async Task Calls_in_gRPC_and_the_process_are_measured_under_the_names_of_the_conventions()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        using var client = new XdsClient(host.Xds.ToString());
        await new Grpc.Health.V1.Health.HealthClient(client.Invoker).CheckAsync(new Grpc.Health.V1.HealthCheckRequest());
        using (var stream = client.OpenDelta("n", method: "StreamNothing"))
        {
            await stream.EndAsync();
        }

        using (var stream = client.OpenDelta("n"))
        {
            await stream.AskAsync("");
            Assert.Equal(Grpc.Core.StatusCode.InvalidArgument, (await stream.EndAsync()).StatusCode);
        }

        var text = "";
        await Eventually.True(
            "both calls to be measured",
            async token =>
            {
                text = await host.Http.GetStringAsync("/metrics", token);
                return text.Contains("DeltaAggregatedResources", StringComparison.Ordinal);
            }
        );
        const string Count =
            """rpc_server_call_duration_seconds_count\{.*rpc_method="METHOD",rpc_response_status_code="STATUS",rpc_system_name="grpc".*\} 1$""";
        AssertHas(
            text,
            Count
                .Replace("METHOD", "grpc.health.v1.Health/Check", StringComparison.Ordinal)
                .Replace("STATUS", "OK", StringComparison.Ordinal)
        );
        AssertHas(
            text,
            Count
                .Replace("METHOD", XdsClient.Ads + "/DeltaAggregatedResources", StringComparison.Ordinal)
                .Replace("STATUS", "INVALID_ARGUMENT", StringComparison.Ordinal)
        );
        Assert.DoesNotContain("StreamNothing", text, StringComparison.Ordinal);
        AssertHas(text, """process_memory_usage_bytes\{.*\} \d+""");
        AssertHas(text, """process_cpu_time_seconds_total\{.*\} \d+""");
    }

    [Fact]
    public async Task Five_thousand_upstreams_are_counted_without_a_loss()
    {
        await using var app = await StartAsync(upstreams: 5000);
        using var http = new HttpClient { BaseAddress = new Uri(app.Urls.Single()) };
        var text = await http.GetStringAsync("metrics");
        Assert.Equal(20_000, text.Split('\n').Count(line => line.StartsWith("upstream_endpoints{", StringComparison.Ordinal)));
        Assert.DoesNotContain("otel_metric_overflow", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_collector_that_the_standard_variable_names_gets_metrics_and_traces()
    {
        var paths = new ConcurrentDictionary<string, bool>();
        await using var collector = Server();
        collector.Run(async context =>
        {
            paths[context.Request.Path] = true;
            await context.Request.Body.CopyToAsync(Stream.Null);
        });
        await collector.StartAsync();

        await using (
            var app = await StartAsync(
                settings: new()
                {
                    [TelemetryExtensions.OtlpEndpointVariable] = collector.Urls.Single(),
                    ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf",
                }
            )
        )
        {
            using (Tracing.StartApply())
            {
                app.Services.GetRequiredService<PublishingMetrics>().SnapshotBuilt(TimeSpan.FromMilliseconds(3));
            }

            // Its end sends what is still to be sent.
            await app.StopAsync();
        }

        Assert.Equal(["/v1/metrics", "/v1/traces"], paths.Keys.Where(p => p != "/v1/logs").Order());
    }

    private static async Task<WebApplication> StartAsync(int upstreams = 1, Dictionary<string, string?>? settings = null)
    {
        var app = Server(builder =>
        {
            builder.Configuration.AddInMemoryCollection(settings ?? []);
            builder.Services.AddSingleton(TimeProvider.System);
            builder.Services.AddSingleton<CurrentState>();
            builder.Services.AddTelemetry(builder.Configuration);
        });
        app.MapMetrics();
        app.MapGet("/hello", () => "hello");
        app.Services.GetRequiredService<CurrentState>()
            .Advance(
                new StatePair(DesiredState.Empty.Apply(1, [.. Enumerable.Range(0, upstreams).Select(Upstream)], []), CompiledState.Empty),
                [],
                []
            );
        await app.StartAsync();
        return app;
    }

    private static WebApplication Server(Action<WebApplicationBuilder>? configure = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        configure?.Invoke(builder);
        return builder.Build();
    }

    private static StoredResource Upstream(int index) =>
        new()
        {
            Manifest = new Manifest(
                ResourceKind.Upstream,
                new ResourceMetadata { Name = index == 0 ? "web" : "web-" + index },
                new UpstreamSpec { Endpoints = new EndpointsSpec { Static = [new EndpointSpec { Address = "127.0.0.1", Port = 80 }] } }
            ),
            Uid = Guid.NewGuid(),
            Generation = 1,
            Revision = 1,
            CreatedAt = DateTimeOffset.UnixEpoch,
            UpdatedAt = DateTimeOffset.UnixEpoch,
            ManagedBy = "rest/tests",
        };

    private static void AssertHas(string text, string line) =>
        Assert.True(
            Regex.IsMatch(text, "^" + line, RegexOptions.Multiline, TimeSpan.FromSeconds(5)),
            $"No line matches {line} in:{Environment.NewLine}{text}"
        );
}

/// <summary>Tests that look at the whole process: meters are heard by name, whichever server in it they belong to, so no other test may run beside.</summary>
[CollectionDefinition(nameof(WholeProcess), DisableParallelization = true)]
public sealed class WholeProcess;
