using System.Runtime.InteropServices;

namespace ControlPlane.Core.Health;

/// <summary>
/// When an upstream must be looked at again though nothing is said of it: the earliest moment at which time alone can change an answer. Too early costs
/// work, too late is a fault; every rule with a duration in it has its line here. A test evaluates every trace also with everything looked at each time,
/// and compares.
/// </summary>
internal static class UpstreamTimers
{
    public static void Set(FleetHealth fleet, UpstreamHealth u)
    {
        u.ExpiryAt = Instant.Forever;
        u.IsInQuestion = false;
        var next = new NextMoment(fleet.Now);
        next.Add(u.ContradictionAt);
        next.Add(u.NextWindowAt);
        foreach (var fault in u.LinkFaults)
        {
            next.Add(fault.Since + LinkFault.Hold);
            next.Add(fault.Since + MassFreeze.OneKind);
            next.Add((fault.SilentSince + Observer.ExistsFor).Next);
        }
        foreach (var witness in u.Evidence.HeardFrom)
        {
            next.Add((witness.At + Observer.ExistsFor).Next);
            next.Add((witness.RecalledAt + Observer.ExistsFor).Next);
        }
        foreach (var e in u.Endpoints)
        {
            u.ExpiryAt = Instant.Earlier(u.ExpiryAt, e.OpinionsChangeAt);
            AddEndpoint(fleet, u, e, ref next);
        }
        if (u.IsInQuestion)
        {
            next.Add(u.Traffic.NextChange(u.Policy.VetoWaitWindows));
        }
        u.TimerAt = next.At;
    }

    /// <summary>When the first opinion expires of those that counted at the last evaluation, as they are now.</summary>
    public static Instant NextExpiry(UpstreamHealth u)
    {
        var next = Instant.Forever;
        foreach (var e in u.Endpoints)
        {
            foreach (ref readonly var opinion in e.Evidence.Opinions.Opinions)
            {
                if (opinion.Verdict != OpinionVerdict.Unknown && opinion.ExpiresAt >= u.EvaluatedAt)
                {
                    next = Instant.Earlier(next, opinion.ExpiresAt.Next);
                }
            }
        }
        return next;
    }

    private static void AddEndpoint(FleetHealth fleet, UpstreamHealth u, EndpointHealth e, ref NextMoment next)
    {
        if (e.Evidence.Override is not null)
        {
            next.Add(e.Evidence.OrderEndsAt);
            next.Add(Publication.DrainEnds(u, e));
        }
        if (e.Share < 1 || e.State is HealthState.Down || e.IsCondemned)
        {
            u.IsInQuestion = true;
            next.Add(u.Traffic.FailureForgotten(e.Index));
        }
        if (e.DownVerdictSince.IsSet && !e.HasTurnedDown)
        {
            next.Add(StateMachine.SoftVerdictHolds(fleet, e));
        }
        if (e.WaitSince.IsSet)
        {
            next.Add(e.WaitSince + VerdictLattice.WaitTime(fleet, u));
        }
        if (e.IsCondemned)
        {
            next.Add((e.CondemnedAt + MassFreeze.Window).Next);
            next.Add(MassFreeze.ThawsAt(e));
        }
        switch (e.State)
        {
            case HealthState.Down:
                next.Add(e.Since + StateMachine.Dwell(u, e));
                next.Add(e.HalfSince.IsSet ? e.HalfSince + ActiveQuorum.HalfHold : Instant.Never);
                if (e.IsSuppressed)
                {
                    next.AddOrSoon(e.Penalty.Below(u.Policy.FlapDamping.Reuse, u.Policy.FlapDamping));
                }
                break;
            case HealthState.Probation:
                next.Add(e.LastHitAt + StateMachine.HitCounts);
                foreach (var step in WeightSteps.All)
                {
                    next.Add(e.ProbationSince + (step * u.Policy.RampTime));
                }
                break;
        }
    }

    /// <summary>The earliest of several moments that have not come yet.</summary>
    [StructLayout(LayoutKind.Auto)]
    private struct NextMoment(Instant now)
    {
        public Instant At { get; private set; } = Instant.Forever;

        public void Add(Instant moment)
        {
            if (moment > now && moment < At)
            {
                At = moment;
            }
        }

        /// <summary>A moment that arithmetic may have put too early: then at the next evaluation.</summary>
        public void AddOrSoon(Instant moment) => Add(moment > now ? moment : now.Next);
    }
}
