using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>One handshake: what is offered, and whether the peer's certificate is one that proxies would accept.</summary>
internal sealed class TlsHandshake
{
    // A wrong signature is that of another CA of the same name.
    private const X509ChainStatusFlags NotTrusted =
        X509ChainStatusFlags.PartialChain | X509ChainStatusFlags.UntrustedRoot | X509ChainStatusFlags.NotSignatureValid;

    private readonly ProbeTls _wanted;
    private readonly TimeProvider _time;

    public TlsHandshake(ProbeTls wanted, TimeProvider time)
    {
        _wanted = wanted;
        _time = time;
        Options = new SslClientAuthenticationOptions
        {
            // Empty sends no server name.
            TargetHost = wanted.Spec.Sni ?? "",
            EnabledSslProtocols = Versions(wanted.Spec),
            ApplicationProtocols = wanted.Alpn.IsEmpty ? null : [.. wanted.Alpn.Select(p => new SslApplicationProtocol(p))],
            RemoteCertificateValidationCallback = (_, certificate, chain, _) => Accepts(certificate as X509Certificate2, chain),
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            ClientCertificateContext = wanted.Certificate is { } own
                ? SslStreamCertificateContext.Create(own, wanted.Intermediates, offline: true)
                : null,
            AllowTlsResume = false,
        };
        if (wanted.Certificate is null)
        {
            Options.LocalCertificateSelectionCallback = (_, _, _, peer, _) =>
            {
                // It is asked for before the handshake, too, when no peer can have asked.
                IsCertificateMissing |= peer is not null;
                return null!;
            };
        }
    }

    /// <summary>The peer has asked for a certificate, and there is none to present.</summary>
    public bool IsCertificateMissing { get; private set; }

    public SslClientAuthenticationOptions Options { get; }

    /// <summary>Why the peer's certificate was refused; null if it was not.</summary>
    public ProbeOutcome? Refusal { get; private set; }

    /// <summary>When the peer's certificate ends.</summary>
    public DateTime? CertificateEnds { get; private set; }

    private bool Accepts(X509Certificate2? certificate, X509Chain? sent)
    {
        if (certificate is null)
        {
            return Refuse("the endpoint presents no certificate");
        }
        if (_wanted.Spec.InsecureSkipVerify)
        {
            return true;
        }
        CertificateEnds = certificate.NotAfter.ToUniversalTime();
        var now = _time.GetUtcNow().UtcDateTime;
        if (CertificateEnds < now)
        {
            return Refuse(Expired(CertificateEnds.Value));
        }
        if (certificate.NotBefore.ToUniversalTime() > now)
        {
            return Refuse($"the certificate is not valid before {Moment(certificate.NotBefore)}");
        }
        using var chain = new X509Chain();
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.VerificationTimeIgnored = false;
        chain.ChainPolicy.VerificationTime = now;
        chain.ChainPolicy.DisableCertificateDownloads = true;
        if (_wanted.TrustedCas is { } trusted)
        {
            chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
            chain.ChainPolicy.CustomTrustStore.AddRange(trusted);
            // As Envoy does: a CA that is trusted need not be a root.
            chain.ChainPolicy.VerificationFlags = X509VerificationFlags.AllowUnknownCertificateAuthority;
        }
        if (sent is not null)
        {
            // What the peer sent besides its own certificate.
            chain.ChainPolicy.ExtraStore.AddRange(sent.ChainPolicy.ExtraStore);
        }
        if (!chain.Build(certificate))
        {
            return Refuse(ChainFault(chain));
        }
        if (
            _wanted.TrustedCas is { } cas
            && !chain.ChainElements.Any(e => cas.Any(ca => ca.RawDataMemory.Span.SequenceEqual(e.Certificate.RawDataMemory.Span)))
        )
        {
            return Refuse("the certificate was issued by a CA that is not trusted");
        }
        return Names(certificate) || Refuse($"the certificate is for {NamesOf(certificate)}, not for {WantedNames()}");
    }

    public static string Expired(DateTime ended) => $"the certificate expired on {Moment(ended)}";

    private static string Moment(DateTime at) => at.ToUniversalTime().ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture) + " UTC";

    private bool Refuse(string reason)
    {
        Refusal = new ProbeOutcome(FailureClass.Tls, reason);
        return false;
    }

    private static string ChainFault(X509Chain chain)
    {
        var faults = chain.ChainStatus.Aggregate(X509ChainStatusFlags.NoError, (all, status) => all | status.Status);
        return faults.HasFlag(X509ChainStatusFlags.NotTimeValid) ? "a CA certificate of the chain has expired"
            : (faults & NotTrusted) != X509ChainStatusFlags.NoError ? "the certificate was issued by a CA that is not trusted"
            : $"the certificate does not verify: {faults}";
    }

    private bool Names(X509Certificate2 certificate)
    {
        var names = _wanted.SubjectAltNames;
        var held = SubjectAltNames.Of(certificate);
        return names.IsEmpty || names.Any(name => held.Any(h => h.Matches(name)));
    }

    private string WantedNames() => string.Join(" or ", _wanted.SubjectAltNames.Select(n => n.Dns ?? n.Uri ?? n.Ip ?? n.UriPrefix + "…"));

    private static string NamesOf(X509Certificate2 certificate)
    {
        var names = SubjectAltNames.Of(certificate);
        return names.Count == 0 ? "no name at all" : string.Join(", ", names.Take(3).Select(n => n.Value)) + (names.Count > 3 ? ", …" : "");
    }

    /// <summary>What proxies of this upstream offer, which the upstream's author chose: the old versions are warned of where they are written down.</summary>
    private static SslProtocols Versions(UpstreamTlsSpec spec)
    {
        // Values of SslProtocols; TLS 1.0 and 1.1 have no name that may be used.
        ReadOnlySpan<int> values = [0xC0, 0x300, 0xC00, 0x3000];
        var versions = 0;
        for (var version = spec.MinVersion; version <= spec.MaxVersion; version++)
        {
            versions |= values[(int)version];
        }
        return (SslProtocols)versions;
    }
}

/// <summary>A subject alternative name of a certificate.</summary>
/// <param name="Tag">Its kind: the context-specific tag of GeneralName (RFC 5280).</param>
/// <param name="Value">Its text.</param>
internal readonly record struct SubjectAltNames(int Tag, string Value)
{
    private const int DnsTag = 2;
    private const int UriTag = 6;
    private const int IpTag = 7;

    /// <summary>The DNS names, URIs and IP addresses of a certificate.</summary>
    public static IReadOnlyList<SubjectAltNames> Of(X509Certificate2 certificate)
    {
        var names = new List<SubjectAltNames>();
        if (certificate.Extensions["2.5.29.17"] is not { } extension)
        {
            return names;
        }
        try
        {
            var reader = new System.Formats.Asn1.AsnReader(extension.RawData, System.Formats.Asn1.AsnEncodingRules.DER).ReadSequence();
            while (reader.HasData)
            {
                var tag = reader.PeekTag().TagValue;
                var value = reader.ReadEncodedValue();
                System.Formats.Asn1.AsnDecoder.ReadEncodedValue(
                    value.Span,
                    System.Formats.Asn1.AsnEncodingRules.DER,
                    out var offset,
                    out var length,
                    out _
                );
                var content = value.Span.Slice(offset, length);
                if (tag is DnsTag or UriTag)
                {
                    names.Add(new(tag, Encoding.Latin1.GetString(content)));
                }
                else if (tag == IpTag && content.Length is 4 or 16)
                {
                    names.Add(new(tag, new IPAddress(content).ToString()));
                }
            }
        }
        catch (System.Formats.Asn1.AsnContentException)
        {
            // Names that cannot be read are none: the certificate will be refused for that.
        }
        return names;
    }

    /// <summary>Whether this is a name that is asked for.</summary>
    public bool Matches(SubjectAltNameSpec wanted) =>
        Tag switch
        {
            DnsTag => wanted.Dns is { } dns && CoversDns(dns),
            UriTag => wanted.Uri == Value || (wanted.UriPrefix is { } prefix && Value.StartsWith(prefix, StringComparison.Ordinal)),
            _ => wanted.Ip is { } ip && IPAddress.TryParse(ip, out var address) && address.ToString() == Value,
        };

    /// <summary>A wildcard stands for one whole label, the first (RFC 6125).</summary>
    private bool CoversDns(string name)
    {
        if (string.Equals(Value, name, StringComparison.OrdinalIgnoreCase))
        {
            return true;
        }
        var dot = name.IndexOf('.', StringComparison.Ordinal);
        return Value.StartsWith("*.", StringComparison.Ordinal)
            && dot > 0
            && string.Equals(Value[1..], name[dot..], StringComparison.OrdinalIgnoreCase);
    }
}

/// <summary>What an exception of a TLS connection means.</summary>
internal static class TlsFault
{
    /// <summary>Alerts of the peer by the words in which OpenSSL names them, with what each one means here.</summary>
    private static readonly (string Words, string Meaning)[] Alerts =
    [
        ("certificate required", "the endpoint requires a client certificate"),
        ("bad certificate", "the endpoint does not accept the client certificate"),
        ("certificate unknown", "the endpoint does not accept the client certificate"),
        ("unknown ca", "the endpoint does not trust the CA of the client certificate"),
        ("certificate expired", "the endpoint says that the client certificate has expired"),
        ("protocol version", "the endpoint speaks none of the TLS versions that are offered"),
        ("unsupported protocol", "the endpoint speaks none of the TLS versions that are offered"),
        ("unrecognized name", "the endpoint does not know the server name"),
        ("no application protocol", "the endpoint speaks none of the protocols that are offered (ALPN)"),
        ("handshake failure", "the endpoint refused the handshake: no version, cipher or client certificate that it accepts"),
        ("access denied", "the endpoint denies access to the client certificate"),
    ];

    /// <summary>The peer closed the connection after it had asked for a certificate in vain.</summary>
    public static ProbeOutcome CertificateMissing { get; } =
        new(FailureClass.Tls, "the endpoint asked for a client certificate, got none, and closed the connection");

    public static ProbeOutcome Of(Exception exception)
    {
        var texts = new StringBuilder();
        for (var e = exception; e is not null; e = e.InnerException)
        {
            if (e is System.Net.Sockets.SocketException socket)
            {
                return ProbeOutcome.OfTransfer(socket.SocketErrorCode);
            }
            texts.Append(e.Message).Append('\n');
        }
        var text = texts.ToString();
        if (Array.Find(Alerts, a => text.Contains(a.Words, StringComparison.OrdinalIgnoreCase)) is { Meaning: { } meaning })
        {
            return new ProbeOutcome(FailureClass.Tls, meaning);
        }
        if (
            text.Contains("frame size", StringComparison.Ordinal)
            || text.Contains("corrupted frame", StringComparison.Ordinal)
            || text.Contains("wrong version number", StringComparison.Ordinal)
        )
        {
            return ProbeOutcome.Protocol("the endpoint does not speak TLS");
        }
        if (text.Contains("EOF", StringComparison.Ordinal) || text.Contains("0 bytes", StringComparison.Ordinal))
        {
            return new ProbeOutcome(FailureClass.Reset, "closed during the TLS handshake");
        }
        return new ProbeOutcome(FailureClass.Tls, "the TLS handshake failed");
    }
}
