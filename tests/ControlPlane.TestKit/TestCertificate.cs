using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace ControlPlane.TestKit;

/// <summary>Certificates for tests, made when they are needed.</summary>
public static class TestCertificate
{
    /// <summary>Writes a self-signed certificate and its key as <c>tls.crt</c> and <c>tls.key</c>, each replaced by a rename.</summary>
    /// <returns>Its thumbprint.</returns>
    public static string Write(string folder, string subject)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(subject, key, HashAlgorithmName.SHA256);
        var now = TimeProvider.System.GetUtcNow();
        using var certificate = request.CreateSelfSigned(now.AddDays(-1), now.AddDays(30));
        Replace(Path.Combine(folder, "tls.crt"), certificate.ExportCertificatePem());
        Replace(Path.Combine(folder, "tls.key"), key.ExportPkcs8PrivateKeyPem());
        return certificate.Thumbprint;
    }

    /// <summary>Thumbprint of the certificate that a loopback port serves; null where no handshake succeeds.</summary>
    public static async Task<string?> ServedAsync(int port)
    {
        try
        {
            using var socket = new TcpClient();
            await socket.ConnectAsync(IPAddress.Loopback, port);
            string? thumbprint = null;
            // What is served is looked at, whoever signed it.
#pragma warning disable CA5359
            await using var tls = new SslStream(
                socket.GetStream(),
                leaveInnerStreamOpen: false,
                (_, certificate, _, _) =>
                {
                    thumbprint = certificate is null ? null : new X509Certificate2(certificate).Thumbprint;
                    return true;
                }
            );
#pragma warning restore CA5359
            await tls.AuthenticateAsClientAsync("edge.test");
            return thumbprint;
        }
        catch (Exception e) when (e is SocketException or IOException or System.Security.Authentication.AuthenticationException)
        {
            return null;
        }
    }

    private static void Replace(string path, string text)
    {
        File.WriteAllText(path + ".new", text);
        File.Move(path + ".new", path, overwrite: true);
    }
}
