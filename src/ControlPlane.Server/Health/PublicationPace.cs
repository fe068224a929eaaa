namespace ControlPlane.Server.Health;

/// <summary>
/// When the changes of upstreams' verdicts go out (section 4.8 of the health model): a lone one at once; further ones of the same upstream are merged until none came for
/// <see cref="Merge"/>, and none waits longer than <see cref="Longest"/>. What is urgent never waits. Its time is time that passes, from any beginning: a wall clock can be set back.
/// </summary>
internal sealed class PublicationPace
{
    public static readonly TimeSpan Merge = TimeSpan.FromSeconds(0.5);
    public static readonly TimeSpan Longest = TimeSpan.FromSeconds(2);

    private readonly Dictionary<string, TimeSpan> _changedAt = [];
    private readonly Dictionary<string, TimeSpan> _heldSince = [];
    private readonly HashSet<string> _due = [];

    /// <summary>A verdict changed.</summary>
    public void Changed(string upstream, bool isUrgent, TimeSpan now)
    {
        var isLone = !_changedAt.TryGetValue(upstream, out var before) || now - before > Merge;
        _changedAt[upstream] = now;
        if (isUrgent || isLone)
        {
            _due.Add(upstream);
        }
        else
        {
            _heldSince.TryAdd(upstream, now);
        }
    }

    /// <summary>The upstreams whose verdicts are to go out now. Asked at every evaluation, whether something changed or not.</summary>
    public IReadOnlyCollection<string> TakeDue(TimeSpan now)
    {
        foreach (var (upstream, since) in _heldSince)
        {
            if (now - _changedAt[upstream] >= Merge || now - since >= Longest)
            {
                _due.Add(upstream);
            }
        }

        string[] due = [.. _due];
        _due.Clear();
        foreach (var upstream in due)
        {
            _heldSince.Remove(upstream);
        }

        return due;
    }

    /// <summary>The upstream is gone.</summary>
    public void Forget(string upstream)
    {
        _changedAt.Remove(upstream);
        _heldSince.Remove(upstream);
        _due.Remove(upstream);
    }
}
