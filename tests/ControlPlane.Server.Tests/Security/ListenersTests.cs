using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using ControlPlane.Server.Admin;
using ControlPlane.Server.Security;
using ControlPlane.TestKit;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Server.Tests.Security;

/// <summary>The two doors on a real Kestrel, with endpoints of the test's own behind them.</summary>
public sealed class ListenersTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("cp-listen-").FullName;
    private readonly TestCertificates _certificates = new();

    public void Dispose()
    {
        _certificates.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static readonly ServerOptions Loopback = new()
    {
        AdminListen = new IPEndPoint(IPAddress.Loopback, 0),
        XdsListen = new IPEndPoint(IPAddress.Loopback, 0),
    };

    [Fact]
    public async Task An_endpoint_is_only_behind_its_own_door()
    {
        await using var server = await Server.StartAsync(Loopback);
        using var http1 = new HttpClient();
        using var http2 = new HttpClient
        {
            DefaultRequestVersion = HttpVersion.Version20,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };

        Assert.Equal("local", await http1.GetStringAsync(server.Admin + "read"));
        Assert.Equal(HttpStatusCode.NotFound, (await http1.GetAsync(server.Admin + "xds")).StatusCode);
        Assert.Equal("xds", await http2.GetStringAsync(server.Xds + "xds"));

        // The host header is the client's to choose and opens nothing.
        using var request = new HttpRequestMessage(HttpMethod.Get, server.Xds + "read")
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        request.Headers.Host = server.Admin.Authority;
        Assert.Equal(HttpStatusCode.NotFound, (await http2.SendAsync(request)).StatusCode);
    }

    [Fact]
    public async Task Tokens_open_by_role()
    {
        var (reader, readerLine) = TokenFile.Create("viewer", TokenRole.Read);
        var (writer, writerLine) = TokenFile.Create("ci", TokenRole.Write);
        await using var server = await Server.StartAsync(
            Loopback with
            {
                AdminTokenFile = Write("tokens", readerLine + "\n" + writerLine),
            }
        );

        Assert.Equal(HttpStatusCode.OK, (await SendAsync(server, HttpMethod.Get, "/read", reader)).StatusCode);
        Assert.Equal("ci", await (await SendAsync(server, HttpMethod.Put, "/write", writer)).Content.ReadAsStringAsync());

        var anonymous = await SendAsync(server, HttpMethod.Get, "/read", null);
        Assert.Equal(HttpStatusCode.Unauthorized, anonymous.StatusCode);
        Assert.Equal("Bearer realm=\"controlplane\"", anonymous.Headers.WwwAuthenticate.ToString());
        Assert.Equal("urn:controlplane:problem:unauthorized", await TypeOf(anonymous));

        var unknown = await SendAsync(server, HttpMethod.Get, "/read", reader + "x");
        Assert.Equal(HttpStatusCode.Unauthorized, unknown.StatusCode);
        Assert.Contains("invalid_token", unknown.Headers.WwwAuthenticate.ToString(), StringComparison.Ordinal);

        var forbidden = await SendAsync(server, HttpMethod.Put, "/write", reader);
        Assert.Equal(HttpStatusCode.Forbidden, forbidden.StatusCode);
        Assert.Equal("urn:controlplane:problem:forbidden", await TypeOf(forbidden));
    }

    [Fact]
    public async Task A_changed_token_file_takes_effect_and_a_broken_one_does_not()
    {
        var (first, firstLine) = TokenFile.Create("first", TokenRole.Read);
        var (second, secondLine) = TokenFile.Create("second", TokenRole.Read);
        var path = Write("tokens", firstLine);
        await using var server = await Server.StartAsync(Loopback with { AdminTokenFile = path });

        await File.WriteAllTextAsync(path, secondLine);
        await Eventually.True(
            "the new token to open",
            async _ => (await SendAsync(server, HttpMethod.Get, "/read", second)).IsSuccessStatusCode
        );
        Assert.Equal(HttpStatusCode.Unauthorized, (await SendAsync(server, HttpMethod.Get, "/read", first)).StatusCode);

        await File.WriteAllTextAsync(path, "not a token file");
        var broken = await server.Logs.FirstAsync(5002);
        Assert.Contains("line 1", broken, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.OK, (await SendAsync(server, HttpMethod.Get, "/read", second)).StatusCode);
    }

    [Fact]
    public async Task A_token_file_that_cannot_be_used_stops_the_start()
    {
        var missing = await Assert.ThrowsAsync<StartupException>(() =>
            Server.StartAsync(Loopback with { AdminTokenFile = Path.Combine(_folder, "none") })
        );
        var broken = await Assert.ThrowsAsync<StartupException>(() =>
            Server.StartAsync(Loopback with { AdminTokenFile = Write("tokens", "x") })
        );

        Assert.Contains("--admin-token-file", missing.Message, StringComparison.Ordinal);
        Assert.Contains("token create NAME", broken.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Unprotected_wide_binds_do_not_start() =>
        Assert.Contains(
            "--admin-token-file",
            (
                await Assert.ThrowsAsync<StartupException>(() =>
                    Server.StartAsync(Loopback with { AdminListen = new IPEndPoint(IPAddress.Any, 0) })
                )
            ).Message,
            StringComparison.Ordinal
        );

    [Theory]
    [InlineData("Host", "evil.example")]
    [InlineData("Origin", "http://evil.example")]
    [InlineData("Sec-Fetch-Site", "cross-site")]
    public async Task Web_pages_are_kept_out_where_there_are_no_tokens(string header, string value)
    {
        await using var server = await Server.StartAsync(Loopback);
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Put, server.Admin + "write");
        request.Headers.TryAddWithoutValidation(header, value);

        Assert.Equal(HttpStatusCode.Forbidden, (await http.SendAsync(request)).StatusCode);
    }

    [Fact]
    public async Task The_pages_of_the_server_itself_may_call_it()
    {
        await using var server = await Server.StartAsync(Loopback);
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Put, server.Admin + "write");
        request.Headers.Add("Origin", server.Admin.GetLeftPart(UriPartial.Authority));
        request.Headers.Add("Sec-Fetch-Site", "same-origin");

        Assert.Equal(HttpStatusCode.OK, (await http.SendAsync(request)).StatusCode);
    }

    [Fact]
    public async Task Certificates_are_renewed_without_a_restart()
    {
        var (certificate, key) = _certificates.Issue(n => n.AddDnsName("first"));
        var options = Loopback with { AdminTlsCert = Write("cert", certificate), AdminTlsKey = Write("key", key) };
        await using var server = await Server.StartAsync(options);
        Assert.Equal(["first"], await ShownByAsync(server.Admin));

        // Half of the pair must not be used, and not be the end of it either.
        (certificate, key) = _certificates.Issue(n => n.AddDnsName("second"));
        await File.WriteAllTextAsync(options.AdminTlsCert!, certificate);
        await server.Logs.FirstAsync(5004);
        Assert.Equal(["first"], await ShownByAsync(server.Admin));

        await File.WriteAllTextAsync(options.AdminTlsKey!, key);
        await server.Logs.FirstAsync(5003);
        Assert.Equal(["second"], await ShownByAsync(server.Admin));
    }

    [Fact]
    public async Task Proxies_without_a_certificate_of_our_authority_get_no_connection()
    {
        var (certificate, key) = _certificates.Issue(n => n.AddIpAddress(IPAddress.Loopback));
        using var strangers = new TestCertificates();
        using var stranger = strangers.IssueLoaded(n => n.AddDnsName("edge-1"));
        using var proxy = _certificates.IssueLoaded(n => n.AddDnsName("edge-1"));
        await using var server = await Server.StartAsync(
            Loopback with
            {
                XdsTlsCert = Write("cert", certificate),
                XdsTlsKey = Write("key", key),
                XdsClientCa = Write("ca", _certificates.AuthorityPem),
            }
        );

        Assert.Equal("edge-1", await GetXdsAsync(server, proxy));
        await Assert.ThrowsAsync<HttpRequestException>(() => GetXdsAsync(server, null));
        await Assert.ThrowsAsync<HttpRequestException>(() => GetXdsAsync(server, stranger));
        Assert.Contains("shows none", await server.Logs.FirstAsync(5006), StringComparison.Ordinal);
        Assert.Contains(stranger.Subject, await server.Logs.FirstAsync(5006), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_certificate_that_is_no_use_stops_the_start()
    {
        var (certificate, _) = _certificates.Issue(n => n.AddDnsName("a"));
        var (_, otherKey) = _certificates.Issue(n => n.AddDnsName("b"));
        var options = Loopback with { AdminTlsCert = Write("cert", certificate), AdminTlsKey = Write("key", otherKey) };

        var fault = await Assert.ThrowsAsync<StartupException>(() => Server.StartAsync(options));

        Assert.Contains("--admin-tls-cert", fault.Message, StringComparison.Ordinal);
        Assert.Contains("not the private key of the first certificate", fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("PRIVATE KEY", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_flood_at_one_door_leaves_the_other_open()
    {
        await using var server = await Server.StartAsync(Loopback with { MaxAdminConnections = 3 });
        var flood = new List<TcpClient>();
        try
        {
            for (var i = 0; i < 3; i++)
            {
                var client = new TcpClient();
                await client.ConnectAsync(IPAddress.Loopback, server.Admin.Port);
                flood.Add(client);
                // An answer shows that the connection is counted.
                Assert.True(await IsAnsweredAsync(client));
            }

            using var one = new TcpClient();
            await one.ConnectAsync(IPAddress.Loopback, server.Admin.Port);
            Assert.False(await IsAnsweredAsync(one));

            using var http2 = new HttpClient
            {
                DefaultRequestVersion = HttpVersion.Version20,
                DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
            };
            Assert.Equal("xds", await http2.GetStringAsync(server.Xds + "xds"));
        }
        finally
        {
            flood.ForEach(c => c.Dispose());
        }

        // Who leaves makes room.
        using var http = new HttpClient();
        await Eventually.True(
            "the listener to take connections again",
            async stop => await http.GetStringAsync(server.Admin + "read", stop) == "local"
        );
    }

    [Fact]
    public async Task Connections_that_say_nothing_keep_nobody_out_and_are_closed()
    {
        await using var server = await Server.StartAsync(Loopback with { MaxAdminConnections = 3 });
        var silent = new List<TcpClient>();
        try
        {
            for (var i = 0; i < 10; i++)
            {
                var client = new TcpClient();
                await client.ConnectAsync(IPAddress.Loopback, server.Admin.Port);
                silent.Add(client);
            }

            using var http = new HttpClient();
            Assert.Equal("local", await http.GetStringAsync(server.Admin + "read"));
            // The oldest made room.
            Assert.False(await IsOpenAsync(silent[0]));
        }
        finally
        {
            silent.ForEach(c => c.Dispose());
        }
    }

    private static async Task<bool> IsOpenAsync(TcpClient client)
    {
        try
        {
            return await client.GetStream().ReadAsync(new byte[1]) > 0;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static async Task<bool> IsAnsweredAsync(TcpClient client)
    {
        try
        {
            await client.GetStream().WriteAsync("GET /read HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray());
            return await client.GetStream().ReadAsync(new byte[1024]) > 0;
        }
        catch (IOException)
        {
            // It was closed, before the request was sent or after.
            return false;
        }
    }

    private string Write(string name, string text)
    {
        var path = Path.Combine(_folder, name);
        File.WriteAllText(path, text);
        return path;
    }

    private static async Task<HttpResponseMessage> SendAsync(Server server, HttpMethod method, string path, string? token)
    {
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(method, server.Admin + path[1..]);
        request.Headers.Authorization = token is null ? null : new AuthenticationHeaderValue("Bearer", token);
        return await http.SendAsync(request);
    }

    private static async Task<string?> TypeOf(HttpResponseMessage response)
    {
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        using var json = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        return json.RootElement.GetProperty("type").GetString();
    }

    private async Task<IEnumerable<string>> ShownByAsync(Uri address)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, address.Port);
        await using var tls = new SslStream(client.GetStream());
        await tls.AuthenticateAsClientAsync(TrustOurs());
        using var shown = new X509Certificate2(tls.RemoteCertificate!);
        return PeerIdentity.Of(shown).Names;
    }

    /// <summary>Trusts what the test's authority issued, whatever it is issued to.</summary>
    private SslClientAuthenticationOptions TrustOurs()
    {
        var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.Add(X509Certificate2.CreateFromPem(_certificates.AuthorityPem));
        return new SslClientAuthenticationOptions
        {
            TargetHost = "localhost",
            CertificateChainPolicy = policy,
            RemoteCertificateValidationCallback = (_, _, _, errors) =>
                (errors & SslPolicyErrors.RemoteCertificateChainErrors) == SslPolicyErrors.None,
        };
    }

    private async Task<string> GetXdsAsync(Server server, X509Certificate2? certificate)
    {
        using var handler = new SocketsHttpHandler();
        handler.SslOptions = TrustOurs();
        if (certificate is not null)
        {
            handler.SslOptions.ClientCertificates = [certificate];
        }

        using var http = new HttpClient(handler)
        {
            DefaultRequestVersion = HttpVersion.Version20,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        return await http.GetStringAsync(server.Xds + "peer");
    }

    private sealed class Server(WebApplication app, LogRecorder logs, Uri admin, Uri xds) : IAsyncDisposable
    {
        public Uri Admin { get; } = admin;

        public Uri Xds { get; } = xds;

        public LogRecorder Logs { get; } = logs;

        public static async Task<Server> StartAsync(ServerOptions options)
        {
            var builder = WebApplication.CreateSlimBuilder();
            builder.WebHost.UseKestrelHttpsConfiguration();
            builder.Logging.ClearProviders();
            var logs = new LogRecorder();
            builder.Logging.AddProvider(logs);
            builder.Services.AddSingleton(TimeProvider.System);
            builder.Services.AddSingleton(options);
            builder.AddSecurity(options);
            var app = builder.Build();
            app.UseMiddleware<ProblemResponses>();
            app.UseRouting();
            app.UseSecurity();
            app.MapGet("/read", (HttpContext http) => http.Author()).RequireAuthorization(Access.Read).OnAdminListener();
            app.MapPut("/write", (HttpContext http) => http.Author()).RequireAuthorization(Access.Write).OnAdminListener();
            app.MapGet("/xds", () => "xds").OnXdsListener();
            app.MapGet("/peer", (HttpContext http) => string.Join(',', PeerIdentity.Of(http).Names)).OnXdsListener();
            try
            {
                await app.StartAsync();
            }
            catch
            {
                await app.DisposeAsync();
                throw;
            }

            var addresses = app
                .Services.GetRequiredService<IServer>()
                .Features.Get<IServerAddressesFeature>()!
                .Addresses.Select(a => new Uri(a))
                .ToList();
            return new Server(app, logs, addresses[0], addresses[1]);
        }

        public ValueTask DisposeAsync() => app.DisposeAsync();
    }
}
