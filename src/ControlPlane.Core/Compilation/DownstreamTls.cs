using System.Collections.Immutable;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.Upstreams;
using Envoy.Config.Core.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Envoy.Type.Matcher.V3;
using Google.Protobuf.WellKnownTypes;
using SanType = Envoy.Extensions.TransportSockets.Tls.V3.SubjectAltNameMatcher.Types.SanType;

namespace ControlPlane.Core.Compilation;

/// <summary>Compiles the termination of TLS. Certificates are named, never contained: proxies fetch them by SDS.</summary>
internal static class DownstreamTls
{
    public static TransportSocket Socket(TlsTerminationSpec spec, ImmutableArray<ServerCertificateSpec> certificates, HttpCodec? codec)
    {
        var common = new CommonTlsContext
        {
            TlsParams = new TlsParameters
            {
                TlsMinimumProtocolVersion = Version(spec.MinVersion),
                TlsMaximumProtocolVersion = Version(spec.MaxVersion),
            },
        };
        common.TlsParams.CipherSuites.AddRange(spec.CipherSuites);
        common.TlsCertificateSdsSecretConfigs.AddRange(certificates.Select(c => SecretFromAds(c.Secret)));
        common.AlpnProtocols.AddRange(
            codec switch
            {
                HttpCodec.Auto => ["h2", "http/1.1"],
                HttpCodec.Http1 => ["http/1.1"],
                HttpCodec.Http2 => ["h2"],
                _ => Array.Empty<string>(),
            }
        );
        var context = new DownstreamTlsContext { CommonTlsContext = common };
        if (spec.ClientValidation is { } validation)
        {
            context.RequireClientCertificate = validation.Required;
            if (validation.SubjectAltNames.IsEmpty)
            {
                common.ValidationContextSdsSecretConfig = SecretFromAds(validation.Secret);
            }
            else
            {
                common.CombinedValidationContext = new CommonTlsContext.Types.CombinedCertificateValidationContext
                {
                    DefaultValidationContext = new CertificateValidationContext(),
                    ValidationContextSdsSecretConfig = SecretFromAds(validation.Secret),
                };
                common.CombinedValidationContext.DefaultValidationContext.MatchTypedSubjectAltNames.AddRange(
                    validation.SubjectAltNames.Select(SubjectAltName)
                );
            }
        }
        return new TransportSocket { Name = "envoy.transport_sockets.tls", TypedConfig = EnvoyTypes.Pack(context) };
    }

    private static SdsSecretConfig SecretFromAds(string name) => new() { Name = name, SdsConfig = AdsSource.New() };

    private static SubjectAltNameMatcher SubjectAltName(SubjectAltNameSpec spec) =>
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

    private static TlsParameters.Types.TlsProtocol Version(TlsVersion version) =>
        version switch
        {
            TlsVersion.Tls10 => TlsParameters.Types.TlsProtocol.Tlsv10,
            TlsVersion.Tls11 => TlsParameters.Types.TlsProtocol.Tlsv11,
            TlsVersion.Tls12 => TlsParameters.Types.TlsProtocol.Tlsv12,
            _ => TlsParameters.Types.TlsProtocol.Tlsv13,
        };
}
