using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests;

/// <summary>A clock that stands still between steps, whose wall clock can be set, back and ahead, while the time that passes stays the same: as an administrator or NTP does.</summary>
internal sealed class SettableClock(DateTimeOffset start) : FakeTimeProvider(start)
{
    private long _offset;

    /// <summary>By how much the wall clock is ahead of the time that has passed since the start.</summary>
    public TimeSpan Offset => TimeSpan.FromTicks(Volatile.Read(ref _offset));

    public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + Offset;

    /// <summary>That of the base follows the wall clock.</summary>
    public override long GetTimestamp() => base.GetUtcNow().Ticks;

    /// <summary>Sets the wall clock.</summary>
    public void Jump(TimeSpan by) => Interlocked.Add(ref _offset, by.Ticks);
}
