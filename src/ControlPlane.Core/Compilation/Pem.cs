using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace ControlPlane.Core.Compilation;

/// <summary>Reads certificates and keys in PEM (RFC 7468), as strictly as Envoy does.</summary>
internal static class Pem
{
    private const string CertificateLabel = "CERTIFICATE";
    private const string KeyLabel = "PRIVATE KEY";

    /// <summary>The labels of all blocks, in order.</summary>
    public static IEnumerable<string> Labels(string pem)
    {
        var rest = pem.AsMemory();
        while (PemEncoding.TryFind(rest.Span, out var fields))
        {
            yield return rest[fields.Label].ToString();
            rest = rest[fields.Location.End..];
        }
    }

    /// <summary>Reads all certificates, which may be none; null where one is damaged. The caller disposes them.</summary>
    public static X509Certificate2Collection? ReadCertificates(string pem)
    {
        var certificates = new X509Certificate2Collection();
        try
        {
            certificates.ImportFromPem(pem);
            // Blocks that are not base64 were passed over.
            if (certificates.Count == pem.AsSpan().Count($"-----BEGIN {CertificateLabel}-----"))
            {
                return certificates;
            }
        }
        catch (CryptographicException)
        {
            // Not a certificate inside.
        }

        Dispose(certificates);
        return null;
    }

    /// <summary>The first private key of a text, alone; null where there is none. Its label says whether it is encrypted.</summary>
    public static (string Label, string Text)? FirstPrivateKey(string pem)
    {
        var rest = pem.AsSpan();
        while (PemEncoding.TryFind(rest, out var fields))
        {
            if (rest[fields.Label].EndsWith(KeyLabel))
            {
                return (rest[fields.Label].ToString(), rest[fields.Location].ToString());
            }

            rest = rest[fields.Location.End..];
        }

        return null;
    }

    /// <summary>The public half of an RSA or ECDSA private key, as it stands in certificates; null for a key of another kind, a damaged one, or a wrong password.</summary>
    public static byte[]? PublicKeyOf(string privateKey, string? password)
    {
        using var rsa = RSA.Create();
        using var ecdsa = ECDsa.Create();
        return PublicKeyAs(rsa, privateKey, password) ?? PublicKeyAs(ecdsa, privateKey, password);
    }

    /// <summary>Whether a certificate's key is of a kind that can be compared here; Ed25519 is not.</summary>
    public static bool IsEd25519(X509Certificate2 certificate) => certificate.PublicKey.Oid.Value == "1.3.101.112";

    /// <summary>Disposes certificates.</summary>
    public static void Dispose(X509Certificate2Collection certificates)
    {
        foreach (var certificate in certificates)
        {
            certificate.Dispose();
        }
    }

    private static byte[]? PublicKeyAs(AsymmetricAlgorithm key, string pem, string? password)
    {
        try
        {
            if (password is null)
            {
                key.ImportFromPem(pem);
            }
            else
            {
                key.ImportFromEncryptedPem(pem, password);
            }

            return key.ExportSubjectPublicKeyInfo();
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            // Of another kind, damaged, or another password: the caller says which.
            return null;
        }
    }
}
