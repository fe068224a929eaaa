using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Validation;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Config.Listener.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Envoy.Service.Runtime.V3;
using Google.Protobuf;

namespace ControlPlane.Core.Compilation;

/// <summary>Turns raw resources into messages. The same checks hold for them as for what friendly kinds compile to.</summary>
public static class EnvoyResourceCompiler
{
    /// <summary>Compiles a resource.</summary>
    /// <param name="spec">A spec that its own validator found good.</param>
    /// <param name="problems">Gets what is wrong with it.</param>
    /// <returns>The resource, also where problems were found; null where no message can be made of the spec.</returns>
    public static CompiledResource? Compile(EnvoyResourceSpec spec, ProblemCollector problems)
    {
        var isJson = spec.Resource is not null;
        var url = isJson ? spec.Resource!["@type"]!.GetValue<string>() : spec.TypeUrl!;
        var fullName = url[(url.LastIndexOf('/') + 1)..];
        if (ResourceType.Find(EnvoyTypes.UrlPrefix + fullName) is not { } type)
        {
            var served = ResourceType.All.Select(t => t.FullName).ToArray();
            var pointer = isJson ? "/spec/resource/@type" : "/spec/typeUrl";
            problems.Error(
                pointer,
                "unsupported-type",
                $"Resources of this type are not served. Served are: {string.Join(", ", served)}.{Suggestion.For(fullName, served)}"
            );
            return null;
        }

        var message = isJson ? ReadJson(type, spec, problems) : ReadBytes(type, spec.ValueBase64!, problems);
        if (message is null)
        {
            return null;
        }

        var root = isJson ? "/spec/resource" : "/spec/valueBase64";
        var name = NameOf(message, spec, root, problems);
        return name is null ? null : MessagePipeline.Complete(type, name, message, root, problems);
    }

    /// <summary>The name inside a message; null for types whose messages hold none.</summary>
    internal static string? NameIn(IMessage message) =>
        message switch
        {
            Cluster m => m.Name,
            ClusterLoadAssignment m => m.ClusterName,
            Secret m => m.Name,
            Listener m => m.Name,
            TypedExtensionConfig m => m.Name,
            RouteConfiguration m => m.Name,
            Runtime m => m.Name,
            ScopedRouteConfiguration m => m.Name,
            _ => null,
        };

    private static IMessage? ReadJson(ResourceType type, EnvoyResourceSpec spec, ProblemCollector problems)
    {
        var message = EnvoyTypes.FindByName(type.FullName)!.Parser.ParseFrom(ByteString.Empty);
        var found = new ProblemCollector();
        ProtoJsonReader.Read(spec.Resource!, message, "/spec/resource", found);
        problems.AddAll(found);
        return found.HasErrors ? null : message;
    }

    private static IMessage? ReadBytes(ResourceType type, string base64, ProblemCollector problems)
    {
        try
        {
            return EnvoyTypes.FindByName(type.FullName)!.Parser.ParseFrom(Convert.FromBase64String(base64));
        }
        catch (InvalidProtocolBufferException)
        {
            problems.Error("/spec/valueBase64", "undecodable", $"The bytes are not a message of type {type.FullName}.");
            return null;
        }
    }

    private static string? NameOf(IMessage message, EnvoyResourceSpec spec, string root, ProblemCollector problems)
    {
        var inside = NameIn(message);
        if (inside is null)
        {
            if (spec.ResourceName is { Length: > 0 } given)
            {
                return given;
            }

            problems.Error(
                "/spec/resourceName",
                "missing-field",
                "'resourceName' is missing: a VirtualHost does not hold the name it is served under. Give ROUTE_TABLE/DOMAIN."
            );
            return null;
        }

        if (spec.ResourceName is not null && spec.ResourceName != inside)
        {
            problems.Error(
                "/spec/resourceName",
                "wrong-name",
                "The message holds another name. Leave 'resourceName' out, or make it the same."
            );
            return null;
        }

        if (inside.Length == 0)
        {
            var field = message is ClusterLoadAssignment ? "clusterName" : "name";
            problems.Error(
                $"{root}/{field}",
                "empty-name",
                "The resource has no name. Envoy would invent one, and could never be told to remove it."
            );
            return null;
        }

        return inside;
    }
}
