using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Upstreams;

/// <summary>Rules of a name that a certificate must have, of upstreams and of clients.</summary>
internal static class SubjectAltNameValidator
{
    public static void Validate(SubjectAltNameSpec spec, string pointer, ProblemCollector problems)
    {
        problems.OneOf(
            pointer,
            isRequired: true,
            ("dns", spec.Dns is not null),
            ("uri", spec.Uri is not null),
            ("uriPrefix", spec.UriPrefix is not null),
            ("ip", spec.Ip is not null)
        );
        problems.NotEmpty($"{pointer}/uri", spec.Uri);
        problems.NotEmpty($"{pointer}/uriPrefix", spec.UriPrefix);
        if (spec.Dns is { } dns && !EndpointValidator.IsDnsName(dns))
        {
            problems.Error(
                $"{pointer}/dns",
                "invalid-dns-name",
                $"{TextExcerpt.Quote(dns)} is not a DNS name; wildcards belong into the certificate, not here."
            );
        }
        if (spec.Ip is { } ip && !NetworkAddress.TryParseIp(ip, out _))
        {
            problems.Error($"{pointer}/ip", "invalid-address", $"{TextExcerpt.Quote(ip)} is no IP address.");
        }
    }
}
