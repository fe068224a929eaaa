using ControlPlane.Resources.Api;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Admin;

/// <summary>The proxies of every server on the database: what each one has, what it waits for, and what it refused with which words.</summary>
internal static class NodeRoutes
{
    public static void Map(RouteGroupBuilder api)
    {
        var group = api.MapGroup("/nodes").WithTags("Nodes").RequireAuthorization(Access.Read);
        group
            .MapGet("/", List)
            .Describe(
                "listNodes",
                "Lists the proxies that are connected, or were not long ago, and those that were turned away; of all servers on the database, as far as they answer within two seconds."
            )
            .Answers<NodeList>();
        // A node's id may be a SPIFFE id: the rest of the path is the id. Kestrel leaves %2F in a path as it is.
        group.MapGet("/{**id}", Get).Describe("getNode", "Reads one proxy, with the extensions that it announced.").Answers<NodeView>();
    }

    private static async Task<ApiResult<NodeList>> List(NodeViews views, CancellationToken cancellationToken) =>
        new(await views.EverywhereAsync("", cancellationToken));

    private static async Task<IResult> Get(string id, NodeViews views, CancellationToken cancellationToken)
    {
        var all = await views.EverywhereAsync(id.Replace("%2F", "/", StringComparison.OrdinalIgnoreCase), cancellationToken);
        return all switch
        {
            { Items: [var node] } => new ApiResult<NodeView>(node),
            { Unreachable.IsEmpty: true } => Problems.NotFound("No node of this id is connected, or was not long ago."),
            _ => Problems.NotFound(
                "No node of this id is connected to the servers that answered, or was not long ago. No answer came from "
                    + string.Join(" ", all.Unreachable.Select(u => $"{u.Replica}: {u.Reason}"))
            ),
        };
    }
}
