using System.Collections.Immutable;

namespace ControlPlane.Core.Health;

/// <summary>
/// From verdicts to what is published, for one view of one upstream: the guards decide who goes (4.7; each can only make the outcome less drastic), the
/// mapping with which weight the others stay (4.8). One instance serves all; it holds scratch space.
/// </summary>
internal sealed class Publication(FleetHealth fleet)
{
    /// <summary>What is left of the weight of an endpoint that a guard keeps.</summary>
    private const double Demoted = 0.1;

    /// <summary>Percent of E that traffic alone may take out (G4).</summary>
    private const int PassivePercent = 30;

    private static readonly TimeSpan VelocityTime = TimeSpan.FromSeconds(10);

    private Standing[] _standing = [];
    private double[] _factors = [];
    private PublishedEndpoint[] _out = [];
    private Candidate[] _candidates = [];
    private Group[] _priorities = [];
    private Group[] _zones = [];

    private UpstreamHealth _u = null!;
    private ZoneView _view = null!;
    private Group _all;
    private int _removedPassive;

    [Flags]
    private enum Standing : byte
    {
        None = 0,

        /// <summary>G1: part of E.</summary>
        Eligible = 1,

        /// <summary>DOWN, or new as 4.8 says, or cut off from this zone; and not forced healthy.</summary>
        Condemned = 2,

        /// <summary>Part of E, and the evidence does not condemn it.</summary>
        Good = 4,

        /// <summary>Forced healthy.</summary>
        Forced = 8,

        /// <summary>Forced healthy though DOWN: no capacity.</summary>
        ForcedDead = 16,

        /// <summary>G2: goes whole with its priority or zone.</summary>
        Replaceable = 32,

        /// <summary>Published UNHEALTHY by inference.</summary>
        Removed = 64,

        /// <summary>Cut off from this zone.</summary>
        CutOff = 128,
    }

    /// <summary>Decides and publishes.</summary>
    /// <returns>What changed, or null.</returns>
    public HealthPublication? Publish(UpstreamHealth u, ZoneView view)
    {
        (_u, _view) = (u, view);
        Grow();
        Classify();
        FindReplaceable();
        Freeze();
        var wasTotal = view.IsTotalFailure;
        view.IsTotalFailure = IsTotalFailure();
        u.IsUnsettled |= wasTotal != view.IsTotalFailure;
        if (view.IsTotalFailure)
        {
            ApplyTotalFailurePolicy();
        }
        else if (_all.Good == 0 && _all.Condemned > 0)
        {
            HoldRemoved();
        }
        else
        {
            RemoveWithinGuards();
        }
        Remember();
        return Send();
    }

    private bool Is(EndpointHealth e, Standing standing) => (_standing[e.Index] & standing) != Standing.None;

    private ref ViewEntry Entry(EndpointHealth e) => ref _view.Entries[e.Index];

    // ---------------------------------------------------------------- G1

    /// <summary>G1: E, the condemned and the good; counted by priority and zone.</summary>
    private void Classify()
    {
        Array.Clear(_priorities, 0, _u.PriorityGroups);
        Array.Clear(_zones, 0, _u.ZoneGroups.Length);
        _all = default;
        foreach (var e in _u.Endpoints)
        {
            var order = e.Order(fleet.Now);
            var standing = Standing.None;
            if (e.IsEligible(order))
            {
                standing = Standing.Eligible;
                var isCutOff = _u.CutOffSince(_view, e, fleet.Now).IsSet;
                var isForced = order == OverrideOrder.ForceHealthy;
                var isBad = isCutOff || e.State is HealthState.Down or HealthState.New;
                var isForcedDead = isForced && e.State == HealthState.Down;
                standing |= isCutOff ? Standing.CutOff : Standing.None;
                standing |= isForced ? Standing.Forced : Standing.None;
                standing |= isForcedDead ? Standing.ForcedDead : Standing.None;
                standing |=
                    isBad && !isForced ? Standing.Condemned
                    : isForcedDead ? Standing.None
                    : Standing.Good;
            }
            _standing[e.Index] = standing;
            Count(e, standing, +1);
        }
        if (_all.Good > 0 || _all.Condemned == 0)
        {
            return;
        }
        // Capacity outranks damping: where nothing is good, those that pass now are.
        foreach (var e in _u.Endpoints)
        {
            if (Is(e, Standing.Condemned) && PassesNow(e))
            {
                Count(e, _standing[e.Index], -1);
                _standing[e.Index] ^= Standing.Condemned | Standing.Good;
                Count(e, _standing[e.Index], +1);
            }
        }
    }

    /// <summary>In its dwell, queued by G9 or suppressed, but the observers pass it.</summary>
    private bool PassesNow(EndpointHealth e) =>
        e is { State: HealthState.Down, Cause: HealthCause.Active, Vote: ActiveVote.Up, IsPassiveDown: false } && !Is(e, Standing.CutOff);

    private void Count(EndpointHealth e, Standing standing, int by)
    {
        _all.Count(e, standing, by);
        _priorities[e.PriorityGroup].Count(e, standing, by);
        _zones[e.ZoneGroup].Count(e, standing, by);
    }

    private Instant CondemnedSince(EndpointHealth e) =>
        Is(e, Standing.CutOff) && e.State != HealthState.Down ? _u.CutOffSince(_view, e, fleet.Now) : e.CondemnedAt;

    // ---------------------------------------------------------------- G2

    /// <summary>G2: condemned ones whose whole priority or zone another one can replace.</summary>
    private void FindReplaceable()
    {
        if (_all.Condemned > 0)
        {
            for (var p = 0; p < _u.PriorityGroups; p++)
            {
                _priorities[p].MayGo = OtherPriorityTakesOver(p);
                FindZonesThatMayGo(p);
            }
        }
        foreach (var e in _u.Endpoints)
        {
            var isReplaceable = Is(e, Standing.Condemned) && (_priorities[e.PriorityGroup].MayGo || _zones[e.ZoneGroup].MayGo);
            _standing[e.Index] |= isReplaceable ? Standing.Replaceable : Standing.None;
            if (_view.Zone is null && e.IsReplaceable != isReplaceable)
            {
                e.IsReplaceable = isReplaceable;
                _u.IsUnsettled = true;
            }
        }
    }

    /// <summary>Another priority is well, or has a good endpoint while this one has none.</summary>
    private bool OtherPriorityTakesOver(int priority)
    {
        for (var p = 0; p < _u.PriorityGroups; p++)
        {
            if (
                p != priority
                && _priorities[p].Eligible > 0
                && (IsWell(_priorities[p]) || (_priorities[p].Good > 0 && _priorities[priority].Good == 0))
            )
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>Whole zones, if another one is well and the good ones of the priority weigh at least as much as all that goes.</summary>
    private void FindZonesThatMayGo(int priority)
    {
        var weight = 0ul;
        for (var z = 0; z < _u.ZoneGroups.Length; z++)
        {
            ref var zone = ref _zones[z];
            if (_u.ZoneGroups[z] == priority)
            {
                zone.MayGo = zone.Eligible > 0 && zone.Condemned == zone.Eligible && HasOtherWellZone(priority, z);
                weight += zone.MayGo ? zone.Weight : 0;
            }
        }
        if (weight > _priorities[priority].GoodWeight)
        {
            for (var z = 0; z < _u.ZoneGroups.Length; z++)
            {
                _zones[z].MayGo &= _u.ZoneGroups[z] != priority;
            }
        }
    }

    private bool HasOtherWellZone(int priority, int zone)
    {
        for (var z = 0; z < _u.ZoneGroups.Length; z++)
        {
            if (z != zone && _u.ZoneGroups[z] == priority && _zones[z].Eligible > 0 && IsWell(_zones[z]))
            {
                return true;
            }
        }
        return false;
    }

    private bool IsWell(in Group group) => 100 * group.Good >= _u.Policy.MinimumHealthyPercent * group.Eligible;

    /// <summary>How many of so many must stay routable: max(1, min(⌈E·m/100⌉, E − 1)).</summary>
    private int MinimumHealthy(int eligible) =>
        eligible == 0 ? 0 : Math.Max(1, Math.Min(((eligible * _u.Policy.MinimumHealthyPercent) + 99) / 100, eligible - 1));

    // ---------------------------------------------------------------- G5

    /// <summary>G5: what is removed already, what goes whole, and what a thaw confirmed, is not held up.</summary>
    private bool IsExemptFromVelocity(EndpointHealth e) => Entry(e).IsRemoved || Entry(e).IsConfirmed || Is(e, Standing.Replaceable);

    private bool BreaksVelocity()
    {
        Forget(_view.Removals);
        Forget(fleet.Removals);
        var mayGo = Math.Max(1, _all.Eligible * _u.Policy.VelocityPercent / 100);
        var mayGoInFleet = Math.Max(3, fleet.Endpoints * fleet.Policy.VelocityPercent / 100);
        return _view.Removals.Count >= mayGo || fleet.Removals.Count >= mayGoInFleet;

        void Forget(Queue<Instant> removals)
        {
            while (removals.TryPeek(out var oldest) && fleet.Now - oldest >= VelocityTime)
            {
                removals.Dequeue();
            }
        }
    }

    // ---------------------------------------------------------------- G6

    /// <summary>G6: begins a freeze, thaws each endpoint by itself, and ends the freeze when none is held any more.</summary>
    private void Freeze()
    {
        var (recent, failed) = (0, 0);
        foreach (var e in _u.Endpoints)
        {
            if (Is(e, Standing.Condemned) && !Is(e, Standing.Replaceable) && !Entry(e).IsConfirmed)
            {
                recent += fleet.Now - CondemnedSince(e) <= MassFreeze.Window ? 1 : 0;
                failed += e is { State: HealthState.New, Vote: ActiveVote.None } ? 0 : 1;
            }
        }
        var isMass = 100 * recent > _u.Policy.MassPercent * _all.Eligible;
        var wasFrozen = _view.IsFrozen;
        if (!_view.IsFrozen && (isMass || (fleet.IsMass && recent > 0)))
        {
            _view.FrozenSince = fleet.Now;
            _view.IsFrozenWithOthers = !isMass;
            foreach (ref var entry in _view.Entries.AsSpan())
            {
                entry.WasRemovedBefore = entry.IsRemoved && fleet.Now - entry.RemovedSince > MassFreeze.Window;
            }
        }
        var isHeld = false;
        foreach (var e in _u.Endpoints)
        {
            ref var entry = ref Entry(e);
            var isCondemned = Is(e, Standing.Condemned);
            if (_view.IsFrozen && isCondemned && !Is(e, Standing.Replaceable))
            {
                _u.IsUnsettled |= !entry.IsConfirmed && IsThawed(e);
                entry.IsConfirmed |= IsThawed(e);
                isHeld |= !entry.IsConfirmed && !entry.WasRemovedBefore;
            }
            entry.IsConfirmed &= isCondemned;
        }
        // New endpoints of which nobody has said anything yet are frozen like others, and are no incident: every new upstream has them.
        _view.IsIncident |= _view.IsFrozen && failed > 0;
        if (_view.IsFrozen && !isHeld)
        {
            _view.FrozenSince = Instant.Never;
        }
        _view.IsIncident &= _all.Condemned > 0;
        _u.IsUnsettled |= wasFrozen != _view.IsFrozen;
    }

    /// <summary>A link fault thaws as one kind of evidence does.</summary>
    private bool IsThawed(EndpointHealth e) =>
        Is(e, Standing.CutOff) && e.State != HealthState.Down
            ? fleet.Now - CondemnedSince(e) >= MassFreeze.OneKind
            : MassFreeze.IsThawed(fleet, e);

    private bool IsHeldByFreeze(EndpointHealth e) =>
        _view.IsFrozen && !Is(e, Standing.Replaceable) && !Entry(e).WasRemovedBefore && !Entry(e).IsConfirmed;

    // ---------------------------------------------------------------- the guards together

    /// <summary>The worst goes first; what a guard keeps is demoted, and what is removed stays removed.</summary>
    private void RemoveWithinGuards()
    {
        var n = 0;
        foreach (var e in _u.Endpoints)
        {
            Entry(e).Guard = HealthGuard.None;
            if (Is(e, Standing.Condemned))
            {
                _candidates[n++] = new Candidate(e, !Entry(e).IsRemoved, CondemnedSince(e));
            }
        }
        var candidates = _candidates.AsSpan(0, n);
        candidates.Sort();
        _removedPassive = 0;
        foreach (var (e, _, _) in candidates)
        {
            var guard = GuardThatKeeps(e);
            Entry(e).Guard = guard;
            if (guard != HealthGuard.None)
            {
                continue;
            }
            if (!IsExemptFromVelocity(e))
            {
                _view.Removals.Enqueue(fleet.Now);
                if (_view.Zone is null)
                {
                    fleet.Removals.Enqueue(fleet.Now);
                }
            }
            Remove(e);
        }
        Array.Clear(_candidates, 0, n);
    }

    /// <summary>The first guard that objects to removing an endpoint.</summary>
    private HealthGuard GuardThatKeeps(EndpointHealth e)
    {
        var mayBreakMinimum = e.IsHard || Is(e, Standing.Replaceable);
        ref readonly var priority = ref _priorities[e.PriorityGroup];
        ref readonly var zone = ref _zones[e.ZoneGroup];
        if (!mayBreakMinimum && priority.Left - 1 < MinimumHealthy(priority.Eligible))
        {
            return HealthGuard.MinimumHealthy;
        }
        if (!mayBreakMinimum && _u.Policy.BalancesLocalities && zone.LeftOrDead - 1 < MinimumHealthy(zone.Eligible))
        {
            return HealthGuard.MinimumHealthyOfZone;
        }
        if (_all.Left - 1 < 1 && _u.OnTotalFailure != TotalFailurePolicy.FailFast)
        {
            return HealthGuard.LastEndpoint;
        }
        if (e.Cause == HealthCause.Passive && _removedPassive >= PassiveBudget(_all.Eligible))
        {
            return HealthGuard.PassiveBudget;
        }
        if (IsHeldByFreeze(e))
        {
            return HealthGuard.MassFreeze;
        }
        return !IsExemptFromVelocity(e) && BreaksVelocity() ? HealthGuard.Velocity : HealthGuard.None;
    }

    private static int PassiveBudget(int eligible) => Math.Max(eligible * PassivePercent / 100, eligible >= 3 ? 1 : 0);

    private void Remove(EndpointHealth e)
    {
        Count(e, _standing[e.Index], -1);
        _standing[e.Index] |= Standing.Removed;
        Count(e, _standing[e.Index], +1);
        _removedPassive += e.Cause == HealthCause.Passive ? 1 : 0;
    }

    // ---------------------------------------------------------------- total failure

    /// <summary>A true outage: all condemned, none passing, each one thawed or removed before, and no freeze.</summary>
    private bool IsTotalFailure()
    {
        if (_all.Good > 0 || _all.Condemned == 0 || _view.IsFrozen)
        {
            return false;
        }
        foreach (var e in _u.Endpoints)
        {
            if (!_view.IsTotalFailure && Is(e, Standing.Condemned) && !Entry(e).IsRemoved && !Entry(e).WasRemovedBefore && !IsThawed(e))
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>FAIL_FAST removes all; the others none, but the HARD ones where others are SOFT.</summary>
    private void ApplyTotalFailurePolicy()
    {
        var allHard = true;
        foreach (var e in _u.Endpoints)
        {
            Entry(e).Guard = HealthGuard.None;
            allHard &= !Is(e, Standing.Condemned) || e.IsHard;
        }
        var isFailFast = _u.OnTotalFailure == TotalFailurePolicy.FailFast;
        foreach (var e in _u.Endpoints)
        {
            if (Is(e, Standing.Condemned) && (isFailFast || (e.IsHard && !allHard)))
            {
                Remove(e);
            }
        }
    }

    /// <summary>Nothing is good, but the outage is not confirmed yet: nothing more is removed.</summary>
    private void HoldRemoved()
    {
        foreach (var e in _u.Endpoints)
        {
            ref var entry = ref Entry(e);
            entry.Guard = HealthGuard.None;
            if (!Is(e, Standing.Condemned))
            {
                continue;
            }
            if (entry.IsRemoved && (!_view.IsFrozen || entry.WasRemovedBefore))
            {
                Remove(e);
            }
            else
            {
                entry.Guard = _view.IsFrozen ? HealthGuard.MassFreeze : HealthGuard.LastEndpoint;
            }
        }
    }

    private void Remember()
    {
        foreach (var e in _u.Endpoints)
        {
            ref var entry = ref Entry(e);
            var isRemoved = Is(e, Standing.Removed);
            if (isRemoved != entry.IsRemoved)
            {
                entry.RemovedSince = isRemoved ? fleet.Now : Instant.Never;
                _u.IsUnsettled = true;
            }
            _u.IsUnsettled |= entry.Guard == HealthGuard.Velocity;
            if (entry.Guard != entry.GuardBefore && entry.Guard != HealthGuard.None)
            {
                fleet.Guards.Add(new GuardActivation(_u.Name, _view.Zone, e.Target.Id, fleet.Now.ToTime()!.Value, entry.Guard));
            }
            entry.GuardBefore = entry.Guard;
        }
    }

    // ---------------------------------------------------------------- 4.8

    /// <summary>The factors, of all that stay routable. Only ratios count, so the good ones are divided by the largest of theirs.</summary>
    /// <returns>Whether all are 1.</returns>
    private bool FindFactors()
    {
        var share = DemotedShare();
        var (largest, largestGood) = (0.0, 0.0);
        foreach (var e in _u.Endpoints)
        {
            if (!IsRoutable(e))
            {
                continue;
            }
            var factor = Is(e, Standing.Condemned) ? DemotedFactor(e, share) : GoodFactor(e);
            _factors[e.Index] = factor;
            largest = Math.Max(largest, factor);
            largestGood = Math.Max(largestGood, Is(e, Standing.Condemned) ? 0.0 : factor);
        }
        largest = largestGood > 0 ? largestGood : largest;
        var isPlain = true;
        foreach (var e in _u.Endpoints)
        {
            if (!IsRoutable(e))
            {
                continue;
            }
            if (largest is > 0 and < 1 && (!Is(e, Standing.Condemned) || _all.Good == 0))
            {
                _factors[e.Index] /= largest;
            }
            Entry(e).Factor = _factors[e.Index];
            isPlain &= Math.Abs(_factors[e.Index] - 1.0) < 1e-9;
        }
        return isPlain;
    }

    private bool IsRoutable(EndpointHealth e) => (_standing[e.Index] & (Standing.Eligible | Standing.Removed)) == Standing.Eligible;

    private double GoodFactor(EndpointHealth e)
    {
        if (Is(e, Standing.Forced))
        {
            return e.Frozen?.Factor ?? 1.0;
        }
        return e.State == HealthState.Probation ? Math.Max(0.1, Ramp(e)) : e.Cut;
    }

    /// <summary>G9: 10, 25, 50, 75, 100 % over the ramp time, halved by an outlier hit.</summary>
    private double Ramp(EndpointHealth e)
    {
        var time = _u.Policy.RampTime;
        var done = time > TimeSpan.Zero ? Math.Max(0.1, (fleet.Now - e.ProbationSince) / time) : 1.0;
        return WeightSteps.Below(done) * e.ProbationFactor;
    }

    private double DemotedFactor(EndpointHealth e, double share)
    {
        if (_view.IsTotalFailure)
        {
            return 1.0;
        }
        return IsGray(e) ? Math.Max(Demoted, WeightSteps.Below(Math.Min(1 - e.DownErrorRate, share))) : Demoted;
    }

    private static bool IsGray(EndpointHealth e) => e is { Cause: HealthCause.Passive, State: HealthState.Down };

    /// <summary>
    /// A gray endpoint still answers some of its requests. Where the good ones are fewer than the share that must stay healthy, so that they may not bear the
    /// whole load, the gray ones together make up what is missing, as far as they answer.
    /// </summary>
    private double DemotedShare()
    {
        var gray = 0;
        foreach (var e in _u.Endpoints)
        {
            gray += Is(e, Standing.Condemned) && !Is(e, Standing.Removed) && IsGray(e) ? 1 : 0;
        }
        if (gray == 0)
        {
            return 0.0;
        }
        var good = 0.0;
        foreach (var e in _u.Endpoints)
        {
            good += Is(e, Standing.Good) ? GoodFactor(e) : 0.0;
        }
        var missing = (_u.Policy.MinimumHealthyPercent * _all.Eligible / 100.0) - good;
        return missing > 0 ? missing / gray : 0.0;
    }

    /// <summary>Demotion is measured against the lightest good weight of the priority where the endpoint's own is more.</summary>
    private uint BaseWeight(EndpointHealth e) =>
        Is(e, Standing.Condemned) && !_view.IsTotalFailure && _priorities[e.PriorityGroup].LightestGood is > 0 and var lightest
            ? Math.Min(e.Target.Weight, lightest)
            : e.Target.Weight;

    /// <summary>Under locality-weighted load balancing a zone of demoted endpoints loses locality weight, too.</summary>
    private ImmutableSortedDictionary<string, double> LocalityFactors()
    {
        var factors = ImmutableSortedDictionary<string, double>.Empty;
        if (!_u.Policy.BalancesLocalities || _view.IsTotalFailure || _all.Good == 0 || _all.Condemned == 0)
        {
            return factors;
        }
        foreach (var e in _u.Endpoints)
        {
            factors = IsRoutable(e) && Is(e, Standing.Condemned) ? factors.SetItem(e.Target.Zone, Demoted) : factors;
        }
        foreach (var e in _u.Endpoints)
        {
            factors = IsRoutable(e) && !Is(e, Standing.Condemned) ? factors.Remove(e.Target.Zone) : factors;
        }
        return factors;
    }

    /// <summary>The user's weights while every factor is 1, else a hundred times these by the factor, for all.</summary>
    private ReadOnlySpan<PublishedEndpoint> Assignment()
    {
        var isPlain = FindFactors();
        var n = 0;
        foreach (var e in _u.Endpoints)
        {
            var full = isPlain ? e.Target.Weight : e.Target.Weight * 100ul;
            var order = e.Order(fleet.Now);
            if (EndpointHealth.IsRemovedByPerson(order))
            {
                if (StatusByOrder(e, order) is { } status)
                {
                    _out[n++] = new PublishedEndpoint(e.Target.Id, status, full);
                }
            }
            else if (Is(e, Standing.Removed))
            {
                _out[n++] = new PublishedEndpoint(e.Target.Id, PublishedStatus.Unhealthy, full);
            }
            else if (Is(e, Standing.Eligible))
            {
                var weight = isPlain ? BaseWeight(e) : Math.Max(1, BaseWeight(e) * (ulong)Math.Round(100 * _factors[e.Index]));
                var isDegraded = _u.Policy.IgnoresWeights && Is(e, Standing.Condemned) && _factors[e.Index] < 1;
                _out[n++] = new PublishedEndpoint(e.Target.Id, isDegraded ? PublishedStatus.Degraded : PublishedStatus.Healthy, weight);
            }
        }
        return _out.AsSpan(0, n);
    }

    /// <summary>Null is left out.</summary>
    private PublishedStatus? StatusByOrder(EndpointHealth e, OverrideOrder? order) =>
        order switch
        {
            OverrideOrder.ForceUnhealthy => PublishedStatus.Unhealthy,
            OverrideOrder.Drain when fleet.Now < DrainEnds(_u, e) => PublishedStatus.Draining,
            _ => null,
        };

    /// <summary>When a drained endpoint is left out.</summary>
    public static Instant DrainEnds(UpstreamHealth u, EndpointHealth e) => e.Evidence.OrderedAt + u.Policy.DrainTime;

    /// <summary>G8: never empty by inference; publishes what changed.</summary>
    private HealthPublication? Send()
    {
        var assignment = Assignment();
        var locality = LocalityFactors();
        if (assignment.IsEmpty && !MayBeEmpty())
        {
            return null;
        }
        var isSameLocality = locality.SequenceEqual(_view.LocalityFactors);
        if (!_view.Published.IsDefault && isSameLocality && assignment.SequenceEqual(_view.Published.AsSpan()))
        {
            return null;
        }
        var isUrgent = IsUrgent();
        _view.Published = [.. assignment];
        _view.LocalityFactors = locality;
        _u.IsUnsettled = true;
        return new HealthPublication(_u.Name, _view.Zone, _view.Published, locality, isUrgent);
    }

    /// <summary>G8: without endpoints, or by people's orders.</summary>
    private bool MayBeEmpty()
    {
        foreach (var e in _u.Endpoints)
        {
            if (!EndpointHealth.IsRemovedByPerson(e.Order(fleet.Now)))
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>Orders and HARD verdicts never wait to be merged with others.</summary>
    private bool IsUrgent()
    {
        var isUrgent = false;
        foreach (var e in _u.Endpoints)
        {
            var order = e.Order(fleet.Now);
            isUrgent |= order != Entry(e).Order || (e.IsHard && Entry(e).RemovedSince == fleet.Now);
            Entry(e).Order = order;
        }
        return isUrgent;
    }

    private void Grow()
    {
        var n = _u.Endpoints.Length;
        if (_standing.Length < n)
        {
            _standing = new Standing[n];
            _factors = new double[n];
            _out = new PublishedEndpoint[n];
            _candidates = new Candidate[n];
        }
        if (_priorities.Length < _u.PriorityGroups)
        {
            _priorities = new Group[_u.PriorityGroups];
        }
        if (_zones.Length < _u.ZoneGroups.Length)
        {
            _zones = new Group[_u.ZoneGroups.Length];
        }
    }

    /// <summary>Counts of a priority, of a zone in a priority, or of all.</summary>
    private struct Group
    {
        public int Eligible;
        public int Condemned;
        public int Good;

        /// <summary>Routable, and some capacity.</summary>
        public int Left;

        /// <summary>Routable, forced dead ones included.</summary>
        public int LeftOrDead;
        public ulong Weight;
        public ulong GoodWeight;

        /// <summary>The smallest weight of a good one; 0 without any.</summary>
        public uint LightestGood;

        /// <summary>G2: may go whole.</summary>
        public bool MayGo;

        public void Count(EndpointHealth e, Standing standing, int by)
        {
            if ((standing & Standing.Eligible) == Standing.None)
            {
                return;
            }
            var isRemoved = (standing & Standing.Removed) != Standing.None;
            var isGood = (standing & Standing.Good) != Standing.None;
            Eligible += by;
            Weight += (ulong)(by * e.Target.Weight);
            Condemned += (standing & Standing.Condemned) != Standing.None ? by : 0;
            Left += !isRemoved && (standing & Standing.ForcedDead) == Standing.None ? by : 0;
            LeftOrDead += !isRemoved ? by : 0;
            if (isGood)
            {
                Good += by;
                GoodWeight += (ulong)(by * e.Target.Weight);
                LightestGood = LightestGood == 0 ? e.Target.Weight : Math.Min(LightestGood, e.Target.Weight);
            }
        }
    }

    /// <summary>
    /// A condemned endpoint in the order in which they go: what is removed, HARD, what fewer observers pass, what fails more requests, what was condemned
    /// first, and at last the order of the registry.
    /// </summary>
    private readonly record struct Candidate(EndpointHealth Endpoint, bool IsNew, Instant Since) : IComparable<Candidate>
    {
        public int CompareTo(Candidate other)
        {
            var (a, b) = (Endpoint, other.Endpoint);
            var order = IsNew.CompareTo(other.IsNew);
            order = order != 0 ? order : b.IsHard.CompareTo(a.IsHard);
            order = order != 0 ? order : Share(a).CompareTo(Share(b));
            order = order != 0 ? order : b.Judgement.Rate.CompareTo(a.Judgement.Rate);
            order = order != 0 ? order : Since.CompareTo(other.Since);
            return order != 0 ? order : a.Index.CompareTo(b.Index);
        }

        private static double Share(EndpointHealth e) => double.IsNaN(e.Share) ? 0.0 : e.Share;
    }
}
