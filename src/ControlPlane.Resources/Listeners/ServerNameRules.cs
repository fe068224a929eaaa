using System.Collections.Immutable;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Listeners;

/// <summary>Rules of server names (SNI): their form, and that each leads to one place in the listener.</summary>
internal static class ServerNameRules
{
    public static void Validate(ListenerSpec spec, ProblemCollector problems)
    {
        var owners = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var (at, chain) in spec.FilterChains.Index())
        {
            Claim(chain.ServerNames, $"/spec/filterChains/{at}/serverNames", owners, problems);
        }

        // Certificates of the same set of names belong to the same filter chain: one claim for all of them.
        var claimed = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        foreach (var (at, certificate) in (spec.Tls?.Certificates ?? []).Index())
        {
            if (claimed.Add(string.Join(',', certificate.ServerNames.Order(StringComparer.OrdinalIgnoreCase))))
            {
                Claim(certificate.ServerNames, $"/spec/tls/certificates/{at}/serverNames", owners, problems);
            }
        }
    }

    private static void Claim(ImmutableArray<string> names, string pointer, Dictionary<string, string> owners, ProblemCollector problems)
    {
        foreach (var (at, name) in names.Index())
        {
            if (!Explain(name, $"{pointer}/{at}", problems))
            {
                continue;
            }
            if (!owners.TryAdd(name, $"{pointer}/{at}"))
            {
                problems.Error(
                    $"{pointer}/{at}",
                    "duplicate-server-name",
                    $"{TextExcerpt.Quote(name)} stands at {owners[name]} already; a server name leads to one place (case does not matter). Certificates of one name list the same names."
                );
            }
        }
    }

    private static bool Explain(string name, string pointer, ProblemCollector problems)
    {
        var rest = name.StartsWith("*.", StringComparison.Ordinal) ? name[2..] : name;
        if (rest.Contains('*', StringComparison.Ordinal))
        {
            problems.Error(
                pointer,
                "invalid-server-name",
                $"{TextExcerpt.Quote(name)}: the only wildcard is '*.' at the beginning, as in *.shop.example. What is for every name stands at the listener itself."
            );
            return false;
        }
        if (NetworkAddress.TryParseIp(rest, out _))
        {
            problems.Error(pointer, "invalid-server-name", "Clients send no addresses as server name (RFC 6066, 3). Write a DNS name.");
            return false;
        }
        if (rest.Length is 0 or > 253 || rest.EndsWith('.') || !rest.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.'))
        {
            problems.Error(
                pointer,
                "invalid-server-name",
                $"{TextExcerpt.Quote(name)} is no DNS name: letters, digits, '-' and '.', without a port and without a dot at the end; international names in their xn-- form."
            );
            return false;
        }
        return true;
    }
}
