using System.Collections.Immutable;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.RouteTables;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.Compilation;

/// <summary>What requests meet in an Envoy that has our listeners and route tables.</summary>
[Trait("Category", "Slow")]
public sealed class RoutingTests
{
    [Fact]
    public async Task A_request_reaches_its_upstream_as_its_route_says()
    {
        await using var backend = await TestBackend.StartAsync("users");
        await using var edge = await Edge.StartAsync(
            Listener(
                new HttpSpec
                {
                    RouteTable = "shop",
                    InlineRouteTable = true,
                    ServerHeader = ServerHeader.PassThrough,
                }
            ),
            Table(
                new RouteSpec
                {
                    Match = new RouteMatchSpec { PathTemplate = "/users/{id}/{rest=**}", Methods = ["GET", "HEAD"] },
                    Upstream = "users",
                    Rewrite = new RewriteSpec { PathTemplate = "/by-id/{id}/{rest}", Host = "users.internal" },
                    RequestHeaders = new HeaderEditsSpec
                    {
                        Set = Map(("x-route", "%ROUTE_NAME%")),
                        AddIfAbsent = Map(("x-given", "added")),
                        Remove = ["x-secret"],
                    },
                    ResponseHeaders = new HeaderEditsSpec { Set = Map(("x-served-by", "100%% us")), Remove = ["x-backend", "server"] },
                },
                new RouteSpec
                {
                    Match = new RouteMatchSpec { Path = "/old" },
                    Redirect = new RedirectSpec { Path = "/new", StatusCode = 308 },
                },
                new RouteSpec
                {
                    Match = new RouteMatchSpec { Prefix = "/" },
                    DirectResponse = new DirectResponseSpec { Status = 410, Body = "gone" },
                }
            ),
            ("users", backend.Port)
        );

        using var rewritten = await edge.SendAsync(HttpMethod.Get, "/users/7/a/b?q=1", ("x-secret", "1"), ("x-given", "mine"));
        Assert.Equal(HttpStatusCode.OK, rewritten.StatusCode);
        Assert.Equal("100% us", rewritten.Headers.GetValues("x-served-by").Single());
        Assert.False(rewritten.Headers.Contains("x-backend"));
        Assert.False(rewritten.Headers.Contains("server"));
        var received = backend.LastRequest!;
        Assert.Equal(("/by-id/7/a/b?q=1", "users.internal"), (received.Path, received.Host));
        Assert.Equal("shop/all/users/{id}/{rest=**}", received.Headers["x-route"]);
        Assert.Equal("mine", received.Headers["x-given"]);
        Assert.False(received.Headers.ContainsKey("x-secret"));

        using var redirected = await edge.SendAsync(HttpMethod.Get, "/old");
        Assert.Equal((HttpStatusCode.PermanentRedirect, "/new"), (redirected.StatusCode, redirected.Headers.Location!.AbsolutePath));

        // The template's route is for GET and HEAD alone.
        using var answered = await edge.SendAsync(HttpMethod.Post, "/users/7/a");
        Assert.Equal((HttpStatusCode.Gone, "gone"), (answered.StatusCode, await answered.Content.ReadAsStringAsync()));
    }

    [Fact]
    public async Task The_defaults_refuse_what_servers_read_differently()
    {
        await using var backend = await TestBackend.StartAsync("web");
        await using var edge = await Edge.StartAsync(
            Listener(new HttpSpec { RouteTable = "shop", InlineRouteTable = true }),
            Table(
                new RouteSpec
                {
                    Match = new RouteMatchSpec { Prefix = "/" },
                    Upstream = "web",
                }
            ),
            ("web", backend.Port)
        );

        Assert.StartsWith(
            "HTTP/1.1 400 ",
            await edge.RawAsync("GET / HTTP/1.1\r\nHost: a\r\nx_y: 1\r\nConnection: close\r\n\r\n"),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "location: /a/b\r\n",
            await edge.RawAsync("GET /a%2fb HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
            StringComparison.Ordinal
        );
        Assert.Equal(0, backend.Requests);

        await edge.RawAsync("GET /a//b/../c HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nConnection: close\r\n\r\n");
        Assert.Equal("/a/c", backend.LastRequest!.Path);
        // What the client says of itself is kept, and whom the proxy saw stands after it: for a peer on loopback its own address.
        Assert.Matches(@"^9\.9\.9\.9, ?(?!9\.9\.9\.9)[0-9a-f.:]+$", backend.LastRequest.Headers["x-forwarded-for"]);
    }

    [Fact]
    public async Task A_request_that_meets_no_endpoint_is_attributed_by_the_name_of_its_route()
    {
        await using var edge = await Edge.StartAsync(
            Listener(new HttpSpec { RouteTable = "shop", InlineRouteTable = true }) with
            {
                AccessLogs = [new AccessLogSpec { Stdout = new StdoutLogSpec() }],
            },
            Table(
                new RouteSpec
                {
                    Match = new RouteMatchSpec { Prefix = "/cart" },
                    Upstream = "cart",
                }
            )
        );

        using var response = await edge.SendAsync(HttpMethod.Get, "/cart/1");

        Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
        var line = await Eventually.Get("a line in the access log", _ => Task.FromResult(edge.Envoy.Output), text => text.Contains('\n'));
        var record = JsonNode.Parse(line.Split('\n')[0])!;
        Assert.Equal(
            ("shop/all/cart*", "cart", "UH", "no_healthy_upstream", 503),
            (
                (string?)record["route"],
                (string?)record["upstream"],
                (string?)record["flags"],
                (string?)record["details"],
                (int)record["status"]!
            )
        );
    }

    [Fact]
    public async Task A_table_may_gain_cross_origin_rules_without_a_change_of_the_listener()
    {
        await using var backend = await TestBackend.StartAsync("web");
        await using var edge = await Edge.StartAsync(
            Listener(new HttpSpec { RouteTable = "shop", InlineRouteTable = true }),
            Table(
                new RouteSpec
                {
                    Match = new RouteMatchSpec { Prefix = "/" },
                    Upstream = "web",
                    Cors = new CorsSpec
                    {
                        AllowOrigins = [new StringMatchSpec { Exact = "https://shop.example" }],
                        AllowMethods = ["PUT"],
                        MaxAge = TimeSpan.FromMinutes(10),
                    },
                }
            ),
            ("web", backend.Port)
        );

        using var allowed = await edge.SendAsync(
            HttpMethod.Options,
            "/",
            ("Origin", "https://shop.example"),
            ("Access-Control-Request-Method", "PUT")
        );
        Assert.Equal("https://shop.example", allowed.Headers.GetValues("access-control-allow-origin").Single());
        Assert.Equal("600", allowed.Headers.GetValues("access-control-max-age").Single());
        Assert.Equal(0, backend.Requests);

        using var foreign = await edge.SendAsync(
            HttpMethod.Options,
            "/",
            ("Origin", "https://other.example"),
            ("Access-Control-Request-Method", "PUT")
        );
        Assert.False(foreign.Headers.Contains("access-control-allow-origin"));
    }

    [Fact]
    public async Task The_client_of_the_PROXY_protocol_is_the_client_of_the_request()
    {
        await using var backend = await TestBackend.StartAsync("web");
        await using var edge = await Edge.StartAsync(
            Listener(new HttpSpec { RouteTable = "shop", InlineRouteTable = true }) with
            {
                ProxyProtocol = new ProxyProtocolSpec(),
            },
            Table(
                new RouteSpec
                {
                    Match = new RouteMatchSpec { Prefix = "/" },
                    Upstream = "web",
                }
            ),
            ("web", backend.Port)
        );

        var answer = await edge.RawAsync(
            "PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        );
        Assert.StartsWith("HTTP/1.1 200 ", answer, StringComparison.Ordinal);
        Assert.Equal("192.0.2.7", backend.LastRequest!.Headers["x-forwarded-for"]);

        // Without it a connection is closed.
        await Assert.ThrowsAnyAsync<IOException>(() => edge.RawAsync("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        Assert.Equal(1, backend.Requests);
    }

    [Fact]
    public async Task TLS_is_passed_on_by_its_server_name_and_closed_for_all_others()
    {
        var folder = Directory.CreateTempSubdirectory("controlplane-sni-");
        TestCertificate.Write(folder.FullName, "CN=a.example");
        using var certificate = System.Security.Cryptography.X509Certificates.X509Certificate2.CreateFromPemFile(
            Path.Combine(folder.FullName, "tls.crt"),
            Path.Combine(folder.FullName, "tls.key")
        );
        await using var one = await TestBackend.StartAsync("one", certificate: certificate);
        await using var two = await TestBackend.StartAsync("two", certificate: certificate);
        await using var edge = await Edge.StartAsync(
            new ListenerSpec
            {
                FilterChains =
                [
                    new FilterChainSpec
                    {
                        ServerNames = ["A.example"],
                        Tcp = new TcpSpec { Upstream = "one" },
                    },
                    new FilterChainSpec
                    {
                        ServerNames = ["*.b.example"],
                        Tcp = new TcpSpec { Upstream = "two" },
                    },
                ],
            },
            routes: null,
            ("one", one.Port),
            ("two", two.Port)
        );

        Assert.Equal("one", await edge.BehindServerNameAsync("a.example"));
        Assert.Equal("two", await edge.BehindServerNameAsync("x.b.example"));
        await Assert.ThrowsAnyAsync<IOException>(() => edge.BehindServerNameAsync("c.example"));
        folder.Delete(recursive: true);
    }

    private static ListenerSpec Listener(HttpSpec http) => new() { Http = http };

    private static RouteTableSpec Table(params ReadOnlySpan<RouteSpec> routes) =>
        new()
        {
            VirtualHosts =
            [
                new VirtualHostSpec
                {
                    Name = "all",
                    Domains = ["*"],
                    Routes = [.. routes],
                },
            ],
        };

    private static ImmutableSortedDictionary<string, string> Map(params ReadOnlySpan<(string Key, string Value)> entries)
    {
        var map = ImmutableSortedDictionary<string, string>.Empty;
        foreach (var (key, value) in entries)
        {
            map = map.Add(key, value);
        }
        return map;
    }

    /// <summary>An Envoy with one listener.</summary>
    private sealed class Edge : IAsyncDisposable
    {
        private readonly HttpClient _http = new(new SocketsHttpHandler { AllowAutoRedirect = false });
        private readonly int _port = FreePort.Next();

        public EnvoyFixture Envoy { get; } = new();

        public static async Task<Edge> StartAsync(
            ListenerSpec listener,
            RouteTableSpec? routes,
            params (string Upstream, int Port)[] backends
        )
        {
            var edge = new Edge();
            var compiled = StaticConfiguration.Compile(listener with { Address = "127.0.0.1", Port = (uint)edge._port }, routes);
            await edge.Envoy.StartAsync(StaticConfiguration.Of([compiled], backends.ToDictionary(b => b.Upstream, b => b.Port)));
            await edge.Envoy.ReadyAsync();
            return edge;
        }

        public Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, params (string Name, string Value)[] headers)
        {
            var request = new HttpRequestMessage(method, $"http://127.0.0.1:{_port}{path}");
            foreach (var (name, value) in headers)
            {
                request.Headers.TryAddWithoutValidation(name, value);
            }
            return _http.SendAsync(request);
        }

        /// <summary>Sends bytes as they are and reads until the other side closes.</summary>
        public async Task<string> RawAsync(string text)
        {
            using var client = new TcpClient();
            await client.ConnectAsync(IPAddress.Loopback, _port);
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(text));
            using var reader = new StreamReader(client.GetStream(), Encoding.ASCII);
            return await reader.ReadToEndAsync();
        }

        /// <summary>The body of the answer behind a server name.</summary>
        public async Task<string> BehindServerNameAsync(string name)
        {
            using var client = new TcpClient();
            await client.ConnectAsync(IPAddress.Loopback, _port);
            await using var tls = new SslStream(client.GetStream(), leaveInnerStreamOpen: false, (_, _, _, _) => true);
            await tls.AuthenticateAsClientAsync(name);
            await tls.WriteAsync(Encoding.ASCII.GetBytes($"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"));
            using var reader = new StreamReader(tls, Encoding.ASCII);
            var answer = await reader.ReadToEndAsync();
            return answer.Contains("x-backend: one", StringComparison.OrdinalIgnoreCase) ? "one"
                : answer.Contains("x-backend: two", StringComparison.OrdinalIgnoreCase) ? "two"
                : answer;
        }

        public async ValueTask DisposeAsync()
        {
            _http.Dispose();
            await Envoy.DisposeAsync();
        }
    }
}
