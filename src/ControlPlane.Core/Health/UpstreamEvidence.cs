using System.Runtime.InteropServices;

namespace ControlPlane.Core.Health;

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
    private readonly List<Witness> _heard = [];
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

    /// <summary>The observers that have spoken of this upstream.</summary>
    public IReadOnlyList<Witness> HeardFrom => _heard;

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
    /// <param name="ids">The endpoints' ids.</param>
    /// <param name="from">Of each its place in the list before; -1 of one that is new.</param>
    public void SetEndpoints(IReadOnlyList<string> ids, int[] from)
    {
        var before = Endpoints;
        var kept = new HashSet<int>(from);
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
    /// <returns>Whether it is new here: it had not for long, or stood elsewhere.</returns>
    public bool Heard(Observer observer, int zone, Instant now)
    {
        foreach (ref var heard in CollectionsMarshal.AsSpan(_heard))
        {
            if (heard.Observer == observer)
            {
                var isNew = now - heard.At > Observer.ExistsFor || zone != heard.Zone;
                heard = heard with { Zone = zone, At = Instant.Later(heard.At, now) };
                return isNew;
            }
        }
        _heard.Add(new Witness(observer, zone, now));
        return true;
    }

    /// <summary>An observer spoke of this upstream before a restart.</summary>
    public void Recall(Witness witness)
    {
        _heard.RemoveAll(heard => heard.Observer == witness.Observer);
        _heard.Add(witness);
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

    /// <summary>Adds the zones in which an opinion, a report or an observer that has spoken of it stands.</summary>
    public void AddZonesTo(HashSet<int> used)
    {
        foreach (var endpoint in Endpoints)
        {
            foreach (ref readonly var opinion in endpoint.Opinions.Opinions)
            {
                used.Add(opinion.Zone);
            }
        }
        used.UnionWith(_heard.Select(heard => heard.Zone));
        used.UnionWith(_reporters.Select(reporter => reporter.Zone));
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

/// <summary>An observer that has spoken of an upstream.</summary>
/// <param name="Observer">It.</param>
/// <param name="Zone">Where it stood last: index in the ledger's zones.</param>
/// <param name="At">When it last did.</param>
internal readonly record struct Witness(Observer Observer, int Zone, Instant At)
{
    /// <summary>When it last spoke before a restart, which its opinions did not outlast; not set if it did not.</summary>
    public Instant RecalledAt { get; init; } = Instant.Never;

    /// <summary>The endpoints of which it spoke then; null for all of them.</summary>
    public IReadOnlySet<string>? Recalled { get; init; }

    /// <summary>Whether it is counted on to speak of an endpoint: it has, in the last ten minutes.</summary>
    public bool Watches(EndpointHealth endpoint, Instant now) =>
        (endpoint.Evidence.Opinions.IndexOf(Observer) >= 0 && now - At <= Observer.ExistsFor)
        || (now - RecalledAt <= Observer.ExistsFor && Recalled?.Contains(endpoint.Target.Id) != false);
}

/// <summary>The evidence about one endpoint.</summary>
internal sealed class EndpointEvidence
{
    public OpinionList Opinions { get; } = new();

    /// <summary>The last windows of its traffic; null while it has had none.</summary>
    public WindowHistory? Windows { get; set; }

    /// <summary>Receipt of the last load report that held an error.</summary>
    public Instant ErrorReportedAt { get; set; } = Instant.Never;

    /// <summary>
    /// Of all reports that began after the first failing check of the series that goes on: a dead endpoint soon gets so few requests, by demotion and by the proxies' own ejections,
    /// that no single window says enough.
    /// </summary>
    public RequestCounts SinceFailing { get; private set; }

    private Instant _failingSince = Instant.Never;

    /// <summary>Takes down what a load report says of it.</summary>
    public void AddTraffic(EndpointLoad load, Instant begunAt, Instant now)
    {
        if (load.Errors > 0)
        {
            ErrorReportedAt = now;
        }
        var since = Opinions.FailingSince(now);
        if (!since.IsSet || since > _failingSince)
        {
            SinceFailing = default;
        }
        _failingSince = since;
        if (since.IsSet && begunAt >= since)
        {
            SinceFailing += PackedCounts.Of(load.Successes, load.Errors);
        }
    }

    /// <summary>The operator's order, which may have expired.</summary>
    public Override? Override { get; set; }

    /// <summary>When the order began and ends, in the ledger's time: moved with it when the wall clock is set back, for people mean the wall clock.</summary>
    public Instant OrderedAt { get; set; } = Instant.Never;

    /// <inheritdoc cref="OrderedAt"/>
    public Instant OrderEndsAt { get; set; } = Instant.Forever;
}
