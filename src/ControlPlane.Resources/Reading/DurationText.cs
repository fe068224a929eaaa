using System.Buffers;
using System.Globalization;
using System.Text;

namespace ControlPlane.Resources.Reading;

/// <summary>Durations as people write them: <c>250ms</c>, <c>1.5s</c>, <c>1m30s</c>, <c>1h</c>; resolution 100 ns.</summary>
public static class DurationText
{
    private static readonly SearchValues<char> Digits = SearchValues.Create("0123456789.");

    private static readonly (string Unit, long Ticks)[] Units =
    [
        ("h", TimeSpan.TicksPerHour),
        ("m", TimeSpan.TicksPerMinute),
        ("s", TimeSpan.TicksPerSecond),
        ("ms", TimeSpan.TicksPerMillisecond),
        ("us", TimeSpan.TicksPerMicrosecond),
    ];

    /// <summary>The one form of a duration: whole numbers of units, largest unit first, for example <c>1m30s</c>; <c>0s</c> for none.</summary>
    public static string Format(TimeSpan value)
    {
        if (value == TimeSpan.Zero)
        {
            return "0s";
        }

        var text = new StringBuilder(value < TimeSpan.Zero ? "-" : "");
        var rest = (ulong)Math.Abs((decimal)value.Ticks);
        foreach (var (unit, ticks) in Units)
        {
            var count = rest / (ulong)ticks;
            rest %= (ulong)ticks;
            if (count > 0)
            {
                text.Append(CultureInfo.InvariantCulture, $"{count}{unit}");
            }
        }

        if (rest > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"{rest * 100}ns");
        }

        return text.ToString();
    }

    /// <summary>Reads one or more numbers, each with its unit (<c>h</c>, <c>m</c>, <c>s</c>, <c>ms</c>, <c>us</c>, <c>ns</c>), which are added up.</summary>
    public static bool TryParse(string text, out TimeSpan value)
    {
        value = TimeSpan.Zero;
        var rest = text.AsSpan();
        var negative = rest is ['-', ..];
        rest = negative ? rest[1..] : rest;
        if (rest.IsEmpty || rest.Length > 64)
        {
            return false;
        }

        var ticks = 0m;
        while (!rest.IsEmpty)
        {
            var digits = rest.IndexOfAnyExcept(Digits);
            if (
                digits <= 0
                || !decimal.TryParse(rest[..digits], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number)
                || number > long.MaxValue
            )
            {
                return false;
            }

            rest = rest[digits..];
            var letters = rest.IndexOfAny(Digits) is var next and >= 0 ? next : rest.Length;
            decimal unit = rest[..letters] switch
            {
                "h" => TimeSpan.TicksPerHour,
                "m" => TimeSpan.TicksPerMinute,
                "s" => TimeSpan.TicksPerSecond,
                "ms" => TimeSpan.TicksPerMillisecond,
                "us" => TimeSpan.TicksPerMicrosecond,
                "ns" => 0.01m,
                _ => 0,
            };
            ticks += number * unit;
            if (unit == 0 || ticks > long.MaxValue || decimal.Truncate(ticks) != ticks)
            {
                return false;
            }

            rest = rest[letters..];
        }

        value = new TimeSpan((long)(negative ? -ticks : ticks));
        return true;
    }
}
