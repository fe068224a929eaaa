namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>Something that waits in a <see cref="TimerWheel"/>; it waits for one moment at a time.</summary>
internal abstract class WheelEntry
{
    internal WheelEntry? Previous;
    internal WheelEntry? Next;

    /// <summary>The tick for which it waits, or waited last.</summary>
    public long DueTick { get; internal set; }

    internal bool IsWaiting => Previous is not null;
}

/// <summary>
/// Timers by the ten thousand: setting, moving and cancelling one costs a few writes and no memory. A hashed wheel: each slot is a list of those that are due when the hand
/// comes by, in this turn or a later one. Has one owner at a time.
/// </summary>
internal sealed class TimerWheel
{
    private const int SlotCount = 1024;

    // Each list is a ring, so that its ends are no special case.
    private readonly Sentinel[] _slots = new Sentinel[SlotCount];

    /// <summary>Creates a wheel whose hand stands at a tick.</summary>
    public TimerWheel(long tick)
    {
        Tick = tick;
        for (var i = 0; i < SlotCount; i++)
        {
            var sentinel = _slots[i] = new Sentinel();
            sentinel.Previous = sentinel.Next = sentinel;
        }
    }

    /// <summary>The last tick that was looked at.</summary>
    public long Tick { get; private set; }

    /// <summary>Waits for a tick, whatever the entry waited for before. One that is past is the next one.</summary>
    public void Set(WheelEntry entry, long dueTick)
    {
        Cancel(entry);
        entry.DueTick = Math.Max(dueTick, Tick + 1);
        var sentinel = _slots[entry.DueTick % SlotCount];
        entry.Previous = sentinel.Previous;
        entry.Next = sentinel;
        sentinel.Previous!.Next = entry;
        sentinel.Previous = entry;
    }

    /// <summary>Waits no more.</summary>
    public static void Cancel(WheelEntry entry)
    {
        if (entry.Previous is { } previous)
        {
            previous.Next = entry.Next;
            entry.Next!.Previous = previous;
            entry.Previous = entry.Next = null;
        }
    }

    /// <summary>Moves the hand to a tick, and takes out all that are due by then.</summary>
    public void Advance(long tick, List<WheelEntry> due)
    {
        // After a long pause every slot is looked at once.
        var first = Math.Max(Tick + 1, tick - SlotCount + 1);
        for (var at = first; at <= tick; at++)
        {
            var sentinel = _slots[at % SlotCount];
            for (var entry = sentinel.Next!; entry != sentinel; )
            {
                var next = entry.Next!;
                if (entry.DueTick <= tick)
                {
                    Cancel(entry);
                    due.Add(entry);
                }
                entry = next;
            }
        }
        Tick = Math.Max(Tick, tick);
    }

    private sealed class Sentinel : WheelEntry;
}
