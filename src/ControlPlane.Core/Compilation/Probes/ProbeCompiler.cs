using System.Collections.Immutable;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Compilation.Probes;

/// <summary>Turns the checks of an upstream into what our own probers do, as its compiler turns them into what proxies do.</summary>
public static class ProbeCompiler
{
    private static readonly ImmutableArray<(int First, int Last)> Ok = [(200, 200)];

    /// <summary>Compiles the probes of a valid spec.</summary>
    /// <param name="name">The upstream's name.</param>
    /// <param name="spec">What is wanted.</param>
    /// <param name="policy">How its health is decided.</param>
    /// <param name="registered">The upstream's objects of kind Endpoint by id; used with source registration.</param>
    /// <param name="targets">What may be probed.</param>
    /// <param name="secrets">A secret of a name with its values; null if there is none, or its sources cannot be read.</param>
    public static ProbePlan Compile(
        string name,
        UpstreamSpec spec,
        HealthPolicy policy,
        IEnumerable<KeyValuePair<string, EndpointSpec>> registered,
        ProbeTargetPolicy targets,
        Func<string, (SecretSpec Spec, SecretMaterial Material)?> secrets
    )
    {
        var plan = new ProbePlan
        {
            Upstream = name,
            Policy = policy,
            Endpoints = [],
        };
        if (spec.Health.Checks.IsEmpty)
        {
            return plan;
        }
        ImmutableArray<CheckTemplate> checks;
        try
        {
            checks = [.. spec.Health.Checks.Select(check => Template(check, spec, secrets))];
        }
        catch (UnusableSecretException e)
        {
            return plan with { Problem = e.Message };
        }
        return plan with
        {
            Endpoints =
            [
                .. EndpointLifecycle
                    .Of(spec, registered)
                    .Select(e => new ProbeEndpoint(e.Key, Ways(spec, checks, e.Value, targets)))
                    .Where(e => !e.Ways.IsEmpty)
                    .DistinctBy(e => e.Id, StringComparer.Ordinal),
            ],
        };
    }

    /// <summary>Why no prober may reach an endpoint; null if one may, or if nothing is to be checked.</summary>
    /// <param name="spec">The upstream.</param>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="targets">What may be probed; null where others check.</param>
    public static string? Refusal(UpstreamSpec spec, EndpointSpec endpoint, ProbeTargetPolicy? targets)
    {
        if (endpoint.HealthCheck is { Disabled: true })
        {
            return "its checks are off";
        }
        if (targets is null)
        {
            return null;
        }
        string? refusal = null;
        foreach (var address in AddressesOf(endpoint))
        {
            var refused = spec
                .Health.Checks.Select(check => Target(check, endpoint, address))
                .Select(targets.Refusal)
                .FirstOrDefault(r => r is not null);
            if (refused is null)
            {
                return null;
            }
            refusal ??= $"{address.Address} {refused}";
        }
        return refusal;
    }

    private static ImmutableArray<ProbeWay> Ways(
        UpstreamSpec spec,
        ImmutableArray<CheckTemplate> checks,
        EndpointSpec endpoint,
        ProbeTargetPolicy targets
    )
    {
        if (endpoint.HealthCheck is { Disabled: true })
        {
            return [];
        }
        var ways = ImmutableArray.CreateBuilder<ProbeWay>();
        foreach (var address in AddressesOf(endpoint))
        {
            var probes = checks
                .Select(check => check.Aim(Target(check.Spec, endpoint, address), CheckDefaults.Host(check.Spec, spec.Tls, endpoint)))
                .ToImmutableArray();
            if (probes.All(p => targets.Refusal(p.Target) is null))
            {
                ways.Add(new ProbeWay(NetworkAddress.Join(address.Address, address.Port), probes));
            }
        }
        return ways.DrainToImmutable();
    }

    /// <summary>Where checks of an endpoint go: the address that is for checks alone, or all that requests go to.</summary>
    private static IEnumerable<(string Address, int Port)> AddressesOf(EndpointSpec endpoint) =>
        endpoint.HealthCheck?.Address is { } own
            ? [(own, endpoint.Port)]
            : endpoint.AdditionalAddresses.Select(a => (a.Address, a.Port)).Prepend((endpoint.Address, endpoint.Port));

    private static EndPoint Target(HealthCheckSpec check, EndpointSpec endpoint, (string Address, int Port) address)
    {
        if (NetworkAddress.IsUnix(address.Address))
        {
            var path = address.Address[NetworkAddress.UnixPrefix.Length..];
            return new UnixSocketEndPoint(path.StartsWith('@') ? "\0" + path[1..] : path);
        }
        var ip = IPAddress.Parse(address.Address);
        return new IPEndPoint(ip.IsIPv4MappedToIPv6 ? ip.MapToIPv4() : ip, endpoint.HealthCheck?.Port ?? check.Port ?? address.Port);
    }

    private static CheckTemplate Template(
        HealthCheckSpec check,
        UpstreamSpec upstream,
        Func<string, (SecretSpec Spec, SecretMaterial Material)?> secrets
    )
    {
        var reuses = check.ReuseConnection ?? false;
        if (check.Http is { } http)
        {
            var codec = CheckDefaults.Codec(http, upstream.Protocol);
            var tls = Tls(upstream.Tls, CheckDefaults.Alpn(upstream, codec), secrets);
            var request = new HttpProbeRequest
            {
                Method = http.Method,
                Path = http.Path,
                Headers = http.Headers,
                ExpectedStatuses = http.ExpectedStatuses.IsEmpty ? Ok : [.. http.ExpectedStatuses.Select(Statuses)],
            };
            return new CheckTemplate(
                check,
                (target, host) =>
                    new HttpProbe
                    {
                        Target = target,
                        Timeout = check.Timeout,
                        ReusesConnection = reuses,
                        Tls = tls,
                        Codec = codec,
                        Host = host,
                        Request = request,
                    }
            );
        }
        if (check.Grpc is { } grpc)
        {
            var tls = Tls(upstream.Tls, CheckDefaults.Alpn(upstream, CheckCodec.Http2), secrets);
            return new CheckTemplate(
                check,
                (target, host) =>
                    new GrpcProbe
                    {
                        Target = target,
                        Timeout = check.Timeout,
                        ReusesConnection = reuses,
                        Tls = tls,
                        Authority = host,
                        Service = grpc.Service,
                    }
            );
        }
        var tcp = check.Tcp ?? new TcpCheckSpec();
        var (send, receive) = (tcp.Send is { } payload ? Bytes(payload) : default, tcp.Receive.Select(Bytes).ToImmutableArray());
        var tcpTls = Tls(upstream.Tls, CheckDefaults.Alpn(upstream, codec: null), secrets);
        return new CheckTemplate(
            check,
            (target, _) =>
                new TcpProbe
                {
                    Target = target,
                    Timeout = check.Timeout,
                    Tls = tcpTls,
                    Send = send,
                    Receive = receive,
                }
        );
    }

    private static ProbeTls? Tls(
        UpstreamTlsSpec? spec,
        ImmutableArray<string> alpn,
        Func<string, (SecretSpec Spec, SecretMaterial Material)?> secrets
    )
    {
        if (spec is null)
        {
            return null;
        }
        X509Certificate2Collection? cas = null;
        if (spec.CaSecret is { } caSecret)
        {
            cas =
                Material(caSecret, secrets, s => s.ValidationContext?.Ca) is { } pem && Pem.ReadCertificates(pem) is { Count: > 0 } read
                    ? read
                    : throw new UnusableSecretException(
                        $"The secret {caSecret}, which holds the CAs to trust, is missing or cannot be read."
                    );
        }
        X509Certificate2? certificate = null;
        var intermediates = new X509Certificate2Collection();
        if (spec.CertificateSecret is { } certificateSecret)
        {
            try
            {
                certificate = Certificate(certificateSecret, secrets, intermediates);
            }
            catch (Exception e) when (e is CryptographicException or ArgumentException)
            {
                // Damaged, of another password, or not of one another; which, the secret's own status says. Nothing of the key must get into a message.
            }
            if (certificate is null)
            {
                throw new UnusableSecretException(
                    $"The secret {certificateSecret}, which holds the certificate to present, is missing or cannot be read."
                );
            }
        }
        return new ProbeTls
        {
            Spec = spec,
            Material = Digest([.. cas ?? [], .. intermediates, .. certificate is null ? Array.Empty<X509Certificate2>() : [certificate]]),
            TrustedCas = cas,
            Certificate = certificate,
            Intermediates = intermediates,
            Alpn = alpn,
        };
    }

    private static string Digest(IReadOnlyCollection<X509Certificate2> certificates)
    {
        using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var certificate in certificates)
        {
            digest.AppendData(certificate.RawDataMemory.Span);
        }
        return Convert.ToHexString(digest.GetHashAndReset());
    }

    private static X509Certificate2? Certificate(
        string name,
        Func<string, (SecretSpec Spec, SecretMaterial Material)?> secrets,
        X509Certificate2Collection intermediates
    )
    {
        if (
            Material(name, secrets, s => s.Certificate?.Chain) is not { } chain
            || Material(name, secrets, s => s.Certificate?.PrivateKey) is not { } key
        )
        {
            return null;
        }
        intermediates.ImportFromPem(chain);
        if (intermediates.Count == 0)
        {
            return null;
        }
        intermediates.RemoveAt(0);
        return Material(name, secrets, s => s.Certificate?.Password) is { } password
            ? X509Certificate2.CreateFromEncryptedPem(chain, key, password.TrimEnd('\r', '\n'))
            : X509Certificate2.CreateFromPem(chain, key);
    }

    private static string? Material(
        string name,
        Func<string, (SecretSpec Spec, SecretMaterial Material)?> secrets,
        Func<SecretSpec, SecretSource?> select
    ) =>
        secrets(name) is ({ } spec, { Problems.IsEmpty: true } material) && select(spec) is { } source
            ? Encoding.UTF8.GetString(material[source].Span)
            : null;

    private static (int First, int Last) Statuses(string text) =>
        HttpCheckSpec.ParseStatuses(text) ?? throw new FormatException($"'{text}' is no range of statuses");

    private static ReadOnlyMemory<byte> Bytes(PayloadSpec spec) =>
        spec.Hex is { } hex ? Convert.FromHexString(hex) : Encoding.UTF8.GetBytes(spec.Text ?? "");

    /// <summary>A check, and how it is aimed at a target with a host.</summary>
    private sealed record CheckTemplate(HealthCheckSpec Spec, Func<EndPoint, string, Probe> Aim);

    /// <summary>What probes need is not there: they would fail for a reason that is not the endpoints'.</summary>
    private sealed class UnusableSecretException(string message) : Exception(message);
}
