using System.Reflection;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Validation;
using Envoy.Config.Listener.V3;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Compilation;

/// <summary>Raw typed configuration: proto-JSON with <c>@type</c>.</summary>
internal static class TypedConfig
{
    private static readonly Lazy<TypeRegistry> Types = new(() =>
        TypeRegistry.FromFiles(
            typeof(Listener)
                .Assembly.GetTypes()
                .Where(t => t.Name.EndsWith("Reflection", StringComparison.Ordinal))
                .Select(t => t.GetProperty("Descriptor", BindingFlags.Public | BindingFlags.Static)?.GetValue(null))
                .OfType<FileDescriptor>()
        )
    );

    /// <summary>A message as proto-JSON.</summary>
    public static string Format(IMessage message) =>
        new JsonFormatter(new JsonFormatter.Settings(formatDefaultValues: false, Types.Value)).Format(message);

    public static Any? Read(JsonObject config, string pointer, ProblemCollector problems)
    {
        try
        {
            return new JsonParser(new JsonParser.Settings(recursionLimit: 100, Types.Value)).Parse<Any>(config.ToJsonString());
        }
        catch (Exception e) when (e is InvalidProtocolBufferException or InvalidOperationException or InvalidJsonException)
        {
            problems.Error(pointer, "invalid-typed-config", $"The configuration cannot be read: {e.Message}");
            return null;
        }
    }
}
