namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>What one probe needs while it runs, about 2 KB, used by one after the other: an endpoint that waits for its next probe holds none of it.</summary>
internal sealed class ProbeWorkspace(Http1Templates templates)
{
    /// <summary>For the socket operations, which never overlap.</summary>
    public SocketOperation Operation { get; } = new();

    /// <summary>For what is sent, then for what is received.</summary>
    public byte[] Buffer { get; } = new byte[1024];

    /// <summary>Reads HTTP/1.1 responses.</summary>
    public Http1ResponseReader Response { get; } = new();

    /// <summary>Shared by all.</summary>
    public Http1Templates Templates { get; } = templates;
}

/// <summary>Workspaces that nobody uses at the moment.</summary>
internal sealed class ProbeWorkspaces
{
    /// <summary>More than a burst of probes takes; what was taken beyond that, while many endpoints hung, is given back to the collector.</summary>
    private const int MaxIdle = 1024;

    private readonly Http1Templates _templates = new();
    private readonly Lock _lock = new();
    private readonly Stack<ProbeWorkspace> _idle = [];

    public ProbeWorkspace Take()
    {
        lock (_lock)
        {
            if (_idle.TryPop(out var workspace))
            {
                return workspace;
            }
        }
        return new ProbeWorkspace(_templates);
    }

    public void Return(ProbeWorkspace workspace)
    {
        lock (_lock)
        {
            if (_idle.Count < MaxIdle)
            {
                _idle.Push(workspace);
                return;
            }
        }
        workspace.Operation.Dispose();
    }
}
