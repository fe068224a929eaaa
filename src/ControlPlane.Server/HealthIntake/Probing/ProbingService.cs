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
/// Probes the endpoints of all upstreams under central health while this server decides, and tells the keeper of health. Follows the desired state and the secrets' files.
/// </summary>
internal sealed partial class ProbingService : BackgroundService
{
    private readonly CurrentState _current;
    private readonly SecretFiles _secrets;
    private readonly HealthKeeper _keeper;
    private readonly HealthLeadership _leadership;
    private readonly ProbeTargetPolicy _targets;
    private readonly ProbeMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger<ProbingService> _logger;
    private readonly string _zone;
    private readonly string _author;

    public ProbingService(
        CurrentState current,
        SecretFiles secrets,
        HealthKeeper keeper,
        HealthLeadership leadership,
        ProbeTargetPolicy targets,
        ProbeMetrics metrics,
        ServerOptions options,
        TimeProvider time,
        ILogger<ProbingService> logger
    )
    {
        _current = current;
        _secrets = secrets;
        _keeper = keeper;
        _leadership = leadership;
        _targets = targets;
        _metrics = metrics;
        _time = time;
        _logger = logger;
        _zone = options.Zone;
        _author = ProbeEngine.AuthorOf(_zone);
        if (leadership.Role.Leads)
        {
            // There from the first decision on, or nothing would seem to be checked at all.
            keeper.Connect(_author, _zone);
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await _current.Loaded.WaitAsync(stoppingToken);
        while (!stoppingToken.IsCancellationRequested)
        {
            var role = _leadership.Role;
            var changing = _leadership.ChangeAsync(role).WaitAsync(stoppingToken);
            if (!role.Leads)
            {
                await changing;
                continue;
            }

            using var end = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken);
            var probing = ProbeAsync(end.Token);
            await Task.WhenAny(changing, probing);
            await end.CancelAsync();
            await probing;
        }
    }

    private async Task ProbeAsync(CancellationToken cancellationToken)
    {
        _keeper.Connect(_author, _zone);
        var changed = Channel.CreateUnbounded<IReadOnlyCollection<string>>(new UnboundedChannelOptions { SingleReader = true });
        void OnSecretChanged(ResourceKey secret) => changed.Writer.TryWrite(ReferringTo(secret));
        _secrets.Changed += OnSecretChanged;
        await using var engine = new ProbeEngine(
            _zone,
            _keeper.Record,
            doubt => _keeper.Doubt(_author, doubt),
            _metrics,
            _time,
            _logger,
            NewSelfProbe()
        );
        using var follow = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var following = FollowAsync(changed.Writer, follow.Token);
        try
        {
            await foreach (var upstreams in changed.Reader.ReadAllAsync(cancellationToken))
            {
                foreach (var upstream in upstreams)
                {
                    Set(engine, upstream);
                }
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Somebody else decides from now on, or this server stops.
        }
        finally
        {
            _secrets.Changed -= OnSecretChanged;
            await follow.CancelAsync();
            await following;
            _keeper.Disconnect(_author);
        }
    }

    /// <summary>Says which upstreams may be probed differently: first all, then those that a revision touches.</summary>
    private async Task FollowAsync(ChannelWriter<IReadOnlyCollection<string>> changed, CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                var revisions = _current.WatchAsync(cancellationToken).GetAsyncEnumerator(cancellationToken);
                // From here on no revision is missed.
                var next = revisions.MoveNextAsync();
                changed.TryWrite([.. _current.Desired.List(ResourceKind.Upstream).Keys]);
                while (await next)
                {
                    changed.TryWrite([
                        .. revisions
                            .Current.Written.Select(w => w.Key)
                            .Concat(revisions.Current.Deleted.Select(d => d.Key))
                            .SelectMany(Touched)
                            .Distinct(),
                    ]);
                    next = revisions.MoveNextAsync();
                }
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Told to end.
        }
    }

    private IEnumerable<string> Touched(ResourceKey key) =>
        key.Kind switch
        {
            ResourceKind.Upstream => [key.Name],
            ResourceKind.Endpoint => [key.Parent],
            ResourceKind.Secret => ReferringTo(key),
            _ => [],
        };

    private IReadOnlyCollection<string> ReferringTo(ResourceKey secret) =>
        [.. _current.Desired.Referrers(secret).Where(r => r.Kind == ResourceKind.Upstream).Select(r => r.Name)];

    private void Set(ProbeEngine engine, string name)
    {
        var desired = _current.Desired;
        if (
            desired.Find(new ResourceKey(ResourceKind.Upstream, name)) is not { Manifest.Spec: UpstreamSpec spec }
            || !spec.IsCentral()
            || spec.Health.Checks.IsEmpty
        )
        {
            engine.Remove(name);
            return;
        }

        var registered = desired
            .Children(ResourceKind.Endpoint, name)
            .Select(e => KeyValuePair.Create(e.Key, (EndpointSpec)e.Value.Manifest.Spec));
        var plan = ProbeCompiler.Compile(name, spec, HealthDefinition.PolicyOf(spec), registered, _targets, SecretOf);
        if (plan.Problem is { } problem)
        {
            LogCannotProbe(name, problem);
        }

        engine.Set(plan);

        (SecretSpec, SecretMaterial)? SecretOf(string secret) =>
            desired.Find(new ResourceKey(ResourceKind.Secret, secret))?.Manifest.Spec is SecretSpec found
                ? (found, _secrets.Resolve(found))
                : null;
    }

    private SelfProbe? NewSelfProbe()
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

    [LoggerMessage(7002, LogLevel.Warning, "Nothing of {Upstream} can be probed: {Problem}")]
    private partial void LogCannotProbe(string upstream, string problem);

    [LoggerMessage(
        7003,
        LogLevel.Warning,
        "This server cannot listen on loopback ({Reason}): its probers cannot find out whether they are sound themselves"
    )]
    private partial void LogNoSelfProbe(string reason);
}
