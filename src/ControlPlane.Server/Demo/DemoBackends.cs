using System.Collections.Immutable;
using System.Net;
using System.Threading.Channels;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;

namespace ControlPlane.Server.Demo;

/// <summary>Small HTTP servers inside this process, each on a loopback port of its own, that say who they are, and stop when they are told to.</summary>
internal sealed class DemoBackends : IAsyncDisposable
{
    private readonly Dictionary<string, (WebApplication Server, int Port)> _running = [];
    private readonly Channel<string> _told = Channel.CreateUnbounded<string>();

    private DemoBackends() { }

    /// <summary>The port of each.</summary>
    public ImmutableSortedDictionary<string, int> Ports { get; private set; } = ImmutableSortedDictionary<string, int>.Empty;

    /// <summary>Names of backends that somebody told to stop by <c>POST /stop</c>; they run until <see cref="StopAsync"/>.</summary>
    public ChannelReader<string> Told => _told.Reader;

    /// <summary>Starts one backend per name.</summary>
    public static async Task<DemoBackends> StartAsync(IReadOnlyList<string> names, CancellationToken cancellationToken)
    {
        var backends = new DemoBackends();
        foreach (var name in names)
        {
            await backends.StartAsync(name, port: 0, cancellationToken);
        }

        backends.Ports = backends._running.ToImmutableSortedDictionary(b => b.Key, b => b.Value.Port, StringComparer.Ordinal);
        return backends;
    }

    /// <summary>Closes a backend's port.</summary>
    public ValueTask StopAsync(string name) => _running.Remove(name, out var running) ? running.Server.DisposeAsync() : default;

    /// <summary>Opens the port of a stopped backend again.</summary>
    public Task StartAgainAsync(string name, CancellationToken cancellationToken) => StartAsync(name, Ports[name], cancellationToken);

    private async Task StartAsync(string name, int port, CancellationToken cancellationToken)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, port));
        builder.Services.AddRoutingCore();
        var server = builder.Build();
        server.MapPost(
            "/stop",
            () =>
            {
                _told.Writer.TryWrite(name);
                return $"{name} stops now and comes back by itself; the server says what it sees.\n";
            }
        );
        server.MapFallback(() => $"Hello from {name}\n");
        await server.StartAsync(cancellationToken);
        var address = server.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
        _running[name] = (server, new Uri(address).Port);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (var (server, _) in _running.Values)
        {
            await server.DisposeAsync();
        }
    }
}
