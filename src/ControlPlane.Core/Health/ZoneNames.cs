namespace ControlPlane.Core.Health;

/// <summary>
/// The zones that are told apart, as small numbers; number 0 is the unnamed one. Names come from outside, so they are bounded, in all and for each author who
/// makes them up: who is over a bound counts as standing in the unnamed zone. A name in which nothing stands any more makes room.
/// </summary>
internal sealed class ZoneNames
{
    private readonly Dictionary<string, int> _indexes = new() { [""] = 0 };
    private readonly List<(string? Name, string? Author)> _zones = [("", null)];
    private readonly Dictionary<string, int> _madeUpBy = [];
    private readonly Stack<int> _free = [];

    /// <summary>One more than the highest number in use.</summary>
    public int Count => _zones.Count;

    /// <summary>It is worth looking for names that nobody needs.</summary>
    public bool IsCrowded => _indexes.Count > EvidenceLedger.MaxZones / 2;

    public string this[int index] => _zones[index].Name!;

    /// <summary>The number of a zone.</summary>
    /// <param name="zone">Its name.</param>
    /// <param name="author">Who says that it stands there; null for zones of the registry's endpoints and of our own probers.</param>
    public int IndexOf(string zone, string? author = null)
    {
        if (_indexes.TryGetValue(zone, out var index))
        {
            return index;
        }
        if (_indexes.Count >= EvidenceLedger.MaxZones || (author is not null && !MayName(author)))
        {
            return 0;
        }
        if (_free.TryPop(out index))
        {
            _zones[index] = (zone, author);
        }
        else
        {
            index = _zones.Count;
            _zones.Add((zone, author));
        }
        return _indexes[zone] = index;
    }

    /// <summary>Frees the names of all zones but these.</summary>
    public void KeepOnly(IReadOnlySet<int> used)
    {
        for (var i = 1; i < _zones.Count; i++)
        {
            if (_zones[i] is ({ } name, var author) && !used.Contains(i))
            {
                _indexes.Remove(name);
                _zones[i] = default;
                _free.Push(i);
                if (author is not null && --_madeUpBy[author] == 0)
                {
                    _madeUpBy.Remove(author);
                }
            }
        }
    }

    private bool MayName(string author)
    {
        var before = _madeUpBy.GetValueOrDefault(author);
        if (before >= EvidenceLedger.MaxZonesOfAuthor)
        {
            return false;
        }
        _madeUpBy[author] = before + 1;
        return true;
    }
}
