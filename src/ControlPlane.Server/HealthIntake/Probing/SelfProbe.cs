using System.Net;
using System.Net.Sockets;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>
/// A server on loopback that the engine probes every second, like any endpoint. What fails there is this process or this machine, and then it may be so with what fails
/// elsewhere (section 4.2 of the health model).
/// </summary>
internal sealed class SelfProbe : IAsyncDisposable
{
    /// <summary>Doubt after one failure, and how much each further one adds.</summary>
    private const double DoubtPerFailure = 1;

    private static readonly byte[] Answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"u8.ToArray();

    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _serving;
    private int _failures;
    private int _isDisposed;

    /// <summary>Begins to listen.</summary>
    /// <exception cref="SocketException">This machine has no loopback to listen on.</exception>
    public SelfProbe()
    {
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _listener.Listen(16);
        var request = new HttpProbeRequest
        {
            Method = "GET",
            Path = "/",
            Headers = System.Collections.Immutable.ImmutableSortedDictionary<string, string>.Empty,
            ExpectedStatuses = [(204, 204)],
        };
        var probe = new HttpProbe
        {
            Target = _listener.LocalEndPoint!,
            Timeout = TimeSpan.FromSeconds(0.5),
            Codec = CheckCodec.Http1,
            Host = "self",
            Request = request,
        };
        Plan = new ProbePlan
        {
            // No upstream has an empty name.
            Upstream = "",
            Policy = new HealthPolicy { ProbeInterval = TimeSpan.FromSeconds(1), ProbeEdgeInterval = TimeSpan.FromSeconds(0.5) },
            Endpoints = [new ProbeEndpoint("self", [new ProbeWay("self", [probe])])],
        };
        _serving = ServeAsync();
    }

    /// <summary>How the engine probes it.</summary>
    public ProbePlan Plan { get; }

    /// <summary>How much to doubt oneself after a result: 0 is not at all.</summary>
    public double Judge(ProbeOutcome outcome)
    {
        _failures = outcome.Passed ? 0 : _failures + 1;
        return _failures * DoubtPerFailure;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
        {
            await _stop.CancelAsync();
            _listener.Dispose();
            await _serving;
            _stop.Dispose();
        }
    }

    private async Task ServeAsync()
    {
        var buffer = new byte[512];
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                using var client = await _listener.AcceptAsync(_stop.Token);
                // One at a time is enough for one that asks once a second; whoever else connects and says nothing is cut off by the next.
                using var patience = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                patience.CancelAfter(TimeSpan.FromMilliseconds(100));
                if (await client.ReceiveAsync(buffer, patience.Token) > 0)
                {
                    await client.SendAsync(Answer, patience.Token);
                }
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                // A connection that broke, or the end: the loop looks which.
            }
        }
    }
}
