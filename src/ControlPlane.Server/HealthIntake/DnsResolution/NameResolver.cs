using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Health;

namespace ControlPlane.Server.HealthIntake.DnsResolution;

/// <summary>
/// Resolves the names of upstreams of source <c>dns</c>, again and again, and tells when they resolve to something else. One loop per upstream, which sleeps between look-ups. Of
/// several servers the one that decides asks, and all publish its answers: two servers may be answered differently.
/// </summary>
internal sealed partial class NameResolver(HealthLeadership leadership, TimeProvider time, DnsMetrics metrics, ILogger<NameResolver> logger)
    : IHostedService
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Following> _followed = [];

    // Also of upstreams that are not followed: an answer of another server may come before the upstream does.
    private readonly Dictionary<string, NameMemory> _memories = [];
    private ImmutableDictionary<string, ResolvedEndpoints> _resolved = ImmutableDictionary<string, ResolvedEndpoints>.Empty;
    private bool _isStopped;

    /// <summary>What names resolve to, by upstream, as far as that is known.</summary>
    public ImmutableDictionary<string, ResolvedEndpoints> Resolved => Volatile.Read(ref _resolved);

    /// <summary>Raised with the name of an upstream whose names resolve to something else, or that has other problems, where nobody but this resolver knows.</summary>
    public event Action<string>? Changed;

    /// <summary>Follows the names of an upstream as its spec is now. What is known of them already is in <see cref="Resolved"/> at the return.</summary>
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
                _memories.Remove(upstream);
                Volatile.Write(ref _resolved, _resolved.Remove(upstream));
                return;
            }

            var following = new Following(spec, new UpstreamNames(upstream, spec, new DnsQuestions(spec.Resolution.Servers), metrics));
            _followed[upstream] = following;
            if (_memories.TryGetValue(upstream, out var memory))
            {
                Resolve(upstream, following, memory);
            }

            // Not on the caller's thread, which holds locks of its own.
            following.Loop = Task.Run(() => FollowAsync(upstream, following, known), CancellationToken.None);
        }
    }

    /// <summary>Puts in force what an earlier process, or the server that decides, was answered; nothing where this server decides and has asked by itself.</summary>
    public void Adopt(HealthMemory memory)
    {
        foreach (var (upstream, remembered) in memory.Upstreams)
        {
            if (remembered.Names is { } names)
            {
                Put(upstream, asker: null, leadership.Role, names);
            }
        }
    }

    /// <summary>What is to be remembered of an upstream's names; null if it has none, or nothing was asked yet.</summary>
    public NameMemory? Remember(string upstream)
    {
        lock (_lock)
        {
            return _followed.ContainsKey(upstream) ? _memories.GetValueOrDefault(upstream) : null;
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
                await before.Loop;
                before.Dispose();
            }

            while (true)
            {
                var role = leadership.Role;
                if (!leadership.Decides(upstream))
                {
                    await leadership.ChangeAsync(role).WaitAsync(stop);
                    continue;
                }

                NameMemory known;
                lock (_lock)
                {
                    known = _memories.GetValueOrDefault(upstream, NameMemory.Nothing);
                }

                var (memory, wait) = await following.Names.AskAsync(known, time.GetUtcNow(), stop);
                Put(upstream, following, role, memory);
                await Task.Delay(wait, time, stop);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // Another spec, or the end.
        }
    }

    private void Put(string upstream, Following? asker, HealthRole role, NameMemory memory)
    {
        ResolvedEndpoints? before;
        ResolvedEndpoints? after;
        lock (_lock)
        {
            var following = _followed.GetValueOrDefault(upstream);
            if (asker is null ? ReferenceEquals(following?.AskedAs, role) : asker != following || !ReferenceEquals(leadership.Role, role))
            {
                // Somebody else's word, where this server has asked; or it asked for another spec, or in another role.
                return;
            }

            following?.AskedAs = asker is null ? null : role;
            _memories[upstream] = memory;
            before = _resolved.GetValueOrDefault(upstream);
            after = following is null ? null : Resolve(upstream, following, memory);
        }

        if (after is null)
        {
            return;
        }

        if (!ReferenceEquals(before?.Endpoints, after.Endpoints))
        {
            LogResolved(logger, upstream, after.Endpoints?.Count ?? 0);
        }

        foreach (var problem in after.Problems.Except(before?.Problems ?? []))
        {
            LogProblem(logger, upstream, problem.Message);
        }

        Changed?.Invoke(upstream);
    }

    /// <returns>What the names resolve to now; null if that is what they did before, or not known.</returns>
    private ResolvedEndpoints? Resolve(string upstream, Following following, NameMemory memory)
    {
        var before = _resolved.GetValueOrDefault(upstream);
        if (
            following.Names.Resolve(memory, before) is not { } after
            || (before is not null && before.Problems.SequenceEqual(after.Problems) && ReferenceEquals(before.Endpoints, after.Endpoints))
        )
        {
            return null;
        }

        Volatile.Write(ref _resolved, _resolved.SetItem(upstream, after));
        return after;
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

        /// <summary>In which role of this server it was asked last.</summary>
        public HealthRole? AskedAs { get; set; }

        public void Stop() => _stop.Cancel();

        public void Dispose() => _stop.Dispose();
    }
}
