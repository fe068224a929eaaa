using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Envoy.Config.Core.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using static ControlPlane.Core.Compilation.Rules.SemanticRules;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>Certificates, keys and what is verified with them. Files and variables of the proxy cannot be looked into from here. No message ever holds a key.</summary>
internal static class TlsRules
{
    private const int MinRsaBits = 2048;

    public static IEnumerable<MessageRule> All() =>
        [
            On<TlsCertificate>(CheckCertificate),
            On<CertificateValidationContext>(CheckValidation),
            On<DownstreamTlsContext>(CheckServer),
            On<UpstreamTlsContext>(
                (m, path) =>
                {
                    if (m.CommonTlsContext?.TlsCertificates.Count + m.CommonTlsContext?.TlsCertificateSdsSecretConfigs.Count > 1)
                    {
                        path.Error("/commonTlsContext", "client-certificates", "A client has one certificate. Keep one.");
                    }
                }
            ),
            On<Secret>(
                (m, path) =>
                {
                    ClusterRules.CheckName(m.Name, path);
                    if (m.TypeCase == Secret.TypeOneofCase.None)
                    {
                        path.Warning(
                            "",
                            "secret-without-type",
                            "The secret holds nothing: Envoy takes it and never uses it. Give tlsCertificate, validationContext, genericSecret or sessionTicketKeys."
                        );
                    }
                }
            ),
        ];

    private static void CheckServer(DownstreamTlsContext context, MessagePath path)
    {
        var common = context.CommonTlsContext;
        var inline = common?.TlsCertificates.Count ?? 0;
        var discovered = common?.TlsCertificateSdsSecretConfigs.Count ?? 0;
#pragma warning disable CS0612 // Deprecated by Envoy, and still taken by it.
        var isProvided =
            common?.TlsCertificateProviderInstance is not null
            || common?.TlsCertificateCertificateProviderInstance is not null
            || common?.TlsCertificateCertificateProvider is not null;
#pragma warning restore CS0612
        if (inline + discovered == 0 && !isProvided)
        {
            path.Error(
                "/commonTlsContext",
                "no-server-certificate",
                "The listener ends TLS and has no certificate. Name a secret, or give one inline."
            );
        }
        else if (inline > 0 && discovered > 0)
        {
            path.Error(
                "/commonTlsContext",
                "mixed-certificates",
                "Certificates are either inline or named as secrets, not both. Move them to one side."
            );
        }

        if (
            context.RequireClientCertificate == true
            && common?.ValidationContextTypeCase is null or CommonTlsContext.ValidationContextTypeOneofCase.None
        )
        {
            path.Warning(
                "/requireClientCertificate",
                "client-certificate-unverified",
                "Clients must show a certificate, and nothing verifies it: any will do. Give a validation context with a CA."
            );
        }
    }

    private static void CheckValidation(CertificateValidationContext context, MessagePath path)
    {
        CheckAuthority(context.TrustedCa, path);
        CheckHashes(context, path);

        // In a combined context, and in a secret that may become part of one, the CA can come from the other part.
        var isPart = path.Enclosing<CommonTlsContext.Types.CombinedCertificateValidationContext>() is not null;
        var isSecret = path.Enclosing<Secret>() is not null;
        if (isPart || HasAuthority(context))
        {
            return;
        }

#pragma warning disable CS0612 // Deprecated by Envoy, and still taken by it.
        var hasNames = context.MatchTypedSubjectAltNames.Count > 0 || context.MatchSubjectAltNames.Count > 0;
#pragma warning restore CS0612
        const string NoAuthority =
            "Names in certificates are compared, and no CA says who may issue them: Envoy calls that insecure. Give trustedCa.";
        if (hasNames && isSecret)
        {
            path.Warning("/matchTypedSubjectAltNames", "san-without-ca", NoAuthority);
        }
        else if (hasNames)
        {
            path.Error("/matchTypedSubjectAltNames", "san-without-ca", NoAuthority);
        }

        if (context.Crl is not null && !isSecret)
        {
            path.Error("/crl", "crl-without-ca", "A revocation list needs the CA that it belongs to. Give trustedCa.");
        }
    }

    private static bool HasAuthority(CertificateValidationContext context) =>
        context.TrustedCa is not null || context.CaCertificateProviderInstance is not null || context.SystemRootCerts is not null;

    private static void CheckAuthority(DataSource? source, MessagePath path)
    {
        if (InlineText(source) is not { } pem)
        {
            return;
        }

        if (pem.Length == 0)
        {
            path.Error("/trustedCa", "empty-data-source", "The CA is empty. Give at least one certificate in PEM.");
        }
        else if (!PemFile.TryReadCertificates(pem, out var certificates))
        {
            path.Error(
                "/trustedCa",
                "invalid-certificate",
                "The CA cannot be read: each block must be a whole certificate in PEM (-----BEGIN CERTIFICATE-----)."
            );
        }
        else
        {
            Dispose(certificates);
        }
    }

    private static void CheckHashes(CertificateValidationContext context, MessagePath path)
    {
        for (var i = 0; i < context.VerifyCertificateSpki.Count; i++)
        {
            var text = context.VerifyCertificateSpki[i];
            // Shorter and longer texts are refused by the descriptor's rules.
            if (text.Length == 44 && !(Convert.TryFromBase64String(text, new byte[44], out var length) && length == 32))
            {
                path.Error($"/verifyCertificateSpki/{i}", "invalid-hash", "This is no SHA-256 digest in base64 (44 characters).");
            }
        }

        for (var i = 0; i < context.VerifyCertificateHash.Count; i++)
        {
            var digits = context.VerifyCertificateHash[i].Replace(":", "", StringComparison.Ordinal);
            if (digits.Length != 64 || !digits.All(char.IsAsciiHexDigit))
            {
                path.Error(
                    $"/verifyCertificateHash/{i}",
                    "invalid-hash",
                    "This is no SHA-256 digest in hexadecimal (64 digits; colons may stand between bytes)."
                );
            }
        }
    }

    private static void CheckCertificate(TlsCertificate certificate, MessagePath path)
    {
        if (certificate.PrivateKeyProvider is not null || certificate.Pkcs12 is not null)
        {
            return;
        }

        var hasChain = IsGiven(certificate.CertificateChain);
        var hasKey = IsGiven(certificate.PrivateKey);
        if (hasChain != hasKey)
        {
            path.Error(
                hasChain ? "/privateKey" : "/certificateChain",
                "incomplete-certificate",
                hasChain
                    ? "The certificate has no private key. Give privateKey."
                    : "The private key has no certificate. Give certificateChain."
            );
            return;
        }

        if (!hasChain && path.Enclosing<UpstreamTlsContext>() is null)
        {
            path.Error("", "incomplete-certificate", "The certificate is empty. Give certificateChain and privateKey.");
        }
        else if (InlineText(certificate.CertificateChain) is { } chain)
        {
            CheckPair(chain, certificate, path);
        }
    }

    private static void CheckPair(string chain, TlsCertificate certificate, MessagePath path)
    {
        if (!PemFile.TryReadCertificates(chain, out var certificates))
        {
            path.Error(
                "/certificateChain",
                "invalid-certificate",
                "The certificate chain cannot be read: each block must be a whole certificate in PEM, the server's own first."
            );
            return;
        }

        using var leaf = certificates[0];
        Dispose(certificates.Skip(1));
        using (var rsa = leaf.GetRSAPublicKey())
        {
            if (rsa?.KeySize < MinRsaBits)
            {
                path.Error(
                    "/certificateChain",
                    "weak-key",
                    $"The certificate's RSA key has {rsa.KeySize} bits; Envoy wants {MinRsaBits} or more. Issue a new one."
                );
            }
        }

        if (InlineText(certificate.PrivateKey) is not { } key)
        {
            return;
        }

        switch (
            PemFile.Match(
                leaf,
                key,
                certificate.Password is null ? null : InlineText(certificate.Password),
                certificate.Password is not null
            )
        )
        {
            case KeyMatch.Unreadable:
                path.Error(
                    "/privateKey",
                    "invalid-private-key",
                    "The private key cannot be read: it must be a key in PEM (-----BEGIN PRIVATE KEY-----)."
                );
                break;
            case KeyMatch.Locked:
                path.Error(
                    "/privateKey",
                    "encrypted-private-key",
                    "The private key is encrypted, and the password is missing or wrong. Give password, or an unencrypted key."
                );
                break;
            case KeyMatch.Different:
                path.Error(
                    "/privateKey",
                    "key-mismatch",
                    "The private key does not belong to the certificate. Give the key that the certificate was issued for."
                );
                break;
        }
    }

    private static bool IsGiven(DataSource? source) => source is not null && InlineText(source) is not { Length: 0 };

    /// <summary>The content of a source that holds it; null for files, variables and nothing.</summary>
    private static string? InlineText(DataSource? source) =>
        source?.SpecifierCase switch
        {
            DataSource.SpecifierOneofCase.InlineString => source.InlineString,
            DataSource.SpecifierOneofCase.InlineBytes => source.InlineBytes.ToStringUtf8(),
            _ => null,
        };

    private static void Dispose(IEnumerable<X509Certificate2> certificates)
    {
        foreach (var certificate in certificates)
        {
            certificate.Dispose();
        }
    }
}

/// <summary>How a private key stands to a certificate.</summary>
internal enum KeyMatch
{
    /// <summary>They belong together, or their kind cannot be compared here (Ed25519).</summary>
    Same,

    /// <summary>They do not belong together.</summary>
    Different,

    /// <summary>There is no key.</summary>
    Unreadable,

    /// <summary>The key is encrypted and cannot be decrypted.</summary>
    Locked,
}

/// <summary>Reads PEM (RFC 7468) as strictly as Envoy does: one bad block spoils the file.</summary>
internal static class PemFile
{
    private const string CertificateLabel = "CERTIFICATE";
    private const string EncryptedKeyLabel = "ENCRYPTED PRIVATE KEY";

    private static readonly string[] KeyLabels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", EncryptedKeyLabel];

    /// <summary>Reads all certificates. False where there is none, or one is damaged.</summary>
    public static bool TryReadCertificates(string pem, out List<X509Certificate2> certificates)
    {
        certificates = [];
        var rest = pem.AsSpan();
        try
        {
            while (PemEncoding.TryFind(rest, out var fields))
            {
                if (rest[fields.Label] is CertificateLabel)
                {
                    certificates.Add(X509CertificateLoader.LoadCertificate(Convert.FromBase64String(rest[fields.Base64Data].ToString())));
                }

                rest = rest[fields.Location.End..];
            }
        }
        catch (CryptographicException)
        {
            return false;
        }

        // Blocks that are not base64 are passed over above.
        return certificates.Count > 0 && certificates.Count == pem.AsSpan().Count($"-----BEGIN {CertificateLabel}-----");
    }

    /// <summary>Compares the first private key of a text with a certificate.</summary>
    /// <param name="certificate">The certificate.</param>
    /// <param name="pem">Holds the key.</param>
    /// <param name="password">The key's password; null where it is not known here.</param>
    /// <param name="hasPassword">Whether there is one, perhaps in a file of the proxy.</param>
    public static KeyMatch Match(X509Certificate2 certificate, string pem, string? password, bool hasPassword)
    {
        if (FindKey(pem) is not var (label, key))
        {
            return KeyMatch.Unreadable;
        }

        var isEncrypted = label == EncryptedKeyLabel || key.Contains("Proc-Type: 4,ENCRYPTED", StringComparison.Ordinal);
        if (isEncrypted && password is null)
        {
            return hasPassword ? KeyMatch.Same : KeyMatch.Locked;
        }

        using var rsa = certificate.GetRSAPublicKey();
        using var ecdsa = certificate.GetECDsaPublicKey();
        return rsa is not null ? Compare(RSA.Create(), key, isEncrypted, password, certificate)
            : ecdsa is not null ? Compare(ECDsa.Create(), key, isEncrypted, password, certificate)
            : KeyMatch.Same;
    }

    private static (string Label, string Pem)? FindKey(string pem)
    {
        var rest = pem.AsSpan();
        while (PemEncoding.TryFind(rest, out var fields))
        {
            var label = rest[fields.Label].ToString();
            if (KeyLabels.Contains(label))
            {
                return (label, rest[fields.Location].ToString());
            }

            rest = rest[fields.Location.End..];
        }

        return null;
    }

    private static KeyMatch Compare(
        AsymmetricAlgorithm algorithm,
        string key,
        bool isEncrypted,
        string? password,
        X509Certificate2 certificate
    )
    {
        using (algorithm)
        {
            try
            {
                if (isEncrypted)
                {
                    algorithm.ImportFromEncryptedPem(key, password);
                }
                else
                {
                    algorithm.ImportFromPem(key);
                }

                return algorithm.ExportSubjectPublicKeyInfo().AsSpan().SequenceEqual(certificate.PublicKey.ExportSubjectPublicKeyInfo())
                    ? KeyMatch.Same
                    : KeyMatch.Different;
            }
            catch (Exception e) when (e is CryptographicException or ArgumentException)
            {
                // A whole key of another kind is no less readable: RSA beside an ECDSA certificate.
                return isEncrypted ? KeyMatch.Locked
                    : IsKeyOfOtherKind(algorithm, key) ? KeyMatch.Different
                    : KeyMatch.Unreadable;
            }
        }
    }

    private static bool IsKeyOfOtherKind(AsymmetricAlgorithm algorithm, string key)
    {
        using AsymmetricAlgorithm other = algorithm is RSA ? ECDsa.Create() : RSA.Create();
        try
        {
            other.ImportFromPem(key);
            return true;
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            return false;
        }
    }
}
