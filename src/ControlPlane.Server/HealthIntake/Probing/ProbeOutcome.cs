using System.Net.Sockets;
using ControlPlane.Core.Health;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>What came of a probe.</summary>
/// <param name="Class">How it failed; <see cref="FailureClass.None"/> if it passed; null if it says nothing of the endpoint, because the fault is this server's own.</param>
/// <param name="Text">What was seen, in a few words.</param>
internal readonly record struct ProbeOutcome(FailureClass? Class, string Text)
{
    private static readonly string[] StatusTexts = new string[1000];

    /// <summary>The connection was made, and nothing more was asked.</summary>
    public static ProbeOutcome Connected { get; } = new(FailureClass.None, "connected");

    public bool Passed => Class == FailureClass.None;

    /// <summary>Says nothing of the endpoint.</summary>
    public static ProbeOutcome OurFault(string text) => new(null, text);

    /// <summary>An HTTP answer.</summary>
    /// <param name="status">Its status, 100 to 999.</param>
    /// <param name="isExpected">Whether it passes.</param>
    public static ProbeOutcome Status(int status, bool isExpected) =>
        new(isExpected ? FailureClass.None : FailureClass.Status, StatusTexts[status] ??= $"HTTP {status}");

    /// <summary>A peer that does not speak what it is spoken to in.</summary>
    public static ProbeOutcome Protocol(string text) => new(FailureClass.Protocol, text);

    /// <summary>A connection that could not be made.</summary>
    /// <param name="error">What the kernel says.</param>
    /// <param name="atOnce">Whether it said so before anything was sent: no network told it, but this machine's own routes.</param>
    public static ProbeOutcome OfConnect(SocketError error, bool atOnce) =>
        error switch
        {
            SocketError.ConnectionRefused => new(FailureClass.Refused, "connection refused"),
            // What this machine has no route to, others may reach.
            SocketError.HostUnreachable
            or SocketError.NetworkUnreachable
            or SocketError.NetworkDown
            or SocketError.AddressFamilyNotSupported when atOnce => new(FailureClass.Unknown, "this server has no route there"),
            SocketError.HostUnreachable or SocketError.HostDown => new(FailureClass.Unreachable, "no route to host"),
            SocketError.NetworkUnreachable or SocketError.NetworkDown => new(FailureClass.Unreachable, "network is unreachable"),
            SocketError.TimedOut => new(FailureClass.ConnectTimeout, "no connection in time"),
            SocketError.ConnectionReset or SocketError.ConnectionAborted => new(FailureClass.Reset, "reset while connecting"),
            // ENOENT: a unix socket that is not there.
            SocketError.AddressNotAvailable or SocketError.NotInitialized when atOnce => new(FailureClass.Refused, "nothing listens there"),
            _ => OurFault($"this server cannot connect: {error}"),
        };

    /// <summary>A connection that broke after it was made.</summary>
    public static ProbeOutcome OfTransfer(SocketError error) =>
        error switch
        {
            SocketError.ConnectionReset or SocketError.ConnectionAborted or SocketError.Shutdown => new(
                FailureClass.Reset,
                "connection reset"
            ),
            SocketError.TimedOut => new(FailureClass.Timeout, "no answer in time"),
            SocketError.HostUnreachable or SocketError.NetworkUnreachable => new(FailureClass.Unreachable, "no route to host"),
            _ => OurFault($"this server cannot go on: {error}"),
        };
}
