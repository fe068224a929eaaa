using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging;

namespace ControlPlane.TestKit;

/// <summary>A request as a backend received it.</summary>
/// <param name="Path">Path with its query.</param>
/// <param name="Host">The Host header, or <c>:authority</c>.</param>
/// <param name="Headers">Headers by name, case-insensitive; values of one name joined by commas.</param>
public sealed record ReceivedRequest(string Method, string Path, string Host, ImmutableDictionary<string, string> Headers);

/// <summary>A real HTTP server on a port of 127.0.0.1 that stands behind an Envoy. It answers every request with its name, and misbehaves on order.</summary>
public sealed class TestBackend : IAsyncDisposable
{
    private readonly Lock _lock = new();
    private readonly HashSet<Socket> _connections = [];
    private WebApplication _app = null!;
    private Socket _listener = null!;
    private bool _dropsPackets;
    private long _requests;
    private ReceivedRequest? _lastRequest;

    private TestBackend(string name) => Name = name;

    /// <summary>Body of its answers, and value of their <c>x-backend</c> header.</summary>
    public string Name { get; }

    /// <summary>The port it listens on.</summary>
    public int Port { get; private set; }

    /// <summary>Time from a request to its answer.</summary>
    public TimeSpan Delay { get; set; }

    /// <summary>What it presents to new connections; null where it does not speak TLS.</summary>
    public X509Certificate2? Certificate { get; set; }

    /// <summary>Status code of the answers.</summary>
    public int Status { get; set; } = StatusCodes.Status200OK;

    /// <summary>Gives the status code of the answer to a path, in place of <see cref="Status"/>; asked for when a request has arrived, from any thread.</summary>
    public Func<string, int>? StatusOf { get; set; }

    /// <summary>Resets the connection instead of answering.</summary>
    public bool Abort { get; set; }

    /// <summary>Packets to it are dropped, as by a firewall: nothing is refused and nothing is answered, on new connections and on those that are there.</summary>
    public bool DropsPackets
    {
        get => _dropsPackets;
        set
        {
            lock (_lock)
            {
                if (_dropsPackets == value)
                {
                    return;
                }

                _dropsPackets = value;
                foreach (var socket in _connections.Prepend(_listener))
                {
                    PacketDrop.Set(socket, value);
                }
            }
        }
    }

    /// <summary>Requests received since the start.</summary>
    public long Requests => Volatile.Read(ref _requests);

    /// <summary>The newest request; null before the first.</summary>
    public ReceivedRequest? LastRequest => Volatile.Read(ref _lastRequest);

    /// <summary>Starts a backend.</summary>
    /// <param name="name">See <see cref="Name"/>.</param>
    /// <param name="protocols">HTTP/2 without a certificate is spoken with prior knowledge, as Envoy does.</param>
    /// <param name="certificate">Serves TLS with it.</param>
    /// <param name="port">0: any.</param>
    public static async Task<TestBackend> StartAsync(
        string name,
        HttpProtocols protocols = HttpProtocols.Http1,
        X509Certificate2? certificate = null,
        int port = 0
    )
    {
        var backend = new TestBackend(name) { Certificate = certificate };
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseSockets(sockets =>
            sockets.CreateBoundListenSocket = endPoint =>
                backend._listener = SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint)
        );
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Listen(
                IPAddress.Loopback,
                port,
                listen =>
                {
                    listen.Protocols = protocols;
                    listen.Use(next => connection => backend.FollowAsync(connection, next));
                    if (certificate is not null)
                    {
                        listen.UseHttps(tls => tls.ServerCertificateSelector = (_, _) => backend.Certificate);
                    }
                }
            );
        });
        backend._app = builder.Build();
        backend._app.Run(backend.AnswerAsync);
        await backend._app.StartAsync();
        backend.Port = new Uri(backend._app.Urls.Single()).Port;
        return backend;
    }

    /// <summary>Stops listening and closes its connections, as a backend that is shut down: requests in flight are answered first.</summary>
    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    private async Task FollowAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        var socket = connection.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket;
        lock (_lock)
        {
            _connections.Add(socket);
            if (_dropsPackets)
            {
                PacketDrop.Set(socket, drops: true);
            }
        }

        try
        {
            await next(connection);
        }
        finally
        {
            lock (_lock)
            {
                _connections.Remove(socket);
            }
        }
    }

    private async Task AnswerAsync(HttpContext context)
    {
        Interlocked.Increment(ref _requests);
        var request = context.Request;
        Volatile.Write(
            ref _lastRequest,
            new ReceivedRequest(
                request.Method,
                // As it was sent: the parsed path is unescaped.
                context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget,
                request.Host.Value ?? "",
                request.Headers.ToImmutableDictionary(h => h.Key, h => h.Value.ToString(), StringComparer.OrdinalIgnoreCase)
            )
        );
        var status = StatusOf?.Invoke(request.Path);
        if (Delay > TimeSpan.Zero)
        {
            await Task.Delay(Delay, TimeProvider.System, context.RequestAborted);
        }

        if (Abort)
        {
            context.Abort();
            return;
        }

        context.Response.StatusCode = status ?? Status;
        context.Response.Headers["x-backend"] = Name;
        await context.Response.WriteAsync(Name, context.RequestAborted);
    }
}
