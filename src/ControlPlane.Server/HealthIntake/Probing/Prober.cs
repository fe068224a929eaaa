using System.Net.Sockets;
using System.Threading.Channels;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Resources;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Health;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>
/// This server as an observer: follows the desired state, and probes the endpoints of the upstreams that this server decides about. What the probes show goes to the
/// <see cref="HealthKeeper"/> like anyone's evidence.
/// </summary>
internal sealed partial class Prober : BackgroundService
{
    private readonly HealthKeeper _keeper;
    private readonly HealthLeadership _leadership;
    private readonly SecretFiles _secrets;
    private readonly ProbeTargetPolicy? _targets;
    private readonly string _zone;
    private readonly ProbeMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger<Prober> _logger;

    private readonly Channel<bool> _signal = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite }
    );
    private readonly Lock _lock = new();
    private HashSet<string> _touched = [];
    private DesiredState _desired = DesiredState.Empty;

    public Prober(
        HealthKeeper keeper,
        HealthLeadership leadership,
        SecretFiles secrets,
        ServerOptions options,
        ProbeMetrics metrics,
        TimeProvider time,
        ILoggerFactory loggers
    )
    {
        _keeper = keeper;
        _leadership = leadership;
        _secrets = secrets;
        _targets = options.ProbeTargets;
        _zone = options.Zone;
        _metrics = metrics;
        _time = time;
        _loggers = loggers;
        _logger = loggers.CreateLogger<Prober>();
    }

    /// <summary>The desired state of upstreams, or a secret that they name, has changed. Called from any thread.</summary>
    /// <param name="desired">The state in force.</param>
    /// <param name="upstreams">The upstreams whose probes may differ.</param>
    public void Follow(DesiredState desired, IEnumerable<string> upstreams)
    {
        if (_targets is null)
        {
            return;
        }

        lock (_lock)
        {
            _desired = desired;
            _touched.UnionWith(upstreams);
            if (_touched.Count == 0)
            {
                return;
            }
        }

        _signal.Writer.TryWrite(true);
    }

    /// <summary>Announces the prober before the first state is decided about: nobody is to count as unchecked in the meantime.</summary>
    public override Task StartAsync(CancellationToken cancellationToken)
    {
        if (_targets is not null)
        {
            _keeper.Connect(ProbeEngine.AuthorOf(_zone), _zone);
        }

        return base.StartAsync(cancellationToken);
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (_targets is null)
        {
            return;
        }

        await using var engine = new ProbeEngine(
            _zone,
            _keeper.Record,
            doubt => _keeper.Doubt(ProbeEngine.AuthorOf(_zone), doubt),
            _metrics,
            _time,
            _loggers.CreateLogger<ProbeEngine>(),
            SelfProbeOrNone()
        );
        var role = _leadership.Role;
        while (true)
        {
            SetPlans(engine, _targets);
            var signalled = _signal.Reader.WaitToReadAsync(stoppingToken).AsTask();
            await await Task.WhenAny(signalled, _leadership.ChangeAsync(role));
            _signal.Reader.TryRead(out _);
            if (_leadership.Role is var now && now != role)
            {
                role = now;
                ReconsiderAll();
            }
        }
    }

    /// <summary>Somebody else decides from now on, or this server does.</summary>
    private void ReconsiderAll()
    {
        _keeper.Connect(ProbeEngine.AuthorOf(_zone), _zone);
        lock (_lock)
        {
            _touched.UnionWith(_desired.List(ResourceKind.Upstream).Keys);
        }
    }

    private void SetPlans(ProbeEngine engine, ProbeTargetPolicy targets)
    {
        HashSet<string> touched;
        DesiredState desired;
        lock (_lock)
        {
            (touched, desired) = (_touched, _desired);
            _touched = [];
        }

        foreach (var name in touched)
        {
            if (
                desired.Find(new ResourceKey(ResourceKind.Upstream, name))?.Manifest.Spec is not UpstreamSpec spec
                || !spec.IsCentral()
                || !_leadership.Decides(name)
            )
            {
                engine.Remove(name);
                continue;
            }

            var plan = ProbeCompiler.Compile(
                name,
                spec,
                HealthDefinition.PolicyOf(spec),
                HealthDefinition.EndpointsOf(name, spec, desired),
                targets,
                secret => SecretOf(desired, secret)
            );
            if (plan.Problem is { } problem)
            {
                LogNotProbed(name, problem);
            }

            engine.Set(plan);
        }
    }

    private (SecretSpec, SecretMaterial)? SecretOf(DesiredState desired, string name) =>
        desired.Find(new ResourceKey(ResourceKind.Secret, name))?.Manifest.Spec is SecretSpec spec ? (spec, _secrets.Resolve(spec)) : null;

    private SelfProbe? SelfProbeOrNone()
    {
        try
        {
            return new SelfProbe();
        }
        catch (SocketException e)
        {
            LogNoSelfProbe(e.Message);
            return null;
        }
    }

    [LoggerMessage(7101, LogLevel.Warning, "The endpoints of {Upstream} are not probed: {Problem}")]
    private partial void LogNotProbed(string upstream, string problem);

    [LoggerMessage(7102, LogLevel.Warning, "Nothing can listen on loopback, so probes go without a check of themselves: {Reason}")]
    private partial void LogNoSelfProbe(string reason);
}
