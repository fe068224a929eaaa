using System.Collections.Immutable;

namespace ControlPlane.Resources.Upstreams;

/// <summary>
/// TLS to an upstream; <c>UpstreamTlsContext</c>. Envoy verifies nothing unless told what to trust, so one of <see cref="CaSecret"/>, <see cref="Ca"/> and
/// <see cref="InsecureSkipVerify"/> is required.
/// </summary>
public sealed record UpstreamTlsSpec
{
    /// <summary>The server name that the handshake asks for, and, unless <see cref="SubjectAltNames"/> says otherwise, the name that the certificate must have.</summary>
    public string? Sni { get; init; }

    /// <summary>Name of the Secret whose validation context holds the CA certificates to trust.</summary>
    public string? CaSecret { get; init; }

    /// <summary>Trusts the CAs of the system that the proxy runs on.</summary>
    public TrustedCa? Ca { get; init; }

    /// <summary>Verifies nothing: the traffic is encrypted to whoever answers.</summary>
    public bool InsecureSkipVerify { get; init; }

    /// <summary>Name of the Secret with the certificate and key that the proxy presents.</summary>
    public string? CertificateSecret { get; init; }

    /// <summary>Names of which the certificate must have one; empty is the SNI.</summary>
    public ImmutableArray<SubjectAltNameSpec> SubjectAltNames { get; init; } = [];

    /// <summary>Lowest version that is offered.</summary>
    public TlsVersion MinVersion { get; init; } = TlsVersion.Tls12;

    /// <summary>Highest version that is offered. Envoy's own default for upstreams is TLS 1.2, with which servers that speak only 1.3 cannot be reached.</summary>
    public TlsVersion MaxVersion { get; init; } = TlsVersion.Tls13;

    /// <summary>Protocols to offer by ALPN; empty follows the upstream's protocol.</summary>
    public ImmutableArray<string> Alpn { get; init; } = [];
}

/// <summary>Well-known sets of trusted CAs.</summary>
public enum TrustedCa
{
    /// <summary>
    /// The bundle <c>/etc/ssl/certs/ca-certificates.crt</c> on the proxy's machine, which Envoy's images and Debian have. Where it is missing the proxy
    /// refuses the cluster: put the bundle into a Secret then.
    /// </summary>
    System,
}

/// <summary>A name that a certificate must have; exactly one member is given.</summary>
public sealed record SubjectAltNameSpec
{
    /// <summary>A DNS name, compared exactly; a certificate's wildcard covers it.</summary>
    public string? Dns { get; init; }

    /// <summary>A URI, compared exactly, for example a SPIFFE id.</summary>
    public string? Uri { get; init; }

    /// <summary>The start of a URI, for example <c>spiffe://prod/</c>.</summary>
    public string? UriPrefix { get; init; }

    /// <summary>An IP address.</summary>
    public string? Ip { get; init; }
}

/// <summary>TLS versions.</summary>
public enum TlsVersion
{
    /// <summary>TLS 1.0, which no current client should need.</summary>
    Tls10,

    /// <summary>TLS 1.1, which no current client should need.</summary>
    Tls11,

    /// <summary>TLS 1.2.</summary>
    Tls12,

    /// <summary>TLS 1.3.</summary>
    Tls13,
}
