using ControlPlane.Resources.Upstreams;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Envoy.Type.Matcher.V3;
using SanType = Envoy.Extensions.TransportSockets.Tls.V3.SubjectAltNameMatcher.Types.SanType;
using TlsProtocol = Envoy.Extensions.TransportSockets.Tls.V3.TlsParameters.Types.TlsProtocol;

namespace ControlPlane.Core.Compilation;

/// <summary>What TLS to upstreams and from clients have in common. Certificates are named, never contained: proxies fetch them by SDS.</summary>
internal static class TlsParts
{
    public const string SocketName = "envoy.transport_sockets.tls";

    public static SdsSecretConfig SecretFromAds(string name) => new() { Name = name, SdsConfig = AdsSource.New() };

    public static SubjectAltNameMatcher Name(SubjectAltNameSpec spec) =>
        spec switch
        {
            { Dns: { } dns } => Name(SanType.Dns, new StringMatcher { Exact = dns }),
            { Uri: { } uri } => Name(SanType.Uri, new StringMatcher { Exact = uri }),
            { UriPrefix: { } prefix } => Name(SanType.Uri, new StringMatcher { Prefix = prefix }),
            _ => Name(SanType.IpAddress, new StringMatcher { Exact = spec.Ip }),
        };

    public static TlsProtocol Version(TlsVersion version) =>
        version switch
        {
            TlsVersion.Tls10 => TlsProtocol.Tlsv10,
            TlsVersion.Tls11 => TlsProtocol.Tlsv11,
            TlsVersion.Tls12 => TlsProtocol.Tlsv12,
            _ => TlsProtocol.Tlsv13,
        };

    private static SubjectAltNameMatcher Name(SanType type, StringMatcher matcher) => new() { SanType = type, Matcher = matcher };
}
