using ControlPlane.Server.HealthIntake.Probing;
using CsCheck;

namespace ControlPlane.Server.Tests.HealthIntake.Probing;

public sealed class TimerWheelTests
{
    /// <summary>Against the simplest thing that is right: a dictionary.</summary>
    [Fact]
    public void Every_entry_comes_at_its_tick_and_only_then() =>
        Gen.Select(Gen.Int[0, 9], Gen.Int[0, 5000], Gen.Int[0, 400], Gen.Int[0, 3])
            .Array[1, 60]
            .Sample(steps =>
            {
                var wheel = new TimerWheel(0);
                var entries = Enumerable.Range(0, 10).Select(_ => new Entry()).ToArray();
                var expected = new Dictionary<Entry, long>();
                foreach (var (which, delay, advance, action) in steps)
                {
                    if (action == 0)
                    {
                        TimerWheel.Cancel(entries[which]);
                        expected.Remove(entries[which]);
                    }
                    else
                    {
                        wheel.Set(entries[which], wheel.Tick + delay);
                        expected[entries[which]] = wheel.Tick + Math.Max(1, delay);
                    }
                    var due = new List<WheelEntry>();
                    wheel.Advance(wheel.Tick + (advance * (action == 3 ? 20 : 1)), due);
                    Assert.Equal(
                        expected.Where(e => e.Value <= wheel.Tick).Select(e => Array.IndexOf(entries, e.Key)).Order(),
                        due.Select(d => Array.IndexOf(entries, (Entry)d)).Order()
                    );
                    foreach (var entry in due)
                    {
                        expected.Remove((Entry)entry);
                    }
                }
            });

    private sealed class Entry : WheelEntry;
}
