using System.Text;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Admin;

/// <summary>All objects as people would have written them: what the server added and what equals a default is left out.</summary>
internal static class ExportRoutes
{
    public static void Map(RouteGroupBuilder api) =>
        api.MapGet("/export", ExportAsync)
            .WithTags("Changes")
            .Takes(Query.Selector, Query.Kinds)
            .Describe(
                "export",
                "Objects as minimal manifests that 'apply' takes: YAML documents, or with Accept: application/json a list. Operators' orders are left out unless asked for. Secrets are markers."
            )
            .Produces<ObjectList>(contentType: "application/yaml", additionalContentTypes: "application/json")
            .RequireAuthorization(Access.Read);

    private static async Task ExportAsync(HttpContext http, CurrentState current)
    {
        var (kinds, selector) = (Query.Kinds.Of(http), Query.Selector.Of(http));
        var desired = current.Desired;
        var objects = desired
            .All.Where(r => kinds.IsEmpty ? r.Key.Kind != ResourceKind.Override : ResourceKindFilter.Allows(kinds, r.Key.Kind))
            .Where(r => selector.Matches(r.Manifest.Metadata.Labels))
            .OrderBy(r => r.Key.Kind)
            .ThenBy(r => r.Key.Name, StringComparer.Ordinal);

        // YAML unless JSON is asked for by name: these are files for people.
        var asJson = http.Request.Headers.Accept.ToString().Contains("json", StringComparison.OrdinalIgnoreCase);
        http.Response.ContentType = asJson ? MediaTypes.Json : MediaTypes.Yaml;
        http.Response.Headers.CacheControl = "no-store";
        await http.Response.WriteAsync(
            asJson ? $"{{\"kind\":\"List\",\"revision\":{desired.Revision},\"items\":[" : "",
            http.RequestAborted
        );
        var isFirst = true;
        foreach (var resource in objects)
        {
            var json = Redaction.View(resource.Manifest).ToJsonString(ApiJson.Options);
            var separator = (isFirst, asJson) switch
            {
                (true, _) => "",
                (_, true) => ",",
                (_, false) => "---\n",
            };
            await http.Response.WriteAsync(separator + (asJson ? json : YamlText.OfJson(json)), Encoding.UTF8, http.RequestAborted);
            isFirst = false;
        }

        await http.Response.WriteAsync(asJson ? "]}\n" : "", http.RequestAborted);
    }
}
