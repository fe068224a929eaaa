using System.Globalization;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Upstreams;

/// <summary>Rules of one endpoint, wherever it stands.</summary>
public static class EndpointValidator
{
    /// <summary>Validates an object of kind Endpoint by itself.</summary>
    public static void Validate(EndpointSpec spec, ProblemCollector problems) => Validate(spec, "/spec", resolved: false, problems);

    /// <summary>Validates an endpoint.</summary>
    /// <param name="spec">The endpoint.</param>
    /// <param name="pointer">Where it stands.</param>
    /// <param name="resolved">Whether Envoy resolves its address, so that it may be a host name.</param>
    /// <param name="problems">Takes what is wrong.</param>
    internal static void Validate(EndpointSpec spec, string pointer, bool resolved, ProblemCollector problems)
    {
        ValidateAddress(spec.Address, spec.Port, pointer, resolved, problems);
        if (spec.Weight == 0)
        {
            problems.Error(
                $"{pointer}/weight",
                "out-of-range",
                "A weight is at least 1: Envoy refuses 0. To take the endpoint out of service, drain or disable it."
            );
        }
        problems.InRange($"{pointer}/priority", spec.Priority, 0, 128);
        if (spec.Hostname is { } hostname)
        {
            ValidateHost($"{pointer}/hostname", hostname, problems);
        }
        foreach (var key in spec.Metadata.Keys)
        {
            if (key.Length == 0)
            {
                problems.Error($"{pointer}/metadata", "empty-key", "A metadata key must not be empty.");
            }
        }

        var seen = new HashSet<string>(StringComparer.Ordinal) { NetworkAddress.Join(spec.Address, spec.Port) };
        for (var i = 0; i < spec.AdditionalAddresses.Length; i++)
        {
            var additional = spec.AdditionalAddresses[i];
            var at = $"{pointer}/additionalAddresses/{i}";
            if (NetworkAddress.IsUnix(additional.Address))
            {
                problems.Error(
                    $"{at}/address",
                    "invalid-address",
                    "An additional address is an IP address: Envoy races connections only over IP."
                );
                continue;
            }
            ValidateAddress(additional.Address, additional.Port, at, resolved: false, problems);
            if (!seen.Add(NetworkAddress.Join(additional.Address, additional.Port)))
            {
                problems.Error(
                    at,
                    "duplicate-address",
                    $"The endpoint has the address {NetworkAddress.Join(additional.Address, additional.Port)} already."
                );
            }
        }
        if (spec.AdditionalAddresses.Length > 0 && resolved)
        {
            problems.Error(
                $"{pointer}/additionalAddresses",
                "not-for-this-source",
                "A name resolves to all its addresses by itself: list each further address as a host of its own."
            );
        }
        if (spec.AdditionalAddresses.Length > 0 && NetworkAddress.IsUnix(spec.Address))
        {
            problems.Error(
                $"{pointer}/additionalAddresses",
                "additional-addresses-of-unix-socket",
                "Additional addresses go with an IP address: Envoy races connections only over IP."
            );
        }

        if (spec.HealthCheck is { } check)
        {
            if (check.Port is { } port)
            {
                problems.InRange($"{pointer}/healthCheck/port", port, 1, 65535);
                if (NetworkAddress.IsUnix(spec.Address) && check.Address is null)
                {
                    problems.Error(
                        $"{pointer}/healthCheck/port",
                        "port-of-unix-socket",
                        "A unix socket has no port to check: give the IP address, too, that answers on it."
                    );
                }
            }
            if (check.Address is { } address && !NetworkAddress.TryParseIp(address, out _))
            {
                problems.Error(
                    $"{pointer}/healthCheck/address",
                    "invalid-address",
                    $"{TextExcerpt.Quote(address)} is not an IP address, and checks can go to nothing else."
                );
            }
            if (check.Hostname is { } checkHost)
            {
                ValidateHost($"{pointer}/healthCheck/hostname", checkHost, problems);
            }
        }
    }

    /// <summary>A name, or address, with an optional port, as a Host header carries it.</summary>
    internal static void ValidateHost(string pointer, string host, ProblemCollector problems)
    {
        if (host.Length is 0 or > 255 || host.Any(c => char.IsWhiteSpace(c) || char.IsControl(c) || c is '/' or '@' or '*' or '?' or '#'))
        {
            problems.Error(
                pointer,
                "invalid-host",
                $"{TextExcerpt.Quote(host)} is not a host name: write it as in a Host header, for example 'api.example.com'."
            );
        }
    }

    /// <summary>Whether a text is a DNS name: labels of letters, digits, hyphens and underscores, joined by dots.</summary>
    internal static bool IsDnsName(string text)
    {
        var name = text.EndsWith('.') ? text[..^1] : text;
        return name.Length is > 0 and <= 253
            && name.Split('.')
                .All(label => label.Length is > 0 and <= 63 && label.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_'))
            && !name.Split('.')[^1].All(char.IsAsciiDigit);
    }

    private static void ValidateAddress(string address, int port, string pointer, bool resolved, ProblemCollector problems)
    {
        if (NetworkAddress.IsUnix(address))
        {
            ValidateUnixPath(address, port, pointer, resolved, problems);
            return;
        }
        if (NetworkAddress.TryParseIp(address, out var ip))
        {
            if (ip.Equals(System.Net.IPAddress.Any) || ip.Equals(System.Net.IPAddress.IPv6Any))
            {
                problems.Error(
                    $"{pointer}/address",
                    "unspecified-address",
                    $"{address} means every address of a machine and is none to connect to."
                );
            }
        }
        else if (address.StartsWith('['))
        {
            problems.Error(
                $"{pointer}/address",
                "invalid-address",
                $"{TextExcerpt.Quote(address)}: write IPv6 addresses without brackets here."
            );
        }
        else if (!IsDnsName(address))
        {
            problems.Error(
                $"{pointer}/address",
                "invalid-address",
                $"{TextExcerpt.Quote(address)} is not an address: give an IPv4 or IPv6 address, or 'unix:' and a path. The port has a field of its own."
            );
        }
        else if (!resolved)
        {
            problems.Error(
                $"{pointer}/address",
                "host-name-not-resolved",
                $"{TextExcerpt.Quote(address)} is a host name, and Envoy takes only IP addresses here. To have every proxy resolve it, set 'endpoints.source' to 'envoyStrictDns' and list it under 'endpoints.hosts'."
            );
        }
        if (port is < 1 or > 65535)
        {
            problems.Error(
                $"{pointer}/port",
                "out-of-range",
                string.Create(CultureInfo.InvariantCulture, $"{port} is not a port: give the one that the endpoint listens on, 1 to 65535.")
            );
        }
    }

    private static void ValidateUnixPath(string address, int port, string pointer, bool resolved, ProblemCollector problems)
    {
        var path = address[NetworkAddress.UnixPrefix.Length..];
        if (resolved)
        {
            problems.Error($"{pointer}/address", "invalid-address", "A unix socket is not resolved: use 'endpoints.source: static'.");
        }
        if (path.Length < 2 || path[0] is not ('/' or '@') || path.Contains('\0', StringComparison.Ordinal))
        {
            problems.Error(
                $"{pointer}/address",
                "invalid-address",
                $"{TextExcerpt.Quote(address)}: after 'unix:' comes an absolute path, or '@' and the name of an abstract socket."
            );
        }
        else if (System.Text.Encoding.UTF8.GetByteCount(path) > NetworkAddress.MaxUnixPathLength)
        {
            problems.Error(
                $"{pointer}/address",
                "invalid-address",
                $"The path is longer than {NetworkAddress.MaxUnixPathLength} bytes, which no unix socket can have."
            );
        }
        if (port != 0)
        {
            problems.Error($"{pointer}/port", "port-of-unix-socket", "A unix socket has no port: leave it out.");
        }
    }
}
