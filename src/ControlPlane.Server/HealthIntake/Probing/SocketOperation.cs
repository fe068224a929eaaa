using System.Net;
using System.Net.Sockets;
using System.Threading.Tasks.Sources;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>
/// One socket operation at a time, awaitable, with its failure as a value: probes fail all the time, and an exception costs as much as twenty probes. Used again and again.
/// </summary>
internal sealed class SocketOperation() : SocketAsyncEventArgs(true), IValueTaskSource<SocketError>
{
    private ManualResetValueTaskSourceCore<SocketError> _source;

    /// <summary>Connects.</summary>
    public ValueTask<SocketError> ConnectAsync(Socket socket, EndPoint target)
    {
        RemoteEndPoint = target;
        SetBuffer(default);
        _source.Reset();
        try
        {
            return Result(socket.ConnectAsync(this));
        }
        catch (ObjectDisposedException)
        {
            return new(SocketError.OperationAborted);
        }
    }

    /// <summary>Sends all of a buffer.</summary>
    public ValueTask<SocketError> SendAsync(Socket socket, ReadOnlyMemory<byte> buffer)
    {
        // The kernel only reads it; the type does not tell what for a buffer is.
        SetBuffer(System.Runtime.InteropServices.MemoryMarshal.AsMemory(buffer));
        _source.Reset();
        try
        {
            return Result(socket.SendAsync(this));
        }
        catch (ObjectDisposedException)
        {
            return new(SocketError.OperationAborted);
        }
    }

    /// <summary>Receives; how much is in <see cref="SocketAsyncEventArgs.BytesTransferred"/>, 0 at the end.</summary>
    public ValueTask<SocketError> ReceiveAsync(Socket socket, Memory<byte> buffer)
    {
        SetBuffer(buffer);
        _source.Reset();
        try
        {
            return Result(socket.ReceiveAsync(this));
        }
        catch (ObjectDisposedException)
        {
            return new(SocketError.OperationAborted);
        }
    }

    SocketError IValueTaskSource<SocketError>.GetResult(short token) => _source.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource<SocketError>.GetStatus(short token) => _source.GetStatus(token);

    void IValueTaskSource<SocketError>.OnCompleted(
        Action<object?> continuation,
        object? state,
        short token,
        ValueTaskSourceOnCompletedFlags flags
    ) => _source.OnCompleted(continuation, state, token, flags);

    /// <inheritdoc/>
    protected override void OnCompleted(SocketAsyncEventArgs e) => _source.SetResult(SocketError);

    private ValueTask<SocketError> Result(bool isPending) => isPending ? new(this, _source.Version) : new(SocketError);
}
