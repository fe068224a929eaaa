using System.Diagnostics;
using System.Globalization;
using System.Text;
using ControlPlane.Core.Health;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Benchmarks;

/// <summary>
/// What it costs to publish verdicts: <c>publication [UPSTREAMS [ENDPOINTS]]</c>. In each round the same endpoint of some upstreams is refused at once, as three observers say; measured is
/// the time from their last word until every assignment that changes is in the snapshot that proxies are served from. The whole server runs in this process, without probes of its own and
/// on a clock that stands still meanwhile; between the rounds the endpoints recover.
/// </summary>
internal static class VerdictPublication
{
    private static readonly string[] Observers = ["a", "b", "c"];
    private static readonly NodeIdentity Proxy = new() { Id = "" };

    public static async Task RunAsync(string[] args)
    {
        var upstreams = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 1000;
        var endpoints = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 10;
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        await using var host = await ControlPlaneHost.StartAsync(
            o => o with { NoProbes = true },
            builder => builder.Services.AddSingleton<TimeProvider>(time)
        );
        var fleet = new SimulatedFleet(host, time, upstreams, endpoints);
        await fleet.BeginAsync();

        Console.WriteLine($"{upstreams} upstreams of {endpoints} endpoints; medians");
        Console.WriteLine("upstreams that change | time ms | CPU ms | allocated KB | CPU µs and KB for each");
        foreach (var (count, rounds) in ((int, int)[])[(1, 30), (10, 20), (100, 10), (upstreams, 10)])
        {
            // The first ones hold the runtime's compiler.
            await fleet.RoundAsync(count);
            await fleet.RoundAsync(count);
            var results = new List<(double Time, double Cpu, double Allocated)>();
            for (var round = 0; round < rounds; round++)
            {
                results.Add(await fleet.RoundAsync(count));
            }

            var (took, cpu, allocated) = (
                Median(results.Select(r => r.Time)),
                Median(results.Select(r => r.Cpu)),
                Median(results.Select(r => r.Allocated))
            );
            Console.WriteLine(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{count} | {took:0.0} | {cpu:0.0} | {allocated:0} | {1000 * cpu / count:0} {allocated / count:0.0}"
                )
            );
        }
    }

    private static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToList();
        return sorted[sorted.Count / 2];
    }

    private sealed class SimulatedFleet(ControlPlaneHost host, FakeTimeProvider time, int upstreams, int endpoints)
    {
        private readonly HealthKeeper _keeper = host.Services.GetRequiredService<HealthKeeper>();
        private readonly CurrentSnapshots _snapshots = host.Services.GetRequiredService<CurrentSnapshots>();
        private readonly string[] _names = [.. Enumerable.Range(0, upstreams).Select(i => $"u{i:D5}")];
        private readonly string[] _ids = [.. Enumerable.Range(1, endpoints).Select(i => $"10.0.0.{i}:8080")];
        private int _round;

        public async Task BeginAsync()
        {
            foreach (var observer in Observers)
            {
                _keeper.Connect(observer, observer);
            }

            var manifests = new StringBuilder();
            foreach (var name in _names)
            {
                manifests.AppendLine("---\napiVersion: controlplane/v1\nkind: Upstream");
                manifests.AppendLine(CultureInfo.InvariantCulture, $"metadata: {{name: {name}}}");
                manifests.AppendLine("spec: {health: {checks: [{tcp: {}}]}, endpoints: {static: [");
                manifests.AppendJoin(", ", _ids.Select(id => $"{{address: {id.Split(':')[0]}, port: 8080}}"));
                manifests.AppendLine("]}}");
            }

            await host.Client.ApplyAsync(manifests.ToString());
            // Proxies of which there is none are not built for.
            _snapshots.Of(Proxy);
            await RecoverAsync();
        }

        /// <summary>One round: milliseconds, milliseconds of CPU time, and KB that were allocated.</summary>
        public async Task<(double Time, double Cpu, double Allocated)> RoundAsync(int count)
        {
            var endpoint = _ids[_round++ % _ids.Length];
            var failing = _names[..count];
            // A word before the last everything is as it was.
            for (var i = 0; i < HealthPolicy.Default.Fall - 1; i++)
            {
                await SayAsync(failing, [endpoint], passed: false);
            }

            var before = Versions();
            var said = Evidence(failing, [endpoint], passed: false);
            var pending = failing.ToList();
            GC.Collect();
            var (started, cpu, allocated) = (
                Stopwatch.GetTimestamp(),
                Environment.CpuUsage.TotalTime,
                GC.GetTotalAllocatedBytes(precise: true)
            );
            _keeper.Record(said);
            while (pending.Count > 0)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System);
                var now = _snapshots.Of(Proxy)[ResourceType.Endpoints];
                pending.RemoveAll(name => now.Find(name)!.Version != before[name]);
            }

            var result = (
                Stopwatch.GetElapsedTime(started).TotalMilliseconds,
                (Environment.CpuUsage.TotalTime - cpu).TotalMilliseconds,
                (GC.GetTotalAllocatedBytes(precise: true) - allocated) / 1024.0
            );
            var changed = Versions().Count(v => v.Value != before[v.Key]);
            if (changed != count)
            {
                throw new InvalidOperationException($"{changed} assignments changed, not {count}: the benchmark measures something else.");
            }

            await RecoverAsync();
            return result;
        }

        private Dictionary<string, string> Versions()
        {
            var now = _snapshots.Of(Proxy)[ResourceType.Endpoints];
            return _names.ToDictionary(name => name, name => now.Find(name)!.Version);
        }

        /// <summary>Everything passes until all are in full service again.</summary>
        private async Task RecoverAsync()
        {
            for (var minute = 0; minute < 20; minute++)
            {
                await SayAsync(_names, _ids, passed: true);
                await SayAsync(_names, _ids, passed: true);
                for (var tick = 0; tick < 120; tick++)
                {
                    time.Advance(TimeSpan.FromSeconds(0.5));
                    await _keeper.AskAsync(_ => 0, CancellationToken.None);
                }

                if (await _keeper.AskAsync(model => _names.All(name => model.CountsOf(name)!.Up == endpoints), CancellationToken.None))
                {
                    return;
                }
            }

            throw new InvalidOperationException("The endpoints do not recover.");
        }

        private Task SayAsync(string[] names, string[] ids, bool passed) =>
            _keeper.RecordAsync(Evidence(names, ids, passed), CancellationToken.None);

        private List<HealthEvidence> Evidence(string[] names, string[] ids, bool passed)
        {
            var now = time.GetUtcNow();
            return
            [
                .. from observer in Observers
                from name in names
                from id in ids
                select new CheckResult
                {
                    Upstream = name,
                    Endpoint = id,
                    Author = observer,
                    Zone = observer,
                    Passed = passed,
                    Class = passed ? FailureClass.None : FailureClass.Refused,
                    Text = passed ? "" : "connection refused",
                    BegunAt = now,
                    TimeToLive = TimeSpan.FromMinutes(2),
                },
            ];
        }
    }
}
