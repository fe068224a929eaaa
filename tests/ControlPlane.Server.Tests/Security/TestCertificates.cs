using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace ControlPlane.Server.Tests.Security;

/// <summary>A certificate authority that lives as long as a test.</summary>
internal sealed class TestCertificates : IDisposable
{
    private readonly X509Certificate2 _authority;

    public TestCertificates()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=Test CA", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        _authority = request.CreateSelfSigned(TimeProvider.System.GetUtcNow().AddDays(-1), TimeProvider.System.GetUtcNow().AddDays(2));
    }

    public string AuthorityPem => _authority.ExportCertificatePem();

    public void Dispose() => _authority.Dispose();

    /// <summary>Issues a certificate for server and client use.</summary>
    /// <param name="names">Its names.</param>
    /// <param name="subject">Its subject.</param>
    /// <param name="ends">When it ends, counted from now.</param>
    public (string Certificate, string Key) Issue(
        Action<SubjectAlternativeNameBuilder> names,
        string subject = "CN=test",
        TimeSpan? ends = null
    )
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(subject, key, HashAlgorithmName.SHA256);
        var builder = new SubjectAlternativeNameBuilder();
        names(builder);
        request.CertificateExtensions.Add(builder.Build());
        request.CertificateExtensions.Add(
            new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1"), new Oid("1.3.6.1.5.5.7.3.2")], false)
        );
        var now = TimeProvider.System.GetUtcNow();
        using var certificate = request.Create(
            _authority,
            now.AddHours(-3),
            now + (ends ?? TimeSpan.FromDays(1)),
            RandomNumberGenerator.GetBytes(8)
        );
        return (certificate.ExportCertificatePem(), key.ExportPkcs8PrivateKeyPem());
    }

    /// <summary>Issues a certificate and loads it with its key.</summary>
    public X509Certificate2 IssueLoaded(Action<SubjectAlternativeNameBuilder> names, string subject = "CN=test", TimeSpan? ends = null)
    {
        var (certificate, key) = Issue(names, subject, ends);
        return X509Certificate2.CreateFromPem(certificate, key);
    }
}
