using System.Text;
using System.Text.Json.Nodes;
using ControlPlane.Core.Tests.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.Validation;

/// <summary>What the catalogue says of Envoy, Envoy says itself: what is refused here it refuses too, and what is taken it takes.</summary>
[Trait("Category", "Slow")]
public sealed class CatalogueTests
{
    private const string Type = "type.googleapis.com/envoy.extensions.";

    public static TheoryData<string> Names =>
        [.. Catalogue.Rows.Where(r => r.Envoy != EnvoySays.NotAsked).Select(r => $"{r.Kind}: {r.Name}")];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task The_newest_Envoy_says_what_the_catalogue_says(string name) => await AssertVerdictAsync(name, EnvoyRelease.Current);

    [Theory]
    [MemberData(nameof(Names))]
    public async Task The_oldest_supported_Envoy_says_what_the_catalogue_says(string name) =>
        await AssertVerdictAsync(name, EnvoyRelease.Oldest);

    private static async Task AssertVerdictAsync(string name, EnvoyRelease release)
    {
        var row = Catalogue.Rows.Single(r => $"{r.Kind}: {r.Name}" == name);
        await using var envoy = new EnvoyFixture(release);
        var refusal = await envoy.ValidateAsync(Configuration(row).ToJsonString());
        if (row.Envoy == EnvoySays.Yes || (row.Envoy == EnvoySays.NewestNo && release == EnvoyRelease.Oldest))
        {
            Assert.Null(refusal);
        }
        else
        {
            Assert.NotNull(refusal);
        }
    }

    private static JsonObject Configuration(CatalogueRow row)
    {
        var resource = Read(row);
        var clusters = new JsonArray(EmptyCluster("a"));
        var listeners = new JsonArray();
        switch (row.Kind)
        {
            case "cluster":
                clusters.Add(resource);
                break;
            case "assignment":
                clusters.Add(
                    new JsonObject
                    {
                        ["name"] = "x",
                        ["type"] = "STATIC",
                        ["loadAssignment"] = resource,
                    }
                );
                break;
            case "listener":
                listeners.Add(resource);
                break;
            case "routes":
                listeners.Add(ListenerOf(resource, transportSocket: null));
                break;
            case "secret" when resource["tlsCertificate"] is { } certificate:
                listeners.Add(
                    ListenerOf(
                        new JsonObject { ["name"] = "r" },
                        Tls("Downstream", "tlsCertificates", new JsonArray(certificate.DeepClone()))
                    )
                );
                break;
            case "secret" when resource["validationContext"] is { } context:
                var cluster = EmptyCluster("x");
                cluster["transportSocket"] = Tls("Upstream", "validationContext", context.DeepClone());
                clusters.Add(cluster);
                break;
            default:
                throw new InvalidOperationException($"No static configuration for a {row.Kind}");
        }

        return new JsonObject
        {
            ["node"] = new JsonObject { ["id"] = "test", ["cluster"] = "test" },
            ["staticResources"] = new JsonObject { ["clusters"] = clusters, ["listeners"] = listeners },
        };
    }

    private static JsonObject Read(CatalogueRow row)
    {
        var yaml = $$"""
            spec: { resource: { '@type': type.googleapis.com/{{Catalogue.Types[row.Kind]}}, {{Catalogue.BodyOf(row)}} } }
            """;
        var key = new ResourceKey(ResourceKind.EnvoyResource, "row");
        var document = Assert.Single(ManifestReader.Read(Encoding.UTF8.GetBytes(yaml), ManifestFormat.Yaml, key).Documents);
        var resource = ((EnvoyResourceSpec)document.Manifest!.Spec).Resource!.DeepClone().AsObject();
        resource.Remove("@type");
        return resource;
    }

    private static JsonObject EmptyCluster(string name) =>
        new()
        {
            ["name"] = name,
            ["type"] = "STATIC",
            ["loadAssignment"] = new JsonObject { ["clusterName"] = name },
        };

    private static JsonObject Tls(string side, string member, JsonNode value) =>
        new()
        {
            ["name"] = "tls",
            ["typedConfig"] = new JsonObject
            {
                ["@type"] = $"{Type}transport_sockets.tls.v3.{side}TlsContext",
                ["commonTlsContext"] = new JsonObject { [member] = value },
            },
        };

    private static JsonObject ListenerOf(JsonObject routes, JsonObject? transportSocket)
    {
        var manager = new JsonObject
        {
            ["@type"] = $"{Type}filters.network.http_connection_manager.v3.HttpConnectionManager",
            ["statPrefix"] = "x",
            ["routeConfig"] = routes,
            ["httpFilters"] = new JsonArray(
                new JsonObject
                {
                    ["name"] = "router",
                    ["typedConfig"] = new JsonObject { ["@type"] = $"{Type}filters.http.router.v3.Router" },
                }
            ),
        };
        var chain = new JsonObject { ["filters"] = new JsonArray(new JsonObject { ["name"] = "hcm", ["typedConfig"] = manager }) };
        if (transportSocket is not null)
        {
            chain["transportSocket"] = transportSocket;
        }

        return new JsonObject
        {
            ["name"] = "x",
            ["address"] = new JsonObject
            {
                ["socketAddress"] = new JsonObject { ["address"] = "127.0.0.1", ["portValue"] = 10000 },
            },
            ["filterChains"] = new JsonArray(chain),
        };
    }
}
