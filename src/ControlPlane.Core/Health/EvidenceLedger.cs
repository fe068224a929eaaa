using System.Runtime.InteropServices;

namespace ControlPlane.Core.Health;

/// <summary>
/// What is known about every endpoint, by whom, and since when. Evidence counts from its receipt (clocks of others do not matter), the last word of an
/// author replaces the one before, and what has expired or was never said is unknown, not bad. Bounded in authors, in Envoys per upstream and in age.
/// Not safe for use by several threads at once: it has one owner, together with its <see cref="HealthAggregator"/>.
/// </summary>
public sealed class EvidenceLedger
{
    /// <summary>Observers that are kept, and Envoys per upstream. Our own probers are always taken.</summary>
    public const int MaxAuthors = 20_000;

    /// <summary>Zones that are told apart; authors of any more count as standing in the unnamed one.</summary>
    public const int MaxZones = 1_000;

    /// <summary>Of these, the names that one outside author can have brought in. Real zones are few; who names more is wrong, or means harm.</summary>
    public const int MaxZonesOfAuthor = 16;

    /// <summary>The longest time to live of an outside observer's evidence.</summary>
    public static readonly TimeSpan MaxTimeToLive = TimeSpan.FromMinutes(10);

    private static readonly TimeSpan MaxInterval = TimeSpan.FromHours(1);
    private static readonly TimeSpan SetBackAtLeast = TimeSpan.FromSeconds(1);

    /// <summary>An outside observer that was silent for so long is forgotten.</summary>
    private static readonly TimeSpan ForgetAfter = TimeSpan.FromHours(1);

    private readonly Dictionary<string, UpstreamEvidence> _upstreams = [];
    private readonly Dictionary<string, Observer> _observers = [];
    private Instant _latest = Instant.Never;
    private TimeSpan _setBack;

    internal EvidenceLedger() { }

    /// <summary>
    /// An order was given or cleared, or an observer has been refused often enough to say FAIL: evaluating now may give a verdict that must not wait. It is
    /// cleared by evaluating.
    /// </summary>
    public bool IsUrgent { get; internal set; }

    internal IReadOnlyCollection<Observer> Observers => _observers.Values;

    internal ZoneNames Zones { get; } = new();

    /// <summary>An observer is there, before it says anything.</summary>
    /// <param name="author">Its stable id.</param>
    /// <param name="zone">Where it stands.</param>
    /// <param name="isOurs">One of our own probers: it checks every upstream that has checks, and is gone at once when it disconnects.</param>
    /// <param name="now">When.</param>
    /// <returns>False if the ledger keeps too many observers already.</returns>
    public bool Connect(string author, string zone, bool isOurs, DateTimeOffset now) =>
        FindObserver(author, isOurs, Moment(now), isOurs ? Zones.IndexOf(zone) : 0) is not null;

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
            ObserverTrust.Doubt(observer, doubt, Moment(now));
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
        var at = Moment(now);
        return evidence switch
        {
            CheckResult result => Record(upstream, result, at),
            LoadReport report => Record(upstream, report, at),
            Override order => Record(upstream, order, now),
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
            evidence.SetEndpoints([], []);
        }
    }

    /// <summary>The moment that a clock means. What is older than the last evaluation counts as arriving now: time never goes back here.</summary>
    internal Instant Moment(DateTimeOffset now) => Instant.Later(Instant.Of(now) + _setBack, _latest);

    /// <summary>The moment of an evaluation. A clock that was set back is taken to have gone on.</summary>
    internal Instant Advance(DateTimeOffset now)
    {
        var behind = _latest - (Instant.Of(now) + _setBack);
        if (_latest.IsSet && behind > SetBackAtLeast)
        {
            // The offset stays: all else in the model is a duration, which it does not touch. What people gave by the wall clock moves along instead.
            _setBack += behind;
            MoveOrders(behind);
        }
        return _latest = Moment(now);
    }

    private void MoveOrders(TimeSpan by)
    {
        foreach (var upstream in _upstreams.Values)
        {
            foreach (var endpoint in upstream.Endpoints)
            {
                if (endpoint.Override is { } order)
                {
                    endpoint.OrderedAt += by;
                    endpoint.OrderEndsAt = order.ExpiresAt is null ? Instant.Forever : endpoint.OrderEndsAt + by;
                    upstream.IsChanged = IsUrgent = true;
                }
            }
        }
    }

    /// <summary>Adds the zones in which an observer, an opinion or a report stands.</summary>
    internal void AddZonesTo(HashSet<int> used)
    {
        foreach (var observer in _observers.Values)
        {
            used.Add(observer.Zone);
        }
        foreach (var upstream in _upstreams.Values)
        {
            upstream.AddZonesTo(used);
        }
    }

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

    internal Observer? FindObserver(string author, bool isOurs, Instant now, int zone = 0)
    {
        if (!_observers.TryGetValue(author, out var observer))
        {
            if (_observers.Count >= MaxAuthors && !isOurs)
            {
                return null;
            }
            observer = _observers[author] = new Observer(author, zone, isOurs);
        }
        else if (!observer.IsPresent || observer.Zone != zone || observer.IsOurs != isOurs)
        {
            observer.Return(zone, isOurs);
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
        var (isOurs, home) = known is null ? (false, 0) : (known.IsOurs, known.Zone);
        if (FindObserver(result.Author, isOurs, now, home) is not { } observer)
        {
            return EvidenceOutcome.TooManyAuthors;
        }
        if (!isOurs && result.TimeToLive > MaxTimeToLive)
        {
            result = result with { TimeToLive = MaxTimeToLive };
        }
        var zone = isOurs ? home : Zones.IndexOf(result.Zone, result.Author);
        upstream.IsChanged |= upstream.Heard(observer, zone, now);
        ref var opinion = ref endpoint.Opinions.Of(observer);
        var before = opinion.Verdict;
        upstream.IsChanged |= opinion.Apply(result, zone, upstream.Policy, now);
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
        reporter.Begin(Zones.IndexOf(report.Zone, report.Author), now, interval > MaxInterval ? MaxInterval : interval);
        var endpoints = upstream.Endpoints.Length;
        foreach (var load in isIdle ? [] : report.Endpoints)
        {
            // Envoy's counts are unsigned; a negative one is somebody else's mistake and says nothing.
            if (load.Successes >= 0 && load.Errors >= 0 && upstream.IndexOf(load.Endpoint) is var index and >= 0)
            {
                reporter.Add(index, endpoints, PackedCounts.Of(load.Successes, load.Errors));
                upstream.Endpoints[index].AddTraffic(load, reporter.BegunAt, now);
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

    private EvidenceOutcome Record(UpstreamEvidence upstream, Override order, DateTimeOffset now)
    {
        if (upstream.Find(order.Endpoint) is not { } endpoint)
        {
            return EvidenceOutcome.UnknownEndpoint;
        }
        if (order.ExpiresAt <= now)
        {
            return EvidenceOutcome.Expired;
        }
        endpoint.Override = order;
        endpoint.OrderedAt = Instant.Of(order.StartedAt) + _setBack;
        endpoint.OrderEndsAt = order.ExpiresAt is { } end ? Instant.Of(end) + _setBack : Instant.Forever;
        upstream.IsChanged = IsUrgent = true;
        return EvidenceOutcome.Accepted;
    }
}
