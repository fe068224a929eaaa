namespace ControlPlane.Server.HealthIntake.LoadReporting;

/// <summary>Limits of the load reporting service.</summary>
public sealed class LoadReportingOptions
{
    /// <summary>Streams at one time; one more gets RESOURCE_EXHAUSTED. From 1.</summary>
    public int MaxStreams { get; set; } = 50_000;

    /// <summary>
    /// The largest report that is taken, in bytes: a node of 61 KB and some 60 bytes for each endpoint that had requests. A larger one ends the stream with
    /// RESOURCE_EXHAUSTED.
    /// </summary>
    public int MaxReportBytes { get; set; } = 16 * 1024 * 1024;

    /// <summary>A stream that has not said within this time who it is, is closed.</summary>
    public TimeSpan FirstRequestTimeout { get; set; } = TimeSpan.FromSeconds(30);
}
