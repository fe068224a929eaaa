using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.Server.HealthIntake.Probing;
using ControlPlane.Server.Publishing;
using ControlPlane.TestKit;
using Envoy.Config.Endpoint.V3;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Server.Tests.HealthIntake.Probing;

/// <summary>
/// Probers of three zones on real sockets, of which one loses its way: it probes ports at which nobody listens, which is what a prober behind a broken network sees.
/// </summary>
[Trait("Category", "Slow")]
public sealed class ZonesOnSocketsTests
{
    private static readonly string[] Zones = ["a", "b", "c"];

    [Fact]
    public async Task T11_A_zone_whose_probers_reach_nobody_is_quarantined_and_nothing_is_published()
    {
        await using var fleet = await Fleet.StartAsync();
        var before = fleet.Published();
        fleet.CutOff("a", from: _ => true);
        await Eventually.Get(
            "both probers of the zone to be quarantined",
            stop => fleet.Keeper.AskAsync(model => model.QuarantinedObservers, stop),
            count => count == 2,
            TimeSpan.FromSeconds(120)
        );
        Assert.Equal(before, fleet.Published());
        Assert.Empty(fleet.Verdict.Zones);
    }

    [Fact]
    public async Task T12_A_partition_between_two_zones_changes_only_the_view_of_the_zone_that_is_cut_off()
    {
        await using var fleet = await Fleet.StartAsync();
        var before = fleet.Published();
        fleet.CutOff("a", from: zone => zone == "b");
        await Eventually.True(
            "the zone's view",
            _ =>
                Task.FromResult(
                    fleet.Verdict.Zones.TryGetValue("a", out var view)
                        && view.Endpoints.Count(e => e.Status == PublishedStatus.Unhealthy) == 2
                ),
            TimeSpan.FromSeconds(31)
        );
        Assert.Equal(before, fleet.Published());
        Assert.Equal(["a"], fleet.Verdict.Zones.Keys);
    }

    private sealed class Fleet : IAsyncDisposable
    {
        private const string Upstream = "cart";

        private readonly ControlPlaneHost _host;
        private readonly TcpListener[] _backends = [.. Enumerable.Range(0, 6).Select(_ => new TcpListener(IPAddress.Loopback, 0))];
        private readonly int _nobody = FreePort.Next();
        private readonly List<(string Zone, ProbeEngine Engine)> _engines = [];

        private Fleet(ControlPlaneHost host) => _host = host;

        public HealthKeeper Keeper => _host.Services.GetRequiredService<HealthKeeper>();

        public Core.Compilation.UpstreamVerdict Verdict => _host.Services.GetRequiredService<CurrentVerdicts>().Find(Upstream)!;

        public static async Task<Fleet> StartAsync()
        {
            var fleet = new Fleet(await ControlPlaneHost.StartAsync(o => o with { NoProbes = true }));
            Array.ForEach(fleet._backends, b => b.Start());
            var time = fleet._host.Services.GetRequiredService<TimeProvider>();
            foreach (var zone in Zones)
            {
                for (var i = 1; i <= 2; i++)
                {
                    var author = $"prober/{zone}{i}";
                    fleet.Keeper.Connect(author, zone);
                    var engine = new ProbeEngine(
                        zone,
                        results => fleet.Keeper.Record([.. results.Select(r => r with { Author = author })]),
                        _ => { },
                        fleet._host.Services.GetRequiredService<ProbeMetrics>(),
                        time,
                        fleet._host.Services.GetRequiredService<ILogger<ProbeEngine>>()
                    );
                    fleet._engines.Add((zone, engine));
                    engine.Set(fleet.Plan(_ => false));
                }
            }

            var endpoints = fleet._backends.Select(
                (_, i) => $"{{address: 127.0.0.1, port: {fleet.Port(i)}, locality: {{zone: {Zones[i % 3]}}}}}"
            );
            await fleet._host.Client.PutAsync(
                new ResourceKey(ResourceKind.Upstream, Upstream),
                $"spec: {{health: {{checks: [{{tcp: {{}}}}]}}, endpoints: {{static: [{string.Join(", ", endpoints)}]}}}}"
            );
            await Eventually.Get(
                "all endpoints to be up",
                stop => fleet.Keeper.AskAsync(model => model.CountsOf(Upstream), stop),
                counts => counts is { Up: 6 }
            );
            // The last ones to pass may still wait to be published.
            await Eventually.True(
                "all endpoints to be published",
                _ => Task.FromResult(fleet.Published().Endpoints.Sum(l => l.LbEndpoints.Count) == 6)
            );
            return fleet;
        }

        /// <summary>The probers of a zone reach no endpoint of some zones any more.</summary>
        public void CutOff(string zone, Func<string, bool> from)
        {
            foreach (var (_, engine) in _engines.Where(e => e.Zone == zone))
            {
                engine.Set(Plan(from));
            }
        }

        /// <summary>What everyone gets.</summary>
        public ClusterLoadAssignment Published() =>
            ClusterLoadAssignment.Parser.ParseFrom(
                _host
                    .Services.GetRequiredService<CurrentSnapshots>()
                    .Of(new NodeIdentity { Id = "", Zone = "b" })[ResourceType.Endpoints]
                    .Find(Upstream)!
                    .Payload.Span
            );

        public async ValueTask DisposeAsync()
        {
            foreach (var (_, engine) in _engines)
            {
                await engine.DisposeAsync();
            }

            Array.ForEach(_backends, b => b.Dispose());
            await _host.DisposeAsync();
        }

        private int Port(int backend) => ((IPEndPoint)_backends[backend].LocalEndpoint).Port;

        private ProbePlan Plan(Func<string, bool> isCutOff)
        {
            var spec = (UpstreamSpec?)
                _host
                    .Services.GetRequiredService<CurrentState>()
                    .Desired.Find(new ResourceKey(ResourceKind.Upstream, Upstream))
                    ?.Manifest.Spec;
            return new ProbePlan
            {
                Upstream = Upstream,
                Policy = spec is null ? HealthPolicy.Default : Core.Compilation.HealthDefinition.PolicyOf(spec),
                Endpoints =
                [
                    .. Enumerable
                        .Range(0, _backends.Length)
                        .Select(i => new ProbeEndpoint($"127.0.0.1:{Port(i)}", [Way(isCutOff(Zones[i % 3]) ? _nobody : Port(i))])),
                ],
            };
        }

        private static ProbeWay Way(int port) =>
            new(
                $"127.0.0.1:{port}",
                [new TcpProbe { Target = new IPEndPoint(IPAddress.Loopback, port), Timeout = TimeSpan.FromSeconds(2) }]
            );
    }
}
