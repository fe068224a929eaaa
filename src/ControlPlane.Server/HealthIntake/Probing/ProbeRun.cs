using System.Net.Sockets;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>One round of probes of one endpoint: every check on every way to it, one after the other.</summary>
/// <param name="target">The endpoint.</param>
/// <param name="workspace">For this round alone.</param>
/// <param name="time">The clock that certificates are judged by.</param>
/// <param name="beginTime">Grants the next probe its time.</param>
internal readonly struct ProbeRun(ProbeTarget target, ProbeWorkspace workspace, TimeProvider time, Action<ProbeTarget, TimeSpan> beginTime)
{
    /// <summary>Runs the round. The time of the first probe has been granted.</summary>
    public ValueTask<ProbeOutcome> RunAsync()
    {
        var ways = target.Endpoint.Ways;
        // Nearly all endpoints have one address, and one check: no more than that is done for them.
        return ways is [{ Probes: [var only] }] ? ProbeAsync(only, 0) : RunAllAsync();
    }

    private async ValueTask<ProbeOutcome> RunAllAsync()
    {
        var ways = target.Endpoint.Ways;
        var outcomes = new List<(string Address, ProbeOutcome Outcome)>(ways.Length);
        var index = 0;
        foreach (var way in ways)
        {
            var outcome = ProbeOutcome.Connected;
            for (var i = 0; i < way.Probes.Length && outcome.Passed; i++)
            {
                if (index + i > 0)
                {
                    beginTime(target, way.Probes[i].Timeout);
                }
                outcome = await ProbeAsync(way.Probes[i], index + i);
                if (!outcome.Passed && way.Probes.Length > 1)
                {
                    outcome = outcome with { Text = $"check {i + 1}: {outcome.Text}" };
                }
            }
            index += way.Probes.Length;
            outcomes.Add((way.Address, outcome));
        }
        return Merge(outcomes);
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

    private async ValueTask<ProbeOutcome> ProbeAsync(Probe probe, int index)
    {
        if (target.TakeKept(index) is { } kept)
        {
            // A certificate can end while a connection goes on; a new handshake tells whether there is a newer one.
            if (!(kept.CertificateEnds < time.GetUtcNow().UtcDateTime))
            {
                target.Use(kept);
                var again = await AskAsync(kept, probe);
                Leave(kept, probe, index, again);
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
        target.Use(connection);
        var answer = await connection.OpenAsync(
            probe.Target,
            probe.Tls,
            isTalkative: probe is GrpcProbe or HttpProbe { Codec: CheckCodec.Http2 },
            workspace.Operation,
            time
        )
            is { } notOpened
            ? new Answer(notOpened, IsUnanswered: true, CanContinue: false)
            : await AskAsync(connection, probe);
        Leave(connection, probe, index, answer);
        return answer.Outcome;
    }

    private void Leave(ProbeConnection connection, Probe probe, int index, Answer answer)
    {
        target.Use(null);
        if (answer.CanContinue && probe.ReusesConnection && connection.Overdue() is null)
        {
            target.Keep(index, connection);
        }
        else
        {
            connection.Dispose();
        }
    }

    private async ValueTask<Answer> AskAsync(ProbeConnection connection, Probe probe)
    {
        switch (probe)
        {
            case HttpProbe { Codec: CheckCodec.Http1 } http:
                var outcome = await Http1Check.RunAsync(connection, http, workspace);
                return new Answer(outcome, workspace.Response.IsUntouched, workspace.Response is { IsComplete: true, KeepsAlive: true });
            case TcpProbe tcp:
                return new Answer(await TcpCheck.RunAsync(connection, tcp, workspace), IsUnanswered: false, CanContinue: false);
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
