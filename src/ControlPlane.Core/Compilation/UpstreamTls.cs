using System.Collections.Immutable;
using ControlPlane.Resources.Upstreams;
using Envoy.Config.Core.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;

namespace ControlPlane.Core.Compilation;

/// <summary>Compiles TLS to an upstream. Certificates are named, never contained: proxies fetch them by SDS.</summary>
internal static class UpstreamTls
{
    /// <summary>Where Debian, Ubuntu and Envoy's images keep the CAs of the system. (Envoy does not implement <c>system_root_certs</c>, and would verify nothing.)</summary>
    private const string SystemCaFile = "/etc/ssl/certs/ca-certificates.crt";

    public static TransportSocket Socket(UpstreamTlsSpec spec, UpstreamProtocol protocol)
    {
        var common = new CommonTlsContext
        {
            TlsParams = new TlsParameters
            {
                TlsMinimumProtocolVersion = TlsParts.Version(spec.MinVersion),
                TlsMaximumProtocolVersion = TlsParts.Version(spec.MaxVersion),
            },
            AlpnProtocols = { spec.Alpn.IsEmpty ? Alpn(protocol) : spec.Alpn },
        };
        if (spec.CertificateSecret is { } certificate)
        {
            common.TlsCertificateSdsSecretConfigs.Add(TlsParts.SecretFromAds(certificate));
        }
        if (spec.CaSecret is { } ca)
        {
            common.CombinedValidationContext = new CommonTlsContext.Types.CombinedCertificateValidationContext
            {
                DefaultValidationContext = new CertificateValidationContext { MatchTypedSubjectAltNames = { Names(spec) } },
                ValidationContextSdsSecretConfig = TlsParts.SecretFromAds(ca),
            };
        }
        else if (spec.Ca == TrustedCa.System)
        {
            common.ValidationContext = new CertificateValidationContext
            {
                TrustedCa = new DataSource { Filename = SystemCaFile },
                MatchTypedSubjectAltNames = { Names(spec) },
            };
        }
        else
        {
            // Without a word Envoy trusts everyone, too; who reads its configuration is to see that it was meant.
            common.ValidationContext = new CertificateValidationContext
            {
                TrustChainVerification = CertificateValidationContext.Types.TrustChainVerification.AcceptUntrusted,
            };
        }
        return new TransportSocket
        {
            Name = TlsParts.SocketName,
            TypedConfig = EnvoyTypes.Pack(new UpstreamTlsContext { CommonTlsContext = common, Sni = spec.Sni ?? "" }),
        };
    }

    /// <summary>With <see cref="UpstreamProtocol.Auto"/> Envoy's connection pool offers both by itself.</summary>
    public static ImmutableArray<string> Alpn(UpstreamProtocol protocol) =>
        protocol switch
        {
            UpstreamProtocol.Http1 => ["http/1.1"],
            UpstreamProtocol.Http2 or UpstreamProtocol.Grpc => ["h2"],
            _ => [],
        };

    private static IEnumerable<SubjectAltNameMatcher> Names(UpstreamTlsSpec spec) =>
        spec.SubjectAltNames.IsEmpty
            ? [TlsParts.Name(new SubjectAltNameSpec { Dns = spec.Sni })]
            : spec.SubjectAltNames.Select(TlsParts.Name);
}
