using System.Net;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using ControlPlane.TestKit;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Config.Listener.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Envoy.Service.Runtime.V3;
using Google.Protobuf.WellKnownTypes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Server.Tests.Discovery;

/// <summary>The discovery services on a real Kestrel, over a snapshot that the test writes. A node's view is its <c>cluster</c>.</summary>
internal sealed class DiscoveryTestServer : IAsyncDisposable, IViewSource
{
    private readonly Lock _lock = new();
    private WebApplication _app = null!;
    private Snapshot _all = Snapshot.Empty;
    private long _revision;
    private int _fences;
    private Task _mayClose = Task.CompletedTask;

    public LogRecorder Log { get; } = new();

    /// <summary>The views of nodes; by cluster unless a test says otherwise.</summary>
    public Func<NodeIdentity, string> View { get; set; } = node => node.Cluster;

    /// <summary>Where prior-knowledge HTTP/2 is spoken.</summary>
    public string Address { get; private set; } = "";

    public int Port => new Uri(Address).Port;

    public CurrentSnapshots Snapshots => _app.Services.GetRequiredService<CurrentSnapshots>();

    public ConnectedNodes Nodes => _app.Services.GetRequiredService<ConnectedNodes>();

    public DiscoveryServer Server => _app.Services.GetRequiredService<DiscoveryServer>();

    public IServiceProvider Services => _app.Services;

    public static async Task<DiscoveryTestServer> StartAsync(
        Action<DiscoveryOptions>? configure = null,
        NodeAuthorizer? authorize = null,
        TimeProvider? time = null,
        bool ready = true,
        Action<ListenOptions>? listen = null
    )
    {
        var server = new DiscoveryTestServer();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders().AddProvider(server.Log);
        builder.WebHost.UseKestrelHttpsConfiguration();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.ConfigureForDiscovery();
            kestrel.Listen(IPAddress.Loopback, 0, listen ?? (options => options.Protocols = HttpProtocols.Http2));
        });
        // First, so that it is told last that the server stops: after the discovery services, and before Kestrel.
        builder.Services.AddHostedService(_ => new ClosingGate(server));
        builder.Services.AddSingleton<IViewSource>(server);
        builder.Services.AddSingleton(time ?? TimeProvider.System);
        if (authorize is not null)
        {
            builder.Services.AddSingleton(authorize);
        }

        builder.Services.AddDiscovery(options =>
        {
            options.Identifier = "test-server";
            options.ShutdownSpread = TimeSpan.FromMilliseconds(100);
            configure?.Invoke(options);
        });
        server._app = builder.Build();
        server._app.MapDiscovery();
        if (ready)
        {
            server.Snapshots.MarkReady();
        }

        await server._app.StartAsync();
        server.Address = server._app.Urls.Single();
        return server;
    }

    /// <summary>Holds Kestrel's stop: a client that has not yet read how its stream ended would lose that with the connection.</summary>
    private sealed class ClosingGate(DiscoveryTestServer server) : IHostedLifecycleService
    {
        public Task StoppingAsync(CancellationToken cancellationToken) => server._mayClose;

        public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }

    ViewKey IViewSource.ViewOf(NodeIdentity node) => new(View(node));

    Snapshot IViewSource.Build(ViewKey view) => Volatile.Read(ref _all);

    /// <summary>Adds or replaces resources, for all views.</summary>
    public void Publish(params EncodedResource[] resources) => Publish(resources, []);

    /// <summary>Takes resources away.</summary>
    public void Remove(ResourceType type, params string[] names) =>
        Publish([], [.. names.Select(name => new ResourceReference(type, name))]);

    public void Publish(EncodedResource[] resources, ResourceReference[] removed)
    {
        lock (_lock)
        {
            _revision++;
            Volatile.Write(ref _all, SnapshotChange.Make(_all, _revision, resources, removed).After);
            Snapshots.Publish((_, before) => SnapshotChange.Make(before, _revision, resources, removed));
        }
    }

    /// <summary>
    /// Proves that nothing more is on its way to a stream: a change of its own, published now, must be the next that comes. The stream must have no other
    /// interest in RTDS.
    /// </summary>
    public async Task ExpectNoResponseAsync(DeltaStream stream)
    {
        var name = $"fence-{Interlocked.Increment(ref _fences)}";
        Publish(Resources.Runtime(name, "1"));
        await stream.AskAsync(ResourceType.Runtime.TypeUrl, name);
        var response = await stream.NextAsync();
        Assert.True(response.TypeUrl == ResourceType.Runtime.TypeUrl, $"Expected nothing, but came {response}");
        Assert.Equal(name, Assert.Single(response.Resources).Name);
        await stream.AckAsync(response);
        Publish(Resources.Runtime(name, "2"));
        response = await stream.NextAsync();
        Assert.True(response.TypeUrl == ResourceType.Runtime.TypeUrl, $"Expected nothing, but came {response}");
        await stream.AckAsync(response);
    }

    /// <summary>Likewise for state of the world.</summary>
    public async Task ExpectNoResponseAsync(SotwStream stream)
    {
        var name = $"fence-{Interlocked.Increment(ref _fences)}";
        Publish(Resources.Runtime(name, "1"));
        await stream.AskAsync(ResourceType.Runtime.TypeUrl, name);
        var response = await stream.NextAsync();
        Assert.True(response.TypeUrl == ResourceType.Runtime.TypeUrl, $"Expected nothing, but came {response}");
        await stream.AckAsync(response);
        Publish(Resources.Runtime(name, "2"));
        response = await stream.NextAsync();
        Assert.True(response.TypeUrl == ResourceType.Runtime.TypeUrl, $"Expected nothing, but came {response}");
        await stream.AckAsync(response);
    }

    /// <summary>Awaits a state of the nodes, looking again with each of their changes.</summary>
    public async Task UntilAsync(Func<ConnectedNodes, bool> condition)
    {
        using var patience = new CancellationTokenSource(XdsClient.Patience, TimeProvider.System);
        while (true)
        {
            var next = Nodes.NextChange();
            if (condition(Nodes))
            {
                return;
            }

            await next.WaitAsync(patience.Token);
        }
    }

    /// <summary>Stops the server; connections are closed when a task has ended.</summary>
    public Task StopAsync(Task mayClose)
    {
        _mayClose = mayClose;
        return _app.StopAsync();
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();
}

/// <summary>Small resources of each type.</summary>
internal static class Resources
{
    public static EncodedResource Cluster(string name, string content = "1") =>
        EncodedResource.Create(
            ResourceType.Cluster,
            name,
            new Cluster
            {
                Name = name,
                AltStatName = content,
                Type = Envoy.Config.Cluster.V3.Cluster.Types.DiscoveryType.Eds,
                EdsClusterConfig = new() { EdsConfig = Ads() },
            }
        );

    public static EncodedResource Endpoints(string name, params int[] ports) =>
        EncodedResource.Create(
            ResourceType.Endpoints,
            name,
            new ClusterLoadAssignment
            {
                ClusterName = name,
                Endpoints =
                {
                    new LocalityLbEndpoints
                    {
                        Locality = new Locality { Zone = "z" },
                        LoadBalancingWeight = 1,
                        LbEndpoints =
                        {
                            ports.Select(port => new LbEndpoint
                            {
                                Endpoint = new Envoy.Config.Endpoint.V3.Endpoint { Address = Address(port) },
                            }),
                        },
                    },
                },
            }
        );

    public static EncodedResource Route(string name, params string[] clusters) =>
        EncodedResource.Create(
            ResourceType.Route,
            name,
            RouteConfiguration(name, clusters[0]),
            clusters.Select(cluster => new ResourceReference(ResourceType.Cluster, cluster))
        );

    public static RouteConfiguration RouteConfiguration(string name, string cluster) =>
        new()
        {
            Name = name,
            VirtualHosts =
            {
                new VirtualHost
                {
                    Name = "all",
                    Domains = { "*" },
                    Routes =
                    {
                        new Envoy.Config.Route.V3.Route
                        {
                            Match = new RouteMatch { Prefix = "/" },
                            Route_ = new RouteAction { Cluster = cluster },
                        },
                    },
                },
            },
        };

    public static EncodedResource Listener(string name, int port = 10000, string route = "r") =>
        EncodedResource.Create(
            ResourceType.Listener,
            name,
            new Listener
            {
                Name = name,
                Address = Address(port),
                FilterChains =
                {
                    new FilterChain
                    {
                        Filters =
                        {
                            new Envoy.Config.Listener.V3.Filter
                            {
                                Name = "envoy.filters.network.http_connection_manager",
                                TypedConfig = Any.Pack(
                                    new Envoy.Extensions.Filters.Network.HttpConnectionManager.V3.HttpConnectionManager
                                    {
                                        StatPrefix = name,
                                        Rds = new() { RouteConfigName = route, ConfigSource = Ads() },
                                        HttpFilters =
                                        {
                                            new Envoy.Extensions.Filters.Network.HttpConnectionManager.V3.HttpFilter
                                            {
                                                Name = "envoy.filters.http.router",
                                                TypedConfig = Any.Pack(new Envoy.Extensions.Filters.Http.Router.V3.Router()),
                                            },
                                        },
                                    }
                                ),
                            },
                        },
                    },
                },
            },
            [new ResourceReference(ResourceType.Route, route)]
        );

    public static EncodedResource Secret(string name, string content = "1") =>
        EncodedResource.Create(
            ResourceType.Secret,
            name,
            new Secret
            {
                Name = name,
                GenericSecret = new GenericSecret { Secret = new DataSource { InlineString = content } },
            }
        );

    public static EncodedResource Runtime(string name, string content) =>
        EncodedResource.Create(
            ResourceType.Runtime,
            name,
            new Runtime
            {
                Name = name,
                Layer = new Struct { Fields = { ["v"] = Value.ForString(content) } },
            }
        );

    /// <summary>Any resource of a type, for what does not look inside.</summary>
    public static EncodedResource Of(ResourceType type, string name) =>
        type.ShortName switch
        {
            "CDS" => Cluster(name),
            "EDS" => Endpoints(name, 1),
            "SDS" => Secret(name),
            "LDS" => Listener(name),
            "RDS" => Route(name, "c"),
            "RTDS" => Runtime(name, "1"),
            "ECDS" => EncodedResource.Create(type, name, new TypedExtensionConfig { Name = name }),
            "VHDS" => EncodedResource.Create(type, name, new VirtualHost { Name = name, Domains = { "*" } }),
            _ => EncodedResource.Create(type, name, new ScopedRouteConfiguration { Name = name, RouteConfigurationName = "r" }),
        };

    private static ConfigSource Ads() => new() { Ads = new AggregatedConfigSource(), ResourceApiVersion = ApiVersion.V3 };

    private static Address Address(int port) =>
        new()
        {
            SocketAddress = new Envoy.Config.Core.V3.SocketAddress { Address = "127.0.0.1", PortValue = (uint)port },
        };
}
