using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources;

/// <summary>
/// A raw v3 resource, for what the friendly kinds do not say: given either as proto-JSON or, for messages that this server does not know, as bytes. The object's
/// own name is free; the resource is served under the name inside its message, which may be any (<c>xdstp://</c> too).
/// </summary>
public sealed record EnvoyResourceSpec : ResourceSpec, INodeScoped
{
    /// <summary>Names of the groups whose proxies get the resource; none means all.</summary>
    public ImmutableArray<string> NodeGroups { get; init; } = [];

    /// <summary>The message in proto-JSON with its <c>@type</c>, for example <c>type.googleapis.com/envoy.config.cluster.v3.Cluster</c>.</summary>
    public JsonObject? Resource { get; init; }

    /// <summary>Instead of <see cref="Resource"/>: the type of the bytes in <see cref="ValueBase64"/>.</summary>
    public string? TypeUrl { get; init; }

    /// <summary>Instead of <see cref="Resource"/>: the serialised message in base64.</summary>
    [Sensitive]
    public string? ValueBase64 { get; init; }

    /// <summary>
    /// The name to serve under where the message holds none: of a VirtualHost served by VHDS <c>ROUTE_TABLE/DOMAIN</c>. Other messages carry their name.
    /// </summary>
    public string? ResourceName { get; init; }

    /// <inheritdoc/>
    public override IEnumerable<SpecReference> References() =>
        NodeGroups.Select((group, i) => new SpecReference($"/spec/nodeGroups/{i}", new ResourceKey(ResourceKind.NodeGroup, group)));
}

internal static class EnvoyResourceValidator
{
    public static void Validate(EnvoyResourceSpec spec, ProblemCollector problems)
    {
        var hasBytes = spec.TypeUrl is not null || spec.ValueBase64 is not null;
        if (spec.Resource is null == !hasBytes)
        {
            problems.Error(
                "/spec",
                "one-of",
                "Give exactly one of 'resource' (proto-JSON with an @type) and 'typeUrl' with 'valueBase64'."
            );
            return;
        }

        if (hasBytes)
        {
            ValidateBytes(spec, problems);
        }
        else if (spec.Resource!["@type"] is not JsonValue type || type.GetValueKind() != JsonValueKind.String)
        {
            problems.Error(
                "/spec/resource/@type",
                "missing-field",
                "'@type' is missing. Write the message's type, for example \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster."
            );
        }
    }

    private static void ValidateBytes(EnvoyResourceSpec spec, ProblemCollector problems)
    {
        if (string.IsNullOrEmpty(spec.TypeUrl))
        {
            problems.Error("/spec/typeUrl", "missing-field", "'typeUrl' is missing. Give the type of the bytes.");
        }

        if (spec.ValueBase64 is null)
        {
            problems.Error("/spec/valueBase64", "missing-field", "'valueBase64' is missing. Give the serialised message.");
        }
        else if (!Convert.TryFromBase64String(spec.ValueBase64, new byte[spec.ValueBase64.Length], out _))
        {
            problems.Error("/spec/valueBase64", "invalid-base64", "The text is not base64 (RFC 4648, with padding).");
        }
    }
}
