using System.Threading.Channels;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Server.Tests;

/// <summary>Keeps what a server logs, so that a test can await the event that tells of what it caused.</summary>
internal sealed class LogRecorder : ILoggerProvider
{
    private readonly Channel<(int Id, string Text)> _entries = Channel.CreateUnbounded<(int, string)>();

    /// <summary>Awaits the next entry of an event id and passes over others.</summary>
    public async Task<string> FirstAsync(int eventId)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(20), TimeProvider.System);
        await foreach (var (id, text) in _entries.Reader.ReadAllAsync(timeout.Token))
        {
            if (id == eventId)
            {
                return text;
            }
        }

        throw new InvalidOperationException($"No log entry {eventId} came.");
    }

    public ILogger CreateLogger(string categoryName) => new Recorder(_entries.Writer);

    public void Dispose() => _entries.Writer.TryComplete();

    private sealed class Recorder(ChannelWriter<(int, string)> entries) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

        public void Log<TState>(
            LogLevel logLevel,
            EventId eventId,
            TState state,
            Exception? exception,
            Func<TState, Exception?, string> formatter
        ) => entries.TryWrite((eventId.Id, formatter(state, exception) + exception));
    }
}
