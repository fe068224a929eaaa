using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using Envoy.Config.Core.V3;
using Google.Protobuf;
using EnvoyListener = Envoy.Config.Listener.V3.Listener;
using EnvoySocketAddress = Envoy.Config.Core.V3.SocketAddress;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// What a listener binds, in one spelling: <c>127.0.0.1:80</c>, <c>[::1]:80</c>, <c>127.0.0.1:80/udp</c>, <c>unix:/path</c>. Envoy refuses a listener whose address
/// another has; a wildcard address and a specific one are two.
/// </summary>
internal static class ListenerAddresses
{
    public static ImmutableArray<string> Of(IMessage message) =>
        message is EnvoyListener { ApiListener: null } listener
            ? [.. listener.AdditionalAddresses.Select(a => a.Address).Prepend(listener.Address).Select(TextOf).OfType<string>().Distinct()]
            : [];

    private static string? TextOf(Address? address) =>
        address?.AddressCase switch
        {
            Address.AddressOneofCase.Pipe => "unix:" + address.Pipe.Path,
            // With port 0 the system chooses one that is free.
            Address.AddressOneofCase.SocketAddress when address.SocketAddress.PortValue > 0 => TextOf(address.SocketAddress),
            _ => null,
        };

    private static string TextOf(EnvoySocketAddress address)
    {
        var host = IPAddress.TryParse(address.Address, out var ip) ? new IPEndPoint(ip, 0).ToString()[..^2] : address.Address;
        var port = address.PortValue.ToString(CultureInfo.InvariantCulture);
        var protocol = address.Protocol == EnvoySocketAddress.Types.Protocol.Udp ? "/udp" : "";
        return $"{host}:{port}{protocol}";
    }
}
