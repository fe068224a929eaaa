using System.Net;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Tests.Security;
using ControlPlane.TestKit;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.HealthIntake.Probing;

public sealed class TlsProbeTests : IDisposable
{
    private const string Name = "shop.example.com";

    private static readonly UpstreamTlsSpec Verified = new() { Sni = Name, CaSecret = "root" };

    private readonly TestCertificates _authority = new();
    private readonly (string Certificate, string Key) _client;

    public TlsProbeTests()
    {
        _client = _authority.Issue(n => n.AddDnsName("client"));
    }

    public void Dispose() => _authority.Dispose();

    [Fact]
    public async Task A_certificate_of_the_trusted_CA_for_the_name_passes()
    {
        string? asked = null;
        await using var backend = Serve(
            new SslServerAuthenticationOptions
            {
                ServerCertificateSelectionCallback = (_, name) =>
                {
                    asked = name;
                    return Issue(Name);
                },
            }
        );
        var result = await ProbeAsync(backend.Port, Verified);
        Assert.Equal((true, "HTTP 200"), (result.Passed, result.Text));
        Assert.Equal(Name, asked);
    }

    [Theory]
    [InlineData("other.example.com", "the certificate is for other.example.com, not for shop.example.com")]
    [InlineData("*.other.example.com", "the certificate is for *.other.example.com, not for shop.example.com")]
    [InlineData("*.com", "the certificate is for *.com, not for shop.example.com")]
    public async Task A_certificate_for_another_name_fails(string name, string text)
    {
        await using var backend = Serve(Issue(name));
        var result = await ProbeAsync(backend.Port, Verified);
        Assert.Equal((FailureClass.Tls, text), (result.Class, result.Text));
    }

    [Fact]
    public async Task A_wildcard_covers_one_label()
    {
        await using var backend = Serve(Issue("*.example.com"));
        Assert.True((await ProbeAsync(backend.Port, Verified)).Passed);
    }

    [Fact]
    public async Task Names_that_are_asked_for_go_before_the_server_name()
    {
        using var certificate = _authority.IssueLoaded(names =>
        {
            names.AddUri(new Uri("spiffe://prod/shop"));
            names.AddIpAddress(IPAddress.Loopback);
        });
        await using var backend = Serve(certificate);
        var other = Verified with { SubjectAltNames = [new SubjectAltNameSpec { Uri = "spiffe://prod/other" }] };
        Assert.Equal(
            "the certificate is for spiffe://prod/shop, 127.0.0.1, not for spiffe://prod/other",
            (await ProbeAsync(backend.Port, other)).Text
        );
        foreach (
            var name in (SubjectAltNameSpec[])
                [new() { Uri = "spiffe://prod/shop" }, new() { UriPrefix = "spiffe://prod/" }, new() { Ip = "127.0.0.1" }]
        )
        {
            Assert.True((await ProbeAsync(backend.Port, Verified with { SubjectAltNames = [name] })).Passed, name.ToString());
        }
    }

    [Fact]
    public async Task An_expired_certificate_fails_and_the_day_is_said()
    {
        using var certificate = Issue(Name, TimeSpan.FromHours(-1));
        await using var backend = Serve(certificate);
        var result = await ProbeAsync(backend.Port, Verified);
        Assert.Equal(FailureClass.Tls, result.Class);
        Assert.Equal($"the certificate expired on {certificate.NotAfter.ToUniversalTime():yyyy-MM-dd HH:mm} UTC", result.Text);
    }

    [Fact]
    public async Task A_certificate_of_another_CA_fails()
    {
        using var other = new TestCertificates();
        await using var backend = Serve(other.IssueLoaded(n => n.AddDnsName(Name)));
        var result = await ProbeAsync(backend.Port, Verified);
        Assert.Equal((FailureClass.Tls, "the certificate was issued by a CA that is not trusted"), (result.Class, result.Text));
    }

    [Fact]
    public async Task Where_nothing_is_verified_any_certificate_passes()
    {
        using var other = new TestCertificates();
        await using var backend = Serve(other.IssueLoaded(n => n.AddDnsName("x"), ends: TimeSpan.FromHours(-1)));
        Assert.True((await ProbeAsync(backend.Port, new UpstreamTlsSpec { InsecureSkipVerify = true })).Passed);
    }

    [Theory]
    [InlineData(SslProtocols.Tls12)]
    [InlineData(SslProtocols.Tls13)]
    public async Task A_client_certificate_that_is_asked_for_must_be_there(SslProtocols version)
    {
        await using var backend = Serve(
            new SslServerAuthenticationOptions
            {
                ServerCertificate = Issue(Name),
                ClientCertificateRequired = true,
                EnabledSslProtocols = version,
                RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate is not null,
            }
        );
        var without = await ProbeAsync(backend.Port, Verified);
        Assert.Equal(
            (FailureClass.Tls, "the endpoint asked for a client certificate, got none, and closed the connection"),
            (without.Class, without.Text)
        );
        Assert.True((await ProbeAsync(backend.Port, Verified with { CertificateSecret = "client" })).Passed);
    }

    [Fact]
    public async Task A_TLS_version_that_the_endpoint_does_not_speak_fails()
    {
        await using var backend = Serve(
            new SslServerAuthenticationOptions { ServerCertificate = Issue(Name), EnabledSslProtocols = SslProtocols.Tls13 }
        );
        var result = await ProbeAsync(backend.Port, Verified with { MaxVersion = TlsVersion.Tls12 });
        Assert.Equal((FailureClass.Tls, "the endpoint speaks none of the TLS versions that are offered"), (result.Class, result.Text));
    }

    [Fact]
    public async Task A_plaintext_server_is_told_from_a_broken_one()
    {
        await using var backend = RawBackend.Start(
            async (stream, stop) =>
            {
                await stream.ReadExactlyAsync(new byte[5], stop);
                await stream.WriteAsync("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"u8.ToArray(), stop);
                // Until the prober has gone: closing with bytes unread would be a reset.
                while (await stream.ReadAsync(new byte[1024], stop) > 0) { }
            }
        );
        var result = await ProbeAsync(backend.Port, Verified);
        Assert.Equal((FailureClass.Protocol, "the endpoint does not speak TLS"), (result.Class, result.Text));
    }

    [Fact]
    public async Task A_TLS_server_that_is_asked_in_plaintext_is_found_out()
    {
        await using var backend = await TestBackend.StartAsync("b", certificate: Issue(Name));
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), ProbeLab.Loopback(backend.Port)));
        Assert.False(result.Passed);
    }

    [Fact]
    public async Task A_handshake_that_stalls_is_told_from_a_slow_answer()
    {
        await using var backend = RawBackend.Start((_, stop) => Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, stop));
        var result = await ProbeAsync(backend.Port, Verified, ProbeLab.Http() with { Timeout = TimeSpan.FromMilliseconds(200) });
        Assert.Equal((FailureClass.TlsTimeout, "no TLS handshake in time"), (result.Class, result.Text));
    }

    [Fact]
    public async Task HTTP_2_over_TLS_needs_the_endpoint_to_choose_it()
    {
        var check = new HealthCheckSpec
        {
            Http = new HttpCheckSpec { Path = "/", Codec = CheckCodec.Http2 },
        };
        await using var both = await TestBackend.StartAsync("b", HttpProtocols.Http1AndHttp2, Issue(Name));
        Assert.True((await ProbeAsync(both.Port, Verified, check)).Passed);

        await using var old = await TestBackend.StartAsync("b", HttpProtocols.Http1, Issue(Name));
        Assert.Equal(FailureClass.Protocol, (await ProbeAsync(old.Port, Verified with { Alpn = ["h2", "http/1.1"] }, check)).Class);
    }

    [Fact]
    public async Task A_TCP_check_of_a_TLS_upstream_shakes_hands()
    {
        await using var sound = Serve(Issue(Name));
        var check = new HealthCheckSpec { Tcp = new TcpCheckSpec() };
        Assert.True((await ProbeAsync(sound.Port, Verified, check)).Passed);
        await using var expired = Serve(Issue(Name, TimeSpan.FromHours(-1)));
        Assert.Equal(FailureClass.Tls, (await ProbeAsync(expired.Port, Verified, check)).Class);
    }

    [Fact]
    public async Task A_certificate_that_ends_while_its_connection_is_kept_fails_the_next_probe()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var backend = Serve(Issue(Name, TimeSpan.FromSeconds(90)));
        await using var lab = new ProbeLab(time);
        var check = ProbeLab.Http() with
        {
            Interval = TimeSpan.FromSeconds(60),
            EdgeInterval = TimeSpan.FromSeconds(60),
            Timeout = TimeSpan.FromHours(10),
            ReuseConnection = true,
        };
        lab.Set(ProbeLab.Upstream(check, ProbeLab.Loopback(backend.Port)) with { Tls = Verified }, Secrets);
        Assert.True((await lab.NextAsync()).Passed);
        while (true)
        {
            lab.Pass(TimeSpan.FromSeconds(20));
            if (!lab.HasNext)
            {
                await Task.Yield();
                continue;
            }
            var result = await lab.NextAsync();
            if (!result.Passed)
            {
                Assert.Equal(FailureClass.Tls, result.Class);
                Assert.StartsWith("the certificate expired on", result.Text, StringComparison.Ordinal);
                break;
            }
        }
    }

    private X509Certificate2 Issue(string name, TimeSpan? ends = null) => _authority.IssueLoaded(n => n.AddDnsName(name), ends: ends);

    private (SecretSpec, SecretMaterial)? Secrets(string name)
    {
        var (certificate, key) = _client;
        return (
            name == "root"
                ? new SecretSpec
                {
                    ValidationContext = new ValidationContextSpec { Ca = new SecretSource { Inline = _authority.AuthorityPem } },
                }
                : new SecretSpec
                {
                    Certificate = new CertificateSpec
                    {
                        Chain = new SecretSource { Inline = certificate },
                        PrivateKey = new SecretSource { Inline = key },
                    },
                },
            SecretMaterial.InlineOnly
        );
    }

    private Task<CheckResult> ProbeAsync(int port, UpstreamTlsSpec tls, HealthCheckSpec? check = null) =>
        ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(check ?? ProbeLab.Http(), ProbeLab.Loopback(port)) with { Tls = tls }, Secrets);

    private static RawBackend Serve(X509Certificate2 certificate) =>
        Serve(new SslServerAuthenticationOptions { ServerCertificate = certificate });

    /// <summary>A server that shakes hands as told and answers every request on the connection.</summary>
    private static RawBackend Serve(SslServerAuthenticationOptions options) =>
        RawBackend.Start(
            async (stream, stop) =>
            {
                await using var tls = new SslStream(stream, leaveInnerStreamOpen: true);
                try
                {
                    await tls.AuthenticateAsServerAsync(options, stop);
                    while ((await RawBackend.ReadHeadAsync(tls, stop)).Length > 0)
                    {
                        await tls.WriteAsync("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"u8.ToArray(), stop);
                    }
                }
                catch (AuthenticationException)
                {
                    // One of the two does not want the other.
                }
            }
        );
}
