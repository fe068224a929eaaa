using System.Security.Cryptography.X509Certificates;
using Envoy.Config.Core.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using static ControlPlane.Core.Compilation.Rules.SemanticRules;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>Certificates, keys and what is verified with them. Files and variables of the proxy cannot be looked into from here. No message ever holds a key.</summary>
internal static class TlsRules
{
    /// <summary>The code of a client that would trust any server.</summary>
    public const string UnverifiedPeer = "peer-unverified";

    private const int MinRsaBits = 2048;

    public static IEnumerable<MessageRule> All() =>
        [
            On<TlsCertificate>(CheckCertificate),
            On<CertificateValidationContext>(CheckValidation),
            On<DownstreamTlsContext>(CheckServer),
            On<UpstreamTlsContext>(
                (m, path) =>
                {
                    if (!IsVerified(m.CommonTlsContext))
                    {
                        path.Warning(
                            "/commonTlsContext",
                            UnverifiedPeer,
                            "Nothing says which certificates to trust, and Envoy then trusts every one. Give a validation context with trustedCa or a secret, or say trustChainVerification: ACCEPT_UNTRUSTED there if that is meant."
                        );
                    }

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

    /// <summary>Whether a client verifies whom it speaks to, or says that it does not want to.</summary>
    private static bool IsVerified(CommonTlsContext? common) =>
        common?.ValidationContextTypeCase switch
        {
            null or CommonTlsContext.ValidationContextTypeOneofCase.None => false,
            CommonTlsContext.ValidationContextTypeOneofCase.ValidationContext => IsVerified(common.ValidationContext),
            CommonTlsContext.ValidationContextTypeOneofCase.CombinedValidationContext => common
                .CombinedValidationContext
                .ValidationContextSdsSecretConfig
                is not null
                || IsVerified(common.CombinedValidationContext.DefaultValidationContext),
            _ => true,
        };

    // Envoy does not implement system_root_certs.
    private static bool IsVerified(CertificateValidationContext? context) =>
        context is not null
        && (
            context.TrustedCa is not null
            || context.CaCertificateProviderInstance is not null
            || context.VerifyCertificateHash.Count > 0
            || context.VerifyCertificateSpki.Count > 0
            || context.CustomValidatorConfig is not null
            || context.TrustChainVerification == CertificateValidationContext.Types.TrustChainVerification.AcceptUntrusted
        );

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
        else if (Pem.ReadCertificates(pem) is { Count: > 0 } certificates)
        {
            Pem.Dispose(certificates);
        }
        else
        {
            path.Error(
                "/trustedCa",
                "invalid-certificate",
                "The CA cannot be read: each block must be a whole certificate in PEM (-----BEGIN CERTIFICATE-----)."
            );
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
        if (Pem.ReadCertificates(chain) is not { Count: > 0 } certificates)
        {
            path.Error(
                "/certificateChain",
                "invalid-certificate",
                "The certificate chain cannot be read: each block must be a whole certificate in PEM, the server's own first."
            );
            return;
        }

        var leaf = certificates[0];
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

        if (
            certificate.OcspStaple?.SpecifierCase == DataSource.SpecifierOneofCase.InlineBytes
            && OcspStaple.Explain(certificate.OcspStaple.InlineBytes.Memory, leaf) is { } fault
        )
        {
            path.Error("/ocspStaple", "invalid-ocsp-staple", fault);
        }

        if (InlineText(certificate.PrivateKey) is { } key && !Pem.IsEd25519(leaf))
        {
            CheckKey(leaf, key, certificate.Password, path);
        }

        Pem.Dispose(certificates);
    }

    private static void CheckKey(X509Certificate2 leaf, string pem, DataSource? passwordSource, MessagePath path)
    {
        if (Pem.FirstPrivateKey(pem) is not var (label, key))
        {
            path.Error(
                "/privateKey",
                "invalid-private-key",
                "The private key cannot be read: it must be a key in PEM (-----BEGIN PRIVATE KEY-----)."
            );
            return;
        }

        var isEncrypted = label.StartsWith("ENCRYPTED", StringComparison.Ordinal);
        var password = InlineText(passwordSource);
        if (isEncrypted && password is null && passwordSource is not null)
        {
            // The password is in a file of the proxy.
            return;
        }

        if (isEncrypted && password is null)
        {
            path.Error(
                "/privateKey",
                "encrypted-private-key",
                "The private key is encrypted, and there is no password. Give password, or an unencrypted key."
            );
        }
        else if (Pem.PublicKeyOf(key, isEncrypted ? password : null) is not { } publicKey)
        {
            path.Error(
                "/privateKey",
                isEncrypted ? "encrypted-private-key" : "invalid-private-key",
                isEncrypted
                    ? "The private key cannot be decrypted: the password is wrong, or the key is damaged."
                    : "The private key cannot be read: it must be RSA or ECDSA, in PEM."
            );
        }
        else if (!publicKey.AsSpan().SequenceEqual(leaf.PublicKey.ExportSubjectPublicKeyInfo()))
        {
            path.Error(
                "/privateKey",
                "key-mismatch",
                "The private key does not belong to the certificate. Give the key that the certificate was issued for."
            );
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
}
