using System.Reflection;
using System.Text.Json.Nodes;
using Envoy.Config.Listener.V3;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Compilation;

/// <summary>Raw typed configuration: proto-JSON with <c>@type</c>.</summary>
internal static class TypedConfig
{
    private static readonly Lazy<JsonParser> Parser = new(() =>
    {
        var files = typeof(Listener)
            .Assembly.GetTypes()
            .Where(t => t.Name.EndsWith("Reflection", StringComparison.Ordinal))
            .Select(t => t.GetProperty("Descriptor", BindingFlags.Public | BindingFlags.Static)?.GetValue(null))
            .OfType<FileDescriptor>();
        return new JsonParser(new JsonParser.Settings(recursionLimit: 100, TypeRegistry.FromFiles(files)));
    });

    public static Any Parse(string pointer, JsonObject config)
    {
        try
        {
            return Parser.Value.Parse<Any>(config.ToJsonString());
        }
        catch (Exception e) when (e is InvalidProtocolBufferException or InvalidOperationException or InvalidJsonException)
        {
            throw new CompilationException(pointer, "invalid-typed-config", $"The configuration cannot be read: {e.Message}");
        }
    }
}
