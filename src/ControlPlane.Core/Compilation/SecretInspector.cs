using System.Security.Cryptography.X509Certificates;
using System.Text;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Finds in a secret's values what Envoy would refuse, or take and then not work with. No problem repeats anything of a value: certificates are told by
/// their subject and dates.
/// </summary>
internal static class SecretInspector
{
    /// <summary>Bytes of a session ticket key.</summary>
    private const int TicketKeySize = 80;

    private const int ShortestRsaKeyBits = 2048;

    /// <summary>P-256, P-384, P-521.</summary>
    private static readonly string?[] Curves = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];

    private static readonly TimeSpan ExpiresSoon = TimeSpan.FromDays(14);

    /// <summary>Looks at the values of a valid spec.</summary>
    /// <param name="spec">The secret.</param>
    /// <param name="material">The values of its sources.</param>
    /// <param name="now">The instant at which certificates must be valid.</param>
    /// <param name="problems">Takes what is wrong.</param>
    public static void Inspect(SecretSpec spec, SecretMaterial material, DateTimeOffset now, ProblemCollector problems)
    {
        if (spec.Certificate is { } certificate)
        {
            InspectCertificate(certificate, material, now, problems);
        }
        if (spec.ValidationContext is { } context)
        {
            InspectValidationContext(context, material, now, problems);
        }
        for (var i = 0; i < spec.SessionTicketKeys.Length; i++)
        {
            var size = material[spec.SessionTicketKeys[i]].Length;
            if (size != TicketKeySize)
            {
                problems.Error(
                    $"/spec/sessionTicketKeys/{i}",
                    "ticket-key-size",
                    $"A session ticket key has {TicketKeySize} bytes, this one has {size}: make it with 'openssl rand {TicketKeySize}'."
                );
            }
        }
        if (spec.Generic is { } generic && material[generic].IsEmpty)
        {
            problems.Error("/spec/generic", "empty-value", "The value is empty.");
        }
    }

    private static void InspectCertificate(CertificateSpec spec, SecretMaterial material, DateTimeOffset now, ProblemCollector problems)
    {
        using var chain = new CertificateList(material[spec.Chain].Span);
        const string chainAt = "/spec/certificate/chain";
        if (chain.Problem(chainAt) is { } bad)
        {
            problems.Add(bad);
        }
        else
        {
            for (var i = 0; i < chain.Certificates.Count; i++)
            {
                InspectDates(chain.Certificates[i], chainAt, now, problems);
            }
            InspectKeyOf(chain.Certificates[0], chainAt, problems);
        }
        InspectPrivateKey(spec, material, chain.Certificates.FirstOrDefault(), problems);
        if (spec.OcspStaple is { } staple && OcspStaple.Explain(material[staple], chain.Certificates.FirstOrDefault()) is { } fault)
        {
            problems.Error("/spec/certificate/ocspStaple", "invalid-ocsp-staple", fault);
        }
    }

    private static void InspectPrivateKey(
        CertificateSpec spec,
        SecretMaterial material,
        X509Certificate2? certificate,
        ProblemCollector problems
    )
    {
        const string at = "/spec/certificate/privateKey";
        var pem = Encoding.UTF8.GetString(material[spec.PrivateKey].Span);
        var labels = Pem.Labels(pem).Where(l => l.EndsWith("PRIVATE KEY", StringComparison.Ordinal)).ToList();
        if (labels.Count != 1)
        {
            problems.Add(
                labels.Count > 1
                    ? new ValidationProblem(
                        at,
                        "private-key-ambiguous",
                        $"There are {labels.Count} private keys here: give the one of the certificate."
                    )
                : pem.Contains("Proc-Type:", StringComparison.Ordinal)
                    ? new ValidationProblem(
                        at,
                        "private-key-old-encryption",
                        "The private key is encrypted in a form that is not taken any more: convert it with 'openssl pkcs8 -topk8'."
                    )
                : new ValidationProblem(
                    at,
                    "private-key-missing",
                    "There is no private key in PEM form ('-----BEGIN PRIVATE KEY-----') here."
                )
            );
            return;
        }
        var encrypted = labels[0].StartsWith("ENCRYPTED", StringComparison.Ordinal);
        if (encrypted && spec.Password is null)
        {
            problems.Error(at, "password-required", "The private key is encrypted: give its 'password', or an unencrypted key.");
            return;
        }
        if (certificate is not null && Pem.IsEd25519(certificate))
        {
            return;
        }
        var password = encrypted ? Encoding.UTF8.GetString(material[spec.Password!].Span.TrimEnd("\r\n"u8)) : null;
        if (Pem.PublicKeyOf(pem, password) is not { } publicKey)
        {
            problems.Error(
                at,
                encrypted ? "private-key-undecodable" : "private-key-invalid",
                encrypted
                    ? "The private key cannot be decrypted: the password is wrong, or the key is damaged."
                    : "The private key cannot be read: it must be RSA or ECDSA, in PEM form."
            );
        }
        else if (certificate is not null && !publicKey.AsSpan().SequenceEqual(certificate.PublicKey.ExportSubjectPublicKeyInfo()))
        {
            problems.Error(at, "private-key-mismatch", "The private key belongs to another certificate than the first one of the chain.");
        }
    }

    private static void InspectValidationContext(
        ValidationContextSpec spec,
        SecretMaterial material,
        DateTimeOffset now,
        ProblemCollector problems
    )
    {
        const string at = "/spec/validationContext/ca";
        using var authorities = new CertificateList(material[spec.Ca].Span);
        if (authorities.Problem(at) is { } bad)
        {
            problems.Add(bad);
        }
        foreach (var authority in authorities.Certificates)
        {
            InspectDates(authority, at, now, problems);
            if (authority.Extensions.OfType<X509BasicConstraintsExtension>().FirstOrDefault() is { CertificateAuthority: false })
            {
                problems.Warning(at, "not-a-ca", $"'{authority.Subject}' is not the certificate of a CA: it verifies nothing but itself.");
            }
        }
        if (spec.Crl is { } crl && !Pem.Labels(Encoding.UTF8.GetString(material[crl].Span)).Contains("X509 CRL", StringComparer.Ordinal))
        {
            problems.Error(
                "/spec/validationContext/crl",
                "crl-missing",
                "There is no revocation list in PEM form ('-----BEGIN X509 CRL-----') here."
            );
        }
    }

    private static void InspectDates(X509Certificate2 certificate, string pointer, DateTimeOffset now, ProblemCollector problems)
    {
        var end = new DateTimeOffset(certificate.NotAfter);
        var start = new DateTimeOffset(certificate.NotBefore);
        if (now > end)
        {
            problems.Warning(
                pointer,
                "certificate-expired",
                $"The certificate of '{certificate.Subject}' expired at {end.UtcDateTime:u}: renew it."
            );
        }
        else if (now < start)
        {
            problems.Warning(
                pointer,
                "certificate-not-yet-valid",
                $"The certificate of '{certificate.Subject}' is valid only from {start.UtcDateTime:u}."
            );
        }
        else if (end - now < ExpiresSoon)
        {
            problems.Warning(
                pointer,
                "certificate-expires-soon",
                $"The certificate of '{certificate.Subject}' expires at {end.UtcDateTime:u}: renew it."
            );
        }
    }

    /// <summary>What Envoy's TLS stack takes as the key of its own certificate.</summary>
    private static void InspectKeyOf(X509Certificate2 certificate, string pointer, ProblemCollector problems)
    {
        using var rsa = certificate.GetRSAPublicKey();
        using var ecdsa = certificate.GetECDsaPublicKey();
        if (rsa is not null && rsa.KeySize < ShortestRsaKeyBits)
        {
            problems.Error(pointer, "key-too-short", $"The RSA key has {rsa.KeySize} bits; Envoy takes {ShortestRsaKeyBits} and more.");
        }
        else if (ecdsa is not null && !Curves.Contains(ecdsa.ExportParameters(includePrivateParameters: false).Curve.Oid.Value))
        {
            problems.Error(
                pointer,
                "key-unsupported",
                "Envoy takes ECDSA keys on the curves P-256, P-384 and P-521; this one is on another."
            );
        }
        else if (Pem.IsEd25519(certificate))
        {
            problems.Warning(
                pointer,
                "key-not-checked",
                "Envoy takes Ed25519 certificates, but browsers do not, and whether the key belongs to this one is not checked here."
            );
        }
        else if (rsa is null && ecdsa is null)
        {
            problems.Error(
                pointer,
                "key-unsupported",
                "Envoy takes certificates with RSA, ECDSA and Ed25519 keys; this one has another kind."
            );
        }
    }

    /// <summary>The certificates of a PEM text.</summary>
    private sealed class CertificateList : IDisposable
    {
        private readonly bool _undecodable;

        public CertificateList(ReadOnlySpan<byte> pem)
        {
            var certificates = Pem.ReadCertificates(Encoding.UTF8.GetString(pem));
            _undecodable = certificates is null;
            Certificates = certificates ?? [];
        }

        public X509Certificate2Collection Certificates { get; }

        public ValidationProblem? Problem(string pointer) =>
            _undecodable ? new ValidationProblem(pointer, "certificate-invalid", "A certificate here cannot be decoded: it is damaged.")
            : Certificates.Count == 0
                ? new ValidationProblem(
                    pointer,
                    "certificate-missing",
                    "There is no certificate in PEM form ('-----BEGIN CERTIFICATE-----') here."
                )
            : null;

        public void Dispose() => Pem.Dispose(Certificates);
    }
}
