using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Server.HealthIntake.DnsResolution;

/// <summary>
/// Resolves the names of upstreams of source <c>dns</c>, again and again, and tells when they resolve to something else. One loop per upstream, which sleeps between look-ups.
/// </summary>
internal sealed partial class NameResolver(TimeProvider time, DnsMetrics metrics, ILogger<NameResolver> logger) : IHostedService
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Following> _followed = [];
    private ImmutableDictionary<string, ResolvedEndpoints> _resolved = ImmutableDictionary<string, ResolvedEndpoints>.Empty;
    private bool _isStopped;

    /// <summary>What names resolve to, by upstream, of those that were resolved since the start.</summary>
    public ImmutableDictionary<string, ResolvedEndpoints> Resolved => Volatile.Read(ref _resolved);

    /// <summary>Raised on a thread of the pool with the name of an upstream whose names resolve to something else, or that has other problems.</summary>
    public event Action<string>? Changed;

    /// <summary>Follows the names of an upstream as its spec is now.</summary>
    /// <param name="upstream">The upstream.</param>
    /// <param name="spec">Its endpoints; null, or of another source, follows it no more.</param>
    public void Follow(string upstream, EndpointsSpec? spec)
    {
        spec = spec?.Source == EndpointSource.Dns ? spec : null;
        lock (_lock)
        {
            var known = _followed.GetValueOrDefault(upstream);
            if (_isStopped || ReferenceEquals(known?.Spec, spec))
            {
                return;
            }
            known?.Stop();
            if (spec is null)
            {
                _followed.Remove(upstream);
                Volatile.Write(ref _resolved, _resolved.Remove(upstream));
                return;
            }
            var following = new Following(spec, new UpstreamNames(upstream, spec, new DnsQuestions(spec.Resolution.Servers), metrics));
            _followed[upstream] = following;
            // Not on the caller's thread, which holds locks of its own.
            following.Loop = Task.Run(() => FollowAsync(upstream, following, known), CancellationToken.None);
        }
    }

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        List<Following> followed;
        lock (_lock)
        {
            _isStopped = true;
            followed = [.. _followed.Values];
        }
        followed.ForEach(f => f.Stop());
        await Task.WhenAll(followed.Select(f => f.Loop));
        followed.ForEach(f => f.Dispose());
    }

    private async Task FollowAsync(string upstream, Following following, Following? before)
    {
        var stop = following.Stopped;
        try
        {
            if (before is not null)
            {
                // What it knew stays in force where this one is not answered.
                await before.Loop;
                following.Names.Inherit(before.Names);
                before.Dispose();
            }
            while (true)
            {
                var (resolved, wait) = await following.Names.ResolveAsync(time.GetUtcNow(), stop);
                Put(upstream, following, resolved);
                await Task.Delay(wait, time, stop);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // Another spec, or the end.
        }
    }

    private void Put(string upstream, Following following, ResolvedEndpoints resolved)
    {
        ResolvedEndpoints? before;
        lock (_lock)
        {
            if (!ReferenceEquals(_followed.GetValueOrDefault(upstream), following))
            {
                return;
            }
            before = _resolved.GetValueOrDefault(upstream);
            if (
                before is not null
                && before.Problems.SequenceEqual(resolved.Problems)
                && ReferenceEquals(before.Endpoints, resolved.Endpoints)
            )
            {
                return;
            }
            Volatile.Write(ref _resolved, _resolved.SetItem(upstream, resolved));
        }
        if (!ReferenceEquals(before?.Endpoints, resolved.Endpoints))
        {
            LogResolved(logger, upstream, resolved.Endpoints?.Count ?? 0);
        }
        foreach (var problem in resolved.Problems.Except(before?.Problems ?? []))
        {
            LogProblem(logger, upstream, problem.Message);
        }
        Changed?.Invoke(upstream);
    }

    [LoggerMessage(7201, LogLevel.Information, "The names of {Upstream} resolve to {Endpoints} endpoints")]
    private static partial void LogResolved(ILogger logger, string upstream, int endpoints);

    [LoggerMessage(7202, LogLevel.Warning, "A name of {Upstream} is not resolved: {Problem}")]
    private static partial void LogProblem(ILogger logger, string upstream, string problem);

    /// <summary>An upstream that is followed, by one form of its spec.</summary>
    private sealed class Following(EndpointsSpec spec, UpstreamNames names) : IDisposable
    {
        private readonly CancellationTokenSource _stop = new();

        public EndpointsSpec Spec { get; } = spec;

        public UpstreamNames Names { get; } = names;

        public CancellationToken Stopped => _stop.Token;

        public Task Loop { get; set; } = Task.CompletedTask;

        public void Stop() => _stop.Cancel();

        public void Dispose() => _stop.Dispose();
    }
}
