using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using DnsClient.Protocol;

namespace ControlPlane.Server.HealthIntake.DnsResolution;

/// <summary>
/// The names of one upstream: how they are asked for, and what endpoints the answers make. The last answer of a name stays in force where it is gone, empty or cannot be asked for.
/// </summary>
internal sealed class UpstreamNames(string upstream, EndpointsSpec spec, DnsQuestions dns, DnsMetrics metrics)
{
    /// <summary>More endpoints of one upstream are an answer gone wild.</summary>
    private const int MaxEndpoints = 1000;

    private const int MaxPriority = 128;

    /// <summary>Asks for all names once.</summary>
    /// <param name="before">What was answered before; of an earlier form of the spec, too.</param>
    /// <param name="now">The time.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>What is known now, and when to ask again.</returns>
    public async Task<(NameMemory Memory, TimeSpan Wait)> AskAsync(
        NameMemory before,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        var addresses = new Round<string>(before.Addresses, now);
        var services = new Round<ServiceTarget>(before.Services, now);
        var problems = ImmutableArray.CreateBuilder<ValidationProblem>();
        var ttl = spec.Resolution.MaxInterval;
        for (var i = 0; i < spec.Hosts.Length; i++)
        {
            var host = spec.Hosts[i];
            var pointer = $"/spec/endpoints/hosts/{i}";
            if (host.Port > 0)
            {
                await AskForAddressesAsync(host.Address, pointer);
                continue;
            }

            var answer = await dns.ServicesAsync(host.Address, cancellationToken);
            // A single record whose target is the root says that there is decidedly no such service.
            if (answer.Records is [{ Target.Value: "." }])
            {
                answer = DnsAnswer<SrvRecord>.Without(DnsResult.Empty, "");
            }

            var targets = Judge(
                host.Address,
                pointer,
                services,
                answer.With(records =>
                    records
                        .Select(r => new ServiceTarget(Key(r.Target.Value), r.Port, r.Weight, r.Priority))
                        .OrderBy(t => (t.Priority, t.Name, t.Port, t.Weight))
                )
            );
            foreach (var target in targets)
            {
                await AskForAddressesAsync(target.Name, pointer);
            }
        }

        var memory = new NameMemory(addresses.Answers(), services.Answers(), problems.ToImmutable());
        return (memory, ttl < spec.Resolution.MinInterval ? spec.Resolution.MinInterval : ttl);

        async Task AskForAddressesAsync(string name, string pointer)
        {
            if (!NetworkAddress.TryParseIp(name, out _) && !addresses.HasAsked(name))
            {
                var answer = await dns.AddressesAsync(name, spec.Resolution.Addresses, cancellationToken);
                Judge(name, pointer, addresses, answer.With(found => found.Select(a => a.ToString()).Order(StringComparer.Ordinal)));
            }
        }

        ImmutableArray<T> Judge<T>(string name, string pointer, Round<T> round, DnsAnswer<T> answer)
        {
            metrics.LookedUp(answer.Result);
            ttl = answer.Ttl < ttl ? answer.Ttl : ttl;
            var known = round.Take(name, answer);
            if (answer.Result != DnsResult.Found)
            {
                problems.Add(ProblemOf(name, pointer, answer.Result, answer.Word, known.Records.IsEmpty ? null : known.ConfirmedAt));
            }

            return known.Records;
        }
    }

    /// <summary>Says what the names resolve to.</summary>
    /// <param name="memory">What they were answered.</param>
    /// <param name="before">What they resolved to before: where no endpoint differs, its instance of the endpoints is returned.</param>
    /// <returns>Null if some name was not asked for yet: nothing can be said.</returns>
    public ResolvedEndpoints? Resolve(NameMemory memory, ResolvedEndpoints? before)
    {
        var addresses = memory.Addresses.ToDictionary(a => a.Name, StringComparer.Ordinal);
        var services = memory.Services.ToDictionary(s => s.Name, StringComparer.Ordinal);
        var endpoints = new SortedDictionary<string, (EndpointSpec Spec, DateTimeOffset Since)>(StringComparer.Ordinal);
        var (isCut, isUnanswered) = (false, false);
        foreach (var host in spec.Hosts)
        {
            if (host.Port > 0)
            {
                if (!Add(host, host.Address, host.Port, host.Weight, host.Priority))
                {
                    return null;
                }

                continue;
            }

            if (!services.TryGetValue(Key(host.Address), out var service))
            {
                return null;
            }

            isUnanswered |= service.Since is null;
            // Envoy wants priorities without gaps; what counts is their order.
            var ranks = service.Records.Select(s => s.Priority).Distinct().Order().ToList();
            foreach (var target in service.Records)
            {
                var priority = Math.Min(host.Priority + ranks.IndexOf(target.Priority), MaxPriority);
                if (!Add(host, target.Name, target.Port, host.Weight * Math.Max(1u, target.Weight), priority))
                {
                    return null;
                }
            }
        }

        var problems = isCut
            ? memory.Problems.Add(
                new ValidationProblem(
                    "/spec/endpoints/hosts",
                    "dns-too-many-endpoints",
                    $"The names resolve to more than {MaxEndpoints} endpoints; the rest is left out.",
                    ProblemSeverity.Warning
                )
            )
            : memory.Problems;
        // Nothing is known of a name that no server has answered for: there may be endpoints.
        return new ResolvedEndpoints(isUnanswered && endpoints.Count == 0 ? null : Resources(endpoints, before?.Endpoints), problems);

        bool Add(EndpointSpec host, string name, int port, uint weight, int priority)
        {
            var answer = NetworkAddress.TryParseIp(name, out var literal)
                ? new NameAnswer<string>(name, [literal.ToString()], DateTimeOffset.UnixEpoch)
                : addresses.GetValueOrDefault(Key(name));
            isUnanswered |= answer is { Since: null };
            foreach (var address in answer?.Records ?? [])
            {
                var endpoint = host with
                {
                    Address = address,
                    Port = port,
                    Weight = weight,
                    Priority = priority,
                    Hostname = host.Hostname ?? (host.Port > 0 ? host.Address.TrimEnd('.') : null),
                };
                if (endpoints.Count < MaxEndpoints)
                {
                    endpoints.TryAdd(endpoint.DefaultId(), (endpoint, answer!.Since!.Value));
                }
                else
                {
                    isCut = true;
                }
            }

            return answer is not null;
        }
    }

    /// <summary>Names in DNS are the same in any case.</summary>
    private static string Key(string name) => name.ToLowerInvariant();

    private static ValidationProblem ProblemOf(string name, string pointer, DnsResult result, string word, DateTimeOffset? stays)
    {
        var (code, what) = result switch
        {
            DnsResult.NotFound => ("dns-name-not-found", $"{name} does not exist (NXDOMAIN)"),
            DnsResult.Empty => ("dns-no-records", $"{name} exists and has no record of the wanted type"),
            DnsResult.Failure => ("dns-failure", $"the DNS servers do not resolve {name} ({word})"),
            _ => ("dns-timeout", $"no DNS server answered for {name} in time"),
        };
        var then = stays is { } at
            ? string.Create(CultureInfo.InvariantCulture, $"the answer of {at:yyyy-MM-dd HH:mm:ss} UTC stays in force.")
            : "there are no endpoints of it yet.";
        return new ValidationProblem(pointer, code, $"{what}; {then}", ProblemSeverity.Warning);
    }

    private ImmutableSortedDictionary<string, StoredResource> Resources(
        SortedDictionary<string, (EndpointSpec Spec, DateTimeOffset Since)> endpoints,
        ImmutableSortedDictionary<string, StoredResource>? before
    )
    {
        return before is not null && before.Count == endpoints.Count && endpoints.All(e => Known(e.Key, e.Value.Spec) is not null)
            ? before
            : endpoints.ToImmutableSortedDictionary(
                e => e.Key,
                e => Known(e.Key, e.Value.Spec) ?? Resource(e.Key, e.Value.Spec, e.Value.Since),
                StringComparer.Ordinal
            );

        StoredResource? Known(string id, EndpointSpec endpoint) =>
            before is not null && before.TryGetValue(id, out var known) && known.Manifest.Spec.Equals(endpoint) ? known : null;
    }

    private StoredResource Resource(string id, EndpointSpec endpoint, DateTimeOffset since) =>
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
            CreatedAt = since,
            UpdatedAt = since,
            ManagedBy = "dns",
        };

    /// <summary>
    /// One look at all names of a kind. Targets of services come and go: what is not asked for is forgotten.
    /// </summary>
    private sealed class Round<T>(ImmutableArray<NameAnswer<T>> before, DateTimeOffset now)
    {
        private readonly SortedDictionary<string, NameAnswer<T>> _answers = new(StringComparer.Ordinal);

        public bool HasAsked(string name) => _answers.ContainsKey(Key(name));

        /// <summary>Takes an answer, and gives what is in force of the name from now on.</summary>
        public NameAnswer<T> Take(string name, DnsAnswer<T> answer)
        {
            var key = Key(name);
            var known = before.FirstOrDefault(a => a.Name == key) ?? new NameAnswer<T>(key, [], Since: null);
            return _answers[key] = answer.Result switch
            {
                DnsResult.Found when known.Records.SequenceEqual(answer.Records) => known with { ConfirmedAt = now },
                DnsResult.Found => new NameAnswer<T>(key, answer.Records, now),
                DnsResult.NotFound or DnsResult.Empty when known.Since is null => known with { Since = now },
                _ => known,
            };
        }

        public ImmutableArray<NameAnswer<T>> Answers() => [.. _answers.Values];
    }
}
