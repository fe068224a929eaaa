using System.Diagnostics;
using System.Diagnostics.Metrics;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Discovery;

/// <summary>What is counted of the discovery services, under the meter and activity source <see cref="Name"/>.</summary>
internal sealed class DiscoveryMetrics
{
    /// <summary>Name of the meter and of the activity source.</summary>
    public const string Name = "ControlPlane.Discovery";

    /// <summary>Spans <c>push</c>, one per push and not per stream.</summary>
    public static readonly ActivitySource Source = new(Name);

    private readonly UpDownCounter<long> _connections;
    private readonly Counter<long> _pushes;
    private readonly Counter<long> _resources;
    private readonly Counter<long> _acks;
    private readonly Counter<long> _nacks;
    private readonly Histogram<double> _pushDuration;
    private readonly Histogram<long> _pushSize;

    // Tags are made once: this is the path of every push.
    private readonly KeyValuePair<string, object?>[] _typeTags =
    [
        .. ResourceType.All.Select(type => new KeyValuePair<string, object?>("xds.resource_type", type.ShortName)),
    ];

    public DiscoveryMetrics(IMeterFactory meters, ConnectedNodes nodes)
    {
        var meter = meters.Create(Name);
        _connections = meter.CreateUpDownCounter<long>(
            "xds.connections",
            "{stream}",
            "Streams that are open and nodes that poll, by protocol and by service."
        );
        _pushes = meter.CreateCounter<long>("xds.pushes", "{response}", "Responses sent.");
        _resources = meter.CreateCounter<long>("xds.resources", "{resource}", "Resources in the responses sent.");
        _acks = meter.CreateCounter<long>("xds.acks", "{response}", "Responses that the client acknowledged.");
        _nacks = meter.CreateCounter<long>("xds.nacks", "{response}", "Responses that the client refused.");
        _pushDuration = meter.CreateHistogram(
            "xds.push.duration",
            "s",
            "From the publication of a change to its response being handed to the connection.",
            advice: new InstrumentAdvice<double>
            {
                HistogramBucketBoundaries = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
            }
        );
        _pushSize = meter.CreateHistogram(
            "xds.push.size",
            "By",
            "Size of a response.",
            advice: new InstrumentAdvice<long>
            {
                HistogramBucketBoundaries = [256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216],
            }
        );
        meter.CreateObservableGauge(
            "xds.stale.nodes",
            nodes.CountStale,
            "{node}",
            "Nodes that have left a response unanswered for more than a minute."
        );
        var refused = meter.CreateCounter<long>(
            "xds.nodes.refused",
            "{attempt}",
            "Attempts of nodes that may not be what they say they are."
        );
        refused.Add(0);
        nodes.NodeRefused += _ => refused.Add(1);
        nodes.ConnectionsChanged = (stream, by) =>
            _connections.Add(
                by,
                new KeyValuePair<string, object?>("protocol", stream.Protocol),
                new KeyValuePair<string, object?>("service", stream.Service)
            );
    }

    /// <summary>A response was sent.</summary>
    /// <param name="response">The response.</param>
    /// <param name="size">Its length in bytes.</param>
    /// <param name="since">Timestamp of the change that it is for; 0 if it answers a request.</param>
    public void Pushed(ServerResponse response, int size, long since)
    {
        var tag = _typeTags[response.Type.Index];
        _pushes.Add(1, tag);
        _resources.Add(response.Count, tag);
        _pushSize.Record(size, tag);
        if (since != 0)
        {
            _pushDuration.Record(Stopwatch.GetElapsedTime(since).TotalSeconds, tag);
        }
    }

    public void Acked(ResourceType type) => _acks.Add(1, _typeTags[type.Index]);

    public void Nacked(ResourceType type) => _nacks.Add(1, _typeTags[type.Index]);
}
