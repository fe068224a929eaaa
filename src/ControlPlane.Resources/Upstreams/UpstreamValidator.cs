using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Upstreams;

/// <summary>Rules of an upstream by itself; references to other objects are checked where all objects are known.</summary>
public static class UpstreamValidator
{
    /// <summary>Longest server name in a handshake (<c>UpstreamTlsContext.sni</c>).</summary>
    private const int LongestSni = 255;

    /// <summary>Validates an upstream.</summary>
    public static void Validate(UpstreamSpec spec, ProblemCollector problems)
    {
        problems.Positive("/spec/connectTimeout", spec.ConnectTimeout, "5s is the default");
        if (spec.BufferLimitBytes == 0)
        {
            problems.Error("/spec/bufferLimitBytes", "out-of-range", "The buffer limit must be above 0; 32768 is the default.");
        }
        problems.NotNegative("/spec/drain/time", spec.Drain.Time);
        ValidateHttp(spec, problems);
        ValidateKeepalive(spec, problems);
        EndpointsValidator.Validate(spec, problems);
        LoadBalancingValidator.Validate(spec.LoadBalancing, problems);
        ValidateCircuitBreakers(spec.CircuitBreakers, problems);
        if (spec.Tls is { } tls)
        {
            ValidateTls(spec, tls, problems);
        }
        if (spec.Protocol == UpstreamProtocol.Auto && spec.Tls is null)
        {
            problems.Error(
                "/spec/protocol",
                "auto-needs-tls",
                "'auto' lets the endpoint choose by ALPN, which is part of TLS: add 'tls', or say 'http1' or 'http2'."
            );
        }
        HealthValidator.Validate(spec, problems);
    }

    private static void ValidateHttp(UpstreamSpec spec, ProblemCollector problems)
    {
        var http = spec.Http;
        if (spec.Protocol == UpstreamProtocol.Tcp)
        {
            if (http != new HttpConnectionSpec())
            {
                problems.Error("/spec/http", "not-for-tcp", "HTTP settings have no effect with 'protocol: tcp': leave them out.");
            }
            return;
        }
        if (http.IdleTimeout is { } idle)
        {
            problems.NotNegative("/spec/http/idleTimeout", idle);
        }
        if (http.MaxConnectionDuration is { } duration)
        {
            problems.Positive("/spec/http/maxConnectionDuration", duration);
        }
        if (http.MaxStreamDuration is { } stream)
        {
            problems.Positive("/spec/http/maxStreamDuration", stream);
        }
        if (http.MaxRequestsPerConnection == 0)
        {
            problems.Error(
                "/spec/http/maxRequestsPerConnection",
                "out-of-range",
                "A connection takes at least 1 request; leave it out for no limit."
            );
        }
        if (http.MaxConcurrentStreams is { } streams)
        {
            problems.InRange("/spec/http/maxConcurrentStreams", streams, 1u, (uint)int.MaxValue);
        }
        problems.InRange("/spec/http/initialStreamWindowBytes", http.InitialStreamWindowBytes, 65535u, (uint)int.MaxValue);
        problems.InRange("/spec/http/initialConnectionWindowBytes", http.InitialConnectionWindowBytes, 65535u, (uint)int.MaxValue);
        if (http.Keepalive is { } keepalive)
        {
            AtLeastOneMillisecond("/spec/http/keepalive/interval", keepalive.Interval, problems);
            AtLeastOneMillisecond("/spec/http/keepalive/timeout", keepalive.Timeout, problems);
        }
        if (spec.Protocol == UpstreamProtocol.Http1)
        {
            NotForHttp1(http.MaxConcurrentStreams, "maxConcurrentStreams", problems);
            NotForHttp1(http.Keepalive, "keepalive", problems);
        }
    }

    private static void NotForHttp1(object? value, string name, ProblemCollector problems)
    {
        if (value is not null)
        {
            problems.Error(
                $"/spec/http/{name}",
                "not-for-http1",
                $"{TextExcerpt.Quote(name)} is of HTTP/2 and has no effect with 'protocol: http1'."
            );
        }
    }

    private static void AtLeastOneMillisecond(string pointer, TimeSpan value, ProblemCollector problems)
    {
        if (problems.Positive(pointer, value) && value < TimeSpan.FromMilliseconds(1))
        {
            problems.Error(pointer, "out-of-range", "The duration must be at least 1ms.");
        }
    }

    private static void ValidateKeepalive(UpstreamSpec spec, ProblemCollector problems)
    {
        if (spec.Keepalive is not { } keepalive)
        {
            return;
        }
        WholeSeconds("/spec/keepalive/time", keepalive.Time, problems);
        WholeSeconds("/spec/keepalive/interval", keepalive.Interval, problems);
        problems.InRange("/spec/keepalive/probes", keepalive.Probes, 1u, 127u);
        if (spec.Endpoints.Static.Any(e => NetworkAddress.IsUnix(e.Address)))
        {
            problems.Error(
                "/spec/keepalive",
                "keepalive-of-unix-socket",
                "TCP keepalive cannot be set on a unix socket, and Envoy closes a connection whose options it cannot set: leave it out."
            );
        }
    }

    private static void WholeSeconds(string pointer, TimeSpan value, ProblemCollector problems)
    {
        if (value < TimeSpan.FromSeconds(1) || value > TimeSpan.FromSeconds(32767) || value.Ticks % TimeSpan.TicksPerSecond != 0)
        {
            problems.Error(pointer, "out-of-range", "TCP keepalive counts whole seconds, 1 to 32767.");
        }
    }

    private static void ValidateCircuitBreakers(CircuitBreakersSpec spec, ProblemCollector problems)
    {
        ValidateThresholds(spec.Default, "/spec/circuitBreakers/default", problems);
        if (spec.High is { } high)
        {
            ValidateThresholds(high, "/spec/circuitBreakers/high", problems);
        }
        WarnOfZero(spec.MaxConnectionsPerEndpoint, "/spec/circuitBreakers/maxConnectionsPerEndpoint", problems);
    }

    private static void ValidateThresholds(CircuitBreakerThresholdsSpec spec, string pointer, ProblemCollector problems)
    {
        WarnOfZero(spec.MaxConnections, $"{pointer}/maxConnections", problems);
        WarnOfZero(spec.MaxRequests, $"{pointer}/maxRequests", problems);
        if (spec.MaxConnectionPools == 0)
        {
            problems.Error(
                $"{pointer}/maxConnectionPools",
                "out-of-range",
                "Without a connection pool nothing can be sent; leave it out for no limit."
            );
        }
        if (spec.RetryBudget is { } budget)
        {
            problems.InRange($"{pointer}/retryBudget/percent", budget.Percent, 0, 100);
        }
        // With a budget Envoy ignores the number.
        problems.OneOf(
            pointer,
            isRequired: false,
            ("maxRetries", spec.MaxRetries is not null),
            ("retryBudget", spec.RetryBudget is not null)
        );
    }

    private static void WarnOfZero(uint? value, string pointer, ProblemCollector problems)
    {
        if (value == 0)
        {
            problems.Warning(pointer, "blocks-everything", "0 lets nothing through: every request gets 503, overflow.");
        }
    }

    private static void ValidateTls(UpstreamSpec spec, UpstreamTlsSpec tls, ProblemCollector problems)
    {
        if (tls is { CaSecret: null, Ca: null, InsecureSkipVerify: false })
        {
            problems.Error(
                "/spec/tls",
                "ca-required",
                "Nothing says which certificates to trust, and Envoy would then trust every one: give 'caSecret', or 'ca: system', or 'insecureSkipVerify: true'."
            );
        }
        problems.OneOf(
            "/spec/tls",
            isRequired: false,
            ("caSecret", tls.CaSecret is not null),
            ("ca", tls.Ca is not null),
            ("insecureSkipVerify", tls.InsecureSkipVerify)
        );

        if (tls.Sni is { } sni)
        {
            if (NetworkAddress.TryParseIp(sni, out _))
            {
                problems.Error(
                    "/spec/tls/sni",
                    "sni-is-ip",
                    $"{TextExcerpt.Quote(sni)} is an IP address, which a handshake cannot ask for (RFC 6066): leave out the SNI and name it under 'subjectAltNames'."
                );
            }
            else if (sni.Length > LongestSni || !EndpointValidator.IsDnsName(sni))
            {
                problems.Error(
                    "/spec/tls/sni",
                    "invalid-sni",
                    $"{TextExcerpt.Quote(sni)} is not a host name to ask for: write it without a port and without wildcards, for example 'api.example.com'."
                );
            }
        }
        else if (!tls.InsecureSkipVerify && tls.SubjectAltNames.Length == 0)
        {
            problems.Error(
                "/spec/tls",
                "san-required",
                "Without 'sni' and 'subjectAltNames' any certificate of the CA would do, for whatever name it was issued: give one of them."
            );
        }
        if (tls.InsecureSkipVerify && tls.SubjectAltNames.Length > 0)
        {
            problems.Error(
                "/spec/tls/subjectAltNames",
                "san-without-ca",
                "Names mean nothing in a certificate that is not verified, and Envoy refuses to match them: give a CA."
            );
        }
        for (var i = 0; i < tls.SubjectAltNames.Length; i++)
        {
            SubjectAltNameValidator.Validate(tls.SubjectAltNames[i], $"/spec/tls/subjectAltNames/{i}", problems);
        }

        if (tls.MinVersion > tls.MaxVersion)
        {
            problems.Error("/spec/tls/minVersion", "tls-version-order", "The lowest TLS version is above the highest.");
        }
        else if (tls.MinVersion < TlsVersion.Tls12)
        {
            problems.Warning(
                "/spec/tls/minVersion",
                "tls-version-old",
                "TLS 1.0 and 1.1 are broken (RFC 8996), and current servers refuse them."
            );
        }

        if (tls.Alpn.Length > 0 && spec.Protocol == UpstreamProtocol.Auto)
        {
            problems.Error(
                "/spec/tls/alpn",
                "alpn-of-auto",
                "With 'protocol: auto' Envoy offers 'h2' and 'http/1.1' itself: leave 'alpn' out."
            );
        }
        for (var i = 0; i < tls.Alpn.Length; i++)
        {
            if (tls.Alpn[i].Length is 0 or > 255)
            {
                problems.Error($"/spec/tls/alpn/{i}", "out-of-range", "An ALPN protocol has 1 to 255 bytes, for example 'h2'.");
            }
            else if (tls.Alpn[i] == (spec.Protocol is UpstreamProtocol.Http1 ? "h2" : "http/1.1") && spec.Protocol != UpstreamProtocol.Tcp)
            {
                problems.Warning(
                    $"/spec/tls/alpn/{i}",
                    "alpn-of-another-protocol",
                    $"An endpoint that chooses '{tls.Alpn[i]}' is then spoken to in another protocol, and every request fails. Leave 'alpn' out, change 'protocol', or use 'protocol: auto' for both."
                );
            }
        }
    }
}
