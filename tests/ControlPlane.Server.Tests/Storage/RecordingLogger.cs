using System.Collections.Concurrent;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Server.Tests.Storage;

/// <summary>Keeps what is logged.</summary>
internal sealed class RecordingLogger<T> : ILogger<T>
{
    private readonly ConcurrentQueue<(EventId Id, string Message)> _events = [];
    private readonly Channel<EventId> _signals = Channel.CreateUnbounded<EventId>();

    public IReadOnlyCollection<(EventId Id, string Message)> Events => _events;

    /// <summary>Waits for the next event.</summary>
    public async Task<EventId> NextAsync(CancellationToken cancellationToken) => await _signals.Reader.ReadAsync(cancellationToken);

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(
        LogLevel logLevel,
        EventId eventId,
        TState state,
        Exception? exception,
        Func<TState, Exception?, string> formatter
    )
    {
        _events.Enqueue((eventId, formatter(state, exception)));
        _signals.Writer.TryWrite(eventId);
    }
}
