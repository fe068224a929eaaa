using System.Collections;
using System.Collections.Concurrent;
using Envoy.Config.Core.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Xds.Type.V3;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Finds the extensions that a message needs a proxy to have: every message with a <c>name</c> and a typed configuration, and every map from names to typed
/// configurations.
/// </summary>
internal sealed class EnvoyExtensions : IMessageVisitor
{
    private readonly List<ExtensionUse> _found = [];
    private readonly HashSet<(string Name, string TypeUrl, bool IsOptional)> _seen = [];

    /// <summary>Each extension once, with the pointer of its first use from the root of the walk.</summary>
    public IReadOnlyList<ExtensionUse> Found => _found;

    /// <inheritdoc/>
    public void Visit(IMessage message, MessagePath path)
    {
        if (message is FilterConfig { Config: { } filterConfig } wrapper)
        {
            Add(path.LastKey, filterConfig, wrapper.IsOptional, path);
            return;
        }

        // Most messages have no such field; looking at the descriptor is cheap.
        foreach (var field in TypedConfigFields.Of(message.Descriptor))
        {
            if (field.IsMap)
            {
                foreach (DictionaryEntry entry in (IDictionary)field.Accessor.GetValue(message))
                {
                    Add((string)entry.Key, (Any)entry.Value!, isOptional: false, path);
                }
            }
            else if (field.Accessor.GetValue(message) is Any config)
            {
                var isOptional = message is HttpFilter { IsOptional: true };
                Add(TypedConfigFields.NameOf(message), config, isOptional, path);
            }
        }
    }

    private void Add(string name, Any config, bool isOptional, MessagePath path)
    {
        if (config.Is(FilterConfig.Descriptor))
        {
            // A wrapper, visited by itself.
            return;
        }

        var typeUrl = TypeUrlOf(config);
        if (_seen.Add((name, typeUrl, isOptional)))
        {
            _found.Add(new ExtensionUse(name, typeUrl, isOptional, path.Pointer));
        }
    }

    /// <summary>The type that the extension itself takes: a TypedStruct stands for another.</summary>
    private static string TypeUrlOf(Any config)
    {
        try
        {
            return config.Is(TypedStruct.Descriptor) ? TypedStruct.Parser.ParseFrom(config.Value).TypeUrl : config.TypeUrl;
        }
        catch (InvalidProtocolBufferException)
        {
            // The walk reports it.
            return config.TypeUrl;
        }
    }

    private static class TypedConfigFields
    {
        private static readonly ConcurrentDictionary<MessageDescriptor, FieldDescriptor[]> Fields = new();

        public static FieldDescriptor[] Of(MessageDescriptor type) => Fields.GetOrAdd(type, Find);

        public static string NameOf(IMessage message) =>
            message is TypedExtensionConfig config ? config.Name
            : message.Descriptor.FindFieldByName("name") is { FieldType: FieldType.String } field ? (string)field.Accessor.GetValue(message)
            : "";

        private static FieldDescriptor[] Find(MessageDescriptor type) =>
            [
                .. type
                    .Fields.InDeclarationOrder()
                    .Where(f =>
                        f.FieldType == FieldType.Message
                        && f.Name is "typed_config" or "typed_per_filter_config" or "typed_extension_protocol_options"
                    )
                    .Where(f =>
                        f.IsMap ? f.MessageType.Fields[2].MessageType == Any.Descriptor : !f.IsRepeated && f.MessageType == Any.Descriptor
                    ),
            ];
    }
}
