using System.Diagnostics.Metrics;
using System.Net;
using ControlPlane.Core.Snapshots;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Service.Discovery.V3;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// Runs some streams and changes through discovery services of its own on loopback while the server starts, so that the code is compiled when a whole fleet
/// connects at once. What is served, counted and logged is not touched by it; a failure is none of the server's.
/// </summary>
internal sealed partial class DiscoveryWarmUp(ILogger<DiscoveryWarmUp> logger) : BackgroundService
{
    private const int Streams = 40;
    private const int Changes = 40;
    private const int Resources = 300;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await Task.Yield();
        using var limit = new CancellationTokenSource(Limit, TimeProvider.System);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, stoppingToken);
        try
        {
            await RunAsync(either.Token);
        }
        catch (Exception e) when (e is OperationCanceledException or RpcException or IOException or InvalidOperationException)
        {
            LogIncomplete(e.Message);
        }
    }

    internal static async Task RunAsync(CancellationToken cancellationToken)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder
            .WebHost.UseKestrelCore()
            .ConfigureKestrel(kestrel =>
            {
                kestrel.Limits.ConfigureForDiscovery();
                kestrel.Listen(IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http2);
            });
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton<IMeterFactory, OtherMeters>();
        EncodedResource[] resources = [.. Enumerable.Range(0, Resources).SelectMany(i => Resource($"{i}", 0))];
        builder.Services.AddSingleton<IViewSource>(new OneView(SnapshotChange.Make(Snapshot.Empty, 1, resources, []).After));
        builder.Services.AddDiscovery(options => options.ShutdownSpread = TimeSpan.Zero);
        await using var app = builder.Build();
        app.MapDiscovery();
        var snapshots = app.Services.GetRequiredService<CurrentSnapshots>();
        snapshots.MarkReady();
        await app.StartAsync(cancellationToken);
        using var channel = GrpcChannel.ForAddress(app.Urls.Single());
        var client = new AggregatedDiscoveryService.AggregatedDiscoveryServiceClient(channel);
        await Task.WhenAll(Enumerable.Range(0, Streams).Select(i => ReadAsync(client, $"{i}", cancellationToken)));
        var following = Enumerable.Range(0, Streams).Select(i => FollowAsync(client, $"{i}", cancellationToken)).ToList();
        for (var i = 0; i < Changes; i++)
        {
            var updated = Resource("0", i + 1);
            snapshots.Publish((_, before) => SnapshotChange.Make(before, before.Revision + 1, updated, []));
            await Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, cancellationToken);
        }

        await app.StopAsync(cancellationToken);
        // Their streams end as their server does; with which status is no matter here.
        await Task.WhenAll(following).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private static EncodedResource[] Resource(string name, int version) =>
        [
            EncodedResource.Create(ResourceType.Cluster, name, new Cluster { Name = name, AltStatName = new string('a', 200 + version) }),
            EncodedResource.Create(
                ResourceType.Endpoints,
                name,
                new ClusterLoadAssignment { ClusterName = name, NamedEndpoints = { [$"{version}"] = new() } }
            ),
        ];

    /// <summary>A client that connects and goes.</summary>
    private static async Task ReadAsync(
        AggregatedDiscoveryService.AggregatedDiscoveryServiceClient client,
        string node,
        CancellationToken token
    )
    {
        using var stream = client.DeltaAggregatedResources(cancellationToken: token);
        await stream.RequestStream.WriteAsync(Request(ResourceType.Cluster, node), token);
        await stream.ResponseStream.MoveNext(token);
        await stream.RequestStream.CompleteAsync();
        while (await stream.ResponseStream.MoveNext(token)) { }
    }

    /// <summary>A client that acknowledges until the server ends the stream.</summary>
    private static async Task FollowAsync(
        AggregatedDiscoveryService.AggregatedDiscoveryServiceClient client,
        string node,
        CancellationToken token
    )
    {
        using var stream = client.DeltaAggregatedResources(cancellationToken: token);
        await stream.RequestStream.WriteAsync(Request(ResourceType.Cluster, node), token);
        var endpoints = Request(ResourceType.Endpoints, node);
        endpoints.ResourceNamesSubscribe.Add(["0", "1", "2", "3", "4"]);
        await stream.RequestStream.WriteAsync(endpoints, token);
        while (await stream.ResponseStream.MoveNext(token))
        {
            var response = stream.ResponseStream.Current;
            await stream.RequestStream.WriteAsync(new() { TypeUrl = response.TypeUrl, ResponseNonce = response.Nonce }, token);
        }
    }

    private static DeltaDiscoveryRequest Request(ResourceType type, string node) =>
        new()
        {
            Node = new() { Id = node },
            TypeUrl = type.TypeUrl,
        };

    /// <summary>Meters that nobody exports.</summary>
    private sealed class OtherMeters : IMeterFactory
    {
        public Meter Create(MeterOptions options) => new("ControlPlane.WarmUp");

        public void Dispose() { }
    }

    private sealed class OneView(Snapshot snapshot) : IViewSource
    {
        public ViewKey ViewOf(NodeIdentity node) => default;

        public Snapshot Build(ViewKey view) => snapshot;
    }

    [LoggerMessage(EventId = 3003, Level = LogLevel.Debug, Message = "The warm-up was not completed: {Reason}")]
    private partial void LogIncomplete(string reason);
}
