using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Type.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using HealthCheckConfig = Envoy.Config.Endpoint.V3.Endpoint.Types.HealthCheckConfig;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Compiles what proxies do about health by themselves: under central health only the reflex that takes a dead endpoint out before the verdict comes. Many of Envoy's own defaults empty an upstream, or notice its death late; every value that has one
/// is therefore written out.
/// </summary>
internal static class UpstreamHealth
{
    /// <summary>
    /// None of one or two endpoints, one of three, a third of many: the largest share with which those that are left can take the load of the others, and
    /// that by itself causes no panic.
    /// </summary>
    private const uint DefaultMaxEjectionPercent = 34;

    /// <summary>One in ten of many: enough for a reflex, and little where it is wrong.</summary>
    private const uint MaxEjectionPercentOfLarge = 10;

    public static void AddTo(Cluster cluster, UpstreamSpec spec, bool isLarge)
    {
        if (!spec.IsCentral())
        {
            cluster.HealthChecks.AddRange(spec.Health.Checks.Select(check => Check(check, spec)));
        }
        if (spec.Health.OutlierDetection.Enabled)
        {
            cluster.OutlierDetection = Outliers(spec, isLarge);
        }
    }

    /// <summary>
    /// The panic threshold. Under central health a proxy spreads over all endpoints only when nothing is left, for example where its own ejection meets a verdict that is
    /// old because the control plane is away.
    /// </summary>
    public static uint PanicThreshold(HealthSpec health) =>
        health.PanicThresholdPercent
        ?? (
            health.Authority != HealthAuthority.Central ? HealthSpec.DefaultPanicThresholdPercent
            : health.OnTotalFailure == TotalFailureAction.FailFast ? 0u
            : 1u
        );

    /// <summary>How checks reach one endpoint; null where they go to where requests go and carry a host that the check itself names.</summary>
    public static HealthCheckConfig? EndpointConfig(UpstreamSpec upstream, EndpointSpec endpoint)
    {
        if (upstream.IsCentral() || upstream.Health.Checks is not [var check, ..])
        {
            return null;
        }
        var own = endpoint.HealthCheck;
        var port = own?.Port ?? check.Port;
        var config = new HealthCheckConfig
        {
            Hostname = own?.Hostname ?? CheckDefaults.UnnamedHost(check, upstream.Tls, endpoint) ?? "",
            DisableActiveHealthCheck = own?.Disabled ?? false,
        };
        if (own?.Address is { } address)
        {
            config.Address = EnvoyAddress.Of(address, port ?? endpoint.Port);
        }
        else if (!NetworkAddress.IsUnix(endpoint.Address))
        {
            config.PortValue = (uint)(port ?? 0);
        }
        return config.CalculateSize() == 0 ? null : config;
    }

    private static HealthCheck Check(HealthCheckSpec spec, UpstreamSpec upstream)
    {
        var interval = spec.Interval.ToDuration();
        var edge = spec.EdgeInterval.ToDuration();
        var check = new HealthCheck
        {
            Timeout = spec.Timeout.ToDuration(),
            Interval = interval,
            // Proxies that got their configuration together would else check in step for ever.
            InitialJitter = (spec.Interval / 10).ToDuration(),
            IntervalJitterPercent = 10,
            UnhealthyThreshold = spec.Fall,
            HealthyThreshold = spec.Rise,
            UnhealthyInterval = interval,
            UnhealthyEdgeInterval = edge,
            HealthyEdgeInterval = edge,
            // Until a cluster's first request these replace all others. By default 60 s: a proxy that is idle would learn of a death after minutes.
            NoTrafficInterval = interval,
            NoTrafficHealthyInterval = interval,
            ReuseConnection = spec.ReuseConnection,
        };
        var sni = upstream.Tls?.Sni ?? "";
        if (spec.Http is { } http)
        {
            var codec = CheckDefaults.Codec(http, upstream.Protocol);
            check.HttpHealthCheck = HttpCheck(http, codec, sni);
            check.TlsOptions = TlsOptions(upstream, codec);
        }
        else if (spec.Grpc is { } grpc)
        {
            check.GrpcHealthCheck = new HealthCheck.Types.GrpcHealthCheck { ServiceName = grpc.Service, Authority = grpc.Authority ?? sni };
            check.TlsOptions = TlsOptions(upstream, CheckCodec.Http2);
        }
        else
        {
            check.TcpHealthCheck = TcpCheck(spec.Tcp ?? new TcpCheckSpec());
        }
        return check;
    }

    /// <summary>What the check offers by ALPN, where that is not what requests offer.</summary>
    private static HealthCheck.Types.TlsOptions? TlsOptions(UpstreamSpec upstream, CheckCodec codec) =>
        upstream.Tls is null || !upstream.Tls.Alpn.IsEmpty
            ? null
            : new HealthCheck.Types.TlsOptions { AlpnProtocols = { CheckDefaults.Alpn(upstream, codec) } };

    private static HealthCheck.Types.HttpHealthCheck HttpCheck(HttpCheckSpec spec, CheckCodec codec, string sni)
    {
        var check = new HealthCheck.Types.HttpHealthCheck
        {
            Host = spec.Host ?? sni,
            Path = spec.Path,
            Method = System.Enum.Parse<RequestMethod>(spec.Method, ignoreCase: true),
            CodecClientType = codec == CheckCodec.Http2 ? CodecClientType.Http2 : CodecClientType.Http1,
        };
        check.RequestHeadersToAdd.AddRange(
            spec.Headers.Select(h => new HeaderValueOption
            {
                Header = new HeaderValue { Key = h.Key, Value = h.Value },
                AppendAction = HeaderValueOption.Types.HeaderAppendAction.OverwriteIfExistsOrAdd,
            })
        );
        check.ExpectedStatuses.AddRange(spec.ExpectedStatuses.Select(Statuses));
        check.RetriableStatuses.AddRange(spec.RetriableStatuses.Select(Statuses));
        return check;
    }

    /// <summary>Envoy's ranges do not include their end.</summary>
    private static Int64Range Statuses(string text)
    {
        var (first, last) = HttpCheckSpec.ParseStatuses(text) ?? throw new FormatException($"'{text}' is no range of statuses");
        return new Int64Range { Start = first, End = last + 1 };
    }

    private static HealthCheck.Types.TcpHealthCheck TcpCheck(TcpCheckSpec spec)
    {
        var check = new HealthCheck.Types.TcpHealthCheck { Send = spec.Send is { } send ? Payload(send) : null };
        check.Receive.AddRange(spec.Receive.Select(Payload));
        return check;
    }

    /// <summary>Envoy calls it text and means hexadecimal digits.</summary>
    private static HealthCheck.Types.Payload Payload(PayloadSpec spec) =>
        new() { Text = spec.Hex?.ToLowerInvariant() ?? Convert.ToHexStringLower(ByteString.CopyFromUtf8(spec.Text ?? "").Span) };

    private static OutlierDetection Outliers(UpstreamSpec upstream, bool isLarge)
    {
        var health = upstream.Health;
        var spec = health.OutlierDetection;
        return new OutlierDetection
        {
            Interval = spec.Interval.ToDuration(),
            BaseEjectionTime = spec.BaseEjectionTime.ToDuration(),
            MaxEjectionTime = spec.MaxEjectionTime.ToDuration(),
            MaxEjectionTimeJitter = (spec.BaseEjectionTime / 3).ToDuration(),
            MaxEjectionPercent = spec.MaxEjectionPercent ?? DefaultEjectionShare(upstream, isLarge),
            AlwaysEjectOneHost = false,
            // A connection that the endpoint refuses and an answer that it gives are different things, and are counted apart.
            SplitExternalLocalOriginErrors = true,
            ConsecutiveLocalOriginFailure = spec.ConsecutiveLocalOriginFailures,
            EnforcingConsecutiveLocalOriginFailure = Enforced(spec.ConsecutiveLocalOriginFailures),
            ConsecutiveGatewayFailure = spec.ConsecutiveGatewayFailures,
            EnforcingConsecutiveGatewayFailure = Enforced(spec.ConsecutiveGatewayFailures),
            Consecutive5Xx = spec.ConsecutiveServerErrors,
            EnforcingConsecutive5Xx = Enforced(spec.ConsecutiveServerErrors),
            SuccessRateMinimumHosts = spec.SuccessRate?.MinimumHosts,
            SuccessRateRequestVolume = spec.SuccessRate?.RequestVolume,
            SuccessRateStdevFactor = spec.SuccessRate?.StdevFactor,
            EnforcingSuccessRate = Enforced(spec.SuccessRate),
            EnforcingLocalOriginSuccessRate = Enforced(spec.SuccessRate),
            FailurePercentageThreshold = spec.FailurePercentage?.Threshold,
            FailurePercentageMinimumHosts = spec.FailurePercentage?.MinimumHosts,
            FailurePercentageRequestVolume = spec.FailurePercentage?.RequestVolume,
            EnforcingFailurePercentage = Enforced(spec.FailurePercentage),
            EnforcingFailurePercentageLocalOrigin = Enforced(spec.FailurePercentage),
            // What fails requests and passes checks would be back at the next check.
            SuccessfulActiveHealthCheckUnejectHost = health.Checks.IsEmpty && !upstream.IsCentral() ? null : false,
        };
    }

    private static uint DefaultEjectionShare(UpstreamSpec upstream, bool isLarge) =>
        Math.Min(
            upstream.IsCentral() && isLarge ? MaxEjectionPercentOfLarge : DefaultMaxEjectionPercent,
            100 - Math.Max(upstream.Health.MinimumHealthyPercent, PanicThreshold(upstream.Health))
        );

    private static uint Enforced(object? detector) => detector is null ? 0u : 100u;
}
