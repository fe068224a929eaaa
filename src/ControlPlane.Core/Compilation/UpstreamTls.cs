using ControlPlane.Resources.Upstreams;
using Envoy.Config.Core.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Envoy.Type.Matcher.V3;
using Google.Protobuf.WellKnownTypes;
using SanType = Envoy.Extensions.TransportSockets.Tls.V3.SubjectAltNameMatcher.Types.SanType;
using TlsProtocol = Envoy.Extensions.TransportSockets.Tls.V3.TlsParameters.Types.TlsProtocol;

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
                TlsMinimumProtocolVersion = Version(spec.MinVersion),
                TlsMaximumProtocolVersion = Version(spec.MaxVersion),
            },
            AlpnProtocols = { spec.Alpn.IsEmpty ? Alpn(protocol) : spec.Alpn },
        };
        if (spec.CertificateSecret is { } certificate)
        {
            common.TlsCertificateSdsSecretConfigs.Add(SecretFromAds(certificate));
        }
        if (spec.CaSecret is { } ca)
        {
            common.CombinedValidationContext = new CommonTlsContext.Types.CombinedCertificateValidationContext
            {
                DefaultValidationContext = new CertificateValidationContext { MatchTypedSubjectAltNames = { Names(spec) } },
                ValidationContextSdsSecretConfig = SecretFromAds(ca),
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
        return new TransportSocket
        {
            Name = "envoy.transport_sockets.tls",
            TypedConfig = Any.Pack(new UpstreamTlsContext { CommonTlsContext = common, Sni = spec.Sni ?? "" }),
        };
    }

    private static SdsSecretConfig SecretFromAds(string name) => new() { Name = name, SdsConfig = AdsSource.New() };

    /// <summary>With <see cref="UpstreamProtocol.Auto"/> Envoy's connection pool offers both by itself.</summary>
    private static string[] Alpn(UpstreamProtocol protocol) =>
        protocol switch
        {
            UpstreamProtocol.Http1 => ["http/1.1"],
            UpstreamProtocol.Http2 or UpstreamProtocol.Grpc => ["h2"],
            _ => [],
        };

    private static IEnumerable<SubjectAltNameMatcher> Names(UpstreamTlsSpec spec) =>
        spec.SubjectAltNames.IsEmpty
            ?
            [
                new SubjectAltNameMatcher
                {
                    SanType = SanType.Dns,
                    Matcher = new StringMatcher { Exact = spec.Sni },
                },
            ]
            : spec.SubjectAltNames.Select(Name);

    private static SubjectAltNameMatcher Name(SubjectAltNameSpec spec) =>
        spec switch
        {
            { Dns: { } dns } => new SubjectAltNameMatcher
            {
                SanType = SanType.Dns,
                Matcher = new StringMatcher { Exact = dns },
            },
            { Uri: { } uri } => new SubjectAltNameMatcher
            {
                SanType = SanType.Uri,
                Matcher = new StringMatcher { Exact = uri },
            },
            { UriPrefix: { } prefix } => new SubjectAltNameMatcher
            {
                SanType = SanType.Uri,
                Matcher = new StringMatcher { Prefix = prefix },
            },
            _ => new SubjectAltNameMatcher
            {
                SanType = SanType.IpAddress,
                Matcher = new StringMatcher { Exact = spec.Ip },
            },
        };

    private static TlsProtocol Version(TlsVersion version) =>
        version switch
        {
            TlsVersion.Tls10 => TlsProtocol.Tlsv10,
            TlsVersion.Tls11 => TlsProtocol.Tlsv11,
            TlsVersion.Tls12 => TlsProtocol.Tlsv12,
            _ => TlsProtocol.Tlsv13,
        };
}
