namespace ControlPlane.Server.Discovery;

/// <summary>Limits and times of the discovery services.</summary>
public sealed class DiscoveryOptions
{
    /// <summary><c>control_plane.identifier</c> of every response (V-13): which server this is. Envoy shows it as a statistic.</summary>
    public string Identifier { get; set; } = "controlplane/" + Environment.MachineName;

    /// <summary>The largest request that is taken, in bytes. A node message weighs 61 KB, and each name of a subscription its length (T-11).</summary>
    public int MaxRequestBytes { get; set; } = 32 * 1024 * 1024;

    /// <summary>Streams at one time; one more gets RESOURCE_EXHAUSTED. From 1.</summary>
    public int MaxStreams { get; set; } = 50_000;

    /// <summary>Names that one stream, or one node that polls, may ask for at one time, over all types; one more gets RESOURCE_EXHAUSTED. From 1.</summary>
    public int MaxNames { get; set; } = 100_000;

    /// <summary>Length of all these names together, in characters. From 1.</summary>
    public int MaxNamesLength { get; set; } = 16 * 1024 * 1024;

    /// <summary>Streams that wait for their first response at one time; more of them wait up to <see cref="MaxConnectWait"/>. From 1.</summary>
    public int MaxConnecting { get; set; } = 2_000;

    /// <summary>How long a new stream waits for a place among <see cref="MaxConnecting"/> before it gets RESOURCE_EXHAUSTED.</summary>
    public TimeSpan MaxConnectWait { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>A stream that has sent no request for this long after it opened is closed.</summary>
    public TimeSpan FirstRequestTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// A stream is ended at an age drawn from the range of half of this to this, so that a fleet spreads over the servers again; clients reconnect
    /// at once. Zero for never.
    /// </summary>
    public TimeSpan MaxStreamAge { get; set; } = TimeSpan.FromHours(12);

    /// <summary>On shutdown the streams are ended one after another over this time, so that they do not all reconnect at once.</summary>
    public TimeSpan ShutdownSpread { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>The next push comes this much later per stream that the last one touched: changes that come faster are merged.</summary>
    public TimeSpan PacePerStream { get; set; } = TimeSpan.FromMicroseconds(50);

    /// <summary>Upper bound of the pause between pushes.</summary>
    public TimeSpan MaxPace { get; set; } = TimeSpan.FromMilliseconds(50);

    /// <summary>How long a node that has no stream any more is remembered.</summary>
    public TimeSpan RememberNodes { get; set; } = TimeSpan.FromHours(1);
}
