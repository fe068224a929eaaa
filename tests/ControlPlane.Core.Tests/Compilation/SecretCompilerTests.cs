using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Tests.Compilation;

public sealed class SecretCompilerTests
{
    private static readonly DateTimeOffset Now = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private readonly ProblemCollector _problems = new();

    [Fact]
    public void A_certificate_is_sent_with_its_key_inside()
    {
        using var key = RSA.Create(2048);
        var (chain, pem) = (CertificateOf(key), key.ExportPkcs8PrivateKeyPem());
        var secret = Compile(new SecretSpec { Certificate = Certificate(chain, pem) });
        Assert.Empty(_problems.Problems);
        Assert.Equal("edge", secret!.Name);
        Assert.Equal(chain, secret.TlsCertificate.CertificateChain.InlineBytes.ToStringUtf8());
        Assert.Equal(pem, secret.TlsCertificate.PrivateKey.InlineBytes.ToStringUtf8());
    }

    [Fact]
    public void Keys_are_taken_in_every_PEM_form_that_Envoy_takes()
    {
        using var rsa = RSA.Create(2048);
        using var ecdsa = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        foreach (
            var (chain, pem) in new[]
            {
                (CertificateOf(rsa), rsa.ExportPkcs8PrivateKeyPem()),
                (CertificateOf(rsa), rsa.ExportRSAPrivateKeyPem()),
                (CertificateOf(ecdsa), ecdsa.ExportPkcs8PrivateKeyPem()),
                (CertificateOf(ecdsa), ecdsa.ExportECPrivateKeyPem()),
                (
                    CertificateOf(ecdsa),
                    "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + ecdsa.ExportECPrivateKeyPem()
                ),
            }
        )
        {
            Assert.NotNull(Compile(new SecretSpec { Certificate = Certificate(chain, pem) }));
        }
        Assert.Empty(_problems.Problems);
    }

    [Fact]
    public void The_key_of_another_certificate_is_refused()
    {
        using var one = RSA.Create(2048);
        using var other = RSA.Create(2048);
        Refused("private-key-mismatch", "/spec/certificate/privateKey", Certificate(CertificateOf(one), other.ExportPkcs8PrivateKeyPem()));
    }

    [Fact]
    public void A_staple_that_is_no_OCSP_response_is_refused()
    {
        using var key = RSA.Create(2048);
        var certificate = Certificate(CertificateOf(key), key.ExportPkcs8PrivateKeyPem());
        Refused(
            "invalid-ocsp-staple",
            "/spec/certificate/ocspStaple",
            certificate with
            {
                OcspStaple = new SecretSource { Inline = "hello" },
            }
        );
    }

    [Fact]
    public void The_key_must_be_that_of_the_first_certificate()
    {
        using var leaf = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var intermediate = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var key = leaf.ExportPkcs8PrivateKeyPem();
        Assert.NotNull(
            Compile(new SecretSpec { Certificate = Certificate(CertificateOf(leaf) + "\n" + CertificateOf(intermediate), key) })
        );
        Refused(
            "private-key-mismatch",
            "/spec/certificate/privateKey",
            Certificate(CertificateOf(intermediate) + "\n" + CertificateOf(leaf), key)
        );
    }

    [Fact]
    public void An_encrypted_key_needs_its_password_and_no_other()
    {
        using var key = RSA.Create(2048);
        var pem = key.ExportEncryptedPkcs8PrivateKeyPem(
            "right",
            new PbeParameters(PbeEncryptionAlgorithm.Aes256Cbc, HashAlgorithmName.SHA256, 10)
        );
        var certificate = Certificate(CertificateOf(key), pem);
        Refused("password-required", "/spec/certificate/privateKey", certificate);
        Refused("private-key-undecodable", "/spec/certificate/privateKey", certificate with { Password = Inline("wrong") });
        var secret = Compile(new SecretSpec { Certificate = certificate with { Password = Inline("right\n") } });
        Assert.Equal("right", secret!.TlsCertificate.Password.InlineBytes.ToStringUtf8());
    }

    [Fact]
    public void What_is_no_certificate_or_no_key_is_refused()
    {
        using var key = RSA.Create(2048);
        using var weak = RSA.Create(1024);
        using var curve = ECDsa.Create(ECCurve.NamedCurves.brainpoolP256r1);
        var (chain, pem) = (CertificateOf(key), key.ExportPkcs8PrivateKeyPem());
        Refused("certificate-missing", "/spec/certificate/chain", Certificate("nothing", pem));
        Refused("certificate-missing", "/spec/certificate/chain", Certificate(pem, pem));
        Refused("certificate-invalid", "/spec/certificate/chain", Certificate(chain.Replace("MII", "MIJ", StringComparison.Ordinal), pem));
        Refused("private-key-missing", "/spec/certificate/privateKey", Certificate(chain, chain));
        Refused("private-key-ambiguous", "/spec/certificate/privateKey", Certificate(chain, pem + "\n" + pem));
        Refused(
            "private-key-invalid",
            "/spec/certificate/privateKey",
            Certificate(chain, pem.Replace("MII", "MIJ", StringComparison.Ordinal))
        );
        Refused("key-unsupported", "/spec/certificate/chain", Certificate(CertificateOf(curve), curve.ExportPkcs8PrivateKeyPem()));
        Refused(
            "private-key-old-encryption",
            "/spec/certificate/privateKey",
            Certificate(
                chain,
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----"
            )
        );
        Refused("key-too-short", "/spec/certificate/chain", Certificate(CertificateOf(weak), weak.ExportPkcs8PrivateKeyPem()));
    }

    [Fact]
    public void An_Ed25519_certificate_is_sent_with_a_warning()
    {
        using var issuer = RSA.Create(2048);
        var request = new CertificateRequest(
            new X500DistinguishedName("CN=edge.example.com"),
            new PublicKey(new Oid("1.3.101.112"), null, new AsnEncodedData(new byte[32])),
            HashAlgorithmName.SHA256
        );
        using var certificate = request.Create(
            request.SubjectName,
            X509SignatureGenerator.CreateForRSA(issuer, RSASignaturePadding.Pkcs1),
            Now.AddDays(-1),
            Now.AddDays(365),
            [1]
        );
        var (chain, key) = (certificate.ExportCertificatePem(), PemEncoding.WriteString("PRIVATE KEY", new byte[48]));
        Assert.NotNull(Compile(new SecretSpec { Certificate = Certificate(chain, key) }));
        Assert.Equal("key-not-checked", Assert.Single(_problems.Problems).Code);
    }

    [Theory]
    [InlineData(-2, "certificate-expired")]
    [InlineData(5, "certificate-expires-soon")]
    public void A_certificate_at_its_end_is_sent_with_a_warning(int daysLeft, string code)
    {
        using var key = RSA.Create(2048);
        var chain = CertificateOf(key, Now.AddDays(-90), Now.AddDays(daysLeft));
        Assert.NotNull(Compile(new SecretSpec { Certificate = Certificate(chain, key.ExportPkcs8PrivateKeyPem()) }));
        var warning = Assert.Single(_problems.Problems);
        Assert.Equal((code, ProblemSeverity.Warning), (warning.Code, warning.Severity));
    }

    [Fact]
    public void A_certificate_of_the_future_is_sent_with_a_warning()
    {
        using var key = RSA.Create(2048);
        var chain = CertificateOf(key, Now.AddDays(1), Now.AddDays(90));
        Assert.NotNull(Compile(new SecretSpec { Certificate = Certificate(chain, key.ExportPkcs8PrivateKeyPem()) }));
        Assert.Equal("certificate-not-yet-valid", Assert.Single(_problems.Problems).Code);
    }

    [Fact]
    public void A_bundle_of_CAs_is_sent_whole()
    {
        using var one = RSA.Create(2048);
        using var two = RSA.Create(2048);
        var bundle = CertificateOf(one, authority: true) + "\n# a comment\n" + CertificateOf(two, authority: true);
        var secret = Compile(new SecretSpec { ValidationContext = new ValidationContextSpec { Ca = Inline(bundle) } });
        Assert.Empty(_problems.Problems);
        Assert.Equal(bundle, secret!.ValidationContext.TrustedCa.InlineBytes.ToStringUtf8());
    }

    [Fact]
    public void A_server_certificate_among_the_CAs_is_pointed_out()
    {
        using var key = RSA.Create(2048);
        Assert.NotNull(Compile(new SecretSpec { ValidationContext = new ValidationContextSpec { Ca = Inline(CertificateOf(key)) } }));
        Assert.Equal("not-a-ca", Assert.Single(_problems.Problems).Code);
    }

    [Fact]
    public void A_revocation_list_must_be_one()
    {
        using var key = RSA.Create(2048);
        using var authority = X509Certificate2.CreateFromPem(CertificateOf(key, authority: true), key.ExportPkcs8PrivateKeyPem());
        var list = new CertificateRevocationListBuilder().Build(
            authority,
            System.Numerics.BigInteger.One,
            Now.AddDays(30),
            HashAlgorithmName.SHA256,
            RSASignaturePadding.Pkcs1
        );
        var context = new ValidationContextSpec { Ca = Inline(CertificateOf(key, authority: true)) };
        var good = context with { Crl = Inline(PemEncoding.WriteString("X509 CRL", list)) };
        Assert.NotNull(Compile(new SecretSpec { ValidationContext = good })!.ValidationContext.Crl);
        Assert.Null(Compile(new SecretSpec { ValidationContext = context with { Crl = context.Ca } }));
        Assert.Contains(_problems.Problems, p => p.Code == "crl-missing");
    }

    [Fact]
    public void A_session_ticket_key_has_80_bytes()
    {
        var (good, bad) = (new SecretSource { File = "good" }, new SecretSource { File = "bad" });
        var material = new SecretMaterial(
            ImmutableDictionary<SecretSource, ReadOnlyMemory<byte>>.Empty.Add(good, new byte[80]).Add(bad, new byte[79]),
            []
        );
        var secret = SecretCompiler.Compile("edge", new SecretSpec { SessionTicketKeys = [good, good] }, material, Now, _problems);
        Assert.Equal(2, secret!.SessionTicketKeys.Keys.Count);
        Assert.Null(SecretCompiler.Compile("edge", new SecretSpec { SessionTicketKeys = [good, bad] }, material, Now, _problems));
        Assert.Equal(("ticket-key-size", "/spec/sessionTicketKeys/1"), (_problems.Problems[0].Code, _problems.Problems[0].Pointer));
    }

    [Fact]
    public void A_generic_secret_is_its_bytes() =>
        Assert.Equal("token", Compile(new SecretSpec { Generic = Inline("token") })!.GenericSecret.Secret.InlineBytes.ToStringUtf8());

    [Fact]
    public void What_could_not_be_read_is_the_problem_and_nothing_is_sent()
    {
        var missing = new ValidationProblem("/spec/generic/file", "secret-file-missing", "There is no such file.");
        var material = new SecretMaterial(ImmutableDictionary<SecretSource, ReadOnlyMemory<byte>>.Empty, [missing]);
        Assert.Null(SecretCompiler.Compile("edge", new SecretSpec { Generic = new SecretSource { File = "x" } }, material, Now, _problems));
        Assert.Equal([missing], _problems.Problems);
    }

    [Fact]
    public void A_secret_prints_no_value_of_its_own()
    {
        var spec = new SecretSpec { Generic = Inline("hunter2"), Certificate = Certificate("hunter2", "hunter2") };
        Assert.DoesNotContain("hunter2", spec.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", new PlacedSecretSource("/spec/generic", spec.Generic).ToString(), StringComparison.Ordinal);
    }

    private Envoy.Extensions.TransportSockets.Tls.V3.Secret? Compile(SecretSpec spec) =>
        SecretCompiler.Compile("edge", spec, SecretMaterial.InlineOnly, Now, _problems);

    private static void Refused(string code, string pointer, CertificateSpec certificate)
    {
        var problems = new ProblemCollector();
        Assert.Null(SecretCompiler.Compile("edge", new SecretSpec { Certificate = certificate }, SecretMaterial.InlineOnly, Now, problems));
        Assert.Contains(problems.Problems, p => p.Code == code && p.Pointer == pointer && p.Severity == ProblemSeverity.Error);
        var value = certificate.PrivateKey.Inline!;
        foreach (var line in value.Split('\n').Where(l => l.Length > 20 && !l.StartsWith('-')))
        {
            Assert.DoesNotContain(problems.Problems, p => p.Message.Contains(line, StringComparison.Ordinal));
        }
    }

    private static SecretSource Inline(string value) => new() { Inline = value };

    private static CertificateSpec Certificate(string chain, string key) => new() { Chain = Inline(chain), PrivateKey = Inline(key) };

    private static string CertificateOf(
        AsymmetricAlgorithm key,
        DateTimeOffset? from = null,
        DateTimeOffset? until = null,
        bool authority = false
    )
    {
        var request = key is RSA rsa
            ? new CertificateRequest("CN=edge.example.com", rsa, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1)
            : new CertificateRequest("CN=edge.example.com", (ECDsa)key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(authority, false, 0, critical: true));
        if (authority)
        {
            request.CertificateExtensions.Add(
                new X509KeyUsageExtension(X509KeyUsageFlags.CrlSign | X509KeyUsageFlags.KeyCertSign, critical: true)
            );
            request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        }
        using var certificate = request.CreateSelfSigned(from ?? Now.AddDays(-1), until ?? Now.AddDays(365));
        return certificate.ExportCertificatePem();
    }
}
