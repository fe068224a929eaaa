using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using Envoy.Admin.V3;
using Envoy.Service.Status.V3;
using Envoy.Type.Matcher.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// CSDS: what each node is to have and how far that got, for tools that speak this protocol. A caller sees the nodes that its own certificate could stand for;
/// secrets are named and never shown.
/// </summary>
internal sealed class ClientStatusService(DiscoveryServer server) : ClientStatusDiscoveryService.ClientStatusDiscoveryServiceBase
{
    public override Task<ClientStatusResponse> FetchClientStatus(ClientStatusRequest request, ServerCallContext context) =>
        Task.FromResult(Answer(request, context));

    public override async Task StreamClientStatus(
        IAsyncStreamReader<ClientStatusRequest> requestStream,
        IServerStreamWriter<ClientStatusResponse> responseStream,
        ServerCallContext context
    )
    {
        await foreach (var request in requestStream.ReadAllAsync(context.CancellationToken))
        {
            await responseStream.WriteAsync(Answer(request, context), context.CancellationToken);
        }
    }

    private ClientStatusResponse Answer(ClientStatusRequest request, ServerCallContext context)
    {
        if (request.NodeMatchers.Any(matcher => matcher.NodeMetadatas.Count > 0))
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, "Only node_id is supported in node_matchers."));
        }

        var certificate = context.GetHttpContext().Connection.ClientCertificate;
        var response = new ClientStatusResponse();
        foreach (var node in server.Nodes.List())
        {
            if (
                (request.NodeMatchers.Count == 0 || request.NodeMatchers.Any(matcher => Matches(matcher.NodeId, node.Identity.Id)))
                && node.Streams.Length > 0
                && server.Authorize(node.Identity, certificate) is null
            )
            {
                response.Config.Add(ConfigOf(node, request.ExcludeResourceContents));
            }
        }

        return response;
    }

    private ClientConfig ConfigOf(NodeStatus node, bool withoutContents)
    {
        var config = new ClientConfig
        {
            Node = new Envoy.Config.Core.V3.Node
            {
                Id = node.Identity.Id,
                Cluster = node.Identity.Cluster,
                UserAgentName = node.Identity.UserAgent,
                Locality = new Envoy.Config.Core.V3.Locality
                {
                    Region = node.Identity.Region,
                    Zone = node.Identity.Zone,
                    SubZone = node.Identity.SubZone,
                },
            },
        };
        var snapshot = server.Snapshots.Of(node.Identity);
        foreach (var subscription in node.Streams.SelectMany(stream => stream.Subscriptions))
        {
            IEnumerable<string> names = subscription.Wildcard
                ? subscription.Names.Union(snapshot[subscription.Type].Resources.Select(resource => resource.Name), StringComparer.Ordinal)
                : subscription.Names;
            foreach (var name in names.Order(StringComparer.Ordinal))
            {
                config.GenericXdsConfigs.Add(Of(node, snapshot[subscription.Type], subscription, name, withoutContents));
            }
        }

        return config;
    }

    private ClientConfig.Types.GenericXdsConfig Of(
        NodeStatus node,
        ResourceSet set,
        SubscriptionStatus subscription,
        string name,
        bool withoutContents
    )
    {
        var current = set.Find(name);
        var delivery = server.Nodes.DeliveryOf(node.Identity.Id, subscription.Type, name);
        var result = new ClientConfig.Types.GenericXdsConfig
        {
            TypeUrl = subscription.Type.TypeUrl,
            Name = name,
            VersionInfo = delivery.Version ?? "",
            ConfigStatus = delivery.State switch
            {
                DeliveryState.Acked => ConfigStatus.Synced,
                DeliveryState.Nacked => ConfigStatus.Error,
                DeliveryState.Pending => ConfigStatus.Stale,
                _ => ConfigStatus.NotSent,
            },
            ClientStatus = (delivery.State, current) switch
            {
                (_, null) => ClientResourceStatus.DoesNotExist,
                (DeliveryState.Acked, _) => ClientResourceStatus.Acked,
                (DeliveryState.Nacked, _) => ClientResourceStatus.Nacked,
                _ => ClientResourceStatus.Requested,
            },
        };
        if (subscription.SentAt is { } sentAt)
        {
            result.LastUpdated = Timestamp.FromDateTimeOffset(sentAt);
        }

        if (current is not null && !withoutContents && subscription.Type != ResourceType.Secret)
        {
            result.XdsConfig = new Any { TypeUrl = subscription.Type.TypeUrl, Value = UnsafeByteOperations.UnsafeWrap(current.Payload) };
        }

        if (delivery.Refusal is { } refusal)
        {
            result.ErrorState = new UpdateFailureState
            {
                Details = refusal.Text,
                VersionInfo = refusal.Version,
                LastUpdateAttempt = Timestamp.FromDateTimeOffset(refusal.Since),
            };
        }

        return result;
    }

    private static bool Matches(StringMatcher? matcher, string text) =>
        matcher is null
        || matcher.MatchPatternCase switch
        {
            StringMatcher.MatchPatternOneofCase.Exact => text.Equals(matcher.Exact, Comparison(matcher)),
            StringMatcher.MatchPatternOneofCase.Prefix => text.StartsWith(matcher.Prefix, Comparison(matcher)),
            StringMatcher.MatchPatternOneofCase.Suffix => text.EndsWith(matcher.Suffix, Comparison(matcher)),
            StringMatcher.MatchPatternOneofCase.Contains => text.Contains(matcher.Contains, Comparison(matcher)),
            StringMatcher.MatchPatternOneofCase.None => true,
            _ => throw new RpcException(
                new Status(StatusCode.InvalidArgument, "Only exact, prefix, suffix and contains are supported in node_id.")
            ),
        };

    private static StringComparison Comparison(StringMatcher matcher) =>
        matcher.IgnoreCase ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal;
}
