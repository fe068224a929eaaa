using System.Net;
using System.Net.Sockets;

namespace ControlPlane.TestKit;

/// <summary>A TCP server on loopback whose every connection is served by a script: for peers that a real server would never be.</summary>
public sealed class RawBackend : IAsyncDisposable
{
    private readonly Socket _listener;
    private readonly Func<NetworkStream, CancellationToken, Task> _serve;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _accepting;
    private int _connections;

    private RawBackend(Socket listener, Func<NetworkStream, CancellationToken, Task> serve)
    {
        _listener = listener;
        _serve = serve;
        _accepting = AcceptAsync();
    }

    /// <summary>Its port, of 127.0.0.1.</summary>
    public int Port => ((IPEndPoint)_listener.LocalEndPoint!).Port;

    /// <summary>Connections that were accepted.</summary>
    public int Connections => Volatile.Read(ref _connections);

    /// <summary>Starts a server.</summary>
    /// <param name="serve">Serves one connection, which is closed when it returns; the token ends with the server.</param>
    /// <param name="endPoint">Where it listens; null is a free port of 127.0.0.1.</param>
    public static RawBackend Start(Func<NetworkStream, CancellationToken, Task> serve, EndPoint? endPoint = null)
    {
        endPoint ??= new IPEndPoint(IPAddress.Loopback, 0);
        var isUnix = endPoint is UnixDomainSocketEndPoint;
        var listener = new Socket(endPoint.AddressFamily, SocketType.Stream, isUnix ? ProtocolType.Unspecified : ProtocolType.Tcp);
        listener.Bind(endPoint);
        listener.Listen(128);
        return new RawBackend(listener, serve);
    }

    /// <summary>Starts a server that reads a request's head and answers with bytes.</summary>
    public static RawBackend Answering(string answer) =>
        Start(
            async (stream, cancellationToken) =>
            {
                await ReadHeadAsync(stream, cancellationToken);
                await stream.WriteAsync(System.Text.Encoding.Latin1.GetBytes(answer), cancellationToken);
                // A connection that is closed with bytes unread is reset, and the answer can be lost with it.
                stream.Socket.Shutdown(SocketShutdown.Send);
                var rest = new byte[1024];
                while (await stream.ReadAsync(rest, cancellationToken) > 0) { }
            }
        );

    /// <summary>Reads up to the empty line that ends a request's head.</summary>
    /// <returns>The head; empty if the connection ended before.</returns>
    public static async Task<string> ReadHeadAsync(Stream stream, CancellationToken cancellationToken)
    {
        var head = new List<byte>();
        var one = new byte[1];
        while (await stream.ReadAsync(one, cancellationToken) == 1)
        {
            head.Add(one[0]);
            if (head is [.., (byte)'\r', (byte)'\n', (byte)'\r', (byte)'\n'])
            {
                return System.Text.Encoding.Latin1.GetString([.. head]);
            }
        }
        return "";
    }

    /// <summary>Stops listening and closes its connections.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Dispose();
        await _accepting;
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        var serving = new List<Task>();
        try
        {
            while (true)
            {
                var socket = await _listener.AcceptAsync(_stop.Token);
                Interlocked.Increment(ref _connections);
                serving.Add(ServeAsync(socket));
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // Stopped.
        }
        await Task.WhenAll(serving);
    }

    private async Task ServeAsync(Socket socket)
    {
        await using var stream = new NetworkStream(socket, ownsSocket: true);
        try
        {
            await _serve(stream, _stop.Token);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or SocketException)
        {
            // The other side went, or the server stops.
        }
    }
}
