using System.Runtime.InteropServices;

namespace ControlPlane.Core.Health;

/// <summary>
/// Which observers to believe (4.2): an observer that fails what the others pass is quarantined, one that passes what they fail is stuck, and one that
/// fails a whole zone which all others pass stands behind a broken link. Doubts the detector first.
/// </summary>
internal sealed class ObserverTrust(FleetHealth fleet)
{
    /// <summary>How long a contradiction must last before it counts: in every outage somebody is first.</summary>
    public static readonly TimeSpan ContradictionCounts = TimeSpan.FromSeconds(20);

    private static readonly TimeSpan DoubtTime = TimeSpan.FromSeconds(30);
    private const double MaxDoubt = 8.0;
    private const double ReleaseShare = 0.1;

    /// <summary>Endpoints that must be cut off before it is a link; how many intervals an evaluation may be late.</summary>
    private const int LinkEndpoints = 2;
    private const int LateIntervals = 4;

    private readonly Dictionary<(int From, int To), Link> _links = [];

    /// <summary>Self-health: half weight and longer timeouts for a while.</summary>
    public static void Doubt(Observer observer, double doubt, Instant now)
    {
        observer.DoubtUntil = now + DoubtTime;
        observer.Doubt = Math.Clamp(doubt, 0, MaxDoubt);
    }

    /// <summary>An evaluation that comes far too late says that this process, not the endpoints, was away.</summary>
    public void DoubtAfterLateEvaluation(Instant last)
    {
        var interval = fleet.Policy.EvaluationInterval;
        if (!last.IsSet || fleet.Now - last <= LateIntervals * interval)
        {
            return;
        }
        foreach (var observer in fleet.Ledger.Observers)
        {
            if (observer is { IsOurs: true, IsPresent: true })
            {
                Doubt(observer, (fleet.Now - last) / interval / LateIntervals, fleet.Now);
            }
        }
        fleet.Ledger.TouchAll();
    }

    /// <summary>Compares the opinions about an upstream's endpoints: finds broken links, and counts contradictions in the observers' totals.</summary>
    /// <returns>The next moment at which a contradiction begins to count.</returns>
    public Instant Survey(UpstreamHealth u)
    {
        var isSuspicious = u.LinkFaults.Count > 0;
        var next = Instant.Forever;
        foreach (var e in u.Endpoints)
        {
            var list = e.Evidence.Opinions;
            var opinions = list.Opinions;
            var (fresh, passes) = (0, 0);
            for (var i = 0; i < opinions.Length; i++)
            {
                if (list.IsFresh(i, fleet.Now))
                {
                    fresh++;
                    passes += opinions[i].Verdict == OpinionVerdict.Pass ? 1 : 0;
                }
            }
            e.FreshOpinions = fresh;
            e.AreOpinionsMixed = passes > 0 && passes < fresh;
            isSuspicious |= e.AreOpinionsMixed && e.State != HealthState.New;
        }
        if (isSuspicious)
        {
            FindLinkFaults(u);
        }
        foreach (var e in u.Endpoints)
        {
            next = Instant.Earlier(next, Compare(u, e));
        }
        return next;
    }

    /// <summary>An observer whose doubt ends, or who has been silent for so long that it is not there any more, concerns all upstreams.</summary>
    /// <param name="last">The evaluation before.</param>
    public void TouchWhereTimeChangesObservers(Instant last)
    {
        foreach (var observer in fleet.Ledger.Observers)
        {
            if (HasCome(observer.DoubtUntil) || HasCome((observer.SeenAt + Observer.ExistsFor).Next))
            {
                fleet.Ledger.TouchAll();
                return;
            }
        }

        bool HasCome(Instant moment) => last < moment && moment <= fleet.Now;
    }

    /// <summary>Quarantines, releases, and finds the stuck.</summary>
    /// <param name="changes">The observers whose standing changed are added.</param>
    public void JudgeObservers(List<ObserverChange> changes)
    {
        foreach (var observer in fleet.Ledger.Observers)
        {
            if (!observer.IsPresent)
            {
                continue;
            }
            var before = (observer.IsQuarantined, observer.IsStuck);
            Quarantine(observer);
            FindStuck(observer);
            if (before != (observer.IsQuarantined, observer.IsStuck))
            {
                changes.Add(new ObserverChange(observer.Author, fleet.Now.ToTime()!.Value, observer.IsQuarantined, observer.IsStuck));
                fleet.Ledger.TouchAll();
            }
        }
    }

    /// <summary>Against the zone-balanced majority of the others.</summary>
    private Instant Compare(UpstreamHealth u, EndpointHealth e)
    {
        var list = e.Evidence.Opinions;
        var opinions = list.Opinions;
        if (e.AreOpinionsMixed)
        {
            SumShares(e);
        }
        var next = Instant.Forever;
        for (var i = 0; i < opinions.Length; i++)
        {
            ref var opinion = ref opinions[i];
            var observer = list.Observers[i];
            var failed = opinion.Verdict == OpinionVerdict.Fail;
            // A link fault goes before quarantine.
            if (e.FreshOpinions < 3 || !list.IsFresh(i, fleet.Now) || (failed && HasLinkFault(u, opinion.Zone, e.Zone)))
            {
                list.Compare(i, OpinionComparison.None);
                continue;
            }
            var weight = observer.Weight(fleet.Now);
            var majority =
                e.AreOpinionsMixed ? fleet.Shares.BalancedWithout(opinion.Zone, weight, failed ? 0 : weight)
                : failed ? 0.0
                : 1.0;
            if (failed ? majority <= 0.5 : majority >= 0.5)
            {
                opinion.ContradictsSince = Instant.Never;
                list.Compare(i, OpinionComparison.Agrees);
                continue;
            }
            if (!opinion.ContradictsSince.IsSet)
            {
                opinion.ContradictsSince = fleet.Now;
            }
            var counts = fleet.Now - opinion.ContradictsSince >= ContradictionCounts;
            list.Compare(
                i,
                !counts ? OpinionComparison.Agrees
                    : failed ? OpinionComparison.FalseFail
                    : OpinionComparison.FalsePass
            );
            next = counts ? next : Instant.Earlier(next, opinion.ContradictsSince + ContradictionCounts);
        }
        return next;
    }

    /// <summary>In by half of its verdicts on at least five endpoints being contradicted, out after a minute with a tenth.</summary>
    private void Quarantine(Observer observer)
    {
        var policy = fleet.Policy;
        var share = observer.Compared > 0 ? (double)observer.FalseFails / observer.Compared : 0.0;
        if (!observer.IsQuarantined)
        {
            if (observer.Compared >= policy.QuarantineEndpoints && share >= policy.QuarantineShare)
            {
                (observer.QuarantinedSince, observer.CleanSince) = (fleet.Now, Instant.Never);
            }
        }
        else if (share > ReleaseShare)
        {
            observer.CleanSince = Instant.Never;
        }
        else
        {
            observer.CleanSince = observer.CleanSince.IsSet ? observer.CleanSince : fleet.Now;
            if (fleet.Now - Instant.Later(observer.CleanSince, observer.QuarantinedSince) >= policy.QuarantineTime)
            {
                observer.QuarantinedSince = Instant.Never;
            }
        }
    }

    /// <summary>The mirror image: it passes what the majority fails, on at least five endpoints, for a minute.</summary>
    private void FindStuck(Observer observer)
    {
        if (observer.FalsePasses < fleet.Policy.QuarantineEndpoints)
        {
            (observer.StuckSince, observer.IsStuck) = (Instant.Never, false);
            return;
        }
        observer.StuckSince = observer.StuckSince.IsSet ? observer.StuckSince : fleet.Now;
        observer.IsStuck |= fleet.Now - observer.StuckSince >= fleet.Policy.QuarantineTime;
    }

    private static bool HasLinkFault(UpstreamHealth u, int from, int to)
    {
        foreach (var fault in u.LinkFaults)
        {
            if (fault.From == from && fault.To == to)
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>A zone fails all of another, which the observers of every other zone pass, while it passes something elsewhere.</summary>
    private void FindLinkFaults(UpstreamHealth u)
    {
        _links.Clear();
        foreach (var e in u.Endpoints)
        {
            if (e.State == HealthState.New)
            {
                continue;
            }
            SumShares(e);
            for (var i = 0; i < fleet.Shares.Count; i++)
            {
                var (zone, share) = (fleet.Shares.ZoneAt(i), fleet.Shares.ShareAt(i));
                ref var link = ref CollectionsMarshal.GetValueRefOrAddDefault(_links, (zone, e.Zone), out _);
                link.Endpoints++;
                link.CutOff += share == 0 && fleet.Shares.LeastElsewhere(zone) >= 0.5 ? 1 : 0;
                link.MostShare = Math.Max(link.MostShare, share);
            }
        }
        for (var i = u.LinkFaults.Count - 1; i >= 0; i--)
        {
            var fault = u.LinkFaults[i];
            var (isOver, isSilent) = IsBroken(fault.From, fault.To) ? (false, false) : HasEnded(u, fault);
            u.LinkFaults[i] = fault with
            {
                SilentSince =
                    !isSilent ? Instant.Never
                    : fault.SilentSince.IsSet ? fault.SilentSince
                    : fleet.Now,
            };
            if (isOver || (isSilent && fleet.Now - u.LinkFaults[i].SilentSince > Observer.ExistsFor))
            {
                u.LinkFaults.RemoveAt(i);
                u.IsUnsettled = true;
            }
        }
        foreach (var (from, to) in _links.Keys)
        {
            if (IsBroken(from, to) && !HasLinkFault(u, from, to))
            {
                u.LinkFaults.Add(new LinkFault(from, to, fleet.Now, Instant.Never));
                u.IsUnsettled = true;
            }
        }
    }

    private bool IsBroken(int from, int to)
    {
        if (from == to || !_links.TryGetValue((from, to), out var link) || link.CutOff < LinkEndpoints || link.CutOff < link.Endpoints)
        {
            return false;
        }
        foreach (var (ends, other) in _links)
        {
            if (ends.From == from && ends.To != to && other.MostShare > 0)
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>It ends when that zone passes half of some endpoint of the other again, or fails everything. Silence is no news.</summary>
    private (bool IsOver, bool IsSilent) HasEnded(UpstreamHealth u, LinkFault fault)
    {
        var (inside, most, passesOutside) = (false, 0.0, false);
        foreach (var e in u.Endpoints)
        {
            SumShares(e);
            if (fleet.Shares.ShareOf(fault.From) is not { } share)
            {
                continue;
            }
            if (e.Zone == fault.To)
            {
                (inside, most) = (true, Math.Max(most, share));
            }
            else
            {
                passesOutside |= share > 0;
            }
        }
        return (inside && (most >= 0.5 || !passesOutside), !inside);
    }

    /// <summary>The shares by zone of all fresh opinions, trusted or not.</summary>
    private void SumShares(EndpointHealth e)
    {
        fleet.Shares.Clear();
        var list = e.Evidence.Opinions;
        for (var i = 0; i < list.Count; i++)
        {
            if (list.IsFresh(i, fleet.Now))
            {
                var weight = list.Observers[i].Weight(fleet.Now);
                fleet.Shares.Add(list.Opinions[i].Zone, weight, list.Opinions[i].Verdict == OpinionVerdict.Pass ? weight : 0);
            }
        }
    }

    [StructLayout(LayoutKind.Auto)]
    private struct Link
    {
        public int Endpoints;
        public int CutOff;
        public double MostShare;
    }
}
