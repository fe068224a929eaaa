using System.Collections.Immutable;
using System.Text.Json;
using System.Threading.Channels;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Health.Wire;
using ControlPlane.Server.HealthIntake.DnsResolution;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Telemetry;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Grpc.Net.Client;
using Enum = System.Enum;

namespace ControlPlane.Server.Health;

/// <summary>
/// While another server decides: tells it the evidence that comes here, and puts in force what it says. Needs no database: a connection that stands goes on while that is
/// away. Without a connection verdicts come by the store, if that is there, and else the last ones stay.
/// </summary>
internal sealed partial class HealthPeers : BackgroundService
{
    /// <summary>Pieces of evidence that wait for a connection at most; newer ones are dropped, and come again by themselves.</summary>
    internal const int MaxWaiting = 50_000;

    /// <summary>Evidence that has waited longer is dropped.</summary>
    private static readonly TimeSpan MaxWait = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan CallTimeout = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan FirstRetry = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LastRetry = TimeSpan.FromSeconds(1);

    /// <summary>So long without a message, and the server that decides does not answer.</summary>
    private static readonly TimeSpan SilentAfter = 3 * HealthPeerServer.Heartbeat;

    /// <summary>Endpoints that one message is about, at least; a message has no more than one piece of evidence beyond that.</summary>
    private const int Chunk = 10_000;

    private readonly HealthLeadership _leadership;
    private readonly HealthKeeper _keeper;
    private readonly HealthArchive _archive;
    private readonly HealthHistory _history;
    private readonly CurrentState _current;
    private readonly NameResolver _names;
    private readonly PeerTls _tls;
    private readonly HealthMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger<HealthPeers> _logger;
    private readonly Channel<(HealthEvidence Evidence, long At)> _evidence = Channel.CreateBounded<(HealthEvidence, long)>(
        new BoundedChannelOptions(MaxWaiting) { SingleReader = true }
    );
    private Connection? _connection;
    private string _followed = "";
    private string _lost = "";
    private string _fault = "";
    private long _heardAt;

    public HealthPeers(
        HealthLeadership leadership,
        HealthKeeper keeper,
        HealthArchive archive,
        HealthHistory history,
        HealthQuestions questions,
        CurrentState current,
        NameResolver names,
        PeerTls tls,
        HealthMetrics metrics,
        TimeProvider time,
        ILogger<HealthPeers> logger
    )
    {
        _leadership = leadership;
        _keeper = keeper;
        _archive = archive;
        _history = history;
        _current = current;
        _names = names;
        _tls = tls;
        _metrics = metrics;
        _time = time;
        _logger = logger;
        leadership.IsAliveAsync = IsAliveAsync;
        questions.AskElsewhereAsync = AskAsync;
        keeper.Peers = this;
    }

    /// <summary>Whether the server that decides was heard within the last seconds.</summary>
    public bool IsFollowing =>
        Volatile.Read(ref _followed) is { Length: > 0 } followed
        && followed == _leadership.Role.Server
        && _time.GetElapsedTime(Volatile.Read(ref _heardAt)) < SilentAfter;

    /// <summary>Tells evidence to the server that decides. Never waits: what does not fit is dropped.</summary>
    public void Tell(IReadOnlyList<HealthEvidence> evidence)
    {
        var now = _time.GetTimestamp();
        for (var i = 0; i < evidence.Count; i++)
        {
            if (!_evidence.Writer.TryWrite((evidence[i], now)))
            {
                _metrics.Dropped([.. evidence.Skip(i)]);
                return;
            }
        }
    }

    /// <summary>Tells evidence to the server that decides, and gives what became of it.</summary>
    /// <returns>Default if it does not answer, or has too much to do.</returns>
    public async Task<ImmutableArray<EvidenceOutcome>> TellAsync(
        IReadOnlyList<HealthEvidence> evidence,
        CancellationToken cancellationToken
    )
    {
        if (Volatile.Read(ref _connection) is not { } connection)
        {
            return default;
        }

        try
        {
            var request = new RecordEvidenceRequest { Leader = connection.Role.Server };
            request.Evidence.AddRange(evidence.Select(PeerMessages.Of));
            var response = await connection.Client.RecordEvidenceAsync(request, Options(CallTimeout, cancellationToken));
            return response.Outcomes.Count == evidence.Count ? [.. response.Outcomes.Select(o => Enum.Parse<EvidenceOutcome>(o))] : default;
        }
        catch (RpcException) when (!cancellationToken.IsCancellationRequested)
        {
            return default;
        }
    }

    /// <summary>What another server said of an upstream, which this one may have heard before it knew the upstream; null if it said nothing.</summary>
    public HealthMemory? Recall(string upstream) => _archive.Newest.TryGetValue(upstream, out var stored) ? Read([stored]) : null;

    /// <inheritdoc/>
    public override void Dispose()
    {
        _connection?.Dispose();
        base.Dispose();
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (!_leadership.IsShared)
        {
            return;
        }

        // Before that nobody knows which upstreams there are, and what is said of them would be lost.
        await _current.Loaded.WaitAsync(stoppingToken);
        var retry = FirstRetry;
        while (true)
        {
            var role = _leadership.Role;
            if (role.Leads)
            {
                await CatchUpAsync(stoppingToken);
            }

            _keeper.Lead(role.Leads);
            if (role.Leads || role.Server.Length == 0)
            {
                await _leadership.ChangeAsync(role).WaitAsync(stoppingToken);
                retry = FirstRetry;
                continue;
            }

            using var followed = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken);
            var following = FollowAsync(role, followed.Token);
            await Task.WhenAny(following, _leadership.ChangeAsync(role));
            await followed.CancelAsync();
            try
            {
                await following;
            }
            catch (Exception e) when (e is RpcException or OperationCanceledException or HttpRequestException or TimeoutException)
            {
                stoppingToken.ThrowIfCancellationRequested();
                Volatile.Write(ref _fault, FaultOf(e));
                if (_leadership.Role == role && _lost != role.Server)
                {
                    _lost = role.Server;
                    LogNotFollowed(role.Server, role.Address, FaultOf(e));
                }
            }

            await CatchUpAsync(stoppingToken);
            retry =
                _time.GetElapsedTime(Volatile.Read(ref _heardAt)) < SilentAfter ? FirstRetry
                : retry * 2 < LastRetry ? retry * 2
                : LastRetry;
            await Task.WhenAny(Task.Delay(retry, _time, stoppingToken), _leadership.ChangeAsync(role));
        }
    }

    /// <summary>Without a connection the store is the second best way of a verdict.</summary>
    private async Task CatchUpAsync(CancellationToken cancellationToken) => Adopt(await _archive.CatchUpAsync(cancellationToken));

    /// <summary>Puts in force what another server decided, and what names resolve to by its word: the endpoints first, about which the verdicts are.</summary>
    private void Adopt(HealthMemory decided)
    {
        _names.Adopt(decided);
        _keeper.Adopt(decided);
    }

    private HealthMemory Read(IEnumerable<StoredHealth> stored) =>
        StoredHealthJson.Read(stored, (upstream, e) => LogUnreadable(upstream, e.Message));

    private async Task FollowAsync(HealthRole role, CancellationToken cancellationToken)
    {
        using var connection = Connect(role);
        using var call = connection.Client.Follow(cancellationToken: cancellationToken);
        await call.RequestStream.WriteAsync(
            new FollowRequest
            {
                Leader = role.Server,
                Follower = _leadership.ServerId,
                Address = _leadership.OwnAddress,
            },
            cancellationToken
        );
        Volatile.Write(ref _connection, connection);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var telling = TellAsync(call.RequestStream, stop.Token);
        try
        {
            while (await call.ResponseStream.MoveNext(cancellationToken).WaitAsync(SilentAfter, _time, cancellationToken))
            {
                if (_followed != role.Server || _lost == role.Server)
                {
                    _lost = "";
                    LogFollowed(role.Server, role.Address);
                }

                Volatile.Write(ref _followed, role.Server);
                Volatile.Write(ref _heardAt, _time.GetTimestamp());
                Take(call.ResponseStream.Current);
            }
        }
        finally
        {
            Interlocked.CompareExchange(ref _connection, null, connection);
            await stop.CancelAsync();
            await telling.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task TellAsync(IClientStreamWriter<FollowRequest> requests, CancellationToken cancellationToken)
    {
        while (await _evidence.Reader.WaitToReadAsync(cancellationToken))
        {
            var request = new FollowRequest();
            var endpoints = 0;
            while (endpoints < Chunk && _evidence.Reader.TryRead(out var piece))
            {
                // It counts from when the other server receives it: what has waited for a connection would count for younger than it is.
                if (_time.GetElapsedTime(piece.At) < MaxWait)
                {
                    request.Evidence.Add(PeerMessages.Of(piece.Evidence));
                    endpoints += piece.Evidence is LoadReport report ? 1 + report.Endpoints.Length : 1;
                }
            }

            if (endpoints > 0)
            {
                await requests.WriteAsync(request, cancellationToken);
            }
        }
    }

    private void Take(FollowResponse response)
    {
        var upstreams = PeerMessages.UpstreamsOf(response);
        if (upstreams.Length > 0 || response.Whole)
        {
            _archive.Adopt(upstreams, response.Whole);
            Adopt(Read(upstreams));
        }

        if (response.Transitions.Count > 0)
        {
            _history.Follow([.. response.Transitions.Select(t => StoredHealthJson.ReadTransition(t.Json))]);
        }
    }

    private async Task<bool> IsAliveAsync(HealthRole role, CancellationToken cancellationToken)
    {
        if (role == _leadership.Role && IsFollowing)
        {
            return true;
        }

        try
        {
            using var connection = Connect(role);
            var response = await connection.Client.PingAsync(
                new PingRequest { Leader = role.Server },
                Options(ConnectTimeout, cancellationToken)
            );
            return response.Leads;
        }
        catch (RpcException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }

    private static string FaultOf(Exception e) => e is RpcException rpc ? rpc.Status.Detail : e.Message;

    /// <summary>That the server that decides cannot be asked, and since when it is silent.</summary>
    private SecondHandView Unanswered(string reason)
    {
        var role = _leadership.Role;
        var heardAt = Volatile.Read(ref _heardAt);
        return new SecondHandView(
            role.Server.Length > 0 ? role.Server : null,
            heardAt == 0 ? null : _time.GetUtcNow() - _time.GetElapsedTime(heardAt),
            role.Server.Length == 0 ? "no server is known to decide" : reason
        );
    }

    private async Task<(UpstreamHealthView? View, SecondHandView? Unanswered)> AskAsync(
        string upstream,
        string? zone,
        long index,
        TimeSpan wait,
        CancellationToken cancellationToken
    )
    {
        if (Volatile.Read(ref _connection) is not { } connection)
        {
            var fault = Volatile.Read(ref _fault);
            return (
                null,
                Unanswered(
                    fault.Length > 0
                        ? $"the server that decides is not reached: {fault.TrimEnd('.')}"
                        : "the server that decides is not reached yet"
                )
            );
        }

        try
        {
            var response = await connection.Client.ExplainUpstreamAsync(
                new ExplainUpstreamRequest
                {
                    Leader = connection.Role.Server,
                    Upstream = upstream,
                    Zone = zone ?? "",
                    Index = index,
                    Wait = wait.ToDuration(),
                },
                Options(index < 0 ? CallTimeout : wait + CallTimeout, cancellationToken)
            );
            return (
                response.View.Length == 0 ? null : JsonSerializer.Deserialize<UpstreamHealthView>(response.View, ApiJson.Options),
                null
            );
        }
        catch (RpcException e) when (!cancellationToken.IsCancellationRequested)
        {
            var detail = e.StatusCode == StatusCode.DeadlineExceeded ? "it did not answer in time" : FaultOf(e).TrimEnd('.');
            return (null, Unanswered($"the server that decides was asked in vain: {detail}"));
        }
    }

    private Connection Connect(HealthRole role) =>
        new(
            role,
            GrpcChannel.ForAddress(
                role.Address,
                new GrpcChannelOptions
                {
                    HttpHandler = _tls.Handler(ConnectTimeout),
                    DisposeHttpClient = true,
                    MaxReceiveMessageSize = null,
                }
            )
        );

    private CallOptions Options(TimeSpan timeout, CancellationToken cancellationToken) =>
        new(deadline: _time.GetUtcNow().UtcDateTime + timeout, cancellationToken: cancellationToken);

    private sealed class Connection(HealthRole role, GrpcChannel channel) : IDisposable
    {
        public HealthRole Role => role;

        public HealthPeerService.HealthPeerServiceClient Client { get; } = new(channel);

        public void Dispose() => channel.Dispose();
    }

    [LoggerMessage(
        8203,
        LogLevel.Warning,
        "Server {Server} at {Address}, which decides about health, cannot be followed; its verdicts come by the database, and evidence that comes here is lost: {Reason}"
    )]
    private partial void LogNotFollowed(string server, string address, string reason);

    [LoggerMessage(8204, LogLevel.Information, "Verdicts come from server {Server} at {Address}")]
    private partial void LogFollowed(string server, string address);

    [LoggerMessage(8205, LogLevel.Error, "The verdict on {Upstream} cannot be read; servers of how different versions are these? {Reason}")]
    private partial void LogUnreadable(string upstream, string reason);
}
