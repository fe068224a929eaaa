using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Upstreams;

/// <summary>Rules of the endpoints block: what belongs to which source, and what the endpoints are together.</summary>
internal static class EndpointsValidator
{
    private const string At = "/spec/endpoints";

    public static void Validate(UpstreamSpec spec, ProblemCollector problems)
    {
        var endpoints = spec.Endpoints;
        var resolved = endpoints.Source is EndpointSource.Dns or EndpointSource.EnvoyStrictDns or EndpointSource.EnvoyLogicalDns;
        RefuseUnused(endpoints, resolved, problems);
        ValidateRefreshRate(endpoints.Dns.RefreshRate, problems);
        ValidateResolution(endpoints.Resolution, problems);
        ValidateCount(endpoints, problems);

        var (list, pointer) = resolved ? (endpoints.Hosts, $"{At}/hosts") : (endpoints.Static, $"{At}/static");
        var indexes = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i < list.Length; i++)
        {
            var isService = endpoints.Source == EndpointSource.Dns && list[i].Port == 0 && EndpointValidator.IsDnsName(list[i].Address);
            // Ports of services come with the answers.
            EndpointValidator.Validate(isService ? list[i] with { Port = 1 } : list[i], $"{pointer}/{i}", resolved, problems);
            if (isService && !list[i].Address.StartsWith('_'))
            {
                problems.Error(
                    $"{pointer}/{i}/port",
                    "port-required",
                    $"{list[i].Address} is not the name of a service, such as '_http._tcp.example.com', from whose SRV records the ports would come: give the port."
                );
            }
            var id = list[i].DefaultId();
            if (!indexes.TryAdd(id, i))
            {
                problems.Error(
                    $"{pointer}/{i}",
                    "duplicate-endpoint",
                    $"{id} is listed at index {indexes[id]} already: Envoy would keep one of the two. Remove one, and add up the weights."
                );
            }
        }
        ValidateWeights(spec.LoadBalancing, list, pointer, problems);
        ValidatePriorities(list, pointer, problems);
    }

    /// <summary>What the source does not use would look as if it did.</summary>
    private static void RefuseUnused(EndpointsSpec endpoints, bool resolved, ProblemCollector problems)
    {
        if (endpoints.Static.Length > 0 && endpoints.Source != EndpointSource.Static)
        {
            problems.Error(
                $"{At}/static",
                "not-for-this-source",
                "These endpoints would not be used: they need 'source: static'. Registered endpoints are objects of their own; names to resolve go under 'hosts'."
            );
        }
        if (endpoints.Hosts.Length > 0 && !resolved)
        {
            problems.Error(
                $"{At}/hosts",
                "not-for-this-source",
                "Hosts are for 'source: dns', 'source: envoyStrictDns' and 'source: envoyLogicalDns'."
            );
        }
        if (endpoints.Resolution != new DnsResolutionSpec() && endpoints.Source != EndpointSource.Dns)
        {
            problems.Error($"{At}/resolution", "not-for-this-source", "This is how the server resolves names: it is for 'source: dns'.");
        }
        if (endpoints.Dns != new EnvoyDnsSpec() && (!resolved || endpoints.Source == EndpointSource.Dns))
        {
            problems.Error(
                $"{At}/dns",
                "not-for-this-source",
                "This is how proxies resolve names: it is for 'source: envoyStrictDns' and 'source: envoyLogicalDns'. For 'source: dns' there is 'resolution'."
            );
        }
    }

    private static void ValidateRefreshRate(TimeSpan rate, ProblemCollector problems)
    {
        const string pointer = $"{At}/dns/refreshRate";
        if (!problems.Positive(pointer, rate))
        {
            return;
        }
        if (rate <= TimeSpan.FromMilliseconds(1))
        {
            problems.Error(pointer, "out-of-range", "The refresh rate must be above 1ms; 5s is the default.");
        }
        else if (rate < TimeSpan.FromSeconds(1))
        {
            problems.Warning(pointer, "dns-refresh-too-fast", "Every proxy asks the resolver more than once a second.");
        }
    }

    private static void ValidateResolution(DnsResolutionSpec resolution, ProblemCollector problems)
    {
        const string pointer = $"{At}/resolution";
        if (resolution.MinInterval < TimeSpan.FromSeconds(1) || resolution.MinInterval > TimeSpan.FromHours(1))
        {
            problems.Error(
                $"{pointer}/minInterval",
                "out-of-range",
                "The shortest time between look-ups is from 1s to 1h; 5s is the default."
            );
        }
        else if (resolution.MaxInterval < resolution.MinInterval || resolution.MaxInterval > TimeSpan.FromDays(1))
        {
            problems.Error(
                $"{pointer}/maxInterval",
                "out-of-range",
                "The longest time between look-ups is not below 'minInterval', and at most 24h; 1m is the default."
            );
        }
        for (var i = 0; i < resolution.Servers.Length; i++)
        {
            if (!IsServer(resolution.Servers[i]))
            {
                problems.Error(
                    $"{pointer}/servers/{i}",
                    "invalid-address",
                    $"{Reading.TextExcerpt.Quote(resolution.Servers[i])} is not the address of a DNS server: give an IP address, with a port if it is not 53, such as '10.0.0.53', '10.0.0.53:5353' or '[2001:db8::53]:5353'."
                );
            }
        }
    }

    private static bool IsServer(string text) =>
        NetworkAddress.TryParseIp(text, out _)
        || (text.Contains(':', StringComparison.Ordinal) && System.Net.IPEndPoint.TryParse(text, out var at) && at.Port > 0);

    private static void ValidateCount(EndpointsSpec endpoints, ProblemCollector problems)
    {
        if (endpoints.Source == EndpointSource.EnvoyLogicalDns && endpoints.Hosts.Length != 1)
        {
            problems.Error(
                $"{At}/hosts",
                "logical-dns-one-host",
                $"'envoyLogicalDns' takes exactly one host, here are {endpoints.Hosts.Length}; 'envoyStrictDns' takes many."
            );
        }
        else if (endpoints.Source is EndpointSource.EnvoyStrictDns or EndpointSource.Dns && endpoints.Hosts.Length == 0)
        {
            problems.Error(
                $"{At}/hosts",
                "host-required",
                $"'{(endpoints.Source == EndpointSource.Dns ? "dns" : "envoyStrictDns")}' needs at least one host to resolve."
            );
        }
        else if (endpoints.Source == EndpointSource.Static && endpoints.Static.Length == 0)
        {
            problems.Warning($"{At}/static", "no-endpoints", "The upstream has no endpoint: requests to it get 503, no healthy upstream.");
        }
    }

    private static void ValidateWeights(
        LoadBalancingSpec loadBalancing,
        IReadOnlyCollection<EndpointSpec> endpoints,
        string pointer,
        ProblemCollector problems
    )
    {
        foreach (var priority in endpoints.GroupBy(e => e.Priority))
        {
            var sum = priority.Aggregate(0ul, (total, e) => total + e.Weight);
            if (sum > uint.MaxValue)
            {
                problems.Error(
                    pointer,
                    "weight-sum",
                    $"The weights of priority {priority.Key} add up to {sum}; Envoy counts to {uint.MaxValue}. Only their ratio matters: make them smaller."
                );
            }
        }
        if (loadBalancing.Policy == LoadBalancingAlgorithm.Random && endpoints.Select(e => e.Weight).Distinct().Count() > 1)
        {
            problems.Warning(
                pointer,
                "weights-ignored",
                "The policy 'random' ignores weights: use 'roundRobin' or 'leastRequest' to have them count."
            );
        }
    }

    private static void ValidatePriorities(IReadOnlyCollection<EndpointSpec> endpoints, string pointer, ProblemCollector problems)
    {
        var priorities = endpoints.Select(e => e.Priority).Distinct().Order().ToList();
        if (priorities.Count > 0 && priorities[^1] != priorities.Count - 1)
        {
            problems.Warning(
                pointer,
                "priority-gap",
                $"The priorities {string.Join(", ", priorities)} are not 0 and up without a gap; they are published as 0 to {priorities.Count - 1}, which means the same."
            );
        }
    }
}
