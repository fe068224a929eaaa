using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;

namespace ControlPlane.EnvoyTests.Compilation;

/// <summary>Configurations that need no control plane: what was compiled stands in them as static resources.</summary>
internal static class StaticConfiguration
{
    /// <summary>Listeners and the clusters that they name; those without a port have no endpoint.</summary>
    public static string Of(IReadOnlyCollection<JsonNode> listeners, IReadOnlyDictionary<string, int>? ports = null)
    {
        var names = listeners.SelectMany(ClusterNames).Distinct(StringComparer.Ordinal);
        return new JsonObject
        {
            ["admin"] = new JsonObject { ["address"] = Address(0) },
            ["node"] = new JsonObject { ["id"] = "routing", ["cluster"] = "tests" },
            ["staticResources"] = new JsonObject
            {
                ["listeners"] = new JsonArray([.. listeners.Select(l => l.DeepClone())]),
                ["clusters"] = new JsonArray([
                    .. names.Select(name => Cluster(name, ports is not null && ports.TryGetValue(name, out var port) ? port : null)),
                ]),
            },
        }.ToJsonString();
    }

    /// <summary>A listener as Envoy gets it, with its route table inside.</summary>
    public static JsonNode Compile(ListenerSpec listener, RouteTableSpec? routes = null)
    {
        var problems = new ProblemCollector();
        ListenerValidator.Validate(listener, problems);
        if (routes is not null)
        {
            RouteTableValidator.Validate(routes, problems);
        }
        Assert.DoesNotContain(problems.Problems, p => p.Severity == ProblemSeverity.Error);
        var message = ListenerCompiler.Compile("edge", listener, _ => routes, problems);
        return ProtoJsonWriter.Write(message, redact: false);
    }

    /// <summary>A route configuration inside a listener that has nothing else.</summary>
    public static JsonNode Around(JsonNode routeConfiguration)
    {
        var listener = ProtoJsonWriter.Write(
            ListenerCompiler.Compile(
                "edge",
                new ListenerSpec
                {
                    Address = "127.0.0.1",
                    Port = 10000,
                    Http = new HttpSpec { RouteTable = "shop" },
                },
                _ => null,
                new ProblemCollector()
            ),
            redact: false
        );
        PutRoutesInline(listener, routeConfiguration);
        return listener;
    }

    /// <summary>Takes a table in the place of every one that would come by RDS: validation reads no xDS.</summary>
    public static void PutRoutesInline(JsonNode? node, JsonNode routeConfiguration)
    {
        if (node is JsonObject members)
        {
            if (members.Remove("rds"))
            {
                members["routeConfig"] = routeConfiguration.DeepClone();
            }
            foreach (var (_, value) in members)
            {
                PutRoutesInline(value, routeConfiguration);
            }
        }
        else if (node is JsonArray items)
        {
            foreach (var item in items)
            {
                PutRoutesInline(item, routeConfiguration);
            }
        }
    }

    private static JsonNode Cluster(string name, int? port)
    {
        var endpoints = new JsonArray();
        if (port is not null)
        {
            endpoints.Add(
                (JsonNode)
                    new JsonObject
                    {
                        ["lbEndpoints"] = new JsonArray(
                            new JsonObject { ["endpoint"] = new JsonObject { ["address"] = Address(port.Value) } }
                        ),
                    }
            );
        }
        return new JsonObject
        {
            ["name"] = name,
            ["type"] = "STATIC",
            ["loadAssignment"] = new JsonObject { ["clusterName"] = name, ["endpoints"] = endpoints },
        };
    }

    private static JsonObject Address(int port) =>
        new()
        {
            ["socketAddress"] = new JsonObject { ["address"] = "127.0.0.1", ["portValue"] = port },
        };

    private static IEnumerable<string> ClusterNames(JsonNode? node) =>
        node switch
        {
            JsonObject members => members.SelectMany(m =>
                m switch
                {
                    { Key: "cluster" or "clusterName", Value: JsonValue name } => [name.GetValue<string>()],
                    { Key: "clusters", Value: JsonArray weighted } => weighted.Select(w => w!["name"]!.GetValue<string>()),
                    _ => ClusterNames(m.Value),
                }
            ),
            JsonArray items => items.SelectMany(ClusterNames),
            _ => [],
        };
}
