using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Tests.Security;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.HealthIntake.Probing;

/// <summary>The server as an observer, on real sockets and a real clock: from a backend that fails to what proxies get.</summary>
public sealed class ProberTests : IDisposable
{
    private const string Name = "shop.example.com";

    private static readonly ResourceKey Upstream = new(ResourceKind.Upstream, "cart");
    private static readonly ResourceKey Ca = new(ResourceKind.Secret, "root");

    private readonly TestCertificates _authority = new();

    public void Dispose() => _authority.Dispose();

    [Fact]
    public async Task T1_T49_A_backend_that_stops_listening_is_unhealthy_and_the_reason_is_said()
    {
        using var backends = new Listeners(3);
        await using var host = await ControlPlaneHost.StartAsync();
        await host.Client.PutAsync(Upstream, Spec(backends.Ports));
        await UntilAsync(host, h => h.Endpoints.All(e => e.State == "UP"));

        backends.Stop(1);
        var health = await UntilAsync(host, h => h.Endpoints[1].Status == "UNHEALTHY");

        Assert.Matches("UNHEALTHY since .*: one observer .*\\(connection refused.*\\(rule 5", health.Endpoints[1].Sentence);
        Assert.Equal(["HEALTHY", "UNHEALTHY", "HEALTHY"], health.Endpoints.Select(e => e.Status));
    }

    [Fact]
    public async Task T2_A_backend_that_swallows_connections_is_unhealthy_with_a_timeout()
    {
        using var backends = new Listeners(3);
        await using var host = await ControlPlaneHost.StartAsync();
        await host.Client.PutAsync(Upstream, Spec(backends.Ports));
        await UntilAsync(host, h => h.Endpoints.All(e => e.State == "UP"));

        backends.Swallow(2);
        var health = await UntilAsync(host, h => h.Endpoints[2].Status == "UNHEALTHY");

        Assert.Matches("UNHEALTHY since .*: one observer .*\\(no connection in time.*\\(rule 5", health.Endpoints[2].Sentence);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public async Task T42_A_backend_whose_certificate_expires_is_unhealthy_and_the_day_is_said()
    {
        using var mortal = _authority.IssueLoaded(n => n.AddDnsName(Name), ends: TimeSpan.FromSeconds(8));
        using var immortal = _authority.IssueLoaded(n => n.AddDnsName(Name));
        await using var first = await TestBackend.StartAsync("first", certificate: immortal);
        await using var second = await TestBackend.StartAsync("second", certificate: mortal);
        await using var third = await TestBackend.StartAsync("third", certificate: immortal);
        await using var host = await ControlPlaneHost.StartAsync();
        await PutCaAsync(host, _authority);
        await host.Client.PutAsync(Upstream, Spec([first.Port, second.Port, third.Port], tls: true));
        await UntilAsync(host, h => h.Endpoints.All(e => e.State == "UP"));

        var health = await UntilAsync(host, h => h.Endpoints.Any(e => e.Status == "UNHEALTHY"));

        var dead = Assert.Single(health.Endpoints, e => e.Status == "UNHEALTHY");
        Assert.Equal($"127.0.0.1:{second.Port}", dead.Endpoint);
        Assert.Contains("the certificate expired on", dead.Sentence, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_CA_in_the_secret_is_used_by_the_next_probes()
    {
        using var stranger = new TestCertificates();
        using var certificate = _authority.IssueLoaded(n => n.AddDnsName(Name));
        await using var backend = await TestBackend.StartAsync("only", certificate: certificate);
        await using var host = await ControlPlaneHost.StartAsync();
        await PutCaAsync(host, stranger);
        await host.Client.PutAsync(Upstream, Spec([backend.Port], tls: true));
        await UntilAsync(host, h => h.Endpoints is [{ State: "NEW" }]);

        await PutCaAsync(host, _authority);
        await UntilAsync(host, h => h.Endpoints is [{ State: "UP" }]);
    }

    [Fact]
    public async Task What_may_not_be_probed_is_in_service_without_a_probe()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        await host.Client.PutAsync(Upstream, Spec([80], address: "169.254.169.254"));
        var health = await UntilAsync(host, h => h.Endpoints is [{ State: "UP" }]);
        Assert.Equal("HEALTHY", health.Endpoints[0].Status);
        // The counts of probes are of the whole process, in which other tests probe, too.
        Assert.Empty(health.Endpoints[0].Active.Evidence);
    }

    [Theory]
    [InlineData("127.0.0.1", "127.0.0.1", null, false, true)]
    [InlineData("0.0.0.0", "127.0.0.1", null, false, false)]
    [InlineData("127.0.0.1", "0.0.0.0", null, false, false)]
    [InlineData("127.0.0.1", "127.0.0.1", "10.0.0.1", false, false)]
    [InlineData("127.0.0.1", "127.0.0.1", "127.0.0.1", false, true)]
    [InlineData("0.0.0.0", "0.0.0.0", "0.0.0.0", true, true)]
    public void Loopback_is_probed_only_by_a_server_that_listens_on_loopback_alone_or_that_is_told_to(
        string admin,
        string xds,
        string? peers,
        bool says,
        bool isProbed
    )
    {
        var options = new ServerOptions
        {
            AdminListen = new IPEndPoint(IPAddress.Parse(admin), 8080),
            XdsListen = new IPEndPoint(IPAddress.Parse(xds), 18000),
            PeerListen = peers is null ? null : new IPEndPoint(IPAddress.Parse(peers), 18001),
            Store = peers is null ? null : "Host=db",
            ProbeLoopback = says,
        };
        Assert.Equal(isProbed, options.ProbeTargets!.Refusal(new IPEndPoint(IPAddress.Loopback, 80)) is null);
        Assert.Null(options.ProbeTargets.Refusal(new IPEndPoint(IPAddress.Parse("10.0.0.1"), 80)));
        Assert.NotNull(options.ProbeTargets.Refusal(new IPEndPoint(IPAddress.Parse("169.254.169.254"), 80)));
    }

    [Fact]
    public async Task A_new_endpoint_is_in_service_as_soon_as_it_has_passed_and_not_before()
    {
        using var backends = new Listeners(3);
        await using var host = await ControlPlaneHost.StartAsync();
        await host.Client.PutAsync(Upstream, Spec(backends.Ports[..2]));
        await UntilAsync(host, h => h.Endpoints.All(e => e.State == "UP"));

        var closed = FreePort.Next();
        await host.Client.PutAsync(Upstream, Spec([.. backends.Ports[..2], closed]));
        var waiting = await UntilAsync(host, h => h.Endpoints.Length == 3);
        Assert.Null(waiting.Endpoints[2].Status);

        using var late = new TcpListener(IPAddress.Loopback, closed);
        late.Start();
        await UntilAsync(host, h => h.Endpoints[2].Status == "HEALTHY");
    }

    private static Task PutCaAsync(ControlPlaneHost host, TestCertificates authority) =>
        host.Client.PutAsync(
            Ca,
            new JsonObject
            {
                ["spec"] = new JsonObject
                {
                    ["validationContext"] = new JsonObject { ["ca"] = new JsonObject { ["inline"] = authority.AuthorityPem } },
                },
            }.ToJsonString()
        );

    private static string Spec(IEnumerable<int> ports, bool tls = false, string address = "127.0.0.1")
    {
        var spec = new JsonObject
        {
            ["health"] = new JsonObject
            {
                ["checks"] = new JsonArray(
                    new JsonObject
                    {
                        [tls ? "http" : "tcp"] = tls ? new JsonObject { ["path"] = "/" } : [],
                        ["interval"] = "500ms",
                        ["edgeInterval"] = "200ms",
                        ["timeout"] = "300ms",
                    }
                ),
            },
            ["endpoints"] = new JsonObject
            {
                ["static"] = new JsonArray([.. ports.Select(p => new JsonObject { ["address"] = address, ["port"] = p })]),
            },
        };
        if (tls)
        {
            spec["tls"] = new JsonObject { ["sni"] = Name, ["caSecret"] = Ca.Name };
        }

        return new JsonObject { ["spec"] = spec }.ToJsonString();
    }

    /// <summary>Waits for a condition on the endpoints, which the view is without until they are first looked at.</summary>
    private static Task<UpstreamHealthView> UntilAsync(ControlPlaneHost host, Func<UpstreamHealthView, bool> condition) =>
        Eventually.Get(
            "the upstream's health",
            stop => host.Client.HealthAsync(Upstream.Name, cancellationToken: stop),
            health => !health.Endpoints.IsEmpty && condition(health)
        );

    /// <summary>Backends that accept connections, until they are told otherwise.</summary>
    private sealed class Listeners : IDisposable
    {
        private readonly Socket[] _listeners;
        private readonly List<Socket> _waiting = [];

        public Listeners(int count)
        {
            _listeners =
            [
                .. Enumerable.Range(0, count).Select(_ => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp)),
            ];
            foreach (var listener in _listeners)
            {
                listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
                listener.Listen(128);
            }
        }

        public int[] Ports => [.. _listeners.Select(l => ((IPEndPoint)l.LocalEndPoint!).Port)];

        public void Stop(int backend) => _listeners[backend].Dispose();

        /// <summary>The queue of connections is full, and nobody takes any: the kernel drops what comes.</summary>
        public void Swallow(int backend)
        {
            var port = Ports[backend];
            _listeners[backend].Listen(0);
            for (var i = 0; i < 300; i++)
            {
                var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { Blocking = false };
                _waiting.Add(socket);
                try
                {
                    socket.Connect(IPAddress.Loopback, port);
                }
                catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.InProgress)
                {
                    // It waits in the queue, or in vain.
                }
            }
        }

        public void Dispose()
        {
            foreach (var socket in _listeners.Concat(_waiting))
            {
                socket.Dispose();
            }
        }
    }
}
