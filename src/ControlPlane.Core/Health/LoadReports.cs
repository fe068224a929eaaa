using System.Runtime.InteropServices;

namespace ControlPlane.Core.Health;

/// <summary>Requests and how many of them failed.</summary>
/// <param name="Successes">Requests that succeeded.</param>
/// <param name="Errors">Requests that failed.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct RequestCounts(long Successes, long Errors)
{
    public long Total => Successes + Errors;

    /// <summary>Share of the requests that failed; 0 without requests.</summary>
    public double ErrorRate => Total > 0 ? (double)Errors / Total : 0.0;

    public static RequestCounts operator +(RequestCounts a, RequestCounts b) => new(a.Successes + b.Successes, a.Errors + b.Errors);

    public static RequestCounts operator -(RequestCounts a, RequestCounts b) => new(a.Successes - b.Successes, a.Errors - b.Errors);
}

/// <summary>The same in 8 bytes, for the table of Envoys and endpoints; counts beyond 32 bits stay at the largest one.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct PackedCounts(uint Successes, uint Errors)
{
    public long Total => (long)Successes + Errors;

    public static PackedCounts operator +(PackedCounts a, PackedCounts b) =>
        new(Saturate((long)a.Successes + b.Successes), Saturate((long)a.Errors + b.Errors));

    public static implicit operator RequestCounts(PackedCounts counts) => new(counts.Successes, counts.Errors);

    /// <summary>Packs counts that are not negative.</summary>
    public static PackedCounts Of(long successes, long errors) => new(Saturate(successes), Saturate(errors));

    private static uint Saturate(long value) => (uint)Math.Min(value, uint.MaxValue);
}

/// <summary>An Envoy that reports its load to one upstream: its newest report, and the sum of its reports of the open window.</summary>
internal sealed class LoadReporter(string envoy)
{
    private PackedCounts[] _newest = [];
    private PackedCounts[] _window = [];

    public string Envoy { get; } = envoy;

    /// <summary>Index in the ledger's zones.</summary>
    public int Zone { get; private set; }

    public Instant ReceivedAt { get; private set; } = Instant.Never;

    /// <summary>When the requests of the newest report began: receipt less the reported interval.</summary>
    public Instant BegunAt { get; private set; } = Instant.Never;

    /// <summary>Last report that held a request.</summary>
    public Instant BusyAt { get; private set; } = Instant.Never;

    /// <summary>The newest report, over all endpoints.</summary>
    public RequestCounts NewestTotal { get; private set; }

    /// <summary>Whether it reported in the open window.</summary>
    public bool IsInWindow { get; private set; }

    /// <summary>The newest report about an endpoint.</summary>
    public PackedCounts Newest(int endpoint) => endpoint < _newest.Length ? _newest[endpoint] : default;

    /// <summary>The reports of the open window, by endpoint; shorter than the list of endpoints where the last ones are not mentioned.</summary>
    public ReadOnlySpan<PackedCounts> Window => _window;

    /// <summary>A new report begins: the counts follow by <see cref="Add"/>.</summary>
    public void Begin(int zone, Instant now, TimeSpan interval)
    {
        Zone = zone;
        ReceivedAt = now;
        BegunAt = now - interval;
        IsInWindow = true;
        NewestTotal = default;
        Array.Clear(_newest);
    }

    public void Add(int endpoint, int endpoints, PackedCounts counts)
    {
        if (endpoint >= _newest.Length)
        {
            Array.Resize(ref _newest, endpoints);
            Array.Resize(ref _window, endpoints);
        }
        _newest[endpoint] += counts;
        _window[endpoint] += counts;
        NewestTotal += counts;
        BusyAt = ReceivedAt;
    }

    public void CloseWindow()
    {
        IsInWindow = false;
        Array.Clear(_window);
    }

    /// <summary>The list of endpoints changed: moves the counts to the new places.</summary>
    /// <param name="from">For each new place the old one, -1 where the endpoint is new.</param>
    public void Move(ReadOnlySpan<int> from)
    {
        _newest = Moved(_newest, from);
        _window = Moved(_window, from);
        NewestTotal = default;
        foreach (var counts in _newest)
        {
            NewestTotal += counts;
        }
    }

    private static PackedCounts[] Moved(PackedCounts[] counts, ReadOnlySpan<int> from)
    {
        if (counts.Length == 0)
        {
            return counts;
        }
        var moved = new PackedCounts[from.Length];
        for (var i = 0; i < from.Length; i++)
        {
            moved[i] = from[i] >= 0 && from[i] < counts.Length ? counts[from[i]] : default;
        }
        return moved;
    }
}

/// <summary>What one Envoy reported about one endpoint in one window.</summary>
internal readonly record struct EnvoyCounts(LoadReporter Reporter, PackedCounts Counts);

/// <summary>
/// The last windows of one endpoint, kept to judge a thin one on several of them together. Who reported is kept only where the window was thin, so that it
/// is bounded by the number of requests that make a window thick.
/// </summary>
internal sealed class WindowHistory
{
    /// <summary>Windows that may be judged together.</summary>
    public const int Length = 6;

    private readonly Window[] _windows = new Window[Length];

    /// <summary>Keeps a window.</summary>
    /// <param name="number">Number of the window in its upstream, from 1, counting up.</param>
    /// <param name="counts">All requests to the endpoint.</param>
    /// <param name="byEnvoy">Who sent them; empty where the window is thick.</param>
    public void Add(long number, RequestCounts counts, ReadOnlySpan<EnvoyCounts> byEnvoy)
    {
        ref var window = ref _windows[number % Length];
        window.Number = number;
        window.Counts = counts;
        if (byEnvoy.Length > (window.ByEnvoy?.Length ?? 0))
        {
            window.ByEnvoy = new EnvoyCounts[byEnvoy.Length];
        }
        byEnvoy.CopyTo(window.ByEnvoy);
        window.Envoys = byEnvoy.Length;
    }

    /// <summary>The requests of the last windows together.</summary>
    public RequestCounts Sum(long number, int windows)
    {
        var sum = default(RequestCounts);
        foreach (ref readonly var window in _windows.AsSpan())
        {
            sum += window.Number > number - windows ? window.Counts : default;
        }
        return sum;
    }

    /// <summary>The same by Envoy.</summary>
    public void Sum(long number, int windows, Dictionary<LoadReporter, RequestCounts> byEnvoy)
    {
        foreach (ref readonly var window in _windows.AsSpan())
        {
            for (var i = 0; window.Number > number - windows && i < window.Envoys; i++)
            {
                var (reporter, counts) = window.ByEnvoy![i];
                byEnvoy[reporter] = byEnvoy.GetValueOrDefault(reporter) + counts;
            }
        }
    }

    private struct Window
    {
        public long Number;
        public RequestCounts Counts;
        public EnvoyCounts[]? ByEnvoy;
        public int Envoys;
    }
}
