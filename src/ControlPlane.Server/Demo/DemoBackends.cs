using System.Collections.Immutable;
using System.Net;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;

namespace ControlPlane.Server.Demo;

/// <summary>Small HTTP servers inside this process, each on a free loopback port, that say who they are.</summary>
internal sealed class DemoBackends : IAsyncDisposable
{
    private readonly ImmutableArray<WebApplication> _servers;

    private DemoBackends(ImmutableArray<WebApplication> servers, ImmutableArray<int> ports)
    {
        _servers = servers;
        Ports = ports;
    }

    /// <summary>The ports, in the order of the backends' names.</summary>
    public ImmutableArray<int> Ports { get; }

    /// <summary>Starts one backend per name.</summary>
    public static async Task<DemoBackends> StartAsync(IReadOnlyList<string> names, CancellationToken cancellationToken)
    {
        var servers = ImmutableArray.CreateBuilder<WebApplication>();
        var ports = ImmutableArray.CreateBuilder<int>();
        foreach (var name in names)
        {
            var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
            builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
            builder.Services.AddRoutingCore();
            var server = builder.Build();
            server.Run(context => context.Response.WriteAsync($"Hello from {name}\n", context.RequestAborted));
            await server.StartAsync(cancellationToken);
            servers.Add(server);
            var address = server.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
            ports.Add(new Uri(address).Port);
        }

        return new DemoBackends(servers.ToImmutable(), ports.ToImmutable());
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (var server in _servers)
        {
            await server.DisposeAsync();
        }
    }
}
