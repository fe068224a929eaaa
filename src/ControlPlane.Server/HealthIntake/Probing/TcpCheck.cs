using System.Buffers;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>Sends bytes and looks for others in the answer. Without either, a connection that is made passes.</summary>
internal static class TcpCheck
{
    /// <summary>How far into an answer is looked.</summary>
    public const int MaxAnswer = 64 * 1024;

    public static async ValueTask<ProbeOutcome> RunAsync(ProbeConnection connection, TcpProbe probe, ProbeWorkspace workspace)
    {
        if (!probe.Send.IsEmpty && (await connection.SendAsync(probe.Send, workspace.Operation)).Failure is { } notSent)
        {
            return notSent;
        }
        return probe.Receive.IsEmpty ? ProbeOutcome.Connected : await ExpectAsync(connection, probe, workspace);
    }

    private static async ValueTask<ProbeOutcome> ExpectAsync(ProbeConnection connection, TcpProbe probe, ProbeWorkspace workspace)
    {
        var answer = workspace.Buffer;
        var (length, from, found) = (0, 0, 0);
        try
        {
            while (true)
            {
                var received = await connection.ReceiveAsync(answer.AsMemory(length), workspace.Operation);
                if (received.Failure is { } failure)
                {
                    return failure.Class == FailureClass.Timeout && length > 0 ? Unexpected(answer.AsSpan(0, length)) : failure;
                }
                if (received.Count == 0)
                {
                    return length > 0
                        ? Unexpected(answer.AsSpan(0, length))
                        : new ProbeOutcome(FailureClass.Reset, "closed without an answer");
                }
                length += received.Count;
                while (found < probe.Receive.Length)
                {
                    var wanted = probe.Receive[found].Span;
                    var at = answer.AsSpan(from, length - from).IndexOf(wanted);
                    if (at < 0)
                    {
                        break;
                    }
                    from += at + wanted.Length;
                    found++;
                }
                if (found == probe.Receive.Length)
                {
                    return new ProbeOutcome(FailureClass.None, "answered as expected");
                }
                if (length == answer.Length && !Grow(ref answer, workspace))
                {
                    return new ProbeOutcome(FailureClass.Body, $"the first {MaxAnswer / 1024} KB of the answer are not as expected");
                }
            }
        }
        finally
        {
            if (answer != workspace.Buffer)
            {
                ArrayPool<byte>.Shared.Return(answer);
            }
        }
    }

    private static bool Grow(ref byte[] answer, ProbeWorkspace workspace)
    {
        if (answer.Length >= MaxAnswer)
        {
            return false;
        }
        var larger = ArrayPool<byte>.Shared.Rent(MaxAnswer);
        answer.CopyTo(larger, 0);
        if (answer != workspace.Buffer)
        {
            ArrayPool<byte>.Shared.Return(answer);
        }
        answer = larger;
        return true;
    }

    private static ProbeOutcome Unexpected(ReadOnlySpan<byte> answer) =>
        new(FailureClass.Body, $"asked over TCP, the endpoint {ForeignBytes.Describe(answer)}");
}
