using System.Diagnostics.CodeAnalysis;
using ControlPlane.Resources.Validation;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Type.V3;
using static ControlPlane.Core.Compilation.Rules.SemanticRules;
using DiscoveryType = Envoy.Config.Cluster.V3.Cluster.Types.DiscoveryType;
using DropOverload = Envoy.Config.Endpoint.V3.ClusterLoadAssignment.Types.Policy.Types.DropOverload;
using IPAddress = System.Net.IPAddress;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>Endpoints, alone (EDS) and inside a cluster.</summary>
internal static class EndpointRules
{
    public static IEnumerable<MessageRule> All() =>
        [
            On<ClusterLoadAssignment>(CheckAssignment),
            On<ClusterLoadAssignment.Types.Policy>(CheckDrops),
            On<Pipe>(
                (m, path) =>
                {
                    if (System.Text.Encoding.UTF8.GetByteCount(m.Path) > NetworkAddress.MaxUnixPathLength)
                    {
                        path.Error(
                            "/path",
                            "socket-path-too-long",
                            $"The path of a UNIX socket has at most {NetworkAddress.MaxUnixPathLength} bytes. Choose a shorter one."
                        );
                    }
                }
            ),
            On<BindConfig>((m, path) => CheckIp(m.SourceAddress, "/sourceAddress", path)),
            On<CidrRange>(
                (m, path) =>
                {
                    if (!TryParseIp(m.AddressPrefix, out _))
                    {
                        path.Error(
                            "/addressPrefix",
                            "address-not-ip",
                            "A range of addresses begins with an IP address, for example 10.0.0.0 with prefixLen 8."
                        );
                    }
                }
            ),
        ];

    /// <summary>Reads an IP address. Envoy takes a zone behind an IPv6 address (<c>fe80::1%eth0</c>), which friendly specs have no use for.</summary>
    public static bool TryParseIp(string text, [NotNullWhen(true)] out IPAddress? address)
    {
        var zone = text.Contains(':', StringComparison.Ordinal) ? text.IndexOf('%', StringComparison.Ordinal) : -1;
        return NetworkAddress.TryParseIp(zone > 0 && zone < text.Length - 1 ? text[..zone] : text, out address);
    }

    /// <summary>Checks that a socket address needs no resolving.</summary>
    public static void CheckIp(SocketAddress? address, string tail, MessagePath path)
    {
        if (address is null)
        {
            return;
        }

        if (address.ResolverName.Length == 0 && !TryParseIp(address.Address, out _))
        {
            path.Error(
                tail + "/address",
                "address-not-ip",
                "The address must be an IP address: four numbers, or IPv6 without brackets. Host names need an upstream that is resolved by DNS."
            );
        }

        if (address.PortSpecifierCase == SocketAddress.PortSpecifierOneofCase.NamedPort)
        {
            path.Error(tail + "/namedPort", "named-port", "Names of ports cannot be resolved here. Give portValue.");
        }
    }

    private static void CheckAssignment(ClusterLoadAssignment assignment, MessagePath path)
    {
        var cluster = path.Enclosing<Cluster>();
        var isResolved =
            cluster is
            {
                ClusterDiscoveryTypeCase: not Cluster.ClusterDiscoveryTypeOneofCase.ClusterType,
                Type: DiscoveryType.StrictDns or DiscoveryType.LogicalDns
            };
        var isCustom = cluster is { ClusterDiscoveryTypeCase: Cluster.ClusterDiscoveryTypeOneofCase.ClusterType };
        var addresses = new HashSet<(string, uint)>();
        var localities = new HashSet<(Locality?, uint)>();
        ulong localityWeights = 0;
        for (var i = 0; i < assignment.Endpoints.Count; i++)
        {
            var locality = assignment.Endpoints[i];
            localityWeights += locality.LoadBalancingWeight ?? 0;
            if (locality.Locality is null)
            {
                path.Warning(
                    $"/endpoints/{i}",
                    "no-locality",
                    "There is no locality: gRPC clients refuse that. Give one; it may be empty ({})."
                );
            }

            if (!localities.Add((locality.Locality, locality.Priority)))
            {
                path.Warning(
                    $"/endpoints/{i}",
                    "duplicate-locality",
                    "The same locality stands here twice with the same priority: gRPC clients refuse that. Put its endpoints together."
                );
            }

            ulong weights = 0;
            for (var j = 0; j < locality.LbEndpoints.Count; j++)
            {
                var endpoint = locality.LbEndpoints[j];
                weights += endpoint.LoadBalancingWeight ?? 1;
                CheckEndpoint(endpoint, $"/endpoints/{i}/lbEndpoints/{j}", isResolved, isCustom, addresses, path);
            }

            if (weights > uint.MaxValue)
            {
                path.Warning(
                    $"/endpoints/{i}/lbEndpoints",
                    "weight-overflow",
                    $"The weights of a locality's endpoints add up to more than {uint.MaxValue}: Envoy takes that and balances wrongly. Use smaller ones."
                );
            }
        }

        if (localityWeights > uint.MaxValue)
        {
            path.Warning(
                "/endpoints",
                "weight-overflow",
                $"The weights of the localities add up to more than {uint.MaxValue}: Envoy takes that and balances wrongly. Use smaller ones."
            );
        }

        CheckPriorities(assignment, path);
    }

    private static void CheckEndpoint(
        LbEndpoint endpoint,
        string tail,
        bool isResolved,
        bool isCustom,
        HashSet<(string, uint)> addresses,
        MessagePath path
    )
    {
        if (!Enum.IsDefined(endpoint.HealthStatus))
        {
            path.Warning(
                tail + "/healthStatus",
                "unknown-enum-value",
                "The health status is a number that this API does not know; Envoy takes it for healthy or not as it pleases."
            );
        }

        var address = endpoint.Endpoint?.Address;
        if (address is null)
        {
            if (!isResolved && !isCustom)
            {
                path.Error(tail, "address-missing", "The endpoint has no address. Give address and port, or the path of a UNIX socket.");
            }

            return;
        }

        var socket = address.SocketAddress;
        if (!isResolved && !isCustom)
        {
            CheckIp(socket, tail + "/endpoint/address/socketAddress", path);
            for (var i = 0; i < endpoint.Endpoint!.AdditionalAddresses.Count; i++)
            {
                CheckIp(
                    endpoint.Endpoint.AdditionalAddresses[i].Address?.SocketAddress,
                    $"{tail}/endpoint/additionalAddresses/{i}/address/socketAddress",
                    path
                );
            }
        }
        else if (isResolved && socket is { ResolverName.Length: > 0 })
        {
            path.Error(
                tail + "/endpoint/address/socketAddress/resolverName",
                "resolver-name",
                "Clusters that are resolved by DNS take no resolver by name. Remove resolverName."
            );
        }

        var key = socket is not null
            ? (Normalise(socket.Address), socket.PortValue)
            : (address.Pipe?.Path ?? address.EnvoyInternalAddress?.ToString() ?? "", 0u);
        if (!addresses.Add(key))
        {
            path.Warning(
                tail,
                "duplicate-address",
                "Another endpoint has this address: Envoy keeps one of them, whatever their priorities. Remove one."
            );
        }
    }

    private static string Normalise(string address) => TryParseIp(address, out var ip) ? ip.ToString() : address;

    private static void CheckPriorities(ClusterLoadAssignment assignment, MessagePath path)
    {
        var priorities = new SortedSet<uint>(assignment.Endpoints.Select(e => e.Priority));
        if (priorities.Count > 0 && priorities.Max != priorities.Count - 1)
        {
            var missing = 0u;
            while (priorities.Contains(missing))
            {
                missing++;
            }

            path.Warning(
                "/endpoints",
                "priority-gap",
                $"Priorities are 0, 1, 2 … without gaps, and {missing} has no locality: gRPC clients refuse that, and Envoy has an empty priority there."
            );
        }
    }

    private static void CheckDrops(ClusterLoadAssignment.Types.Policy policy, MessagePath path)
    {
        if (policy.DropOverloads.Count > 1)
        {
            path.Error(
                "/dropOverloads/1",
                "drop-overloads",
                $"There are {policy.DropOverloads.Count} categories of dropped load; Envoy supports one. Keep one."
            );
        }

        for (var i = 0; i < policy.DropOverloads.Count; i++)
        {
            if (Share(policy.DropOverloads[i]) > 1)
            {
                path.Error(
                    $"/dropOverloads/{i}/dropPercentage",
                    "drop-overloads",
                    "More than the whole load cannot be dropped. Give at most 100 %."
                );
            }
        }
    }

    private static double Share(DropOverload drop) =>
        (drop.DropPercentage?.Numerator ?? 0)
        / drop.DropPercentage?.Denominator switch
        {
            FractionalPercent.Types.DenominatorType.TenThousand => 10_000.0,
            FractionalPercent.Types.DenominatorType.Million => 1_000_000.0,
            _ => 100.0,
        };
}
