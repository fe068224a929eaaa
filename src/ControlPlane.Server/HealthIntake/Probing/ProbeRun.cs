using System.Net.Sockets;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>One round of probes of one endpoint: on every way to it side by side, and on each one check after the other.</summary>
/// <param name="target">The endpoint.</param>
/// <param name="workspace">For the first way, for this round alone.</param>
/// <param name="workspaces">Where those for further ways come from.</param>
/// <param name="time">The clock that certificates are judged by.</param>
/// <param name="beginTime">Grants the next check its time.</param>
internal readonly struct ProbeRun(
    ProbeTarget target,
    ProbeWorkspace workspace,
    ProbeWorkspaces workspaces,
    TimeProvider time,
    Action<ProbeTarget, TimeSpan> beginTime
)
{
    /// <summary>Runs the round. The time of the first check has been granted.</summary>
    public ValueTask<ProbeOutcome> RunAsync()
    {
        var ways = target.Endpoint.Ways;
        // Nearly all endpoints have one address, and one check: no more than that is done for them.
        return ways is [{ Probes: [var only] }] ? ProbeAsync(only, 0, 0, workspace) : RunAllAsync();
    }

    private async ValueTask<ProbeOutcome> RunAllAsync()
    {
        var ways = target.Endpoint.Ways;
        var outcomes = new ProbeOutcome[ways.Length];
        Array.Fill(outcomes, ProbeOutcome.Connected);
        // Every way has the same checks: each begins on all of them at once, with one time for all.
        var checks = ways[0].Probes.Length;
        var running = new List<Task>(ways.Length);
        for (var check = 0; check < checks && outcomes.Any(o => o.Passed); check++)
        {
            if (check > 0)
            {
                beginTime(target, ways[0].Probes[check].Timeout);
            }
            running.Clear();
            for (var way = 0; way < ways.Length; way++)
            {
                if (outcomes[way].Passed)
                {
                    running.Add(ProbeAsync(way, check, outcomes));
                }
            }
            await Task.WhenAll(running);
        }
        return Merge([.. ways.Select((way, i) => (way.Address, outcomes[i]))]);
    }

    private async Task ProbeAsync(int way, int check, ProbeOutcome[] outcomes)
    {
        var probes = target.Endpoint.Ways[way].Probes;
        var own = way == 0 ? workspace : workspaces.Take();
        var outcome = await ProbeAsync(probes[check], (way * probes.Length) + check, way, own);
        if (way > 0)
        {
            workspaces.Return(own);
        }
        outcomes[way] = !outcome.Passed && probes.Length > 1 ? outcome with { Text = $"check {check + 1}: {outcome.Text}" } : outcome;
    }

    /// <summary>One way that passes is enough. A failure is as grave as the least grave one.</summary>
    internal static ProbeOutcome Merge(IReadOnlyList<(string Address, ProbeOutcome Outcome)> outcomes)
    {
        if (outcomes is [var (_, only)])
        {
            return only;
        }
        var failures = outcomes.Where(o => !o.Outcome.Passed).Select(o => $"{o.Address}: {o.Outcome.Text}");
        if (outcomes.Any(o => o.Outcome.Passed))
        {
            var passed = outcomes.First(o => o.Outcome.Passed).Outcome;
            return passed with { Text = string.Join("; ", failures.Prepend(passed.Text)) };
        }
        var ofEndpoint = outcomes.Select(o => o.Outcome.Class).OfType<FailureClass>().ToList();
        var milder = ofEndpoint.Where(c => c is not (FailureClass.Refused or FailureClass.Unreachable)).ToList();
        FailureClass? merged =
            milder.Count > 0 ? milder[0]
            : ofEndpoint.Count > 0 ? ofEndpoint[0]
            : null;
        return new ProbeOutcome(merged, string.Join("; ", failures));
    }

    private async ValueTask<ProbeOutcome> ProbeAsync(Probe probe, int index, int way, ProbeWorkspace own)
    {
        if (target.TakeKept(index) is { } kept)
        {
            // A certificate can end while a connection goes on; a new handshake tells whether there is a newer one.
            if (!(kept.CertificateEnds < time.GetUtcNow().UtcDateTime))
            {
                target.Use(way, kept);
                var again = await AskAsync(kept, probe, own);
                Leave(kept, probe, index, way, again);
                if (!(again.Outcome.Class == FailureClass.Reset && again.IsUnanswered))
                {
                    return again.Outcome;
                }
                // The peer closed it between two probes, as servers do.
            }
            else
            {
                kept.Dispose();
            }
        }
        ProbeConnection connection;
        try
        {
            connection = ProbeConnection.To(probe.Target);
        }
        catch (SocketException e)
        {
            return ProbeOutcome.OfConnect(e.SocketErrorCode, atOnce: true);
        }
        target.Use(way, connection);
        var answer = await connection.OpenAsync(
            probe.Target,
            probe.Tls,
            isTalkative: probe is GrpcProbe or HttpProbe { Codec: CheckCodec.Http2 },
            own.Operation,
            time
        )
            is { } notOpened
            ? new Answer(notOpened, IsUnanswered: true, CanContinue: false)
            : await AskAsync(connection, probe, own);
        Leave(connection, probe, index, way, answer);
        return answer.Outcome;
    }

    private void Leave(ProbeConnection connection, Probe probe, int index, int way, Answer answer)
    {
        target.Use(way, null);
        if (answer.CanContinue && probe.ReusesConnection && connection.Overdue() is null)
        {
            target.Keep(index, connection);
        }
        else
        {
            connection.Dispose();
        }
    }

    private static async ValueTask<Answer> AskAsync(ProbeConnection connection, Probe probe, ProbeWorkspace own)
    {
        switch (probe)
        {
            case HttpProbe { Codec: CheckCodec.Http1 } http:
                var outcome = await Http1Check.RunAsync(connection, http, own);
                return new Answer(outcome, own.Response.IsUntouched, own.Response is { IsComplete: true, KeepsAlive: true });
            case TcpProbe tcp:
                return new Answer(await TcpCheck.RunAsync(connection, tcp, own), IsUnanswered: false, CanContinue: false);
            default:
                return await Http2Check.RunAsync(connection, probe);
        }
    }
}

/// <summary>What a probe got on a connection.</summary>
/// <param name="Outcome">What came of it.</param>
/// <param name="IsUnanswered">Not a byte of an answer was received.</param>
/// <param name="CanContinue">Whether another probe can follow on the connection.</param>
internal readonly record struct Answer(ProbeOutcome Outcome, bool IsUnanswered, bool CanContinue);
