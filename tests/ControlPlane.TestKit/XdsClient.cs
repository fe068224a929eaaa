using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Service.Discovery.V3;
using Envoy.Service.LoadStats.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Grpc.Net.Client;
using Xunit;

namespace ControlPlane.TestKit;

/// <summary>One connection to a discovery server, on which streams of either protocol are opened.</summary>
public sealed class XdsClient : IDisposable
{
    /// <summary>How long an expected response may take: long enough for a loaded machine.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    /// <summary>Full name of the aggregated service.</summary>
    public const string Ads = "envoy.service.discovery.v3.AggregatedDiscoveryService";

    private readonly GrpcChannel _channel;

    /// <summary>Connects to a server, for example <c>http://127.0.0.1:18000</c>.</summary>
    /// <param name="address">The server.</param>
    /// <param name="handler">Replaces the HTTP handler, for example to present a certificate.</param>
    public XdsClient(string address, HttpMessageHandler? handler = null)
    {
        _channel = GrpcChannel.ForAddress(
            address,
            new GrpcChannelOptions
            {
                HttpHandler = handler ?? new SocketsHttpHandler { EnableMultipleHttp2Connections = true },
                MaxReceiveMessageSize = null,
                DisposeHttpClient = true,
            }
        );
    }

    /// <summary>The connection, for other services of the server.</summary>
    public CallInvoker Invoker => _channel.CreateCallInvoker();

    /// <summary>Opens a state-of-the-world stream.</summary>
    public SotwStream OpenSotw(string nodeId = "test", string service = Ads, string method = "StreamAggregatedResources") =>
        new(Open<DiscoveryRequest, DiscoveryResponse>(service, method), new Node { Id = nodeId, Cluster = "test" });

    /// <summary>Opens a Delta stream.</summary>
    public DeltaStream OpenDelta(
        string nodeId = "test",
        string service = Ads,
        string method = "DeltaAggregatedResources",
        string? zone = null
    ) =>
        new(
            Open<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(service, method),
            new Node
            {
                Id = nodeId,
                Cluster = "test",
                Locality = zone is null ? null : new Locality { Zone = zone },
            }
        );

    /// <summary>Opens a stream of load reports.</summary>
    /// <param name="nodeId">Who reports; empty sends no node.</param>
    /// <param name="zone">Where it stands.</param>
    /// <param name="sendsAll">Whether it announces, as Envoy does, that it can report about all clusters unasked.</param>
    public LoadReportStream OpenLoadReports(string nodeId, string zone = "", bool sendsAll = true)
    {
        var node = new Node
        {
            Id = nodeId,
            Cluster = "test",
            Locality = new Locality { Zone = zone },
        };
        if (sendsAll)
        {
            node.ClientFeatures.Add("envoy.lrs.supports_send_all_clusters");
        }

        return new LoadReportStream(
            Open<LoadStatsRequest, LoadStatsResponse>("envoy.service.load_stats.v3.LoadReportingService", "StreamLoadStats"),
            nodeId.Length == 0 ? null : node
        );
    }

    /// <inheritdoc/>
    public void Dispose() => _channel.Dispose();

    private AsyncDuplexStreamingCall<TRequest, TResponse> Open<TRequest, TResponse>(string service, string method)
        where TRequest : class, IMessage<TRequest>, new()
        where TResponse : class, IMessage<TResponse>, new() =>
        Invoker.AsyncDuplexStreamingCall(
            new Method<TRequest, TResponse>(
                MethodType.DuplexStreaming,
                service,
                method,
                MarshallerOf<TRequest>(),
                MarshallerOf<TResponse>()
            ),
            host: null,
            new CallOptions()
        );

    private static Marshaller<T> MarshallerOf<T>()
        where T : IMessage<T>, new()
    {
        var parser = new MessageParser<T>(() => new T());
        return Marshallers.Create(message => message.ToByteArray(), parser.ParseFrom);
    }
}

/// <summary>One stream, and what both protocols have in common.</summary>
public abstract class XdsStream<TRequest, TResponse>(AsyncDuplexStreamingCall<TRequest, TResponse> call) : IDisposable
    where TResponse : class
{
    /// <summary>Sends a request as it is. If the server has ended the stream, the next read says so.</summary>
    public async Task SendAsync(TRequest request)
    {
        try
        {
            await call.RequestStream.WriteAsync(request);
        }
        catch (Exception e) when (e is RpcException or InvalidOperationException)
        {
            // The write may learn of the end before the headers that tell of it are read.
            await ((Task)call.ResponseHeadersAsync)
                .WaitAsync(XdsClient.Patience, TimeProvider.System)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            Assert.True(call.ResponseHeadersAsync.IsCompleted, e.Message);
        }
    }

    /// <summary>The next response, of whatever type.</summary>
    /// <param name="within">How long it may take; <see cref="XdsClient.Patience"/> unless said.</param>
    public async Task<TResponse> NextAsync(TimeSpan? within = null)
    {
        using var patience = new CancellationTokenSource(within ?? XdsClient.Patience, TimeProvider.System);
        try
        {
            return await call.ResponseStream.MoveNext(patience.Token)
                ? call.ResponseStream.Current
                : throw new InvalidOperationException("The server ended the stream.");
        }
        catch (RpcException e) when (patience.IsCancellationRequested && e.StatusCode == StatusCode.Cancelled)
        {
            throw new TimeoutException("No response came.", e);
        }
    }

    /// <summary>Waits until the server ends the stream, and returns with what status. Responses that still come are passed over.</summary>
    public async Task<Grpc.Core.Status> EndAsync()
    {
        using var patience = new CancellationTokenSource(XdsClient.Patience, TimeProvider.System);
        try
        {
            while (await call.ResponseStream.MoveNext(patience.Token)) { }
        }
        catch (RpcException e)
        {
            Assert.False(patience.IsCancellationRequested, "The server did not end the stream.");
            return e.Status;
        }

        return call.GetStatus();
    }

    /// <summary>Says that no more requests come.</summary>
    public Task CloseAsync() => call.RequestStream.CompleteAsync();

    /// <summary>Resets the stream.</summary>
    public void Dispose() => call.Dispose();
}

/// <summary>A state-of-the-world stream that remembers, as a client does, its names, versions and nonces per type.</summary>
public sealed class SotwStream(AsyncDuplexStreamingCall<DiscoveryRequest, DiscoveryResponse> call, Node node)
    : XdsStream<DiscoveryRequest, DiscoveryResponse>(call)
{
    private readonly Dictionary<string, DiscoveryRequest> _state = [];
    private bool _nodeSent;

    /// <summary>Asks for names of a type; no names for everything.</summary>
    public Task AskAsync(string typeUrl, params string[] names)
    {
        var state = StateOf(typeUrl);
        state.ResourceNames.Clear();
        state.ResourceNames.Add(names);
        return SendAsync(Stamped(state));
    }

    /// <summary>The next response, which must be of a type.</summary>
    public async Task<DiscoveryResponse> ExpectResponseAsync(string typeUrl)
    {
        var response = await NextAsync();
        Assert.Equal(typeUrl, response.TypeUrl);
        StateOf(typeUrl).ResponseNonce = response.Nonce;
        return response;
    }

    /// <summary>Acknowledges a response.</summary>
    public Task AckAsync(DiscoveryResponse response)
    {
        var state = StateOf(response.TypeUrl);
        state.VersionInfo = response.VersionInfo;
        state.ResponseNonce = response.Nonce;
        return SendAsync(Stamped(state));
    }

    /// <summary>Refuses a response.</summary>
    public Task NackAsync(DiscoveryResponse response, string text)
    {
        var request = Stamped(StateOf(response.TypeUrl));
        request.ResponseNonce = response.Nonce;
        request.ErrorDetail = new Google.Rpc.Status { Code = 13, Message = text };
        return SendAsync(request);
    }

    private DiscoveryRequest StateOf(string typeUrl)
    {
        if (!_state.TryGetValue(typeUrl, out var state))
        {
            _state[typeUrl] = state = new DiscoveryRequest { TypeUrl = typeUrl };
        }

        return state;
    }

    private DiscoveryRequest Stamped(DiscoveryRequest state)
    {
        var request = state.Clone();
        if (!_nodeSent)
        {
            request.Node = node;
            _nodeSent = true;
        }

        return request;
    }
}

/// <summary>A Delta stream.</summary>
public sealed class DeltaStream(AsyncDuplexStreamingCall<DeltaDiscoveryRequest, DeltaDiscoveryResponse> call, Node node)
    : XdsStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(call)
{
    private bool _nodeSent;

    /// <summary>Asks for names of a type; as the first request of CDS or LDS no names are everything.</summary>
    public Task AskAsync(string typeUrl, params string[] names) =>
        SendAsync(Stamped(new DeltaDiscoveryRequest { TypeUrl = typeUrl, ResourceNamesSubscribe = { names } }));

    /// <summary>Asks for names of a type and says which versions it holds.</summary>
    public Task ResumeAsync(string typeUrl, IReadOnlyDictionary<string, string> held, params string[] names) =>
        SendAsync(
            Stamped(
                new DeltaDiscoveryRequest
                {
                    TypeUrl = typeUrl,
                    ResourceNamesSubscribe = { names },
                    InitialResourceVersions = { held.ToDictionary() },
                }
            )
        );

    /// <summary>Gives names of a type up.</summary>
    public Task DropAsync(string typeUrl, params string[] names) =>
        SendAsync(Stamped(new DeltaDiscoveryRequest { TypeUrl = typeUrl, ResourceNamesUnsubscribe = { names } }));

    /// <summary>The next response, which must be of a type.</summary>
    public async Task<DeltaDiscoveryResponse> ExpectResponseAsync(string typeUrl)
    {
        var response = await NextAsync();
        Assert.Equal(typeUrl, response.TypeUrl);
        return response;
    }

    /// <summary>Acknowledges a response.</summary>
    public Task AckAsync(DeltaDiscoveryResponse response) =>
        SendAsync(Stamped(new DeltaDiscoveryRequest { TypeUrl = response.TypeUrl, ResponseNonce = response.Nonce }));

    /// <summary>Refuses a response.</summary>
    public Task NackAsync(DeltaDiscoveryResponse response, string text) =>
        SendAsync(
            Stamped(
                new DeltaDiscoveryRequest
                {
                    TypeUrl = response.TypeUrl,
                    ResponseNonce = response.Nonce,
                    ErrorDetail = new Google.Rpc.Status { Code = 13, Message = text },
                }
            )
        );

    private DeltaDiscoveryRequest Stamped(DeltaDiscoveryRequest request)
    {
        if (!_nodeSent)
        {
            request.Node = node;
            _nodeSent = true;
        }

        return request;
    }
}

/// <summary>A stream of load reports. Like Envoy it sends its node with every message, and first the node alone.</summary>
public sealed class LoadReportStream(AsyncDuplexStreamingCall<LoadStatsRequest, LoadStatsResponse> call, Node? node)
    : XdsStream<LoadStatsRequest, LoadStatsResponse>(call)
{
    /// <summary>Says who it is, and returns what the server asks for.</summary>
    public async Task<LoadStatsResponse> BeginAsync()
    {
        await SendAsync(new LoadStatsRequest { Node = node });
        return await NextAsync();
    }

    /// <summary>Reports about clusters, see <see cref="Cluster"/>.</summary>
    public Task ReportAsync(params ReadOnlySpan<ClusterStats> clusters)
    {
        var request = new LoadStatsRequest { Node = node };
        request.ClusterStats.AddRange(clusters);
        return SendAsync(request);
    }

    /// <summary>What a proxy saw of its requests to a cluster.</summary>
    /// <param name="name">The cluster.</param>
    /// <param name="interval">The time that the counts cover; null does not say.</param>
    /// <param name="endpoints">What became of them.</param>
    public static ClusterStats Cluster(string name, TimeSpan? interval, params IEnumerable<ReportedEndpoint> endpoints)
    {
        var locality = new UpstreamLocalityStats { Locality = new Locality { Zone = "z" } };
        foreach (var (address, port, successes, errors) in endpoints)
        {
            locality.TotalSuccessfulRequests += successes;
            locality.TotalErrorRequests += errors;
            locality.TotalIssuedRequests += successes + errors;
            locality.UpstreamEndpointStats.Add(
                new UpstreamEndpointStats
                {
                    Address = address.StartsWith('/')
                        ? new Address { Pipe = new Pipe { Path = address } }
                        : new Address
                        {
                            SocketAddress = new SocketAddress { Address = address, PortValue = (uint)port },
                        },
                    TotalSuccessfulRequests = successes,
                    TotalErrorRequests = errors,
                    TotalIssuedRequests = successes + errors,
                }
            );
        }

        var cluster = new ClusterStats { ClusterName = name, LoadReportInterval = interval?.ToDuration() };
        if (locality.UpstreamEndpointStats.Count > 0)
        {
            cluster.UpstreamLocalityStats.Add(locality);
        }

        return cluster;
    }
}

/// <summary>What became of the requests to one endpoint.</summary>
/// <param name="Address">An IP address, or the path of a Unix domain socket.</param>
/// <param name="Port">The port.</param>
/// <param name="Successes">Requests that succeeded.</param>
/// <param name="Errors">Requests that failed.</param>
public sealed record ReportedEndpoint(string Address, int Port, ulong Successes, ulong Errors);
