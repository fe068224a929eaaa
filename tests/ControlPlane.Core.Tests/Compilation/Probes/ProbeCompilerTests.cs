using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Core.Tests.Compilation.Probes;

public sealed class ProbeCompilerTests
{
    private static readonly ProbeTargetPolicy Public = new(AllowsLocal: false);

    [Fact]
    public void A_check_is_aimed_at_every_address_of_every_endpoint()
    {
        var plan = Compile(
            Upstream(Http),
            new EndpointSpec
            {
                Address = "10.0.0.1",
                Port = 80,
                AdditionalAddresses = [new EndpointAddressSpec { Address = "2001:db8::1", Port = 81 }],
            },
            new EndpointSpec { Address = "10.0.0.2", Port = 80 }
        );
        Assert.Equal(["10.0.0.1:80", "10.0.0.2:80"], plan.Endpoints.Select(e => e.Id));
        Assert.Equal(["10.0.0.1:80", "[2001:db8::1]:81"], plan.Endpoints[0].Ways.Select(w => w.Address));
        Assert.Equal(
            [IPEndPoint.Parse("10.0.0.1:80"), IPEndPoint.Parse("[2001:db8::1]:81")],
            plan.Endpoints[0].Ways.Select(w => w.Probes.Single().Target)
        );
    }

    [Theory]
    [InlineData(null, null, null, "10.0.0.1:80")]
    [InlineData(8080, null, null, "10.0.0.1:8080")]
    [InlineData(8080, 9090, null, "10.0.0.1:9090")]
    [InlineData(null, null, "10.9.9.9", "10.9.9.9:80")]
    [InlineData(8080, 9090, "10.9.9.9", "10.9.9.9:9090")]
    public void The_most_particular_port_and_address_count(int? checkPort, int? endpointPort, string? endpointAddress, string target)
    {
        var endpoint = new EndpointSpec
        {
            Address = "10.0.0.1",
            Port = 80,
            HealthCheck = new EndpointHealthCheckSpec { Port = endpointPort, Address = endpointAddress },
        };
        Assert.Equal(IPEndPoint.Parse(target), Only(Upstream(Http with { Port = checkPort }), endpoint).Target);
    }

    /// <summary>The order of the spec's own documentation, which is that of the checks that proxies make.</summary>
    [Theory]
    [InlineData("own.test", "check.test", "endpoint.test", "sni.test", "own.test")]
    [InlineData(null, "check.test", "endpoint.test", "sni.test", "check.test")]
    [InlineData(null, null, "endpoint.test", "sni.test", "endpoint.test")]
    [InlineData(null, null, null, "sni.test", "sni.test")]
    [InlineData(null, null, null, null, "10.0.0.1:80")]
    public void The_host_is_the_first_that_is_given(string? own, string? check, string? hostname, string? sni, string host)
    {
        var upstream = Upstream(
            new HealthCheckSpec
            {
                Http = new HttpCheckSpec { Path = "/", Host = check },
            }
        ) with
        {
            Tls = sni is null ? null : new UpstreamTlsSpec { Sni = sni, InsecureSkipVerify = true },
        };
        var endpoint = new EndpointSpec
        {
            Address = "10.0.0.1",
            Port = 80,
            Hostname = hostname,
            HealthCheck = own is null ? null : new EndpointHealthCheckSpec { Hostname = own },
        };
        Assert.Equal(host, ((HttpProbe)Only(upstream, endpoint)).Host);
    }

    [Theory]
    [InlineData(UpstreamProtocol.Http1, null, CheckCodec.Http1, "http/1.1")]
    [InlineData(UpstreamProtocol.Http2, null, CheckCodec.Http2, "h2")]
    [InlineData(UpstreamProtocol.Grpc, null, CheckCodec.Http2, "h2")]
    [InlineData(UpstreamProtocol.Auto, null, CheckCodec.Http1, "http/1.1")]
    [InlineData(UpstreamProtocol.Http2, CheckCodec.Http1, CheckCodec.Http1, "http/1.1")]
    public void The_codec_follows_the_upstream_and_ALPN_the_codec(
        UpstreamProtocol protocol,
        CheckCodec? given,
        CheckCodec codec,
        string alpn
    )
    {
        var upstream = Upstream(
            new HealthCheckSpec
            {
                Http = new HttpCheckSpec { Path = "/", Codec = given },
            }
        ) with
        {
            Protocol = protocol,
            Tls = new UpstreamTlsSpec { Sni = "sni.test", InsecureSkipVerify = true },
        };
        var probe = (HttpProbe)Only(upstream, new EndpointSpec { Address = "10.0.0.1", Port = 80 });
        Assert.Equal(codec, probe.Codec);
        Assert.Equal([alpn], probe.Tls!.Alpn);
        Assert.Equal(
            ["custom"],
            Compile(upstream with { Tls = upstream.Tls with { Alpn = ["custom"] } }, Simple).Endpoints[0].Ways[0].Probes[0].Tls!.Alpn
        );
    }

    [Fact]
    public void Ranges_of_statuses_include_both_ends_and_none_is_200()
    {
        var ranges = (HttpProbe)Only(
            Upstream(
                new HealthCheckSpec
                {
                    Http = new HttpCheckSpec { Path = "/", ExpectedStatuses = ["200-204", "404"] },
                }
            ),
            Simple
        );
        Assert.Equal(
            [200, 204, 404],
            Enumerable.Range(100, 500).Where(s => ranges.Request.Expects(s)).Where(s => s is 199 or 200 or 204 or 205 or 404)
        );
        var plain = (HttpProbe)Only(Upstream(Http), Simple);
        Assert.Equal([200], Enumerable.Range(100, 500).Where(plain.Request.Expects));
    }

    [Fact]
    public void A_connection_is_kept_only_where_the_check_says_so()
    {
        Assert.False(Only(Upstream(Http), Simple).ReusesConnection);
        Assert.True(Only(Upstream(Http with { ReuseConnection = true }), Simple).ReusesConnection);
    }

    [Fact]
    public void Bytes_to_send_and_expect_are_text_or_hexadecimal()
    {
        var check = new HealthCheckSpec
        {
            Tcp = new TcpCheckSpec
            {
                Send = new PayloadSpec { Text = "ping" },
                Receive = [new PayloadSpec { Hex = "0AfF" }],
            },
        };
        var probe = (TcpProbe)Only(Upstream(check), Simple);
        Assert.Equal("ping"u8.ToArray(), probe.Send.ToArray());
        Assert.Equal(new byte[] { 0x0a, 0xff }, probe.Receive.Single().ToArray());
    }

    [Theory]
    [InlineData("unix:/run/app.sock", "/run/app.sock")]
    [InlineData("unix:@app", "@app")]
    public void Unix_sockets_are_targets_like_others(string address, string shown)
    {
        var plan = Compile(Upstream(Http), new ProbeTargetPolicy(AllowsLocal: true), new EndpointSpec { Address = address });
        var target = Assert.IsType<UnixSocketEndPoint>(plan.Endpoints.Single().Ways.Single().Probes.Single().Target);
        Assert.Equal(shown, target.ToString());
    }

    [Fact]
    public void Who_must_not_or_need_not_be_probed_is_left_out_and_the_reason_is_known()
    {
        var upstream = Upstream(Http);
        var metadata = new EndpointSpec { Address = "169.254.169.254", Port = 80 };
        var loopback = new EndpointSpec { Address = "127.0.0.1", Port = 80 };
        var elsewhere = Simple with { HealthCheck = new EndpointHealthCheckSpec { Address = "127.0.0.1" } };
        var disabled = Simple with { HealthCheck = new EndpointHealthCheckSpec { Disabled = true } };
        Assert.Empty(Compile(upstream, metadata, loopback, elsewhere, disabled).Endpoints);
        Assert.Equal(
            "169.254.169.254 is a link-local address, as cloud metadata services have, which is never probed",
            ProbeCompiler.Refusal(upstream, metadata, Public)
        );
        Assert.Equal(
            "127.0.0.1 is a loopback address of the server's own machine, and --probe-loopback is not given",
            ProbeCompiler.Refusal(upstream, loopback, Public)
        );
        Assert.Equal(
            "127.0.0.1 is a loopback address of the server's own machine, and --probe-loopback is not given",
            ProbeCompiler.Refusal(upstream, elsewhere, Public)
        );
        Assert.Equal("its checks are off", ProbeCompiler.Refusal(upstream, disabled, Public));
        Assert.Null(ProbeCompiler.Refusal(upstream, Simple, Public));
    }

    [Fact]
    public void An_endpoint_is_probed_by_those_of_its_addresses_that_may_be()
    {
        var endpoint = new EndpointSpec
        {
            Address = "127.0.0.1",
            Port = 80,
            AdditionalAddresses = [new EndpointAddressSpec { Address = "10.0.0.1", Port = 80 }],
        };
        Assert.Equal(["10.0.0.1:80"], Compile(Upstream(Http), endpoint).Endpoints.Single().Ways.Select(w => w.Address));
        Assert.Null(ProbeCompiler.Refusal(Upstream(Http), endpoint, Public));
    }

    [Fact]
    public void Without_the_secrets_that_it_needs_nothing_is_probed_and_the_plan_says_why()
    {
        var upstream = Upstream(Http) with
        {
            Tls = new UpstreamTlsSpec { Sni = "sni.test", CaSecret = "root" },
        };
        var plan = Compile(upstream, Simple);
        Assert.Empty(plan.Endpoints);
        Assert.Equal("The secret root, which holds the CAs to trust, is missing or cannot be read.", plan.Problem);

        // Nothing of a value may get into the message.
        var garbage = new SecretSpec
        {
            ValidationContext = new ValidationContextSpec { Ca = new SecretSource { Inline = "not a certificate" } },
        };
        plan = ProbeCompiler.Compile(
            "shop",
            upstream,
            HealthPolicy.Default,
            [KeyValuePair.Create("a", Simple)],
            Public,
            _ => (garbage, SecretMaterial.InlineOnly)
        );
        Assert.NotNull(plan.Problem);
    }

    private static HealthCheckSpec Http { get; } = new() { Http = new HttpCheckSpec { Path = "/" } };

    private static EndpointSpec Simple { get; } = new() { Address = "10.0.0.1", Port = 80 };

    private static UpstreamSpec Upstream(HealthCheckSpec check) =>
        new()
        {
            Endpoints = new EndpointsSpec { Source = EndpointSource.Registration },
            Health = new HealthSpec { Checks = [check] },
        };

    private static Probe Only(UpstreamSpec upstream, EndpointSpec endpoint) =>
        Compile(upstream, endpoint).Endpoints.Single().Ways.Single().Probes.Single();

    private static ProbePlan Compile(UpstreamSpec upstream, params EndpointSpec[] endpoints) => Compile(upstream, Public, endpoints);

    private static ProbePlan Compile(UpstreamSpec upstream, ProbeTargetPolicy policy, params EndpointSpec[] endpoints) =>
        ProbeCompiler.Compile(
            "shop",
            upstream,
            HealthPolicy.Default,
            endpoints.Select((e, i) => KeyValuePair.Create(e.HealthCheck is null ? e.DefaultId() : $"e{i}", e)),
            policy,
            _ => null
        );
}
