using System.Text;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>Asks in HTTP/1.1 (RFC 9112). Redirects are answers like others, and never followed.</summary>
internal static class Http1Check
{
    public static async ValueTask<ProbeOutcome> RunAsync(ProbeConnection connection, HttpProbe probe, ProbeWorkspace workspace)
    {
        var sent = await connection.SendAsync(Request(probe, workspace), workspace.Operation);
        if (sent.Failure is { } notSent)
        {
            return notSent;
        }
        var response = workspace.Response;
        response.Reset(probe.Request.Method == "HEAD");
        while (true)
        {
            var received = await connection.ReceiveAsync(workspace.Buffer, workspace.Operation);
            if (received.Failure is { } failure)
            {
                return failure;
            }
            if (received.Count == 0 ? response.End() : response.Read(workspace.Buffer.AsSpan(0, received.Count)))
            {
                return response is { Status: 400, Fault: null }
                    && !probe.Request.Expects(400)
                    && ForeignBytes.Complaint(response.BodyStart) is { } complaint
                        ? ProbeOutcome.Protocol(complaint)
                    : response.Fault is { } fault ? ProbeOutcome.Protocol(fault)
                    : ProbeOutcome.Status(response.Status, probe.Request.Expects(response.Status));
            }
            if (received.Count == 0)
            {
                return new ProbeOutcome(FailureClass.Reset, response.IsUntouched ? "closed without an answer" : "closed within the answer");
            }
        }
    }

    private static ReadOnlyMemory<byte> Request(HttpProbe probe, ProbeWorkspace workspace)
    {
        var (head, tail) = workspace.Templates.Of(probe.Request, probe.ReusesConnection);
        var length = head.Length + probe.Host.Length + tail.Length;
        var buffer = length <= workspace.Buffer.Length ? workspace.Buffer : new byte[length];
        head.CopyTo(buffer, 0);
        // A host is ASCII: whatever else was given is a name that no server has.
        Encoding.ASCII.GetBytes(probe.Host, buffer.AsSpan(head.Length));
        tail.CopyTo(buffer, head.Length + probe.Host.Length);
        return buffer.AsMemory(0, length);
    }
}

/// <summary>The bytes of HTTP/1.1 requests before and after the host, which are the same for every endpoint of an upstream.</summary>
internal sealed class Http1Templates
{
    private readonly System.Runtime.CompilerServices.ConditionalWeakTable<HttpProbeRequest, Template> _templates = [];

    public (byte[] Head, byte[] Tail) Of(HttpProbeRequest request, bool keepsConnection)
    {
        var template = _templates.GetValue(request, static r => new Template(r));
        return (template.Head, keepsConnection ? template.KeepingTail : template.ClosingTail);
    }

    private sealed class Template
    {
        public Template(HttpProbeRequest request)
        {
            Head = Encoding.ASCII.GetBytes($"{request.Method} {request.Path} HTTP/1.1\r\nHost: ");
            var tail = new StringBuilder("\r\n");
            foreach (var (name, value) in ProbeHeaders.Of(request))
            {
                tail.Append(name).Append(": ").Append(value).Append("\r\n");
            }
            if (request.Method is "POST" or "PUT" or "PATCH")
            {
                tail.Append("Content-Length: 0\r\n");
            }
            KeepingTail = Encoding.UTF8.GetBytes($"{tail}\r\n");
            ClosingTail = Encoding.UTF8.GetBytes($"{tail}Connection: close\r\n\r\n");
        }

        public byte[] Head { get; }

        public byte[] KeepingTail { get; }

        public byte[] ClosingTail { get; }
    }
}

/// <summary>The headers of probes besides the host.</summary>
internal static class ProbeHeaders
{
    public const string UserAgent = "ControlPlane-Probe/1";

    public static IEnumerable<KeyValuePair<string, string>> Of(HttpProbeRequest request)
    {
        if (!request.Headers.Keys.Contains("user-agent", StringComparer.OrdinalIgnoreCase))
        {
            yield return new("User-Agent", UserAgent);
        }
        foreach (var header in request.Headers)
        {
            yield return header;
        }
    }
}
