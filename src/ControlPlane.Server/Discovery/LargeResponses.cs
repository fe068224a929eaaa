namespace ControlPlane.Server.Discovery;

/// <summary>
/// Lets streams take turns with large responses. A response is written whole into its connection's buffers before the client reads any of it, and the buffers
/// of a thousand clients that connect at once would stay with the process. Who does not read its response in time loses its turn, not its stream: nobody
/// waits for a slow reader.
/// </summary>
internal sealed class LargeResponses(TimeProvider time) : IDisposable
{
    /// <summary>Smaller ones fit into what a connection keeps for itself.</summary>
    private const int SmallestSize = 64 * 1024;

    private const int Turns = 32;
    private static readonly TimeSpan LongestTurn = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(2);

    private readonly SemaphoreSlim _turns = new(Turns);

    /// <summary>Writes a response when it is its turn, and completes when it is written.</summary>
    public Task WriteAsync(int size, Func<Task> write, CancellationToken cancellationToken) =>
        size < SmallestSize ? write() : WriteLargeAsync(write, cancellationToken);

    /// <inheritdoc/>
    public void Dispose() => _turns.Dispose();

    private async Task WriteLargeAsync(Func<Task> write, CancellationToken cancellationToken)
    {
        var hasTurn = await _turns.WaitAsync(LongestWait, cancellationToken);
        Task writing;
        try
        {
            writing = write();
            await writing.WaitAsync(LongestTurn, time, CancellationToken.None).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        finally
        {
            if (hasTurn)
            {
                _turns.Release();
            }
        }

        await writing;
    }
}
