using System.Globalization;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Benchmarks;

/// <summary>
/// The discovery services over a snapshot in memory, without store and validation: <c>fanout [PORT [ADMIN-PORT]]</c>. A fleet simulator connects to PORT.
/// <c>POST /fill?clusters=N&amp;endpoints=M</c> makes clusters u00000 …; <c>POST /endpoint?cluster=NAME&amp;weight=W</c> changes the first endpoint of one;
/// <c>GET /memory</c> collects all garbage and says how much is alive.
/// </summary>
internal static class FanOut
{
    public static async Task RunAsync(string[] args)
    {
        var port = args.Length > 0 ? int.Parse(args[0]) : 18000;
        var adminPort = args.Length > 1 ? int.Parse(args[1]) : port + 1;
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Warning);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.ConfigureForDiscovery();
            kestrel.ListenLocalhost(port, listen => listen.Protocols = HttpProtocols.Http2);
            kestrel.ListenLocalhost(adminPort, listen => listen.Protocols = HttpProtocols.Http1);
        });
        var views = new OneView();
        builder.Services.AddSingleton<IViewSource>(views);
        builder.Services.AddDiscovery();
        builder.Services.AddDiscoveryWarmUp();
        await using var app = builder.Build();
        app.MapDiscovery();
        var snapshots = app.Services.GetRequiredService<CurrentSnapshots>();

        app.MapPost(
            "/fill",
            (int clusters, int endpoints) =>
            {
                var resources = new List<EncodedResource>();
                for (var i = 0; i < clusters; i++)
                {
                    var name = string.Create(CultureInfo.InvariantCulture, $"u{i:D5}");
                    resources.Add(EncodedResource.Create(ResourceType.Cluster, name, NewCluster(name)));
                    resources.Add(EncodedResource.Create(ResourceType.Endpoints, name, NewAssignment(name, endpoints, weight: 1)));
                }

                views.EndpointsPerCluster = endpoints;
                views.Publish(snapshots, resources);
                snapshots.MarkReady();
                return Results.Ok();
            }
        );
        app.MapPost(
            "/endpoint",
            (string cluster, uint weight) =>
            {
                views.Publish(
                    snapshots,
                    [EncodedResource.Create(ResourceType.Endpoints, cluster, NewAssignment(cluster, views.EndpointsPerCluster, weight))]
                );
                return Results.Ok();
            }
        );
        app.MapGet(
            "/memory",
            () =>
                new { live = GC.GetTotalMemory(forceFullCollection: true), committed = GC.GetGCMemoryInfo().TotalCommittedBytes }.ToString()
        );
        await app.RunAsync();
    }

    private static Cluster NewCluster(string name) =>
        new()
        {
            Name = name,
            Type = Cluster.Types.DiscoveryType.Eds,
            ConnectTimeout = Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(TimeSpan.FromSeconds(5)),
            EdsClusterConfig = new Cluster.Types.EdsClusterConfig
            {
                EdsConfig = new ConfigSource { Ads = new AggregatedConfigSource(), ResourceApiVersion = ApiVersion.V3 },
            },
        };

    private static ClusterLoadAssignment NewAssignment(string name, int endpoints, uint weight)
    {
        var locality = new LocalityLbEndpoints { Locality = new Locality(), LoadBalancingWeight = 1 };
        for (var i = 0; i < endpoints; i++)
        {
            locality.LbEndpoints.Add(
                new LbEndpoint
                {
                    LoadBalancingWeight = i == 0 ? weight : 1,
                    Endpoint = new Envoy.Config.Endpoint.V3.Endpoint
                    {
                        Address = new Address
                        {
                            SocketAddress = new SocketAddress { Address = $"10.0.{i / 250}.{(i % 250) + 1}", PortValue = 8080 },
                        },
                    },
                }
            );
        }

        return new ClusterLoadAssignment { ClusterName = name, Endpoints = { locality } };
    }

    /// <summary>Every node has the same snapshot.</summary>
    private sealed class OneView : IViewSource
    {
        private readonly Lock _lock = new();
        private Snapshot _snapshot = Snapshot.Empty;
        private long _revision;

        public int EndpointsPerCluster { get; set; }

        public ViewKey ViewOf(NodeIdentity node) => new("all");

        public Snapshot Build(ViewKey view) => Volatile.Read(ref _snapshot);

        public void Publish(CurrentSnapshots snapshots, IReadOnlyCollection<EncodedResource> updated)
        {
            lock (_lock)
            {
                Volatile.Write(ref _snapshot, SnapshotChange.Make(_snapshot, ++_revision, updated, []).After);
                snapshots.Publish((_, before) => SnapshotChange.Make(before, _revision, updated, []));
            }
        }
    }
}
