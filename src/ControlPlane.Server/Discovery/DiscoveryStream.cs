using System.Diagnostics;
using System.Security.Cryptography.X509Certificates;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using Grpc.Core;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// One open stream. A single loop reads its requests and the marks that changes leave, and is the only writer. A response is made when it can be
/// written and not before: a client that does not read costs one mark per type and holds up nobody.
/// </summary>
/// <remarks><see cref="_lock"/> guards the session, which the loop, the push loop and readers of the status share. It is never held across an await.</remarks>
internal sealed class DiscoveryStream : INodeConnection
{
    /// <summary>
    /// How long changed endpoints wait for the answer to those sent before, which wakes the stream: a client that takes in less than is changed is told of
    /// several changes at once, and the queue is here, where it is merged, and not in its socket. One that does not answer is told all the same.
    /// </summary>
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromMilliseconds(200);

    private readonly DiscoveryServer _server;
    private readonly Lock _lock = new();
    private readonly DiscoverySession _session;
    private readonly StreamSignal _signal = new();
    private readonly ResourceType? _onlyType;
    private View? _view;
    private long _deadline = long.MaxValue;
    private long _pushSince;
    private ActivityContext _pushTrace;
    private int _responses;
    private int _placeGivenUp;
    private long _namesLength;
    private volatile bool _end;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _sentNothing;

    public DiscoveryStream(DiscoveryServer server, XdsProtocol protocol, ResourceType? onlyType, string peer)
    {
        _server = server;
        _onlyType = onlyType;
        _session = new DiscoverySession(protocol, server.Nonces);
        Peer = peer;
        Id = server.NextStreamId();
        Since = server.Time.GetUtcNow();
    }

    public long Id { get; }

    public DateTimeOffset Since { get; }

    public string Peer { get; }

    /// <inheritdoc/>
    public string Protocol => _session.Protocol == XdsProtocol.Delta ? "delta" : "sotw";

    /// <inheritdoc/>
    public string Service => _onlyType?.ShortName ?? "ADS";

    /// <summary>Who is at the other end; null before the first request.</summary>
    public NodeIdentity? Node { get; private set; }

    public ViewKey? ViewKey => _view?.Key;

    /// <summary>Position in the view's <see cref="SubscriberIndex"/>.</summary>
    public int Slot { get; set; }

    /// <summary>True the first time: the stream had a place among those that wait for their first response.</summary>
    public bool GiveUpPlace() => Interlocked.Exchange(ref _placeGivenUp, 1) == 0;

    /// <summary>When the stream is ended for its age; in ticks of UTC.</summary>
    public long EndsAt { get; set; } = long.MaxValue;

    // ------------------------------------------------------------------------------------------------------------------ called by others

    /// <summary>Tells the stream of a change that touches it.</summary>
    public void Push(PendingPush push)
    {
        lock (_lock)
        {
            _session.Apply(push.Change);
            if (_pushSince == 0)
            {
                _pushSince = push.Since;
                _pushTrace = push.Trace;
            }

            if (push.IsOfEndpointsAlone && _session.UnansweredSince(ResourceType.Endpoints) is { } since)
            {
                var due = (since + AnswerLimit).UtcTicks;
                if (_server.Time.GetUtcNow().UtcTicks < due)
                {
                    Volatile.Write(ref _deadline, Math.Min(_deadline, due));
                    return;
                }
            }
        }

        _signal.Set();
    }

    /// <summary>Wakes the stream if a wait of its session is over, or its age is.</summary>
    public void Tick(DateTimeOffset now)
    {
        if (Node is null && now - Since > _server.Options.FirstRequestTimeout)
        {
            _sentNothing = true;
            _signal.Set();
        }
        else if (now.UtcTicks >= EndsAt)
        {
            End();
        }
        else if (now.UtcTicks >= Volatile.Read(ref _deadline))
        {
            _signal.Set();
        }
    }

    /// <summary>Completes when the stream has ended, whoever ended it.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Whether the stream was sent a response, so that it may be ended (T-12).</summary>
    public bool HasResponse => Volatile.Read(ref _responses) > 0;

    /// <summary>Ends the stream once it has been sent a response: before that the client would count it as a failure (T-12).</summary>
    public void End()
    {
        _end = true;
        _signal.Set();
    }

    /// <summary>Gives the node another view, if its groups say so now.</summary>
    public void Reassign()
    {
        lock (_lock)
        {
            if (_view is null || Node is null || _server.Snapshots.KeyOf(Node) == _view.Key)
            {
                return;
            }

            Leave();
            _view = _server.Snapshots.Join(Node, this);
            foreach (var type in ResourceType.All)
            {
                if (_session.IsWildcard(type))
                {
                    _view.Subscribers.Update(Slot, type, [(null, true)]);
                }
                else if (_session.NamesOf(type) is { Count: > 0 } names)
                {
                    _view.Subscribers.Update(Slot, type, [.. names.Select(name => ((string?)name, true))]);
                }
            }

            _session.MoveTo(_view.Current);
        }

        _signal.Set();
    }

    public StreamStatus Status(DateTimeOffset now)
    {
        lock (_lock)
        {
            return new StreamStatus
            {
                Id = Id,
                Protocol = Protocol,
                Service = Service,
                Since = Since,
                Peer = Peer,
                View = _view?.Key.Value,
                Revision = _view?.Current.Revision,
                Subscriptions = _session.Status(),
                Warming = _session.WarmingAt(now),
            };
        }
    }

    public Delivery DeliveryOf(ResourceType type, string name)
    {
        lock (_lock)
        {
            return _view is null ? default : _session.DeliveryOf(type, name, _view.Current);
        }
    }

    /// <summary>True if the client has left a response unanswered for too long.</summary>
    public bool IsStaleAt(DateTimeOffset now)
    {
        lock (_lock)
        {
            return _session.IsStaleAt(now);
        }
    }

    // ------------------------------------------------------------------------------------------------------------------ the loop

    /// <summary>Serves the stream until one side ends it.</summary>
    /// <exception cref="RpcException">The stream ends with an error of the control plane (T-14).</exception>
    public async Task RunAsync(
        IAsyncStreamReader<ClientRequest> requests,
        IServerStreamWriter<ServerResponse> responses,
        X509Certificate2? certificate,
        CancellationToken cancellationToken
    )
    {
        var reading = StreamReading.Begin();
        Task<bool>? next = null;
        var watched = false;
        Action wake = () => _signal.Set(inline: true);
        try
        {
            while (true)
            {
                // Requests go before pushes: what a client no longer wants is not sent to it (O-06).
                next ??= requests.MoveNext(cancellationToken);
                if (next.IsCompleted)
                {
                    if (!await next)
                    {
                        return;
                    }

                    next = null;
                    watched = false;
                    if (!_server.Snapshots.Ready.IsCompleted)
                    {
                        await _server.Snapshots.Ready.WaitAsync(cancellationToken);
                    }

                    Handle(requests.Current, reading, certificate);
                    continue;
                }

                if (Compose() is { } response)
                {
                    var size = DiscoveryMessages.Measure(response, _server.IdentifierLength);
                    await _server.LargeResponses.WriteAsync(
                        size,
                        () => responses.WriteAsync(response, cancellationToken),
                        cancellationToken
                    );
                    Sent(response, size);
                    continue;
                }

                if (_end && _responses > 0)
                {
                    return;
                }

                if (_sentNothing && Node is null)
                {
                    throw new RpcException(new Status(StatusCode.InvalidArgument, "The stream was opened and no request came."));
                }

                if (!watched)
                {
                    watched = true;
                    next.GetAwaiter().UnsafeOnCompleted(wake);
                }

                await _signal.WaitAsync();
            }
        }
        finally
        {
            // A read that is cut off by the end of the stream has nothing to say.
            _ = next?.ContinueWith(
                static task => task.Exception,
                CancellationToken.None,
                TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default
            );
            lock (_lock)
            {
                Leave();
                _view = null;
            }

            _ended.SetResult();
        }
    }

    /// <exception cref="RpcException">The request ends the stream.</exception>
    private void Handle(ClientRequest request, StreamReading reading, X509Certificate2? certificate)
    {
        if (_onlyType is null && request.TypeUrl.Length == 0)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, "An ADS request must have a type_url."));
        }

        if (Node is null)
        {
            Identify(request.Node ?? new NodeIdentity { Id = "" }, certificate);
            reading.NodeIsKnown = true;
        }

        // Types that this server does not know, or that belong to another service, are passed over in silence (T-05, T-06).
        var type = request.TypeUrl.Length == 0 ? _onlyType! : ResourceType.Find(request.TypeUrl);
        if (type is null || (_onlyType is not null && type != _onlyType))
        {
            return;
        }

        Answer answer;
        lock (_lock)
        {
            var view = _view!;
            var snapshot = view.Current;
            answer = _session.Handle(type, request, snapshot, _server.Time.GetUtcNow());
            Bound(request);
            if (_session.TakeInterests(type) is { Count: > 0 } interests)
            {
                view.Subscribers.Update(Slot, type, interests);
                if (_session.IsWildcard(type) && !ReferenceEquals(view.Current, snapshot))
                {
                    // The change came between the read and the entry in the index.
                    _session.MoveTo(view.Current);
                }
            }
        }

        _server.Answered(Node!.Id, Since, answer);
    }

    /// <summary>Bounds what the stream holds because the client asked: its names, known here or not.</summary>
    /// <exception cref="RpcException">They are too many.</exception>
    private void Bound(ClientRequest request)
    {
        var options = _server.Options;
        var count = ResourceType.All.Sum(type => _session.NamesOf(type).Count);
        // A name that is said again is counted again, until it matters.
        _namesLength += request.Names.Sum(name => (long)name.Length);
        if (count <= options.MaxNames && _namesLength <= options.MaxNamesLength)
        {
            return;
        }

        _namesLength = ResourceType.All.Sum(type => _session.NamesOf(type).Sum(name => (long)name.Length));
        if (count > options.MaxNames || _namesLength > options.MaxNamesLength)
        {
            throw new RpcException(
                new Status(
                    StatusCode.ResourceExhausted,
                    $"This stream asks for {count} names of {_namesLength} characters together; {options.MaxNames} names of {options.MaxNamesLength} characters are the most. Unsubscribe from what is not needed, or ask on several streams."
                )
            );
        }
    }

    private void Identify(NodeIdentity node, X509Certificate2? certificate)
    {
        if (_server.Authorize(node, certificate) is { } refusal)
        {
            _server.Nodes.Refused(node, Peer, refusal);
            throw new RpcException(new Status(StatusCode.PermissionDenied, refusal));
        }

        lock (_lock)
        {
            Node = node;
            _view = _server.Snapshots.Join(node, this);
        }

        _server.Nodes.Connected(this);
    }

    private ServerResponse? Compose()
    {
        lock (_lock)
        {
            if (_view is null)
            {
                return null;
            }

            var response = _session.Compose(_view.Current, _server.Time.GetUtcNow());
            if (response is null)
            {
                Volatile.Write(ref _deadline, _session.Deadline?.UtcTicks ?? long.MaxValue);
                _pushSince = 0;
            }

            return response;
        }
    }

    private void Sent(ServerResponse response, int size)
    {
        if (_responses++ == 0)
        {
            _server.FirstResponseSent(this);
        }

        _server.Metrics.Pushed(response, size, _pushSince);
    }

    private void Leave()
    {
        if (_view is null)
        {
            return;
        }

        foreach (var type in ResourceType.All)
        {
            if (_session.IsWildcard(type))
            {
                _view.Subscribers.Update(Slot, type, [(null, false)]);
            }
            else if (_session.NamesOf(type) is { Count: > 0 } names)
            {
                _view.Subscribers.Update(Slot, type, [.. names.Select(name => ((string?)name, false))]);
            }
        }

        _view.Subscribers.Leave(Slot);
    }
}
