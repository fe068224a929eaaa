namespace ControlPlane.Server.Discovery;

/// <summary>What the reader of a stream's messages must know of that stream: a marshaller is shared by all streams and is given only bytes.</summary>
internal sealed class StreamReading
{
    private static readonly AsyncLocal<StreamReading?> Flow = new();

    private StreamReading() { }

    /// <summary>That of the flow of execution; null outside of a stream.</summary>
    public static StreamReading? Current => Flow.Value;

    /// <summary>The node is known: later ones are the same (T-02) and are skipped.</summary>
    public bool NodeIsKnown { get; set; }

    /// <summary>Tells the marshaller, for what the caller awaits from now on, whose messages it reads.</summary>
    public static StreamReading Begin() => Flow.Value = new StreamReading();
}
