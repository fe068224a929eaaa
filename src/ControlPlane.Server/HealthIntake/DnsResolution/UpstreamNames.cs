using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using DnsClient.Protocol;

namespace ControlPlane.Server.HealthIntake.DnsResolution;

/// <summary>The names of one upstream, with their last answers, which stay in force where a name is gone, empty or cannot be asked for.</summary>
internal sealed class UpstreamNames(string upstream, EndpointsSpec spec, DnsQuestions dns, DnsMetrics metrics)
{
    /// <summary>More endpoints of one upstream are an answer gone wild.</summary>
    private const int MaxEndpoints = 1000;

    private const int MaxPriority = 128;
    private const string Failure = "dns-failure";
    private const string Timeout = "dns-timeout";

    private readonly Dictionary<string, (ImmutableArray<IPAddress> Addresses, DateTimeOffset At)> _addresses = new(
        StringComparer.OrdinalIgnoreCase
    );
    private readonly Dictionary<string, (ImmutableArray<SrvRecord> Services, DateTimeOffset At)> _services = new(
        StringComparer.OrdinalIgnoreCase
    );
    private ImmutableSortedDictionary<string, StoredResource>? _last;

    /// <summary>Takes over what an earlier form of the same upstream knew.</summary>
    public void Inherit(UpstreamNames before)
    {
        foreach (var (name, answer) in before._addresses)
        {
            _addresses.TryAdd(name, answer);
        }
        foreach (var (name, answer) in before._services)
        {
            _services.TryAdd(name, answer);
        }
    }

    /// <summary>Asks for all names once.</summary>
    /// <returns>What they resolve to (the same instance of endpoints as before where nothing differs), and when to ask again.</returns>
    public async Task<(ResolvedEndpoints Resolved, TimeSpan Wait)> ResolveAsync(DateTimeOffset now, CancellationToken cancellationToken)
    {
        var round = new Round(now, spec.Resolution);
        for (var i = 0; i < spec.Hosts.Length; i++)
        {
            var host = spec.Hosts[i];
            var pointer = $"/spec/endpoints/hosts/{i}";
            if (host.Port > 0)
            {
                foreach (var address in await AddressesAsync(host.Address, pointer, round, cancellationToken))
                {
                    round.Add(host, address, host.Port, host.Weight, host.Priority);
                }
                continue;
            }
            var services = await ServicesAsync(host.Address, pointer, round, cancellationToken);
            // Envoy wants priorities without gaps; what counts is their order.
            var ranks = services.Select(s => s.Priority).Distinct().Order().ToList();
            foreach (var service in services)
            {
                var priority = Math.Min(host.Priority + ranks.IndexOf(service.Priority), MaxPriority);
                foreach (var address in await AddressesAsync(service.Target.Value, pointer, round, cancellationToken))
                {
                    round.Add(host, address, service.Port, host.Weight * Math.Max(1u, service.Weight), priority);
                }
            }
        }
        Forget(round);
        if (_last is null && round.IsUnanswered)
        {
            return (round.Unanswered(), round.Wait);
        }
        return (round.Finish(upstream, ref _last), round.Wait);
    }

    private async Task<ImmutableArray<IPAddress>> AddressesAsync(
        string name,
        string pointer,
        Round round,
        CancellationToken cancellationToken
    )
    {
        if (NetworkAddress.TryParseIp(name, out var literal))
        {
            return [literal];
        }
        if (round.Asked.TryGetValue(name, out var known))
        {
            return known;
        }
        var answer = await dns.AddressesAsync(name, spec.Resolution.Addresses, cancellationToken);
        metrics.LookedUp(answer.Result);
        return round.Asked[name] = round.Judge(name, pointer, answer, _addresses);
    }

    private async Task<ImmutableArray<SrvRecord>> ServicesAsync(
        string name,
        string pointer,
        Round round,
        CancellationToken cancellationToken
    )
    {
        var answer = await dns.ServicesAsync(name, cancellationToken);
        // A single record whose target is the root says that there is decidedly no such service.
        if (answer.Records is [{ Target.Value: "." }])
        {
            answer = DnsAnswer<SrvRecord>.Without(DnsResult.Empty, "");
        }
        metrics.LookedUp(answer.Result);
        round.Asked[name] = [];
        return round.Judge(name, pointer, answer, _services);
    }

    /// <summary>Targets of services come and go: what was not asked for in a round is forgotten.</summary>
    private void Forget(Round round)
    {
        foreach (var name in _addresses.Keys.Where(n => !round.Asked.ContainsKey(n)).ToList())
        {
            _addresses.Remove(name);
        }
    }

    /// <summary>One look at all names.</summary>
    private sealed class Round(DateTimeOffset now, DnsResolutionSpec bounds)
    {
        private readonly SortedDictionary<string, EndpointSpec> _endpoints = new(StringComparer.Ordinal);
        private readonly List<ValidationProblem> _problems = [];
        private TimeSpan _ttl = bounds.MaxInterval;

        public Dictionary<string, ImmutableArray<IPAddress>> Asked { get; } = new(StringComparer.OrdinalIgnoreCase);

        /// <summary>Nothing is known, and that because servers did not answer: there may be endpoints.</summary>
        public bool IsUnanswered => _endpoints.Count == 0 && _problems.Exists(p => p.Code is Failure or Timeout);

        public TimeSpan Wait => _ttl < bounds.MinInterval ? bounds.MinInterval : _ttl;

        public ImmutableArray<T> Judge<T>(
            string name,
            string pointer,
            DnsAnswer<T> answer,
            Dictionary<string, (ImmutableArray<T> Records, DateTimeOffset At)> last
        )
        {
            if (answer.Ttl < _ttl)
            {
                _ttl = answer.Ttl;
            }
            if (answer.Result == DnsResult.Found)
            {
                last[name] = (answer.Records, now);
                return answer.Records;
            }
            var (records, at) = last.TryGetValue(name, out var known) ? known : ([], default);
            var stays = records.IsDefaultOrEmpty
                ? "there are no endpoints of it yet."
                : string.Create(CultureInfo.InvariantCulture, $"the answer of {at:yyyy-MM-dd HH:mm:ss} UTC stays in force.");
            var (code, what) = answer.Result switch
            {
                DnsResult.NotFound => ("dns-name-not-found", $"{name} does not exist (NXDOMAIN)"),
                DnsResult.Empty => ("dns-no-records", $"{name} exists and has no record of the wanted type"),
                DnsResult.Failure => (Failure, $"the DNS servers do not resolve {name} ({answer.Word})"),
                _ => (Timeout, $"no DNS server answered for {name} in time"),
            };
            _problems.Add(new ValidationProblem(pointer, code, $"{what}; {stays}", ProblemSeverity.Warning));
            return records.IsDefault ? [] : records;
        }

        public void Add(EndpointSpec host, IPAddress address, int port, uint weight, int priority)
        {
            var endpoint = host with
            {
                Address = address.ToString(),
                Port = port,
                Weight = weight,
                Priority = priority,
                Hostname = host.Hostname ?? (host.Port > 0 ? host.Address.TrimEnd('.') : null),
            };
            if (_endpoints.Count < MaxEndpoints)
            {
                _endpoints.TryAdd(endpoint.DefaultId(), endpoint);
            }
            else if (!_problems.Exists(p => p.Code == "dns-too-many-endpoints"))
            {
                _problems.Add(
                    new ValidationProblem(
                        "/spec/endpoints/hosts",
                        "dns-too-many-endpoints",
                        $"The names resolve to more than {MaxEndpoints} endpoints; the rest is left out.",
                        ProblemSeverity.Warning
                    )
                );
            }
        }

        public ResolvedEndpoints Unanswered() => new(null, [.. _problems]);

        public ResolvedEndpoints Finish(string upstream, ref ImmutableSortedDictionary<string, StoredResource>? last)
        {
            var before = last;
            if (
                before is null
                || before.Count != _endpoints.Count
                || !_endpoints.All(e => before.TryGetValue(e.Key, out var known) && known.Manifest.Spec.Equals(e.Value))
            )
            {
                last = _endpoints.ToImmutableSortedDictionary(
                    e => e.Key,
                    e =>
                        before is not null && before.TryGetValue(e.Key, out var known) && known.Manifest.Spec.Equals(e.Value)
                            ? known
                            : Of(upstream, e.Key, e.Value),
                    StringComparer.Ordinal
                );
            }
            return new ResolvedEndpoints(last!, [.. _problems]);
        }

        private StoredResource Of(string upstream, string id, EndpointSpec endpoint) =>
            new()
            {
                Manifest = new Manifest(
                    ResourceKind.Endpoint,
                    new ResourceMetadata { Name = ResourceKey.Sub(ResourceKind.Endpoint, upstream, id).Name },
                    endpoint
                ),
                Uid = Guid.Empty,
                Generation = 1,
                Revision = 0,
                CreatedAt = now,
                UpdatedAt = now,
                ManagedBy = "dns",
            };
    }
}
