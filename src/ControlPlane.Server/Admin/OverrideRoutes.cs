using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Admin;

/// <summary>Operators' orders, to read. They are given and taken back on the endpoint: see <see cref="EndpointRoutes"/>.</summary>
internal static class OverrideRoutes
{
    public static void Map(RouteGroupBuilder api)
    {
        const ResourceKind Kind = ResourceKind.Override;
        var group = api.MapGroup("/overrides").WithTags(nameof(ResourceKind.Override)).RequireAuthorization(Access.Read);
        group
            .MapGet("/", (HttpContext http, ObjectLists lists) => lists.List(http, Kind))
            .Takes(Query.Limit, Query.Continue, Query.Selector)
            .Describe(
                "listOverrides",
                "Lists operators' orders about endpoints, over all upstreams. One that expired stays listed, as not accepted, until it is cleared or replaced."
            )
            .AnswersList(Kind);
        group
            .MapGet(
                "/{upstream}/{id}",
                (HttpContext http, string upstream, string id, CurrentState current, ObjectViews views) =>
                    ResourceRoutes.Get(http, ResourceKey.Sub(Kind, upstream, id), current, views)
            )
            .Describe("getOverride", "Reads the order about one endpoint.")
            .Answers(Kind);
        group
            .MapGet(
                "/{upstream}/{id}/history",
                (HttpContext http, string upstream, string id, IDesiredStateStore store) =>
                    ResourceRoutes.HistoryAsync(http, ResourceKey.Sub(Kind, upstream, id), store)
            )
            .Takes(Query.Limit, Query.Continue)
            .Describe("getOverrideHistory", "The orders about one endpoint that are kept, newest first. They outlive the endpoint.")
            .Answers<HistoryList>();
    }
}
