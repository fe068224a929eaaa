using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Upstreams;
using ControlPlane.TestKit;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace ControlPlane.EnvoyTests.Compilation;

/// <summary>What upstreams compile to, shown to a real Envoy.</summary>
public sealed class UpstreamTests
{
    private static readonly X509Certificate2 Certificate = CreateCertificate();

    [Theory]
    [InlineData(EnvoyRelease.Current)]
    [InlineData(EnvoyRelease.Oldest)]
    public async Task Every_approved_upstream_is_one_that_Envoy_takes(EnvoyRelease release)
    {
        await using var envoy = new EnvoyFixture(release);
        var clusters = new JsonArray();
        foreach (var file in Directory.GetFiles(ScenarioFolder(), "*.json"))
        {
            var published = JsonNode.Parse(await File.ReadAllTextAsync(file))!["published"]!;
            var name = Path.GetFileNameWithoutExtension(file);
            var cluster = WithoutSds(published["cluster"]!.DeepClone().AsObject());
            cluster["name"] = name;
            clusters.Add((JsonNode)cluster);
            if (published["assignment"] is { } assignment)
            {
                clusters.Add((JsonNode)Static(cluster, name + "-static", assignment));
            }
        }
        Assert.True(clusters.Count > 40);
        Assert.Null(await envoy.ValidateAsync(Bootstrap(clusters)));
    }

    /// <summary>evidence: Envoy's own default speaks HTTP/1.1 to every cluster, with the cluster's name as Host.</summary>
    [Theory]
    [InlineData(UpstreamProtocol.Http1, HttpProtocols.Http1, false)]
    [InlineData(UpstreamProtocol.Http2, HttpProtocols.Http2, false)]
    [InlineData(UpstreamProtocol.Http1, HttpProtocols.Http1, true)]
    [InlineData(UpstreamProtocol.Http2, HttpProtocols.Http2, true)]
    [InlineData(UpstreamProtocol.Auto, HttpProtocols.Http1AndHttp2, true)]
    public async Task A_check_speaks_what_the_upstream_speaks_and_names_the_endpoint(
        UpstreamProtocol protocol,
        HttpProtocols served,
        bool tls
    )
    {
        await using var envoy = new EnvoyFixture();
        await using var backend = await TestBackend.StartAsync("one", served, tls ? Certificate : null);
        var upstream = new UpstreamSpec
        {
            Protocol = protocol,
            Tls = tls ? new UpstreamTlsSpec { CaSecret = "ca", SubjectAltNames = [new SubjectAltNameSpec { Dns = "localhost" }] } : null,
            Endpoints = new EndpointsSpec { Static = [new EndpointSpec { Address = "127.0.0.1", Port = backend.Port }] },
            Health = new HealthSpec
            {
                Checks =
                [
                    new HealthCheckSpec
                    {
                        Http = new HttpCheckSpec { Path = "/readyz" },
                        Interval = TimeSpan.FromMilliseconds(200),
                        EdgeInterval = TimeSpan.FromMilliseconds(200),
                        Rise = 1,
                    },
                ],
            },
        };
        await envoy.StartAsync(Bootstrap([Compile(upstream)]));
        await envoy.ReadyAsync();

        await Eventually.Get(
            "a check that passes",
            token => envoy.StatAsync("cluster.cart.health_check.success", token),
            passed => passed > 0
        );
        Assert.Equal(0, await envoy.StatAsync("cluster.cart.health_check.failure"));
        Assert.Equal(("/readyz", $"127.0.0.1:{backend.Port}"), (backend.LastRequest!.Path, backend.LastRequest.Host));
    }

    /// <summary>Envoy's defaults eject nothing of three (10 %), and with always_eject_one_host the only one.</summary>
    [Theory]
    [InlineData(1, 0)]
    [InlineData(2, 0)]
    [InlineData(3, 1)]
    public async Task Ejection_takes_one_of_three_and_never_the_last(int endpoints, int ejected)
    {
        await using var envoy = new EnvoyFixture();
        var port = FreePort.Next();
        var refusing = Enumerable.Range(0, endpoints).Select(_ => FreePort.Next()).ToArray();
        var upstream = new UpstreamSpec
        {
            Endpoints = new EndpointsSpec { Static = [.. refusing.Select(p => new EndpointSpec { Address = "127.0.0.1", Port = p })] },
            Health = new HealthSpec { PanicThresholdPercent = 0 },
        };
        await envoy.StartAsync(Bootstrap([Compile(upstream)], Listener(port)));
        await envoy.ReadyAsync();

        using var client = new HttpClient();
        for (var i = 0; i < endpoints * 8; i++)
        {
            using var response = await client.GetAsync($"http://127.0.0.1:{port}/");
            Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
        }
        Assert.Equal(ejected, await envoy.StatAsync("cluster.cart.outlier_detection.ejections_active"));
    }

    private static JsonObject Compile(UpstreamSpec upstream)
    {
        var endpoints = EndpointLifecycle.At(
            upstream,
            new Dictionary<string, EndpointSpec>(),
            new Dictionary<string, OverrideSpec>(),
            DateTimeOffset.UnixEpoch
        );
        var cluster = ProtoJsonWriter.Write(UpstreamCompiler.CompileCluster("cart", upstream), redact: false);
        var assignment = ProtoJsonWriter.Write(UpstreamCompiler.CompileAssignment("cart", upstream, endpoints.Endpoints), redact: false);
        return Static(WithoutSds(cluster), "cart", assignment);
    }

    /// <summary>A cluster that has its endpoints inside.</summary>
    private static JsonObject Static(JsonObject cluster, string name, JsonNode assignment)
    {
        var result = cluster.DeepClone().AsObject();
        result["name"] = name;
        result["type"] = "STATIC";
        result.Remove("edsClusterConfig");
        result["loadAssignment"] = assignment.DeepClone();
        result["loadAssignment"]!["clusterName"] = name;
        return result;
    }

    /// <summary>Puts certificates in the place of the names of secrets: <c>--mode validate</c> crashes on an upstream's SDS over ADS.</summary>
    private static JsonObject WithoutSds(JsonObject cluster)
    {
        if (cluster["transportSocket"]?["typedConfig"]?["commonTlsContext"]?.AsObject() is not { } tls)
        {
            return cluster;
        }
        if (tls.Remove("tlsCertificateSdsSecretConfigs"))
        {
            tls["tlsCertificates"] = new JsonArray(
                new JsonObject
                {
                    ["certificateChain"] = Inline(Certificate.ExportCertificatePem()),
                    ["privateKey"] = Inline(Certificate.GetECDsaPrivateKey()!.ExportPkcs8PrivateKeyPem()),
                }
            );
        }
        if (tls["combinedValidationContext"]?["defaultValidationContext"]?.DeepClone() is { } validation)
        {
            tls.Remove("combinedValidationContext");
            validation["trustedCa"] = Inline(Certificate.ExportCertificatePem());
            tls["validationContext"] = validation;
        }
        else if (tls["validationContext"]?["trustedCa"] is not null)
        {
            // The system's bundle, which this machine need not have.
            tls["validationContext"]!["trustedCa"] = Inline(Certificate.ExportCertificatePem());
        }
        return cluster;
    }

    private static JsonObject Inline(string text) => new() { ["inlineString"] = text };

    private static string Bootstrap(JsonArray clusters, JsonObject? listener = null) =>
        new JsonObject
        {
            ["node"] = new JsonObject { ["id"] = "upstreams", ["cluster"] = "tests" },
            ["staticResources"] = new JsonObject
            {
                ["clusters"] = clusters,
                ["listeners"] = listener is null ? [] : new JsonArray(listener),
            },
        }.ToJsonString();

    private static JsonObject Listener(int port) =>
        JsonNode
            .Parse(
                $$"""
                {
                  "name": "in",
                  "address": { "socketAddress": { "address": "127.0.0.1", "portValue": {{port}} } },
                  "filterChains": [{ "filters": [{
                    "name": "http",
                    "typedConfig": {
                      "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                      "statPrefix": "in",
                      "routeConfig": { "virtualHosts": [{ "name": "all", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "cart" } }] }] },
                      "httpFilters": [{ "name": "router", "typedConfig": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }]
                    }
                  }] }]
                }
                """
            )!
            .AsObject();

    private static string ScenarioFolder()
    {
        var root = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(root.FullName, "ControlPlane.sln")))
        {
            root = root.Parent ?? throw new InvalidOperationException("The tests run outside of the source tree, where their files are.");
        }
        return Path.Combine(root.FullName, "tests", "ControlPlane.Core.Tests", "Compilation", "Upstreams", "Scenarios");
    }

    /// <summary>One that is its own CA, for the name <c>localhost</c>.</summary>
    private static X509Certificate2 CreateCertificate()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=tests", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, false, 0, critical: true));
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        request.CertificateExtensions.Add(names.Build());
        var now = TimeProvider.System.GetUtcNow();
        return request.CreateSelfSigned(now.AddDays(-1), now.AddDays(30));
    }
}
