namespace ControlPlane.Core.Health;

/// <summary>The trusted, fresh opinions about one endpoint, counted.</summary>
internal struct ActiveTally
{
    /// <summary>Opinions that count.</summary>
    public int Opinions;

    /// <summary>The zone-balanced share of PASS; NaN without opinions.</summary>
    public double Share;

    /// <summary>The smallest share of a zone.</summary>
    public double LeastZoneShare;

    /// <summary>They are enough to decide.</summary>
    public bool IsQuorum;

    /// <summary>All of them say FAIL.</summary>
    public bool AllFail;

    /// <summary>The fewest failures in a row that any of them has counted.</summary>
    public int LeastFails;

    /// <summary>All FAILs are refusals (also where there is no FAIL).</summary>
    public bool AreFailsRefusals;

    /// <summary>When the first failing check of a series that goes on began; not set if there is none.</summary>
    public Instant FirstFailAt;
}

/// <summary>The quorum of the active kind, zone-balanced (4.3).</summary>
internal static class ActiveQuorum
{
    /// <summary>Where the share is half and not every zone agrees, DOWN is left after this time (4.4).</summary>
    public static readonly TimeSpan HalfHold = TimeSpan.FromSeconds(60);

    /// <summary>Shares that arithmetic puts beside a bound count as on it.</summary>
    private const double Rounding = 1e-9;

    /// <summary>Counts the opinions, and notes on the endpoint when the first of them expires and what it tells of its observers.</summary>
    public static ActiveTally Count(FleetHealth fleet, EndpointHealth e)
    {
        var tally = new ActiveTally
        {
            AllFail = true,
            AreFailsRefusals = true,
            LeastFails = int.MaxValue,
            FirstFailAt = Instant.Forever,
        };
        var list = e.Evidence.Opinions;
        var observers = list.Observers;
        var opinions = list.Opinions;
        var (verdicts, passes) = (0, 0);
        var changesAt = Instant.Forever;
        fleet.Shares.Clear();
        for (var i = 0; i < opinions.Length; i++)
        {
            if (!list.IsFresh(i, fleet.Now))
            {
                continue;
            }
            var observer = observers[i];
            ref readonly var opinion = ref opinions[i];
            var passed = opinion.Verdict == OpinionVerdict.Pass;
            changesAt = Instant.Earlier(changesAt, opinion.ExpiresAt.Next);
            verdicts += observer.IsQuarantined ? 0 : 1;
            passes += passed && !observer.IsQuarantined ? 1 : 0;
            if (!observer.IsTrustedWith(opinion.Verdict))
            {
                continue;
            }
            var weight = observer.Weight(fleet.Now);
            fleet.Shares.Add(opinion.Zone, weight, passed ? weight : 0);
            tally.Opinions++;
            tally.AllFail &= !passed;
            tally.AreFailsRefusals &= passed || opinion.Class.IsRefusal();
            tally.LeastFails = Math.Min(tally.LeastFails, opinion.Fails);
            if (opinion.FirstFailAt.IsSet)
            {
                tally.FirstFailAt = Instant.Earlier(tally.FirstFailAt, opinion.FirstFailAt);
            }
        }
        tally.Share = fleet.Shares.Balanced();
        tally.LeastZoneShare = fleet.Shares.Least();
        tally.IsQuorum = fleet.IsQuorum(fleet.Shares.Count, tally.Opinions);
        tally.AllFail &= tally.Opinions > 0;
        e.OpinionsChangeAt = changesAt;
        e.IsKnown = verdicts > 0;
        e.IsPassing = 2 * passes >= verdicts;
        return tally;
    }

    /// <summary>4.3: what the active kind says.</summary>
    public static ActiveVote Vote(FleetHealth fleet, UpstreamHealth u, EndpointHealth e, in ActiveTally tally)
    {
        e.Share = tally.Share;
        e.FewObservers = tally.IsQuorum ? 0 : tally.Opinions;
        if (tally.Opinions == 0)
        {
            e.HalfSince = Instant.Never;
            return ActiveVote.None;
        }
        if (tally.Share < 0.5 - Rounding)
        {
            e.HalfSince = Instant.Never; // "held" is without a while below
        }
        return tally.IsQuorum ? OfQuorum(fleet, u, e, tally) : OfFew(fleet, u, e, tally);
    }

    /// <summary>The 18 % rule and its zone clause.</summary>
    private static ActiveVote OfQuorum(FleetHealth fleet, UpstreamHealth u, EndpointHealth e, in ActiveTally tally)
    {
        var policy = u.Policy;
        if (tally.Share <= policy.DownShare + Rounding)
        {
            return ActiveVote.Down;
        }
        if (tally.Share >= policy.UpShare - Rounding)
        {
            if (tally.LeastZoneShare > policy.DownShare + Rounding || LeavesDown(fleet, e, tally.Share))
            {
                return ActiveVote.Up;
            }
            return tally.Share <= 0.5 + Rounding && u.Traffic.Agrees(e.Index) ? ActiveVote.Down : ActiveVote.Partial;
        }
        if (u.Traffic.Agrees(e.Index))
        {
            return ActiveVote.Down;
        }
        // One stuck PASS does not bring a dead endpoint back: it stays a down-vote until traffic shows success.
        var staysDown = e is { State: HealthState.Down, Cause: HealthCause.Active } && tally.Share < 0.5 - Rounding;
        return staysDown && !u.Traffic.ShowsSuccess(e.Index) ? ActiveVote.Down : ActiveVote.Partial;
    }

    /// <summary>4.4: DOWN is left by more than half, or by half that has held for 60 s, although some zone still fails it.</summary>
    private static bool LeavesDown(FleetHealth fleet, EndpointHealth e, double share)
    {
        if (e.State != HealthState.Down)
        {
            return false;
        }
        if (!e.HalfSince.IsSet)
        {
            e.HalfSince = fleet.Now;
        }
        return share > 0.5 + Rounding || fleet.Now - e.HalfSince >= HalfHold;
    }

    /// <summary>Fewer fresh observers than a quorum.</summary>
    private static ActiveVote OfFew(FleetHealth fleet, UpstreamHealth u, EndpointHealth e, in ActiveTally tally)
    {
        var allPass = tally.Share >= 1.0;
        var allFail = tally.AllFail;
        if (fleet.IsQuorumOfExisting(u, e))
        {
            // Enough exist, too few are fresh (G7).
            return allPass ? ActiveVote.Up
                : allFail && u.Traffic.Agrees(e.Index) ? ActiveVote.Down
                : ActiveVote.Suspect;
        }
        if (u.Policy.QuorumMode == QuorumMode.Strict)
        {
            return allPass ? ActiveVote.Up : ActiveVote.Suspect;
        }
        if (allFail)
        {
            var fall = u.Traffic.ShowsFailure(e.Index) ? u.Policy.Fall : u.Policy.FallOfFew;
            return e.State == HealthState.Down || tally.LeastFails >= fall ? ActiveVote.Down : ActiveVote.Partial;
        }
        if (tally.Share <= 0.5 + Rounding && u.Traffic.Agrees(e.Index))
        {
            return ActiveVote.Down;
        }
        return tally.Share >= 0.5 - Rounding ? ActiveVote.Up : ActiveVote.Partial;
    }
}
