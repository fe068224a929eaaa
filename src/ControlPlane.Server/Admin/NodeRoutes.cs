using ControlPlane.Core.Discovery;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Admin;

/// <summary>The proxies: what each one has, what it waits for, and what it refused with which words.</summary>
internal static class NodeRoutes
{
    public static void Map(RouteGroupBuilder api)
    {
        var group = api.MapGroup("/nodes").WithTags("Nodes").RequireAuthorization(Access.Read);
        group
            .MapGet("/", List)
            .Describe(
                "listNodes",
                "Lists the proxies that are connected to this server, or were not long ago, and those that were turned away."
            )
            .Answers<NodeList>();
        // A node's id may be a SPIFFE id: the rest of the path is the id. Kestrel leaves %2F in a path as it is.
        group.MapGet("/{**id}", Get).Describe("getNode", "Reads one proxy, with the extensions that it announced.").Answers<NodeView>();
    }

    private static ApiResult<NodeList> List(ConnectedNodes nodes, SnapshotViews views) =>
        new(
            new NodeList(
                Environment.MachineName,
                [.. nodes.List().Select(n => ViewOf(n, views))],
                [
                    .. nodes
                        .Refused()
                        .Select(r => new RefusedAttempt(r.Node.Id, NotEmpty(r.Node.Cluster), r.Peer, r.Reason, r.At, r.Attempts)),
                ]
            )
        );

    private static IResult Get(string id, ConnectedNodes nodes, SnapshotViews views) =>
        nodes.Find(id.Replace("%2F", "/", StringComparison.OrdinalIgnoreCase)) is { } node
            ? new ApiResult<NodeView>(
                ViewOf(node, views) with
                {
                    Extensions = node.Identity.Extensions is { } extensions ? [.. extensions.Order(StringComparer.Ordinal)] : null,
                }
            )
            : Problems.NotFound("No node of this id is connected to this server, or was not long ago.");

    private static NodeView ViewOf(NodeStatus node, SnapshotViews views)
    {
        var identity = node.Identity;
        string?[] locality = [NotEmpty(identity.Region), NotEmpty(identity.Zone), NotEmpty(identity.SubZone)];
        return new NodeView
        {
            Id = identity.Id,
            Cluster = NotEmpty(identity.Cluster),
            Locality = NotEmpty(string.Join('/', locality.Where(part => part is not null))),
            Client = NotEmpty($"{identity.UserAgent} {identity.UserAgentVersion}".Trim()),
            Groups = views.GroupsOf(identity),
            Connected = node.DisconnectedAt is null,
            Since = node.DisconnectedAt ?? node.Streams.Select(s => s.Since).DefaultIfEmpty().Min(),
            State = StateOf(node),
            Streams = [.. node.Streams.Select(s => ViewOf(identity.Id, s))],
        };
    }

    private static string StateOf(NodeStatus node)
    {
        var subscriptions = node.Streams.SelectMany(s => s.Subscriptions).ToList();
        return node.DisconnectedAt is not null ? "offline"
            : subscriptions.Exists(s => !s.Refusals.IsEmpty) ? "refused"
            : subscriptions.Exists(s => s.Unanswered > 0 || !s.Gates.IsEmpty) ? "pending"
            : "synced";
    }

    private static NodeStreamView ViewOf(string node, StreamStatus stream) =>
        new()
        {
            Service = stream.Service,
            Protocol = stream.Protocol.ToString().ToLowerInvariant(),
            Peer = stream.Peer,
            Since = stream.Since,
            Replica = Environment.MachineName,
            Revision = stream.Revision,
            Warming = stream.Warming is { } warming ? Explain(warming) : null,
            Types = [.. stream.Subscriptions.Select(s => ViewOf(node, s))],
        };

    private static NodeTypeView ViewOf(string node, SubscriptionStatus subscription) =>
        new()
        {
            Type = subscription.Type.ShortName,
            Subscriptions = subscription.Wildcard ? ["*", .. subscription.Names] : subscription.Names,
            SentVersion = subscription.SentVersion,
            SentAt = subscription.SentAt,
            AckedVersion = subscription.AckedVersion,
            AckedAt = subscription.AckedAt,
            ResponseTime = subscription.ResponseTime is { } time ? DurationText.Format(Rounded(time)) : null,
            Unanswered = subscription.Unanswered,
            Waiting =
            [
                .. subscription.Gates.Select(g =>
                    $"{g.Name} waits since {g.Since:O} for the acknowledgement of {g.WaitsFor.ShortName}, because of {g.Because}."
                ),
            ],
            Refusals =
            [
                .. subscription.Refusals.Select(r => new Resources.Api.Refusal(node, subscription.Type.ShortName, r.Name, r.Text, r.Since)),
            ],
            LastRefusal = subscription.LastRefusal,
            LastRefusalAt = subscription.LastRefusalAt,
        };

    private static string Explain(Warming warming) =>
        $"Clusters are warming since {warming.Since:O}"
        + (
            warming.EndpointsMissing.IsEmpty
                ? "."
                : $": the node has not got the endpoints of {string.Join(", ", warming.EndpointsMissing)}."
        )
        + (
            warming.SuspectedFailure
                ? " It takes longer than Envoy's own limit: a cluster failed late and holds back all that follows."
                : ""
        );

    // Nobody reads microseconds.
    private static TimeSpan Rounded(TimeSpan time) => new(time.Ticks - (time.Ticks % TimeSpan.TicksPerMillisecond));

    private static string? NotEmpty(string text) => text.Length == 0 ? null : text;
}
