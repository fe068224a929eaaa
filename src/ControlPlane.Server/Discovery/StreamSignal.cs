using System.Threading.Tasks.Sources;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// Wakes the one loop that waits for it. Signals that come while it does not wait are remembered as one. Allocates nothing.
/// </summary>
internal sealed class StreamSignal : IValueTaskSource
{
    private const int Idle = 0;
    private const int Waiting = 1;
    private const int Signalled = 2;

    private ManualResetValueTaskSourceCore<bool> _source;
    private int _state;

    /// <summary>Wakes the loop.</summary>
    /// <param name="inline">Runs the loop on this very thread: for a caller that has nothing else to do.</param>
    public void Set(bool inline = false)
    {
        if (Interlocked.Exchange(ref _state, Signalled) == Waiting)
        {
            _source.RunContinuationsAsynchronously = !inline;
            _source.SetResult(true);
        }
    }

    /// <summary>Completes with the next signal, or at once if there was one since the last wait.</summary>
    public ValueTask WaitAsync()
    {
        _source.Reset();
        if (Interlocked.CompareExchange(ref _state, Waiting, Idle) == Signalled)
        {
            Volatile.Write(ref _state, Idle);
            return ValueTask.CompletedTask;
        }

        return new ValueTask(this, _source.Version);
    }

    void IValueTaskSource.GetResult(short token)
    {
        _source.GetResult(token);
        Volatile.Write(ref _state, Idle);
    }

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _source.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _source.OnCompleted(continuation, state, token, flags);
}
