namespace ControlPlane.Core.Health;

/// <summary>What the evidence amounts to at one moment, before hysteresis (4.4).</summary>
internal enum RawVerdict
{
    /// <summary>Nothing fresh: no change (G7).</summary>
    Keep,
    Up,
    Suspect,
    Down,
}

/// <summary>A raw verdict and the rule that made it.</summary>
internal readonly record struct LatticeVerdict(RawVerdict Raw, HealthRule Rule, HealthCause Cause = HealthCause.None, bool IsHard = false);

/// <summary>
/// The lattice in which the kinds of evidence are combined: the first rule that matches wins (4.4). Rule 1, the operator, lies over the state machine and
/// is applied at publication; rules 2, 3 and 7 have no source yet.
/// </summary>
internal static class VerdictLattice
{
    /// <summary>Requests and the Wilson upper bound of success from which an endpoint that its observers fail serves nobody (HARD, 4.5).</summary>
    private const int HardMinimumRequests = 20;
    private const double HardSuccess = 0.25;

    public static LatticeVerdict Decide(FleetHealth fleet, UpstreamHealth u, EndpointHealth e)
    {
        var tally = ActiveQuorum.Count(fleet, e);
        e.Vote = ActiveQuorum.Vote(fleet, u, e, tally);
        if (e.Vote == ActiveVote.Down)
        {
            return ActiveDown(fleet, u, e, tally);
        }
        e.WaitSince = Instant.Never;
        if (e.IsPassiveDown)
        {
            return new(RawVerdict.Down, HealthRule.FleetOutlier, HealthCause.Passive);
        }
        return e.Vote switch
        {
            ActiveVote.Partial => new(RawVerdict.Suspect, HealthRule.Partial, HealthCause.Active),
            ActiveVote.Suspect => new(RawVerdict.Suspect, HealthRule.TooFewObservers, HealthCause.Active),
            ActiveVote.None => new(RawVerdict.Keep, HealthRule.TooFewObservers),
            _ => new(RawVerdict.Up, HealthRule.Up),
        };
    }

    /// <summary>Rules 4 and 5: the observers say down, and that is it, unless traffic vetoes it or is waited for.</summary>
    private static LatticeVerdict ActiveDown(FleetHealth fleet, UpstreamHealth u, EndpointHealth e, in ActiveTally tally)
    {
        var policy = u.Policy;
        var begunAfter = tally.FirstFailAt < Instant.Forever ? tally.FirstFailAt : fleet.Now;
        var (counts, reports) = u.Traffic.Since(e.Index, begunAfter, policy.VetoWaitWindows);
        var isHard = IsHard(tally, counts, e.Evidence.SinceFailing);
        if (
            !isHard
            && counts.Total >= policy.VetoMinimumRequests
            && OutlierStatistics.Wilson(counts.Successes, counts.Total).Low >= policy.VetoSuccess
        )
        {
            e.WaitSince = Instant.Never;
            return new(RawVerdict.Suspect, HealthRule.TrafficVeto, HealthCause.Active);
        }
        if (!isHard && Waits(fleet, u, e, tally, reports))
        {
            return new(RawVerdict.Suspect, HealthRule.AwaitsTraffic, HealthCause.Active);
        }
        return new(RawVerdict.Down, HealthRule.ActiveQuorum, HealthCause.Active, isHard);
    }

    /// <summary>
    /// 4.5: (nearly) all traffic since the first failing probe fails, so that keeping the endpoint routable protects nobody; or a quorum is refused and no
    /// traffic since succeeds.
    /// </summary>
    private static bool IsHard(in ActiveTally tally, RequestCounts since, RequestCounts all) =>
        (all.Total >= HardMinimumRequests && OutlierStatistics.Wilson(all.Successes, all.Total).High <= HardSuccess)
        || (since.Successes == 0 && tally is { IsQuorum: true, AllFail: true, AreFailsRefusals: true });

    /// <summary>Rule 4: a SOFT verdict on a busy endpoint waits up to two windows for traffic to speak. A refusal never waits.</summary>
    private static bool Waits(FleetHealth fleet, UpstreamHealth u, EndpointHealth e, in ActiveTally tally, int reports)
    {
        if (tally.AreFailsRefusals || e.State is not (HealthState.Up or HealthState.Suspect))
        {
            return false;
        }
        if (!e.WaitSince.IsSet)
        {
            if (e.Judgement.Counts.Total < u.Policy.VetoMinimumRequests)
            {
                return false;
            }
            e.WaitSince = fleet.Now;
        }
        var isComplete = reports > 0 && reports >= u.Traffic.CountReporters();
        return fleet.Now - e.WaitSince < WaitTime(fleet, u) && !isComplete && !u.Traffic.Agrees(e.Index);
    }

    public static TimeSpan WaitTime(FleetHealth fleet, UpstreamHealth u) => u.Policy.VetoWaitWindows * fleet.Policy.LoadReportInterval;
}
