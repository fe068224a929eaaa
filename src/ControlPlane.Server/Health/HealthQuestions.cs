using ControlPlane.Core.Health;
using ControlPlane.Resources.Api;

namespace ControlPlane.Server.Health;

/// <summary>Answers why, by whoever decides: this server, or the one that it follows.</summary>
internal sealed class HealthQuestions(HealthKeeper keeper, HealthHistory history, HealthLeadership leadership, TimeProvider time)
{
    /// <summary>Asks the server that decides, and says why where it cannot. Set by who talks to other servers.</summary>
    public Func<
        string,
        string?,
        long,
        TimeSpan,
        CancellationToken,
        Task<(UpstreamHealthView? View, SecondHandView? Unanswered)>
    >? AskElsewhereAsync { get; set; }

    /// <summary>Says why an upstream is published as it is; null if no server decides about it.</summary>
    /// <param name="upstream">The upstream.</param>
    /// <param name="zone">As the proxies of this zone see it; null is everyone.</param>
    /// <param name="index">The index of an earlier answer, to wait for another one; negative does not wait.</param>
    /// <param name="wait">How long at most.</param>
    /// <param name="cancellationToken">Ends the wait with an exception.</param>
    public async Task<UpstreamHealthView?> ExplainAsync(
        string upstream,
        string? zone,
        long index,
        TimeSpan wait,
        CancellationToken cancellationToken
    )
    {
        if (!leadership.Decides(upstream) && AskElsewhereAsync is { } ask)
        {
            var (view, unanswered) = await ask(upstream, zone, index, wait, cancellationToken);
            if (unanswered is null)
            {
                return view;
            }

            // It may have taken over meanwhile; what it knows is its own then.
            if (!keeper.Leads)
            {
                return await ExplainHereAsync(
                    upstream,
                    index,
                    wait,
                    model => model.Explain(upstream, zone),
                    (x, now) => HealthViews.SecondHand(x, now, zone, unanswered),
                    cancellationToken
                );
            }
        }

        return await ExplainHereAsync(upstream, zone, index, wait, cancellationToken);
    }

    /// <summary>The same from what this server knows.</summary>
    public Task<UpstreamHealthView?> ExplainHereAsync(
        string upstream,
        string? zone,
        long index,
        TimeSpan wait,
        CancellationToken cancellationToken
    ) =>
        ExplainHereAsync(
            upstream,
            index,
            wait,
            model => model.Explain(upstream, zone),
            (x, now) => HealthViews.Of(x, now, zone),
            cancellationToken
        );

    private async Task<UpstreamHealthView?> ExplainHereAsync(
        string upstream,
        long index,
        TimeSpan wait,
        Func<HealthAggregator, UpstreamExplanation?> explain,
        Func<UpstreamExplanation, long, UpstreamHealthView> view,
        CancellationToken cancellationToken
    )
    {
        if (index >= 0)
        {
            await history
                .ChangeAsync(upstream, index)
                .WaitAsync(wait, time, cancellationToken)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            cancellationToken.ThrowIfCancellationRequested();
        }

        // The index first: what it stands for is in the answer then, and perhaps more.
        var now = history.IndexOf(upstream);
        return await keeper.AskAsync(explain, cancellationToken) is { } explanation ? view(explanation, now) : null;
    }
}
