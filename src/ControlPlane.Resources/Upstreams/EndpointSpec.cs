using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Upstreams;

/// <summary>
/// One endpoint: listed in its upstream, or an object of kind Endpoint named <c>UPSTREAM/ID</c>. Compiles to one LbEndpoint of the upstream's
/// ClusterLoadAssignment.
/// </summary>
public sealed record EndpointSpec : ResourceSpec
{
    /// <summary>An IPv4 or IPv6 address, or <c>unix:</c> and a path; a host name where Envoy resolves.</summary>
    public required string Address { get; init; }

    /// <summary>The port, 1 to 65535; 0 for <c>unix:</c> paths, which have none.</summary>
    public int Port { get; init; }

    /// <summary>Share of the traffic relative to the other endpoints of its locality, from 1. <c>LbEndpoint.load_balancing_weight</c>.</summary>
    public uint Weight { get; init; } = 1;

    /// <summary>Where the endpoint runs; null is a locality, too: the unnamed one.</summary>
    public LocalitySpec? Locality { get; init; }

    /// <summary>0 is used first, higher ones as lower ones lose health; 0 to 128. <c>LocalityLbEndpoints.priority</c>.</summary>
    public int Priority { get; init; }

    /// <summary>
    /// What subsets select by; sent as the filter metadata <c>envoy.lb</c>. With ring hash and Maglev the value of <c>hash_key</c> stands for the endpoint in place of its
    /// address, so that keys stay with an endpoint that gets a new address.
    /// </summary>
    public ImmutableSortedDictionary<string, string> Metadata { get; init; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>The endpoint's own host name, for routes that rewrite the Host header to it and for health checks. <c>Endpoint.hostname</c>.</summary>
    public string? Hostname { get; init; }

    /// <summary>Further addresses of the same endpoint; connections race over all of them (Happy Eyeballs). <c>Endpoint.additional_addresses</c>.</summary>
    public ImmutableArray<EndpointAddressSpec> AdditionalAddresses { get; init; } = [];

    /// <summary>How health checks reach this endpoint, where that differs; <c>Endpoint.health_check_config</c>.</summary>
    public EndpointHealthCheckSpec? HealthCheck { get; init; }

    /// <summary>Raw fields of the LbEndpoint in proto-JSON, merged last; not its address, its health status or its weight.</summary>
    public JsonObject? Envoy { get; init; }

    /// <summary>
    /// The id of an endpoint that was given none: <c>address:port</c>, with IPv6 in brackets. In a <c>unix:</c> path, what an id cannot hold becomes <c>_</c>.
    /// </summary>
    public string DefaultId() =>
        NetworkAddress.IsUnix(Address)
            ? string.Concat(Address.Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or ':' ? c : '_'))
            : NetworkAddress.Join(Address, Port);
}

/// <summary>Where an endpoint runs; <c>core.v3.Locality</c>. What is empty is left out.</summary>
public sealed record LocalitySpec
{
    /// <summary>For example <c>eu-central-1</c>.</summary>
    public string Region { get; init; } = "";

    /// <summary>For example <c>eu-central-1a</c>.</summary>
    public string Zone { get; init; } = "";

    /// <summary>For example a rack.</summary>
    public string SubZone { get; init; } = "";
}

/// <summary>A further address of an endpoint.</summary>
public sealed record EndpointAddressSpec
{
    /// <summary>An IPv4 or IPv6 address.</summary>
    public required string Address { get; init; }

    /// <summary>The port, 1 to 65535.</summary>
    public required int Port { get; init; }
}

/// <summary>How health checks reach one endpoint, where that differs from how requests do.</summary>
public sealed record EndpointHealthCheckSpec
{
    /// <summary>The port that checks use, 1 to 65535; null is that of the check, or else of the endpoint.</summary>
    public int? Port { get; init; }

    /// <summary>The IP address that checks use; null is the endpoint's.</summary>
    public string? Address { get; init; }

    /// <summary>The Host header, or gRPC authority, of checks; goes before the check's own <c>host</c>.</summary>
    public string? Hostname { get; init; }

    /// <summary>Never check this endpoint: it counts as healthy until traffic shows otherwise.</summary>
    public bool Disabled { get; init; }
}
