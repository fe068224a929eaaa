namespace ControlPlane.Core.Health;

/// <summary>
/// What guard G6 asks (4.7): whether so many endpoints were condemned at once that the cause is probably shared (a dependency, a bad check, a prober), and
/// since when independent witnesses say of one endpoint that it is nevertheless true.
/// </summary>
internal static class MassFreeze
{
    /// <summary>How far back condemned endpoints are counted.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromSeconds(30);

    /// <summary>Thaw: the active kind is down and traffic agrees, for so long; shorter where the verdict is HARD.</summary>
    private static readonly TimeSpan TwoKinds = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan TwoKindsHard = TimeSpan.FromSeconds(10);

    /// <summary>Thaw: one kind is down, while the same observers pass nearly all of the other upstreams.</summary>
    public static readonly TimeSpan OneKind = TimeSpan.FromSeconds(60);
    private const int OthersPassPercent = 80;

    /// <summary>Thaw: it is HARD for so long.</summary>
    private static readonly TimeSpan Hard = TimeSpan.FromSeconds(120);

    /// <summary>Whether an endpoint's verdict is confirmed, whatever happened around it.</summary>
    public static bool IsThawed(FleetHealth fleet, EndpointHealth e) => fleet.Now >= ThawsAt(e);

    /// <summary>When the verdict will be confirmed, if the evidence stays as it is; forever if it will not.</summary>
    public static Instant ThawsAt(EndpointHealth e)
    {
        var at = Instant.Forever;
        if (e.TwoKindsSince.IsSet)
        {
            at = e.TwoKindsSince + (e.IsHard ? TwoKindsHard : TwoKinds);
        }
        if (e.OneKindSince.IsSet)
        {
            at = Instant.Earlier(at, e.OneKindSince + OneKind);
        }
        if (e is { IsHard: true, Vote: ActiveVote.Down })
        {
            at = Instant.Earlier(at, e.CondemnedAt + Hard);
        }
        return at;
    }

    /// <summary>The observers pass nearly all endpoints of the other upstreams: they evidently work. True where there is no other.</summary>
    public static bool OthersPass(FleetHealth fleet, UpstreamHealth u) =>
        100 * (fleet.PassingEndpoints - u.PassingEndpoints) >= OthersPassPercent * (fleet.KnownEndpoints - u.KnownEndpoints);

    /// <summary>Tells the other upstreams what the observers say of this one.</summary>
    public static void CountVerdicts(FleetHealth fleet, UpstreamHealth u)
    {
        var (known, passing) = (0, 0);
        foreach (var e in u.Endpoints)
        {
            known += e is { IsKnown: true, IsReplaceable: false } ? 1 : 0;
            passing += e is { IsKnown: true, IsReplaceable: false, IsPassing: true } ? 1 : 0;
        }
        fleet.KnownEndpoints += known - u.KnownEndpoints;
        fleet.PassingEndpoints += passing - u.PassingEndpoints;
        (u.KnownEndpoints, u.PassingEndpoints) = (known, passing);
    }

    /// <summary>Since when two kinds agree that an endpoint is down, or one says so while the others pass.</summary>
    public static void RunThawClocks(FleetHealth fleet, UpstreamHealth u)
    {
        u.OthersPassed = OthersPass(fleet, u);
        foreach (var e in u.Endpoints)
        {
            if (!e.IsCondemned || EndpointHealth.IsRemovedByPerson(e.Order(fleet.Now)))
            {
                e.OneKindSince = e.TwoKindsSince = Instant.Never;
                continue;
            }
            var active = e.Vote == ActiveVote.Down || (e.State == HealthState.New && e.Vote != ActiveVote.None);
            // Silence does not end an agreement: the proxies themselves eject what fails.
            var agrees = active && (u.Traffic.Agrees(e.Index) || (e.TwoKindsSince.IsSet && !u.Traffic.ShowsSuccess(e.Index)));
            e.TwoKindsSince =
                !agrees ? Instant.Never
                : e.TwoKindsSince.IsSet ? e.TwoKindsSince
                : fleet.Now;
            e.OneKindSince =
                !u.OthersPassed || !(active || e.Cause == HealthCause.Passive) ? Instant.Never
                : e.OneKindSince.IsSet ? e.OneKindSince
                : fleet.Now;
        }
    }

    /// <summary>4.8: a new endpoint is left out as long as any proven one is good, else it counts as condemned at once.</summary>
    public static void CondemnNew(FleetHealth fleet, UpstreamHealth u)
    {
        var anyGood = false;
        foreach (var e in u.Endpoints)
        {
            anyGood |= e.State is not (HealthState.New or HealthState.Down) && !EndpointHealth.IsRemovedByPerson(e.Order(fleet.Now));
        }
        foreach (var e in u.Endpoints)
        {
            if (e.State != HealthState.New)
            {
                continue;
            }
            if (anyGood)
            {
                e.CondemnedAt = Instant.Never;
            }
            else if (!e.IsCondemned)
            {
                (e.CondemnedAt, e.Rule, e.Cause) = (fleet.Now, HealthRule.NeverPassed, HealthCause.New);
                u.IsUnsettled = true;
            }
        }
    }

    /// <summary>Counts what was condemned lately, without what may go whole.</summary>
    public static void CountRecent(FleetHealth fleet, UpstreamHealth u)
    {
        u.RecentlyCondemned = 0;
        u.HasCondemned = false;
        foreach (var e in u.Endpoints)
        {
            u.HasCondemned |= e.IsCondemned;
            u.RecentlyCondemned += e is { IsCondemned: true, IsReplaceable: false } && fleet.Now - e.CondemnedAt <= Window ? 1 : 0;
        }
    }

    /// <summary>Whether so much was condemned lately, in so many upstreams, that all are frozen.</summary>
    public static bool IsMassOfFleet(FleetHealth fleet, IReadOnlyList<UpstreamHealth> upstreams)
    {
        var (endpoints, hit) = (0, 0);
        foreach (var u in upstreams)
        {
            endpoints += u.RecentlyCondemned;
            hit += u.RecentlyCondemned > 0 ? 1 : 0;
        }
        return endpoints >= fleet.Policy.MassEndpoints
            && hit >= fleet.Policy.MassUpstreams
            && 100L * endpoints > (long)fleet.Policy.MassPercent * fleet.Endpoints;
    }
}
