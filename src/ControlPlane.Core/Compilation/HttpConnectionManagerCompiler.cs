using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;
using Envoy.Config.Core.V3;
using Envoy.Config.Route.V3;
using Envoy.Config.Trace.V3;
using Envoy.Extensions.Filters.Http.Cors.V3;
using Envoy.Extensions.Filters.Http.Router.V3;
using Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using Envoy.Type.V3;
using Google.Protobuf.WellKnownTypes;
using Tracing = Envoy.Config.Trace.V3.Tracing;

namespace ControlPlane.Core.Compilation;

/// <summary>Compiles what a listener says about HTTP.</summary>
internal sealed class HttpConnectionManagerCompiler(
    string listener,
    ImmutableArray<AccessLogSpec> accessLogs,
    Func<string, RouteTableSpec?> routeTables,
    ProblemCollector problems
)
{
    public const string FilterName = "envoy.filters.network.http_connection_manager";

    /// <summary>For connections that a proxy accepts; with where the parts of the manager come from.</summary>
    public (Any Manager, MessageOrigins Origins) ForConnections(HttpSpec spec, string pointer)
    {
        var origins = new MessageOrigins();
        origins.Add("/rds", $"{pointer}/routeTable");
        origins.Add("/routeConfig", $"{pointer}/routeTable");
        origins.Add("/tracing", $"{pointer}/tracing");
        origins.Add("/tracing/provider/typedConfig/grpcService", $"{pointer}/tracing/upstream");
        var manager = Manager(spec.RouteTable, spec.InlineRouteTable, pointer);
        manager.CodecType = spec.Codec switch
        {
            HttpCodec.Http1 => HttpConnectionManager.Types.CodecType.Http1,
            HttpCodec.Http2 => HttpConnectionManager.Types.CodecType.Http2,
            _ => HttpConnectionManager.Types.CodecType.Auto,
        };
        manager.HttpFilters.Clear();
        manager.HttpFilters.AddRange(Filters(spec, pointer, origins));
        manager.AccessLog.AddRange(accessLogs.Select(l => AccessLogs.ForRequests(listener, l)));
        manager.Tracing = TracingTo(spec.Tracing);
        AddTimeoutsAndLimits(spec, manager);
        AddRequestHandling(spec, manager);
        return (EnvoyTypes.Pack(manager), origins);
    }

    /// <summary>For a gRPC client that is its own proxy: it refuses filters that it does not know and passes over the rest.</summary>
    public Any ForGrpcClient(ApiListenerSpec spec)
    {
        var manager = Manager(spec.RouteTable, spec.InlineRouteTable, "/spec/apiListener");
        if (spec.MaxStreamDuration is { } duration)
        {
            manager.CommonHttpProtocolOptions = new HttpProtocolOptions { MaxStreamDuration = duration.ToDuration() };
        }
        return EnvoyTypes.Pack(manager);
    }

    /// <summary>For a gRPC server that is its own proxy.</summary>
    public Any ForGrpcServer(GrpcServerSpec spec) => EnvoyTypes.Pack(Manager(spec.RouteTable, spec.InlineRouteTable, "/spec/grpcServer"));

    /// <summary>The smallest manager that Envoy and gRPC's own xDS take: routes and a router.</summary>
    private HttpConnectionManager Manager(string routeTable, bool inline, string pointer)
    {
        var manager = new HttpConnectionManager { StatPrefix = ListenerCompiler.StatPrefix(listener) };
        if (inline)
        {
            manager.RouteConfig = Inline(routeTable, $"{pointer}/routeTable");
        }
        else
        {
            manager.Rds = new Rds { RouteConfigName = routeTable, ConfigSource = AdsSource.New() };
        }
        manager.HttpFilters.Add(new HttpFilter { Name = WellKnownFilters.Router, TypedConfig = EnvoyTypes.Pack(new Router()) });
        return manager;
    }

    private RouteConfiguration Inline(string name, string pointer)
    {
        if (routeTables(name) is not { } table)
        {
            problems.Error(
                pointer,
                "unknown-reference",
                $"The route table '{name}' does not exist. Create it first, or in the same apply."
            );
            return new RouteConfiguration { Name = name };
        }
        // What is wrong with the table is told at the table.
        var elsewhere = new ProblemCollector();
        var compiled = RouteTableCompiler.Compile(name, table, elsewhere);
        if (table.Envoy is { } overlay)
        {
            MessagePipeline.Merge(ResourceType.Route, compiled, overlay, elsewhere);
        }

        // Inside a listener Envoy's default is true, and a cluster that is still warming would make it refuse the listener for good.
        compiled.ValidateClusters = false;
        return compiled;
    }

    private List<HttpFilter> Filters(HttpSpec spec, string pointer, MessageOrigins origins)
    {
        List<HttpFilter> chain = [];
        if (spec.Cors)
        {
            chain.Add(new HttpFilter { Name = WellKnownFilters.Cors, TypedConfig = EnvoyTypes.Pack(new Cors()) });
        }
        chain.Add(new HttpFilter { Name = WellKnownFilters.Router, TypedConfig = EnvoyTypes.Pack(new Router()) });

        var firsts = 0;
        foreach (var (at, filter) in spec.Filters.Index())
        {
            var place = filter switch
            {
                { First: true } => firsts++,
                { Before: { } before } => chain.FindIndex(f => f.Name == before),
                { After: { } after } => chain.FindIndex(f => f.Name == after) + 1,
                _ => chain.Count - 1,
            };
            chain.Insert(
                place,
                new HttpFilter
                {
                    Name = filter.Name,
                    TypedConfig = TypedConfig.Read(filter.TypedConfig, $"{pointer}/filters/{at}", problems),
                    Disabled = filter.Disabled,
                }
            );
        }
        foreach (var (at, filter) in spec.Filters.Index())
        {
            var place = chain.FindIndex(f => f.Name == filter.Name);
            origins.Add($"/httpFilters/{place}", $"{pointer}/filters/{at}");
            origins.AddRaw($"/httpFilters/{place}/typedConfig", $"{pointer}/filters/{at}/typedConfig");
        }
        return chain;
    }

    private static void AddTimeoutsAndLimits(HttpSpec spec, HttpConnectionManager manager)
    {
        manager.RequestTimeout = spec.Timeouts.Request.ToDuration();
        manager.RequestHeadersTimeout = UnlessZero(spec.Timeouts.RequestHeaders);
        manager.StreamIdleTimeout = spec.Timeouts.StreamIdle.ToDuration();
        manager.DrainTimeout = spec.Timeouts.Drain.ToDuration();
        manager.MaxRequestHeadersKb = spec.Limits.MaxRequestHeadersKb;
        manager.CommonHttpProtocolOptions = new HttpProtocolOptions
        {
            IdleTimeout = spec.Timeouts.ConnectionIdle.ToDuration(),
            MaxConnectionDuration = UnlessZero(spec.Timeouts.ConnectionDuration),
            MaxStreamDuration = UnlessZero(spec.Timeouts.StreamDuration),
            MaxHeadersCount = spec.Limits.MaxHeadersCount,
            MaxRequestsPerConnection = spec.Limits.MaxRequestsPerConnection,
            HeadersWithUnderscoresAction = spec.HeadersWithUnderscores switch
            {
                UnderscoreHeaders.Allow => HttpProtocolOptions.Types.HeadersWithUnderscoresAction.Allow,
                UnderscoreHeaders.DropHeader => HttpProtocolOptions.Types.HeadersWithUnderscoresAction.DropHeader,
                _ => HttpProtocolOptions.Types.HeadersWithUnderscoresAction.RejectRequest,
            },
        };
        manager.Http2ProtocolOptions = new Http2ProtocolOptions
        {
            MaxConcurrentStreams = spec.Http2.MaxConcurrentStreams,
            InitialStreamWindowSize = spec.Http2.InitialStreamWindowSize,
            InitialConnectionWindowSize = spec.Http2.InitialConnectionWindowSize,
            // Both upgrades come over HTTP/2 as extended CONNECT.
            AllowConnect = !spec.Upgrades.IsEmpty,
            ConnectionKeepalive = spec.Http2.Keepalive is { } keepalive
                ? new KeepaliveSettings { Interval = keepalive.Interval.ToDuration(), Timeout = keepalive.Timeout.ToDuration() }
                : null,
        };

        static Duration? UnlessZero(TimeSpan time) => time == TimeSpan.Zero ? null : time.ToDuration();
    }

    private static void AddRequestHandling(HttpSpec spec, HttpConnectionManager manager)
    {
        manager.UseRemoteAddress = spec.ClientAddress.UseRemoteAddress;
        manager.XffNumTrustedHops = spec.ClientAddress.TrustedHops;
        manager.SkipXffAppend = spec.ClientAddress.SkipXffAppend;
        manager.NormalizePath = spec.PathNormalization.Normalize;
        manager.MergeSlashes = spec.PathNormalization.MergeSlashes;
        manager.PathWithEscapedSlashesAction = spec.PathNormalization.EscapedSlashes switch
        {
            EscapedSlashes.UnescapeAndForward => HttpConnectionManager.Types.PathWithEscapedSlashesAction.UnescapeAndForward,
            EscapedSlashes.Reject => HttpConnectionManager.Types.PathWithEscapedSlashesAction.RejectRequest,
            EscapedSlashes.Keep => HttpConnectionManager.Types.PathWithEscapedSlashesAction.KeepUnchanged,
            _ => HttpConnectionManager.Types.PathWithEscapedSlashesAction.UnescapeAndRedirect,
        };
        manager.ServerHeaderTransformation = spec.ServerHeader switch
        {
            ServerHeader.AppendIfAbsent => HttpConnectionManager.Types.ServerHeaderTransformation.AppendIfAbsent,
            ServerHeader.PassThrough => HttpConnectionManager.Types.ServerHeaderTransformation.PassThrough,
            _ => HttpConnectionManager.Types.ServerHeaderTransformation.Overwrite,
        };
        manager.UpgradeConfigs.AddRange(
            spec.Upgrades.Select(u => new HttpConnectionManager.Types.UpgradeConfig
            {
                UpgradeType = u == HttpUpgrade.Connect ? "CONNECT" : "websocket",
            })
        );
        manager.ForwardClientCertDetails = spec.ForwardClientCertificate switch
        {
            ForwardClientCertificate.ForwardOnly => HttpConnectionManager.Types.ForwardClientCertDetails.ForwardOnly,
            ForwardClientCertificate.AppendForward => HttpConnectionManager.Types.ForwardClientCertDetails.AppendForward,
            ForwardClientCertificate.SanitizeSet => HttpConnectionManager.Types.ForwardClientCertDetails.SanitizeSet,
            _ => HttpConnectionManager.Types.ForwardClientCertDetails.Sanitize,
        };
        if (spec.ForwardClientCertificate is ForwardClientCertificate.AppendForward or ForwardClientCertificate.SanitizeSet)
        {
            manager.SetCurrentClientCertDetails = new HttpConnectionManager.Types.SetCurrentClientCertDetails
            {
                Subject = true,
                Uri = true,
                Dns = true,
            };
        }
    }

    private HttpConnectionManager.Types.Tracing? TracingTo(TracingSpec? spec) =>
        spec is null
            ? null
            : new HttpConnectionManager.Types.Tracing
            {
                RandomSampling = new Percent { Value = spec.SamplingPercent },
                SpawnUpstreamSpan = spec.SpawnUpstreamSpan,
                Provider = new Tracing.Types.Http
                {
                    Name = "envoy.tracers.opentelemetry",
                    TypedConfig = EnvoyTypes.Pack(
                        new OpenTelemetryConfig
                        {
                            GrpcService = UpstreamGrpcService.New(spec.Upstream),
                            ServiceName = spec.ServiceName ?? listener,
                        }
                    ),
                },
            };
}
