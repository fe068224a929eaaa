using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Admin.Wire;
using Grpc.Core;

namespace ControlPlane.Server.Admin;

/// <summary>Answers other servers on the same database about the proxies that are connected here.</summary>
internal sealed class NodePeerServer(NodeViews views, Propagations propagations, NodePeers peers, IHostApplicationLifetime lifetime)
    : NodePeerService.NodePeerServiceBase
{
    public override async Task<ListNodesResponse> ListNodes(ListNodesRequest request, ServerCallContext context)
    {
        var response = new ListNodesResponse { Servers = { NodePeers.AnswerOf(views.Here(request.Node)) } };
        if (request.Asker.Relay)
        {
            response.Servers.AddRange(await peers.ListAsync(request.Node, request.Asker.Server, context.CancellationToken));
        }

        return response;
    }

    public override async Task<WaitAckedResponse> WaitAcked(WaitAckedRequest request, ServerCallContext context)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, lifetime.ApplicationStopping);
        // A newer server may know types that this one does not serve to anybody.
        var awaited = new AwaitedChange(
            request.Revision,
            [
                .. from resource in request.Resources
                let type = ResourceType.Find(resource.TypeUrl)
                where type is not null
                select new ResourceReference(type, resource.Name),
            ],
            [.. request.Audiences.Select(audience => (IReadOnlyList<string>)audience.NodeGroups)]
        );
        var limit = request.Limit.ToTimeSpan();
        var others = request.Asker.Relay ? peers.WaitAsync(awaited, limit, request.Asker.Server, ending.Token) : null;
        var response = new WaitAckedResponse
        {
            Servers = { NodePeers.AnswerOf(await propagations.WaitHereAsync(awaited, limit, ending.Token)) },
        };
        if (others is not null)
        {
            response.Servers.AddRange(await others);
        }

        return response;
    }
}
