using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>What a read or a write gave.</summary>
/// <param name="Count">Bytes; 0 of a read is the end.</param>
/// <param name="Failure">Why it failed; null if it did not.</param>
internal readonly record struct Transfer(int Count, ProbeOutcome? Failure);

/// <summary>A connection to an endpoint, plaintext or TLS. Its failures are values, and told apart by what was being done when they came.</summary>
internal sealed class ProbeConnection : IDisposable
{
    private readonly Socket _socket;
    private volatile SslStream? _tls;
    private TlsHandshake? _handshake;
    private volatile bool _isOverdue;
    private bool _isConnected;
    private bool _hasRead;

    private ProbeConnection(Socket socket)
    {
        _socket = socket;
    }

    /// <summary>Whether it was kept from an earlier probe: the peer may have closed it meanwhile, which says nothing of the peer.</summary>
    public bool IsReused { get; set; }

    /// <summary>What rides on the connection from probe to probe, of protocols that have such a state.</summary>
    public IDisposable? Rider { get; set; }

    /// <summary>The protocol that the peer chose by ALPN; empty if none.</summary>
    public string AlpnChoice => _tls is { } tls ? tls.NegotiatedApplicationProtocol.ToString() : "";

    /// <summary>When the peer's certificate ends; null without TLS.</summary>
    public DateTime? CertificateEnds { get; private set; }

    /// <summary>Makes a connection that is not connected yet.</summary>
    /// <exception cref="SocketException">This machine gives no socket.</exception>
    public static ProbeConnection To(EndPoint target) =>
        new(
            target is UnixSocketEndPoint
                ? new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
                : new Socket(target.AddressFamily, SocketType.Stream, ProtocolType.Tcp)
        );

    /// <summary>Connects, and shakes hands where TLS is wanted.</summary>
    /// <param name="target">Where to.</param>
    /// <param name="tls">How to shake hands; null for plaintext.</param>
    /// <param name="isTalkative">Whether more than one piece will be sent.</param>
    /// <param name="operation">For the socket.</param>
    /// <param name="time">The clock that certificates are judged by.</param>
    /// <returns>Why not; null if it is done.</returns>
    public async ValueTask<ProbeOutcome?> OpenAsync(
        EndPoint target,
        ProbeTls? tls,
        bool isTalkative,
        SocketOperation operation,
        TimeProvider time
    )
    {
        var connecting = operation.ConnectAsync(
            _socket,
            target is UnixSocketEndPoint unix ? new UnixDomainSocketEndPoint(unix.Path) : target
        );
        var atOnce = connecting.IsCompleted;
        var error = await connecting;
        if (error != SocketError.Success)
        {
            return Overdue() ?? ProbeOutcome.OfConnect(error, atOnce);
        }
        _isConnected = true;
        if (target is IPEndPoint && (tls is not null || isTalkative))
        {
            // Who writes several times must not wait for acknowledgements in between.
            _socket.NoDelay = true;
        }
        return tls is null ? null : await ShakeHandsAsync(tls, time);
    }

    /// <summary>Sends all of a buffer.</summary>
    public async ValueTask<Transfer> SendAsync(ReadOnlyMemory<byte> buffer, SocketOperation operation)
    {
        if (_tls is { } tls)
        {
            try
            {
                await tls.WriteAsync(buffer);
                return new(buffer.Length, null);
            }
            catch (Exception e) when (IsBroken(e))
            {
                return new(0, Overdue() ?? FaultOf(e));
            }
        }
        var error = await operation.SendAsync(_socket, buffer);
        return error == SocketError.Success ? new(buffer.Length, null) : new(0, Overdue() ?? ProbeOutcome.OfTransfer(error));
    }

    /// <summary>Receives what is there, or waits for it.</summary>
    public async ValueTask<Transfer> ReceiveAsync(Memory<byte> buffer, SocketOperation operation)
    {
        if (_tls is { } tls)
        {
            try
            {
                var count = await tls.ReadAsync(buffer);
                return count == 0 && !_hasRead && _handshake is { IsCertificateMissing: true }
                    ? new(0, TlsFault.CertificateMissing)
                    : Read(count);
            }
            catch (Exception e) when (IsBroken(e))
            {
                return new(0, Overdue() ?? FaultOf(e));
            }
        }
        var error = await operation.ReceiveAsync(_socket, buffer);
        return error == SocketError.Success ? new(operation.BytesTransferred, null) : new(0, Overdue() ?? ProbeOutcome.OfTransfer(error));
    }

    private Transfer Read(int count)
    {
        _hasRead = true;
        return new(count, null);
    }

    /// <summary>The time is over: whatever is being done ends with a failure that says so.</summary>
    public void Abort()
    {
        _isOverdue = true;
        _socket.Dispose();
    }

    /// <summary>The failure of a probe whose time is over; null while it is not.</summary>
    public ProbeOutcome? Overdue() =>
        !_isOverdue ? null
        : !_isConnected ? new(FailureClass.ConnectTimeout, "no connection in time")
        : _tls is { IsAuthenticated: false } ? new(FailureClass.TlsTimeout, "no TLS handshake in time")
        : new ProbeOutcome(FailureClass.Timeout, "no answer in time");

    /// <summary>The bytes of the connection for a library that speaks on it; it does not own the connection.</summary>
    public Stream AsStream() => _tls ?? (Stream)new NetworkStream(_socket, ownsSocket: false);

    /// <inheritdoc/>
    public void Dispose()
    {
        Rider?.Dispose();
        _tls?.Dispose();
        _socket.Dispose();
    }

    /// <summary>What the streams of a connection throw when it breaks or is aborted.</summary>
    public static bool IsBroken(Exception e) =>
        e is IOException or SocketException or ObjectDisposedException or System.Security.Authentication.AuthenticationException;

    /// <summary>What broke a TLS connection. In TLS 1.3 the peer judges our certificate when the handshake is over for us already.</summary>
    private ProbeOutcome FaultOf(Exception e)
    {
        var fault = TlsFault.Of(e);
        return fault.Class == FailureClass.Reset && _handshake is { IsCertificateMissing: true } ? TlsFault.CertificateMissing : fault;
    }

    private async ValueTask<ProbeOutcome?> ShakeHandsAsync(ProbeTls wanted, TimeProvider time)
    {
        var handshake = _handshake = new TlsHandshake(wanted, time);
        var tls = new SslStream(new NetworkStream(_socket, ownsSocket: false), leaveInnerStreamOpen: false);
        _tls = tls;
        try
        {
            await tls.AuthenticateAsClientAsync(handshake.Options);
            CertificateEnds = handshake.CertificateEnds;
            return null;
        }
        catch (Exception e) when (IsBroken(e))
        {
            return Overdue() ?? handshake.Refusal ?? FaultOf(e);
        }
    }
}
