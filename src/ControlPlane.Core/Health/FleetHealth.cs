using System.Runtime.InteropServices;

namespace ControlPlane.Core.Health;

/// <summary>What all upstreams share during an evaluation: the moment, the observers, and the counters of the guards that look at the whole fleet.</summary>
internal sealed class FleetHealth(FleetHealthPolicy policy, EvidenceLedger ledger)
{
    private readonly List<(Observer Observer, int Zone, Instant HeardAt)> _existing = [];

    public FleetHealthPolicy Policy { get; } = policy;

    public EvidenceLedger Ledger { get; } = ledger;

    /// <summary>The moment of the evaluation. Never goes back.</summary>
    public Instant Now { get; set; } = Instant.Never;

    /// <summary>Endpoints of all upstreams (G5, G6).</summary>
    public int Endpoints { get; set; }

    /// <summary>G5: when endpoints went, anywhere, of the last ten seconds.</summary>
    public Queue<Instant> Removals { get; } = [];

    /// <summary>G6: endpoints with a trusted verdict, and those that pass; without those that went whole.</summary>
    public int KnownEndpoints { get; set; }
    public int PassingEndpoints { get; set; }

    /// <summary>G6: so many endpoints of so many upstreams were condemned within 30 s that the cause is probably shared.</summary>
    public bool IsMass { get; set; }

    /// <summary>What happened in this evaluation.</summary>
    public List<HealthTransition> Transitions { get; } = [];
    public List<GuardActivation> Guards { get; } = [];

    /// <summary>Scratch space for shares by zone.</summary>
    public ZoneShares Shares { get; } = new();

    /// <summary>4.3: at least two zones or three observers.</summary>
    public bool IsQuorum(int zones, int observers) => zones >= Policy.QuorumZones || observers >= Policy.QuorumObservers;

    /// <summary>
    /// 4.3: the observers that there are for an endpoint: ours, and those that have spoken of it in the last ten minutes; not those in quarantine. Who watches another endpoint
    /// of the upstream, and never this one, is not missed here: one word of a stranger about one endpoint would otherwise keep all the others in service.
    /// </summary>
    public bool IsQuorumOfExisting(UpstreamHealth upstream, EndpointHealth endpoint)
    {
        Shares.Clear();
        var existing = Existing(upstream, endpoint);
        foreach (var (_, zone, _) in existing)
        {
            Shares.Add(zone, 1, 0);
        }
        return IsQuorum(Shares.Count, existing.Count);
    }

    /// <summary>The observers that <see cref="IsQuorumOfExisting"/> counts, where they stand and when each was last heard. The list is good until the next call.</summary>
    public List<(Observer Observer, int Zone, Instant HeardAt)> Existing(UpstreamHealth upstream, EndpointHealth endpoint)
    {
        _existing.Clear();
        foreach (var observer in Ledger.Observers)
        {
            if (observer is { IsOurs: true, IsPresent: true, IsQuarantined: false } && Now - observer.SeenAt <= Observer.ExistsFor)
            {
                _existing.Add((observer, observer.Zone, observer.SeenAt));
            }
        }
        foreach (var witness in upstream.Evidence.HeardFrom)
        {
            if (witness.Observer is { IsOurs: false, IsPresent: true, IsQuarantined: false } && witness.Watches(endpoint, Now))
            {
                _existing.Add((witness.Observer, witness.Zone, witness.At));
            }
        }
        return _existing;
    }

    /// <summary>4.8: whether anybody may ever check an upstream's endpoints.</summary>
    public bool HasObservers(UpstreamHealth upstream)
    {
        foreach (var observer in Ledger.Observers)
        {
            if (observer is { IsOurs: true, IsPresent: true })
            {
                return true;
            }
        }
        return upstream.Evidence.HeardFrom.Count > 0;
    }
}

/// <summary>Shares of PASS by zone, in the order in which the zones were first added. One instance is used again and again.</summary>
internal sealed class ZoneShares
{
    private Entry[] _entries = new Entry[8];

    /// <summary>Number of zones.</summary>
    public int Count { get; private set; }

    public void Clear() => Count = 0;

    public void Add(int zone, double weight, double passed)
    {
        for (var i = 0; i < Count; i++)
        {
            if (_entries[i].Zone == zone)
            {
                _entries[i].Weight += weight;
                _entries[i].Passed += passed;
                return;
            }
        }
        if (Count == _entries.Length)
        {
            Array.Resize(ref _entries, 2 * Count);
        }
        _entries[Count++] = new Entry
        {
            Zone = zone,
            Weight = weight,
            Passed = passed,
        };
    }

    public int ZoneAt(int index) => _entries[index].Zone;

    public double ShareAt(int index) => _entries[index].Passed / _entries[index].Weight;

    /// <summary>4.3: the zone-balanced share of PASS; NaN without any.</summary>
    public double Balanced()
    {
        var sum = 0.0;
        for (var i = 0; i < Count; i++)
        {
            sum += ShareAt(i);
        }
        return Count > 0 ? sum / Count : double.NaN;
    }

    /// <summary>The same without one observer.</summary>
    public double BalancedWithout(int zone, double weight, double passed)
    {
        var sum = 0.0;
        var zones = 0;
        for (var i = 0; i < Count; i++)
        {
            var entry = _entries[i];
            if (entry.Zone == zone)
            {
                entry.Weight -= weight;
                entry.Passed -= passed;
            }
            if (entry.Weight > 0)
            {
                sum += entry.Passed / entry.Weight;
                zones++;
            }
        }
        return zones > 0 ? sum / zones : double.NaN;
    }

    /// <summary>The smallest share of a zone.</summary>
    public double Least()
    {
        var least = 1.0;
        for (var i = 0; i < Count; i++)
        {
            least = Math.Min(least, ShareAt(i));
        }
        return least;
    }

    /// <summary>The smallest share of any other zone; null if there is no other.</summary>
    public double? LeastElsewhere(int zone)
    {
        double? least = null;
        for (var i = 0; i < Count; i++)
        {
            if (_entries[i].Zone != zone)
            {
                least = Math.Min(least ?? 1.0, ShareAt(i));
            }
        }
        return least;
    }

    /// <summary>The share of a zone; null if it is not there.</summary>
    public double? ShareOf(int zone)
    {
        for (var i = 0; i < Count; i++)
        {
            if (_entries[i].Zone == zone)
            {
                return ShareAt(i);
            }
        }
        return null;
    }

    [StructLayout(LayoutKind.Auto)]
    private struct Entry
    {
        public int Zone;
        public double Weight;
        public double Passed;
    }
}
