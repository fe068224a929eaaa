using System.Text.Json.Nodes;
using ControlPlane.Resources.Listeners;
using Envoy.Config.Accesslog.V3;
using Envoy.Config.Core.V3;
using Envoy.Extensions.AccessLoggers.Grpc.V3;
using Envoy.Extensions.AccessLoggers.Stream.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Compilation;

/// <summary>Compiles access logs, for requests and for connections.</summary>
internal static class AccessLogs
{
    /// <summary>
    /// What it takes to explain a failed request: which route and upstream, which endpoint, which flags and details, how many attempts, and where the time
    /// went.
    /// </summary>
    private static readonly JsonObject RequestFormat = new()
    {
        ["attempts"] = "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        ["authority"] = "%REQ(:AUTHORITY)%",
        ["bytesReceived"] = "%BYTES_RECEIVED%",
        ["bytesSent"] = "%BYTES_SENT%",
        ["client"] = "%DOWNSTREAM_REMOTE_ADDRESS%",
        ["details"] = "%RESPONSE_CODE_DETAILS%",
        ["durationMs"] = "%DURATION%",
        ["endpoint"] = "%UPSTREAM_HOST%",
        ["flags"] = "%RESPONSE_FLAGS%",
        ["grpcStatus"] = "%GRPC_STATUS%",
        ["method"] = "%REQ(:METHOD)%",
        ["path"] = "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        ["protocol"] = "%PROTOCOL%",
        ["requestId"] = "%REQ(X-REQUEST-ID)%",
        ["route"] = "%ROUTE_NAME%",
        ["status"] = "%RESPONSE_CODE%",
        ["time"] = "%START_TIME%",
        ["upstream"] = "%UPSTREAM_CLUSTER%",
        ["upstreamDurationMs"] = "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
        ["upstreamFailure"] = "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        ["userAgent"] = "%REQ(USER-AGENT)%",
    };

    private static readonly JsonObject ConnectionFormat = new()
    {
        ["bytesReceived"] = "%BYTES_RECEIVED%",
        ["bytesSent"] = "%BYTES_SENT%",
        ["client"] = "%DOWNSTREAM_REMOTE_ADDRESS%",
        ["details"] = "%CONNECTION_TERMINATION_DETAILS%",
        ["durationMs"] = "%DURATION%",
        ["endpoint"] = "%UPSTREAM_HOST%",
        ["flags"] = "%RESPONSE_FLAGS%",
        ["serverName"] = "%REQUESTED_SERVER_NAME%",
        ["time"] = "%START_TIME%",
        ["upstream"] = "%UPSTREAM_CLUSTER%",
        ["upstreamFailure"] = "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    };

    public static AccessLog ForRequests(string listener, AccessLogSpec spec)
    {
        if (spec.Grpc is not { } grpc)
        {
            return Stdout(spec.Stdout!, RequestFormat);
        }
        var config = new HttpGrpcAccessLogConfig { CommonConfig = Common(listener, grpc) };
        config.AdditionalRequestHeadersToLog.AddRange(grpc.RequestHeaders);
        config.AdditionalResponseHeadersToLog.AddRange(grpc.ResponseHeaders);
        return new AccessLog { Name = "envoy.access_loggers.http_grpc", TypedConfig = EnvoyTypes.Pack(config) };
    }

    public static AccessLog ForConnections(string listener, AccessLogSpec spec) =>
        spec.Grpc is { } grpc
            ? new AccessLog
            {
                Name = "envoy.access_loggers.tcp_grpc",
                TypedConfig = EnvoyTypes.Pack(new TcpGrpcAccessLogConfig { CommonConfig = Common(listener, grpc) }),
            }
            : Stdout(spec.Stdout!, ConnectionFormat);

    private static AccessLog Stdout(StdoutLogSpec spec, JsonObject standard)
    {
        var format = spec.Text is { } text
            ? new SubstitutionFormatString { TextFormatSource = new DataSource { InlineString = text.EndsWith('\n') ? text : text + "\n" } }
            : new SubstitutionFormatString { JsonFormat = JsonParser.Default.Parse<Struct>((spec.Json ?? standard).ToJsonString()) };
        return new AccessLog
        {
            Name = "envoy.access_loggers.stdout",
            TypedConfig = EnvoyTypes.Pack(new StdoutAccessLog { LogFormat = format }),
        };
    }

    private static CommonGrpcAccessLogConfig Common(string listener, GrpcLogSpec spec) =>
        new()
        {
            LogName = spec.LogName ?? listener,
            GrpcService = UpstreamGrpcService.New(spec.Upstream),
            TransportApiVersion = ApiVersion.V3,
            BufferFlushInterval = spec.BufferFlushInterval?.ToDuration(),
            BufferSizeBytes = spec.BufferSizeBytes,
        };
}
