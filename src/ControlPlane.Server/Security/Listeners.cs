using System.Net;
using System.Net.Sockets;
using ControlPlane.Server.Discovery;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;

namespace ControlPlane.Server.Security;

/// <summary>The doors of the server.</summary>
internal enum Listener
{
    /// <summary>REST API, documentation, health: HTTP/1.1 and, over TLS, HTTP/2.</summary>
    Admin,

    /// <summary>Proxies: gRPC and polling. Without TLS this is HTTP/2 with prior knowledge, because nothing negotiates; over TLS HTTP/1.1 is spoken too.</summary>
    Xds,

    /// <summary>Other servers on the same database: gRPC.</summary>
    Peers,
}

/// <summary>On each connection: through which door it came. A request cannot say this of itself, as it can a host name.</summary>
internal sealed record ListenerFeature(Listener Listener);

/// <summary>On each endpoint: behind which door it is. One without is behind none.</summary>
internal sealed record ListenerMetadata(Listener Listener);

/// <summary>Kestrel's configuration: the listeners, their TLS and their limits.</summary>
internal static class Listeners
{
    /// <summary>Each of the other servers has a few.</summary>
    private const int MaxPeerConnections = 1000;

    /// <summary>Puts endpoints behind the API's door.</summary>
    public static TBuilder OnAdminListener<TBuilder>(this TBuilder builder)
        where TBuilder : IEndpointConventionBuilder => builder.WithMetadata(new ListenerMetadata(Listener.Admin));

    /// <summary>Puts endpoints behind the proxies' door.</summary>
    public static TBuilder OnXdsListener<TBuilder>(this TBuilder builder)
        where TBuilder : IEndpointConventionBuilder => builder.WithMetadata(new ListenerMetadata(Listener.Xds));

    /// <summary>Puts endpoints behind the door of the other servers.</summary>
    public static TBuilder OnPeerListener<TBuilder>(this TBuilder builder)
        where TBuilder : IEndpointConventionBuilder => builder.WithMetadata(new ListenerMetadata(Listener.Peers));

    public static void Configure(KestrelServerOptions kestrel, ServerOptions options)
    {
        var services = kestrel.ApplicationServices;
        var time = services.GetRequiredService<TimeProvider>();
        var logger = services.GetRequiredService<ILogger<TlsMaterial>>();
        var limitLogger = services.GetRequiredService<ILogger<ConnectionLimit>>();

        kestrel.AddServerHeader = false;
        // Envoy says ":scheme: http" on its gRPC streams over TLS, too. Nothing here goes by the scheme that a client claims.
        kestrel.AllowAlternateSchemes = true;
        var limits = kestrel.Limits;
        // The API has its own limit. With Kestrel's, a client that is still sending would see its connection reset in place of the answer.
        limits.MaxRequestBodySize = null;
        limits.MaxRequestHeadersTotalSize = 32 * 1024;
        limits.MaxRequestHeaderCount = 100;
        limits.MaxRequestLineSize = 8 * 1024;
        limits.RequestHeadersTimeout = TimeSpan.FromSeconds(15);
        limits.KeepAliveTimeout = TimeSpan.FromMinutes(2);
        // Limits hold for both listeners. What is slow on the API is ended by its request time-out.
        limits.ConfigureForDiscovery();

        Listen(
            kestrel,
            options.AdminListen,
            Door(
                Listener.Admin,
                options.MaxAdminConnections,
                Tls("--admin", options.AdminTlsCert, options.AdminTlsKey, null),
                HttpProtocols.Http1
            )
        );
        Listen(
            kestrel,
            options.XdsListen,
            Door(
                Listener.Xds,
                options.MaxXdsConnections,
                Tls("--xds", options.XdsTlsCert, options.XdsTlsKey, options.XdsClientCa),
                HttpProtocols.Http2
            )
        );

        if (options.EffectivePeerListen is { } peers)
        {
            var tls = Tls("--peer", options.PeerTlsCert, options.PeerTlsKey, options.PeerClientCa);
            services.GetRequiredService<TlsMaterials>().Peers = tls;
            Listen(kestrel, peers, Door(Listener.Peers, MaxPeerConnections, tls, HttpProtocols.Http2));
        }

        TlsMaterial? Tls(string name, string? cert, string? key, string? clientCa) =>
            cert is null
                ? null
                : services.GetRequiredService<TlsMaterials>().Add(new TlsMaterial(name, cert, key!, clientCa, time, logger));

        Action<ListenOptions> Door(Listener listener, int maxConnections, TlsMaterial? tls, HttpProtocols withoutTls) =>
            listen =>
            {
                listen.Protocols = tls is null ? withoutTls : HttpProtocols.Http1AndHttp2;
                var limit = new ConnectionLimit(listener, maxConnections, time, limitLogger);
                listen.Use(limit.Wrap);
                var feature = new ListenerFeature(listener);
                listen.Use(next =>
                    connection =>
                    {
                        connection.Features.Set(feature);
                        return next(connection);
                    }
                );
                if (tls is not null)
                {
                    listen.UseHttps(
                        new TlsHandshakeCallbackOptions
                        {
                            HandshakeTimeout = TimeSpan.FromSeconds(10),
                            OnConnection = context => ValueTask.FromResult(tls.CreateOptions(context.Connection.RemoteEndPoint)),
                        }
                    );
                }
            };
    }

    /// <summary>
    /// Why the server cannot listen where it is told to, as one sentence per address that says what to do; null if it can. Listens nowhere: another program can
    /// still be faster.
    /// </summary>
    public static string? WhyNot(ServerOptions options)
    {
        var reasons = new List<string>();
        foreach (
            var (flag, endPoint) in (ReadOnlySpan<(string, EndPoint?)>)
                [
                    ("--admin-listen", options.AdminListen),
                    ("--xds-listen", options.XdsListen),
                    ("--peer-listen", options.EffectivePeerListen),
                ]
        )
        {
            if (endPoint is not null && WhyNot(endPoint) is { } reason)
            {
                reasons.Add($"{flag} {ListenAddress.Format(endPoint)}: {reason} Or choose another address: {flag} ADDRESS.");
            }
        }

        return reasons.Count == 0 ? null : string.Join(Environment.NewLine, reasons);
    }

    private static string? WhyNot(EndPoint endPoint)
    {
        try
        {
            if (endPoint is UnixDomainSocketEndPoint)
            {
                return WhyNotSocket(endPoint.ToString()!, endPoint);
            }

            var ip = (IPEndPoint)endPoint;
            var isAny = ip.Address.Equals(IPAddress.IPv6Any);
            using var socket = isAny
                ? new Socket(SocketType.Stream, ProtocolType.Tcp)
                : new Socket(ip.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(isAny && !Socket.OSSupportsIPv6 ? new IPEndPoint(IPAddress.Any, ip.Port) : ip);
            return null;
        }
        catch (SocketException e)
        {
            return (e.SocketErrorCode, endPoint) switch
            {
                (SocketError.AddressAlreadyInUse, IPEndPoint { Port: var port }) =>
                    $"another program listens there, perhaps another ControlPlane; 'ss -ltnp sport = :{port}' names it. End it.",
                (SocketError.AccessDenied, IPEndPoint) => "this account may not listen on so low a port. Let it (CAP_NET_BIND_SERVICE).",
                (SocketError.AddressNotAvailable, IPEndPoint) => "this machine has no such address; 'ip address' lists those that it has.",
                _ => e.Message + ".",
            };
        }
    }

    private static string? WhyNotSocket(string path, EndPoint endPoint)
    {
        RemoveAbandoned(path);
        if (File.Exists(path))
        {
            return new FileInfo(path).Length > 0
                ? "this is a file and not a socket. Move it away."
                : $"another program listens there, perhaps another ControlPlane; 'ss -lxp src {path}' names it. End it.";
        }

        if (!Directory.Exists(Path.GetDirectoryName(Path.GetFullPath(path))))
        {
            return "there is no such folder. Make it.";
        }

        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(endPoint);
        File.Delete(path);
        return null;
    }

    private static void Listen(KestrelServerOptions kestrel, EndPoint endPoint, Action<ListenOptions> configure)
    {
        switch (endPoint)
        {
            case UnixDomainSocketEndPoint socket:
                var path = socket.ToString()!;
                RemoveAbandoned(path);
                kestrel.ListenUnixSocket(path, configure);
                break;
            case IPEndPoint { Address: var address, Port: var port } when address.Equals(IPAddress.IPv6Any):
                kestrel.ListenAnyIP(port, configure);
                break;
            default:
                kestrel.Listen(endPoint, configure);
                break;
        }
    }

    /// <summary>What a killed process left behind would keep the next one from listening. A socket that somebody answers is left alone, and so is a file that is none.</summary>
    private static void RemoveAbandoned(string path)
    {
        if (!File.Exists(path) || new FileInfo(path).Length > 0)
        {
            return;
        }

        try
        {
            using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            File.Delete(path);
        }
    }
}

/// <summary>Keeps what the listeners loaded, to let go of it when the server ends.</summary>
internal sealed class TlsMaterials : IDisposable
{
    private readonly List<TlsMaterial> _materials = [];

    /// <summary>What is shown to other servers; null without TLS.</summary>
    public TlsMaterial? Peers { get; set; }

    public TlsMaterial Add(TlsMaterial material)
    {
        _materials.Add(material);
        return material;
    }

    public void Dispose() => _materials.ForEach(m => m.Dispose());
}

/// <summary>
/// Bounds the connections of one listener, so that a flood at one door leaves the other open. Kestrel's own limit counts both together. Connections on which nothing was sent
/// yet are counted by themselves, and the oldest gives way to a new one: who opens many and says nothing keeps nobody out.
/// </summary>
internal sealed partial class ConnectionLimit(Listener listener, int max, TimeProvider time, ILogger<ConnectionLimit> logger)
{
    /// <summary>How long a connection may say nothing at first. Kestrel would wait as long as between two requests.</summary>
    private static readonly TimeSpan FirstByte = TimeSpan.FromSeconds(15);

    private readonly LinkedList<ConnectionContext> _silent = [];
    private int _open;
    private int _refusing;

    public ConnectionDelegate Wrap(ConnectionDelegate next) =>
        async connection =>
        {
            if (!await SpeaksAsync(connection))
            {
                connection.Abort(new ConnectionAbortedException("Nothing was sent."));
                return;
            }

            try
            {
                if (Interlocked.Increment(ref _open) > max)
                {
                    if (Interlocked.Exchange(ref _refusing, 1) == 0)
                    {
                        LogRefusing(logger, listener, max);
                    }

                    connection.Abort(new ConnectionAbortedException("Too many connections."));
                    return;
                }

                await next(connection);
            }
            finally
            {
                // Said once per flood, not once per connection.
                if (Interlocked.Decrement(ref _open) < max / 2)
                {
                    Volatile.Write(ref _refusing, 0);
                }
            }
        };

    private async Task<bool> SpeaksAsync(ConnectionContext connection)
    {
        LinkedListNode<ConnectionContext> place;
        ConnectionContext? oldest = null;
        lock (_silent)
        {
            if (_silent.Count >= max)
            {
                oldest = _silent.First!.Value;
                _silent.RemoveFirst();
            }

            place = _silent.AddLast(connection);
        }

        oldest?.Abort(new ConnectionAbortedException("Nothing was sent, and others wait."));
        using var timeout = new CancellationTokenSource(FirstByte, time);
        try
        {
            var input = connection.Transport.Input;
            var read = await input.ReadAsync(timeout.Token);
            // Left where it is for who reads the request.
            input.AdvanceTo(read.Buffer.Start);
            return !read.Buffer.IsEmpty;
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            return false;
        }
        finally
        {
            lock (_silent)
            {
                if (place.List is not null)
                {
                    _silent.Remove(place);
                }
            }
        }
    }

    [LoggerMessage(5005, LogLevel.Warning, "The {Listener} listener has {Max} connections, its limit, and closes new ones")]
    private static partial void LogRefusing(ILogger logger, Listener listener, int max);
}

/// <summary>Answers 404 where an endpoint is asked for through the wrong door, or has none.</summary>
internal sealed class DoorCheck(RequestDelegate next)
{
    public Task InvokeAsync(HttpContext http)
    {
        // What routing itself answers with (405, 415) is no RouteEndpoint and behind every door.
        if (
            http.GetEndpoint() is RouteEndpoint endpoint
            && http.Features.Get<ListenerFeature>()?.Listener != endpoint.Metadata.GetMetadata<ListenerMetadata>()?.Listener
        )
        {
            http.SetEndpoint(null);
        }

        return next(http);
    }
}
