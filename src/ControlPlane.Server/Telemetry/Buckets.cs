using System.Diagnostics.Metrics;

namespace ControlPlane.Server.Telemetry;

/// <summary>Bounds of the histograms. The SDK's own start at 0, 5 and 10, which is of no use for seconds.</summary>
internal static class Buckets
{
    /// <summary>For what takes from half a millisecond to half a minute, in seconds.</summary>
    public static readonly InstrumentAdvice<double> Seconds = new()
    {
        HistogramBucketBoundaries = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    };

    /// <summary>For messages, in bytes, up to the limit of 32 MiB.</summary>
    public static readonly InstrumentAdvice<long> Bytes = new()
    {
        HistogramBucketBoundaries = [256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 33_554_432],
    };
}
