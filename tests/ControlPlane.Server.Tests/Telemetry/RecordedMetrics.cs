using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Telemetry;

/// <summary>A meter factory whose measurements are kept for the test.</summary>
internal sealed class RecordedMetrics : IDisposable
{
    private readonly ServiceProvider _services = new ServiceCollection().AddMetrics().BuildServiceProvider();
    private readonly MeterListener _listener = new();
    private readonly ConcurrentQueue<Recorded> _recorded = [];

    public RecordedMetrics()
    {
        Factory = _services.GetRequiredService<IMeterFactory>();
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            // Tests run side by side: only what came from this factory.
            if (ReferenceEquals(instrument.Meter.Scope, Factory))
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Add(instrument, value, tags));
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Add(instrument, value, tags));
        _listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Add(instrument, value, tags));
        _listener.Start();
    }

    public IMeterFactory Factory { get; }

    /// <summary>The measurements of one instrument, oldest first, as <c>value {tag=value,…}</c>.</summary>
    public IReadOnlyList<string> Of(string instrument) => [.. _recorded.Where(r => r.Instrument == instrument).Select(r => r.Text)];

    /// <summary>Reads the gauges now, and gives what one of them said.</summary>
    public IReadOnlyList<string> Read(string gauge)
    {
        _recorded.Clear();
        _listener.RecordObservableInstruments();
        return Of(gauge);
    }

    public void Dispose()
    {
        _listener.Dispose();
        _services.Dispose();
    }

    private void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var text = FormattableString.Invariant($"{value} {{{string.Join(',', tags.ToArray().Select(t => $"{t.Key}={t.Value}"))}}}");
        _recorded.Enqueue(new Recorded(instrument.Name, text));
    }

    private sealed record Recorded(string Instrument, string Text);
}
