using System.Collections.Immutable;
using System.Text.Json;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Admin.Wire;
using ControlPlane.Server.Health;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Grpc.Net.Client;

namespace ControlPlane.Server.Admin;

/// <summary>
/// Asks the other servers on the same database about their proxies. The server that decides about health knows all others, since they follow it; every other one asks
/// through it.
/// </summary>
internal sealed class NodePeers(HealthLeadership leadership, HealthPeerServer followers, PeerTls tls, TimeProvider time)
{
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(1);

    /// <summary>How long one server may take for an answer beyond the wait that it is asked for. Who asks through another one waits twice as long.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    /// <summary>What all other servers say of their proxies.</summary>
    /// <param name="node">Id of the one node that is meant; empty is all.</param>
    /// <param name="asker">The server that asks through this one; null if this one asks.</param>
    /// <param name="cancellationToken">Ends the questions.</param>
    public Task<IReadOnlyList<ServerAnswer>> ListAsync(string node, string? asker, CancellationToken cancellationToken) =>
        AskAsync(
            asker,
            TimeSpan.Zero,
            async (client, self, options) =>
                (await client.ListNodesAsync(new ListNodesRequest { Asker = self, Node = node }, options)).Servers,
            cancellationToken
        );

    /// <summary>Waits at all other servers until their proxies have answered.</summary>
    /// <param name="awaited">What is waited for.</param>
    /// <param name="limit">For how long at most.</param>
    /// <param name="asker">The server that asks through this one; null if this one asks.</param>
    /// <param name="cancellationToken">Ends the waits.</param>
    public Task<IReadOnlyList<ServerAnswer>> WaitAsync(
        AwaitedChange awaited,
        TimeSpan limit,
        string? asker,
        CancellationToken cancellationToken
    ) =>
        AskAsync(
            asker,
            limit,
            async (client, self, options) =>
            {
                var request = new WaitAckedRequest
                {
                    Asker = self,
                    Revision = awaited.Revision,
                    Limit = limit.ToDuration(),
                };
                request.Resources.AddRange(awaited.Resources.Select(r => new ResourceName { TypeUrl = r.Type.TypeUrl, Name = r.Name }));
                request.Audiences.AddRange(awaited.Audiences.Select(groups => new Audience { NodeGroups = { groups } }));
                return (await client.WaitAckedAsync(request, options)).Servers;
            },
            cancellationToken
        );

    /// <summary>Divides answers into those that came and the servers that gave none.</summary>
    public static (ImmutableArray<T> Answers, ImmutableArray<UnreachableReplica> Unreachable) Read<T>(IEnumerable<ServerAnswer> servers)
    {
        var (answers, unreachable) = (ImmutableArray.CreateBuilder<T>(), ImmutableArray.CreateBuilder<UnreachableReplica>());
        foreach (var server in servers)
        {
            if (server.Json.Length > 0)
            {
                answers.Add(JsonSerializer.Deserialize<T>(server.Json, ApiJson.Options)!);
            }
            else
            {
                unreachable.Add(new UnreachableReplica(server.Replica, server.Problem));
            }
        }

        return (answers.ToImmutable(), unreachable.ToImmutable());
    }

    /// <summary>This server's answer.</summary>
    public static ServerAnswer AnswerOf<T>(T answer) =>
        new() { Replica = Environment.MachineName, Json = JsonSerializer.Serialize(answer, ApiJson.Options) };

    private async Task<IReadOnlyList<ServerAnswer>> AskAsync(
        string? asker,
        TimeSpan limit,
        Func<NodePeerService.NodePeerServiceClient, Asker, CallOptions, Task<IEnumerable<ServerAnswer>>> question,
        CancellationToken cancellationToken
    )
    {
        if (!leadership.IsShared)
        {
            return [];
        }

        var role = leadership.Role;
        if (role.Leads)
        {
            var answers = await Task.WhenAll(
                followers
                    .Followers.Where(follower => follower.Server != asker)
                    .Select(follower => AskOneAsync(follower.Server, follower.Address, isRelay: false, limit + Patience))
            );
            return [.. answers.SelectMany(servers => servers)];
        }

        if (asker is not null)
        {
            return [];
        }

        return role.Server.Length == 0
            ? [new ServerAnswer { Replica = "unknown", Problem = "This server has not found out yet which others there are." }]
            : await AskOneAsync(role.Server, role.Address, isRelay: true, limit + (2 * Patience));

        async Task<IReadOnlyList<ServerAnswer>> AskOneAsync(string server, string address, bool isRelay, TimeSpan timeout)
        {
            if (address.Length == 0)
            {
                return [new ServerAnswer { Replica = server, Problem = "It runs an older version that does not say where it is reached." }];
            }

            try
            {
                using var channel = GrpcChannel.ForAddress(
                    address,
                    new GrpcChannelOptions
                    {
                        HttpHandler = tls.Handler(ConnectTimeout),
                        DisposeHttpClient = true,
                        MaxReceiveMessageSize = null,
                    }
                );
                return
                [
                    .. await question(
                        new NodePeerService.NodePeerServiceClient(channel),
                        new Asker { Server = leadership.ServerId, Relay = isRelay },
                        new CallOptions(deadline: time.GetUtcNow().UtcDateTime + timeout, cancellationToken: cancellationToken)
                    ),
                ];
            }
            catch (RpcException e) when (!cancellationToken.IsCancellationRequested)
            {
                return
                [
                    new ServerAnswer
                    {
                        Replica = server,
                        Problem =
                            $"It did not answer at {address}: {(e.StatusCode == StatusCode.DeadlineExceeded ? "time was up" : e.Status.Detail)}"
                            + (isRelay ? ". The servers that follow it could not be asked either." : "."),
                    },
                ];
            }
        }
    }
}
