namespace ControlPlane.Core.Health;

/// <summary>Where an endpoint stands in the state machine (section 4.5). It is what evidence says; what is published is decided after the guards.</summary>
public enum HealthState
{
    /// <summary>Never passed a check.</summary>
    New,

    /// <summary>Nothing against it.</summary>
    Up,

    /// <summary>Something against it, not enough to take it out.</summary>
    Suspect,

    /// <summary>Condemned by the evidence.</summary>
    Down,

    /// <summary>Back from DOWN, its weight ramped.</summary>
    Probation,
}

/// <summary>What kind of evidence condemned an endpoint.</summary>
public enum HealthCause
{
    /// <summary>It is not condemned.</summary>
    None,

    /// <summary>Its observers fail it.</summary>
    Active,

    /// <summary>Traffic to it fails.</summary>
    Passive,

    /// <summary>It never passed, and nothing better is left.</summary>
    New,
}

/// <summary>The rule by which an endpoint is in its state: of the lattice (section 4.4), or of the state machine.</summary>
public enum HealthRule
{
    /// <summary>It was added, and has not passed yet.</summary>
    New,

    /// <summary>It has not passed, and no proven endpoint is good: it counts as condemned (section 4.8).</summary>
    NeverPassed,

    /// <summary>Somebody passed it for the first time.</summary>
    FirstPass,

    /// <summary>Nobody checks it.</summary>
    NoChecks,

    /// <summary>An operator's order (rule 1); the state beneath goes on.</summary>
    Operator,

    /// <summary>The observers fail it, traffic succeeds: the check is wrong (rule 4).</summary>
    TrafficVeto,

    /// <summary>The observers fail it, and it is busy: traffic is waited for (rule 4).</summary>
    AwaitsTraffic,

    /// <summary>The observers vote down (rule 5).</summary>
    ActiveQuorum,

    /// <summary>Traffic singles it out (rule 6).</summary>
    FleetOutlier,

    /// <summary>The observers disagree (rule 8).</summary>
    Partial,

    /// <summary>Too few observers have spoken lately to decide anything (guard G7).</summary>
    TooFewObservers,

    /// <summary>The observers pass it.</summary>
    Up,

    /// <summary>The observers pass it again after it was DOWN.</summary>
    UpVote,

    /// <summary>Its ramp is over.</summary>
    RampDone,

    /// <summary>The zone for which this is published does not reach the endpoint's zone, which others do (section 4.2). Only in the view of that zone.</summary>
    LinkFault,
}

/// <summary>The guard that keeps a condemned endpoint routable (section 4.7). In the order in which they are asked.</summary>
public enum HealthGuard
{
    /// <summary>No guard objects.</summary>
    None,

    /// <summary>G2: too few routable endpoints would be left in its priority.</summary>
    MinimumHealthy,

    /// <summary>G2: too few routable endpoints would be left in its zone.</summary>
    MinimumHealthyOfZone,

    /// <summary>G3: it is the last one.</summary>
    LastEndpoint,

    /// <summary>G4: traffic alone may condemn only so many.</summary>
    PassiveBudget,

    /// <summary>G6: so many were condemned at once that the cause is probably not theirs.</summary>
    MassFreeze,

    /// <summary>G5: it is queued behind others that went just now.</summary>
    Velocity,

    /// <summary>G7: too few have spoken lately, so what is published stays. Never the reason of a demotion; shown in explanations.</summary>
    SourceLoss,

    /// <summary>G9: it comes back little by little. Never the reason of a demotion; shown in explanations.</summary>
    Ramp,
}

/// <summary>What proxies are told about an endpoint (<c>LbEndpoint.health_status</c>). One that is left out has no status.</summary>
public enum PublishedStatus
{
    /// <summary>HEALTHY.</summary>
    Healthy,

    /// <summary>DEGRADED: only where the load balancer ignores weights; gRPC clients drop such endpoints and should be sent HEALTHY with the weight.</summary>
    Degraded,

    /// <summary>UNHEALTHY.</summary>
    Unhealthy,

    /// <summary>DRAINING.</summary>
    Draining,
}

/// <summary>How rules, guards and states are called in logs, in the API and in the design.</summary>
public static class HealthNames
{
    /// <summary>The state in capitals.</summary>
    public static string Name(this HealthState state) =>
        state switch
        {
            HealthState.New => "NEW",
            HealthState.Up => "UP",
            HealthState.Suspect => "SUSPECT",
            HealthState.Down => "DOWN",
            HealthState.Probation => "PROBATION",
            _ => throw new ArgumentOutOfRangeException(nameof(state), state, null),
        };

    /// <summary>The number of the rule in section 4.4, or a word where it has none.</summary>
    public static string Name(this HealthRule rule) =>
        rule switch
        {
            HealthRule.New => "new",
            HealthRule.NeverPassed => "new, never passed",
            HealthRule.FirstPass => "first pass",
            HealthRule.NoChecks => "no checks",
            HealthRule.Operator => "1",
            HealthRule.TrafficVeto => "4 veto",
            HealthRule.AwaitsTraffic => "4 wait",
            HealthRule.ActiveQuorum => "5",
            HealthRule.FleetOutlier => "6",
            HealthRule.Partial => "8",
            HealthRule.TooFewObservers => "G7",
            HealthRule.Up => "up",
            HealthRule.UpVote => "up-vote",
            HealthRule.RampDone => "ramp done",
            HealthRule.LinkFault => "link fault",
            _ => throw new ArgumentOutOfRangeException(nameof(rule), rule, null),
        };

    /// <summary>The number of the guard in section 4.7; empty for none.</summary>
    public static string Name(this HealthGuard guard) =>
        guard switch
        {
            HealthGuard.None => "",
            HealthGuard.MinimumHealthy => "G2",
            HealthGuard.MinimumHealthyOfZone => "G2 zone",
            HealthGuard.LastEndpoint => "G3",
            HealthGuard.PassiveBudget => "G4",
            HealthGuard.MassFreeze => "G6",
            HealthGuard.Velocity => "G5",
            HealthGuard.SourceLoss => "G7",
            HealthGuard.Ramp => "G9",
            _ => throw new ArgumentOutOfRangeException(nameof(guard), guard, null),
        };

    /// <summary>The status in capitals, as Envoy's enum has it.</summary>
    public static string Name(this PublishedStatus status) =>
        status switch
        {
            PublishedStatus.Healthy => "HEALTHY",
            PublishedStatus.Degraded => "DEGRADED",
            PublishedStatus.Unhealthy => "UNHEALTHY",
            PublishedStatus.Draining => "DRAINING",
            _ => throw new ArgumentOutOfRangeException(nameof(status), status, null),
        };
}
