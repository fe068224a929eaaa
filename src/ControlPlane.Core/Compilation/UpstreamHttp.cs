using ControlPlane.Resources.Upstreams;
using Envoy.Config.Core.V3;
using Envoy.Type.V3;
using Google.Protobuf.WellKnownTypes;
using HttpOptions = Envoy.Extensions.Upstreams.Http.V3.HttpProtocolOptions;

namespace ControlPlane.Core.Compilation;

/// <summary>Compiles what is spoken to an upstream.</summary>
internal static class UpstreamHttp
{
    /// <summary>The key of the options in a cluster's <c>typed_extension_protocol_options</c>.</summary>
    public const string OptionsName = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

    /// <summary>The HTTP options of an upstream; null where it does not speak HTTP, and where it speaks HTTP/1.1 and no more is said: Envoy does that without.</summary>
    public static HttpOptions? Options(UpstreamSpec spec)
    {
        var options = new HttpOptions { CommonHttpProtocolOptions = Common(spec.Http) };
        switch (spec.Protocol)
        {
            case UpstreamProtocol.Tcp:
            // The message is the larger by two fifths with options, and is sent to every proxy.
            case UpstreamProtocol.Http1 when options.CommonHttpProtocolOptions is null:
                return null;
            case UpstreamProtocol.Http1:
                options.ExplicitHttpConfig = new HttpOptions.Types.ExplicitHttpConfig { HttpProtocolOptions = new Http1ProtocolOptions() };
                break;
            case UpstreamProtocol.Auto:
                options.AutoConfig = new HttpOptions.Types.AutoHttpConfig
                {
                    HttpProtocolOptions = new Http1ProtocolOptions(),
                    Http2ProtocolOptions = Http2(spec.Http),
                };
                break;
            default:
                options.ExplicitHttpConfig = new HttpOptions.Types.ExplicitHttpConfig { Http2ProtocolOptions = Http2(spec.Http) };
                break;
        }
        return options;
    }

    private static HttpProtocolOptions? Common(HttpConnectionSpec spec)
    {
        var common = new HttpProtocolOptions
        {
            IdleTimeout = spec.IdleTimeout?.ToDuration(),
            MaxConnectionDuration = spec.MaxConnectionDuration?.ToDuration(),
            MaxStreamDuration = spec.MaxStreamDuration?.ToDuration(),
            MaxRequestsPerConnection = spec.MaxRequestsPerConnection,
        };
        return common.CalculateSize() == 0 ? null : common;
    }

    private static Http2ProtocolOptions Http2(HttpConnectionSpec spec)
    {
        var http2 = new Http2ProtocolOptions
        {
            MaxConcurrentStreams = spec.MaxConcurrentStreams,
            InitialStreamWindowSize = spec.InitialStreamWindowBytes,
            InitialConnectionWindowSize = spec.InitialConnectionWindowBytes,
        };
        if (spec.Keepalive is { } keepalive)
        {
            http2.ConnectionKeepalive = new KeepaliveSettings
            {
                Interval = keepalive.Interval.ToDuration(),
                Timeout = keepalive.Timeout.ToDuration(),
                IntervalJitter = new Percent { Value = 15 },
            };
        }
        return http2;
    }
}
