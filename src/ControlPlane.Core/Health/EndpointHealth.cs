using System.Runtime.InteropServices;

namespace ControlPlane.Core.Health;

/// <summary>
/// One endpoint: where it stands in the state machine, and what the rules remember of it. Its evidence lies apart: evidence is lost with the process, this
/// is stored (<see cref="EndpointMemory"/>) but for what is marked as derived.
/// </summary>
internal sealed class EndpointHealth(HealthTarget target, EndpointEvidence evidence, Instant now)
{
    /// <summary>As the registry has it now.</summary>
    public HealthTarget Target { get; set; } = target;

    public EndpointEvidence Evidence { get; } = evidence;

    /// <summary>Place in the upstream's list, and in every table of its evidence.</summary>
    public int Index { get; set; }

    /// <summary>Index of its zone in the ledger.</summary>
    public int Zone { get; set; }

    /// <summary>Index of its priority among those of the upstream.</summary>
    public int PriorityGroup { get; set; }

    /// <summary>Index of its zone within its priority among those of the upstream.</summary>
    public int ZoneGroup { get; set; }

    public Instant AddedAt { get; set; } = now;

    // The state machine (4.5).
    public HealthState State { get; set; } = HealthState.New;
    public Instant Since { get; set; } = now;
    public HealthRule Rule { get; set; } = HealthRule.New;
    public HealthCause Cause { get; set; }

    /// <summary>DOWN on evidence so strong that G2 does not weigh it. Stays until the endpoint leaves DOWN: refusals turn into timeouts when a machine goes.</summary>
    public bool IsHard { get; set; }

    /// <summary>DOWN since, or NEW that counts as condemned since (4.8); not set otherwise.</summary>
    public Instant CondemnedAt { get; set; } = Instant.Never;

    /// <summary>Since when the raw verdict is DOWN, unbroken; derived. A SOFT one must hold for two evaluations.</summary>
    public Instant DownVerdictSince { get; set; } = Instant.Never;

    /// <summary>The raw verdict turned down and has not turned up since. PARTIAL in between is no turn.</summary>
    public bool HasTurnedDown { get; set; }

    public FlapPenalty Penalty;

    /// <summary>Held in DOWN by its penalty.</summary>
    public bool IsSuppressed { get; set; }

    /// <summary>Counts ejections by traffic; lengthens the stay in DOWN.</summary>
    public EjectionMultiplier Ejections;

    /// <summary>UP since it last left PROBATION or NEW.</summary>
    public Instant UpSince { get; set; } = Instant.Never;
    public Instant ProbationSince { get; set; } = Instant.Never;

    /// <summary>1, or 0.5 after an outlier hit in PROBATION (G9).</summary>
    public double ProbationFactor { get; set; } = 1.0;

    /// <summary>Opinions that count, whoever is trusted, and whether some of them pass and some fail; derived.</summary>
    public int FreshOpinions { get; set; }
    public bool AreOpinionsMixed { get; set; }

    // The active kind (4.3, 4.4); derived but for HalfSince.
    public ActiveVote Vote { get; set; }

    /// <summary>Balanced share of PASS; NaN without a trusted opinion.</summary>
    public double Share { get; set; } = double.NaN;

    /// <summary>How many observers decided, where that is fewer than a quorum; 0 otherwise.</summary>
    public int FewObservers { get; set; }

    /// <summary>Since when the share, while DOWN, has been half or more without every zone agreeing; not set otherwise.</summary>
    public Instant HalfSince { get; set; } = Instant.Never;

    /// <summary>Since when rule 4 waits for traffic.</summary>
    public Instant WaitSince { get; set; } = Instant.Never;

    /// <summary>The first moment at which an opinion expires.</summary>
    public Instant OpinionsChangeAt { get; set; } = Instant.Forever;

    /// <summary>Has a trusted observer's verdict, and most of these pass: what it tells G6 about the observers.</summary>
    public bool IsKnown { get; set; }
    public bool IsPassing { get; set; }

    // The traffic kind (4.6).
    public OutlierJudgement Judgement;

    /// <summary>Windows since the last judgement, up to the number that is kept; derived.</summary>
    public int Unjudged { get; set; }

    /// <summary>Bad windows in a row; derived.</summary>
    public int Hits { get; set; }

    /// <summary>Clean windows in a row; derived.</summary>
    public int CleanWindows { get; set; }

    /// <summary>Windows without judgement since the weight was last cut or raised; derived.</summary>
    public int BlindWindows { get; set; }
    public Instant LastHitAt { get; set; } = Instant.Never;

    /// <summary>Weight factor, 1 while not cut.</summary>
    public double Cut { get; set; } = 1.0;

    /// <summary>Two bad windows in a row condemn it.</summary>
    public bool IsPassiveDown { get; set; }

    /// <summary>Its error rate when it went DOWN.</summary>
    public double DownErrorRate { get; set; }

    // The guards (4.7).
    public Instant TwoKindsSince { get; set; } = Instant.Never;
    public Instant OneKindSince { get; set; } = Instant.Never;

    /// <summary>Condemned, and its whole priority or zone may go, since another one takes over (G2), for everyone.</summary>
    public bool IsReplaceable { get; set; }

    /// <summary>What a freeze order holds.</summary>
    public FrozenEndpoint? Frozen { get; set; }

    public bool IsCondemned => CondemnedAt.IsSet;

    /// <summary>G1: part of E. A new one is while it counts as condemned.</summary>
    public bool IsEligible(OverrideOrder? order) => !IsRemovedByPerson(order) && (State != HealthState.New || IsCondemned);

    /// <summary>G1: a person took it out.</summary>
    public static bool IsRemovedByPerson(OverrideOrder? order) =>
        order is OverrideOrder.Drain or OverrideOrder.Disable or OverrideOrder.ForceUnhealthy;

    /// <summary>
    /// The order that is in force. A freeze is what it froze: an endpoint that took traffic is forced healthy, one that was UNHEALTHY is forced unhealthy, one
    /// that was left out is disabled.
    /// </summary>
    public OverrideOrder? Order(Instant now)
    {
        if (Evidence.Override is not { } order || Evidence.OrderEndsAt <= now)
        {
            return null;
        }
        return order.Order == OverrideOrder.Freeze ? Frozen?.Order : order.Order;
    }
}

/// <summary>What a freeze order holds: made when the order is first seen.</summary>
/// <param name="StartedAt">Of the order; another order makes a new one.</param>
/// <param name="Order">The order that keeps the endpoint as it was.</param>
/// <param name="Factor">Its share of the full weight.</param>
internal sealed record FrozenEndpoint(DateTimeOffset StartedAt, OverrideOrder Order, double Factor);

/// <summary>What the active kind says of an endpoint (4.3).</summary>
internal enum ActiveVote
{
    /// <summary>Nobody has spoken lately.</summary>
    None,
    Up,
    Down,
    Partial,

    /// <summary>Too few have spoken to decide.</summary>
    Suspect,
}

/// <summary>
/// Flap damping (4.5, RFC 2439 form): each turn down adds, time halves. Whoever turns down at least four times within a minute and a half stays out until
/// the penalty has decayed.
/// </summary>
[StructLayout(LayoutKind.Auto)]
internal struct FlapPenalty
{
    private const double PerTurn = 1000;

    /// <summary>The penalty at <see cref="At"/>.</summary>
    public double Value;
    public Instant At;

    public readonly double Now(Instant now, FlapDampingParameters parameters) =>
        Value == 0
            ? 0
            : Math.Min(parameters.Ceiling, Value * Math.Pow(2, -Math.Max(0, (now - At).TotalSeconds / parameters.HalfLife.TotalSeconds)));

    public void Add(Instant now, FlapDampingParameters parameters)
    {
        Value = Math.Min(parameters.Ceiling, Now(now, parameters) + PerTurn);
        At = now;
    }

    /// <summary>When the penalty falls below a value, as near as arithmetic tells.</summary>
    public readonly Instant Below(double value, FlapDampingParameters parameters) =>
        Value <= value ? At : At + (Math.Log2(Value / value) * parameters.HalfLife);
}

/// <summary>
/// The multiplier of ejection times, Envoy's (health design 2.2, points 7 and 8): each ejection adds one until the longest time is reached, each window
/// without takes one.
/// </summary>
[StructLayout(LayoutKind.Auto)]
internal struct EjectionMultiplier
{
    public int Value;

    public void Eject(TimeSpan baseTime, TimeSpan maxTime)
    {
        if (Value * baseTime < maxTime + baseTime)
        {
            Value++;
        }
    }

    public void Decay() => Value = Math.Max(0, Value - 1);

    /// <summary>How long the present ejection lasts.</summary>
    public readonly TimeSpan Duration(TimeSpan baseTime, TimeSpan maxTime)
    {
        var time = Math.Max(1, Value) * baseTime;
        return time < maxTime ? time : maxTime;
    }
}
