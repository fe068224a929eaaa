using System.Collections.Immutable;
using System.Diagnostics.Metrics;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using ControlPlane.Core.Health;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.Server.Publishing;
using ControlPlane.TestKit;
using Envoy.Config.Endpoint.V3;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Health;

/// <summary>
/// The scenarios of the health model's test plan, as traces of its executable form, through the whole server: upstreams, endpoints and orders by REST, load reports on real
/// streams, checks through the keeper's door, and out of it what real proxies of every zone are told. The traces are those of the model's own tests, which look at each step.
/// </summary>
public sealed class ServerTraceTests
{
    /// <summary>The longest that a change may wait to be merged.</summary>
    private const double Longest = 2;

    /// <summary>Time between evaluations.</summary>
    private const double Tick = 0.5;

    // A refused list and a restart are no inputs of the server: VerdictTests has them.
    private static readonly string[] Elsewhere = ["T39", "T69"];

    private static string Folder => Path.Combine(Repository.Root(), "tests", "ControlPlane.Core.Tests", "Health", "Traces");

    // A dead backend, a dead zone, a slow one, a wrong check, a link fault, a new upstream.
    private static readonly string[] First = ["T1", "T9", "T12", "T24", "T51"];

    public static TheoryData<string> FirstTraces => [.. First];

    public static TheoryData<string> OtherTraces =>
        [
            .. Directory
                .GetFiles(Folder, "T*.jsonl.gz")
                .Select(f => Path.GetFileName(f).Replace(".jsonl.gz", "", StringComparison.Ordinal))
                .Except(Elsewhere)
                .Except(First)
                .Order(StringComparer.Ordinal),
        ];

    [Fact]
    public void There_are_traces() => Assert.True(OtherTraces.Count > 50, $"only {OtherTraces.Count} further traces in {Folder}");

    [Theory, MemberData(nameof(FirstTraces))]
    public Task Proxies_are_told_what_the_model_says(string trace) => ReplayAsync(trace);

    [Theory, MemberData(nameof(OtherTraces))]
    [Trait("Category", "Slow")]
    public Task Proxies_are_told_what_the_model_says_whatever_happens(string trace) => ReplayAsync(trace);

    private static async Task ReplayAsync(string trace)
    {
        await using var replay = new Replay();
        await replay.RunAsync(Lines(trace));
        Assert.True(replay is { Inputs: > 50, Compared: > 50, Published: > 0 }, "the trace is too short to prove anything");
    }

    private static IEnumerable<string> Lines(string trace)
    {
        using var file = File.OpenRead(Path.Combine(Folder, trace + ".jsonl.gz"));
        using var reader = new StreamReader(new GZipStream(file, CompressionMode.Decompress));
        while (reader.ReadLine() is { } line)
        {
            yield return line;
        }
    }

    private sealed class Replay : IAsyncDisposable
    {
        private static readonly DateTimeOffset Origin = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

        private readonly FakeTimeProvider _time = new(Origin);
        private readonly Dictionary<string, string> _zones = [];
        private readonly Dictionary<string, int> _ports = [];
        private readonly Dictionary<
            (string Upstream, string? Zone),
            List<(double T, ImmutableSortedDictionary<string, string>? Endpoints)>
        > _published = [];
        private readonly Dictionary<string, LoadReportStream> _envoys = [];
        private readonly List<(
            string? Zone,
            DeltaStream Stream,
            Dictionary<string, (string Version, ImmutableSortedDictionary<string, string> Told)> Has
        )> _proxies = [];
        private readonly Queue<(double T, string Upstream, string? Zone, ImmutableSortedDictionary<string, string> Told)> _told = [];
        private readonly MeterListener _listener = new();
        private ControlPlaneHost _host = null!;
        private XdsClient _client = null!;
        private readonly SemaphoreSlim _reports = new(0);

        public int Inputs { get; private set; }

        public int Compared { get; private set; }

        public int Published { get; private set; }

        private HealthKeeper Keeper => _host.Services.GetRequiredService<HealthKeeper>();

        public async Task RunAsync(IEnumerable<string> lines)
        {
            using var line = lines.GetEnumerator();
            line.MoveNext();
            using (var header = JsonDocument.Parse(line.Current))
            {
                await BeginAsync(header.RootElement);
            }

            var evidence = new List<HealthEvidence>();
            while (line.MoveNext())
            {
                using var document = JsonDocument.Parse(line.Current);
                var x = document.RootElement;
                var t = x.GetProperty("t").GetDouble();
                if (x.TryGetProperty("out", out var kind))
                {
                    if (kind.GetString() == "eds")
                    {
                        Expect(t, x);
                    }

                    continue;
                }

                Inputs++;
                var isTick = Text(x, "in") == "tick";
                if (evidence.Count > 0 && (isTick || Text(x, "in") != "result"))
                {
                    Keeper.Record([.. evidence]);
                    evidence.Clear();
                    await Keeper.AskAsync(_ => 0, CancellationToken.None);
                }

                // What is expected follows its tick, so it is looked at before the next input.
                if (_looksAt is { } tick)
                {
                    _looksAt = null;
                    await CompareAsync(tick);
                }

                // What the trace has at the very moment of a tick comes before it; here the clock ticks by itself.
                var at = Origin.AddSeconds(isTick || t % Tick > 1e-6 ? t : t - 0.001);
                if (at > _time.GetUtcNow())
                {
                    _time.Advance(at - _time.GetUtcNow());
                }

                switch (Text(x, "in"))
                {
                    case "result":
                        evidence.Add(Result(x));
                        break;
                    case "lrs":
                        await ReportAsync(x);
                        break;
                    case "tick":
                        _looksAt = t;
                        break;
                    case "endpoints":
                        await RegisterAsync(Text(x, "upstream"), x.GetProperty("endpoints"));
                        break;
                    case "order":
                        await OrderAsync(x);
                        break;
                    case "connect":
                        Connect(Text(x, "observer"), x);
                        break;
                    case "disconnect":
                        Keeper.Disconnect(Text(x, "observer"));
                        break;
                    default:
                        throw new InvalidOperationException($"unknown input {Text(x, "in")}");
                }
            }

            CompareTold(until: double.MaxValue);
        }

        private double? _looksAt;

        public async ValueTask DisposeAsync()
        {
            foreach (var (_, stream, _) in _proxies)
            {
                stream.Dispose();
            }

            foreach (var envoy in _envoys.Values)
            {
                envoy.Dispose();
            }

            _client.Dispose();
            // The end of the server spreads the end of its streams over time, which stands still here.
            var nodes = _host.Services.GetRequiredService<ConnectedNodes>();
            await Eventually.True("the streams to end", _ => Task.FromResult(nodes.Connected().Count == 0));
            _listener.Dispose();
            _reports.Dispose();
            await _host.DisposeAsync();
        }

        private async Task BeginAsync(JsonElement header)
        {
            _host = await ControlPlaneHost.StartAsync(
                o => o with { NoProbes = true },
                builder => builder.Services.AddSingleton<TimeProvider>(_time)
            );
            _client = new XdsClient(_host.Xds.ToString());
            CountReports();
            foreach (var o in header.GetProperty("observers").EnumerateArray())
            {
                Connect(Text(o, "id"), o);
            }

            var mode = Text(header.GetProperty("config"), "quorum_mode");
            foreach (var upstream in header.GetProperty("upstreams").EnumerateObject())
            {
                var options = upstream.Value;
                var onTotalFailure = Text(options, "on_total_failure") switch
                {
                    "SPRAY" => ", onTotalFailure: spray",
                    "FAIL_FAST" => ", onTotalFailure: failFast",
                    "FALLBACK" => ", onTotalFailure: fallback",
                    _ => "",
                };
                var locality = options.GetProperty("locality").GetBoolean()
                    ? "loadBalancing: {locality: {mode: weighted}}"
                    : "loadBalancing: {}";
                var checks = options.GetProperty("checks").GetBoolean() ? "[{tcp: {}}]" : "[]";
                await SendAsync(
                    HttpMethod.Put,
                    $"api/v1/upstreams/{upstream.Name}",
                    $$"""
                    spec:
                      endpoints: {source: registration}
                      {{locality}}
                      health:
                        checks: {{checks}}
                        minimumHealthyPercent: {{options.GetProperty("min_healthy").GetInt32()}}
                        outlierDetection: {enabled: false}
                        {{$"quorum: {{mode: {mode}}}"}}
                        {{$"outlier: {{policy: {Text(options, "outlier_policy")}}}"}}
                    """ + (onTotalFailure.Length > 0 ? $"\n    {onTotalFailure[2..]}" : "")
                );
                await RegisterAsync(upstream.Name, options.GetProperty("endpoints"));
            }

            string[] names = [.. header.GetProperty("upstreams").EnumerateObject().Select(u => u.Name)];
            foreach (var zone in _zones.Values.Distinct().Prepend(null))
            {
                var stream = _client.OpenDelta($"proxy-{zone ?? "of-no-zone"}", zone: zone ?? "nowhere");
                await stream.AskAsync(ResourceType.Endpoints.TypeUrl, names);
                _proxies.Add((zone, stream, []));
            }
        }

        /// <summary>Load reports arrive on streams of their own: the next input waits until the keeper has them.</summary>
        private void CountReports()
        {
            var factory = _host.Services.GetRequiredService<IMeterFactory>();
            _listener.InstrumentPublished = (instrument, listener) =>
            {
                if (ReferenceEquals(instrument.Meter.Scope, factory) && instrument.Name == "health.evidence.received")
                {
                    listener.EnableMeasurementEvents(instrument);
                }
            };
            _listener.SetMeasurementEventCallback<long>(
                (_, value, tags, _) =>
                {
                    if (value > 0 && tags.ToArray().Contains(KeyValuePair.Create<string, object?>("kind", "traffic")))
                    {
                        _reports.Release((int)value);
                    }
                }
            );
            _listener.Start();
        }

        private void Connect(string author, JsonElement x)
        {
            _zones[author] = Text(x, "zone");
            if (x.GetProperty("ours").GetBoolean())
            {
                Keeper.Connect(author, Text(x, "zone"));
            }
        }

        private CheckResult Result(JsonElement x) =>
            new()
            {
                Upstream = Text(x, "upstream"),
                Endpoint = Text(x, "endpoint"),
                Author = Text(x, "observer"),
                Zone = _zones.GetValueOrDefault(Text(x, "observer"), ""),
                Passed = Text(x, "verdict") == "PASS",
                Class = Text(x, "class") switch
                {
                    "ok" => FailureClass.None,
                    "refused" => FailureClass.Refused,
                    "unreachable" => FailureClass.Unreachable,
                    "timeout" => FailureClass.Timeout,
                    "status" => FailureClass.Status,
                    "tls" => FailureClass.Tls,
                    var other => throw new InvalidOperationException($"unknown class {other}"),
                },
                BegunAt = Origin.AddSeconds(x.GetProperty("started").GetDouble()),
                TimeToLive = TimeSpan.FromSeconds(x.GetProperty("ttl").GetDouble()),
            };

        private async Task ReportAsync(JsonElement x)
        {
            var id = Text(x, "envoy");
            if (!_envoys.TryGetValue(id, out var envoy))
            {
                envoy = _envoys[id] = _client.OpenLoadReports(id, Text(x, "zone"));
                await envoy.BeginAsync();
            }

            await envoy.ReportAsync(
                LoadReportStream.Cluster(
                    Text(x, "upstream"),
                    TimeSpan.FromSeconds(x.GetProperty("interval").GetDouble()),
                    x.GetProperty("counts")
                        .EnumerateObject()
                        .Where(c => _ports.ContainsKey(c.Name))
                        .Select(c => new ReportedEndpoint(
                            "10.0.0.1",
                            _ports[c.Name],
                            (ulong)c.Value[0].GetInt64(),
                            (ulong)c.Value[1].GetInt64()
                        ))
                )
            );
            Assert.True(await _reports.WaitAsync(XdsClient.Patience), "The load report did not arrive.");
        }

        private async Task RegisterAsync(string upstream, JsonElement endpoints)
        {
            var path = $"api/v1/upstreams/{upstream}/endpoints";
            var wanted = endpoints.EnumerateArray().ToDictionary(e => Text(e, "id"));
            var desired = _host.Services.GetRequiredService<CurrentState>().Desired;
            foreach (var gone in desired.Children(Resources.ResourceKind.Endpoint, upstream).Keys.Where(id => !wanted.ContainsKey(id)))
            {
                await SendAsync(HttpMethod.Delete, $"{path}/{gone}", null);
            }

            foreach (var (id, e) in wanted)
            {
                if (!_ports.TryGetValue(id, out var port))
                {
                    port = _ports[id] = 1000 + _ports.Count;
                }

                await SendAsync(
                    HttpMethod.Put,
                    $"{path}/{id}",
                    $"spec: {{address: 10.0.0.1, port: {port}, weight: {e.GetProperty("weight").GetUInt32()}, priority: {e.GetProperty("priority").GetInt32()}, locality: {{zone: '{Text(e, "zone")}'}}}}"
                );
            }
        }

        private Task OrderAsync(JsonElement x)
        {
            var verb = Text(x, "kind") switch
            {
                "healthy" => "forceHealthy",
                "unhealthy" => "forceUnhealthy",
                var same => same,
            };
            var expiry = verb == "clear" ? "" : $", expiresIn: {(int)x.GetProperty("ttl").GetDouble()}s";
            return SendAsync(
                HttpMethod.Post,
                $"api/v1/upstreams/{Text(x, "upstream")}/endpoints/{Text(x, "endpoint")}:{verb}",
                $"{{reason: a test{expiry}}}"
            );
        }

        private async Task SendAsync(HttpMethod method, string path, string? yaml)
        {
            using var request = new HttpRequestMessage(method, path);
            request.Content = yaml is null ? null : new StringContent(yaml, Encoding.UTF8, "application/yaml");
            using var answer = await _host.Http.SendAsync(request);
            Assert.True(answer.IsSuccessStatusCode, $"{path}: {await answer.Content.ReadAsStringAsync()}");
        }

        private void Expect(double t, JsonElement x)
        {
            Published++;
            var zone = x.GetProperty("view").GetString();
            var key = (Text(x, "upstream"), zone);
            var history = _published.TryGetValue(key, out var known) ? known : _published[key] = [];
            history.Add(
                (
                    t,
                    x.GetProperty("endpoints").ValueKind == JsonValueKind.Null
                        ? null
                        : x.GetProperty("endpoints")
                            .EnumerateObject()
                            .ToImmutableSortedDictionary(
                                e => e.Name,
                                e => $"{e.Value[0].GetString()}/{e.Value[1].GetInt64()}",
                                StringComparer.Ordinal
                            )
                )
            );
        }

        /// <summary>
        /// Each proxy has what the model published at a tick, or, while changes are merged, what it published in the two seconds before. The server may be a tick ahead: what is
        /// urgent it evaluates at once.
        /// </summary>
        private async Task CompareAsync(double t)
        {
            CompareTold(until: t - Tick);
            await Keeper.AskAsync(_ => 0, CancellationToken.None);
            var verdicts = _host.Services.GetRequiredService<CurrentVerdicts>();
            await Eventually.True("the publisher to take the verdicts", _ => Task.FromResult(!verdicts.HasChanged));
            await _host
                .Services.GetRequiredService<SnapshotPublisher>()
                .PublishedAsync(_host.Services.GetRequiredService<CurrentState>().Desired.Revision, CancellationToken.None);
            foreach (var (upstream, _) in _published.Keys.Where(k => k.Zone is null))
            {
                foreach (var (zone, stream, has) in _proxies)
                {
                    _told.Enqueue((t, upstream, zone, await ToldAsync(upstream, zone, stream, has)));
                }
            }
        }

        private void CompareTold(double until)
        {
            while (_told.TryPeek(out var next) && next.T <= until + 1e-6)
            {
                var (t, upstream, zone, told) = _told.Dequeue();
                var allowed = Allowed(upstream, zone, t).ToList();
                Compared++;
                Assert.True(
                    allowed.Any(a => a.SequenceEqual(told)),
                    $"t={t}, {upstream}, zone {zone}: proxies have\n  {Words(told)}\nand the model says\n  {string.Join("\n  ", allowed.Select(Words))}"
                );
            }
        }

        /// <summary>What was in force two seconds before for a zone, and all that came since.</summary>
        private IEnumerable<ImmutableSortedDictionary<string, string>> Allowed(string upstream, string? zone, double t)
        {
            var everyone = _published[(upstream, null)];
            var own = zone is null ? [] : _published.GetValueOrDefault((upstream, zone), []);
            var changes = everyone.Concat(own).Select(p => p.T).Where(x => x > t - Longest && x <= t + Tick + 1e-6);
            foreach (var at in changes.Append(t - Longest).Order())
            {
                var view = own.LastOrDefault(p => p.T <= at).Endpoints ?? everyone.LastOrDefault(p => p.T <= at).Endpoints;
                if (view is not null)
                {
                    yield return view;
                }
            }
        }

        private async Task<ImmutableSortedDictionary<string, string>> ToldAsync(
            string upstream,
            string? zone,
            DeltaStream stream,
            Dictionary<string, (string Version, ImmutableSortedDictionary<string, string> Told)> has
        )
        {
            var snapshots = _host.Services.GetRequiredService<CurrentSnapshots>();
            var node = new NodeIdentity { Id = "", Zone = zone ?? "nowhere" };
            while (
                snapshots.Of(node)[ResourceType.Endpoints].Find(upstream) is { } wanted
                && (!has.TryGetValue(upstream, out var known) || known.Version != wanted.Version)
            )
            {
                var response = await stream.ExpectResponseAsync(ResourceType.Endpoints.TypeUrl);
                await stream.AckAsync(response);
                foreach (var resource in response.Resources)
                {
                    has[resource.Name] = (resource.Version, Read(resource.Resource_.Unpack<ClusterLoadAssignment>()));
                }
            }

            return has[upstream].Told;
        }

        private ImmutableSortedDictionary<string, string> Read(ClusterLoadAssignment assignment)
        {
            var ids = _ports.ToDictionary(p => p.Value, p => p.Key);
            return assignment
                .Endpoints.SelectMany(l => l.LbEndpoints)
                .ToImmutableSortedDictionary(
                    e => ids[(int)e.Endpoint.Address.SocketAddress.PortValue],
                    e => $"{e.HealthStatus.ToString().ToUpperInvariant()}/{e.LoadBalancingWeight ?? 1}",
                    StringComparer.Ordinal
                );
        }

        private static string Words(ImmutableSortedDictionary<string, string> endpoints) =>
            string.Join(' ', endpoints.Select(e => $"{e.Key}={e.Value}"));

        private static string Text(JsonElement x, string name) => x.GetProperty(name).GetString() ?? "";
    }
}
