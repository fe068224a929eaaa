using System.Text.Json.Nodes;
using ControlPlane.Resources.Validation;
using Envoy.Config.Core.V3;
using Envoy.Config.Route.V3;
using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Compilation;

/// <summary>Raw typed configuration in a friendly spec. Its fields have Envoy's names, so that a problem's pointer is one into the manifest.</summary>
internal static class TypedConfig
{
    /// <summary>Reads the member <c>typedConfig</c> of the object at a pointer; null after a fault.</summary>
    public static Any? Read(JsonObject config, string pointer, ProblemCollector problems)
    {
        var holder = new TypedExtensionConfig();
        ProtoJsonReader.Read(new JsonObject { ["typedConfig"] = config.DeepClone() }, holder, pointer, problems);
        return holder.TypedConfig;
    }

    /// <summary>Reads the member <c>typedPerFilterConfig</c> of the object at a pointer; without what is faulty.</summary>
    public static MapField<string, Any> Read(
        IEnumerable<KeyValuePair<string, JsonObject>> configs,
        string pointer,
        ProblemCollector problems
    )
    {
        var holder = new Route();
        var raw = new JsonObject(configs.Select(c => KeyValuePair.Create(c.Key, (JsonNode?)c.Value.DeepClone())));
        ProtoJsonReader.Read(new JsonObject { ["typedPerFilterConfig"] = raw }, holder, pointer, problems);
        return holder.TypedPerFilterConfig;
    }
}
