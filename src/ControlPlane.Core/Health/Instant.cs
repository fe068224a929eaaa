namespace ControlPlane.Core.Health;

/// <summary>
/// A moment as the loops over all endpoints want it: 8 bytes, in units of 100 ns since the year 1 (UTC), with two sentinels that compare and subtract
/// like any other, so that "never" needs no branch of its own.
/// </summary>
/// <param name="Ticks">Units of 100 ns, as in <see cref="DateTimeOffset.UtcTicks"/>.</param>
internal readonly record struct Instant(long Ticks) : IComparable<Instant>
{
    /// <summary>Before every moment, by more than any duration of the model; also "not set".</summary>
    public static readonly Instant Never = new(long.MinValue / 4);

    /// <summary>After every moment.</summary>
    public static readonly Instant Forever = new(long.MaxValue / 4);

    /// <summary>Whether this is a moment, and not one of the sentinels.</summary>
    public bool IsSet => Ticks > Never.Ticks && Ticks < Forever.Ticks;

    /// <summary>The first moment that is later: where a rule says "older than", it changes here, not at the bound itself.</summary>
    public Instant Next => new(Ticks + 1);

    public static Instant Of(DateTimeOffset time) => new(time.UtcTicks);

    public static Instant Of(DateTimeOffset? time) => time is { } set ? Of(set) : Never;

    public static Instant Earlier(Instant a, Instant b) => a < b ? a : b;

    public static Instant Later(Instant a, Instant b) => a > b ? a : b;

    /// <summary>The moment for people; null for the sentinels.</summary>
    public DateTimeOffset? ToTime() => IsSet ? new DateTimeOffset(Ticks, TimeSpan.Zero) : null;

    public int CompareTo(Instant other) => Ticks.CompareTo(other.Ticks);

    public static TimeSpan operator -(Instant a, Instant b) => new(a.Ticks - b.Ticks);

    public static Instant operator -(Instant a, TimeSpan b) => new(a.Ticks - b.Ticks);

    public static Instant operator +(Instant a, TimeSpan b) => new(a.Ticks + b.Ticks);

    public static bool operator <(Instant a, Instant b) => a.Ticks < b.Ticks;

    public static bool operator >(Instant a, Instant b) => a.Ticks > b.Ticks;

    public static bool operator <=(Instant a, Instant b) => a.Ticks <= b.Ticks;

    public static bool operator >=(Instant a, Instant b) => a.Ticks >= b.Ticks;
}
