using System.Net;

namespace ControlPlane.Resources.Validation;

/// <summary>IP addresses as Envoy takes them: four decimal numbers, or IPv6 without brackets, where a zone (<c>fe80::1%eth0</c>) may follow.</summary>
public static class IpLiteral
{
    /// <summary>Whether a text is an IP address. Stricter than <see cref="IPAddress.TryParse(string?, out IPAddress?)"/>, which takes <c>1.2.3</c> and <c>010.0.0.1</c>.</summary>
    public static bool IsValid(string text) => TryParse(text, out _);

    /// <summary>Reads an address; two spellings of one address give equal results.</summary>
    public static bool TryParse(string text, out IPAddress address)
    {
        address = IPAddress.None;
        if (text.Contains(':', StringComparison.Ordinal))
        {
            var zone = text.IndexOf('%', StringComparison.Ordinal);
            var digits = zone < 0 ? text : text[..zone];
            return !digits.StartsWith('[') && zone != text.Length - 1 && IPAddress.TryParse(digits, out address!);
        }

        var parts = text.Split('.');
        return parts.Length == 4 && parts.All(IsOctet) && IPAddress.TryParse(text, out address!);
    }

    private static bool IsOctet(string part) =>
        part.Length is > 0 and <= 3 && part.All(char.IsAsciiDigit) && (part.Length == 1 || part[0] != '0') && int.Parse(part, null) <= 255;
}
