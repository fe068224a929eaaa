using System.Net;
using System.Net.Sockets;

namespace ControlPlane.TestKit;

/// <summary>Ports for listeners whose number must be known before they are bound.</summary>
public static class FreePort
{
    // Below the range from which Linux takes ports for outgoing connections: none of those can take the port between the look and the bind.
    private const int First = 20_000;
    private const int Count = 12_000;

    // Test processes run side by side: each begins somewhere else and never hands out a port twice.
    private static int _next = Random.Shared.Next(Count);

    /// <summary>A TCP port of 127.0.0.1 that nothing listens on.</summary>
    public static int Next()
    {
        for (var tried = 0; tried < Count; tried++)
        {
            var port = First + (int)((uint)Interlocked.Increment(ref _next) % Count);
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ExclusiveAddressUse = true };
            try
            {
                socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
                return port;
            }
            catch (SocketException e) when (e.SocketErrorCode is SocketError.AddressAlreadyInUse)
            {
                // Taken: the next one.
            }
        }

        throw new InvalidOperationException($"No port from {First} to {First + Count - 1} is free.");
    }
}
