using System.Collections.Immutable;

namespace ControlPlane.Core.Health;

/// <summary>
/// What an aggregator must remember of an upstream over restarts, so that it publishes what it had and decides anew only on evidence: states and penalties,
/// and what the guards know. Evidence is not part of it, and neither are operators' orders, which are objects of their own. Plain values, to be stored.
/// </summary>
public sealed record UpstreamMemory
{
    /// <summary>The endpoints.</summary>
    public ImmutableArray<EndpointMemory> Endpoints { get; init; } = [];

    /// <summary>The views: for everyone first, then those of zones.</summary>
    public ImmutableArray<ViewMemory> Views { get; init; } = [];

    /// <summary>Zones that were cut off from others.</summary>
    public ImmutableArray<LinkFaultMemory> LinkFaults { get; init; } = [];

    /// <summary>Requests fail everywhere alike.</summary>
    public bool HasUniformErrors { get; init; }

    /// <summary>Outside observers that spoke of this upstream.</summary>
    public ImmutableArray<WitnessMemory> HeardFrom { get; init; } = [];
}

/// <summary>What is remembered of one endpoint.</summary>
public sealed record EndpointMemory
{
    /// <summary>The endpoint's id.</summary>
    public required string Id { get; init; }

    /// <summary>Where it was reached (<see cref="HealthTarget.Address"/>); null if that is not known.</summary>
    public string? Address { get; init; }

    /// <summary>When it was added.</summary>
    public DateTimeOffset AddedAt { get; init; }

    /// <summary>Its state, since when, by which rule, and what condemned it.</summary>
    public HealthState State { get; init; }

    /// <inheritdoc cref="State"/>
    public DateTimeOffset Since { get; init; }

    /// <inheritdoc cref="State"/>
    public HealthRule Rule { get; init; }

    /// <inheritdoc cref="State"/>
    public HealthCause Cause { get; init; }

    /// <summary>Condemned on evidence so strong that few guards weigh it.</summary>
    public bool IsHard { get; init; }

    /// <summary>Condemned since; null if it is not.</summary>
    public DateTimeOffset? CondemnedAt { get; init; }

    /// <summary>The raw verdict turned down and has not turned up since.</summary>
    public bool HasTurnedDown { get; init; }

    /// <summary>Flap penalty at <see cref="PenaltyAt"/>.</summary>
    public double Penalty { get; init; }

    /// <inheritdoc cref="Penalty"/>
    public DateTimeOffset? PenaltyAt { get; init; }

    /// <summary>Held in DOWN by its penalty.</summary>
    public bool IsSuppressed { get; init; }

    /// <summary>Ejections by traffic in a row.</summary>
    public int Ejections { get; init; }

    /// <summary>UP since it last left PROBATION or NEW.</summary>
    public DateTimeOffset? UpSince { get; init; }

    /// <summary>In PROBATION since.</summary>
    public DateTimeOffset? ProbationSince { get; init; }

    /// <summary>1, or 0.5 after an outlier hit in PROBATION.</summary>
    public double ProbationFactor { get; init; } = 1;

    /// <summary>Since when half of the observers pass it while it is DOWN.</summary>
    public DateTimeOffset? HalfSince { get; init; }

    /// <summary>The last window in which it was an outlier.</summary>
    public DateTimeOffset? LastHitAt { get; init; }

    /// <summary>Weight factor, 1 while not cut.</summary>
    public double Cut { get; init; } = 1;

    /// <summary>Condemned by traffic, not yet DOWN.</summary>
    public bool IsPassiveDown { get; init; }

    /// <summary>Its error rate when it went DOWN.</summary>
    public double DownErrorRate { get; init; }

    /// <summary>It may go whole with its priority or zone.</summary>
    public bool IsReplaceable { get; init; }

    /// <summary>What a freeze order holds.</summary>
    public FrozenMemory? Frozen { get; init; }
}

/// <summary>What a freeze order holds.</summary>
/// <param name="StartedAt">The order's.</param>
/// <param name="Order">The order that keeps the endpoint as it was.</param>
/// <param name="Factor">Its share of the full weight.</param>
public sealed record FrozenMemory(DateTimeOffset StartedAt, OverrideOrder Order, double Factor);

/// <summary>What the guards remember of one view.</summary>
public sealed record ViewMemory
{
    /// <summary>The zone; null is everyone.</summary>
    public string? Zone { get; init; }

    /// <summary>What is published.</summary>
    public ImmutableArray<PublishedEndpoint> Published { get; init; } = [];

    /// <summary>Zones that lose locality weight, and the factor.</summary>
    public ImmutableSortedDictionary<string, double> LocalityFactors { get; init; } = ImmutableSortedDictionary<string, double>.Empty;

    /// <summary>Endpoints that are published UNHEALTHY by inference, and since when.</summary>
    public ImmutableSortedDictionary<string, DateTimeOffset> RemovedSince { get; init; } =
        ImmutableSortedDictionary<string, DateTimeOffset>.Empty;

    /// <summary>Endpoints whose verdict a thaw confirmed.</summary>
    public ImmutableArray<string> Confirmed { get; init; } = [];

    /// <summary>Endpoints that were out for long when the freeze began.</summary>
    public ImmutableArray<string> RemovedBefore { get; init; } = [];

    /// <summary>When endpoints went, of the last ten seconds.</summary>
    public ImmutableArray<DateTimeOffset> Removals { get; init; } = [];

    /// <summary>Frozen since; null if it is not.</summary>
    public DateTimeOffset? FrozenSince { get; init; }

    /// <summary>A mass freeze is not over yet.</summary>
    public bool IsIncident { get; init; }

    /// <summary>A true outage.</summary>
    public bool IsTotalFailure { get; init; }
}

/// <summary>A zone that is cut off from another.</summary>
/// <param name="From">The zone of the observers.</param>
/// <param name="To">The zone of the endpoints.</param>
/// <param name="Since">Since when.</param>
public sealed record LinkFaultMemory(string From, string To, DateTimeOffset Since);

/// <summary>An outside observer that spoke of an upstream.</summary>
/// <param name="Author">Its id.</param>
/// <param name="Zone">Where it stood.</param>
/// <param name="At">When it last did.</param>
/// <param name="Endpoints">Of which endpoints it spoke, if not of all; null where they are all, or too many to name.</param>
public sealed record WitnessMemory(string Author, string Zone, DateTimeOffset At, ImmutableArray<string>? Endpoints = null)
{
    /// <summary>More endpoints than these are not named.</summary>
    public const int MaxEndpoints = 200;
}

/// <summary>What is remembered of the whole fleet.</summary>
public sealed record FleetMemory
{
    /// <summary>Outside observers; ours connect again.</summary>
    public ImmutableArray<ObserverMemory> Observers { get; init; } = [];

    /// <summary>When endpoints went, anywhere, of the last ten seconds.</summary>
    public ImmutableArray<DateTimeOffset> Removals { get; init; } = [];
}

/// <summary>What is remembered of an outside observer.</summary>
public sealed record ObserverMemory
{
    /// <summary>Its id.</summary>
    public required string Author { get; init; }

    /// <summary>Its last evidence.</summary>
    public DateTimeOffset SeenAt { get; init; }

    /// <summary>In quarantine since.</summary>
    public DateTimeOffset? QuarantinedSince { get; init; }

    /// <summary>In line with the others since.</summary>
    public DateTimeOffset? CleanSince { get; init; }

    /// <summary>Passing what the others fail since.</summary>
    public DateTimeOffset? StuckSince { get; init; }

    /// <summary>Its PASSes do not count.</summary>
    public bool IsStuck { get; init; }
}

/// <summary>Turns state into memory and back.</summary>
internal static class HealthMemories
{
    public static UpstreamMemory Of(UpstreamHealth u, EvidenceLedger ledger, Instant now) =>
        new()
        {
            Endpoints = [.. u.Endpoints.Select(Of)],
            Views = [Of(u, u.Everyone), .. u.ZoneViews.Select(v => Of(u, v))],
            LinkFaults =
            [
                .. u.LinkFaults.Select(f => new LinkFaultMemory(ledger.Zones[f.From], ledger.Zones[f.To], f.Since.ToTime()!.Value)),
            ],
            HasUniformErrors = u.HasUniformErrors,
            HeardFrom =
            [
                .. u
                    .Evidence.HeardFrom.Where(h => h.Observer is { IsOurs: false, IsPresent: true })
                    .Select(h => new WitnessMemory(h.Observer.Author, ledger.Zones[h.Zone], h.At.ToTime()!.Value, WatchedBy(h, u, now))),
            ],
        };

    private static ImmutableArray<string>? WatchedBy(Witness witness, UpstreamHealth u, Instant now)
    {
        var watched = u
            .Endpoints.Where(e => witness.Watches(e, now))
            .Select(e => e.Target.Id)
            .Take(WitnessMemory.MaxEndpoints + 1)
            .ToList();
        return watched.Count == u.Endpoints.Length || watched.Count > WitnessMemory.MaxEndpoints ? null : [.. watched];
    }

    public static FleetMemory Of(FleetHealth fleet) =>
        new()
        {
            Observers = [.. fleet.Ledger.Observers.Where(o => o is { IsOurs: false, IsPresent: true }).Select(Of)],
            Removals = [.. fleet.Removals.Select(r => r.ToTime()!.Value)],
        };

    public static void Restore(UpstreamHealth u, UpstreamMemory memory, EvidenceLedger ledger, Instant now)
    {
        foreach (var endpoint in memory.Endpoints)
        {
            if (u.Find(endpoint.Id) is { } e && (endpoint.Address ?? e.Target.Address) == e.Target.Address)
            {
                Restore(e, endpoint with { Penalty = Math.Min(endpoint.Penalty, u.Policy.FlapDamping.Ceiling) }, now);
            }
        }
        foreach (var view in memory.Views)
        {
            Restore(u, view.Zone is null ? u.Everyone : u.OpenView(view.Zone, ledger.Zones.IndexOf(view.Zone)), view, now);
        }
        u.LinkFaults.AddRange(
            memory.LinkFaults.Select(f => new LinkFault(
                ledger.Zones.IndexOf(f.From),
                ledger.Zones.IndexOf(f.To),
                Past(f.Since, now),
                Instant.Never
            ))
        );
        foreach (var (author, zone, at, endpoints) in memory.HeardFrom)
        {
            if (ledger.TryFind(author, out var observer))
            {
                var heardAt = Past(at, now);
                u.Evidence.Recall(
                    new Witness(observer, ledger.Zones.IndexOf(zone, author), heardAt)
                    {
                        RecalledAt = heardAt,
                        Recalled = endpoints?.ToHashSet(StringComparer.Ordinal),
                    }
                );
            }
        }
        u.HasUniformErrors = u.WasUniform = memory.HasUniformErrors;
        // Windows run until what was cut or ejected has decayed, though there may be no traffic any more.
        u.Evidence.HasTraffic = true;
        u.Evidence.IsChanged = true;
    }

    public static void Restore(FleetHealth fleet, FleetMemory memory, Instant now)
    {
        foreach (var known in memory.Observers)
        {
            if (fleet.Ledger.FindObserver(known.Author, isOurs: false, Past(known.SeenAt, now)) is { } observer)
            {
                observer.QuarantinedSince = Past(known.QuarantinedSince, now);
                observer.CleanSince = Past(known.CleanSince, now);
                observer.StuckSince = Past(known.StuckSince, now);
                observer.IsStuck = known.IsStuck;
            }
        }
        fleet.Removals.Clear();
        foreach (var removal in memory.Removals)
        {
            fleet.Removals.Enqueue(Past(removal, now));
        }
    }

    private static EndpointMemory Of(EndpointHealth e) =>
        new()
        {
            Id = e.Target.Id,
            Address = e.Target.Address,
            AddedAt = e.AddedAt.ToTime() ?? default,
            State = e.State,
            Since = e.Since.ToTime() ?? default,
            Rule = e.Rule,
            Cause = e.Cause,
            IsHard = e.IsHard,
            CondemnedAt = e.CondemnedAt.ToTime(),
            HasTurnedDown = e.HasTurnedDown,
            Penalty = e.Penalty.Value,
            PenaltyAt = e.Penalty.Value > 0 ? e.Penalty.At.ToTime() : null,
            IsSuppressed = e.IsSuppressed,
            Ejections = e.Ejections.Value,
            UpSince = e.UpSince.ToTime(),
            ProbationSince = e.ProbationSince.ToTime(),
            ProbationFactor = e.ProbationFactor,
            HalfSince = e.HalfSince.ToTime(),
            LastHitAt = e.LastHitAt.ToTime(),
            Cut = e.Cut,
            IsPassiveDown = e.IsPassiveDown,
            DownErrorRate = e.DownErrorRate,
            IsReplaceable = e.IsReplaceable,
            Frozen = e.Frozen is { } frozen ? new FrozenMemory(frozen.StartedAt, frozen.Order, frozen.Factor) : null,
        };

    private static void Restore(EndpointHealth e, EndpointMemory memory, Instant now)
    {
        e.AddedAt = Past(memory.AddedAt, now);
        e.State = memory.State;
        e.Since = Past(memory.Since, now);
        e.Rule = memory.Rule;
        e.Cause = memory.Cause;
        e.IsHard = memory.IsHard;
        e.CondemnedAt = Past(memory.CondemnedAt, now);
        e.HasTurnedDown = memory.HasTurnedDown;
        e.Penalty = new FlapPenalty { Value = memory.Penalty, At = Past(memory.PenaltyAt, now) };
        e.IsSuppressed = memory.IsSuppressed;
        e.Ejections = new EjectionMultiplier { Value = memory.Ejections };
        e.UpSince = Past(memory.UpSince, now);
        e.ProbationSince = Past(memory.ProbationSince, now);
        e.ProbationFactor = memory.ProbationFactor;
        e.HalfSince = Past(memory.HalfSince, now);
        e.LastHitAt = Past(memory.LastHitAt, now);
        e.Cut = memory.Cut;
        e.IsPassiveDown = memory.IsPassiveDown;
        e.DownErrorRate = memory.DownErrorRate;
        e.IsReplaceable = memory.IsReplaceable;
        e.Frozen = memory.Frozen is { } frozen ? new FrozenEndpoint(frozen.StartedAt, frozen.Order, frozen.Factor) : null;
    }

    private static ViewMemory Of(UpstreamHealth u, ZoneView view) =>
        new()
        {
            Zone = view.Zone,
            Published = view.Published.IsDefault ? [] : view.Published,
            LocalityFactors = view.LocalityFactors,
            RemovedSince = u
                .Endpoints.Where(e => view.Entries[e.Index].IsRemoved)
                .ToImmutableSortedDictionary(e => e.Target.Id, e => view.Entries[e.Index].RemovedSince.ToTime()!.Value),
            Confirmed = [.. u.Endpoints.Where(e => view.Entries[e.Index].IsConfirmed).Select(e => e.Target.Id)],
            RemovedBefore = [.. u.Endpoints.Where(e => view.Entries[e.Index].WasRemovedBefore).Select(e => e.Target.Id)],
            Removals = [.. view.Removals.Select(r => r.ToTime()!.Value)],
            FrozenSince = view.FrozenSince.ToTime(),
            IsIncident = view.IsIncident,
            IsTotalFailure = view.IsTotalFailure,
        };

    private static void Restore(UpstreamHealth u, ZoneView view, ViewMemory memory, Instant now)
    {
        foreach (var e in u.Endpoints)
        {
            ref var entry = ref view.Entries[e.Index];
            entry.RemovedSince = memory.RemovedSince.TryGetValue(e.Target.Id, out var since) ? Past(since, now) : Instant.Never;
            entry.IsConfirmed = memory.Confirmed.Contains(e.Target.Id);
            entry.WasRemovedBefore = memory.RemovedBefore.Contains(e.Target.Id);
        }
        view.Removals.Clear();
        foreach (var removal in memory.Removals)
        {
            view.Removals.Enqueue(Past(removal, now));
        }
        view.FrozenSince = Past(memory.FrozenSince, now);
        view.IsIncident = memory.IsIncident;
        view.IsTotalFailure = memory.IsTotalFailure;
        view.LocalityFactors = memory.LocalityFactors;
        view.Published = memory.Published.IsEmpty ? default : memory.Published;
    }

    private static ObserverMemory Of(Observer observer) =>
        new()
        {
            Author = observer.Author,
            SeenAt = observer.SeenAt.ToTime() ?? default,
            QuarantinedSince = observer.QuarantinedSince.ToTime(),
            CleanSince = observer.CleanSince.ToTime(),
            StuckSince = observer.StuckSince.ToTime(),
            IsStuck = observer.IsStuck,
        };

    /// <summary>The clock of whoever remembered may have run ahead of ours: what has not been yet is now, or dwells and penalties would last the difference longer.</summary>
    private static Instant Past(DateTimeOffset? time, Instant now) => Instant.Earlier(Instant.Of(time), now);
}
