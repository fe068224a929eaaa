using System.Net;
using ControlPlane.AdminClient;
using ControlPlane.Server;
using ControlPlane.Server.Publishing;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace ControlPlane.TestKit;

/// <summary>The whole server in this process: real Kestrel on free loopback ports, a real store, a data folder of its own that goes with it.</summary>
public sealed class ControlPlaneHost : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly string _folder;
    private bool _isDisposed;
    private readonly HttpClient _http;

    private ControlPlaneHost(WebApplication app, Uri admin, Uri xds, string folder)
    {
        _app = app;
        Admin = admin;
        Xds = xds;
        _folder = folder;
        _http = new HttpClient { BaseAddress = admin };
        Client = new AdminApiClient(_http);
    }

    /// <summary>Address of the REST API.</summary>
    public Uri Admin { get; }

    /// <summary>Address for proxies.</summary>
    public Uri Xds { get; }

    /// <summary>Client of the REST API, without a token.</summary>
    public AdminApiClient Client { get; }

    /// <summary>For requests that the client does not make.</summary>
    public HttpClient Http => _http;

    /// <summary>The server's own parts.</summary>
    public IServiceProvider Services => _app.Services;

    /// <summary>Starts a server.</summary>
    /// <param name="configure">Changes the options, which are: free loopback ports, SQLite in a new folder.</param>
    /// <param name="services">Adds what a test injects, for example a clock.</param>
    /// <param name="isLoaded">Waits until it has its state and takes writes; false for a server that finds none.</param>
    public static async Task<ControlPlaneHost> StartAsync(
        Func<ServerOptions, ServerOptions>? configure = null,
        Action<WebApplicationBuilder>? services = null,
        bool isLoaded = true
    )
    {
        var folder = Directory.CreateTempSubdirectory("controlplane-").FullName;
        var options = new ServerOptions
        {
            AdminListen = new IPEndPoint(IPAddress.Loopback, 0),
            XdsListen = new IPEndPoint(IPAddress.Loopback, 0),
            DataDir = folder,
        };
        options = configure?.Invoke(options) ?? options;
        var app = ControlPlaneServer.Build(
            options,
            builder =>
            {
                // A test that wants to see logs adds a provider of its own.
                builder.Logging.ClearProviders();
                services?.Invoke(builder);
            }
        );
        try
        {
            await app.StartAsync();
            if (isLoaded)
            {
                await app.Services.GetRequiredService<CurrentState>().Loaded.WaitAsync(Eventually.DefaultWithin, TimeProvider.System);
            }
        }
        catch
        {
            await app.DisposeAsync();
            Directory.Delete(folder, recursive: true);
            throw;
        }

        var addresses = app
            .Services.GetRequiredService<IServer>()
            .Features.Get<IServerAddressesFeature>()!
            .Addresses.Select(a => new Uri(a))
            .ToList();
        return new ControlPlaneHost(app, addresses[0], addresses[1], folder);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        // A test may stop the server before its own end.
        if (Interlocked.Exchange(ref _isDisposed, true))
        {
            return;
        }

        _http.Dispose();
        try
        {
            await _app.StopAsync();
        }
        finally
        {
            await _app.DisposeAsync();
            Directory.Delete(_folder, recursive: true);
        }
    }
}
