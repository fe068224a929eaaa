using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.TestKit;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Service.LoadStats.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Grpc.Net.Client;

namespace ControlPlane.Benchmarks;

/// <summary>
/// What load reports cost the whole server: <c>load-reports [STREAMS [ENDPOINTS [SECONDS]]]</c>. Starts a server of its own and reports to it as so many Envoys do, each on its
/// own connection, about so many endpoints every 10 s, each time with its node of 61 KB.
/// </summary>
internal static class LoadReports
{
    private const int PerUpstream = 20;
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(10);

    public static async Task RunAsync(string[] args)
    {
        var streams = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 1000;
        var endpoints = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 200;
        var seconds = args.Length > 2 ? int.Parse(args[2], CultureInfo.InvariantCulture) : 60;
        await using var server = new ServerProcess();
        await server.StartAsync();
        for (var i = 0; i < endpoints / PerUpstream; i++)
        {
            await server.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, $"u{i}"), Upstream(i));
        }

        var idle = await CpuAsync(server, TimeSpan.FromSeconds(5));
        using var stop = new CancellationTokenSource();
        var reporting = Enumerable.Range(0, streams).Select(i => ReportAsync(server.XdsPort, i, streams, endpoints, stop.Token)).ToList();
        // A round to warm up, of all.
        await Task.Delay(2 * Interval, TimeProvider.System);
        var busy = await CpuAsync(server, TimeSpan.FromSeconds(seconds));
        var memory = Process.GetProcessById(server.ProcessId).WorkingSet64 / (1024 * 1024);
        var metrics = await server.Http.GetStringAsync("/metrics");
        await stop.CancelAsync();
        await Task.WhenAll(reporting);

        Console.WriteLine(
            $"{streams} streams, {endpoints} endpoints each, a report of {Message(0, endpoints).Length / 1024} KB every {Interval.TotalSeconds} s"
        );
        Console.WriteLine($"server: {busy:P1} of a core (idle {idle:P1}), {memory} MB");
        foreach (
            var line in metrics
                .Split('\n')
                .Where(l =>
                    l.StartsWith("lrs_", StringComparison.Ordinal)
                    || l.StartsWith("health_evaluation_duration_seconds_", StringComparison.Ordinal)
                )
                .Where(l => !l.Contains("_bucket", StringComparison.Ordinal))
        )
        {
            Console.WriteLine(line);
        }
    }

    private static async Task ReportAsync(int port, int index, int streams, int endpoints, CancellationToken cancellationToken)
    {
        try
        {
            // Envoys that start at different times report at different times.
            await Task.Delay(Interval * index / streams, TimeProvider.System, cancellationToken);
            using var channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
            using var call = channel
                .CreateCallInvoker()
                .AsyncDuplexStreamingCall(
                    new Method<byte[], byte[]>(
                        MethodType.DuplexStreaming,
                        "envoy.service.load_stats.v3.LoadReportingService",
                        "StreamLoadStats",
                        Marshallers.Create<byte[]>(b => b, b => b),
                        Marshallers.Create<byte[]>(b => b, b => b)
                    ),
                    null,
                    new CallOptions(cancellationToken: cancellationToken)
                );
            await call.RequestStream.WriteAsync(new LoadStatsRequest { Node = NodeOf(index) }.ToByteArray(), cancellationToken);
            await call.ResponseStream.MoveNext(cancellationToken);
            var message = Message(index, endpoints);
            using var timer = new PeriodicTimer(Interval, TimeProvider.System);
            while (await timer.WaitForNextTickAsync(cancellationToken))
            {
                await call.RequestStream.WriteAsync(message, cancellationToken);
            }
        }
        catch (Exception e) when (cancellationToken.IsCancellationRequested && e is OperationCanceledException or RpcException) { }
    }

    /// <summary>Share of a core that the server used over some time.</summary>
    private static async Task<double> CpuAsync(ServerProcess server, TimeSpan time)
    {
        var started = Stopwatch.GetTimestamp();
        var before = Process.GetProcessById(server.ProcessId).TotalProcessorTime;
        await Task.Delay(time, TimeProvider.System);
        return (Process.GetProcessById(server.ProcessId).TotalProcessorTime - before) / Stopwatch.GetElapsedTime(started);
    }

    private static byte[] Message(int index, int endpoints)
    {
        var request = new LoadStatsRequest { Node = NodeOf(index) };
        for (var i = 0; i < endpoints / PerUpstream; i++)
        {
            var locality = new UpstreamLocalityStats
            {
                Locality = new Locality { Region = "local", Zone = "a" },
            };
            for (var j = 0; j < PerUpstream; j++)
            {
                locality.UpstreamEndpointStats.Add(
                    new UpstreamEndpointStats
                    {
                        Address = new Address
                        {
                            SocketAddress = new SocketAddress { Address = AddressOf(i, j), PortValue = 8080 },
                        },
                        TotalSuccessfulRequests = (ulong)(50 + j),
                        TotalErrorRequests = (ulong)(j % 2),
                        TotalIssuedRequests = (ulong)(50 + j),
                    }
                );
            }

            request.ClusterStats.Add(
                new ClusterStats
                {
                    ClusterName = $"u{i}",
                    UpstreamLocalityStats = { locality },
                    LoadReportInterval = Interval.ToDuration(),
                }
            );
        }

        return request.ToByteArray();
    }

    /// <summary>As long as that of Envoy 1.40: 516 extensions.</summary>
    private static Node NodeOf(int index)
    {
        var node = new Node
        {
            Id = $"envoy-{index}",
            Cluster = "edge",
            Locality = new Locality { Region = "local", Zone = $"z{index % 3}" },
            UserAgentName = "envoy",
            ClientFeatures = { "envoy.lrs.supports_send_all_clusters" },
        };
        for (var i = 0; i < 516; i++)
        {
            node.Extensions.Add(
                new Envoy.Config.Core.V3.Extension
                {
                    Name = $"envoy.filters.http.some_extension_{i:D3}",
                    Category = "envoy.filters.http",
                    TypeUrls = { $"envoy.extensions.filters.http.some_extension_{i:D3}.v3.Any" },
                }
            );
        }

        return node;
    }

    private static string Upstream(int index) =>
        new JsonObject
        {
            ["spec"] = new JsonObject
            {
                ["endpoints"] = new JsonObject
                {
                    ["source"] = "static",
                    ["static"] = new JsonArray([
                        .. Enumerable
                            .Range(0, PerUpstream)
                            .Select(j => new JsonObject { ["address"] = AddressOf(index, j), ["port"] = 8080 }),
                    ]),
                },
            },
        }.ToJsonString();

    private static string AddressOf(int upstream, int endpoint) => $"10.1.{upstream}.{endpoint + 1}";
}
