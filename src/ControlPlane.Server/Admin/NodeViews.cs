using System.Collections.Immutable;
using ControlPlane.Core.Discovery;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.Admin;

/// <summary>Shows proxies: those of this server, and those of all.</summary>
internal sealed class NodeViews(ConnectedNodes nodes, SnapshotViews groups, NodePeers peers)
{
    /// <summary>Most names of a type that are shown of one node, and of each node of a list: a client may ask for a hundred thousand.</summary>
    private const int MaxNames = 1000;
    private const int MaxNamesInList = 100;

    /// <summary>The proxies of this server.</summary>
    /// <param name="id">The one that is meant, which is then shown with its extensions; empty is all.</param>
    public NodeList Here(string id) =>
        id.Length == 0
            ? new NodeList(
                Environment.MachineName,
                [.. nodes.List().Select(node => ViewOf(node, MaxNamesInList))],
                [
                    .. nodes
                        .Refused()
                        .Select(r => new RefusedAttempt(r.Node.Id, NotEmpty(r.Node.Cluster), r.Peer, r.Reason, r.At, r.Attempts)),
                ]
            )
            : new NodeList(
                Environment.MachineName,
                nodes.Find(id) is not { } node
                    ? []
                    :
                    [
                        ViewOf(node, MaxNames) with
                        {
                            Extensions = node.Identity.Extensions is { } extensions ? [.. extensions.Order(StringComparer.Ordinal)] : null,
                        },
                    ],
                []
            );

    /// <summary>The proxies of every server on the database that answers.</summary>
    /// <param name="id">As in <see cref="Here"/>.</param>
    /// <param name="cancellationToken">Ends the questions to the others.</param>
    public async Task<NodeList> EverywhereAsync(string id, CancellationToken cancellationToken)
    {
        var (others, unreachable) = NodePeers.Read<NodeList>(await peers.ListAsync(id, asker: null, cancellationToken));
        var here = Here(id);
        return others.IsEmpty
            ? here with
            {
                Unreachable = unreachable,
            }
            : new NodeList(
                here.Replica,
                [
                    .. here
                        .Items.Concat(others.SelectMany(o => o.Items))
                        .GroupBy(node => node.Id, StringComparer.Ordinal)
                        .Select(Merge)
                        .OrderBy(node => node.Id, StringComparer.Ordinal),
                ],
                [.. here.Refused.Concat(others.SelectMany(o => o.Refused)).OrderByDescending(r => r.At)]
            )
            {
                Unreachable = unreachable,
            };
    }

    /// <summary>One node as several servers see it: it may have streams to more than one, and those that it left remember it for a while.</summary>
    private static NodeView Merge(IEnumerable<NodeView> seen)
    {
        var views = seen.OrderByDescending(v => v.Connected).ThenByDescending(v => v.Since).ToList();
        var connected = views.FindAll(v => v.Connected);
        return connected.Count < 2
            ? views[0]
            : connected[0] with
            {
                Since = connected.Min(v => v.Since),
                State = connected.MaxBy(v => Array.IndexOf(StatesByWeight, v.State))!.State,
                Streams = [.. connected.SelectMany(v => v.Streams)],
            };
    }

    private static readonly string[] StatesByWeight = ["synced", "pending", "refused"];

    private NodeView ViewOf(NodeStatus node, int maxNames)
    {
        var identity = node.Identity;
        string?[] locality = [NotEmpty(identity.Region), NotEmpty(identity.Zone), NotEmpty(identity.SubZone)];
        return new NodeView
        {
            Id = identity.Id,
            Cluster = NotEmpty(identity.Cluster),
            Locality = NotEmpty(string.Join('/', locality.Where(part => part is not null))),
            Client = NotEmpty($"{identity.UserAgent} {identity.UserAgentVersion}".Trim()),
            Groups = groups.GroupsOf(identity),
            Connected = node.DisconnectedAt is null,
            Since = node.DisconnectedAt ?? node.Streams.Select(s => s.Since).DefaultIfEmpty().Min(),
            State = StateOf(node),
            Streams = [.. node.Streams.Select(s => ViewOf(identity.Id, s, maxNames))],
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

    private static NodeStreamView ViewOf(string node, StreamStatus stream, int maxNames) =>
        new()
        {
            Service = stream.Service,
            Protocol = stream.Protocol,
            Peer = stream.Peer,
            Since = stream.Since,
            Replica = Environment.MachineName,
            Revision = stream.Revision,
            Warming = stream.Warming is { } warming ? Explain(warming) : null,
            Types = [.. stream.Subscriptions.Select(s => ViewOf(node, s, maxNames))],
        };

    private static NodeTypeView ViewOf(string node, SubscriptionStatus subscription, int maxNames) =>
        new()
        {
            Type = subscription.Type.ShortName,
            Subscriptions = [.. subscription.Wildcard ? (string[])["*"] : [], .. subscription.Names.Take(maxNames)],
            NameCount = subscription.Names.Length,
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
