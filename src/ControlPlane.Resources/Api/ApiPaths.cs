namespace ControlPlane.Resources.Api;

/// <summary>Where objects are in the API.</summary>
public static class ApiPaths
{
    /// <summary>What every path begins with.</summary>
    public const string Root = "/api/v1";

    /// <summary>The word for a kind: its name in small letters, in the plural.</summary>
    public static string Collection(ResourceKind kind) => kind.ToString().ToLowerInvariant() + "s";

    /// <summary>The path of an object. Endpoints are below their upstream.</summary>
    public static string Of(ResourceKey key) =>
        key.Kind switch
        {
            ResourceKind.Endpoint => $"{Root}/upstreams/{Uri.EscapeDataString(key.Parent)}/endpoints/{Uri.EscapeDataString(key.Id)}",
            ResourceKind.Override => $"{Root}/overrides/{Uri.EscapeDataString(key.Parent)}/{Uri.EscapeDataString(key.Id)}",
            _ => $"{Root}/{Collection(key.Kind)}/{Uri.EscapeDataString(key.Name)}",
        };
}
