using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Listeners;

/// <summary>Rules of how connections are served as HTTP.</summary>
internal static class HttpValidator
{
    private const string CorsFilter = "envoy.filters.http.cors";
    private const string RouterFilter = "envoy.filters.http.router";
    private const string RouterType = "envoy.extensions.filters.http.router.v3.Router";

    public static void Validate(HttpSpec http, string pointer, ProblemCollector problems)
    {
        problems.NotEmpty($"{pointer}/routeTable", http.RouteTable);
        ValidateFilters(http, $"{pointer}/filters", problems);
        problems.Timeout($"{pointer}/timeouts/request", http.Timeouts.Request);
        problems.Timeout($"{pointer}/timeouts/requestHeaders", http.Timeouts.RequestHeaders);
        problems.Timeout($"{pointer}/timeouts/streamIdle", http.Timeouts.StreamIdle);
        problems.Timeout($"{pointer}/timeouts/connectionIdle", http.Timeouts.ConnectionIdle);
        problems.Timeout($"{pointer}/timeouts/connectionDuration", http.Timeouts.ConnectionDuration);
        problems.Timeout($"{pointer}/timeouts/streamDuration", http.Timeouts.StreamDuration);
        problems.Timeout($"{pointer}/timeouts/drain", http.Timeouts.Drain);
        problems.InRange($"{pointer}/limits/maxRequestHeadersKb", http.Limits.MaxRequestHeadersKb, 1u, 8192u);
        problems.InRange($"{pointer}/limits/maxHeadersCount", http.Limits.MaxHeadersCount, 1u, uint.MaxValue);
        if (http.Limits.MaxRequestsPerConnection == 0)
        {
            problems.Error(
                $"{pointer}/limits/maxRequestsPerConnection",
                "out-of-range",
                "A connection takes at least 1 request; leave it out for no bound."
            );
        }
        ValidateHttp2(http.Http2, $"{pointer}/http2", problems);
        foreach (var (at, upgrade) in http.Upgrades.Index())
        {
            if (http.Upgrades.IndexOf(upgrade) != at)
            {
                problems.Error($"{pointer}/upgrades/{at}", "duplicate-upgrade", "This upgrade stands twice in the list. Keep one.");
            }
        }
        if (http.Tracing is { } tracing)
        {
            problems.NotEmpty($"{pointer}/tracing/upstream", tracing.Upstream);
            problems.Label($"{pointer}/tracing/serviceName", tracing.ServiceName);
            problems.InRange($"{pointer}/tracing/samplingPercent", tracing.SamplingPercent, 0d, 100d);
        }
    }

    private static void ValidateHttp2(Http2Spec http2, string pointer, ProblemCollector problems)
    {
        problems.InRange($"{pointer}/maxConcurrentStreams", http2.MaxConcurrentStreams, 1u, (uint)int.MaxValue);
        problems.InRange($"{pointer}/initialStreamWindowSize", http2.InitialStreamWindowSize, 65535u, (uint)int.MaxValue);
        problems.InRange($"{pointer}/initialConnectionWindowSize", http2.InitialConnectionWindowSize, 65535u, (uint)int.MaxValue);
        if (http2.Keepalive is { } keepalive)
        {
            problems.Interval($"{pointer}/keepalive/interval", keepalive.Interval);
            problems.Interval($"{pointer}/keepalive/timeout", keepalive.Timeout);
        }
    }

    /// <summary>Builds the chain of names as the compiler will, so that every place is found or told to be missing.</summary>
    private static void ValidateFilters(HttpSpec http, string pointer, ProblemCollector problems)
    {
        List<string> chain = http.Cors ? [CorsFilter, RouterFilter] : [RouterFilter];
        foreach (var (at, filter) in http.Filters.Index())
        {
            var place = $"{pointer}/{at}";
            problems.Label($"{place}/name", filter.Name);
            problems.TypedConfig($"{place}/typedConfig", filter.TypedConfig);
            if (filter.Name == RouterFilter || IsRouter(filter))
            {
                problems.Error(
                    place,
                    "router-given",
                    "The router ends every chain already, and Envoy refuses a second one. Leave it out; other filters stand before it."
                );
                continue;
            }
            problems.OneOf(
                place,
                isRequired: false,
                ("first", filter.First),
                ("before", filter.Before is not null),
                ("after", filter.After is not null)
            );
            ValidatePlace(filter.Before, chain, http, $"{place}/before", problems);
            ValidatePlace(filter.After, chain, http, $"{place}/after", problems);
            if (filter.After == RouterFilter)
            {
                problems.Error(
                    $"{place}/after",
                    "after-router",
                    "Nothing may stand after the router. Leave the place out to stand just before it."
                );
            }
            if (chain.Contains(filter.Name))
            {
                problems.Error(
                    $"{place}/name",
                    "duplicate-filter",
                    filter.Name == CorsFilter
                        ? "The listener has this filter already. Say cors: false to put it in yourself."
                        : $"The chain has a filter {TextExcerpt.Quote(filter.Name)} already; route tables could not tell them apart. Choose another name."
                );
            }
            chain.Add(filter.Name);
        }
    }

    private static bool IsRouter(HttpFilterSpec filter) =>
        filter.TypedConfig["@type"] is { } type
        && type.GetValueKind() == System.Text.Json.JsonValueKind.String
        && type.GetValue<string>().EndsWith(RouterType, StringComparison.Ordinal);

    private static void ValidatePlace(string? neighbour, List<string> chain, HttpSpec http, string pointer, ProblemCollector problems)
    {
        if (neighbour is null || chain.Contains(neighbour))
        {
            return;
        }
        problems.Error(
            pointer,
            "unknown-filter",
            http.Filters.Any(f => f.Name == neighbour)
                ? $"The filter {TextExcerpt.Quote(neighbour)} comes later in this list. Filters take their places one after the other: put it before this one."
                : $"The chain has no filter {TextExcerpt.Quote(neighbour)}; it has {string.Join(", ", chain)}.{Suggestion.For(neighbour, chain)}"
        );
    }
}
