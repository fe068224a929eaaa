using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Health;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.Server.Publishing;
using Envoy.Service.LoadStats.V3;
using Google.Protobuf.WellKnownTypes;
using Grpc.AspNetCore.Server.Model;
using Grpc.Core;
using Microsoft.Extensions.Options;

namespace ControlPlane.Server.HealthIntake.LoadReporting;

/// <summary>
/// LRS, <c>envoy.service.load_stats.v3.LoadReportingService</c>: what became of real requests, as every proxy saw it. The merging is done by the health model, which
/// keeps the newest report of each proxy and its sum over a window.
/// </summary>
/// <remarks>
/// A proxy is one witness, whatever the number of its streams: a second stream with the same node id, as while a connection is replaced, adds to what the first
/// reports. What Envoy loses (the first interval of a cluster, a refusing locality before 1.37) is silence, and silence means nothing to the model.
/// </remarks>
internal sealed class LoadReportingService(
    CurrentState current,
    SnapshotViews views,
    HealthKeeper keeper,
    FleetHealthPolicy policy,
    ConnectedNodes nodes,
    LoadReportingMetrics metrics,
    IOptions<LoadReportingOptions> options,
    IHostApplicationLifetime lifetime,
    TimeProvider time,
    NodeAuthorizer? authorize = null
)
{
    /// <summary>The client feature of those that heed <c>send_all_clusters</c>: Envoy and gRPC.</summary>
    private const string SendAllClusters = "envoy.lrs.supports_send_all_clusters";

    private readonly LoadReportingOptions _options = options.Value;
    private int _streams;

    private async Task ServeAsync(
        IAsyncStreamReader<LoadStats> requests,
        IServerStreamWriter<LoadStatsResponse> responses,
        ServerCallContext context
    )
    {
        if (lifetime.ApplicationStopping.IsCancellationRequested)
        {
            throw new RpcException(new Status(StatusCode.Unavailable, "This server is shutting down."));
        }

        if (Interlocked.Increment(ref _streams) > _options.MaxStreams)
        {
            Interlocked.Decrement(ref _streams);
            throw new RpcException(
                new Status(StatusCode.ResourceExhausted, $"This server has {_options.MaxStreams} load report streams, the most it takes.")
            );
        }

        metrics.StreamsChanged(1);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, lifetime.ApplicationStopping);
        try
        {
            await RunAsync(requests, responses, context, ending.Token);
        }
        catch (InvalidDataException e)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, e.Message));
        }
        catch (Exception e)
            when (ending.IsCancellationRequested && e is OperationCanceledException or IOException or InvalidOperationException)
        {
            // The proxy went away, or the server goes: it reports on its next stream all that it counted since its last report.
        }
        finally
        {
            Interlocked.Decrement(ref _streams);
            metrics.StreamsChanged(-1);
        }
    }

    private async Task RunAsync(
        IAsyncStreamReader<LoadStats> requests,
        IServerStreamWriter<LoadStatsResponse> responses,
        ServerCallContext context,
        CancellationToken cancellationToken
    )
    {
        var reading = StreamReading.Begin();
        if (!await ReadFirstAsync(requests, cancellationToken))
        {
            return;
        }

        var node = Identify(requests.Current.Node, context);
        reading.NodeIsKnown = true;
        // Before that nobody knows which upstreams there are.
        await current.Loaded.WaitAsync(cancellationToken);
        var given = new GivenUpstreams(node, current, views);
        var sendsAll = node.ClientFeatures.Contains(SendAllClusters);
        ImmutableArray<string> asked = default;
        do
        {
            Take(node, given, requests.Current);
            // Which upstreams there are may have changed; a list that is new goes out with the next report, since nothing is counted before that anyway.
            var wanted = sendsAll ? [] : given.Names();
            if (asked.IsDefault || !wanted.SequenceEqual(asked))
            {
                await responses.WriteAsync(Ask(sendsAll, wanted), cancellationToken);
                asked = wanted;
            }
        } while (await requests.MoveNext(cancellationToken));
    }

    private LoadStatsResponse Ask(bool sendAll, ImmutableArray<string> upstreams) =>
        new()
        {
            SendAllClusters = sendAll,
            Clusters = { upstreams },
            LoadReportingInterval = policy.LoadReportInterval.ToDuration(),
            ReportEndpointGranularity = true,
        };

    private async Task<bool> ReadFirstAsync(IAsyncStreamReader<LoadStats> requests, CancellationToken cancellationToken)
    {
        using var patience = new CancellationTokenSource(_options.FirstRequestTimeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, cancellationToken);
        try
        {
            return await requests.MoveNext(either.Token);
        }
        catch (OperationCanceledException) when (patience.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, "The stream was opened and no request came."));
        }
    }

    private NodeIdentity Identify(NodeIdentity? node, ServerCallContext context)
    {
        if (node is null or { Id: "" })
        {
            throw new RpcException(
                new Status(
                    StatusCode.InvalidArgument,
                    "The first request must name its node: node.id is empty, and reports have no author then."
                )
            );
        }

        if (authorize?.Invoke(node, context.GetHttpContext().Connection.ClientCertificate) is { } refusal)
        {
            nodes.Refused(node, context.Peer, refusal);
            throw new RpcException(new Status(StatusCode.PermissionDenied, refusal));
        }

        return node;
    }

    private void Take(NodeIdentity node, GivenUpstreams given, LoadStats stats)
    {
        var evidence = new List<HealthEvidence>(stats.Loads.Count);
        var foreign = 0;
        foreach (var load in stats.Loads)
        {
            // A proxy testifies only about what it is given.
            if (!given.Includes(load.Upstream.NodeGroups))
            {
                foreign++;
                continue;
            }

            load.Upstream.Add(load.Successes, load.Errors);
            evidence.Add(
                new LoadReport
                {
                    Upstream = load.Upstream.Name,
                    Author = node.Id,
                    Zone = node.Zone,
                    Interval = load.Interval,
                    Endpoints = load.Endpoints,
                }
            );
        }

        if (evidence.Count > 0)
        {
            keeper.Record(evidence);
        }

        metrics.Reported(stats.Dropped, foreign);
    }

    /// <summary>Which upstreams a node is given: those of no group, and those of its groups, which follow the desired state.</summary>
    private sealed class GivenUpstreams(NodeIdentity node, CurrentState current, SnapshotViews views)
    {
        private DesiredState? _groupsOf;
        private ImmutableArray<string> _groups = [];
        private DesiredState? _namesOf;
        private ImmutableArray<string> _names = [];

        public bool Includes(ImmutableArray<string> nodeGroups)
        {
            if (nodeGroups.IsEmpty)
            {
                return true;
            }

            if (_groupsOf != current.Desired)
            {
                _groupsOf = current.Desired;
                _groups = views.GroupsOf(node);
            }

            return nodeGroups.Any(_groups.Contains);
        }

        public ImmutableArray<string> Names()
        {
            var desired = current.Desired;
            if (_namesOf != desired)
            {
                _namesOf = desired;
                _names =
                [
                    .. desired
                        .List(ResourceKind.Upstream)
                        .Where(u => Includes(((UpstreamSpec)u.Value.Manifest.Spec).NodeGroups))
                        .Select(u => u.Key),
                ];
            }

            return _names;
        }
    }

    /// <summary>Binds the method by hand, since the generated base class would make a message of every report.</summary>
    internal sealed class Methods(ReportedUpstreams upstreams) : IServiceMethodProvider<LoadReportingService>
    {
        public void OnServiceMethodDiscovery(ServiceMethodProviderContext<LoadReportingService> context) =>
            context.AddDuplexStreamingMethod(
                new Method<LoadStats, LoadStatsResponse>(
                    MethodType.DuplexStreaming,
                    "envoy.service.load_stats.v3.LoadReportingService",
                    "StreamLoadStats",
                    LoadReportMessages.Requests(upstreams),
                    LoadReportMessages.Responses
                ),
                [],
                (instance, reader, writer, call) => instance.ServeAsync(reader, writer, call)
            );
    }
}
