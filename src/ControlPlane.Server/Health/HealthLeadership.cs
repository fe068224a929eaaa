using System.Net;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Telemetry;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;

namespace ControlPlane.Server.Health;

/// <summary>Who decides about health.</summary>
/// <param name="Leads">Whether this server does.</param>
/// <param name="Server">Id of the process that does; empty while nobody is known to.</param>
/// <param name="Address">Where other servers reach it; empty if that is not known.</param>
internal sealed record HealthRole(bool Leads, string Server, string Address);

/// <summary>
/// The one answer to the question who decides for an upstream. A server with a database of its own does; of several on one PostgreSQL it is the one that holds the lease.
/// </summary>
/// <remarks>
/// The lease is renewed each second and taken five seconds after it was renewed last, by the clock of the database, and only if its holder does not answer: a holder
/// that has lost the database and nothing else goes on. While the database is away nothing moves, but that a server that reaches neither it nor the one that decides, decides
/// for its own proxies until it does.
/// </remarks>
internal sealed partial class HealthLeadership : BackgroundService
{
    internal static readonly TimeSpan RenewInterval = TimeSpan.FromSeconds(1);
    internal static readonly TimeSpan Duration = TimeSpan.FromSeconds(5);

    private readonly IHealthLease? _lease;
    private readonly IServer _server;
    private readonly ServerOptions _options;
    private readonly IHostApplicationLifetime _lifetime;
    private readonly HealthMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger<HealthLeadership> _logger;
    private readonly Lock _lock = new();
    private TaskCompletionSource _changed = NewSignal();
    private HealthRole _role;
    private long _answeredAt;

    public HealthLeadership(
        IServer server,
        ServerOptions options,
        IHostApplicationLifetime lifetime,
        HealthMetrics metrics,
        TimeProvider time,
        ILogger<HealthLeadership> logger,
        IHealthLease? lease = null
    )
    {
        _server = server;
        _options = options;
        _lifetime = lifetime;
        _metrics = metrics;
        _time = time;
        _logger = logger;
        _lease = lease;
        _answeredAt = time.GetTimestamp();
        _role = lease is null ? new HealthRole(true, ServerId, "") : new HealthRole(false, "", "");
        metrics.Led(_role.Leads);
    }

    /// <summary>Id of this process, a new one with each start.</summary>
    public string ServerId { get; } = $"{Environment.MachineName}-{Guid.NewGuid():N}";

    /// <summary>Where other servers reach this one; empty before it listens, and where there are no others.</summary>
    public string OwnAddress { get; private set; } = "";

    /// <summary>Whether there can be other servers.</summary>
    public bool IsShared => _lease is not null;

    /// <summary>Who decides now.</summary>
    public HealthRole Role => Volatile.Read(ref _role);

    /// <summary>Asks the server that decides whether it lives. Set by who talks to other servers.</summary>
    public Func<HealthRole, CancellationToken, Task<bool>>? IsAliveAsync { get; set; }

    /// <summary>Whether this server decides for an upstream: probes it, judges it, and tells the others.</summary>
    /// <param name="upstream">All or none at present: the work is not spread over servers.</param>
    public bool Decides(string upstream) => Role.Leads;

    /// <summary>Completes when somebody else decides than in a role; at once if that is so.</summary>
    public Task ChangeAsync(HealthRole role)
    {
        lock (_lock)
        {
            return role == _role ? _changed.Task : Task.CompletedTask;
        }
    }

    /// <inheritdoc/>
    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        if (_lease is null || !Role.Leads)
        {
            return;
        }

        try
        {
            // Another one may decide at once.
            await _lease.ReleaseLeaseAsync(ServerId, cancellationToken);
        }
        catch (StoreUnavailableException)
        {
            // Then it takes the five seconds.
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (_lease is null)
        {
            return;
        }

        var started = new TaskCompletionSource();
        await using (_lifetime.ApplicationStarted.Register(() => started.TrySetResult()))
        {
            await started.Task.WaitAsync(stoppingToken);
        }

        var address = OwnAddress = Address();
        while (true)
        {
            Set(await LookAsync(_lease, address, stoppingToken));
            await Task.Delay(RenewInterval, _time, stoppingToken);
        }
    }

    private async Task<HealthRole> LookAsync(IHealthLease lease, string address, CancellationToken cancellationToken)
    {
        try
        {
            var state = await lease.HoldLeaseAsync(ServerId, address, Duration, mayTake: false, cancellationToken);
            if (state.Holder != ServerId && state.IsExpired && !await AnswersAsync(RoleOf(state), cancellationToken))
            {
                state = await lease.HoldLeaseAsync(ServerId, address, Duration, mayTake: true, cancellationToken);
            }

            _answeredAt = _time.GetTimestamp();
            return RoleOf(state);
        }
        catch (StoreUnavailableException)
        {
            var role = Role;
            return role.Leads || _time.GetElapsedTime(_answeredAt) < Duration || await AnswersAsync(role, cancellationToken)
                ? role
                : new HealthRole(true, ServerId, address);
        }
    }

    private HealthRole RoleOf(LeaseState state) => new(state.Holder == ServerId, state.Holder, state.Address);

    private async Task<bool> AnswersAsync(HealthRole role, CancellationToken cancellationToken) =>
        role.Server.Length > 0 && IsAliveAsync is { } ask && await ask(role, cancellationToken);

    private void Set(HealthRole role)
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            if (role == _role)
            {
                return;
            }

            Volatile.Write(ref _role, role);
            changed = _changed;
            _changed = NewSignal();
        }

        _metrics.Led(role.Leads);
        if (role.Leads)
        {
            LogLeads();
        }
        else
        {
            LogFollows(role.Server, role.Address);
        }

        changed.SetResult();
    }

    /// <summary>Where other servers reach this one: what was said, or else where it listens.</summary>
    private string Address()
    {
        var scheme = _options.PeerTlsCert is null ? "http" : "https";
        if (_options.PeerAddress is { } given)
        {
            return $"{scheme}://{given}";
        }

        var bound = new Uri(_server.Features.Get<IServerAddressesFeature>()!.Addresses.Last());
        var isAny = bound.Host is "[::]" or "0.0.0.0";
        return $"{scheme}://{(isAny ? Dns.GetHostName() : bound.Host)}:{bound.Port}";
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    [LoggerMessage(8201, LogLevel.Information, "This server decides about health")]
    private partial void LogLeads();

    [LoggerMessage(8202, LogLevel.Information, "Server {Server} at {Address} decides about health; this one follows")]
    private partial void LogFollows(string server, string address);
}
