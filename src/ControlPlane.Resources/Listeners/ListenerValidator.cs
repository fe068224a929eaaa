using System.Collections.Immutable;
using System.Text;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Listeners;

/// <summary>Rules of a listener by itself: what Envoy would refuse, and what it would take to its author's harm.</summary>
public static class ListenerValidator
{
    /// <summary>Validates a listener.</summary>
    public static void Validate(ListenerSpec spec, ProblemCollector problems)
    {
        var accepts = spec.Http is not null || spec.Tcp is not null || !spec.FilterChains.IsEmpty;
        problems.OneOf(
            "/spec",
            isRequired: true,
            ("http, tcp or filterChains", accepts),
            ("apiListener", spec.ApiListener is not null),
            ("grpcServer", spec.GrpcServer is not null)
        );
        if (spec.ApiListener is { } api)
        {
            ValidateAlone(spec, "apiListener", hasAddress: false, problems);
            problems.NotEmpty("/spec/apiListener/routeTable", api.RouteTable);
            problems.Timeout("/spec/apiListener/maxStreamDuration", api.MaxStreamDuration);
            return;
        }
        ValidateAddress(spec, problems);
        if (spec.GrpcServer is { } server)
        {
            ValidateAlone(spec, "grpcServer", hasAddress: true, problems);
            problems.NotEmpty("/spec/grpcServer/routeTable", server.RouteTable);
            return;
        }
        if (spec.BufferLimitBytes == 0)
        {
            problems.Error("/spec/bufferLimitBytes", "out-of-range", "The buffer limit must be above 0; 32768 is the default.");
        }
        if (spec.MaxConnections == 0)
        {
            problems.Error("/spec/maxConnections", "out-of-range", "At least 1 connection; leave it out for no bound.");
        }
        foreach (var (at, log) in spec.AccessLogs.Index())
        {
            AccessLogValidator.Validate(log, $"/spec/accessLogs/{at}", problems);
        }
        ValidateDefault(spec, problems);
        foreach (var (at, chain) in spec.FilterChains.Index())
        {
            ValidateFilterChain(chain, $"/spec/filterChains/{at}", problems);
        }
        ServerNameRules.Validate(spec, problems);
    }

    private static void ValidateAddress(ListenerSpec spec, ProblemCollector problems)
    {
        if (spec.Address is not { } address)
        {
            problems.Error(
                "/spec/address",
                "address-required",
                "Where to listen is missing. Give an address, for example 0.0.0.0, and a port."
            );
        }
        else if (NetworkAddress.IsUnix(address))
        {
            ValidateUnixPath(address[NetworkAddress.UnixPrefix.Length..], problems);
            if (spec.Port is not null)
            {
                problems.Error("/spec/port", "port-of-unix-socket", "A unix socket has no port. Leave it out.");
            }
            return;
        }
        else if (!NetworkAddress.TryParseIp(address, out _))
        {
            problems.Error(
                "/spec/address",
                "invalid-address",
                $"{TextExcerpt.Quote(address)} is no address to listen on. Write an IPv4 or IPv6 address without brackets and port, or unix: and a path. 0.0.0.0 and :: are all addresses of the host."
            );
        }
        if (spec.Port is not { } port)
        {
            problems.Error("/spec/port", "port-required", "The port is missing.");
        }
        else
        {
            problems.InRange("/spec/port", port, 1u, 65535u);
        }
    }

    private static void ValidateUnixPath(string path, ProblemCollector problems)
    {
        if (path is not ['/' or '@', _, ..])
        {
            problems.Error(
                "/spec/address",
                "invalid-address",
                "After unix: stands an absolute path, as in unix:/run/edge.sock, or @ and a name in Linux's abstract namespace."
            );
        }
        else if (Encoding.UTF8.GetByteCount(path) > NetworkAddress.MaxUnixPathLength)
        {
            problems.Error(
                "/spec/address",
                "invalid-address",
                $"The path of a unix socket has at most {NetworkAddress.MaxUnixPathLength} bytes."
            );
        }
    }

    /// <summary>What a proxyless gRPC process would refuse or pass over.</summary>
    private static void ValidateAlone(ListenerSpec spec, string what, bool hasAddress, ProblemCollector problems)
    {
        Refuse("address", !hasAddress && spec.Address is not null);
        Refuse("port", !hasAddress && spec.Port is not null);
        Refuse("proxyProtocol", spec.ProxyProtocol is not null);
        Refuse("tls", spec.Tls is not null);
        Refuse("accessLogs", !spec.AccessLogs.IsEmpty);
        Refuse("maxConnections", spec.MaxConnections is not null);

        void Refuse(string field, bool isGiven)
        {
            if (isGiven)
            {
                problems.Error(
                    $"/spec/{field}",
                    "not-for-grpc",
                    $"'{field}' has no meaning beside '{what}': gRPC's own xDS does not know it. Leave it out."
                );
            }
        }
    }

    private static void ValidateDefault(ListenerSpec spec, ProblemCollector problems)
    {
        problems.OneOf("/spec", isRequired: false, ("http", spec.Http is not null), ("tcp", spec.Tcp is not null));
        if (spec.Tls is { } tls)
        {
            if (spec.Http is null && spec.Tcp is null)
            {
                problems.Error(
                    "/spec/tls",
                    "tls-without-default",
                    "'tls' at this place is for the default connections, which need 'http' or 'tcp' beside it. A filter chain has its own."
                );
            }
            TlsTerminationValidator.Validate(tls, "/spec/tls", problems);
        }
        ValidateContent(spec.Http, spec.Tcp, spec.Tls, "/spec", problems);
    }

    private static void ValidateFilterChain(FilterChainSpec chain, string pointer, ProblemCollector problems)
    {
        problems.OneOf(pointer, isRequired: true, ("http", chain.Http is not null), ("tcp", chain.Tcp is not null));
        if (chain.ServerNames.IsEmpty)
        {
            problems.Error(
                $"{pointer}/serverNames",
                "no-server-names",
                "A filter chain is for certain server names. What is for all others stands at the listener itself."
            );
        }
        if (chain is { Tls: null, Http: not null })
        {
            problems.Error(
                $"{pointer}/http",
                "http-without-tls",
                "Server names come with TLS, and HTTP cannot be read while it is encrypted. Add 'tls', or pass the bytes on by 'tcp'."
            );
        }
        if (chain.Tls is { } tls)
        {
            TlsTerminationValidator.Validate(tls, $"{pointer}/tls", problems);
            foreach (var (at, certificate) in tls.Certificates.Index())
            {
                if (!certificate.ServerNames.IsEmpty)
                {
                    problems.Error(
                        $"{pointer}/tls/certificates/{at}/serverNames",
                        "names-of-chain",
                        "Inside a filter chain a certificate is for the chain's server names. Leave these out, or make another filter chain."
                    );
                }
            }
        }
        ValidateContent(chain.Http, chain.Tcp, chain.Tls, pointer, problems);
    }

    private static void ValidateContent(HttpSpec? http, TcpSpec? tcp, TlsTerminationSpec? tls, string pointer, ProblemCollector problems)
    {
        if (http is not null)
        {
            HttpValidator.Validate(http, $"{pointer}/http", problems);
            if (
                http.ForwardClientCertificate is ForwardClientCertificate.AppendForward or ForwardClientCertificate.SanitizeSet
                && tls?.ClientValidation is null
            )
            {
                problems.Warning(
                    $"{pointer}/http/forwardClientCertificate",
                    "no-client-certificates",
                    "Clients are not asked for a certificate here, so there is none to tell of. Add clientValidation to 'tls'."
                );
            }
        }
        if (tcp is not null)
        {
            ValidateTcp(tcp, $"{pointer}/tcp", problems);
        }
    }

    private static void ValidateTcp(TcpSpec tcp, string pointer, ProblemCollector problems)
    {
        problems.OneOf(pointer, isRequired: true, ("upstream", tcp.Upstream is not null), ("upstreams", !tcp.Upstreams.IsEmpty));
        problems.NotEmpty($"{pointer}/upstream", tcp.Upstream);
        foreach (var (at, upstream) in tcp.Upstreams.Index())
        {
            problems.NotEmpty($"{pointer}/upstreams/{at}/name", upstream.Name);
            if (upstream.Weight == 0)
            {
                problems.Error(
                    $"{pointer}/upstreams/{at}/weight",
                    "out-of-range",
                    "The weight of a TCP upstream is at least 1. Take it out of the list instead."
                );
            }
        }
        if (!tcp.Upstreams.IsEmpty)
        {
            problems.Weights($"{pointer}/upstreams", tcp.Upstreams.Select(u => u.Weight));
        }
        problems.Timeout($"{pointer}/idleTimeout", tcp.IdleTimeout);
        problems.Interval($"{pointer}/maxConnectionDuration", tcp.MaxConnectionDuration);
        if (tcp.MaxConnectAttempts == 0)
        {
            problems.Error($"{pointer}/maxConnectAttempts", "out-of-range", "At least one attempt; 1 is the default.");
        }
    }
}
