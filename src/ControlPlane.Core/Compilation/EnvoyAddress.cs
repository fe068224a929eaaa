using ControlPlane.Resources.Validation;
using Envoy.Config.Core.V3;

namespace ControlPlane.Core.Compilation;

/// <summary>Compiles an address: an IP literal, a host name where Envoy resolves, or a <c>unix:</c> path.</summary>
public static class EnvoyAddress
{
    /// <summary>The address as it stands in Envoy's messages.</summary>
    /// <param name="address">As in a spec.</param>
    /// <param name="port">0 for a <c>unix:</c> path.</param>
    public static Address Of(string address, int port) =>
        NetworkAddress.IsUnix(address)
            ? new Address { Pipe = new Pipe { Path = address[NetworkAddress.UnixPrefix.Length..] } }
            : new Address
            {
                SocketAddress = new SocketAddress { Address = address, PortValue = (uint)port },
            };
}
