using System.Collections.Frozen;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Listeners;

/// <summary>Rules of the termination of TLS.</summary>
internal static class TlsTerminationValidator
{
    /// <summary>What BoringSSL knows for TLS 1.2 and below. TLS 1.3 has its own suites, which cannot be chosen.</summary>
    private static readonly FrozenSet<string> CipherSuites = new[]
    {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-PSK-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-PSK-AES128-CBC-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "ECDHE-PSK-AES256-CBC-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "PSK-AES128-CBC-SHA",
        "PSK-AES256-CBC-SHA",
        "DES-CBC3-SHA",
    }.ToFrozenSet(StringComparer.Ordinal);

    public static void Validate(TlsTerminationSpec tls, string pointer, ProblemCollector problems)
    {
        if (tls.Certificates.IsEmpty)
        {
            problems.Error($"{pointer}/certificates", "no-certificates", "TLS needs at least one certificate.");
        }
        foreach (var (at, certificate) in tls.Certificates.Index())
        {
            problems.NotEmpty($"{pointer}/certificates/{at}/secret", certificate.Secret);
        }
        if (tls.MaxVersion < tls.MinVersion)
        {
            problems.Error(
                $"{pointer}/maxVersion",
                "tls-versions",
                "The highest version is below the lowest, so that no handshake could succeed."
            );
        }
        if (tls.MinVersion < TlsVersion.Tls12)
        {
            problems.Warning(
                $"{pointer}/minVersion",
                "weak-tls",
                "TLS 1.0 and 1.1 are withdrawn (RFC 8996). Use tls12 unless a client cannot."
            );
        }
        if (tls.MinVersion == TlsVersion.Tls13 && !tls.CipherSuites.IsEmpty)
        {
            problems.Warning(
                $"{pointer}/cipherSuites",
                "no-effect",
                "The suites of TLS 1.3 cannot be chosen; these are of TLS 1.2 and below."
            );
        }
        foreach (var (at, suite) in tls.CipherSuites.Index())
        {
            ValidateCipherSuite(suite, $"{pointer}/cipherSuites/{at}", problems);
        }
        if (tls.ClientValidation is { } validation)
        {
            problems.NotEmpty($"{pointer}/clientValidation/secret", validation.Secret);
            foreach (var (at, name) in validation.SubjectAltNames.Index())
            {
                SubjectAltNameValidator.Validate(name, $"{pointer}/clientValidation/subjectAltNames/{at}", problems);
            }
        }
    }

    /// <summary>A suite, or several of the same rank as <c>[A|B]</c>.</summary>
    private static void ValidateCipherSuite(string suite, string pointer, ProblemCollector problems)
    {
        var names = suite is ['[', .. var group, ']'] ? group.Split('|') : [suite];
        foreach (var name in names)
        {
            if (!CipherSuites.Contains(name))
            {
                problems.Error(
                    pointer,
                    "unknown-cipher-suite",
                    $"BoringSSL knows no cipher suite {TextExcerpt.Quote(name)} that can be chosen.{Suggestion.For(name, CipherSuites)}"
                );
            }
        }
    }
}
