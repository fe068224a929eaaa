using System.Collections.Immutable;

namespace ControlPlane.Resources.Upstreams;

/// <summary>Where an upstream's endpoints come from, and those that the spec itself names.</summary>
public sealed record EndpointsSpec
{
    /// <summary>Where the endpoints come from.</summary>
    public EndpointSource Source { get; init; } = EndpointSource.Static;

    /// <summary>The endpoints of source <see cref="EndpointSource.Static"/>; their addresses are IP addresses or <c>unix:</c> paths.</summary>
    public ImmutableArray<EndpointSpec> Static { get; init; } = [];

    /// <summary>
    /// The names to resolve, of the sources <see cref="EndpointSource.Dns"/>, <see cref="EndpointSource.EnvoyStrictDns"/> and
    /// <see cref="EndpointSource.EnvoyLogicalDns"/>; their addresses are host names or IP addresses. With source <see cref="EndpointSource.Dns"/> a name without a port is
    /// asked for by SRV, such as <c>_http._tcp.shop.example.com</c>. What stands beside a name holds for every endpoint that it resolves to.
    /// </summary>
    public ImmutableArray<EndpointSpec> Hosts { get; init; } = [];

    /// <summary>How Envoy resolves <see cref="Hosts"/>.</summary>
    public EnvoyDnsSpec Dns { get; init; } = new();

    /// <summary>How this server resolves <see cref="Hosts"/>, of source <see cref="EndpointSource.Dns"/>.</summary>
    public DnsResolutionSpec Resolution { get; init; } = new();

    /// <summary>Whether this server knows the endpoints and sends them by EDS; else every proxy resolves names by itself.</summary>
    public bool AreOurs() => Source is not (EndpointSource.EnvoyStrictDns or EndpointSource.EnvoyLogicalDns);
}

/// <summary>Where the endpoints of an upstream come from.</summary>
public enum EndpointSource
{
    /// <summary>From the spec itself; sent by EDS.</summary>
    Static,

    /// <summary>One by one through the API, as objects of kind Endpoint; sent by EDS. A write of the upstream never touches them.</summary>
    Registration,

    /// <summary>
    /// The server resolves the names and follows their changes; sent by EDS. Where a name is gone, empty or cannot be resolved its last endpoints stay.
    /// </summary>
    Dns,

    /// <summary>Every proxy resolves the names itself and balances over all addresses of all names.</summary>
    EnvoyStrictDns,

    /// <summary>Every proxy resolves one name itself and connects to whatever address it has at that moment.</summary>
    EnvoyLogicalDns,
}

/// <summary>How this server resolves names. An answer holds for its TTL, within bounds.</summary>
public sealed record DnsResolutionSpec
{
    /// <summary>Shortest time between two look-ups, whatever the TTL, and the time after one that failed; 1 s to 1 h.</summary>
    public TimeSpan MinInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Longest time between two look-ups, whatever the TTL; not below <see cref="MinInterval"/>, at most 24 h.</summary>
    public TimeSpan MaxInterval { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>Which addresses are asked for.</summary>
    public AddressPreference Addresses { get; init; } = AddressPreference.V4Preferred;

    /// <summary>The DNS servers to ask, in this order, each an IP address with or without a port; empty are those of the server's machine.</summary>
    public ImmutableArray<string> Servers { get; init; } = [];
}

/// <summary>How Envoy resolves names.</summary>
public sealed record EnvoyDnsSpec
{
    /// <summary>Time between look-ups where the answer's TTL is not used; above 1 ms. <c>Cluster.dns_refresh_rate</c>.</summary>
    public TimeSpan RefreshRate { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Look up again when the answer's TTL ends instead. <c>Cluster.respect_dns_ttl</c>.</summary>
    public bool RespectTtl { get; init; }

    /// <summary>Which addresses are asked for. <c>Cluster.dns_lookup_family</c>.</summary>
    public AddressPreference LookupFamily { get; init; } = AddressPreference.V4Preferred;
}

/// <summary>Which addresses are asked for; the words are Envoy's.</summary>
public enum AddressPreference
{
    /// <summary>IPv6, and IPv4 only if there is no IPv6 address.</summary>
    Auto,

    /// <summary>Only IPv4.</summary>
    V4Only,

    /// <summary>Only IPv6.</summary>
    V6Only,

    /// <summary>IPv4, and IPv6 only if there is no IPv4 address.</summary>
    V4Preferred,

    /// <summary>Both; with logical DNS, connections race over them.</summary>
    All,
}
