using System.Collections.Concurrent;
using System.Diagnostics;
using System.Numerics;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Telemetry;
using Grpc.Core;
using Grpc.Health.V1;
using Grpc.HealthCheck;
using Microsoft.Extensions.Options;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// Decides whether a node may have what it asks for, by what it says that it is and by its TLS client certificate (null without one). Returns null to
/// let it in, or the reason, which the node is told with PERMISSION_DENIED.
/// </summary>
public delegate string? NodeAuthorizer(NodeIdentity node, X509Certificate2? certificate);

/// <summary>All streams of the process, and what they share: who may enter, the clock that ends their waits, and their end.</summary>
internal sealed partial class DiscoveryServer : BackgroundService, IHostedLifecycleService
{
    private static readonly TimeSpan SweepPeriod = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LastWords = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LastFrames = TimeSpan.FromMilliseconds(100);

    private const int StreamsAtOnce = 32;

    private readonly ConcurrentDictionary<long, DiscoveryStream> _streams = new();
    private readonly Dictionary<string, PollingNode> _polling = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _connecting;
    private readonly NodeAuthorizer _authorize;
    private readonly HealthServiceImpl _health;
    private readonly ConvergenceTracker? _convergence;
    private readonly ILogger<DiscoveryServer> _logger;
    private long _lastStreamId;
    private int _openStreams;
    private volatile bool _isStopping;

    public DiscoveryServer(
        CurrentSnapshots snapshots,
        ConnectedNodes nodes,
        DiscoveryMetrics metrics,
        IOptions<DiscoveryOptions> options,
        TimeProvider time,
        HealthServiceImpl health,
        ILogger<DiscoveryServer> logger,
        NodeAuthorizer? authorize = null,
        ConvergenceTracker? convergence = null
    )
    {
        Snapshots = snapshots;
        Nodes = nodes;
        Metrics = metrics;
        Options = options.Value;
        Time = time;
        IdentifierLength = Encoding.UTF8.GetByteCount(Options.Identifier);
        _health = health;
        _logger = logger;
        _authorize = authorize ?? ((_, _) => null);
        _convergence = convergence;
        _connecting = new SemaphoreSlim(Options.MaxConnecting);
        LargeResponses = new LargeResponses(time);
        nodes.NodeRefused += LogIntruder;
    }

    public CurrentSnapshots Snapshots { get; }

    public ConnectedNodes Nodes { get; }

    public DiscoveryMetrics Metrics { get; }

    public DiscoveryOptions Options { get; }

    public TimeProvider Time { get; }

    public NonceSequence Nonces { get; } = new();

    public LargeResponses LargeResponses { get; }

    public int IdentifierLength { get; }

    /// <summary>Streams that are open, those that have not said who they are included.</summary>
    public int StreamCount => Volatile.Read(ref _openStreams);

    public long NextStreamId() => Interlocked.Increment(ref _lastStreamId);

    public string? Authorize(NodeIdentity node, X509Certificate2? certificate) => _authorize(node, certificate);

    /// <summary>Serves one stream from its opening to its end.</summary>
    public async Task ServeAsync(
        XdsProtocol protocol,
        ResourceType? onlyType,
        IAsyncStreamReader<ClientRequest> requests,
        IServerStreamWriter<ServerResponse> responses,
        ServerCallContext context
    )
    {
        var cancellationToken = context.CancellationToken;
        if (_isStopping)
        {
            // The listener is still open while the others' streams are ended: whoever asks again goes to another server, or comes back later.
            throw new RpcException(new Status(StatusCode.Unavailable, "This server is shutting down."));
        }

        if (Interlocked.Increment(ref _openStreams) > Options.MaxStreams)
        {
            Interlocked.Decrement(ref _openStreams);
            throw new RpcException(
                new Status(StatusCode.ResourceExhausted, $"This server has {Options.MaxStreams} streams, the most it takes.")
            );
        }

        DiscoveryStream? stream = null;
        try
        {
            if (!await _connecting.WaitAsync(Options.MaxConnectWait, cancellationToken))
            {
                throw new RpcException(
                    new Status(StatusCode.ResourceExhausted, "Too many streams wait for their first response; try again.")
                );
            }

            stream = new DiscoveryStream(this, protocol, onlyType, context.Peer);
            if (Options.MaxStreamAge > TimeSpan.Zero)
            {
                stream.EndsAt = (stream.Since + (Options.MaxStreamAge * (0.5 + (Random.Shared.NextDouble() / 2)))).UtcTicks;
            }

            _streams[stream.Id] = stream;
            await stream.RunAsync(requests, responses, context.GetHttpContext().Connection.ClientCertificate, cancellationToken);
        }
        catch (InvalidDataException e)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, e.Message));
        }
        catch (Exception e)
            when (e is IOException
                || (cancellationToken.IsCancellationRequested && e is OperationCanceledException or InvalidOperationException)
            )
        {
            // The client went away; nobody is left to be told.
            LogGone(stream?.Id ?? 0);
        }
        finally
        {
            Interlocked.Decrement(ref _openStreams);
            if (stream is not null)
            {
                _streams.TryRemove(stream.Id, out _);
                FirstResponseSent(stream);
                if (stream.Node is not null)
                {
                    Nodes.Disconnected(stream);
                }
            }
        }
    }

    /// <summary>What is known of the polls of a node; null if more nodes poll than this server takes.</summary>
    /// <param name="node">The node, which has polled just now.</param>
    /// <param name="peer">Address of the other end.</param>
    /// <param name="starts">The node has nothing yet: what it says that it is may be new.</param>
    public PollingNode? PollsOf(NodeIdentity node, string peer, bool starts)
    {
        lock (_polling)
        {
            if (!_polling.TryGetValue(node.Id, out var polls))
            {
                if (_polling.Count >= Options.MaxStreams)
                {
                    return null;
                }

                _polling[node.Id] = polls = new PollingNode(this, node, peer);
                Nodes.Connected(polls);
            }
            else if (starts)
            {
                polls.Node = node;
                Nodes.Identified(node);
            }

            polls.PolledAt = Time.GetUtcNow();
            return polls;
        }
    }

    private void ForgetPolls(DateTimeOffset before)
    {
        lock (_polling)
        {
            foreach (var (id, polls) in _polling)
            {
                if (polls.PolledAt < before)
                {
                    _polling.Remove(id);
                    Nodes.Disconnected(polls);
                }
            }
        }
    }

    /// <summary>Gives up the stream's place among those that wait for their first response.</summary>
    public void FirstResponseSent(DiscoveryStream stream)
    {
        if (stream.GiveUpPlace())
        {
            _connecting.Release();
        }
    }

    /// <summary>A node answered a response.</summary>
    /// <param name="node">Its id.</param>
    /// <param name="since">When its stream was opened, or its first poll came.</param>
    /// <param name="answer">What it said.</param>
    public void Answered(string node, DateTimeOffset since, in Answer answer)
    {
        switch (answer.Kind)
        {
            case AnswerKind.Ack:
                Metrics.Acked(answer.Type);
                if (answer.IsMove)
                {
                    _convergence?.Answered(answer, node, since);
                }

                Nodes.Changed();
                break;
            case AnswerKind.Nack:
                Metrics.Nacked(answer.Type);
                _convergence?.Answered(answer, node, since);
                LogRefused(
                    node,
                    answer.Type.ShortName,
                    answer.Version.ToString("x32", null),
                    answer.Names.IsEmpty ? "unknown" : string.Join(", ", answer.Names),
                    answer.Text
                );
                Nodes.Changed();
                break;
        }
    }

    /// <summary>Ends a node's streams, each once it has been sent a response; the node reconnects at once.</summary>
    public void EndStreamsOf(string nodeId)
    {
        foreach (var (_, stream) in _streams)
        {
            if (stream.Node?.Id == nodeId)
            {
                stream.End();
            }
        }
    }

    /// <summary>The groups of nodes changed: moves each stream whose node now has another view.</summary>
    public void ReassignNodes()
    {
        foreach (var stream in _streams.Values)
        {
            stream.Reassign();
        }

        Snapshots.DropUnused();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await Task.WhenAll(ReportHealthAsync(stoppingToken), PushChangesAsync(stoppingToken), SweepAsync(stoppingToken));
    }

    /// <summary>gRPC health: serving from the first complete load to the shutdown.</summary>
    private async Task ReportHealthAsync(CancellationToken stoppingToken)
    {
        const string Ads = "envoy.service.discovery.v3.AggregatedDiscoveryService";
        SetStatus(HealthCheckResponse.Types.ServingStatus.NotServing);
        try
        {
            await Snapshots.Ready.WaitAsync(stoppingToken);
            SetStatus(HealthCheckResponse.Types.ServingStatus.Serving);
            await Task.Delay(Timeout.InfiniteTimeSpan, Time, stoppingToken);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            SetStatus(HealthCheckResponse.Types.ServingStatus.NotServing);
        }

        void SetStatus(HealthCheckResponse.Types.ServingStatus status)
        {
            _health.SetStatus("", status);
            _health.SetStatus(Ads, status);
        }
    }

    /// <summary>
    /// Tells the streams of changes. A lone change goes out at once; the next push waits in proportion to what the last one cost, and takes all that
    /// came meanwhile.
    /// </summary>
    private async Task PushChangesAsync(CancellationToken stoppingToken)
    {
        try
        {
            while (true)
            {
                await Snapshots.PushDue.WaitAsync(stoppingToken);
                var started = Stopwatch.GetTimestamp();
                var touched = 0;
                foreach (var (view, push) in Snapshots.TakePending())
                {
                    using var activity = DiscoveryMetrics.Source.StartActivity("push", ActivityKind.Internal, push.Trace);
                    var streams = view.Subscribers.TouchedBy(push.Change);
                    activity?.SetTag("node_group", view.Key.Value);
                    activity?.SetTag("xds.streams", streams.Count);
                    foreach (var stream in streams)
                    {
                        stream.Push(push);
                        if (++touched % StreamsAtOnce == 0)
                        {
                            // To the end of the thread pool's queue: what comes meanwhile, the next write included, does not wait behind a whole fleet.
                            await Task.Yield();
                        }
                    }
                }

                var pause = Options.PacePerStream * touched;
                pause = (pause < Options.MaxPace ? pause : Options.MaxPace) - Stopwatch.GetElapsedTime(started);
                if (pause >= TimeSpan.FromMilliseconds(1))
                {
                    await Task.Delay(pause, Time, stoppingToken);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested) { }
    }

    /// <summary>One clock for all streams: none needs a timer of its own.</summary>
    private async Task SweepAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(SweepPeriod, Time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                var now = Time.GetUtcNow();
                foreach (var (_, stream) in _streams)
                {
                    stream.Tick(now);
                }

                ForgetPolls(now - PollingNode.GoneAfter);
                Nodes.Forget(now - Options.RememberNodes);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested) { }
    }

    /// <summary>
    /// Ends the streams one after another. Before any service is stopped: Kestrel would wait for all of them to end by themselves, and then cut them all at
    /// once.
    /// </summary>
    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        _isStopping = true;
        var streams = _streams.Values.ToArray();
        Random.Shared.Shuffle(streams);
        var started = Time.GetTimestamp();
        for (var i = 0; i < streams.Length; i++)
        {
            streams[i].End();
            var due = Options.ShutdownSpread * (i + 1) / streams.Length;
            var early = due - Time.GetElapsedTime(started);
            if (i < streams.Length - 1 && early > TimeSpan.FromMilliseconds(10) && !cancellationToken.IsCancellationRequested)
            {
                await Task.Delay(early, Time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        // A stream that has been told has yet to say its last word; Kestrel must not stop before. A reader that stalls is not waited for.
        await Task.WhenAll(streams.Where(stream => stream.HasResponse).Select(stream => stream.Ended))
            .WaitAsync(LastWords, Time, cancellationToken)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (streams.Length > 0)
        {
            // Kestrel sends a stream's last frames before it closes the connection, but a client of .NET that has not read them by then forgets them: its request is
            // still open, so that the stream counts as cut off. Nothing tells when it has read them.
            await Task.Delay(LastFrames, TimeProvider.System, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _connecting.Dispose();
        LargeResponses.Dispose();
        base.Dispose();
    }

    /// <inheritdoc/>
    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>A proxy that is refused comes again for ever: it is told ever more seldom.</summary>
    private void LogIntruder(RefusedNode node)
    {
        if (BitOperations.IsPow2(node.Attempts))
        {
            LogIntruder(node.Node.Id, node.Peer, node.Attempts, node.Reason);
        }
    }

    [LoggerMessage(
        EventId = 3004,
        Level = LogLevel.Warning,
        Message = "Node {Node} at {Peer} is denied, {Attempts} times so far: {Reason}"
    )]
    private partial void LogIntruder(string node, string peer, int attempts, string reason);

    [LoggerMessage(EventId = 3001, Level = LogLevel.Debug, Message = "Stream {Stream} was cut off by its client")]
    private partial void LogGone(long stream);

    [LoggerMessage(
        EventId = 3002,
        Level = LogLevel.Warning,
        Message = "Node {Node} refused {Type} version {Version}, resources {Names}: {Text}"
    )]
    private partial void LogRefused(string node, string type, string version, string names, string? text);
}
