using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Upstreams;

/// <summary>Rules of the health block, with what it has to do with the rest of the upstream.</summary>
internal static class HealthValidator
{
    private const string At = "/spec/health";
    private const uint MostInARow = 1000;
    private static readonly string[] Methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"];

    public static void Validate(UpstreamSpec spec, ProblemCollector problems)
    {
        var health = spec.Health;
        if (spec.IsCentral() && !spec.Endpoints.AreOurs())
        {
            problems.Error(
                $"{At}/authority",
                "central-needs-endpoints",
                "The server cannot decide about endpoints that every proxy resolves by itself: leave 'authority' out or say 'envoy', or let the endpoints be of source 'static', 'registration' or 'dns'."
            );
        }
        for (var i = 0; i < health.Checks.Length; i++)
        {
            ValidateCheck(spec, health.Checks[i], $"{At}/checks/{i}", problems);
        }
        if (health.Checks.Length > 1 && !spec.IsCentral())
        {
            problems.Error(
                $"{At}/checks",
                "one-check",
                "Envoy runs one check per upstream; most versions refuse more. Keep the one that says most about whether requests will succeed, or let the server check with 'authority: central'."
            );
        }

        if (health.PanicThresholdPercent is { } panic && problems.InRange($"{At}/panicThresholdPercent", panic, 0u, 100u))
        {
            ValidatePanicThreshold(spec, panic, problems);
        }
        problems.InRange($"{At}/minimumHealthyPercent", health.MinimumHealthyPercent, 0u, 100u);
        ValidateOutlierDetection(spec, problems);
        CentralHealthValidator.Validate(spec, problems);
    }

    private static void ValidatePanicThreshold(UpstreamSpec spec, uint panic, ProblemCollector problems)
    {
        const string pointer = $"{At}/panicThresholdPercent";
        var inert = 100 * 100 / Math.Max(1, spec.LoadBalancing.OverprovisioningFactor);
        if (panic > inert)
        {
            problems.Warning(
                pointer,
                "panic-threshold-inert",
                $"With the overprovisioning factor {spec.LoadBalancing.OverprovisioningFactor}, values above {inert} act as {inert} where there is one priority."
            );
        }
        if (spec.IsCentral() && panic > 1)
        {
            problems.Warning(
                pointer,
                "panic-overrides-verdicts",
                "A proxy in panic sends to every endpoint, those that the server took out included. Under central health the guards keep enough of them: leave it out."
            );
        }
    }

    private static void ValidateCheck(UpstreamSpec spec, HealthCheckSpec check, string pointer, ProblemCollector problems)
    {
        problems.OneOf(
            pointer,
            isRequired: true,
            ("http", check.Http is not null),
            ("grpc", check.Grpc is not null),
            ("tcp", check.Tcp is not null)
        );
        ValidateTiming(check, spec.IsCentral(), pointer, problems);
        if (check.Port is { } port)
        {
            problems.InRange($"{pointer}/port", port, 1, 65535);
        }
        if (check.Http is { } http)
        {
            ValidateHttpCheck(spec, check, http, $"{pointer}/http", problems);
        }
        if (check.Grpc is { } grpc)
        {
            if (spec.Protocol is UpstreamProtocol.Http1 or UpstreamProtocol.Tcp)
            {
                problems.Error(
                    $"{pointer}/grpc",
                    "grpc-check-needs-http2",
                    "Envoy makes gRPC checks only in upstreams that speak HTTP/2: set 'protocol: grpc' (or http2, auto), or use another check."
                );
            }
            if (grpc.Authority is { } authority)
            {
                EndpointValidator.ValidateHost($"{pointer}/grpc/authority", authority, problems);
            }
        }
        if (check.Tcp is { } tcp)
        {
            if (tcp.Send is { } send)
            {
                ValidatePayload(send, $"{pointer}/tcp/send", problems);
            }
            for (var i = 0; i < tcp.Receive.Length; i++)
            {
                ValidatePayload(tcp.Receive[i], $"{pointer}/tcp/receive/{i}", problems);
            }
        }
    }

    private static void ValidateTiming(HealthCheckSpec check, bool isCentral, string pointer, ProblemCollector problems)
    {
        var sound = isCentral ? CentralHealthValidator.HasSoundTiming(check, pointer, problems) : HasSoundTiming(check, pointer, problems);
        if (!sound)
        {
            return;
        }
        if (check.EdgeInterval > check.Interval)
        {
            problems.Error(
                $"{pointer}/edgeInterval",
                "edge-interval-order",
                "The edge interval is for looking closer: it must not be above the interval."
            );
        }
        if (check.Timeout >= check.Interval)
        {
            problems.Warning(
                $"{pointer}/timeout",
                "timeout-above-interval",
                "The timeout is not below the interval. Checks do not overlap, so a dead endpoint is found later than the interval says."
            );
        }
        var slowest = check.Interval + (check.Fall * check.Timeout) + ((check.Fall - 1) * check.EdgeInterval);
        if (slowest > TimeSpan.FromSeconds(30))
        {
            problems.Warning(
                pointer,
                "slow-detection",
                $"With these times it takes up to {slowest.TotalSeconds:0.#} s until an endpoint that does not answer gets no more requests."
            );
        }
        if (check.Fall == 1 && !isCentral)
        {
            problems.Warning($"{pointer}/fall", "single-failure", "One lost packet takes an endpoint out of service: 2 or 3 is usual.");
        }
        if (check.Interval < TimeSpan.FromSeconds(1))
        {
            problems.Warning(
                $"{pointer}/interval",
                "interval-short",
                isCentral ? "Every observer checks every endpoint this often." : "Every proxy checks every endpoint this often."
            );
        }
    }

    private static bool HasSoundTiming(HealthCheckSpec check, string pointer, ProblemCollector problems) =>
        problems.Positive($"{pointer}/interval", check.Interval)
        & problems.Positive($"{pointer}/edgeInterval", check.EdgeInterval)
        & problems.Positive($"{pointer}/timeout", check.Timeout)
        & problems.InRange($"{pointer}/rise", check.Rise, 1u, MostInARow)
        & problems.InRange($"{pointer}/fall", check.Fall, 1u, MostInARow);

    private static void ValidateHttpCheck(
        UpstreamSpec spec,
        HealthCheckSpec check,
        HttpCheckSpec http,
        string pointer,
        ProblemCollector problems
    )
    {
        if (!http.Path.StartsWith('/') || http.Path.Any(c => char.IsWhiteSpace(c) || char.IsControl(c) || c == '#'))
        {
            problems.Error(
                $"{pointer}/path",
                "invalid-path",
                $"{TextExcerpt.Quote(http.Path)} is not a path: start with '/', and escape spaces."
            );
        }
        if (http.Host is { } host)
        {
            EndpointValidator.ValidateHost($"{pointer}/host", host, problems);
        }
        if (!Methods.Contains(http.Method, StringComparer.Ordinal))
        {
            problems.Error(
                $"{pointer}/method",
                "invalid-method",
                $"{TextExcerpt.Quote(http.Method)} is not one of {string.Join(", ", Methods)}."
            );
        }
        foreach (var (name, value) in http.Headers)
        {
            var at = $"{pointer}/headers/{JsonPointer.Escape(name)}";
            if (string.Equals(name, "host", StringComparison.OrdinalIgnoreCase))
            {
                problems.Error(at, "host-header", "The Host header has a field of its own: 'host'.");
            }
            else if (problems.HeaderName(at, name))
            {
                problems.HeaderValue(at, value);
            }
        }
        ValidateStatuses(http.ExpectedStatuses, $"{pointer}/expectedStatuses", problems);
        ValidateStatuses(http.RetriableStatuses, $"{pointer}/retriableStatuses", problems);

        if (spec.Protocol == UpstreamProtocol.Tcp && check.Port is null && !spec.Endpoints.Static.Any(e => e.HealthCheck?.Port is not null))
        {
            problems.Error(
                pointer,
                "http-check-on-tcp",
                "The upstream's protocol is 'tcp', and nothing says that its port answers HTTP: use a 'tcp' check, or name the 'port' that serves the HTTP one."
            );
        }
        var speaks = spec.Protocol switch
        {
            UpstreamProtocol.Http1 => CheckCodec.Http1,
            UpstreamProtocol.Http2 or UpstreamProtocol.Grpc => CheckCodec.Http2,
            _ => (CheckCodec?)null,
        };
        if (check.Port is null && http.Codec is { } codec && speaks is { } other && codec != other)
        {
            problems.Warning(
                $"{pointer}/codec",
                "check-disagrees-with-traffic",
                "The check speaks another HTTP version than requests do: it can pass where every request fails, and the reverse."
            );
        }
    }

    private static void ValidateStatuses(IReadOnlyList<string> statuses, string pointer, ProblemCollector problems)
    {
        for (var i = 0; i < statuses.Count; i++)
        {
            if (HttpCheckSpec.ParseStatuses(statuses[i]) is null)
            {
                problems.Error(
                    $"{pointer}/{i}",
                    "invalid-status",
                    $"{TextExcerpt.Quote(statuses[i])} is not a status or a range of statuses between 100 and 599, such as '200' or '200-299'."
                );
            }
        }
    }

    private static void ValidatePayload(PayloadSpec payload, string pointer, ProblemCollector problems)
    {
        problems.OneOf(pointer, isRequired: true, ("text", payload.Text is not null), ("hex", payload.Hex is not null));
        problems.NotEmpty($"{pointer}/text", payload.Text);
        problems.NotEmpty($"{pointer}/hex", payload.Hex);
        if (payload.Hex is { } hex && (hex.Length % 2 != 0 || !hex.All(char.IsAsciiHexDigit)))
        {
            problems.Error($"{pointer}/hex", "invalid-hex", "These are not pairs of hexadecimal digits.");
        }
    }

    private static void ValidateOutlierDetection(UpstreamSpec spec, ProblemCollector problems)
    {
        const string at = $"{At}/outlierDetection";
        var outliers = spec.Health.OutlierDetection;
        NotZero(outliers.ConsecutiveLocalOriginFailures, $"{at}/consecutiveLocalOriginFailures", problems);
        NotZero(outliers.ConsecutiveGatewayFailures, $"{at}/consecutiveGatewayFailures", problems);
        NotZero(outliers.ConsecutiveServerErrors, $"{at}/consecutiveServerErrors", problems);
        problems.Positive($"{at}/interval", outliers.Interval);
        problems.Positive($"{at}/baseEjectionTime", outliers.BaseEjectionTime);
        problems.Positive($"{at}/maxEjectionTime", outliers.MaxEjectionTime);
        if (outliers.MaxEjectionTime < outliers.BaseEjectionTime)
        {
            problems.Error(
                $"{at}/maxEjectionTime",
                "ejection-time-order",
                "The longest ejection is shorter than the first one, which Envoy refuses: raise it, or lower 'baseEjectionTime'."
            );
        }
        ValidateRates(outliers.SuccessRate, outliers.FailurePercentage, at, problems);
        if (outliers.MaxEjectionPercent is { } share)
        {
            ValidateEjectionShare(spec, share, $"{at}/maxEjectionPercent", problems);
        }
    }

    public static void ValidateRates(
        SuccessRateSpec? successRate,
        FailurePercentageSpec? failurePercentage,
        string at,
        ProblemCollector problems
    )
    {
        if (successRate is { } rate)
        {
            problems.InRange($"{at}/successRate/minimumHosts", rate.MinimumHosts, 3u, uint.MaxValue, "a mean of fewer says nothing");
            problems.InRange($"{at}/successRate/requestVolume", rate.RequestVolume, 1u, uint.MaxValue);
            problems.InRange($"{at}/successRate/stdevFactor", rate.StdevFactor, 1u, uint.MaxValue);
            if (rate.StdevFactor < 1900)
            {
                problems.Warning(
                    $"{at}/successRate/stdevFactor",
                    "success-rate-eager",
                    "Below 1900, ordinary differences between sound endpoints eject some of them."
                );
            }
        }
        if (failurePercentage is { } percentage)
        {
            problems.InRange($"{at}/failurePercentage/threshold", percentage.Threshold, 1u, 100u);
            problems.InRange($"{at}/failurePercentage/minimumHosts", percentage.MinimumHosts, 1u, uint.MaxValue);
            problems.InRange($"{at}/failurePercentage/requestVolume", percentage.RequestVolume, 1u, uint.MaxValue);
        }
    }

    private static void ValidateEjectionShare(UpstreamSpec spec, uint share, string pointer, ProblemCollector problems)
    {
        if (share == 100)
        {
            problems.Error(
                pointer,
                "ejects-everything",
                "At 100 every endpoint can be ejected at once, which is 503 for everybody: 99 always leaves one, 34 a majority."
            );
        }
        else if (problems.InRange(pointer, share, 1u, 99u))
        {
            var floor = spec.Health.MinimumHealthyPercent;
            if (floor <= 100 && share > 100 - floor)
            {
                problems.Error(
                    pointer,
                    "ejects-below-minimum",
                    $"Ejecting {share} % would leave less than the {floor} % of 'minimumHealthyPercent': give at most {100 - floor}, or lower the minimum."
                );
            }
            else if (
                !spec.IsCentral()
                && (spec.Health.PanicThresholdPercent ?? HealthSpec.DefaultPanicThresholdPercent) is > 0 and <= 100 and var panic
                && share > 100 - panic
            )
            {
                problems.Warning(
                    pointer,
                    "ejection-causes-panic",
                    $"Ejecting {share} % leaves less than the panic threshold of {panic} %, and a proxy in panic sends to the ejected ones, too: give at most {100 - panic}."
                );
            }
            else if (
                spec.Endpoints.Source == EndpointSource.Static
                && spec.Endpoints.Static.Length is > 0 and var count
                && 100.0 / count > share
            )
            {
                problems.Warning(
                    pointer,
                    "ejection-inert",
                    $"One of {count} endpoints is more than {share} %: nothing will ever be ejected."
                );
            }
        }
    }

    private static void NotZero(uint? value, string pointer, ProblemCollector problems)
    {
        if (value == 0)
        {
            problems.Error(pointer, "out-of-range", "Give at least 1, or null to never eject for this.");
        }
    }
}
