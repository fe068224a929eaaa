using System.Collections.Immutable;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Upstreams;

namespace ControlPlane.Core.Compilation.Probes;

/// <summary>What our own probers do for one upstream.</summary>
public sealed record ProbePlan
{
    /// <summary>The upstream.</summary>
    public required string Upstream { get; init; }

    /// <summary>Intervals, fall and rise, and the name of the present form of the checks.</summary>
    public required HealthPolicy Policy { get; init; }

    /// <summary>Who is probed. Endpoints that may not be, or need not be, are left out.</summary>
    public required ImmutableArray<ProbeEndpoint> Endpoints { get; init; }

    /// <summary>Why nothing can be probed, for example because the CAs to trust cannot be read; null if nothing is wrong. Endpoints are none then.</summary>
    public string? Problem { get; init; }
}

/// <summary>One endpoint, and the ways to it.</summary>
/// <param name="Id">The endpoint's id in its upstream.</param>
/// <param name="Ways">
/// One for each of its addresses. All are probed, and one that passes is enough: proxies race their connections over all of them, and use whichever answers.
/// </param>
public sealed record ProbeEndpoint(string Id, ImmutableArray<ProbeWay> Ways);

/// <summary>One address of an endpoint.</summary>
/// <param name="Address">The address as people write it.</param>
/// <param name="Probes">The checks of the upstream, aimed at this address. On one way all must pass.</param>
public sealed record ProbeWay(string Address, ImmutableArray<Probe> Probes);

/// <summary>One check, aimed at one address.</summary>
public abstract record Probe
{
    private protected Probe() { }

    /// <summary>Where it goes.</summary>
    public required EndPoint Target { get; init; }

    /// <summary>Longest time from the start of the connection to the end of the answer.</summary>
    public required TimeSpan Timeout { get; init; }

    /// <summary>Whether the connection is kept for the next check.</summary>
    public bool ReusesConnection { get; init; }

    /// <summary>TLS to the target; null is plaintext.</summary>
    public ProbeTls? Tls { get; init; }
}

/// <summary>An HTTP request.</summary>
public sealed record HttpProbe : Probe
{
    /// <summary>HTTP/1.1 or HTTP/2.</summary>
    public required CheckCodec Codec { get; init; }

    /// <summary>The Host header, or <c>:authority</c>.</summary>
    public required string Host { get; init; }

    /// <summary>What is alike for every endpoint.</summary>
    public required HttpProbeRequest Request { get; init; }
}

/// <summary>The request of an HTTP check, and which answers pass.</summary>
public sealed record HttpProbeRequest
{
    /// <summary>The method.</summary>
    public required string Method { get; init; }

    /// <summary>Path and query.</summary>
    public required string Path { get; init; }

    /// <summary>Headers besides the host.</summary>
    public required ImmutableSortedDictionary<string, string> Headers { get; init; }

    /// <summary>Statuses that pass, both ends included.</summary>
    public required ImmutableArray<(int First, int Last)> ExpectedStatuses { get; init; }

    /// <summary>Whether a status passes.</summary>
    public bool Expects(int status)
    {
        foreach (var (first, last) in ExpectedStatuses)
        {
            if (status >= first && status <= last)
            {
                return true;
            }
        }
        return false;
    }
}

/// <summary>A question by the gRPC health protocol.</summary>
public sealed record GrpcProbe : Probe
{
    /// <summary>The <c>:authority</c>.</summary>
    public required string Authority { get; init; }

    /// <summary>The service that is asked about; empty is the server as a whole.</summary>
    public required string Service { get; init; }
}

/// <summary>A connection, with bytes to send and to expect.</summary>
public sealed record TcpProbe : Probe
{
    /// <summary>What to send; empty is nothing.</summary>
    public ReadOnlyMemory<byte> Send { get; init; }

    /// <summary>What the answer must contain, in this order.</summary>
    public ImmutableArray<ReadOnlyMemory<byte>> Receive { get; init; } = [];
}

/// <summary>How probes of one upstream shake hands. Holds key material; prints none of it.</summary>
public sealed class ProbeTls
{
    /// <summary>What is asked for, and verified as <see cref="SubjectAltNames"/> says.</summary>
    public required UpstreamTlsSpec Spec { get; init; }

    /// <summary>Names what the certificates are: other material, other handshakes.</summary>
    public required string Material { get; init; }

    /// <summary>The CAs to trust; null are those of the system, or none are needed where nothing is verified.</summary>
    public X509Certificate2Collection? TrustedCas { get; init; }

    /// <summary>The certificate to present, with its key; null presents none.</summary>
    public X509Certificate2? Certificate { get; init; }

    /// <summary>Certificates between <see cref="Certificate"/> and its root.</summary>
    public X509Certificate2Collection Intermediates { get; init; } = [];

    /// <summary>The protocols to offer by ALPN.</summary>
    public ImmutableArray<string> Alpn { get; init; } = [];

    /// <summary>Names of which the certificate must have one.</summary>
    public ImmutableArray<SubjectAltNameSpec> SubjectAltNames =>
        !Spec.SubjectAltNames.IsEmpty ? Spec.SubjectAltNames
        : Spec.Sni is { } sni ? [new SubjectAltNameSpec { Dns = sni }]
        : [];
}
