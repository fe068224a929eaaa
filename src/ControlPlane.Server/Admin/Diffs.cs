using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Admin;

/// <summary>What differs between two states of an object or of an Envoy message. That a secret changed is seen; what it was or is, is not.</summary>
internal static class Diffs
{
    /// <summary>How an object differs; at least one of the two exists.</summary>
    public static ObjectDiff Of(Manifest? before, Manifest? after)
    {
        var key = (after ?? before)!.Key;
        return new ObjectDiff(
            key.Kind.ToString(),
            key.Name,
            Action(before, after),
            JsonDiff.Compare(Raw(before), Raw(after), Shown(before), Shown(after))
        );
    }

    /// <summary>How an Envoy message differs.</summary>
    public static ResourceDiff Of(ResourceImpact impact)
    {
        var resource = (impact.After ?? impact.Before)!;
        var before = impact.Before is null ? null : ObjectViews.MessageOf(impact.Before);
        var after = impact.After is null ? null : ObjectViews.MessageOf(impact.After);
        return new ResourceDiff(
            resource.Type.ShortName,
            resource.Name,
            Action(impact.Before, impact.After),
            impact.Before?.Version,
            impact.After?.Version,
            JsonDiff.Compare(before, after)
        );
    }

    private static string Action(object? before, object? after) =>
        before is null ? "created"
        : after is null ? "deleted"
        : "updated";

    private static JsonObject? Raw(Manifest? manifest) =>
        manifest is null ? null : Body(manifest, (JsonObject)JsonNode.Parse(CanonicalForm.Write(manifest.Spec))!);

    private static JsonObject? Shown(Manifest? manifest) => manifest is null ? null : Body(manifest, ObjectViews.SpecOf(manifest));

    private static JsonObject Body(Manifest manifest, JsonObject spec) =>
        new()
        {
            ["metadata"] = new JsonObject
            {
                ["labels"] = Map(manifest.Metadata.Labels),
                ["annotations"] = Map(manifest.Metadata.Annotations),
            },
            ["spec"] = spec,
        };

    private static JsonObject Map(IEnumerable<KeyValuePair<string, string>> map) =>
        new(map.Select(p => KeyValuePair.Create(p.Key, (JsonNode?)p.Value)));
}
