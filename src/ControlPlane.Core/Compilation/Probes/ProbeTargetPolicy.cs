using System.Net;
using System.Net.Sockets;

namespace ControlPlane.Core.Compilation.Probes;

/// <summary>
/// Which addresses the server may probe. Who may write an upstream could otherwise make the server send requests to what only the server's own machine reaches: a cloud's
/// metadata service gives out credentials, and what listens on loopback trusts whoever asks.
/// </summary>
/// <param name="AllowsLocal">Loopback addresses and <c>unix:</c> sockets may be probed.</param>
public sealed record ProbeTargetPolicy(bool AllowsLocal)
{
    private static readonly (IPNetwork Network, string What)[] Refused =
    [
        (IPNetwork.Parse("169.254.0.0/16"), "a link-local address, as cloud metadata services have"),
        (IPNetwork.Parse("fe80::/10"), "a link-local address"),
        // Services for the machine itself: Amazon (fd00:ec2::254 and its neighbours), Google, Azure, Alibaba, Oracle.
        (IPNetwork.Parse("fd00:ec2::/32"), "an address of cloud metadata services"),
        (IPNetwork.Parse("fd20:ce::/32"), "an address of cloud metadata services"),
        (IPNetwork.Parse("168.63.129.16/32"), "an address of cloud metadata services"),
        (IPNetwork.Parse("100.100.100.200/32"), "an address of cloud metadata services"),
        (IPNetwork.Parse("192.0.0.0/24"), "an address of cloud metadata services"),
        (IPNetwork.Parse("0.0.0.0/8"), "an unspecified address"),
        (IPNetwork.Parse("::/128"), "an unspecified address"),
        (IPNetwork.Parse("224.0.0.0/4"), "a multicast address"),
        (IPNetwork.Parse("ff00::/8"), "a multicast address"),
        (IPNetwork.Parse("255.255.255.255/32"), "the broadcast address"),
    ];

    // A translator sends what is addressed to these to the IPv4 address in their last four bytes (RFC 6052).
    private static readonly IPNetwork Nat64 = IPNetwork.Parse("64:ff9b::/96");

    /// <summary>Why a target must not be probed, as the end of a sentence that begins with the address; null if it may.</summary>
    public string? Refusal(EndPoint target)
    {
        if (target is not IPEndPoint { Address: var address })
        {
            return AllowsLocal ? null : "is a socket of the server's own machine, and --probe-loopback is not given";
        }
        address = Embedded(address);
        if (Array.Find(Refused, r => r.Network.Contains(address)) is { What: { } what })
        {
            return $"is {what}, which is never probed";
        }
        return IPAddress.IsLoopback(address) && !AllowsLocal
            ? "is a loopback address of the server's own machine, and --probe-loopback is not given"
            : null;
    }

    /// <summary>The IPv4 address that an IPv6 one stands for.</summary>
    private static IPAddress Embedded(IPAddress address)
    {
        if (address.AddressFamily != AddressFamily.InterNetworkV6)
        {
            return address;
        }
        return address.IsIPv4MappedToIPv6 ? address.MapToIPv4()
            : Nat64.Contains(address) ? new IPAddress(address.GetAddressBytes().AsSpan(12))
            : address;
    }
}
