using ControlPlane.Core.Compilation;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Telemetry;

namespace ControlPlane.Server.Publishing;

/// <summary>
/// The one door for changes of the desired state: validates against the newest state, writes one revision, puts it in force. REST and later sources of change all come through here.
/// </summary>
internal sealed class ChangeAdmission : IDisposable
{
    /// <summary>How long a change is worked out anew because other servers write first, before it is given up. Less than a request may take.</summary>
    private static readonly TimeSpan MaxContention = TimeSpan.FromSeconds(30);

    /// <summary>Longest pause between two attempts: servers that write at once must not go on in step.</summary>
    private const int MaxPauseMilliseconds = 50;

    private readonly IDesiredStateStore _store;
    private readonly CurrentState _current;
    private readonly SnapshotPublisher _publisher;
    private readonly SecretFiles _secrets;
    private readonly CurrentVerdicts _verdicts;
    private readonly ConnectedNodes _nodes;
    private readonly TimeProvider _time;

    // Changes are worked out one at a time: each is validated against the state that the one before it made.
    private readonly SemaphoreSlim _turn = new(1, 1);

    /// <summary>Creates the admission.</summary>
    public ChangeAdmission(
        IDesiredStateStore store,
        CurrentState current,
        SnapshotPublisher publisher,
        SecretFiles secrets,
        CurrentVerdicts verdicts,
        ConnectedNodes nodes,
        TimeProvider time
    )
    {
        _store = store;
        _current = current;
        _publisher = publisher;
        _secrets = secrets;
        _verdicts = verdicts;
        _nodes = nodes;
        _time = time;
    }

    /// <summary>Validates a change and, unless it is a dry run, writes it and puts it in force on this server.</summary>
    /// <returns>How it ended. When this returns <see cref="ChangeApplied"/> the change is durable and on its way to the proxies.</returns>
    /// <exception cref="StoreUnavailableException">The database cannot be reached or takes no writes; nothing was written.</exception>
    public async Task<ChangeOutcome> ChangeAsync(ChangeRequest request, CancellationToken cancellationToken) =>
        (await ChangeAsync(_ => request, cancellationToken))!;

    /// <summary>The same for a change that depends on what is stored: it is asked for anew as often as somebody else writes first.</summary>
    /// <param name="requestOn">The change of a state; null if there is none to be made of it.</param>
    /// <param name="cancellationToken">Gives it up.</param>
    /// <returns>How it ended; null if there was no change to make.</returns>
    /// <exception cref="StoreUnavailableException">The database cannot be reached or takes no writes; nothing was written.</exception>
    public async Task<ChangeOutcome?> ChangeAsync(Func<DesiredState, ChangeRequest?> requestOn, CancellationToken cancellationToken)
    {
        await _current.Loaded.WaitAsync(cancellationToken);
        await _turn.WaitAsync(cancellationToken);
        try
        {
            using var span = Tracing.StartApply();
            var since = _time.GetTimestamp();
            var isNewest = false;
            for (var attempt = 1; ; attempt++)
            {
                var before = _current.Pair;
                var request = requestOn(before.Desired);
                span?.SetTag("objects", request?.Changes.Count);
                var inputs = new CompilationInputs(_time.GetUtcNow(), _secrets.Resolve) { Health = _verdicts.Find };
                var plan = request is null ? null : ChangePlan.Make(request, before, inputs, _nodes.Connected());
                if (request is null || plan is null || request.DryRun || !plan.Writes)
                {
                    if (!isNewest && await IsOvertakenAsync(before, cancellationToken))
                    {
                        isNewest = true;
                        continue;
                    }

                    return plan?.Outcome;
                }

                if (await _store.CommitAsync(BatchOf(request, before, plan), cancellationToken) is not null)
                {
                    _publisher.Advance(before, plan.After, [.. plan.Written.Select(w => w.Resource)], plan.Deleted);
                    return plan.Outcome;
                }

                if (_time.GetElapsedTime(since) > MaxContention)
                {
                    return new ChangeOvertaken(attempt);
                }

                await _publisher.CatchUpAsync(cancellationToken);
                // Another server is as likely to be first the next time; the more often it was, the longer it is left alone.
                var pause = Random.Shared.Next(Math.Min(attempt, MaxPauseMilliseconds));
                await Task.Delay(TimeSpan.FromMilliseconds(pause), _time, cancellationToken);
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>
    /// Whether another server wrote what this one has not heard of yet, which it then has: nobody is to be refused, or told that there is nothing to do, for a state that is past.
    /// </summary>
    private async Task<bool> IsOvertakenAsync(StatePair before, CancellationToken cancellationToken)
    {
        if (!_store.IsReachable)
        {
            return false;
        }

        try
        {
            await _publisher.CatchUpAsync(cancellationToken);
        }
        catch (StoreUnavailableException)
        {
            // Nothing is written: the last known state is the best that there is to judge by, and the outage is told by those that write.
            return false;
        }

        return _current.Desired.Revision != before.Desired.Revision;
    }

    private WriteBatch BatchOf(ChangeRequest request, StatePair before, ChangePlan plan) =>
        new(
            before.Desired.Revision,
            request.Author,
            request.Reason,
            _time.GetUtcNow(),
            Tracing.CurrentId,
            NotesOf(request, (ChangeApplied)plan.Outcome),
            [.. plan.Written.Select(w => SnapshotPublisher.DocumentOf(w.Resource, w.Json))],
            [.. plan.Deleted.Select(d => d.Key)]
        );

    /// <inheritdoc/>
    public void Dispose() => _turn.Dispose();

    private static string NotesOf(ChangeRequest request, ChangeApplied applied)
    {
        var notes = new List<string>();
        if (request.ValidationWarn)
        {
            var bypassed = applied.Warnings.Select(w => $"{w.Key}{w.Problem.Pointer} {w.Problem.Code}").Distinct();
            notes.Add("validation=warn: " + string.Join(", ", bypassed));
        }

        if (request.Confirm.Length > 0)
        {
            notes.Add("confirmed " + request.Confirm);
        }

        return string.Join("; ", notes);
    }
}
