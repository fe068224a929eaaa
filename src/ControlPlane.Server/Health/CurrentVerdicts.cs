using System.Collections.Immutable;
using System.Threading.Channels;
using ControlPlane.Core.Compilation;

namespace ControlPlane.Server.Health;

/// <summary>
/// The verdicts in force: written by whoever decides, read by compilation. What changed is remembered until the publisher takes it, as names alone, so that a publisher that is
/// busy costs nothing and never publishes what is no longer so.
/// </summary>
internal sealed class CurrentVerdicts
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _zoneUses = [];
    private readonly Channel<bool> _signal = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite }
    );
    private ImmutableDictionary<string, UpstreamVerdict> _verdicts = ImmutableDictionary<string, UpstreamVerdict>.Empty;
    private ImmutableHashSet<string> _zones = [];
    private HashSet<string> _changed = [];

    /// <summary>The zones whose proxies get something else of some upstream than everyone. The same instance as long as nothing changes.</summary>
    public ImmutableHashSet<string> Zones => Volatile.Read(ref _zones);

    /// <summary>Holds a token while something is to be taken.</summary>
    public ChannelReader<bool> Changed => _signal.Reader;

    /// <summary>The verdict on an upstream; null before there is one.</summary>
    public UpstreamVerdict? Find(string upstream) => Volatile.Read(ref _verdicts).GetValueOrDefault(upstream);

    /// <summary>Puts verdicts in force.</summary>
    /// <param name="verdicts">By upstream; null takes the verdict away.</param>
    public void Put(IReadOnlyCollection<KeyValuePair<string, UpstreamVerdict?>> verdicts)
    {
        if (verdicts.Count == 0)
        {
            return;
        }

        lock (_lock)
        {
            var all = _verdicts.ToBuilder();
            foreach (var (upstream, verdict) in verdicts)
            {
                CountZones(all.GetValueOrDefault(upstream), -1);
                CountZones(verdict, +1);
                if (verdict is null)
                {
                    all.Remove(upstream);
                }
                else
                {
                    all[upstream] = verdict;
                }

                _changed.Add(upstream);
            }

            Volatile.Write(ref _verdicts, all.ToImmutable());
            if (!_zones.SetEquals(_zoneUses.Keys))
            {
                Volatile.Write(ref _zones, [.. _zoneUses.Keys]);
            }
        }

        _signal.Writer.TryWrite(true);
    }

    /// <summary>Whether something is to be taken.</summary>
    public bool HasChanged
    {
        get
        {
            lock (_lock)
            {
                return _changed.Count > 0;
            }
        }
    }

    /// <summary>The upstreams whose verdict changed since this was asked last.</summary>
    public IReadOnlySet<string> TakeChanged()
    {
        lock (_lock)
        {
            var taken = _changed;
            _changed = [];
            return taken;
        }
    }

    private void CountZones(UpstreamVerdict? verdict, int by)
    {
        foreach (var zone in verdict?.Zones.Keys ?? [])
        {
            var uses = _zoneUses.GetValueOrDefault(zone) + by;
            if (uses == 0)
            {
                _zoneUses.Remove(zone);
            }
            else
            {
                _zoneUses[zone] = uses;
            }
        }
    }
}
