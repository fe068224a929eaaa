using System.Collections.Immutable;

namespace ControlPlane.Core.Health;

/// <summary>
/// Decides the health of every endpoint from the evidence in its <see cref="Ledger"/>, and what proxies are told (section 4 of the health design). Pure:
/// time is an argument, and the same evidence at the same times gives the same verdicts. <see cref="Evaluate"/> is called every
/// <see cref="FleetHealthPolicy.EvaluationInterval"/>, and may be called in between when the ledger says that something is urgent. Its work is
/// proportional to the upstreams that changed or whose time has come. Not safe for use by several threads at once.
/// </summary>
public sealed class HealthAggregator
{
    private static readonly TimeSpan ForgetEvery = TimeSpan.FromMinutes(1);

    /// <summary>How long a new endpoint is probed at the edge interval (4.8).</summary>
    private static readonly TimeSpan NewIsUrgentFor = TimeSpan.FromSeconds(60);

    private readonly Dictionary<string, UpstreamHealth> _byName = [];
    private readonly List<UpstreamHealth> _upstreams = [];
    private readonly FleetHealth _fleet;
    private readonly ObserverTrust _trust;
    private readonly OutlierDetector _outliers;
    private readonly Publication _publication;
    private Instant _last = Instant.Never;
    private Instant _forgotAt = Instant.Never;

    /// <summary>Creates an aggregator that knows nothing yet.</summary>
    /// <param name="policy">What holds for the whole fleet.</param>
    public HealthAggregator(FleetHealthPolicy? policy = null)
    {
        Ledger = new EvidenceLedger();
        _fleet = new FleetHealth(policy ?? FleetHealthPolicy.Default, Ledger);
        _trust = new ObserverTrust(_fleet);
        _outliers = new OutlierDetector(_fleet);
        _publication = new Publication(_fleet);
    }

    /// <summary>What is known about every endpoint.</summary>
    public EvidenceLedger Ledger { get; }

    internal FleetHealth Fleet => _fleet;

    /// <summary>Adds an upstream, or changes its policy or its endpoints. Those that stay keep their state.</summary>
    /// <param name="name">The upstream.</param>
    /// <param name="policy">How its health is decided.</param>
    /// <param name="endpoints">All its endpoints in the order in which they are published.</param>
    /// <param name="now">When.</param>
    /// <param name="mayEmpty">A person has asked for it: an upstream that has endpoints may be left without any.</param>
    /// <returns>False if nothing was changed, because the last endpoint would have gone and no person asked for that (guard G8).</returns>
    /// <exception cref="ArgumentException">Two endpoints have the same id; nothing was changed.</exception>
    public bool SetUpstream(
        string name,
        HealthPolicy policy,
        IReadOnlyList<HealthTarget> endpoints,
        DateTimeOffset now,
        bool mayEmpty = false
    )
    {
        if (endpoints.GroupBy(e => e.Id).FirstOrDefault(g => g.Count() > 1) is { } twice)
        {
            throw new ArgumentException($"Upstream {name} lists the endpoint {twice.Key} more than once.", nameof(endpoints));
        }
        if (!_byName.TryGetValue(name, out var u))
        {
            u = _byName[name] = new UpstreamHealth(name, Ledger.Track(name), _fleet);
            _upstreams.Add(u);
        }
        if (endpoints.Count == 0 && u.Endpoints.Length > 0 && !mayEmpty)
        {
            return false;
        }
        var before = u.Endpoints.Length;
        u.Evidence.SetPolicy(policy);
        u.SetEndpoints(endpoints, Ledger, Ledger.Moment(now));
        _fleet.Endpoints += u.Endpoints.Length - before;
        return true;
    }

    /// <summary>Forgets an upstream, with its evidence and its verdicts.</summary>
    public void RemoveUpstream(string name)
    {
        if (!_byName.Remove(name, out var u))
        {
            return;
        }
        _upstreams.Remove(u);
        _fleet.Endpoints -= u.Endpoints.Length;
        _fleet.KnownEndpoints -= u.KnownEndpoints;
        _fleet.PassingEndpoints -= u.PassingEndpoints;
        Ledger.Forget(name);
    }

    /// <summary>What to store of an upstream, so that a later process can go on where this one is; null for an unknown one.</summary>
    public UpstreamMemory? Remember(string upstream) =>
        _byName.TryGetValue(upstream, out var u) ? HealthMemories.Of(u, Ledger, _fleet.Now) : null;

    /// <summary>What to store of the fleet.</summary>
    public FleetMemory Remember() => HealthMemories.Of(_fleet);

    /// <summary>
    /// Goes on where another process was: first the fleet, then each upstream once its endpoints are set. What is remembered of endpoints that there are no
    /// more is dropped. Nothing is published again that does not change.
    /// </summary>
    /// <param name="memory">What was remembered.</param>
    /// <param name="now">The moment: what was remembered of later ones, by a clock that ran ahead, is taken to be of now.</param>
    public void Restore(FleetMemory memory, DateTimeOffset now) => HealthMemories.Restore(_fleet, memory, Ledger.Moment(now));

    /// <inheritdoc cref="Restore(FleetMemory, DateTimeOffset)"/>
    /// <param name="upstream">Its name.</param>
    /// <param name="memory">What was remembered.</param>
    /// <param name="now">The moment.</param>
    public void Restore(string upstream, UpstreamMemory memory, DateTimeOffset now)
    {
        if (_byName.TryGetValue(upstream, out var u))
        {
            HealthMemories.Restore(u, memory, Ledger, Ledger.Moment(now));
        }
    }

    /// <summary>
    /// Lets time pass without an evaluation, where another process decides: what time alone ends, such as a drain, and what decays, is then counted and explained as of now.
    /// </summary>
    /// <param name="now">The moment. A clock that is set back is taken to have gone on.</param>
    public void Advance(DateTimeOffset now) => _fleet.Now = Ledger.Advance(now);

    /// <summary>Evaluates all evidence that changed, and everything whose time has come.</summary>
    /// <param name="now">The moment. A clock that is set back is taken to have gone on.</param>
    /// <returns>What changed.</returns>
    public HealthChanges Evaluate(DateTimeOffset now)
    {
        _fleet.Now = Ledger.Advance(now);
        Ledger.IsUrgent = false;
        _trust.DoubtAfterLateEvaluation(_last);
        _trust.TouchWhereTimeChangesObservers(_last);
        ForgetSilentObservers();

        var run = new Run();
        foreach (var u in _upstreams)
        {
            Activate(u, IsDue(u));
        }
        foreach (var u in _upstreams)
        {
            if (u.IsActive)
            {
                u.ContradictionAt = _trust.Survey(u);
            }
        }
        _trust.JudgeObservers(run.Observers);
        foreach (var u in _upstreams)
        {
            Activate(u, u.Evidence.IsChanged);
            if (u.IsActive)
            {
                Step(u);
            }
        }
        foreach (var u in _upstreams)
        {
            // What the observers say of other upstreams is a witness, too.
            Activate(u, u.HasCondemned && u.OthersPassed != MassFreeze.OthersPass(_fleet, u));
            if (u.IsActive)
            {
                MassFreeze.RunThawClocks(_fleet, u);
                MassFreeze.CondemnNew(_fleet, u);
                MassFreeze.CountRecent(_fleet, u);
            }
        }
        _fleet.IsMass = MassFreeze.IsMassOfFleet(_fleet, _upstreams);
        foreach (var u in _upstreams)
        {
            Activate(u, _fleet.IsMass && u.HasCondemned);
            if (u.IsActive)
            {
                Publish(u, run);
                UpstreamTimers.Set(_fleet, u);
                u.IsActive = false;
            }
        }
        _last = _fleet.Now;
        return run.Finish(_fleet);
    }

    /// <summary>What proxies have of an upstream.</summary>
    /// <param name="upstream">The upstream.</param>
    /// <param name="zone">The zone of the proxy.</param>
    /// <returns>Default before the first evaluation, and for upstreams that are not known.</returns>
    public ImmutableArray<PublishedEndpoint> Published(string upstream, string? zone = null) =>
        _byName.TryGetValue(upstream, out var u) ? (u.View(zone) ?? u.Everyone).Published : default;

    /// <summary>All that proxies have of an upstream: for everyone first, then for each zone with a view of its own. Empty before the first evaluation.</summary>
    public IEnumerable<HealthPublication> PublicationsOf(string upstream)
    {
        if (!_byName.TryGetValue(upstream, out var u) || u.Everyone.Published.IsDefault)
        {
            yield break;
        }
        foreach (var view in u.ZoneViews.Prepend(u.Everyone))
        {
            if (!view.Published.IsDefault)
            {
                yield return new HealthPublication(u.Name, view.Zone, view.Published, view.LocalityFactors, IsUrgent: false);
            }
        }
    }

    /// <summary>How many endpoints of an upstream stand where, as of the last evaluation; null for an unknown one.</summary>
    public HealthCounts? CountsOf(string upstream)
    {
        if (!_byName.TryGetValue(upstream, out var u))
        {
            return null;
        }
        const int Draining = (int)HealthState.Probation + 1;
        const int Disabled = Draining + 1;
        Span<int> counts = stackalloc int[Disabled + 1];
        counts.Clear();
        foreach (var e in u.Endpoints)
        {
            counts[
                e.Order(_fleet.Now) switch
                {
                    OverrideOrder.Drain when _fleet.Now < Publication.DrainEnds(u, e) => Draining,
                    OverrideOrder.Drain or OverrideOrder.Disable => Disabled,
                    OverrideOrder.ForceUnhealthy => (int)HealthState.Down,
                    _ => (int)e.State,
                }
            ]++;
        }
        return new HealthCounts
        {
            New = counts[(int)HealthState.New],
            Up = counts[(int)HealthState.Up],
            Suspect = counts[(int)HealthState.Suspect],
            Down = counts[(int)HealthState.Down],
            Probation = counts[(int)HealthState.Probation],
            Draining = counts[Draining],
            Disabled = counts[Disabled],
        };
    }

    /// <summary>How many observers' FAILs do not count now.</summary>
    public int QuarantinedObservers => Ledger.Observers.Count(o => o is { IsQuarantined: true, IsPresent: true });

    /// <summary>Why an upstream is published as it is; null for an unknown one.</summary>
    /// <param name="upstream">The upstream.</param>
    /// <param name="zone">The zone of a proxy, which may have a view of its own; null is everyone.</param>
    public UpstreamExplanation? Explain(string upstream, string? zone = null) =>
        _byName.TryGetValue(upstream, out var u) ? new HealthExplainer(_fleet).Explain(u, zone) : null;

    /// <summary>Why an endpoint is published as it is; null for an unknown one.</summary>
    /// <param name="upstream">The upstream.</param>
    /// <param name="endpoint">The endpoint's id.</param>
    /// <param name="zone">The zone of a proxy, which may have a view of its own; null is everyone.</param>
    /// <param name="rows">How many rows of evidence of each kind it names at most. Without any it costs little, however many reported.</param>
    public EndpointExplanation? ExplainEndpoint(
        string upstream,
        string endpoint,
        string? zone = null,
        int rows = EndpointExplanation.MaxRows
    ) =>
        _byName.TryGetValue(upstream, out var u) && u.Find(endpoint) is { } e
            ? new HealthExplainer(_fleet, rows).Explain(u, e, u.View(zone) ?? u.Everyone)
            : null;

    /// <summary>
    /// Whether an observer of ours is to probe an endpoint again after the edge interval, and not after the usual one: a change is pending, or it is new
    /// (4.5, 4.8).
    /// </summary>
    public bool ProbesAtEdge(string author, string upstream, string endpoint)
    {
        if (!_byName.TryGetValue(upstream, out var u) || u.Find(endpoint) is not { } e || !Ledger.TryFind(author, out var observer))
        {
            return true;
        }
        if (e.State == HealthState.New && _fleet.Now - e.AddedAt < NewIsUrgentFor)
        {
            return true;
        }
        var index = e.Evidence.Opinions.IndexOf(observer);
        if (index < 0)
        {
            return true;
        }
        ref readonly var opinion = ref e.Evidence.Opinions.Opinions[index];
        return opinion.Verdict switch
        {
            OpinionVerdict.Pass => opinion.Fails > 0,
            OpinionVerdict.Fail => opinion.Passes > 0
                || (opinion.Fails > 0 && opinion.Fails < (_fleet.IsQuorumOfExisting(u, e) ? u.Policy.Fall : u.Policy.FallOfFew)),
            _ => true,
        };
    }

    /// <summary>What an observer's timeouts are to be multiplied by: more than 1 while it doubts itself (4.2).</summary>
    public double TimeoutFactor(string author, DateTimeOffset now) =>
        Ledger.TryFind(author, out var observer) && Ledger.Moment(now) < observer.DoubtUntil ? 1 + observer.Doubt : 1;

    internal UpstreamHealth? Find(string upstream) => _byName.GetValueOrDefault(upstream);

    private static void Activate(UpstreamHealth u, bool isNeeded)
    {
        if (isNeeded && !u.IsActive)
        {
            u.IsActive = true;
            u.IsUnsettled = false;
            u.Traffic.Begin();
        }
    }

    private bool IsDue(UpstreamHealth u)
    {
        if (
            u.Evidence.IsChanged
            || u.IsUnsettled
            || (u.IsInQuestion && u.Evidence.HasNewReport)
            || _fleet.Now >= u.TimerAt
            || _outliers.IsDue(u)
        )
        {
            return true;
        }
        if (_fleet.Now < u.ExpiryAt)
        {
            return false;
        }
        // Evidence is renewed all the time; look at what it is now before anything is evaluated.
        u.ExpiryAt = UpstreamTimers.NextExpiry(u);
        return _fleet.Now >= u.ExpiryAt;
    }

    private void Step(UpstreamHealth u)
    {
        u.Evidence.IsChanged = u.Evidence.HasNewReport = false;
        u.EvaluatedAt = _fleet.Now;
        u.Evidence.ForgetSilent(_fleet.Now);
        foreach (var e in u.Endpoints)
        {
            ResolveFreeze(u, e);
        }
        _outliers.CloseWindow(u);
        StateMachine.StepAll(_fleet, u);
        MassFreeze.CountVerdicts(_fleet, u);
    }

    /// <summary>A freeze order holds what is published when it is first seen; before anything is, it holds nothing.</summary>
    private static void ResolveFreeze(UpstreamHealth u, EndpointHealth e)
    {
        if (e.Evidence.Override is not { Order: OverrideOrder.Freeze } order)
        {
            e.Frozen = null;
            return;
        }
        if (e.Frozen?.StartedAt == order.StartedAt || u.Everyone.Published.IsDefault)
        {
            return;
        }
        PublishedStatus? status = null;
        foreach (var published in u.Everyone.Published)
        {
            status = published.Id == e.Target.Id ? published.Status : status;
        }
        var held = status switch
        {
            PublishedStatus.Healthy or PublishedStatus.Degraded => OverrideOrder.ForceHealthy,
            PublishedStatus.Unhealthy => OverrideOrder.ForceUnhealthy,
            PublishedStatus.Draining => OverrideOrder.Drain,
            _ => OverrideOrder.Disable,
        };
        e.Frozen = new FrozenEndpoint(order.StartedAt, held, u.Everyone.Entries[e.Index].Factor);
    }

    private void Publish(UpstreamHealth u, Run run)
    {
        var before = (u.Everyone.IsIncident, u.WasUniform, u.Everyone.IsTotalFailure);
        OpenAndCloseViews(u, run);
        run.Add(_publication.Publish(u, u.Everyone));
        foreach (var view in u.ZoneViews)
        {
            run.Add(_publication.Publish(u, view));
        }
        run.Add(u, IncidentKind.MassFreeze, before.IsIncident, u.Everyone.IsIncident, _fleet);
        run.Add(u, IncidentKind.UniformErrors, before.WasUniform, u.HasUniformErrors, _fleet);
        run.Add(u, IncidentKind.TotalFailure, before.IsTotalFailure, u.Everyone.IsTotalFailure, _fleet);
        u.WasUniform = u.HasUniformErrors;
    }

    /// <summary>4.2: a view for each zone with a link fault that has lasted.</summary>
    private void OpenAndCloseViews(UpstreamHealth u, Run run)
    {
        foreach (var fault in u.LinkFaults)
        {
            var zone = Ledger.Zones[fault.From];
            if (u.View(zone) is null && fault.IsHeld(_fleet.Now))
            {
                u.OpenView(zone, fault.From);
                u.IsUnsettled = true;
            }
        }
        for (var i = u.ZoneViews.Count - 1; i >= 0; i--)
        {
            var view = u.ZoneViews[i];
            if (!u.LinkFaults.Exists(f => f.From == view.ZoneIndex))
            {
                u.CloseView(view);
                run.Add(new HealthPublication(u.Name, view.Zone, default, view.LocalityFactors, IsUrgent: false));
            }
        }
    }

    private void ForgetSilentObservers()
    {
        if (_fleet.Now - _forgotAt < ForgetEvery)
        {
            return;
        }
        _forgotAt = _fleet.Now;
        Ledger.ForgetSilent(_fleet.Now);
        if (Ledger.Zones.IsCrowded)
        {
            ForgetUnusedZones();
        }
    }

    private void ForgetUnusedZones()
    {
        var used = new HashSet<int>();
        Ledger.AddZonesTo(used);
        foreach (var u in _byName.Values)
        {
            // An upstream of which nothing is heard any more is not evaluated, and keeps what it last heard until it is asked to forget.
            u.Evidence.ForgetSilent(_fleet.Now);
            u.AddZonesTo(used);
        }
        Ledger.Zones.KeepOnly(used);
    }

    /// <summary>What one evaluation gathers.</summary>
    private sealed class Run
    {
        private readonly ImmutableArray<HealthPublication>.Builder _publications = ImmutableArray.CreateBuilder<HealthPublication>();
        private readonly ImmutableArray<HealthIncident>.Builder _incidents = ImmutableArray.CreateBuilder<HealthIncident>();

        public List<ObserverChange> Observers { get; } = [];

        public void Add(HealthPublication? publication)
        {
            if (publication is not null)
            {
                _publications.Add(publication);
            }
        }

        public void Add(UpstreamHealth u, IncidentKind kind, bool was, bool isOn, FleetHealth fleet)
        {
            if (was != isOn)
            {
                _incidents.Add(new HealthIncident(u.Name, fleet.Now.ToTime()!.Value, kind, isOn));
            }
        }

        public HealthChanges Finish(FleetHealth fleet)
        {
            if (_publications.Count + _incidents.Count + Observers.Count + fleet.Transitions.Count + fleet.Guards.Count == 0)
            {
                return HealthChanges.None;
            }
            var changes = new HealthChanges(_publications.ToImmutable(), [.. fleet.Transitions], [.. Observers], _incidents.ToImmutable())
            {
                Guards = [.. fleet.Guards],
            };
            fleet.Transitions.Clear();
            fleet.Guards.Clear();
            return changes;
        }
    }
}
