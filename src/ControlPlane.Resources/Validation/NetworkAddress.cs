using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace ControlPlane.Resources.Validation;

/// <summary>Addresses as Envoy takes them: IPv4 and IPv6 literals, and <c>unix:</c> paths. Stricter than <see cref="IPAddress.Parse(string)"/>, which takes <c>127.1</c> and <c>[::1]</c>.</summary>
public static class NetworkAddress
{
    /// <summary>What a Unix domain socket path is marked by; <c>unix:@name</c> is Linux's abstract namespace.</summary>
    public const string UnixPrefix = "unix:";

    /// <summary>Longest path of a Unix domain socket, in bytes (<c>sun_path</c> without its final zero).</summary>
    public const int MaxUnixPathLength = 107;

    /// <summary>Whether an address is marked as the path of a Unix domain socket.</summary>
    public static bool IsUnix(string address) => address.StartsWith(UnixPrefix, StringComparison.Ordinal);

    /// <summary>Reads an IP literal as Envoy does: four decimal parts, or IPv6 without brackets and without scope.</summary>
    public static bool TryParseIp(string text, [NotNullWhen(true)] out IPAddress? address)
    {
        if (!IPAddress.TryParse(text, out address))
        {
            return false;
        }
        var strict =
            address.AddressFamily == AddressFamily.InterNetwork
                ? text == address.ToString()
                : !text.Contains('[', StringComparison.Ordinal) && !text.Contains('%', StringComparison.Ordinal);
        if (!strict)
        {
            address = null;
        }
        return strict;
    }

    /// <summary>
    /// Joins an address and a port to the form that ids and messages use: <c>10.0.0.1:80</c>, <c>[::1]:80</c>, <c>unix:/run/app.sock</c>. IPv6 literals that
    /// mean the same address give the same text.
    /// </summary>
    public static string Join(string address, int port)
    {
        if (IsUnix(address))
        {
            return address;
        }
        var ip = TryParseIp(address, out var parsed) ? parsed : null;
        var host = ip is { AddressFamily: AddressFamily.InterNetworkV6 } ? $"[{ip}]" : address;
        return string.Create(CultureInfo.InvariantCulture, $"{host}:{port}");
    }
}
