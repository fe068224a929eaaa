using System.Globalization;
using System.Text;

namespace ControlPlane.Server.Admin;

/// <summary>An answer that goes on: server-sent events to one client.</summary>
internal sealed class ServerSentEvents(HttpContext http, TimeProvider time)
{
    /// <summary>A client that takes no event for so long does not read.</summary>
    public static readonly TimeSpan WriteTimeout = TimeSpan.FromSeconds(30);

    /// <summary>Whether the client took no event in time.</summary>
    public bool IsStalled { get; private set; }

    /// <summary>Where a client wants to go on: after the last event that it had, or after one that it names.</summary>
    /// <param name="http">The request.</param>
    /// <param name="since">The parameter that names one; a browser that reconnects names the other by itself.</param>
    /// <param name="what">What the ids of the events are.</param>
    /// <returns>The id, null from now on; or a problem.</returns>
    public static (long? Since, ProblemResult? Problem) SinceOf(HttpContext http, QueryParameter<long> since, string what)
    {
        if (http.Request.Headers["Last-Event-ID"].ToString() is not { Length: > 0 } last)
        {
            return (since.Of(http) is >= 0 and var given ? given : null, null);
        }

        return long.TryParse(last, NumberStyles.None, CultureInfo.InvariantCulture, out var id)
            ? (id, null)
            : (null, Problems.Header($"Last-Event-ID is the id of an event of this stream, {what}."));
    }

    /// <summary>Begins the answer.</summary>
    public Task BeginAsync(CancellationToken cancellationToken) => BeginAsync(http, cancellationToken);

    /// <summary>Answers HEAD, which asks for no events.</summary>
    public static async ValueTask<object?> AnswerHeadAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next)
    {
        if (!HttpMethods.IsHead(context.HttpContext.Request.Method))
        {
            return await next(context);
        }

        await BeginAsync(context.HttpContext, context.HttpContext.RequestAborted);
        return Results.Empty;
    }

    private static Task BeginAsync(HttpContext http, CancellationToken cancellationToken)
    {
        http.Response.ContentType = "text/event-stream";
        http.Response.Headers.CacheControl = "no-store";
        // nginx, in front, would hold events back otherwise.
        http.Response.Headers["X-Accel-Buffering"] = "no";
        return http.Response.StartAsync(cancellationToken);
    }

    /// <summary>Sends events as they stand on the wire; cuts off a client that does not read.</summary>
    public async Task SendAsync(string text, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(WriteTimeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            await http.Response.WriteAsync(text, Encoding.UTF8, either.Token);
            await http.Response.Body.FlushAsync(either.Token);
        }
        catch (OperationCanceledException) when (timeout.IsCancellationRequested)
        {
            IsStalled = true;
            http.Abort();
            throw;
        }
    }
}

/// <summary>What is watched, of which the next is always being waited for.</summary>
internal sealed class Feed<T> : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly IAsyncEnumerator<T> _items;

    /// <summary>Begins to watch.</summary>
    public Feed(Func<CancellationToken, IAsyncEnumerable<T>> watch)
    {
        _items = watch(_stop.Token).GetAsyncEnumerator(_stop.Token);
        Next = _items.MoveNextAsync().AsTask();
    }

    /// <summary>Completes when there is an item in <see cref="Current"/>; with false when the reader fell too far behind.</summary>
    public Task<bool> Next { get; private set; }

    /// <summary>The item that <see cref="Next"/> told of.</summary>
    public T Current => _items.Current;

    /// <summary>Waits for the item after <see cref="Current"/>.</summary>
    public void Advance() => Next = _items.MoveNextAsync().AsTask();

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        // An enumerator must not be disposed of while it is being waited for.
        await ((Task)Next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _items.DisposeAsync();
        _stop.Dispose();
    }
}
