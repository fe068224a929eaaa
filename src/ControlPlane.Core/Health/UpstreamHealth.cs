using System.Collections.Immutable;
using System.Runtime.InteropServices;

namespace ControlPlane.Core.Health;

/// <summary>One upstream: its endpoints, what the guards remember of each view, and when it must be looked at again.</summary>
internal sealed class UpstreamHealth
{
    private readonly List<ZoneView> _zoneViews = [];

    public UpstreamHealth(string name, UpstreamEvidence evidence, FleetHealth fleet)
    {
        Name = name;
        Evidence = evidence;
        Traffic = new TrafficWitness(evidence, fleet);
    }

    public string Name { get; }

    public UpstreamEvidence Evidence { get; }

    public TrafficWitness Traffic { get; }

    public HealthPolicy Policy => Evidence.Policy;

    /// <summary>In the registry's order, which is that of publication; where guards find two equally bad, the earlier one goes first.</summary>
    public EndpointHealth[] Endpoints { get; private set; } = [];

    /// <summary>Number of different priorities.</summary>
    public int PriorityGroups { get; private set; }

    /// <summary>Number of different pairs of priority and zone; the priority of each.</summary>
    public ImmutableArray<int> ZoneGroups { get; private set; } = [];

    public TotalFailurePolicy OnTotalFailure =>
        Policy.OnTotalFailure ?? (PriorityGroups > 1 ? TotalFailurePolicy.Fallback : TotalFailurePolicy.Spray);

    /// <summary>What everyone gets.</summary>
    public ZoneView Everyone { get; } = new(null, 0);

    /// <summary>What Envoys of a zone that is cut off get instead (4.2).</summary>
    public IReadOnlyList<ZoneView> ZoneViews => _zoneViews;

    /// <summary>Zones whose observers fail every endpoint of another zone, which all others pass (4.2).</summary>
    public List<LinkFault> LinkFaults { get; } = [];

    // Windows of load reports (4.6).
    public Instant NextWindowAt { get; set; } = Instant.Never;
    public long WindowNumber { get; set; }

    /// <summary>Windows in a row without a request; after as many as are kept, nothing is left to judge.</summary>
    public int IdleWindows { get; set; }

    /// <summary>Errors everywhere alike: an incident of the whole upstream, nobody is singled out.</summary>
    public bool HasUniformErrors { get; set; }
    public bool WasUniform { get; set; }

    // What other upstreams' guards ask (G6).
    public int KnownEndpoints { get; set; }
    public int PassingEndpoints { get; set; }
    public int RecentlyCondemned { get; set; }
    public bool OthersPassed { get; set; } = true;

    // When to look again.
    /// <summary>The last evaluation of the evidence.</summary>
    public Instant EvaluatedAt { get; set; } = Instant.Never;

    /// <summary>The next moment at which time alone changes an answer, but for evidence that expires.</summary>
    public Instant TimerAt { get; set; } = Instant.Never;

    /// <summary>The next moment at which an observer's contradiction begins to count.</summary>
    public Instant ContradictionAt { get; set; } = Instant.Forever;

    /// <summary>The next moment at which evidence expires, unless it is renewed before.</summary>
    public Instant ExpiryAt { get; set; } = Instant.Never;

    /// <summary>Is being evaluated now.</summary>
    public bool IsActive { get; set; }

    /// <summary>The evaluation changed something that its own earlier steps read: it is looked at again next time.</summary>
    public bool IsUnsettled { get; set; }

    /// <summary>An endpoint is condemned or doubted: load reports can change its verdict at once.</summary>
    public bool IsInQuestion { get; set; }

    public bool HasCondemned { get; set; }

    public EndpointHealth? Find(string endpoint) => Evidence.IndexOf(endpoint) is var index and >= 0 ? Endpoints[index] : null;

    public ZoneView? View(string? zone) => zone is null ? Everyone : _zoneViews.Find(v => v.Zone == zone);

    public ZoneView OpenView(string zone, int zoneIndex)
    {
        var view = Everyone.CopyFor(zone, zoneIndex);
        _zoneViews.Add(view);
        return view;
    }

    public void CloseView(ZoneView view) => _zoneViews.Remove(view);

    /// <summary>4.2: since when the zone of a view is cut off from an endpoint; not set if it is not, or not for long enough.</summary>
    public Instant CutOffSince(ZoneView view, EndpointHealth e, Instant now)
    {
        foreach (var fault in view.Zone is null ? [] : LinkFaults)
        {
            if (fault.From == view.ZoneIndex && fault.To == e.Zone && fault.IsHeld(now))
            {
                return fault.Since;
            }
        }
        return Instant.Never;
    }

    /// <summary>Adds the zones of its endpoints, and those between which it knows of a fault.</summary>
    public void AddZonesTo(HashSet<int> used)
    {
        used.UnionWith(Endpoints.Select(e => e.Zone));
        used.UnionWith(_zoneViews.Select(v => v.ZoneIndex));
        used.UnionWith(LinkFaults.SelectMany<LinkFault, int>(f => [f.From, f.To]));
    }

    /// <summary>Takes the registry's list; those that stay, and where they are, keep their state.</summary>
    public void SetEndpoints(IReadOnlyList<HealthTarget> targets, EvidenceLedger ledger, Instant now)
    {
        var from = new int[targets.Count];
        for (var i = 0; i < from.Length; i++)
        {
            from[i] = Evidence.IndexOf(targets[i].Id);
            if (from[i] >= 0 && Endpoints[from[i]].Target.Address != targets[i].Address)
            {
                from[i] = -1;
            }
        }
        Evidence.SetEndpoints([.. targets.Select(t => t.Id)], from);

        var endpoints = new EndpointHealth[targets.Count];
        for (var i = 0; i < endpoints.Length; i++)
        {
            var endpoint = from[i] >= 0 ? Endpoints[from[i]] : new EndpointHealth(targets[i], Evidence.Endpoints[i], now);
            endpoint.Target = targets[i];
            endpoint.Index = i;
            endpoint.Zone = ledger.Zones.IndexOf(targets[i].Zone);
            endpoints[i] = endpoint;
        }
        Endpoints = endpoints;
        Everyone.Move(from);
        foreach (var view in _zoneViews)
        {
            view.Move(from);
        }
        Group();
    }

    private void Group()
    {
        var priorities = new Dictionary<int, int>();
        var zones = new Dictionary<(int Priority, int Zone), int>();
        var priorityOf = ImmutableArray.CreateBuilder<int>();
        foreach (var e in Endpoints)
        {
            if (!priorities.TryGetValue(e.Target.Priority, out var priority))
            {
                priorities.Add(e.Target.Priority, priority = priorities.Count);
            }
            if (!zones.TryGetValue((priority, e.Zone), out var zone))
            {
                zones.Add((priority, e.Zone), zone = zones.Count);
                priorityOf.Add(priority);
            }
            (e.PriorityGroup, e.ZoneGroup) = (priority, zone);
        }
        PriorityGroups = priorities.Count;
        ZoneGroups = priorityOf.DrainToImmutable();
    }
}

/// <summary>Observers of one zone fail every endpoint of another, which those of all other zones pass.</summary>
/// <param name="From">Index of the observers' zone in the ledger.</param>
/// <param name="To">Index of the endpoints' zone in the ledger.</param>
/// <param name="Since">Since when.</param>
/// <param name="SilentSince">Since when those observers have said nothing of that zone; not set while they do.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct LinkFault(int From, int To, Instant Since, Instant SilentSince)
{
    /// <summary>How long a fault must last before a view of its own is published.</summary>
    public static readonly TimeSpan Hold = TimeSpan.FromSeconds(10);

    public bool IsHeld(Instant now) => now - Since >= Hold;
}

/// <summary>
/// What the guards remember of one view of an upstream, and what is published in it: for everyone, or for the Envoys of one zone. Every guard applies to
/// each view by itself, so that an Envoy whose backends all stand behind a broken link is not left without any.
/// </summary>
internal sealed class ZoneView(string? zone, int zoneIndex)
{
    /// <summary>The zone whose Envoys get this; null is everyone.</summary>
    public string? Zone { get; } = zone;

    /// <summary>Its index in the ledger.</summary>
    public int ZoneIndex { get; } = zoneIndex;

    /// <summary>By the endpoints' index.</summary>
    public ViewEntry[] Entries { get; private set; } = [];

    /// <summary>G5: when endpoints went, of the last ten seconds.</summary>
    public Queue<Instant> Removals { get; private init; } = [];

    /// <summary>G6: frozen since.</summary>
    public Instant FrozenSince { get; set; } = Instant.Never;

    /// <summary>G6: too few of its own were condemned for that; it was for those of all upstreams. Only for words, and not remembered over a restart.</summary>
    public bool IsFrozenWithOthers { get; set; }

    /// <summary>G6: a mass freeze, and those that it held are not all well yet.</summary>
    public bool IsIncident { get; set; }

    /// <summary>A true outage: all condemned, none passing, and confirmed.</summary>
    public bool IsTotalFailure { get; set; }

    /// <summary>4.7: zones that lose locality weight, and the factor.</summary>
    public ImmutableSortedDictionary<string, double> LocalityFactors { get; set; } = ImmutableSortedDictionary<string, double>.Empty;

    /// <summary>What proxies have; default before the first publication.</summary>
    public ImmutableArray<PublishedEndpoint> Published { get; set; }

    public bool IsFrozen => FrozenSince.IsSet;

    /// <summary>A zone's view starts with all that the guards remember of the one for everyone.</summary>
    public ZoneView CopyFor(string zone, int zoneIndex) =>
        new(zone, zoneIndex)
        {
            Entries = [.. Entries],
            Removals = new Queue<Instant>(Removals),
            FrozenSince = FrozenSince,
            IsFrozenWithOthers = IsFrozenWithOthers,
            IsIncident = IsIncident,
            IsTotalFailure = IsTotalFailure,
        };

    /// <summary>The list of endpoints changed.</summary>
    public void Move(ReadOnlySpan<int> from)
    {
        var moved = new ViewEntry[from.Length];
        for (var i = 0; i < moved.Length; i++)
        {
            moved[i] = from[i] >= 0 ? Entries[from[i]] : ViewEntry.None;
        }
        Entries = moved;
    }
}

/// <summary>What the guards remember of one endpoint in one view.</summary>
[StructLayout(LayoutKind.Auto)]
internal struct ViewEntry
{
    /// <summary>Published UNHEALTHY by inference since; not set while it is routable.</summary>
    public Instant RemovedSince;

    /// <summary>G6: thawed, and not out of DOWN since.</summary>
    public bool IsConfirmed;

    /// <summary>G6: removed longer than the mass guard looks back when the freeze began: it stays removed.</summary>
    public bool WasRemovedBefore;

    /// <summary>4.9: the guard that keeps it routable.</summary>
    public HealthGuard Guard;

    /// <summary>The guard of the evaluation before.</summary>
    public HealthGuard GuardBefore;

    /// <summary>4.8: its share of the full weight, as published.</summary>
    public double Factor;

    /// <summary>The operator's order that is published.</summary>
    public OverrideOrder? Order;

    public static ViewEntry None => new() { RemovedSince = Instant.Never, Factor = 1.0 };

    public readonly bool IsRemoved => RemovedSince.IsSet;
}

/// <summary>An endpoint as proxies are told it. One that is left out is not listed.</summary>
/// <param name="Id">The endpoint's id in its upstream.</param>
/// <param name="Status"><c>LbEndpoint.health_status</c>.</param>
/// <param name="Weight">
/// The endpoint's share among those listed: the user's weight while all are at full weight, else a hundred times that and more finely graded. Its sum can
/// exceed 32 bits; only ratios count.
/// </param>
public readonly record struct PublishedEndpoint(string Id, PublishedStatus Status, ulong Weight);
