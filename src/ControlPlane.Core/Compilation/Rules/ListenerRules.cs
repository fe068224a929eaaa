using ControlPlane.Resources.Validation;
using Envoy.Config.Core.V3;
using Envoy.Config.Listener.V3;
using Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using static ControlPlane.Core.Compilation.Rules.SemanticRules;
using IPAddress = System.Net.IPAddress;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>Listeners: addresses, filter chain matches, and the HTTP connection manager's own fields.</summary>
internal static class ListenerRules
{
    /// <summary>Bounds the work on matches that are products of long lists.</summary>
    private const int MaxMatchCombinations = 100_000;

    public static IEnumerable<MessageRule> All() =>
        [
            On<Listener>((m, path) => ClusterRules.CheckName(m.Name, path)),
            On<Listener>(CheckAddress),
            On<Listener>(CheckChains),
            On<HttpConnectionManager>(CheckManager),
            On<Rds>(CheckRds),
        ];

    private static void CheckAddress(Listener listener, MessagePath path)
    {
        if (listener.ApiListener is not null || listener.InternalListener is not null)
        {
            return;
        }

        switch (listener.Address?.AddressCase ?? Address.AddressOneofCase.None)
        {
            case Address.AddressOneofCase.None:
                path.Error("/address", "address-missing", "The listener has no address. Give one, for example 0.0.0.0 with a port.");
                break;
            case Address.AddressOneofCase.EnvoyInternalAddress:
                path.Error(
                    "/address/envoyInternalAddress",
                    "internal-address",
                    "An internal listener is made by internalListener, not by its address."
                );
                break;
            default:
                EndpointRules.CheckIp(listener.Address!.SocketAddress, "/address/socketAddress", path);
                break;
        }

        for (var i = 0; i < listener.AdditionalAddresses.Count; i++)
        {
            EndpointRules.CheckIp(
                listener.AdditionalAddresses[i].Address?.SocketAddress,
                $"/additionalAddresses/{i}/address/socketAddress",
                path
            );
        }
    }

    private static void CheckChains(Listener listener, MessagePath path)
    {
        var isUdp = listener.Address?.SocketAddress?.Protocol == SocketAddress.Types.Protocol.Udp;
        var isQuic = listener.UdpListenerConfig?.QuicOptions is not null;
        if (isUdp && !isQuic && listener.FilterChains.Count > 0)
        {
            path.Error(
                "/filterChains",
                "udp-filter-chains",
                "A UDP listener has no filter chains, unless it serves QUIC. Use listenerFilters, or give udpListenerConfig.quicOptions."
            );
        }
        else if (
            listener.FilterChains.Count == 0
            && listener.DefaultFilterChain is null
            && listener.ApiListener is null
            && (!isUdp || isQuic)
        )
        {
            path.Error(
                "/filterChains",
                "no-filter-chain",
                "The listener has no filter chain: nothing says what happens to its connections. Give at least one."
            );
        }

        for (var i = 0; i < listener.FilterChains.Count; i++)
        {
            CheckMatch(listener.FilterChains[i].FilterChainMatch, $"/filterChains/{i}/filterChainMatch", path);
        }

        if (listener.FilterChainMatcher is null)
        {
            CheckDistinct(listener, path);
        }
    }

    private static void CheckMatch(FilterChainMatch? match, string tail, MessagePath path)
    {
        if (match is null)
        {
            return;
        }

        for (var i = 0; i < match.ServerNames.Count; i++)
        {
            var name = match.ServerNames[i];
            if (
                name.Contains('*', StringComparison.Ordinal)
                && (name.LastIndexOf('*') != 0 || !name.StartsWith("*.", StringComparison.Ordinal))
            )
            {
                path.Error(
                    $"{tail}/serverNames/{i}",
                    "server-name-wildcard",
                    "A wildcard of a server name stands for its first labels: *.example.com. For any name leave serverNames out."
                );
            }
        }

        if (match.AddressSuffix.Length > 0 || match.SuffixLen is not null)
        {
            path.Error(
                $"{tail}/addressSuffix",
                "unimplemented-field",
                "Envoy does not implement addressSuffix and suffixLen. Use prefixRanges."
            );
        }
    }

    /// <summary>No connection may belong to two chains: every combination of the lists of a match is unique over all chains.</summary>
    private static void CheckDistinct(Listener listener, MessagePath path)
    {
        var seen = new Dictionary<string, int>(StringComparer.Ordinal);
        var budget = MaxMatchCombinations;
        for (var i = 0; i < listener.FilterChains.Count; i++)
        {
            foreach (var combination in Combinations(listener.FilterChains[i].FilterChainMatch ?? new FilterChainMatch()))
            {
                if (--budget < 0)
                {
                    return;
                }

                if (seen.TryAdd(combination, i))
                {
                    continue;
                }

                path.Error(
                    $"/filterChains/{i}/filterChainMatch",
                    "duplicate-filter-chain-match",
                    $"A connection could belong to this filter chain and to filter chain {seen[combination]} alike. Make their matches differ."
                );
                break;
            }
        }
    }

    private static IEnumerable<string> Combinations(FilterChainMatch match) =>
        from destination in OrAny(match.PrefixRanges.Select(Normalise))
        from name in OrAny(match.ServerNames.Select(n => n.ToLowerInvariant()))
        from protocol in OrAny(match.ApplicationProtocols)
        from direct in OrAny(match.DirectSourcePrefixRanges.Select(Normalise))
        from source in OrAny(match.SourcePrefixRanges.Select(Normalise))
        from port in OrAny(match.SourcePorts.Select(p => p.ToString(null, null)))
        select string.Join(
            '\n',
            match.DestinationPort,
            destination,
            name,
            match.TransportProtocol,
            protocol,
            direct,
            match.SourceType,
            source,
            port
        );

    private static IEnumerable<string> OrAny(IEnumerable<string> values) => values.DefaultIfEmpty("");

    /// <summary>The range with the bits behind its prefix cleared.</summary>
    private static string Normalise(CidrRange range)
    {
        if (!EndpointRules.TryParseIp(range.AddressPrefix, out var address))
        {
            return range.AddressPrefix;
        }

        var bytes = address.GetAddressBytes();
        var length = (int)Math.Min(range.PrefixLen ?? 0, (uint)bytes.Length * 8);
        for (var bit = length; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] &= (byte)~(0x80 >> (bit % 8));
        }

        return $"{new IPAddress(bytes)}/{length}";
    }

    private static void CheckManager(HttpConnectionManager manager, MessagePath path)
    {
        if (
            manager.CodecType == HttpConnectionManager.Types.CodecType.Http3
            && path.Enclosing<Listener>()
                is { ApiListener: null, UdpListenerConfig.QuicOptions: null }
                    or { ApiListener: null, UdpListenerConfig: null }
        )
        {
            path.Error(
                "/codecType",
                "http3-needs-quic",
                "HTTP/3 needs a UDP listener with udpListenerConfig.quicOptions. Choose another codec, or make the listener a QUIC one."
            );
        }

        if (manager.XffNumTrustedHops > 0 && manager.OriginalIpDetectionExtensions.Count > 0)
        {
            path.Error(
                "/xffNumTrustedHops",
                "client-address",
                "xffNumTrustedHops and originalIpDetectionExtensions exclude each other. Keep one."
            );
        }

        CheckUpgrades(manager.UpgradeConfigs.Select(u => u.UpgradeType), path);
    }

    /// <summary>Checks that no kind of upgrade is configured twice.</summary>
    public static void CheckUpgrades(IEnumerable<string> types, MessagePath path)
    {
        var seen = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        var i = 0;
        foreach (var type in types)
        {
            if (!seen.Add(type))
            {
                path.Error($"/upgradeConfigs/{i}", "duplicate-upgrade", $"The upgrade '{type}' is configured twice. Remove one.");
            }

            i++;
        }
    }

    private static void CheckRds(Rds rds, MessagePath path)
    {
        var isGlobal = rds.RouteConfigName.StartsWith("xdstp://", StringComparison.Ordinal);
        if (rds.ConfigSource is null && !isGlobal)
        {
            path.Error(
                "/configSource",
                "rds-without-source",
                "RDS does not say where the route table comes from. Give configSource: {ads: {}}."
            );
        }

        if (rds.RouteConfigName.Length == 0)
        {
            path.Warning(
                "/routeConfigName",
                "rds-without-name",
                "RDS names no route table: the listener waits 15 s for it and then answers 404. Give routeConfigName."
            );
        }
    }
}
