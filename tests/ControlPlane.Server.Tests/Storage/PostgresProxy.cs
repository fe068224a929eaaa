using System.Net;
using System.Net.Sockets;
using Npgsql;

namespace ControlPlane.Server.Tests.Storage;

/// <summary>A network between a store and its PostgreSQL that a test can break at a chosen point.</summary>
internal sealed class PostgresProxy : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly EndPoint _server;
    private readonly CancellationTokenSource _stop = new();
    private readonly List<Task> _links = [];
    private readonly Task _accepting;
    private readonly TaskCompletionSource _tripped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile Fault _fault = new(FaultKind.None, []);

    public PostgresProxy(string connectionString)
    {
        var direct = new NpgsqlConnectionStringBuilder(connectionString);
        _server = direct.Host!.StartsWith('/')
            ? new UnixDomainSocketEndPoint($"{direct.Host}/.s.PGSQL.{direct.Port}")
            : new DnsEndPoint(direct.Host, direct.Port);
        _listener.Start();
        ConnectionString = new NpgsqlConnectionStringBuilder(connectionString)
        {
            Host = "127.0.0.1",
            Port = ((IPEndPoint)_listener.LocalEndpoint).Port,
        }.ConnectionString;
        _accepting = AcceptAsync();
    }

    private enum FaultKind
    {
        None,
        CutBeforeRequest,
        CutBeforeReply,
        Silence,
        Cut,
    }

    /// <summary>Leads through this proxy.</summary>
    public string ConnectionString { get; }

    /// <summary>Completes when the fault that was set has happened.</summary>
    public Task Tripped => _tripped.Task;

    /// <summary>The next request that contains a text breaks its connection and does not reach the server.</summary>
    public void CutBeforeRequest(string text) => _fault = new Fault(FaultKind.CutBeforeRequest, System.Text.Encoding.UTF8.GetBytes(text));

    /// <summary>The next request that contains a text reaches the server, which carries it out; the answer breaks the connection.</summary>
    /// <param name="text">The text.</param>
    /// <param name="isLast">Refuses new connections from then on, before anybody can notice the break.</param>
    public void CutBeforeReply(string text, bool isLast = false) =>
        _fault = new Fault(FaultKind.CutBeforeReply, System.Text.Encoding.UTF8.GetBytes(text), isLast);

    /// <summary>From now on connections are taken and nothing is ever answered.</summary>
    public void FallSilent() => _fault = new Fault(FaultKind.Silence, []);

    /// <summary>From now on every connection ends, until <see cref="Mend"/>.</summary>
    public void Cut() => _fault = new Fault(FaultKind.Cut, []);

    /// <summary>Ends <see cref="Cut"/>.</summary>
    public void Mend() => _fault = new Fault(FaultKind.None, []);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Dispose();
        await _accepting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Task.WhenAll(_links).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (true)
        {
            var client = await _listener.AcceptSocketAsync(_stop.Token);
            _links.Add(LinkAsync(client));
        }
    }

    private async Task LinkAsync(Socket client)
    {
        using var cut = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        using (client)
        using (var server = new Socket(_server.AddressFamily, SocketType.Stream, ProtocolType.Unspecified))
        {
            await server.ConnectAsync(_server, cut.Token);
            Fault? doom = null;
            var up = PumpAsync(
                client,
                server,
                bytes =>
                {
                    var fault = _fault;
                    if (fault.Kind is FaultKind.CutBeforeRequest or FaultKind.CutBeforeReply && bytes.AsSpan().IndexOf(fault.Text) >= 0)
                    {
                        _fault = new Fault(FaultKind.None, []);
                        if (fault.Kind == FaultKind.CutBeforeRequest)
                        {
                            _tripped.TrySetResult();
                            return false;
                        }

                        doom = fault;
                    }

                    return true;
                },
                cut.Token
            );
            var down = PumpAsync(
                server,
                client,
                _ =>
                {
                    if (doom is null)
                    {
                        return true;
                    }

                    if (doom.IsLast)
                    {
                        _listener.Stop();
                    }

                    _tripped.TrySetResult();
                    return false;
                },
                cut.Token
            );
            await Task.WhenAny(up, down);
            await cut.CancelAsync();
            await Task.WhenAll(up, down).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task PumpAsync(Socket from, Socket to, Func<byte[], bool> pass, CancellationToken cancellationToken)
    {
        var buffer = new byte[64 * 1024];
        while (await from.ReceiveAsync(buffer, cancellationToken) is var count and > 0)
        {
            if (_fault.Kind == FaultKind.Silence)
            {
                continue;
            }

            if (_fault.Kind == FaultKind.Cut)
            {
                return;
            }

            if (!pass(buffer[..count]))
            {
                return;
            }

            await to.SendAsync(buffer.AsMemory(0, count), cancellationToken);
        }
    }

    private sealed record Fault(FaultKind Kind, byte[] Text, bool IsLast = false);
}
