using System.Buffers;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using ControlPlane.Core.Snapshots;
using Google.Protobuf;

namespace ControlPlane.Benchmarks.Fleet;

/// <summary>
/// <c>fleet</c>: a fleet of simulated proxies against any ADS server. Connects all at once, lets them idle, makes changes one at a time and then at a rate by
/// the server's own HTTP API, and reconnects all with the versions that they hold; prints a line per phase. The clusters are u00000, u00001, …
/// </summary>
internal static class FleetSimulator
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    /// <summary>What the command line says.</summary>
    /// <param name="Address">The ADS server.</param>
    /// <param name="Streams">Simulated proxies.</param>
    /// <param name="Stalled">Further ones, that ask for all clusters and never read.</param>
    /// <param name="Clusters">Clusters that exist.</param>
    /// <param name="Subscribe">Assignments that each proxy asks for; 0 for all.</param>
    /// <param name="Pid">The server's process, for CPU and memory.</param>
    /// <param name="Method">HTTP method of a change.</param>
    /// <param name="Url">URL of a change; <c>{cluster}</c> and <c>{weight}</c> are replaced.</param>
    /// <param name="Body">Body of a change; likewise.</param>
    /// <param name="Updates">Changes, one at a time.</param>
    /// <param name="Rate">Changes a second in the phase after that; 0 for none.</param>
    /// <param name="Seconds">Its length.</param>
    private sealed record Settings(
        string Address,
        int Streams,
        int Stalled,
        int Clusters,
        int Subscribe,
        int? Pid,
        string Method,
        string Url,
        string Body,
        int Updates,
        int Rate,
        int Seconds
    );

    public static async Task RunAsync(string[] args)
    {
        var given = args.Chunk(2).ToDictionary(pair => pair[0], pair => pair[1], StringComparer.Ordinal);
        int Number(string name, int otherwise) =>
            given.TryGetValue(name, out var text) ? int.Parse(text, CultureInfo.InvariantCulture) : otherwise;
        var settings = new Settings(
            given.GetValueOrDefault("--address", "127.0.0.1:18000"),
            Number("--streams", 1000),
            Number("--stalled", 0),
            Number("--clusters", 1000),
            Number("--subscribe", 20),
            given.ContainsKey("--pid") ? Number("--pid", 0) : null,
            given.GetValueOrDefault("--method", "PUT"),
            given.GetValueOrDefault("--url", ""),
            given.GetValueOrDefault("--body", ""),
            Number("--updates", 200),
            Number("--rate", 0),
            Number("--seconds", 15)
        );
        await new Run(settings).AllAsync();
    }

    private sealed class Run(Settings settings)
    {
        private readonly ProcessUsage _server = new(settings.Pid);
        private readonly HttpClient _http = new();
        private readonly ConcurrentDictionary<(string Cluster, int Weight), Change> _changes = new();
        private readonly string _host = settings.Address[..settings.Address.LastIndexOf(':')];
        private readonly int _port = int.Parse(settings.Address[(settings.Address.LastIndexOf(':') + 1)..], CultureInfo.InvariantCulture);
        private int _weight = 1;

        public async Task AllAsync()
        {
            var stalled = Enumerable
                .Range(0, settings.Stalled)
                .Select(i => new SimulatedProxy($"stalled-{i}", []) { Stalls = true })
                .ToArray();
            await Task.WhenAll(stalled.Select(p => p.ConnectAsync(_host, _port, CancellationToken.None)));
            var before = _server.ResidentKiB;
            var proxies = Enumerable.Range(0, settings.Streams).Select(Proxy).ToArray();
            await MeasureAsync("sync", () => ConnectAsync(proxies), _ => $"{proxies.Sum(p => p.ResourcesReceived)} resources");
            await MeasureAsync(
                "idle",
                () => Task.Delay(TimeSpan.FromSeconds(5), TimeProvider.System),
                _ => $"{(_server.ResidentKiB - before) / (double)settings.Streams:f0} KiB/stream"
            );
            if (settings.Url.Length > 0)
            {
                await MeasureAsync("one at a time", () => UpdateAsync(settings.Updates), Deliveries);
                if (settings.Rate > 0)
                {
                    await MeasureAsync($"{settings.Rate}/s", BurstAsync, Deliveries);
                }
            }

            foreach (var proxy in proxies)
            {
                proxy.Dispose();
            }

            var again = proxies.Select((p, i) => Resume(p, i)).ToArray();
            await MeasureAsync("reconnect", () => ReconnectAsync(again), _ => $"{again.Sum(p => p.ResourcesReceived)} resources");
            foreach (var proxy in stalled)
            {
                proxy.Dispose();
            }
        }

        private async Task MeasureAsync(string phase, Func<Task> run, Func<double, string> more)
        {
            var cpu = _server.CpuSeconds;
            var started = Stopwatch.GetTimestamp();
            await run();
            var took = Stopwatch.GetElapsedTime(started);
            cpu = _server.CpuSeconds - cpu;
            Console.WriteLine(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{phase, -14} {took.TotalMilliseconds, 8:f0} ms {cpu, 7:f2} s CPU  {_server.ResidentKiB / 1024, 5} MiB  {more(cpu)}"
                )
            );
        }

        private SimulatedProxy Proxy(int index)
        {
            var wanted = settings.Subscribe == 0 ? settings.Clusters : settings.Subscribe;
            var names = Enumerable.Range(0, wanted).Select(i => Name(((index * wanted) + i) % settings.Clusters)).ToArray();
            return new SimulatedProxy($"fleet-{index}", names) { Received = Note };
        }

        private SimulatedProxy Resume(SimulatedProxy before, int index)
        {
            var proxy = Proxy(index);
            foreach (var (name, version) in before.Clusters)
            {
                proxy.Clusters[name] = version;
            }

            foreach (var (name, version) in before.Assignments)
            {
                proxy.Assignments[name] = version;
            }

            return proxy;
        }

        private static string Name(int index) => string.Create(CultureInfo.InvariantCulture, $"u{index:D5}");

        /// <summary>All at once, with what they hold. A server has nothing to say to them, so what they are sent is looked at after a while.</summary>
        private async Task ReconnectAsync(SimulatedProxy[] proxies)
        {
            await Task.WhenAll(proxies.Select(p => p.ConnectAsync(_host, _port, CancellationToken.None)));
            await Task.Delay(TimeSpan.FromSeconds(5), TimeProvider.System);
        }

        /// <summary>All at once; done when each has what it asked for.</summary>
        private async Task ConnectAsync(SimulatedProxy[] proxies)
        {
            var wanted = settings.Subscribe == 0 ? settings.Clusters : settings.Subscribe;
            var rest = proxies.Length;
            var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            foreach (var proxy in proxies)
            {
                proxy.Answered = p =>
                {
                    if (p.Clusters.Count >= settings.Clusters && p.Assignments.Count >= wanted)
                    {
                        p.Answered = null;
                        if (Interlocked.Decrement(ref rest) == 0)
                        {
                            done.SetResult();
                        }
                    }
                };
            }

            await Task.WhenAll(proxies.Select(p => p.ConnectAsync(_host, _port, CancellationToken.None)));
            await done.Task.WaitAsync(Patience);
        }

        private async Task UpdateAsync(int count)
        {
            for (var i = 0; i < count; i++)
            {
                var change = await MakeAsync(Name(i % settings.Clusters));
                await change.Done.Task.WaitAsync(Patience);
            }
        }

        private async Task BurstAsync()
        {
            using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1.0 / settings.Rate));
            var all = new List<Task<Change>>();
            for (var i = 0; i < settings.Rate * settings.Seconds && await timer.WaitForNextTickAsync(); i++)
            {
                // A cluster comes again after all others: what is merged with a later change of it counts when that arrives.
                all.Add(MakeAsync(Name(i % settings.Clusters)));
            }

            var changes = await Task.WhenAll(all);
            await Task.WhenAll(changes.Select(change => change.Done.Task)).WaitAsync(Patience);
        }

        /// <summary>Makes a change, and returns when the server has answered.</summary>
        private async Task<Change> MakeAsync(string cluster)
        {
            var weight = Interlocked.Increment(ref _weight);
            var wanted = settings.Subscribe == 0 ? settings.Streams : settings.Streams * settings.Subscribe / settings.Clusters;
            var change = new Change(wanted, Stopwatch.GetTimestamp());
            _changes[(cluster, weight)] = change;
            using var request = new HttpRequestMessage(new HttpMethod(settings.Method), Fill(settings.Url));
            if (settings.Body.Length > 0)
            {
                request.Content = new StringContent(Fill(settings.Body), new MediaTypeHeaderValue("application/json"));
            }

            using var response = await _http.SendAsync(request);
            response.EnsureSuccessStatusCode();
            return change;

            string Fill(string text) =>
                text.Replace("{cluster}", cluster, StringComparison.Ordinal)
                    .Replace("{weight}", weight.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
        }

        private void Note(ResourceType type, string name, ReadOnlySequence<byte> message)
        {
            if (type != ResourceType.Endpoints || _changes.IsEmpty)
            {
                return;
            }

            var now = Stopwatch.GetTimestamp();
            var bytes = message.IsSingleSegment ? message.FirstSpan : message.ToArray();
            foreach (var ((cluster, weight), change) in _changes)
            {
                if (cluster == name && bytes.IndexOf(PatternOf(weight)) >= 0)
                {
                    change.Arrived(now);
                }
            }
        }

        /// <summary><c>LbEndpoint.load_balancing_weight</c> of a value, as it stands in the message.</summary>
        private static byte[] PatternOf(int weight)
        {
            var size = CodedOutputStream.ComputeInt32Size(weight);
            var bytes = new byte[3 + size];
            (bytes[0], bytes[1], bytes[2]) = ((4 << 3) | 2, (byte)(1 + size), 1 << 3);
            for (uint at = 3, rest = (uint)weight; at < bytes.Length; at++, rest >>= 7)
            {
                bytes[at] = (byte)((rest & 0x7f) | (at < bytes.Length - 1 ? 0x80u : 0));
            }

            return bytes;
        }

        private string Deliveries(double cpu)
        {
            var latencies = _changes.Values.SelectMany(c => c.Latencies).Order().ToArray();
            _changes.Clear();
            double At(double share) => latencies.Length == 0 ? 0 : latencies[(int)((latencies.Length - 1) * share)];
            return string.Create(
                CultureInfo.InvariantCulture,
                $"{latencies.Length} deliveries, p50 {At(0.5):f1} p99 {At(0.99):f1} ms, {1e6 * cpu / Math.Max(1, latencies.Length):f0} ms CPU per 1 000"
            );
        }
    }

    /// <summary>A change on its way to the proxies that asked for it.</summary>
    private sealed class Change(int wanted, long since)
    {
        private readonly ConcurrentQueue<double> _latencies = new();
        private int _arrived;

        public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public IEnumerable<double> Latencies => _latencies;

        public void Arrived(long at)
        {
            _latencies.Enqueue(Stopwatch.GetElapsedTime(since, at).TotalMilliseconds);
            if (Interlocked.Increment(ref _arrived) == wanted)
            {
                Done.TrySetResult();
            }
        }
    }
}
