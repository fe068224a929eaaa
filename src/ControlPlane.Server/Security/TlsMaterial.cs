using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Numerics;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace ControlPlane.Server.Security;

/// <summary>
/// A listener's certificate, key and, if clients must show a certificate, their authorities. Follows its files; while they are broken or do not belong together
/// (the first of two was replaced), what was read last stays in force. New connections use what is new; open ones stay.
/// </summary>
internal sealed partial class TlsMaterial : IDisposable
{
    // Extended key usage id-kp-clientAuth (RFC 5280, 4.2.1.12).
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";

    // Extended key usage id-kp-serverAuth.
    private const string ServerAuthentication = "1.3.6.1.5.5.7.3.1";

    /// <summary>Clients that are told apart in the log, by name and fault.</summary>
    private const int MaxRefused = 1000;

    private readonly string _certFile;
    private readonly string _keyFile;
    private readonly string? _clientCaFile;
    private readonly ILogger<TlsMaterial> _logger;
    private readonly string _name;
    private readonly ConcurrentDictionary<(string Subject, string Reason), int> _refused = [];
    private readonly FileWatch _watch;
    private Loaded _loaded;

    /// <summary>Reads the files.</summary>
    /// <param name="name">The beginning of the flags that name them, for messages: <c>--admin</c>, <c>--xds</c> or <c>--peer</c>.</param>
    /// <param name="certFile">PEM: the chain, leaf first.</param>
    /// <param name="keyFile">PEM: the private key.</param>
    /// <param name="clientCaFile">PEM: authorities of clients; null asks clients for no certificate.</param>
    /// <param name="time">Clock of the watch over the files.</param>
    /// <param name="logger">Told of each renewal, and of each that failed.</param>
    /// <exception cref="StartupException">A file cannot be read or used.</exception>
    public TlsMaterial(string name, string certFile, string keyFile, string? clientCaFile, TimeProvider time, ILogger<TlsMaterial> logger)
    {
        (_name, _certFile, _keyFile, _clientCaFile, _logger) = (name, certFile, keyFile, clientCaFile, logger);
        try
        {
            _loaded = Load();
        }
        catch (Exception e) when (IsFault(e))
        {
            throw new StartupException(
                $"{name}-tls-cert {certFile} with its key{(clientCaFile is null ? "" : $" and {name}-client-ca")} cannot be used: {Explain(e)}",
                e
            );
        }

        _watch = new FileWatch(clientCaFile is null ? [certFile, keyFile] : [certFile, keyFile, clientCaFile], time, Reload);
    }

    private sealed record Loaded(SslStreamCertificateContext Certificate, X509ChainPolicy? ClientPolicy, X509ChainPolicy? ServerPolicy);

    /// <summary>What a handshake that begins now uses. Fresh, because its user may fill in the rest.</summary>
    /// <param name="peer">The client's address.</param>
    public SslServerAuthenticationOptions CreateOptions(EndPoint? peer)
    {
        var loaded = Volatile.Read(ref _loaded);
        return new SslServerAuthenticationOptions
        {
            RemoteCertificateValidationCallback = loaded.ClientPolicy is null
                ? null
                : (_, certificate, chain, errors) => Accepts(peer, certificate, chain, errors),
            ServerCertificateContext = loaded.Certificate,
            EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            ClientCertificateRequired = loaded.ClientPolicy is not null,
            CertificateChainPolicy = loaded.ClientPolicy,
            // A resumed session would outlive the authority that its certificate was checked against.
            AllowTlsResume = loaded.ClientPolicy is null,
        };
    }

    /// <summary>The same as a client of a server that the authorities have signed, and that is to be the host that is asked for.</summary>
    public SslClientAuthenticationOptions CreateClientOptions()
    {
        var loaded = Volatile.Read(ref _loaded);
        return new SslClientAuthenticationOptions
        {
            ClientCertificateContext = loaded.Certificate,
            EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            CertificateChainPolicy = loaded.ServerPolicy,
            ApplicationProtocols = [SslApplicationProtocol.Http2],
        };
    }

    public void Dispose() => _watch.Dispose();

    private bool Accepts(EndPoint? peer, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        if (errors == SslPolicyErrors.None)
        {
            return true;
        }

        var reason = certificate is null
            ? "it shows none"
            : string.Join("; ", (chain?.ChainStatus ?? []).Select(s => s.StatusInformation.Trim().TrimEnd('.')).Distinct());
        var who = certificate?.Subject is { Length: > 0 } subject ? subject : "no name";
        // Who is refused comes again for ever: it is told ever more seldom.
        if (_refused.Count < MaxRefused && BitOperations.IsPow2(_refused.AddOrUpdate((who, reason), 1, (_, attempts) => attempts + 1)))
        {
            LogDenied(_name, peer?.ToString() ?? "", who, _refused[(who, reason)], reason);
        }

        return false;
    }

    private void Reload()
    {
        try
        {
            var loaded = Load();
            Volatile.Write(ref _loaded, loaded);
            LogRenewed(_certFile, loaded.Certificate.TargetCertificate.NotAfter.ToUniversalTime());
        }
        catch (Exception e) when (IsFault(e))
        {
            LogBroken(_certFile, Explain(e));
        }
    }

    private Loaded Load()
    {
        var chain = new X509Certificate2Collection();
        chain.ImportFromPemFile(_certFile);
        if (chain.Count == 0)
        {
            throw new CryptographicException($"{_certFile} holds no certificate.");
        }

        chain.RemoveAt(0);
        var leaf = X509Certificate2.CreateFromPemFile(_certFile, _keyFile);
        return new Loaded(
            SslStreamCertificateContext.Create(leaf, chain, offline: true),
            _clientCaFile is null ? null : Policy(_clientCaFile, ClientAuthentication),
            _clientCaFile is null ? null : Policy(_clientCaFile, ServerAuthentication)
        );
    }

    private static X509ChainPolicy Policy(string caFile, string usage)
    {
        var authorities = new X509Certificate2Collection();
        authorities.ImportFromPemFile(caFile);
        if (authorities.Count == 0)
        {
            throw new CryptographicException($"{caFile} holds no certificate.");
        }

        var policy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
            DisableCertificateDownloads = true,
        };
        policy.CustomTrustStore.AddRange(authorities);
        policy.ApplicationPolicy.Add(new Oid(usage));
        return policy;
    }

    private static bool IsFault(Exception e) =>
        e is IOException or UnauthorizedAccessException or CryptographicException or ArgumentException;

    // The library's words for a key that does not belong to the certificate, or is no key, differ by algorithm and say little.
    private static string Explain(Exception e) =>
        e is ArgumentException ? "the key is not the private key of the first certificate, or is encrypted." : e.Message;

    [LoggerMessage(5003, LogLevel.Information, "Certificate {File} renewed; it is valid until {NotAfter:yyyy-MM-dd'T'HH:mm:ss'Z'}")]
    private partial void LogRenewed(string file, DateTime notAfter);

    [LoggerMessage(
        5006,
        LogLevel.Warning,
        "A client at {Peer} is denied by {Listener}-client-ca, {Attempts} times so far: its certificate ({Subject}) is not accepted: {Reason}"
    )]
    private partial void LogDenied(string listener, string peer, string subject, int attempts, string reason);

    [LoggerMessage(5004, LogLevel.Error, "Certificate {File} cannot be renewed and the one read before stays in force: {Reason}")]
    private partial void LogBroken(string file, string reason);
}
