using System.Collections.Immutable;
using System.Net;
using System.Text;
using ControlPlane.Core.Health;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.Server.HealthIntake.LoadReporting;
using ControlPlane.Server.Publishing;
using ControlPlane.TestKit;
using Envoy.Config.Endpoint.V3;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Health;

/// <summary>How a simulated backend answers checks.</summary>
internal enum Backend
{
    Ok,

    /// <summary>Nothing listens.</summary>
    Refused,

    /// <summary>Packets are dropped: a check ends after its timeout.</summary>
    Blackhole,
    Error500,

    /// <summary>The certificate has expired.</summary>
    Expired,
}

/// <summary>
/// The whole server on a clock that stands still between steps, with simulated observers that hand evidence to the real keeper, and real xDS streams that record the
/// assignments of one upstream, which is called <c>cart</c>.
/// </summary>
internal sealed class HealthWorld : IAsyncDisposable
{
    public const string Upstream = "cart";
    private const double Step = 0.5;
    private static readonly DateTimeOffset Origin = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly SettableClock _time;
    private readonly ImmutableArray<string> _zones;
    private readonly PriorityQueue<Func<Task>, double> _events = new();
    private readonly List<Proxy> _proxies = [];
    private readonly List<LoadReportStream> _envoys = [];
    private readonly XdsClient _client;
    private readonly string _folder;
    private bool _isReplaced;
    private readonly List<HealthEvidence> _evidence = [];
    private IReadOnlyList<string> _probed = [];

    private HealthWorld(ControlPlaneHost host, SettableClock time, ImmutableArray<string> zones, string folder)
    {
        Host = host;
        _time = time;
        _zones = zones;
        _folder = folder;
        _client = new XdsClient(host.Xds.ToString());
    }

    public ControlPlaneHost Host { get; }

    public HealthKeeper Keeper => Host.Services.GetRequiredService<HealthKeeper>();

    /// <summary>Seconds since the beginning, jumps of the clock aside.</summary>
    public double T => (_time.GetUtcNow() - _time.Offset - Origin).TotalSeconds;

    public DateTimeOffset Now => _time.GetUtcNow();

    /// <summary>By endpoint id, where it is not well.</summary>
    public Dictionary<string, Backend> Backends { get; private init; } = [];

    /// <summary>Observers by id, and where they stand.</summary>
    public Dictionary<string, string> Observers { get; private init; } = [];

    /// <summary>Pairs of an observer's zone and an endpoint's, without a connection.</summary>
    public HashSet<(string From, string To)> Cut { get; } = [];

    /// <summary>Observers that fail everything.</summary>
    public HashSet<string> Lying { get; } = [];

    /// <summary>Requests per second of each Envoy to each endpoint.</summary>
    public double Rate { get; set; }

    /// <summary>Number of Envoys that report.</summary>
    public int Envoys { get; set; } = 6;

    /// <summary>Share of the requests to an endpoint that fail, as one Envoy sees it, where they do not all see the same; null leaves it to <see cref="FailingShare"/>.</summary>
    public Func<int, string, double>? ShareOf { get; set; }

    /// <summary>Share of the requests to an endpoint that fail, as Envoys see it.</summary>
    public Dictionary<string, double> FailingShare { get; } = [];

    /// <summary>Starts a server with one upstream.</summary>
    /// <param name="endpoints">Number of endpoints, in the zones in turn.</param>
    /// <param name="zones">Zones of the observers and of the endpoints.</param>
    /// <param name="observersPerZone">How many observers stand in each.</param>
    /// <param name="health">Members of <c>spec.health</c> in YAML flow style.</param>
    /// <param name="services">Changes the server's services.</param>
    public static async Task<HealthWorld> StartAsync(
        int endpoints = 6,
        string[]? zones = null,
        int observersPerZone = 2,
        string health = "",
        Func<ServerOptions, ServerOptions>? options = null,
        Action<WebApplicationBuilder>? services = null
    )
    {
        var time = new SettableClock(Origin);
        var folder = Directory.CreateTempSubdirectory("controlplane-").FullName;
        var host = await StartHostAsync(folder, time, options, services);
        await host.Services.GetRequiredService<CurrentState>().Loaded.WaitAsync(XdsClient.Patience, TimeProvider.System);
        var leadership = host.Services.GetRequiredService<HealthLeadership>();
        await Eventually.True(
            "the server to decide",
            _ =>
            {
                // Of those on a shared database each asks once a second.
                time.Advance(TimeSpan.FromSeconds(leadership.Role.Leads ? 0 : 1));
                return Task.FromResult(leadership.Role.Leads);
            }
        );
        var world = new HealthWorld(host, time, [.. zones ?? ["a", "b", "c"]], folder);
        foreach (var zone in world._zones)
        {
            for (var i = 1; i <= observersPerZone; i++)
            {
                world.AddObserver($"prober-{zone}{i}", zone);
            }
        }

        await world.PutUpstreamAsync(endpoints, health);
        await world.ConnectProxyAsync(zone: null);
        await world.RunAsync(20);
        return world;
    }

    /// <summary>The server is replaced by another one on the same store, which is given what the model remembers. Proxies connect anew; the observers go on.</summary>
    public async Task<HealthWorld> RestartAsync()
    {
        var memory = await Keeper.AskAsync(
            model => new HealthMemory(
                model.Remember(),
                ImmutableDictionary<string, RememberedUpstream>.Empty.Add(
                    Upstream,
                    new RememberedUpstream(model.Remember(Upstream)!, Uid: null, IsLarge: false)
                )
            ),
            CancellationToken.None
        );
        _isReplaced = true;
        await DisposeAsync();
        var host = await StartHostAsync(
            _folder,
            _time,
            null,
            builder => builder.Services.AddSingleton<HealthRecall>(_ => Task.FromResult<HealthMemory?>(memory))
        );
        var world = new HealthWorld(host, _time, _zones, _folder)
        {
            Backends = Backends,
            Observers = Observers,
            Rate = Rate,
            _probed = _probed,
        };
        foreach (var (author, zone) in Observers)
        {
            world.Keeper.Connect(author, zone);
            foreach (var endpoint in _probed)
            {
                world.ProbeAt(T + Step, author, endpoint);
            }
        }

        await world.ConnectProxyAsync(zone: null);
        return world;
    }

    private static Task<ControlPlaneHost> StartHostAsync(
        string folder,
        SettableClock time,
        Func<ServerOptions, ServerOptions>? options,
        Action<WebApplicationBuilder>? services
    ) =>
        ControlPlaneHost.StartAsync(
            o =>
            {
                // The observers are simulated.
                o = o with
                {
                    DataDir = folder,
                    NoProbes = true,
                };
                return options?.Invoke(o) ?? o;
            },
            builder =>
            {
                builder.Services.AddSingleton<TimeProvider>(time);
                services?.Invoke(builder);
            }
        );

    /// <summary>The server's wall clock is set; the time that passes is the same.</summary>
    public void Jump(TimeSpan by) => _time.Jump(by);

    /// <summary>Id of an endpoint by its number.</summary>
    public static string Id(int endpoint) => $"10.0.0.{endpoint + 1}:8080";

    public string ZoneOf(string endpoint) =>
        _zones[(int.Parse(endpoint.Split('.', ':')[3], System.Globalization.CultureInfo.InvariantCulture) - 1) % _zones.Length];

    public void AddObserver(string author, string zone)
    {
        Observers[author] = zone;
        Keeper.Connect(author, zone);
        foreach (var endpoint in _probed)
        {
            ProbeAt(T + Step, author, endpoint);
        }
    }

    /// <summary>Writes the upstream, and lets the observers check what is new.</summary>
    /// <param name="endpoints">Number of endpoints.</param>
    /// <param name="health">Members of <c>spec.health</c> in YAML flow style.</param>
    /// <param name="extra">Lines of <c>spec</c>, indented.</param>
    /// <param name="priorityFrom">The first endpoint of priority 1.</param>
    public async Task PutUpstreamAsync(int endpoints, string health = "", string extra = "", int priorityFrom = int.MaxValue)
    {
        var text = new StringBuilder("spec:\n");
        text.Append(extra);
        text.AppendLine($"  health: {{checks: [{{http: {{path: /}}}}]{(health.Length > 0 ? ", " + health : "")}}}");
        text.AppendLine("  endpoints:\n    source: static\n    static:");
        for (var i = 0; i < endpoints; i++)
        {
            var zone = _zones[i % _zones.Length];
            text.AppendLine(
                $"    - {{address: 10.0.0.{i + 1}, port: 8080, priority: {(i < priorityFrom ? 0 : 1)}, locality: {{zone: '{zone}'}}}}"
            );
        }

        await PutAsync($"api/v1/upstreams/{Upstream}", text.ToString());
        var before = _probed;
        _probed = [.. Enumerable.Range(0, endpoints).Select(Id)];
        foreach (var endpoint in _probed.Except(before))
        {
            foreach (var observer in Observers.Keys)
            {
                ProbeAt(T + 0.1, observer, endpoint);
            }
        }
    }

    /// <summary>Writes an object in YAML.</summary>
    public async Task PutAsync(string path, string yaml)
    {
        using var content = new StringContent(yaml, Encoding.UTF8, "application/yaml");
        using var answer = await Host.Http.PutAsync(path, content);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
    }

    /// <summary>Gives or takes back an operator's order.</summary>
    public async Task<HttpStatusCode> OrderAsync(int endpoint, string verb, string expiresIn = "1h")
    {
        using var content = new StringContent(
            $$"""{"reason": "a test", "expiresIn": "{{expiresIn}}"}""",
            Encoding.UTF8,
            "application/json"
        );
        using var answer = await Host.Http.PostAsync(
            $"api/v1/upstreams/{Upstream}/endpoints/{Uri.EscapeDataString(Id(endpoint))}:{verb}",
            content
        );
        return answer.StatusCode;
    }

    /// <summary>Opens a stream that records the assignments of the upstream.</summary>
    public async Task<Proxy> ConnectProxyAsync(string? zone)
    {
        var proxy = new Proxy(this, zone, _client.OpenDelta($"proxy-{_proxies.Count}", zone: zone));
        _proxies.Add(proxy);
        await proxy.AskAsync();
        return proxy;
    }

    /// <summary>The proxy of no zone, which is always there.</summary>
    public Proxy Everyone => _proxies[0];

    /// <summary>Lets time pass. After each half second everything that follows from it has happened, to the proxies.</summary>
    public async Task RunAsync(double seconds)
    {
        var end = T + seconds;
        while (T < end - 1e-6)
        {
            while (_events.TryPeek(out var action, out var at) && at <= T + Step + 1e-9)
            {
                _events.Dequeue();
                await action();
            }

            // Evidence of the step is there when the clock ticks at its end.
            if (_evidence.Count > 0)
            {
                Keeper.Record([.. _evidence]);
                _evidence.Clear();
            }

            await Keeper.AskAsync(_ => 0, CancellationToken.None);
            _time.Advance(TimeSpan.FromSeconds(Step));
            if (Rate > 0 && Math.Abs(T % 10) < 1e-6)
            {
                await ReportAsync();
            }

            await SettleAsync();
        }
    }

    /// <summary>Runs until a proxy's assignment is as expected, and says after how many seconds.</summary>
    public async Task<double> RunUntilAsync(double within, Func<ClusterLoadAssignment, bool> condition, Proxy? proxy = null)
    {
        var begin = T;
        while (T < begin + within)
        {
            await RunAsync(Step);
            if (condition((proxy ?? Everyone).Last))
            {
                return T - begin;
            }
        }

        Assert.Fail($"Within {within} s the assignment did not become what was expected: {(proxy ?? Everyone).Last}");
        return 0;
    }

    /// <summary>Waits until the keeper has seen everything, and each proxy has what is in force.</summary>
    public async Task SettleAsync()
    {
        await Keeper.AskAsync(_ => 0, CancellationToken.None);
        var verdicts = Host.Services.GetRequiredService<CurrentVerdicts>();
        var publisher = Host.Services.GetRequiredService<SnapshotPublisher>();
        await Eventually.True("the publisher to take the verdicts", _ => Task.FromResult(!verdicts.HasChanged));
        await publisher.PublishedAsync(Host.Services.GetRequiredService<CurrentState>().Desired.Revision, CancellationToken.None);
        foreach (var proxy in _proxies)
        {
            await proxy.SettleAsync();
        }
    }

    public Task<EndpointExplanation> ExplainAsync(int endpoint) =>
        Keeper.AskAsync(model => model.ExplainEndpoint(Upstream, Id(endpoint))!, CancellationToken.None);

    public async ValueTask DisposeAsync()
    {
        foreach (var proxy in _proxies)
        {
            proxy.Dispose();
        }

        _envoys.ForEach(e => e.Dispose());
        _client.Dispose();
        // The end of the server spreads the end of its streams over time, which stands still here.
        var nodes = Host.Services.GetRequiredService<ConnectedNodes>();
        await Eventually.True("the streams to end", _ => Task.FromResult(nodes.Connected().Count == 0));
        await Host.DisposeAsync();
        if (!_isReplaced)
        {
            Directory.Delete(_folder, recursive: true);
        }
    }

    private void ProbeAt(double at, string observer, string endpoint) =>
        _events.Enqueue(
            () =>
            {
                Probe(at, observer, endpoint);
                return Task.CompletedTask;
            },
            at
        );

    private void Probe(double at, string observer, string endpoint)
    {
        if (!Observers.TryGetValue(observer, out var zone) || !_probed.Contains(endpoint))
        {
            return;
        }

        var backend =
            Cut.Contains((zone, ZoneOf(endpoint))) ? Backend.Blackhole
            : Lying.Contains(observer) ? Backend.Refused
            : Backends.GetValueOrDefault(endpoint);
        if (backend == Backend.Blackhole)
        {
            _events.Enqueue(
                () =>
                {
                    End(at, observer, zone, endpoint, backend);
                    return Task.CompletedTask;
                },
                at + 2
            );
        }
        else
        {
            End(at, observer, zone, endpoint, backend);
        }
    }

    private void End(double begun, string observer, string zone, string endpoint, Backend backend)
    {
        var (failure, text) = backend switch
        {
            Backend.Refused => (FailureClass.Refused, "connection refused"),
            Backend.Blackhole => (FailureClass.ConnectTimeout, "no connection within 2 s"),
            Backend.Error500 => (FailureClass.Status, "HTTP 500"),
            Backend.Expired => (FailureClass.Tls, "certificate expired"),
            _ => (FailureClass.None, ""),
        };
        _evidence.Add(
            new CheckResult
            {
                Upstream = Upstream,
                Endpoint = endpoint,
                Author = observer,
                Zone = zone,
                Passed = backend == Backend.Ok,
                Class = failure,
                Text = text,
                BegunAt = Origin.AddSeconds(begun) + _time.Offset,
                TimeToLive = TimeSpan.FromSeconds(17),
            }
        );
        var at = Math.Max(T, begun);
        _events.Enqueue(
            async () =>
            {
                // Whether to hurry is known once the result has been taken.
                var hurries = await Keeper.AskAsync(model => model.ProbesAtEdge(observer, Upstream, endpoint), CancellationToken.None);
                ProbeAt(at + (hurries ? 1 : 5), observer, endpoint);
            },
            at + Step
        );
    }

    /// <summary>What the Envoys saw goes over streams of their own, each Envoy's on one.</summary>
    private async Task ReportAsync()
    {
        var published = Everyone
            .Last.Endpoints.SelectMany(l => l.LbEndpoints)
            .Where(e => e.HealthStatus != global::Envoy.Config.Core.V3.HealthStatus.Unhealthy)
            .Select(Proxy.IdOf)
            .ToList();
        var metrics = Host.Services.GetRequiredService<LoadReportingMetrics>();
        while (_envoys.Count < Envoys)
        {
            var stream = _client.OpenLoadReports($"envoy-{_envoys.Count}", _zones[_envoys.Count % _zones.Length]);
            await stream.BeginAsync();
            _envoys.Add(stream);
        }

        var reports = metrics.Reports + Envoys;
        for (var i = 0; i < Envoys; i++)
        {
            var envoy = i;
            await _envoys[i]
                .ReportAsync(LoadReportStream.Cluster(Upstream, TimeSpan.FromSeconds(10), published.Select(e => Reported(envoy, e))));
        }

        await Eventually.True("the reports to be taken", _ => Task.FromResult(metrics.Reports == reports));
    }

    private ReportedEndpoint Reported(int envoy, string endpoint)
    {
        var requests = (ulong)(Rate * 10);
        var share = ShareOf?.Invoke(envoy, endpoint) ?? FailingShare.GetValueOrDefault(endpoint);
        var failed = (ulong)Math.Round(requests * share);
        var colon = endpoint.LastIndexOf(':');
        return new ReportedEndpoint(
            endpoint[..colon],
            int.Parse(endpoint[(colon + 1)..], System.Globalization.CultureInfo.InvariantCulture),
            requests - failed,
            failed
        );
    }

    /// <summary>A proxy's stream, and what came on it.</summary>
    internal sealed class Proxy(HealthWorld world, string? zone, DeltaStream stream) : IDisposable
    {
        private readonly Lock _lock = new();
        private readonly List<(double T, ClusterLoadAssignment Assignment)> _received = [];
        private readonly List<string> _types = [];
        private string _version = "";
        private TaskCompletionSource _arrived = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Every assignment, with when it came.</summary>
        public IReadOnlyList<(double T, ClusterLoadAssignment Assignment)> Received
        {
            get
            {
                lock (_lock)
                {
                    return [.. _received];
                }
            }
        }

        /// <summary>The types of all responses so far.</summary>
        public IReadOnlyList<string> Types
        {
            get
            {
                lock (_lock)
                {
                    return [.. _types];
                }
            }
        }

        public ClusterLoadAssignment Last => Received[^1].Assignment;

        public async Task AskAsync()
        {
            await stream.AskAsync(ResourceType.Cluster.TypeUrl);
            await stream.AskAsync(ResourceType.Endpoints.TypeUrl, Upstream);
            _ = ReadAsync();
        }

        /// <summary>Waits until the newest assignment has come.</summary>
        public async Task SettleAsync()
        {
            var node = new NodeIdentity { Id = "", Zone = zone ?? "" };
            while (true)
            {
                Task next;
                lock (_lock)
                {
                    var wanted = world.Host.Services.GetRequiredService<CurrentSnapshots>().Of(node)[ResourceType.Endpoints].Find(Upstream);
                    // Of one that is deleted Envoy is told by the cluster's removal.
                    if (wanted is null || wanted.Version == _version)
                    {
                        return;
                    }

                    next = _arrived.Task;
                }

                await next.WaitAsync(XdsClient.Patience, TimeProvider.System);
            }
        }

        /// <summary>What the proxy says of the next assignment instead of taking it; null takes it.</summary>
        public string? Refusal { get; set; }

        public void Dispose() => stream.Dispose();

        public static string IdOf(LbEndpoint endpoint) =>
            $"{endpoint.Endpoint.Address.SocketAddress.Address}:{endpoint.Endpoint.Address.SocketAddress.PortValue}";

        private async Task ReadAsync()
        {
            while (true)
            {
                global::Envoy.Service.Discovery.V3.DeltaDiscoveryResponse response;
                try
                {
                    // However long nothing changes: the clock of this world is not that of the machine.
                    response = await stream.NextAsync(Timeout.InfiniteTimeSpan);
                }
                catch (Exception e)
                    when (e is TimeoutException or InvalidOperationException or Grpc.Core.RpcException or ObjectDisposedException)
                {
                    // The stream is over; whoever still waits for it says so.
                    return;
                }

                if (Refusal is { } text && response.TypeUrl == ResourceType.Endpoints.TypeUrl)
                {
                    await stream.NackAsync(response, text);
                }
                else
                {
                    await stream.AckAsync(response);
                }

                lock (_lock)
                {
                    _types.Add(response.TypeUrl);
                    foreach (var resource in response.Resources.Where(r => r.Resource_.TypeUrl == ResourceType.Endpoints.TypeUrl))
                    {
                        _version = resource.Version;
                        _received.Add((world.T, resource.Resource_.Unpack<ClusterLoadAssignment>()));
                    }

                    _arrived.SetResult();
                    _arrived = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                }
            }
        }
    }
}

/// <summary>What an assignment says.</summary>
internal static class AssignmentReading
{
    public static LbEndpoint? Of(this ClusterLoadAssignment assignment, int endpoint) =>
        assignment.Endpoints.SelectMany(l => l.LbEndpoints).FirstOrDefault(e => HealthWorld.Proxy.IdOf(e) == HealthWorld.Id(endpoint));

    /// <summary>The status of an endpoint as Envoy names it; null if it is left out.</summary>
    public static string? StatusOf(this ClusterLoadAssignment assignment, int endpoint) =>
        assignment.Of(endpoint)?.HealthStatus.ToString().ToUpperInvariant();

    /// <summary>The weight of an endpoint; 1 where none is written.</summary>
    public static uint WeightOf(this ClusterLoadAssignment assignment, int endpoint) => assignment.Of(endpoint)!.LoadBalancingWeight ?? 1;

    public static int Count(this ClusterLoadAssignment assignment, string status) =>
        assignment
            .Endpoints.SelectMany(l => l.LbEndpoints)
            .Count(e => string.Equals(e.HealthStatus.ToString(), status, StringComparison.OrdinalIgnoreCase));

    /// <summary>All are healthy at the same weight.</summary>
    public static bool IsEqual(this ClusterLoadAssignment assignment, int endpoints)
    {
        var all = assignment.Endpoints.SelectMany(l => l.LbEndpoints).ToList();
        return all.Count == endpoints
            && all.All(e => e.HealthStatus == global::Envoy.Config.Core.V3.HealthStatus.Healthy)
            && all.Select(e => e.LoadBalancingWeight ?? 1).Distinct().Count() == 1;
    }
}
