using System.Runtime.InteropServices;

namespace ControlPlane.Core.Health;

/// <summary>
/// What is known about every endpoint, by whom, and since when. Evidence counts from its receipt (clocks of others do not matter), the last word of an
/// author replaces the one before, and what has expired or was never said is unknown, not bad. Bounded in authors, in Envoys per upstream and in age.
/// Not safe for use by several threads at once: it has one owner, together with its <see cref="HealthAggregator"/>.
/// </summary>
public sealed class EvidenceLedger
{
    /// <summary>Observers that are kept, and Envoys per upstream.</summary>
    public const int MaxAuthors = 20_000;

    /// <summary>The longest time to live of an outside observer's evidence.</summary>
    public static readonly TimeSpan MaxTimeToLive = TimeSpan.FromMinutes(10);

    private static readonly TimeSpan MaxInterval = TimeSpan.FromHours(1);

    /// <summary>An outside observer that was silent for so long is forgotten.</summary>
    private static readonly TimeSpan ForgetAfter = TimeSpan.FromHours(1);

    private readonly Dictionary<string, UpstreamEvidence> _upstreams = [];
    private readonly Dictionary<string, Observer> _observers = [];
    private readonly Dictionary<string, int> _zoneIndexes = [];
    private readonly List<string> _zones = [];

    internal EvidenceLedger() { }

    /// <summary>
    /// An order was given or ended, or an observer was turned away by a port for good: what may be a verdict that must not wait for the next evaluation.
    /// Evaluating clears it.
    /// </summary>
    public bool IsUrgent { get; internal set; }

    internal IReadOnlyCollection<Observer> Observers => _observers.Values;

    internal int ZoneCount => _zones.Count;

    /// <summary>An observer is there, before it says anything.</summary>
    /// <param name="author">Its stable id.</param>
    /// <param name="zone">Where it stands.</param>
    /// <param name="isOurs">One of our own probers: it checks every upstream that has checks, and is gone at once when it disconnects.</param>
    /// <param name="now">When.</param>
    /// <returns>False if the ledger keeps too many observers already.</returns>
    public bool Connect(string author, string zone, bool isOurs, DateTimeOffset now) =>
        FindObserver(author, zone, isOurs, Instant.Of(now)) is not null;

    /// <summary>One of our own probers stops or is taken over: what it said does not count any more. Outside observers only fall silent.</summary>
    public void Disconnect(string author)
    {
        if (_observers.TryGetValue(author, out var observer) && observer is { IsOurs: true, IsPresent: true })
        {
            observer.IsPresent = false;
            TouchAll();
        }
    }

    /// <summary>An observer has reason to doubt itself (its own loopback or reference probe failed): for 30 s its timeouts are longer and its weight is halved.</summary>
    /// <param name="author">The observer.</param>
    /// <param name="doubt">How much, 0 to 8; timeouts are multiplied by one more.</param>
    /// <param name="now">When.</param>
    public void Doubt(string author, double doubt, DateTimeOffset now)
    {
        if (_observers.TryGetValue(author, out var observer))
        {
            ObserverTrust.Doubt(observer, doubt, Instant.Of(now));
            TouchAll();
        }
    }

    /// <summary>Takes a fact down.</summary>
    /// <param name="evidence">The fact.</param>
    /// <param name="now">When it was received.</param>
    public EvidenceOutcome Record(HealthEvidence evidence, DateTimeOffset now)
    {
        if (!_upstreams.TryGetValue(evidence.Upstream, out var upstream))
        {
            return EvidenceOutcome.UnknownUpstream;
        }
        var at = Instant.Of(now);
        return evidence switch
        {
            CheckResult result => Record(upstream, result, at),
            LoadReport report => Record(upstream, report, at),
            Override order => Record(upstream, order, at),
            _ => throw new ArgumentException($"The ledger has no place for {evidence.GetType().Name}.", nameof(evidence)),
        };
    }

    /// <summary>Ends an operator's order before its time.</summary>
    public void ClearOverride(string upstream, string endpoint)
    {
        if (_upstreams.TryGetValue(upstream, out var evidence) && evidence.Find(endpoint) is { Override: not null } found)
        {
            found.Override = null;
            evidence.IsChanged = IsUrgent = true;
        }
    }

    internal UpstreamEvidence Track(string upstream)
    {
        ref var evidence = ref CollectionsMarshal.GetValueRefOrAddDefault(_upstreams, upstream, out _);
        return evidence ??= new UpstreamEvidence();
    }

    internal void Forget(string upstream)
    {
        if (_upstreams.Remove(upstream, out var evidence))
        {
            evidence.SetEndpoints([]);
        }
    }

    internal int ZoneIndex(string zone)
    {
        ref var index = ref CollectionsMarshal.GetValueRefOrAddDefault(_zoneIndexes, zone, out var exists);
        if (!exists)
        {
            index = _zones.Count;
            _zones.Add(zone);
        }
        return index;
    }

    internal string ZoneName(int index) => _zones[index];

    /// <summary>Something changed that concerns every upstream.</summary>
    internal void TouchAll()
    {
        foreach (var upstream in _upstreams.Values)
        {
            upstream.IsChanged = true;
        }
    }

    /// <summary>Forgets outside observers that have been silent for long.</summary>
    internal void ForgetSilent(Instant now)
    {
        foreach (var observer in _observers.Values)
        {
            if (!observer.IsOurs && now - observer.SeenAt > ForgetAfter)
            {
                observer.IsPresent = false;
                _observers.Remove(observer.Author);
                TouchAll();
            }
        }
    }

    internal bool TryFind(string author, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out Observer? observer) =>
        _observers.TryGetValue(author, out observer);

    internal Observer? FindObserver(string author, string zone, bool isOurs, Instant now)
    {
        var index = ZoneIndex(zone);
        if (!_observers.TryGetValue(author, out var observer))
        {
            if (_observers.Count >= MaxAuthors)
            {
                return null;
            }
            observer = _observers[author] = new Observer(author, index, isOurs);
        }
        else if (!observer.IsPresent || observer.Zone != index || observer.IsOurs != isOurs)
        {
            observer.Return(index, isOurs);
            TouchAll();
        }
        if (now - observer.SeenAt > Observer.ExistsFor)
        {
            TouchAll();
        }
        observer.SeenAt = Instant.Later(observer.SeenAt, now);
        return observer;
    }

    private EvidenceOutcome Record(UpstreamEvidence upstream, CheckResult result, Instant now)
    {
        if (upstream.Find(result.Endpoint) is not { } endpoint)
        {
            return EvidenceOutcome.UnknownEndpoint;
        }
        if (result.CheckDigest.Length > 0 && result.CheckDigest != upstream.Policy.CheckDigest)
        {
            return EvidenceOutcome.OutdatedCheck;
        }
        if (result.TimeToLive <= TimeSpan.Zero)
        {
            return EvidenceOutcome.Expired;
        }
        var known = _observers.GetValueOrDefault(result.Author);
        if (known is { IsOurs: true, IsPresent: false })
        {
            return EvidenceOutcome.Disconnected;
        }
        var isOurs = known?.IsOurs ?? false;
        if (FindObserver(result.Author, result.Zone, isOurs, now) is not { } observer)
        {
            return EvidenceOutcome.TooManyAuthors;
        }
        if (!isOurs && result.TimeToLive > MaxTimeToLive)
        {
            result = result with { TimeToLive = MaxTimeToLive };
        }
        upstream.IsChanged |= upstream.Heard(observer, now);
        ref var opinion = ref endpoint.Opinions.Of(observer);
        var before = opinion.Verdict;
        upstream.IsChanged |= opinion.Apply(result, upstream.Policy, now);
        IsUrgent |= opinion.Verdict == OpinionVerdict.Fail && before != OpinionVerdict.Fail && opinion.Class.IsRefusal();
        return EvidenceOutcome.Accepted;
    }

    private EvidenceOutcome Record(UpstreamEvidence upstream, LoadReport report, Instant now)
    {
        var isIdle = report.Endpoints.IsDefaultOrEmpty;
        if (upstream.Reporter(report.Author, create: !isIdle) is not { } reporter)
        {
            return isIdle ? EvidenceOutcome.Accepted : EvidenceOutcome.TooManyAuthors;
        }
        var interval = report.Interval < TimeSpan.Zero ? TimeSpan.Zero : report.Interval;
        reporter.Begin(ZoneIndex(report.Zone), now, interval > MaxInterval ? MaxInterval : interval);
        var endpoints = upstream.Endpoints.Length;
        foreach (var load in isIdle ? [] : report.Endpoints)
        {
            // Envoy's counts are unsigned; a negative one is somebody else's mistake and says nothing.
            if (load.Successes >= 0 && load.Errors >= 0 && upstream.IndexOf(load.Endpoint) is var index and >= 0)
            {
                reporter.Add(index, endpoints, PackedCounts.Of(load.Successes, load.Errors));
                if (load.Errors > 0)
                {
                    upstream.Endpoints[index].ErrorReportedAt = now;
                }
            }
        }
        upstream.HasNewReport = true;
        if (!upstream.HasTraffic && reporter.NewestTotal.Total > 0)
        {
            upstream.HasTraffic = true;
            upstream.TrafficSince = now;
        }
        return EvidenceOutcome.Accepted;
    }

    private EvidenceOutcome Record(UpstreamEvidence upstream, Override order, Instant now)
    {
        if (upstream.Find(order.Endpoint) is not { } endpoint)
        {
            return EvidenceOutcome.UnknownEndpoint;
        }
        if (order.ExpiresAt is { } end && Instant.Of(end) <= now)
        {
            return EvidenceOutcome.Expired;
        }
        endpoint.Override = order;
        upstream.IsChanged = IsUrgent = true;
        return EvidenceOutcome.Accepted;
    }
}

/// <summary>The evidence about one upstream. Its endpoints have the order of the registry, and all tables are indexed by it.</summary>
internal sealed class UpstreamEvidence
{
    /// <summary>An Envoy that has not reported for so long is forgotten; no rule looks further back.</summary>
    private static readonly TimeSpan ReporterExistsFor = TimeSpan.FromSeconds(45);

    /// <summary>An Envoy that has sent nothing here for so long is forgotten, though it reports that it has nothing to report.</summary>
    private static readonly TimeSpan IdleReporterExistsFor = TimeSpan.FromMinutes(10);

    private static readonly TimeSpan ForgetEvery = TimeSpan.FromSeconds(10);

    private readonly Dictionary<string, int> _indexes = [];
    private readonly Dictionary<string, LoadReporter> _reportersByEnvoy = [];
    private readonly List<LoadReporter> _reporters = [];
    private readonly List<(Observer Observer, Instant At)> _heard = [];
    private Instant _forgotAt = Instant.Never;

    public EndpointEvidence[] Endpoints { get; private set; } = [];

    public HealthPolicy Policy { get; private set; } = HealthPolicy.Default;

    /// <summary>Evidence changed that a rule may read, since the last evaluation.</summary>
    public bool IsChanged { get; set; } = true;

    /// <summary>A load report came since the last evaluation.</summary>
    public bool HasNewReport { get; set; }

    /// <summary>There is traffic in the open window or in one of the last ones.</summary>
    public bool HasTraffic { get; set; }

    /// <summary>Receipt of the first report of that traffic.</summary>
    public Instant TrafficSince { get; set; } = Instant.Never;

    public IReadOnlyList<LoadReporter> Reporters => _reporters;

    /// <summary>The observers that have spoken of this upstream, and when they last did.</summary>
    public IReadOnlyList<(Observer Observer, Instant At)> HeardFrom => _heard;

    public int IndexOf(string endpoint) => _indexes.TryGetValue(endpoint, out var index) ? index : -1;

    public EndpointEvidence? Find(string endpoint) => _indexes.TryGetValue(endpoint, out var index) ? Endpoints[index] : null;

    /// <summary>Takes a new policy; evidence of checks that it does not name any more goes.</summary>
    public void SetPolicy(HealthPolicy policy)
    {
        var isNewCheck = policy.CheckDigest != Policy.CheckDigest;
        Policy = policy;
        IsChanged = true;
        foreach (var endpoint in isNewCheck ? Endpoints : [])
        {
            for (var i = 0; i < endpoint.Opinions.Count; i++)
            {
                if (endpoint.Opinions.Opinions[i].IsOfCheck)
                {
                    endpoint.Opinions.Reset(i);
                }
            }
        }
    }

    /// <summary>Takes the registry's list; the evidence about those that stay is kept.</summary>
    public void SetEndpoints(IReadOnlyList<string> ids)
    {
        var before = Endpoints;
        var from = new int[ids.Count];
        var kept = new HashSet<int>();
        for (var i = 0; i < from.Length; i++)
        {
            from[i] = IndexOf(ids[i]);
            kept.Add(from[i]);
        }
        _indexes.Clear();
        Endpoints = new EndpointEvidence[from.Length];
        for (var i = 0; i < from.Length; i++)
        {
            _indexes.Add(ids[i], i);
            Endpoints[i] = from[i] >= 0 ? before[from[i]] : new EndpointEvidence();
        }
        for (var i = 0; i < before.Length; i++)
        {
            if (!kept.Contains(i))
            {
                before[i].Opinions.Clear();
            }
        }
        foreach (var reporter in _reporters)
        {
            reporter.Move(from);
        }
        IsChanged = true;
    }

    /// <summary>An observer spoke of this upstream.</summary>
    /// <returns>Whether it had not for so long that it was none here.</returns>
    public bool Heard(Observer observer, Instant now)
    {
        foreach (ref var heard in CollectionsMarshal.AsSpan(_heard))
        {
            if (heard.Observer == observer)
            {
                var isBack = now - heard.At > Observer.ExistsFor;
                heard.At = Instant.Later(heard.At, now);
                return isBack;
            }
        }
        _heard.Add((observer, now));
        return true;
    }

    /// <summary>The entry of an Envoy; null if there is none and none is wanted, or there are too many.</summary>
    public LoadReporter? Reporter(string envoy, bool create)
    {
        if (!_reportersByEnvoy.TryGetValue(envoy, out var reporter) && create && _reporters.Count < EvidenceLedger.MaxAuthors)
        {
            reporter = _reportersByEnvoy[envoy] = new LoadReporter(envoy);
            _reporters.Add(reporter);
        }
        return reporter;
    }

    /// <summary>Forgets Envoys and observers that have long been silent, now and then.</summary>
    public void ForgetSilent(Instant now)
    {
        if (now - _forgotAt < ForgetEvery)
        {
            return;
        }
        _forgotAt = now;
        foreach (var endpoint in Endpoints)
        {
            endpoint.Opinions.Forget(now);
        }
        _heard.RemoveAll(heard => heard.Observer is { IsOurs: false, IsPresent: false });
        for (var i = _reporters.Count - 1; i >= 0; i--)
        {
            if (now - _reporters[i].ReceivedAt > ReporterExistsFor || now - _reporters[i].BusyAt > IdleReporterExistsFor)
            {
                _reportersByEnvoy.Remove(_reporters[i].Envoy);
                _reporters.RemoveAt(i);
            }
        }
    }
}

/// <summary>The evidence about one endpoint.</summary>
internal sealed class EndpointEvidence
{
    public OpinionList Opinions { get; } = new();

    /// <summary>The last windows of its traffic; null while it has had none.</summary>
    public WindowHistory? Windows { get; set; }

    /// <summary>Receipt of the last load report that held an error.</summary>
    public Instant ErrorReportedAt { get; set; } = Instant.Never;

    /// <summary>The operator's order, which may have expired.</summary>
    public Override? Override { get; set; }
}
