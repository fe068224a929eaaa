using ControlPlane.Server.HealthIntake.DnsResolution;
using ControlPlane.Server.HealthIntake.LoadReporting;
using ControlPlane.Server.HealthIntake.Probing;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace ControlPlane.Server.Telemetry;

/// <summary>Registers what this folder has.</summary>
internal static class TelemetryExtensions
{
    /// <summary>Where metrics are scraped.</summary>
    public const string MetricsPath = "/metrics";

    /// <summary>The standard variable that names an OTLP collector, for example <c>http://collector:4317</c>; it turns the export on.</summary>
    public const string OtlpEndpointVariable = "OTEL_EXPORTER_OTLP_ENDPOINT";

    /// <summary>
    /// Series that one instrument may have: 5 000 upstreams in 7 states, with room. What is beyond is summed up in one series that says
    /// <c>otel_metric_overflow="true"</c>. The space is reserved at the first value.
    /// </summary>
    private const int MaxUpstreamSeries = 40_000;

    // Meter and span source of the discovery services.
    private const string DiscoveryName = "ControlPlane.Discovery";

    private static readonly string[] Meters =
    [
        PublishingMetrics.MeterName,
        StoreMetrics.MeterName,
        UpstreamMetrics.MeterName,
        HealthMetrics.MeterName,
        DiscoveryName,
        LoadReportingMetrics.MeterName,
        ProbeMetrics.MeterName,
        DnsMetrics.MeterName,
        RpcMetrics.MeterName,
        "Npgsql",
    ];

    /// <summary>
    /// Adds metrics for <see cref="MetricsPath"/> and, where <see cref="OtlpEndpointVariable"/> is set, the export of metrics, traces and logs to that collector.
    /// Without a collector no span is made.
    /// </summary>
    public static IServiceCollection AddTelemetry(this IServiceCollection services, IConfiguration configuration)
    {
        // After the defaults of the console log, which it overrides.
        services.AddLogging(logging => logging.AddConfiguration(configuration.GetSection("Logging")));

        services.AddSingleton<PublishingMetrics>();
        services.AddSingleton<ConvergenceTracker>();
        services.AddSingleton<StoreMetrics>();
        services.AddSingleton<HealthMetrics>();
        services.AddSingleton<RpcMetrics>();
        services.Configure<Grpc.AspNetCore.Server.GrpcServiceOptions>(grpc => grpc.Interceptors.Add<RpcMetrics>());
        services.AddSingleton<UpstreamMetrics>();
        services.AddHostedService(provider => provider.GetRequiredService<UpstreamMetrics>());

        var telemetry = services
            .AddOpenTelemetry()
            .ConfigureResource(resource => resource.AddService("controlplane", serviceVersion: Version))
            .WithMetrics(metrics =>
                metrics
                    .AddMeter(Meters)
                    .AddAspNetCoreInstrumentation()
                    .AddRuntimeInstrumentation()
                    .AddProcessInstrumentation()
                    .AddView(UpstreamMetrics.Endpoints, new MetricStreamConfiguration { CardinalityLimit = MaxUpstreamSeries })
                    .AddView(LoadReportingMetrics.Requests, new MetricStreamConfiguration { CardinalityLimit = MaxUpstreamSeries })
                    .AddView(LoadReportingMetrics.Errors, new MetricStreamConfiguration { CardinalityLimit = MaxUpstreamSeries })
                    .AddView("upstream.healthy_ratio*", new MetricStreamConfiguration { CardinalityLimit = MaxUpstreamSeries })
                    .AddPrometheusExporter()
            );

        if (!string.IsNullOrEmpty(configuration[OtlpEndpointVariable]))
        {
            telemetry
                .WithTracing(traces =>
                    traces
                        .AddSource(Tracing.SourceName, DiscoveryName, "Npgsql")
                        .AddAspNetCoreInstrumentation(options => options.Filter = context => IsTraced(context.Request.Path))
                )
                .UseOtlpExporter();
        }

        return services;
    }

    /// <summary>Serves the metrics in Prometheus' text format.</summary>
    public static IEndpointConventionBuilder MapMetrics(this IEndpointRouteBuilder routes) =>
        // The scrape itself is no request that anyone asks about.
        routes.MapPrometheusScrapingEndpoint(MetricsPath).DisableHttpMetrics();

    private static string Version => typeof(TelemetryExtensions).Assembly.GetName().Version!.ToString(3);

    // Streams of proxies last for hours, and probes come every few seconds: neither makes a span worth having.
    private static bool IsTraced(PathString path) =>
        !path.StartsWithSegments(MetricsPath, StringComparison.Ordinal)
        && !path.StartsWithSegments("/livez", StringComparison.Ordinal)
        && !path.StartsWithSegments("/readyz", StringComparison.Ordinal)
        && !path.StartsWithSegments("/startupz", StringComparison.Ordinal)
        && !(path.Value ?? "").StartsWith("/envoy.", StringComparison.Ordinal)
        && !(path.Value ?? "").StartsWith("/grpc.", StringComparison.Ordinal);
}
