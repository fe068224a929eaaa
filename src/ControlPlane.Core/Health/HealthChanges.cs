using System.Collections.Immutable;

namespace ControlPlane.Core.Health;

/// <summary>What one evaluation changed.</summary>
/// <param name="Publications">What proxies are to get.</param>
/// <param name="Transitions">Steps of the state machine, in the order in which they were made.</param>
/// <param name="Observers">Observers that are believed more, or less, than before.</param>
/// <param name="Incidents">Incidents of whole upstreams that began or ended.</param>
public sealed record HealthChanges(
    ImmutableArray<HealthPublication> Publications,
    ImmutableArray<HealthTransition> Transitions,
    ImmutableArray<ObserverChange> Observers,
    ImmutableArray<HealthIncident> Incidents
)
{
    /// <summary>Nothing changed.</summary>
    public static HealthChanges None { get; } = new([], [], [], []);

    /// <summary>Guards that began to keep an endpoint routable.</summary>
    public ImmutableArray<GuardActivation> Guards { get; init; } = [];
}

/// <summary>The endpoints of an upstream as proxies are to have them.</summary>
/// <param name="Upstream">The upstream.</param>
/// <param name="Zone">Whose proxies: of one zone, that get this instead of what everyone gets, or null for everyone.</param>
/// <param name="Endpoints">In the registry's order; those left out are not listed. Default: the zone gets what everyone gets from now on.</param>
/// <param name="LocalityFactors">Zones whose locality weight is to be multiplied by a factor below 1.</param>
/// <param name="IsUrgent">An operator's order or a HARD verdict is part of it: it does not wait to be merged with others.</param>
public sealed record HealthPublication(
    string Upstream,
    string? Zone,
    ImmutableArray<PublishedEndpoint> Endpoints,
    ImmutableSortedDictionary<string, double> LocalityFactors,
    bool IsUrgent
);

/// <summary>A guard keeps a condemned endpoint routable that no guard, or another one, kept before.</summary>
/// <param name="Upstream">The upstream.</param>
/// <param name="Zone">The zone whose view it is; null is everyone.</param>
/// <param name="Endpoint">The endpoint's id.</param>
/// <param name="At">When.</param>
/// <param name="Guard">Which.</param>
public sealed record GuardActivation(string Upstream, string? Zone, string Endpoint, DateTimeOffset At, HealthGuard Guard);

/// <summary>How many endpoints of an upstream stand where. Those that an operator took out are not counted by their state.</summary>
public sealed record HealthCounts
{
    /// <summary>Never passed a check.</summary>
    public int New { get; init; }

    /// <summary>Nothing against them.</summary>
    public int Up { get; init; }

    /// <summary>Something against them, not enough.</summary>
    public int Suspect { get; init; }

    /// <summary>Condemned by the evidence, or by an operator's order.</summary>
    public int Down { get; init; }

    /// <summary>Back from DOWN.</summary>
    public int Probation { get; init; }

    /// <summary>Draining by an operator's order.</summary>
    public int Draining { get; init; }

    /// <summary>Left out by an operator's order.</summary>
    public int Disabled { get; init; }

    /// <summary>Share of those that nothing takes out, of all that no operator took out; null without any.</summary>
    public double? HealthyRatio =>
        New + Up + Suspect + Down + Probation is > 0 and var all ? (double)(Up + Suspect + Probation) / all : null;
}

/// <summary>
/// A step of an endpoint's state machine; or one within a state, in which its weight changes (rule 6) or it fails again while it is held out (flap damping): then both states are
/// the same.
/// </summary>
/// <param name="Upstream">The upstream.</param>
/// <param name="Endpoint">The endpoint's id.</param>
/// <param name="From">The state it left.</param>
/// <param name="To">The state it entered.</param>
/// <param name="At">When.</param>
/// <param name="Rule">By which rule.</param>
public sealed record HealthTransition(
    string Upstream,
    string Endpoint,
    HealthState From,
    HealthState To,
    DateTimeOffset At,
    HealthRule Rule
)
{
    /// <summary>What kind of evidence condemned it.</summary>
    public HealthCause Cause { get; init; }

    /// <summary>The share that rule 6 leaves of the weight, above 0, at most 1; null of a step of the state machine.</summary>
    public double? Cut { get; init; }

    /// <summary>Condemned on evidence so strong that few guards weigh it.</summary>
    public bool IsHard { get; init; }
}

/// <summary>An observer's standing changed.</summary>
/// <param name="Author">The observer.</param>
/// <param name="At">When.</param>
/// <param name="IsQuarantined">Its FAILs do not count.</param>
/// <param name="IsStuck">Its PASSes do not count.</param>
public sealed record ObserverChange(string Author, DateTimeOffset At, bool IsQuarantined, bool IsStuck);

/// <summary>Something is wrong with an upstream as a whole, and it is not taken out on its endpoints.</summary>
/// <param name="Upstream">The upstream.</param>
/// <param name="At">When it began or ended.</param>
/// <param name="Kind">What.</param>
/// <param name="IsOn">Whether it began.</param>
public sealed record HealthIncident(string Upstream, DateTimeOffset At, IncidentKind Kind, bool IsOn);

/// <summary>Incidents of whole upstreams.</summary>
public enum IncidentKind
{
    /// <summary>G6: too many endpoints were condemned at once; they stay routable until that is confirmed.</summary>
    MassFreeze,

    /// <summary>4.6: requests fail everywhere alike.</summary>
    UniformErrors,

    /// <summary>4.7: every endpoint is condemned, none passes, and that is confirmed.</summary>
    TotalFailure,
}
