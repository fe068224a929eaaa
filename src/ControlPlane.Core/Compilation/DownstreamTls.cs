using System.Collections.Immutable;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.Upstreams;
using Envoy.Config.Core.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;

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
                TlsMinimumProtocolVersion = TlsParts.Version(spec.MinVersion),
                TlsMaximumProtocolVersion = TlsParts.Version(spec.MaxVersion),
            },
        };
        common.TlsParams.CipherSuites.AddRange(spec.CipherSuites);
        common.TlsCertificateSdsSecretConfigs.AddRange(certificates.Select(c => TlsParts.SecretFromAds(c.Secret)));
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
                common.ValidationContextSdsSecretConfig = TlsParts.SecretFromAds(validation.Secret);
            }
            else
            {
                common.CombinedValidationContext = new CommonTlsContext.Types.CombinedCertificateValidationContext
                {
                    DefaultValidationContext = new CertificateValidationContext(),
                    ValidationContextSdsSecretConfig = TlsParts.SecretFromAds(validation.Secret),
                };
                common.CombinedValidationContext.DefaultValidationContext.MatchTypedSubjectAltNames.AddRange(
                    validation.SubjectAltNames.Select(TlsParts.Name)
                );
            }
        }
        return new TransportSocket { Name = TlsParts.SocketName, TypedConfig = EnvoyTypes.Pack(context) };
    }
}
