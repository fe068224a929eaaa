using System.Numerics;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// Who asked for what in one view: a change costs work in proportion to the streams that asked for what changed, whatever the number of streams and
/// resources. Each stream has a slot number, each name a bit per slot: a relation costs a bit and not an object.
/// </summary>
internal sealed class SubscriberIndex
{
    private readonly Lock _lock = new();
    private readonly Stack<int> _free = new();
    private readonly SlotSet[] _everything = [.. ResourceType.All.Select(_ => new SlotSet())];
    private readonly Dictionary<string, SlotSet>[] _named =
    [
        .. ResourceType.All.Select(_ => new Dictionary<string, SlotSet>(StringComparer.Ordinal)),
    ];
    private DiscoveryStream?[] _streams = new DiscoveryStream?[16];
    private int _used;

    /// <summary>Number of streams.</summary>
    public int Count => _used - _free.Count;

    /// <summary>Gives a stream its slot.</summary>
    public int Join(DiscoveryStream stream)
    {
        lock (_lock)
        {
            if (!_free.TryPop(out var slot))
            {
                slot = _used++;
                if (slot == _streams.Length)
                {
                    Array.Resize(ref _streams, slot * 2);
                }
            }

            _streams[slot] = stream;
            return slot;
        }
    }

    /// <summary>Takes a stream out. All that it asked for must have been removed.</summary>
    public void Leave(int slot)
    {
        lock (_lock)
        {
            _streams[slot] = null;
            _free.Push(slot);
        }
    }

    /// <summary>Enters or removes what a stream asks for.</summary>
    /// <param name="slot">The stream.</param>
    /// <param name="type">The type.</param>
    /// <param name="changes">Canonical names, null for everything, each with whether it is asked for.</param>
    public void Update(int slot, ResourceType type, IReadOnlyList<(string? Name, bool Wanted)> changes)
    {
        lock (_lock)
        {
            foreach (var (name, wanted) in changes)
            {
                if (name is null)
                {
                    _everything[type.Index].Set(slot, wanted);
                    continue;
                }

                var names = _named[type.Index];
                if (!names.TryGetValue(name, out var slots))
                {
                    if (!wanted)
                    {
                        continue;
                    }

                    names[name] = slots = new SlotSet();
                }

                slots.Set(slot, wanted);
                if (slots.IsEmpty)
                {
                    names.Remove(name);
                }
            }
        }
    }

    /// <summary>The streams that asked for something that changed, each once.</summary>
    public List<DiscoveryStream> TouchedBy(SnapshotChange change)
    {
        lock (_lock)
        {
            var touched = new SlotSet();
            foreach (var type in ResourceType.All)
            {
                var names = change.Changes[type.Index];
                if (names.IsEmpty)
                {
                    continue;
                }

                touched.UnionWith(_everything[type.Index]);
                foreach (var name in names)
                {
                    if (_named[type.Index].TryGetValue(name, out var slots))
                    {
                        touched.UnionWith(slots);
                    }
                }
            }

            return Select(touched);
        }
    }

    /// <summary>Every stream.</summary>
    public List<DiscoveryStream> All()
    {
        lock (_lock)
        {
            return [.. _streams.Where(stream => stream is not null).Select(stream => stream!)];
        }
    }

    private List<DiscoveryStream> Select(SlotSet slots)
    {
        var streams = new List<DiscoveryStream>(slots.Count);
        foreach (var slot in slots)
        {
            if (_streams[slot] is { } stream)
            {
                streams.Add(stream);
            }
        }

        return streams;
    }

    /// <summary>A set of small numbers, one bit each.</summary>
    private sealed class SlotSet
    {
        private ulong[] _words = [];

        public int Count { get; private set; }

        public bool IsEmpty => Count == 0;

        public void Set(int slot, bool value)
        {
            var word = slot / 64;
            var bit = 1UL << (slot % 64);
            if (word >= _words.Length)
            {
                if (!value)
                {
                    return;
                }

                Array.Resize(ref _words, word + 1);
            }

            var had = (_words[word] & bit) != 0;
            if (had != value)
            {
                _words[word] ^= bit;
                Count += value ? 1 : -1;
            }
        }

        public void UnionWith(SlotSet other)
        {
            if (other._words.Length > _words.Length)
            {
                Array.Resize(ref _words, other._words.Length);
            }

            for (var i = 0; i < other._words.Length; i++)
            {
                var added = other._words[i] & ~_words[i];
                _words[i] |= added;
                Count += BitOperations.PopCount(added);
            }
        }

        public IEnumerator<int> GetEnumerator()
        {
            for (var i = 0; i < _words.Length; i++)
            {
                for (var rest = _words[i]; rest != 0; rest &= rest - 1)
                {
                    yield return (i * 64) + BitOperations.TrailingZeroCount(rest);
                }
            }
        }
    }
}
