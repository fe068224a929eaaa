namespace ControlPlane.TestKit;

/// <summary>
/// Waits for a state that nothing signals, by asking again: the one place where tests may poll, for what goes on in another process.
/// Whatever can be awaited is awaited instead.
/// </summary>
public static class Eventually
{
    /// <summary>Time between two looks. Short beside the second within which a change must reach a proxy.</summary>
    public static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(20);

    /// <summary>How long to wait where the caller does not say: long enough for a loaded machine, so that only a real fault is reported.</summary>
    public static readonly TimeSpan DefaultWithin = TimeSpan.FromSeconds(20);

    /// <summary>Looks until a value is accepted, and returns it.</summary>
    /// <param name="what">What is waited for, to complete "Waited 20 s for …".</param>
    /// <param name="look">Gets the value now. A failed HTTP request counts as a value that is not accepted: the process may still be starting.</param>
    /// <param name="accept">Whether the value is the one waited for.</param>
    /// <param name="within">Longest wait; <see cref="DefaultWithin"/> if not given.</param>
    /// <exception cref="TimeoutException">No value was accepted in time; the message holds the last one.</exception>
    public static async Task<T> Get<T>(
        string what,
        Func<CancellationToken, Task<T>> look,
        Func<T, bool> accept,
        TimeSpan? within = null,
        CancellationToken cancellationToken = default
    )
    {
        var limit = within ?? DefaultWithin;
        using var timeout = new CancellationTokenSource(limit, TimeProvider.System);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        object? last = null;
        try
        {
            while (true)
            {
                try
                {
                    var value = await look(either.Token);
                    if (accept(value))
                    {
                        return value;
                    }

                    last = value;
                }
                catch (HttpRequestException e)
                {
                    last = e.Message;
                }

                await Task.Delay(Pause, TimeProvider.System, either.Token);
            }
        }
        catch (OperationCanceledException e) when (timeout.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException($"Waited {limit.TotalSeconds:0.#} s for {what}. Last seen: {last ?? "nothing"}", e);
        }
    }

    /// <summary>Looks until something is so.</summary>
    /// <exception cref="TimeoutException">It was not so in time.</exception>
    public static Task True(
        string what,
        Func<CancellationToken, Task<bool>> look,
        TimeSpan? within = null,
        CancellationToken cancellationToken = default
    ) => Get(what, look, static so => so, within, cancellationToken);
}
