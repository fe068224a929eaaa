namespace ControlPlane.Core.Health;

/// <summary>
/// UP → SUSPECT → DOWN → PROBATION → UP, with hysteresis and damping (4.5). A step takes the raw verdict of the moment; every change of state is made by
/// <see cref="Enter"/>.
/// </summary>
internal static class StateMachine
{
    /// <summary>Percent of the eligible endpoints that may be in PROBATION at once (G9); at least one.</summary>
    private const int ProbationPercent = 10;

    /// <summary>How long an outlier hit halves the weight in PROBATION where no window can be judged (G9).</summary>
    public static readonly TimeSpan HitCounts = TimeSpan.FromSeconds(60);

    /// <summary>One step of each endpoint of an upstream.</summary>
    public static void StepAll(FleetHealth fleet, UpstreamHealth u)
    {
        var (eligible, up, onProbation) = (0, 0, 0);
        foreach (var e in u.Endpoints)
        {
            if (e.IsEligible(e.Order(fleet.Now)))
            {
                eligible++;
                up += e.State is HealthState.Up or HealthState.Suspect ? 1 : 0;
                onProbation += e.State == HealthState.Probation ? 1 : 0;
            }
        }
        // Recovery from a large outage is no queue: all that recovered enter together.
        var isUnlimited = eligible == 0 || 100 * up < u.Policy.MinimumHealthyPercent * eligible;
        var room = Math.Max(1, eligible * ProbationPercent / 100) - onProbation;
        foreach (var e in u.Endpoints)
        {
            var before = e.State;
            Step(fleet, u, e, isUnlimited || room > 0);
            room -= before == HealthState.Down && e.State == HealthState.Probation ? 1 : 0;
        }
    }

    /// <summary>The change of state.</summary>
    public static void Enter(
        FleetHealth fleet,
        UpstreamHealth u,
        EndpointHealth e,
        HealthState state,
        HealthRule rule,
        HealthCause cause = HealthCause.None,
        bool isHard = false
    )
    {
        var from = e.State;
        e.IsHard = isHard;
        if (state == HealthState.Down)
        {
            e.CondemnedAt = fleet.Now;
            e.HalfSince = Instant.Never;
        }
        else
        {
            e.CondemnedAt = e.OneKindSince = e.TwoKindsSince = Instant.Never;
        }
        if (state == HealthState.Up && from is HealthState.Probation or HealthState.New)
        {
            e.UpSince = fleet.Now;
        }
        (e.State, e.Since, e.Rule, e.Cause) = (state, fleet.Now, rule, cause);
        u.IsUnsettled = true;
        fleet.Transitions.Add(
            new HealthTransition(u.Name, e.Target.Id, from, state, fleet.Now.ToTime()!.Value, rule) { Cause = cause, IsHard = isHard }
        );
    }

    /// <summary>How long an endpoint stays in DOWN at least.</summary>
    public static TimeSpan Dwell(UpstreamHealth u, EndpointHealth e) =>
        e.Cause == HealthCause.Active ? u.Policy.HoldActive : e.Ejections.Duration(u.Policy.HoldBase, u.Policy.HoldMax);

    /// <summary>When a SOFT verdict has held for two evaluations; half an interval of slack, since timers are not exact.</summary>
    public static Instant SoftVerdictHolds(FleetHealth fleet, EndpointHealth e) =>
        e.DownVerdictSince + (fleet.Policy.EvaluationInterval / 2);

    private static void Step(FleetHealth fleet, UpstreamHealth u, EndpointHealth e, bool mayEnterProbation)
    {
        var verdict = VerdictLattice.Decide(fleet, u, e);
        if (e.State == HealthState.New)
        {
            LeaveNew(fleet, u, e);
            return;
        }
        CountTurns(fleet, u, e, verdict);
        SuppressOrReuse(fleet, u, e);
        switch (e.State)
        {
            case var _ when verdict.Raw == RawVerdict.Down && e.HasTurnedDown:
                GoDown(fleet, u, e, verdict);
                break;
            case HealthState.Down:
                LeaveDown(fleet, u, e, verdict, mayEnterProbation);
                break;
            case HealthState.Probation:
                LeaveProbation(fleet, u, e);
                break;
            case HealthState.Up when verdict.Raw == RawVerdict.Suspect:
                Enter(fleet, u, e, HealthState.Suspect, verdict.Rule);
                break;
            case HealthState.Suspect when verdict.Raw == RawVerdict.Suspect:
                e.Rule = verdict.Rule;
                break;
            case HealthState.Suspect when verdict.Raw == RawVerdict.Up:
                Enter(fleet, u, e, HealthState.Up, verdict.Rule);
                break;
        }
    }

    /// <summary>4.8: UP by the first PASS of anyone, at full weight, and what failed before is forgotten; or because nobody will ever check it.</summary>
    private static void LeaveNew(FleetHealth fleet, UpstreamHealth u, EndpointHealth e)
    {
        var list = e.Evidence.Opinions;
        var passed = false;
        for (var i = 0; i < list.Count && !passed; i++)
        {
            passed = list.Opinions[i].Verdict == OpinionVerdict.Pass && list.IsFresh(i, fleet.Now);
        }
        if (!passed && u.Policy.HasChecks && !e.Target.IsUnchecked && fleet.HasObservers(u))
        {
            return;
        }
        Enter(fleet, u, e, HealthState.Up, passed ? HealthRule.FirstPass : HealthRule.NoChecks);
        for (var i = 0; i < list.Count; i++)
        {
            if (list.Opinions[i].Verdict != OpinionVerdict.Pass)
            {
                list.Reset(i);
            }
        }
    }

    /// <summary>A SOFT verdict must hold for two evaluations, a HARD one goes out with the evidence that made it. Each turn down adds to the flap penalty.</summary>
    private static void CountTurns(FleetHealth fleet, UpstreamHealth u, EndpointHealth e, LatticeVerdict verdict)
    {
        if (verdict.Raw != RawVerdict.Down)
        {
            e.DownVerdictSince = Instant.Never;
            if (verdict.Raw == RawVerdict.Up || verdict.Rule == HealthRule.TrafficVeto)
            {
                e.HasTurnedDown = false;
            }
            return;
        }
        if (!e.DownVerdictSince.IsSet)
        {
            e.DownVerdictSince = fleet.Now;
        }
        if (!e.HasTurnedDown && (verdict.IsHard || fleet.Now >= SoftVerdictHolds(fleet, e)))
        {
            e.HasTurnedDown = true;
            e.Penalty.Add(fleet.Now, u.Policy.FlapDamping);
            if (e.State == HealthState.Down)
            {
                // It is held out, and now for longer.
                fleet.Transitions.Add(
                    new HealthTransition(u.Name, e.Target.Id, HealthState.Down, HealthState.Down, fleet.Now.ToTime()!.Value, verdict.Rule)
                    {
                        Cause = verdict.Cause,
                        IsHard = verdict.IsHard,
                    }
                );
            }
        }
    }

    /// <summary>Damping, with hysteresis.</summary>
    private static void SuppressOrReuse(FleetHealth fleet, UpstreamHealth u, EndpointHealth e)
    {
        if (e.Penalty.Value == 0 && !e.IsSuppressed)
        {
            return;
        }
        var damping = u.Policy.FlapDamping;
        var penalty = e.Penalty.Now(fleet.Now, damping);
        if (e.State == HealthState.Down && penalty >= damping.Suppress)
        {
            e.IsSuppressed = true;
        }
        else if (e.IsSuppressed && penalty < damping.Reuse)
        {
            e.IsSuppressed = false;
        }
    }

    private static void GoDown(FleetHealth fleet, UpstreamHealth u, EndpointHealth e, LatticeVerdict verdict)
    {
        if (e.State == HealthState.Down)
        {
            u.IsUnsettled |= verdict.IsHard && !e.IsHard;
            e.IsHard |= verdict.IsHard;
            return;
        }
        if (verdict.Cause == HealthCause.Passive)
        {
            e.Hits = 0;
            e.Ejections.Eject(u.Policy.HoldBase, u.Policy.HoldMax);
        }
        Enter(fleet, u, e, HealthState.Down, verdict.Rule, verdict.Cause, verdict.IsHard);
        e.DownErrorRate = e.Judgement.Rate;
        e.Cut = 1.0;
        e.IsPassiveDown = false;
        SuppressOrReuse(fleet, u, e);
    }

    /// <summary>By rule 4 at once, else by an up-vote after the dwell, damping and G9.</summary>
    private static void LeaveDown(FleetHealth fleet, UpstreamHealth u, EndpointHealth e, LatticeVerdict verdict, bool mayEnterProbation)
    {
        if (verdict.Rule == HealthRule.TrafficVeto && e.Cause == HealthCause.Active)
        {
            Enter(fleet, u, e, HealthState.Suspect, verdict.Rule);
            return;
        }
        e.IsPassiveDown = false;
        var isUpVote = verdict.Raw == RawVerdict.Up || (verdict.Raw == RawVerdict.Keep && (!u.Policy.HasChecks || e.Target.IsUnchecked));
        if (isUpVote && fleet.Now - e.Since >= Dwell(u, e) && !e.IsSuppressed && mayEnterProbation)
        {
            Enter(fleet, u, e, HealthState.Probation, HealthRule.UpVote);
            e.ProbationSince = fleet.Now;
            e.ProbationFactor = 1.0;
            e.Hits = e.Unjudged = 0;
        }
    }

    /// <summary>G9: after the ramp, which an endpoint whose weight is halved does not finish.</summary>
    private static void LeaveProbation(FleetHealth fleet, UpstreamHealth u, EndpointHealth e)
    {
        if (fleet.Now - e.LastHitAt >= HitCounts)
        {
            e.ProbationFactor = 1.0;
        }
        if (fleet.Now - e.ProbationSince >= u.Policy.RampTime && e.ProbationFactor == 1.0)
        {
            Enter(fleet, u, e, HealthState.Up, HealthRule.RampDone);
        }
    }
}
