using System.Collections.Immutable;
using System.Text.Json.Nodes;

namespace ControlPlane.Resources.Listeners;

/// <summary>One access log: exactly one of stdout and grpc.</summary>
public sealed record AccessLogSpec
{
    /// <summary>Lines on the proxy's standard output.</summary>
    public StdoutLogSpec? Stdout { get; init; }

    /// <summary>Records for a gRPC access log service.</summary>
    public GrpcLogSpec? Grpc { get; init; }

    internal IEnumerable<SpecReference> References(string pointer) =>
        Grpc is null ? [] : [ListenerSpec.ToUpstream($"{pointer}/grpc/upstream", Grpc.Upstream)];
}

/// <summary>
/// Lines on standard output: at most one of json and text. Without either it is JSON with the fields that explain a failed request: route, upstream, flags,
/// details, attempts, times.
/// </summary>
public sealed record StdoutLogSpec
{
    /// <summary>A JSON object per line; its texts may hold Envoy's command operators, for example <c>%RESPONSE_CODE%</c>.</summary>
    public JsonObject? Json { get; init; }

    /// <summary>A line of text with command operators; a missing newline at its end is added.</summary>
    public string? Text { get; init; }
}

/// <summary>Records for a gRPC access log service (<c>envoy.service.accesslog.v3.AccessLogService</c>).</summary>
public sealed record GrpcLogSpec
{
    /// <summary>The upstream of the service; it must speak HTTP/2.</summary>
    public required string Upstream { get; init; }

    /// <summary>Names the log on the service's side; the listener's name when not given.</summary>
    public string? LogName { get; init; }

    /// <summary>How long records are gathered at most; more than 0; 1 s when not given.</summary>
    public TimeSpan? BufferFlushInterval { get; init; }

    /// <summary>How many bytes are gathered at most; 16 KiB when not given, 0 sends each record by itself.</summary>
    public uint? BufferSizeBytes { get; init; }

    /// <summary>Request headers that records carry besides the usual ones; HTTP only.</summary>
    public ImmutableArray<string> RequestHeaders { get; init; } = [];

    /// <summary>Response headers that records carry; HTTP only.</summary>
    public ImmutableArray<string> ResponseHeaders { get; init; } = [];
}
