using System.Collections.Immutable;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
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
    private readonly WebApplication _app;
    private long _requests;
    private ReceivedRequest? _lastRequest;

    private TestBackend(string name, WebApplication app)
    {
        Name = name;
        _app = app;
    }

    /// <summary>Body of its answers, and value of their <c>x-backend</c> header.</summary>
    public string Name { get; }

    /// <summary>The port it listens on.</summary>
    public int Port { get; private set; }

    /// <summary>Time from a request to its answer.</summary>
    public TimeSpan Delay { get; set; }

    /// <summary>Status code of the answers.</summary>
    public int Status { get; set; } = StatusCodes.Status200OK;

    /// <summary>Resets the connection instead of answering.</summary>
    public bool Abort { get; set; }

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
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Listen(
                IPAddress.Loopback,
                port,
                listen =>
                {
                    listen.Protocols = protocols;
                    if (certificate is not null)
                    {
                        listen.UseHttps(certificate);
                    }
                }
            );
        });
        var app = builder.Build();
        var backend = new TestBackend(name, app);
        app.Run(backend.AnswerAsync);
        await app.StartAsync();
        backend.Port = new Uri(app.Urls.Single()).Port;
        return backend;
    }

    /// <summary>Stops listening and closes its connections, as a backend that is shut down: requests in flight are answered first.</summary>
    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

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
        if (Delay > TimeSpan.Zero)
        {
            await Task.Delay(Delay, TimeProvider.System, context.RequestAborted);
        }

        if (Abort)
        {
            context.Abort();
            return;
        }

        context.Response.StatusCode = Status;
        context.Response.Headers["x-backend"] = Name;
        await context.Response.WriteAsync(Name, context.RequestAborted);
    }
}
