using System.Diagnostics.Metrics;
using System.Threading.Channels;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.HealthIntake.Probing;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.HealthIntake.Probing;

/// <summary>An engine with everything around it, and its results one by one.</summary>
internal sealed class ProbeLab : IAsyncDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly ServiceProvider _services;
    private readonly Channel<CheckResult> _results = Channel.CreateUnbounded<CheckResult>();
    private readonly Channel<double> _doubts = Channel.CreateUnbounded<double>();
    private readonly FakeTimeProvider? _fake;

    public ProbeLab(TimeProvider? time = null, string zone = "", SelfProbe? self = null)
    {
        _fake = time as FakeTimeProvider;
        _services = new ServiceCollection().AddMetrics().AddLogging(l => l.AddProvider(Log)).BuildServiceProvider();
        Engine = new ProbeEngine(
            zone,
            results =>
            {
                foreach (var result in results)
                {
                    _results.Writer.TryWrite((CheckResult)result);
                }
            },
            doubt => _doubts.Writer.TryWrite(doubt),
            new ProbeMetrics(_services.GetRequiredService<IMeterFactory>()),
            time ?? TimeProvider.System,
            _services.GetRequiredService<ILogger<ProbeEngine>>(),
            self,
            new Random(1)
        );
    }

    public ProbeEngine Engine { get; }

    /// <summary>Every doubt of the engine about itself.</summary>
    public ChannelReader<double> Doubts => _doubts.Reader;

    public LogRecorder Log { get; } = new();

    /// <summary>What one probe of a spec's only endpoint gives.</summary>
    public static async Task<CheckResult> ProbeOnceAsync(UpstreamSpec spec, Func<string, (SecretSpec, SecretMaterial)?>? secrets = null)
    {
        await using var lab = new ProbeLab();
        lab.Set(spec, secrets);
        return await lab.NextAsync();
    }

    public static ProbePlan PlanOf(UpstreamSpec spec, Func<string, (SecretSpec, SecretMaterial)?>? secrets = null)
    {
        var check = spec.Health.Checks[0];
        return ProbeCompiler.Compile(
            "shop",
            spec,
            new HealthPolicy
            {
                ProbeInterval = check.Interval,
                ProbeEdgeInterval = check.EdgeInterval,
                ProbeTimeout = check.Timeout,
                CheckDigest = "digest of " + check,
            },
            spec.Endpoints.Static.Select(e => KeyValuePair.Create(e.DefaultId(), e)),
            new ProbeTargetPolicy(AllowsLocal: true),
            secrets ?? (_ => null)
        );
    }

    public static UpstreamSpec Upstream(HealthCheckSpec check, params EndpointSpec[] endpoints) =>
        new()
        {
            Endpoints = new EndpointsSpec { Static = [.. endpoints] },
            Health = new HealthSpec { Checks = [check] },
        };

    public static EndpointSpec Loopback(int port) => new() { Address = "127.0.0.1", Port = port };

    public static HealthCheckSpec Http(string path = "/") => new() { Http = new HttpCheckSpec { Path = path } };

    public void Set(UpstreamSpec spec, Func<string, (SecretSpec, SecretMaterial)?>? secrets = null) => Engine.Set(PlanOf(spec, secrets));

    public async Task<CheckResult> NextAsync()
    {
        if (_fake is not null)
        {
            // What the kernel has done is told at the next tick.
            await Eventually.True(
                "the result of a probe",
                _ =>
                {
                    _fake.Advance(ProbeEngine.TickTime);
                    return Task.FromResult(_results.Reader.TryPeek(out var _));
                }
            );
        }
        using var patience = new CancellationTokenSource(Patience, TimeProvider.System);
        return await _results.Reader.ReadAsync(patience.Token);
    }

    /// <summary>Lets time pass in steps in which the engine does not think that it was away.</summary>
    public void Pass(TimeSpan time)
    {
        for (var end = _fake!.GetUtcNow() + time; _fake.GetUtcNow() < end; )
        {
            _fake.Advance(TimeSpan.FromMilliseconds(200));
        }
    }

    /// <summary>Whether a result is there that was not taken.</summary>
    public bool HasNext => _results.Reader.TryPeek(out _);

    public async ValueTask DisposeAsync()
    {
        await Engine.DisposeAsync();
        await _services.DisposeAsync();
    }
}
