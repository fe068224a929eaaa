using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Discovery;

/// <summary>Decides what has to wait for an answer of the client.</summary>
internal interface IGates
{
    /// <summary>Returns why a change must wait, or null.</summary>
    /// <param name="type">The type of what changes.</param>
    /// <param name="name">Its name.</param>
    /// <param name="before">What the client has of it.</param>
    /// <param name="due">What it should have.</param>
    /// <param name="held">The gate that the change waits at already.</param>
    /// <param name="now">The time.</param>
    Gate? Holds(ResourceType type, string name, EncodedResource? before, EncodedResource? due, Gate? held, DateTimeOffset now);
}

/// <summary>
/// The xDS protocol, seen from the server, of one stream: all types of an ADS stream, or the one type of a single service. A state machine without
/// I/O, clock or lock: requests, changes and the time go in, responses come out, one at a time and made when they are asked for, so that a reader that
/// stalls holds back nothing but a mark.
/// </summary>
/// <remarks>
/// The caller hands in the newest snapshot each time and must, once a stream has subscribed, hand every <see cref="SnapshotChange"/> of it to
/// <see cref="Apply"/> that touches one of its subscriptions. Rules are quoted by their ID.
/// </remarks>
public sealed class DiscoverySession : IGates
{
    /// <summary>How long a change waits for an answer that does not come (O-07). Envoy itself gives up on a cluster's endpoints after 15 s.</summary>
    public static readonly TimeSpan GateLimit = TimeSpan.FromSeconds(16);

    /// <summary>How long CDS may go unanswered while other types are answered before clusters are called warming (P-06).</summary>
    public static readonly TimeSpan WarmingAfter = TimeSpan.FromSeconds(1);

    /// <summary>How long a response may go unanswered before the client is called stale.</summary>
    public static readonly TimeSpan StaleAfter = TimeSpan.FromSeconds(60);

    /// <summary>How long after a client could not bind a listener that is sent again. Each further wait is twice as long, up to <see cref="LastBindRetry"/>.</summary>
    public static readonly TimeSpan FirstBindRetry = TimeSpan.FromSeconds(5);

    /// <summary>The longest wait between two trials to bind a listener.</summary>
    public static readonly TimeSpan LastBindRetry = TimeSpan.FromSeconds(60);

    private readonly XdsProtocol _protocol;
    private readonly NonceSequence _nonces;
    private readonly Subscription?[] _subscriptions = new Subscription?[ResourceType.All.Length];

    // Made at most once per Compose, when a gate asks.
    private Snapshot _snapshot = Snapshot.Empty;
    private HashSet<string>? _newClusters;
    private ClusterUsers? _leaving;
    private ClusterUsers? _staying;

    /// <summary>Starts a stream.</summary>
    /// <param name="protocol">The form of the protocol that the stream speaks.</param>
    /// <param name="nonces">Where its nonces come from; may be shared by streams.</param>
    public DiscoverySession(XdsProtocol protocol, NonceSequence nonces)
    {
        _protocol = protocol;
        _nonces = nonces;
    }

    /// <summary>
    /// When <see cref="Compose"/> must be called next though nothing happens: the end of a wait at a gate, or before a refused listener is tried again. Null for never.
    /// </summary>
    public DateTimeOffset? Deadline { get; private set; }

    /// <summary>The form of the protocol that the stream speaks.</summary>
    public XdsProtocol Protocol => _protocol;

    /// <summary>Takes in a request about a type.</summary>
    /// <param name="type">The type, by the request's <c>type_url</c> or the service's.</param>
    /// <param name="request">The request.</param>
    /// <param name="snapshot">What the node is to have now.</param>
    /// <param name="now">The time.</param>
    /// <returns>What it said about an earlier response.</returns>
    public Answer Handle(ResourceType type, ClientRequest request, Snapshot snapshot, DateTimeOffset now)
    {
        var subscription = _subscriptions[type.Index];
        var first = subscription is null;
        if (subscription is null)
        {
            // A nonce of an earlier stream means nothing here (S-26).
            subscription = new Subscription(type, _protocol);
            subscription.Open(request);
            _subscriptions[type.Index] = subscription;
        }

        var stale = false;
        var answer = new Answer(AnswerKind.None, type, default);
        if (!first && request.Nonce.Length > 0)
        {
            answer = NonceSequence.Parse(request.Nonce) is { } nonce
                ? subscription.TakeAnswer(nonce, request, snapshot[type], now)
                : new Answer(AnswerKind.Stale, type, default);
            stale = _protocol == XdsProtocol.Sotw && NonceSequence.Parse(request.Nonce) != subscription.LastNonce;
        }

        // A stale request gets no response (S-23). Its names are taken all the same: a name that is dropped and added again in two stale requests would
        // otherwise never be sent again. They are answered with the next fresh request (S-24).
        subscription.Quiet = stale;
        if (_protocol == XdsProtocol.Sotw)
        {
            SotwRequests.Apply(request, subscription, snapshot[type]);
        }
        else
        {
            // Names count whatever the nonce says (D-16, D-17, D-18).
            DeltaRequests.Apply(request, subscription, snapshot[type], first);
        }

        return answer;
    }

    /// <summary>Takes in a change of what the node is to have.</summary>
    public void Apply(SnapshotChange change)
    {
        foreach (var subscription in _subscriptions)
        {
            if (subscription is null)
            {
                continue;
            }

            var names = change.Changes[subscription.Type.Index];
            if (!names.IsEmpty)
            {
                subscription.Notify(change.Before[subscription.Type], change.After[subscription.Type], names);
            }
        }

        var secrets = change.Changes[ResourceType.Secret.Index];
        if (!secrets.IsEmpty)
        {
            _subscriptions[ResourceType.Listener.Index]
                ?.Retry(
                    (listener, _) =>
                        listener.References.Any(r => r.Type == ResourceType.Secret && secrets.Contains(ResourceName.Canonical(r.Name)))
                );
        }
    }

    /// <summary>The node is to have another snapshot from now on, which need not follow from the one before.</summary>
    public void MoveTo(Snapshot snapshot)
    {
        foreach (var subscription in _subscriptions)
        {
            subscription?.NotifyAll(snapshot[subscription.Type]);
        }
    }

    /// <summary>
    /// Makes the next response to send, in the order of <see cref="ResourceType.All"/> (O-01), and takes it as sent. Call again until it returns null.
    /// </summary>
    /// <param name="snapshot">What the node is to have now.</param>
    /// <param name="now">The time.</param>
    public ServerResponse? Compose(Snapshot snapshot, DateTimeOffset now)
    {
        _snapshot = snapshot;
        ServerResponse? response = null;
        _subscriptions[ResourceType.Listener.Index]?.RetryBinds(now);
        Clusters?.PutBack(IsBuilt, now);
        foreach (var subscription in _subscriptions)
        {
            if (subscription?.HasWork != true)
            {
                continue;
            }

            response = subscription.Compose(snapshot[subscription.Type], this, _nonces, now, out var sent);
            if (response is not null)
            {
                if (subscription.Type == ResourceType.Cluster)
                {
                    SendEndpointsAgain(sent!);
                }

                break;
            }
        }

        _snapshot = Snapshot.Empty;
        _newClusters = null;
        _leaving = null;
        _staying = null;
        if (response is null)
        {
            Deadline = EarliestDeadline();
        }

        return response;
    }

    /// <summary>
    /// Envoy keeps a cluster that was added or modified warming until it gets its endpoints, unchanged or not, and with Delta does not ask for them
    /// (S-32, D-29).
    /// </summary>
    private void SendEndpointsAgain(SentResponse sent)
    {
        if (_subscriptions[ResourceType.Endpoints.Index] is not { } endpoints)
        {
            return;
        }

        var assignments = _snapshot[ResourceType.Endpoints];
        if (sent.IsWhole)
        {
            foreach (var name in endpoints.Named)
            {
                if (assignments.Find(name) is not null && endpoints.SentFor(name) is not null)
                {
                    endpoints.Resend(name);
                }
            }

            return;
        }

        foreach (var item in sent.Changes)
        {
            if (item.Content is null)
            {
                continue;
            }

            var name = EndpointsName(item.Content);
            if (assignments.Find(name) is not null)
            {
                endpoints.Resend(name);
            }
        }
    }

    /// <summary>The assignment that a cluster takes its endpoints from: <c>eds_cluster_config.service_name</c> if it has one, else its own name.</summary>
    internal static string EndpointsName(EncodedResource cluster)
    {
        foreach (var reference in cluster.References)
        {
            if (reference.Type == ResourceType.Endpoints)
            {
                return ResourceName.Canonical(reference.Name);
            }
        }

        return ResourceName.Canonical(cluster.Name);
    }

    // ------------------------------------------------------------------------------------------------------------------ gates

    Gate? IGates.Holds(ResourceType type, string name, EncodedResource? before, EncodedResource? due, Gate? held, DateTimeOffset now)
    {
        if (type == ResourceType.Cluster && due is null && UserThatStays(name) is { } user)
        {
            return new Gate(type, name, held is { HasLimit: false } ? held.Since : now, user.Type, user.Name, HasLimit: false);
        }

        var since = held is { HasLimit: true } ? held.Since : now;
        // What it waits for was put back, and will be sent again.
        var limitFrom = Clusters?.PutBackAt is { } putBack && putBack > since ? putBack : since;
        if (now - limitFrom >= GateLimit)
        {
            return null;
        }

        if (type == ResourceType.Route)
        {
            // The first one of a listener is never held: Envoy asks for it before it acknowledges the listener.
            return before is not null && due is not null && NewCluster(due) is { } cluster
                ? new Gate(type, name, since, ResourceType.Cluster, cluster)
                : null;
        }

        if (type == ResourceType.Listener)
        {
            return due is not null && NewClusterOfListener(due, isNew: before is null) is { } cluster
                ? new Gate(type, name, since, ResourceType.Cluster, cluster)
                : null;
        }

        if (type == ResourceType.Cluster && due is null)
        {
            return UserThatLeaves(name) is { } leaving ? new Gate(type, name, since, leaving.Type, leaving.Name) : null;
        }

        if (type == ResourceType.Endpoints && due is null)
        {
            // While its cluster is held back, so is its end.
            return
                Clusters is { Wildcard: true } clusters
                && clusters.SentFor(name) is not null
                && _snapshot[ResourceType.Cluster].Find(name) is null
                ? new Gate(type, name, since, ResourceType.Cluster, name)
                : null;
        }

        return null;
    }

    /// <summary>Envoy asks for the endpoints of a new cluster as soon as it has made it, and never does for one that fails.</summary>
    private bool IsBuilt(EncodedResource cluster) =>
        cluster.References.Any(reference => reference.Type == ResourceType.Endpoints)
        && _subscriptions[ResourceType.Endpoints.Index]?.IsNamed(EndpointsName(cluster)) == true;

    private Subscription? Clusters => _subscriptions[ResourceType.Cluster.Index];

    /// <summary>
    /// A cluster that a resource refers to, that the snapshot has, and that the client has not acknowledged in any version. Only asked of clients that take
    /// every cluster: one that asks by name asks for what the route told it.
    /// </summary>
    private string? NewCluster(EncodedResource resource)
    {
        if (Clusters is not { Wildcard: true, LastNonce: > 0 } clusters)
        {
            return null;
        }

        foreach (var reference in resource.References)
        {
            if (reference.Type != ResourceType.Cluster)
            {
                continue;
            }

            var name = ResourceName.Canonical(reference.Name);
            _newClusters ??=
            [
                .. clusters
                    .Unanswered.SelectMany(sent => sent.Changes)
                    .Where(item => item.Content is not null && item.Before is null)
                    .Select(item => item.Name),
            ];
            if (_newClusters.Contains(name) || (clusters.SentFor(name) is null && _snapshot[ResourceType.Cluster].Find(name) is not null))
            {
                return reference.Name;
            }
        }

        return null;
    }

    private string? NewClusterOfListener(EncodedResource listener, bool isNew)
    {
        if (NewCluster(listener) is { } cluster)
        {
            return cluster;
        }

        // A listener in use that moves to another route table gets that one at once, whatever it names: it is the listener that has to wait.
        if (isNew)
        {
            return null;
        }

        foreach (var reference in listener.References)
        {
            if (
                reference.Type == ResourceType.Route
                && _snapshot[ResourceType.Route].Find(ResourceName.Canonical(reference.Name)) is { } route
                && _subscriptions[ResourceType.Route.Index]?.SentFor(ResourceName.Canonical(reference.Name)) is null
                && NewCluster(route) is { } named
            )
            {
                return named;
            }
        }

        return null;
    }

    /// <summary>What uses a cluster that is to go, and has not been told yet to give it up, or refused to.</summary>
    private EncodedResource? UserThatStays(string cluster)
    {
        if (_staying is null)
        {
            _staying = new ClusterUsers(RouteInForce);
            foreach (var (subscription, current) in RoutesAndListeners())
            {
                _staying.Add(subscription.ToLeave(current), mayHaveUsedAny: true);
                _staying.Add(subscription.KeptInForce(), mayHaveUsedAny: false);
            }
        }

        return _staying.Find(cluster);
    }

    /// <summary>What used a cluster that is to go, was told to give it up, and has not answered.</summary>
    private EncodedResource? UserThatLeaves(string cluster)
    {
        if (_leaving is null)
        {
            _leaving = new ClusterUsers(RouteInForce);
            foreach (var (subscription, _) in RoutesAndListeners())
            {
                _leaving.Add(subscription.Leaving(), mayHaveUsedAny: true);
            }
        }

        return _leaving.Find(cluster);
    }

    private IEnumerable<(Subscription Subscription, ResourceSet Current)> RoutesAndListeners()
    {
        foreach (var type in (ResourceType[])[ResourceType.Route, ResourceType.Listener])
        {
            if (_subscriptions[type.Index] is { } subscription)
            {
                yield return (subscription, _snapshot[type]);
            }
        }
    }

    private EncodedResource? RouteInForce(string name) => _subscriptions[ResourceType.Route.Index]?.SentFor(name);

    /// <summary>Resources by the clusters that they refer to, a listener also by those of its route tables.</summary>
    private sealed class ClusterUsers(Func<string, EncodedResource?> routeInForce)
    {
        private readonly Dictionary<string, EncodedResource> _byCluster = new(StringComparer.Ordinal);
        private EncodedResource? _ofAny;

        /// <param name="resources">Route tables and listeners.</param>
        /// <param name="mayHaveUsedAny">Whether a listener whose route table is not known any more counts as a user of every cluster.</param>
        public void Add(IEnumerable<EncodedResource> resources, bool mayHaveUsedAny)
        {
            foreach (var resource in resources)
            {
                foreach (var reference in resource.References)
                {
                    var name = ResourceName.Canonical(reference.Name);
                    if (reference.Type == ResourceType.Cluster)
                    {
                        _byCluster[name] = resource;
                    }
                    else if (reference.Type == ResourceType.Route && routeInForce(name) is { } route)
                    {
                        Add([route], mayHaveUsedAny: false);
                    }
                    else if (reference.Type == ResourceType.Route && mayHaveUsedAny)
                    {
                        _ofAny = resource;
                    }
                }
            }
        }

        public EncodedResource? Find(string cluster) => _byCluster.GetValueOrDefault(cluster) ?? _ofAny;
    }

    private DateTimeOffset? EarliestDeadline()
    {
        var earliest = Earlier(_subscriptions[ResourceType.Listener.Index]?.NextBindRetry, Clusters?.PutBackDueAt);
        foreach (var subscription in _subscriptions)
        {
            if (subscription is null)
            {
                continue;
            }

            foreach (var gate in subscription.Gates)
            {
                if (!gate.HasLimit)
                {
                    continue;
                }

                var putBack = Clusters?.PutBackAt ?? gate.Since;
                earliest = Earlier(earliest, (putBack > gate.Since ? putBack : gate.Since) + GateLimit);
            }
        }

        return earliest;

        static DateTimeOffset? Earlier(DateTimeOffset? one, DateTimeOffset? other) => one is null || other < one ? other : one;
    }

    // ------------------------------------------------------------------------------------------------------------------ what others may know

    /// <summary>True if the client asked for a type.</summary>
    public bool IsSubscribed(ResourceType type) => _subscriptions[type.Index] is not null;

    /// <summary>True if the client asked for everything of a type.</summary>
    public bool IsWildcard(ResourceType type) => _subscriptions[type.Index]?.Wildcard == true;

    /// <summary>
    /// Takes what the client began and ceased to be interested in since the last call, so that its caller can tell which changes concern it: canonical names, and
    /// null for everything of the type. Names under a wildcard are not listed.
    /// </summary>
    public IReadOnlyList<(string? Name, bool Wanted)> TakeInterests(ResourceType type) => _subscriptions[type.Index]?.TakeInterests() ?? [];

    /// <summary>The names, in canonical form, that the client asked for of a type.</summary>
    public IReadOnlyCollection<string> NamesOf(ResourceType type) => _subscriptions[type.Index]?.Named ?? [];

    /// <summary>What each subscription is and how far it got.</summary>
    public ImmutableArray<SubscriptionStatus> Status() => [.. _subscriptions.Where(s => s is not null).Select(s => s!.Status())];

    /// <summary>How far one resource got.</summary>
    public Delivery DeliveryOf(ResourceType type, string name, Snapshot snapshot) =>
        _subscriptions[type.Index]?.DeliveryOf(ResourceName.Canonical(name), snapshot[type]) ?? default;

    /// <summary>When the newest response of a type was sent, if it is unanswered.</summary>
    public DateTimeOffset? UnansweredSince(ResourceType type) =>
        _subscriptions[type.Index] is { Unanswered: [.., var newest] } ? newest.SentAt : null;

    /// <summary>True if a response has gone unanswered for longer than <see cref="StaleAfter"/>.</summary>
    public bool IsStaleAt(DateTimeOffset now) =>
        _subscriptions.Any(subscription => subscription is { Unanswered: [var oldest, ..] } && now - oldest.SentAt > StaleAfter);

    /// <summary>
    /// Whether clusters are warming: CDS is unanswered for longer than <see cref="WarmingAfter"/> while another type was answered since (P-06). After
    /// <see cref="GateLimit"/> it can only be a cluster that failed late (O-08).
    /// </summary>
    /// <returns>Null, or since when, with the clusters whose endpoints the client has not got.</returns>
    public Warming? WarmingAt(DateTimeOffset now)
    {
        if (Clusters is not { Unanswered.Count: > 0 } clusters)
        {
            return null;
        }

        var since = clusters.Unanswered[0].SentAt;
        if (now - since <= WarmingAfter || !_subscriptions.Any(s => s is not null && s != clusters && s.LastAnswerAt > since))
        {
            return null;
        }

        var endpoints = _subscriptions[ResourceType.Endpoints.Index];
        // A cluster that names no assignment, such as a static one, waits for none.
        var missing = clusters
            .Unanswered.SelectMany(sent => sent.Changes)
            .SelectMany(item => item.Content?.References ?? [])
            .Where(reference => reference.Type == ResourceType.Endpoints)
            .Select(reference => ResourceName.Canonical(reference.Name))
            .Distinct(StringComparer.Ordinal)
            .Where(name => endpoints is null || endpoints.SentFor(name) is null)
            .Order(StringComparer.Ordinal)
            .Take(100);
        return new Warming(since, [.. missing], now - since > GateLimit);
    }
}

/// <summary>Clusters that do not become active.</summary>
/// <param name="Since">When the oldest unanswered CDS response was sent.</param>
/// <param name="EndpointsMissing">Names of assignments that the client has not got; at most 100.</param>
/// <param name="SuspectedFailure">True if even Envoy's own time limit has passed: a cluster failed late and holds all answers back.</param>
public sealed record Warming(DateTimeOffset Since, ImmutableArray<string> EndpointsMissing, bool SuspectedFailure);
