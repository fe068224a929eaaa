using System.Buffers;
using System.Collections.Immutable;
using System.Runtime.InteropServices;
using System.Text;
using ControlPlane.Core.Health;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using Envoy.Service.LoadStats.V3;
using Google.Protobuf;
using Grpc.Core;

namespace ControlPlane.Server.HealthIntake.LoadReporting;

/// <summary>A <c>LoadStatsRequest</c>, as far as it means something here.</summary>
/// <param name="Node">Who reports; null if the message does not say, or the stream knows.</param>
/// <param name="Loads">What it says of upstreams that there are.</param>
/// <param name="Dropped">What of it could not be taken.</param>
internal sealed record LoadStats(NodeIdentity? Node, IReadOnlyList<UpstreamLoad> Loads, DroppedLoads Dropped);

/// <summary>What one proxy saw of its requests to one upstream.</summary>
/// <param name="Upstream">The upstream.</param>
/// <param name="Interval">The time that the counts cover.</param>
/// <param name="Endpoints">The endpoints that had requests.</param>
/// <param name="Successes">All requests that succeeded, those to endpoints that are not known included.</param>
/// <param name="Errors">All requests that failed.</param>
internal readonly record struct UpstreamLoad(
    ReportedUpstream Upstream,
    TimeSpan Interval,
    ImmutableArray<EndpointLoad> Endpoints,
    long Successes,
    long Errors
);

/// <summary>Counts of what could not be taken of one report.</summary>
[StructLayout(LayoutKind.Auto)]
internal struct DroppedLoads
{
    /// <summary>Clusters that had requests and are no upstreams of ours.</summary>
    public int UnknownUpstreams;

    /// <summary>Endpoints that had requests and are not in the registry: gone meanwhile, or never there.</summary>
    public int UnknownEndpoints;

    /// <summary>Localities or endpoints whose counts are no counts: negative, or beyond what a proxy can have sent.</summary>
    public int InvalidCounts;

    /// <summary>Clusters that do not say, or not believably, which time their counts cover.</summary>
    public int InvalidIntervals;

    /// <summary>Clusters that had requests, without the endpoints to which they went.</summary>
    public int WithoutEndpoints;

    /// <summary>Clusters beyond the number that one report may have.</summary>
    public int TooMany;
}

/// <summary>
/// The two messages of <c>lrs.proto</c>. A report is read from the bytes as they arrived: nine tenths of them are the node, which Envoy repeats every time, and the
/// rest are addresses that are looked up and thrown away.
/// </summary>
internal static class LoadReportMessages
{
    /// <summary>Clusters of one report; what is beyond is dropped.</summary>
    public const int MaxClusters = 20_000;

    /// <summary>The longest interval that is believed.</summary>
    public static readonly TimeSpan MaxInterval = TimeSpan.FromHours(1);

    // More requests than a proxy sends in an hour, and so small that the sum over a fleet stays a number.
    private const ulong MaxCount = 1ul << 40;

    [ThreadStatic]
    private static List<EndpointLoad>? _endpoints;

    public static Marshaller<LoadStats> Requests(ReportedUpstreams upstreams) =>
        new(
            (_, _) => throw new NotSupportedException("The server never writes a request."),
            context => Read(context.PayloadAsReadOnlySequence(), upstreams, StreamReading.Current is { NodeIsKnown: true })
        );

    public static Marshaller<LoadStatsResponse> Responses { get; } =
        Marshallers.Create<LoadStatsResponse>(
            response => response.ToByteArray(),
            _ => throw new NotSupportedException("The server never reads a response.")
        );

    /// <exception cref="InvalidDataException">The message is malformed.</exception>
    internal static LoadStats Read(ReadOnlySequence<byte> message, ReportedUpstreams upstreams, bool nodeIsKnown)
    {
        var reader = new WireReader(message);
        NodeIdentity? node = null;
        var loads = new List<UpstreamLoad>();
        var dropped = new DroppedLoads();
        var clusters = 0;
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1 when !nodeIsKnown:
                    node = NodeReader.Read(reader.ReadBytes());
                    break;
                case 2 when ++clusters <= MaxClusters:
                    if (ReadCluster(reader.ReadBytes(), upstreams, ref dropped) is { } load)
                    {
                        loads.Add(load);
                    }

                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        dropped.TooMany = Math.Max(0, clusters - MaxClusters);
        return new LoadStats(node, loads, dropped);
    }

    /// <summary>Reads a <c>ClusterStats</c>. Its name may come after its counts, so it is looked for first.</summary>
    private static UpstreamLoad? ReadCluster(ReadOnlySequence<byte> message, ReportedUpstreams upstreams, ref DroppedLoads dropped)
    {
        var reader = new WireReader(message);
        ReadOnlySequence<byte> name = default;
        TimeSpan? interval = null;
        var hasLocalities = false;
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    name = reader.ReadBytes();
                    break;
                case 2:
                    hasLocalities = true;
                    reader.Skip();
                    break;
                case 4:
                    interval = ReadDuration(reader.ReadBytes());
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        if (FindUpstream(name, upstreams) is not { } upstream)
        {
            dropped.UnknownUpstreams += hasLocalities ? 1 : 0;
            return null;
        }

        if (interval is not { } covered || covered <= TimeSpan.Zero || covered > MaxInterval)
        {
            // Nobody knows when these requests began: they count, and testify to nothing that had to be after something else.
            dropped.InvalidIntervals++;
            covered = MaxInterval;
        }

        if (!hasLocalities)
        {
            return new UpstreamLoad(upstream, covered, [], 0, 0);
        }

        var endpoints = _endpoints ??= [];
        endpoints.Clear();
        long successes = 0,
            errors = 0;
        var saysWhere = false;
        reader = new WireReader(message);
        while (reader.Next())
        {
            if (reader.Field == 2)
            {
                var counts = ReadLocality(reader.ReadBytes(), upstream, endpoints, ref saysWhere, ref dropped);
                successes += counts.Successes;
                errors += counts.Errors;
            }
            else
            {
                reader.Skip();
            }
        }

        dropped.WithoutEndpoints += !saysWhere && successes + errors > 0 ? 1 : 0;
        return new UpstreamLoad(upstream, covered, [.. endpoints], successes, errors);
    }

    /// <summary>Reads an <c>UpstreamLocalityStats</c> and gives its own totals.</summary>
    private static Counts ReadLocality(
        ReadOnlySequence<byte> message,
        ReportedUpstream upstream,
        List<EndpointLoad> endpoints,
        ref bool saysWhere,
        ref DroppedLoads dropped
    )
    {
        var reader = new WireReader(message);
        var counts = new Counts();
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 2:
                    counts.ReadSuccesses(ref reader);
                    break;
                case 4:
                    counts.ReadErrors(ref reader);
                    break;
                case 7:
                    saysWhere = true;
                    ReadEndpoint(reader.ReadBytes(), upstream, endpoints, ref dropped);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        dropped.InvalidCounts += counts.IsInvalid ? 1 : 0;
        return counts.IsInvalid ? default : counts;
    }

    /// <summary>Reads an <c>UpstreamEndpointStats</c>.</summary>
    private static void ReadEndpoint(
        ReadOnlySequence<byte> message,
        ReportedUpstream upstream,
        List<EndpointLoad> endpoints,
        ref DroppedLoads dropped
    )
    {
        var reader = new WireReader(message);
        ReadOnlySequence<byte> address = default;
        var counts = new Counts();
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    address = reader.ReadBytes();
                    break;
                case 2:
                    counts.ReadSuccesses(ref reader);
                    break;
                case 4:
                    counts.ReadErrors(ref reader);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        if (counts.IsInvalid)
        {
            dropped.InvalidCounts++;
        }
        else if (counts.Successes + counts.Errors == 0)
        {
            // Requests that are still under way: they come again when they have ended.
        }
        else if (FindEndpoint(address, upstream) is { } id)
        {
            endpoints.Add(new EndpointLoad(id, counts.Successes, counts.Errors));
        }
        else
        {
            dropped.UnknownEndpoints++;
        }
    }

    private static ReportedUpstream? FindUpstream(ReadOnlySequence<byte> name, ReportedUpstreams upstreams)
    {
        Span<char> text = stackalloc char[NodeReader.MaxNameLength];
        return TryDecode(name, text, out var length) ? upstreams.Find(text[..length]) : null;
    }

    /// <summary>Reads a <c>core.v3.Address</c>: a <c>socket_address</c> or a <c>pipe</c>.</summary>
    private static string? FindEndpoint(ReadOnlySequence<byte> message, ReportedUpstream upstream)
    {
        var reader = new WireReader(message);
        ReadOnlySequence<byte> text = default;
        var port = 0ul;
        while (reader.Next())
        {
            if (reader.Field is not (1 or 2))
            {
                reader.Skip();
                continue;
            }

            // SocketAddress.address and .port_value; Pipe.path.
            var textField = reader.Field == 1 ? 2 : 1;
            var inner = new WireReader(reader.ReadBytes());
            port = 0;
            while (inner.Next())
            {
                if (inner.Field == textField)
                {
                    text = inner.ReadBytes();
                }
                else if (textField == 2 && inner.Field == 3)
                {
                    port = inner.ReadNumber();
                }
                else
                {
                    inner.Skip();
                }
            }
        }

        Span<char> address = stackalloc char[EndpointAddresses.MaxLength];
        return port <= ushort.MaxValue && TryDecode(text, address, out var length)
            ? upstream.FindEndpoint(address[..length], (int)port)
            : null;
    }

    /// <summary>Decodes UTF-8; false where it is empty or longer than what it is to be decoded into.</summary>
    private static bool TryDecode(ReadOnlySequence<byte> bytes, Span<char> text, out int length)
    {
        length = 0;
        if (bytes.IsEmpty || bytes.Length > text.Length)
        {
            return false;
        }

        length = Encoding.UTF8.GetChars(bytes, text);
        return true;
    }

    /// <summary>Reads a <c>google.protobuf.Duration</c>; null if it is beyond what a time can be.</summary>
    private static TimeSpan? ReadDuration(ReadOnlySequence<byte> message)
    {
        var reader = new WireReader(message);
        long seconds = 0,
            nanoseconds = 0;
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    seconds = (long)reader.ReadNumber();
                    break;
                case 2:
                    nanoseconds = (long)reader.ReadNumber();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return Math.Abs((double)seconds) <= MaxInterval.TotalSeconds && Math.Abs((double)nanoseconds) < 1e9
            ? TimeSpan.FromTicks((seconds * TimeSpan.TicksPerSecond) + (nanoseconds / TimeSpan.NanosecondsPerTick))
            : null;
    }

    [StructLayout(LayoutKind.Auto)]
    private struct Counts
    {
        public long Successes;
        public long Errors;
        public bool IsInvalid;

        public void ReadSuccesses(ref WireReader reader) => Read(ref reader, ref Successes);

        public void ReadErrors(ref WireReader reader) => Read(ref reader, ref Errors);

        private void Read(ref WireReader reader, ref long count)
        {
            var value = reader.ReadNumber();
            IsInvalid |= value > MaxCount;
            count = (long)Math.Min(value, MaxCount);
        }
    }
}
