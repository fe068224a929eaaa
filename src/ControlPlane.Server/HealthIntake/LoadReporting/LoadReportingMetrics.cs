using System.Diagnostics.Metrics;

namespace ControlPlane.Server.HealthIntake.LoadReporting;

/// <summary>What proxies report about traffic, in numbers.</summary>
internal sealed class LoadReportingMetrics
{
    public const string MeterName = "ControlPlane.LoadReporting";

    /// <summary>Names of the instruments whose number of series grows with the upstreams.</summary>
    public const string Requests = "upstream.requests";

    /// <inheritdoc cref="Requests"/>
    public const string Errors = "upstream.errors";

    private static readonly KeyValuePair<string, object?> UnknownUpstream = Reason("unknown_upstream");
    private static readonly KeyValuePair<string, object?> ForeignUpstream = Reason("foreign_upstream");
    private static readonly KeyValuePair<string, object?> UnknownEndpoint = Reason("unknown_endpoint");
    private static readonly KeyValuePair<string, object?> InvalidCount = Reason("invalid_count");
    private static readonly KeyValuePair<string, object?> InvalidInterval = Reason("invalid_interval");
    private static readonly KeyValuePair<string, object?> NoEndpoints = Reason("no_endpoints");
    private static readonly KeyValuePair<string, object?> TooMany = Reason("too_many");

    private readonly UpDownCounter<long> _streams;
    private readonly Counter<long> _reports;
    private readonly Counter<long> _dropped;
    private long _received;

    public LoadReportingMetrics(IMeterFactory meters, ReportedUpstreams upstreams)
    {
        var meter = meters.Create(MeterName);
        _streams = meter.CreateUpDownCounter<long>("lrs.streams", "{stream}", "Load report streams that are open.");
        _reports = meter.CreateCounter<long>("lrs.reports", "{report}", "Load reports received.");
        _dropped = meter.CreateCounter<long>(
            "lrs.dropped",
            "{entry}",
            "Parts of load reports that were not taken, or not believed in full: clusters, localities and endpoints."
        );
        foreach (
            var reason in (KeyValuePair<string, object?>[])
                [UnknownUpstream, ForeignUpstream, UnknownEndpoint, InvalidCount, InvalidInterval, NoEndpoints, TooMany]
        )
        {
            _dropped.Add(0, reason);
        }

        meter.CreateObservableCounter(
            Requests,
            () => upstreams.Totals().Select(u => Of(u.Upstream, u.Requests)),
            "{request}",
            "Requests to an upstream, attempts counted one by one, as the proxies of this server report them."
        );
        meter.CreateObservableCounter(
            Errors,
            () => upstreams.Totals().Select(u => Of(u.Upstream, u.Errors)),
            "{request}",
            "Those of upstream.requests that failed: 5xx, resets, timeouts, connections that were not made."
        );
    }

    /// <summary>Load reports that were received and handed on.</summary>
    public long Reports => Volatile.Read(ref _received);

    public void StreamsChanged(int by) => _streams.Add(by);

    /// <summary>A report was handed on.</summary>
    /// <param name="dropped">What of it could not be taken.</param>
    /// <param name="foreign">Upstreams in it that the node is not given.</param>
    public void Reported(in DroppedLoads dropped, int foreign)
    {
        Interlocked.Increment(ref _received);
        _reports.Add(1);
        Count(dropped.UnknownUpstreams, UnknownUpstream);
        Count(foreign, ForeignUpstream);
        Count(dropped.UnknownEndpoints, UnknownEndpoint);
        Count(dropped.InvalidCounts, InvalidCount);
        Count(dropped.InvalidIntervals, InvalidInterval);
        Count(dropped.WithoutEndpoints, NoEndpoints);
        Count(dropped.TooMany, TooMany);
    }

    private void Count(int entries, KeyValuePair<string, object?> reason)
    {
        if (entries > 0)
        {
            _dropped.Add(entries, reason);
        }
    }

    private static KeyValuePair<string, object?> Reason(string word) => new("reason", word);

    private static Measurement<long> Of(string upstream, long count) =>
        new(count, KeyValuePair.Create<string, object?>("upstream", upstream));
}
