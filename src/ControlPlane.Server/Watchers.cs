using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace ControlPlane.Server;

/// <summary>
/// Tells what happens to all who watch, and waits for none of them. Who tells changes its state first: a watcher that began before it read that state misses nothing,
/// and may be told of what it has read already.
/// </summary>
internal sealed class Watchers<T>
{
    /// <summary>How far a watcher may fall behind.</summary>
    private const int Capacity = 1024;

    private ImmutableArray<Channel<T>> _channels = [];

    /// <summary>Tells all who watch now; ends those that have fallen too far behind.</summary>
    public void Tell(T item)
    {
        foreach (var channel in _channels)
        {
            if (!channel.Writer.TryWrite(item))
            {
                channel.Writer.TryComplete();
            }
        }
    }

    /// <summary>Yields what is told from the first step on. Ends by itself when the reader falls more than a thousand items behind.</summary>
    public async IAsyncEnumerable<T> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var channel = Channel.CreateBounded<T>(new BoundedChannelOptions(Capacity) { SingleReader = true });
        ImmutableInterlocked.Update(ref _channels, static (all, one) => all.Add(one), channel);
        try
        {
            await foreach (var item in channel.Reader.ReadAllAsync(cancellationToken))
            {
                yield return item;
            }
        }
        finally
        {
            ImmutableInterlocked.Update(ref _channels, static (all, one) => all.Remove(one), channel);
        }
    }
}
