using System.Runtime.CompilerServices;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests;

public sealed class ShutdownTests
{
    [Fact]
    public async Task A_server_that_stops_ends_the_streams_of_its_proxies_and_does_not_wait_for_them()
    {
        await using var envoy = new EnvoyFixture();
        var server = await ControlPlaneHost.StartAsync();
        await envoy.StartAsync(await File.ReadAllTextAsync(BootstrapPath()), new Dictionary<int, int> { [18000] = server.Xds.Port });
        await envoy.ReadyAsync();
        Assert.Equal(1, await envoy.StatAsync("control_plane.connected_state"));

        // Kestrel alone would wait for 30 s. Envoy asks again in the meantime, and must not be let in.
        await server.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(10), TimeProvider.System);

        await Eventually.Get("Envoy to notice", token => envoy.StatAsync("control_plane.connected_state", token), value => value == 0);
        Assert.StartsWith("LIVE", await envoy.GetAsync("ready"), StringComparison.Ordinal);
    }

    private static string BootstrapPath([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "../../envoy/edge.yaml");
}
