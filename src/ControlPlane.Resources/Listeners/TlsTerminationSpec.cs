using System.Collections.Immutable;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Resources.Listeners;

/// <summary>Terminates TLS with certificates from secrets, which proxies fetch by SDS; a renewed certificate does not touch the listener.</summary>
public sealed record TlsTerminationSpec
{
    /// <summary>
    /// The certificates, at least one. Those without server names answer every client that no other is for; two of the same server names may differ in
    /// their key (RSA and ECDSA), and the client's abilities decide.
    /// </summary>
    public ImmutableArray<ServerCertificateSpec> Certificates { get; init; } = [];

    /// <summary>Asks clients for a certificate.</summary>
    public ClientValidationSpec? ClientValidation { get; init; }

    /// <summary>The lowest version that is spoken.</summary>
    public TlsVersion MinVersion { get; init; } = TlsVersion.Tls12;

    /// <summary>The highest version that is spoken; not below the lowest.</summary>
    public TlsVersion MaxVersion { get; init; } = TlsVersion.Tls13;

    /// <summary>Cipher suites of TLS 1.2 and below in BoringSSL's names and order; Envoy's own when empty.</summary>
    public ImmutableArray<string> CipherSuites { get; init; } = [];

    internal IEnumerable<SpecReference> References(string pointer) =>
        [
            .. Certificates
                .Index()
                .Select(c => ListenerSpec.ToSecret($"{pointer}/certificates/{c.Index}/secret", c.Item.Secret, SecretContent.Certificate)),
            .. ClientValidation is null
                ? Array.Empty<SpecReference>()
                : [ListenerSpec.ToSecret($"{pointer}/clientValidation/secret", ClientValidation.Secret, SecretContent.ValidationContext)],
        ];
}

/// <summary>A certificate and the server names that it is for.</summary>
public sealed record ServerCertificateSpec
{
    /// <summary>The secret that holds the certificate and its key.</summary>
    public required string Secret { get; init; }

    /// <summary>
    /// The server names (SNI), as <see cref="FilterChainSpec.ServerNames"/>; empty is every name that no other certificate has. Not inside a filter chain,
    /// whose names they are anyway.
    /// </summary>
    public ImmutableArray<string> ServerNames { get; init; } = [];
}

/// <summary>Asks clients for a certificate and checks it.</summary>
public sealed record ClientValidationSpec
{
    /// <summary>The secret that holds the validation context: the authorities whose certificates are believed.</summary>
    public required string Secret { get; init; }

    /// <summary>Whether a client without a certificate is refused. A certificate that is shown must be valid in any case.</summary>
    public bool Required { get; init; } = true;

    /// <summary>Names of which the certificate must hold at least one; empty is any certificate of the authorities.</summary>
    public ImmutableArray<SubjectAltNameSpec> SubjectAltNames { get; init; } = [];
}
