using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Net;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.HealthIntake.LoadReporting;

/// <summary>
/// The upstreams that proxies report about, found by the bytes of a report without making a string of them. What is known of an upstream follows the desired
/// state: it is looked at again when that has changed, and made anew only when the upstream or its endpoints did.
/// </summary>
internal sealed class ReportedUpstreams
{
    private readonly CurrentState _current;
    private readonly ConcurrentDictionary<string, ReportedUpstream> _byName = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, ReportedUpstream>.AlternateLookup<ReadOnlySpan<char>> _lookup;

    public ReportedUpstreams(CurrentState current)
    {
        _current = current;
        _lookup = _byName.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>The upstream of a name; null if there is none.</summary>
    public ReportedUpstream? Find(ReadOnlySpan<char> name)
    {
        var desired = _current.Desired;
        if (_lookup.TryGetValue(name, out var known) && known.IsOf(desired))
        {
            return known;
        }

        var text = name.ToString();
        if (desired.Find(new ResourceKey(ResourceKind.Upstream, text)) is not { } upstream)
        {
            _byName.TryRemove(text, out _);
            return null;
        }

        var reported = known ?? _byName.GetOrAdd(text, static n => new ReportedUpstream(n));
        reported.Follow(desired, upstream);
        return reported;
    }

    /// <summary>What was reported about each upstream of now since the start; zero where nothing was.</summary>
    public IEnumerable<(string Upstream, long Requests, long Errors)> Totals()
    {
        var upstreams = _current.Desired.List(ResourceKind.Upstream);
        foreach (var name in upstreams.Keys)
        {
            yield return _byName.TryGetValue(name, out var reported) ? (name, reported.Requests, reported.Errors) : (name, 0, 0);
        }

        // Those that went while nobody reported about them.
        foreach (var name in _byName.Keys)
        {
            if (!upstreams.ContainsKey(name) && !_current.Desired.List(ResourceKind.Upstream).ContainsKey(name))
            {
                _byName.TryRemove(name, out _);
            }
        }
    }
}

/// <summary>One upstream, as reports need it.</summary>
internal sealed class ReportedUpstream(string name)
{
    private volatile View? _view;
    private long _requests;
    private long _errors;

    public string Name { get; } = name;

    /// <summary>The groups of nodes that get the upstream; empty means every node.</summary>
    public ImmutableArray<string> NodeGroups => _view?.NodeGroups ?? [];

    /// <summary>Requests that were reported since the start.</summary>
    public long Requests => Volatile.Read(ref _requests);

    /// <summary>Those of them that failed.</summary>
    public long Errors => Volatile.Read(ref _errors);

    public bool IsOf(DesiredState desired) => ReferenceEquals(_view?.Desired, desired);

    /// <summary>The id of the endpoint that has an address; null if none has.</summary>
    /// <param name="address">An IP address, or the path of a Unix domain socket.</param>
    /// <param name="port">The port; 0 for a path.</param>
    public string? FindEndpoint(ReadOnlySpan<char> address, int port) => _view?.Addresses.Find(address, port);

    public void Add(long successes, long errors)
    {
        Interlocked.Add(ref _requests, successes + errors);
        Interlocked.Add(ref _errors, errors);
    }

    public void Follow(DesiredState desired, StoredResource upstream)
    {
        var registered = desired.Children(ResourceKind.Endpoint, Name);
        var before = _view;
        if (before is not null && ReferenceEquals(before.Upstream, upstream) && ReferenceEquals(before.Registered, registered))
        {
            _view = before with { Desired = desired };
            return;
        }

        var spec = (UpstreamSpec)upstream.Manifest.Spec;
        _view = new View(desired, upstream, registered, spec.NodeGroups, new EndpointAddresses(Endpoints(spec, registered)));
    }

    private static IEnumerable<(string Id, EndpointSpec Endpoint)> Endpoints(
        UpstreamSpec spec,
        ImmutableSortedDictionary<string, StoredResource> registered
    ) =>
        spec.Endpoints.Source switch
        {
            EndpointSource.Static => spec.Endpoints.Static.Select(e => (e.DefaultId(), e)),
            EndpointSource.Registration or EndpointSource.Dns => registered.Select(e => (e.Key, (EndpointSpec)e.Value.Manifest.Spec)),
            _ => [],
        };

    private sealed record View(
        DesiredState Desired,
        StoredResource Upstream,
        ImmutableSortedDictionary<string, StoredResource> Registered,
        ImmutableArray<string> NodeGroups,
        EndpointAddresses Addresses
    );
}

/// <summary>Which endpoint of one upstream has an address. Envoy reports the address, in whatever spelling the system gives it, and knows no ids.</summary>
internal sealed class EndpointAddresses
{
    /// <summary>The longest address in characters: a Unix path.</summary>
    public const int MaxLength = NetworkAddress.MaxUnixPathLength;

    private readonly Dictionary<string, string> _ids = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string>.AlternateLookup<ReadOnlySpan<char>> _lookup;

    /// <summary>Indexes the endpoints. Of two with the same address, which Envoy takes for one host, the first stands for it; primary addresses go before additional ones.</summary>
    public EndpointAddresses(IEnumerable<(string Id, EndpointSpec Endpoint)> endpoints)
    {
        _lookup = _ids.GetAlternateLookup<ReadOnlySpan<char>>();
        var further = new List<(string Id, EndpointAddressSpec Address)>();
        foreach (var (id, endpoint) in endpoints)
        {
            _ids.TryAdd(KeyOf(endpoint.Address, endpoint.Port), id);
            further.AddRange(endpoint.AdditionalAddresses.Select(address => (id, address)));
        }

        foreach (var (id, address) in further)
        {
            _ids.TryAdd(KeyOf(address.Address, address.Port), id);
        }
    }

    public string? Find(ReadOnlySpan<char> address, int port)
    {
        Span<char> key = stackalloc char[MaxLength + 8];
        if (address.Length > MaxLength)
        {
            return null;
        }

        if (_lookup.TryGetValue(Write(key, address, port), out var id))
        {
            return id;
        }

        // An IPv6 address has many spellings; ours is that of .NET.
        Span<char> canonical = stackalloc char[MaxLength];
        return
            address.Contains(':')
            && IPAddress.TryParse(address, out var ip)
            && ip.TryFormat(canonical, out var length)
            && _lookup.TryGetValue(Write(key, canonical[..length], port), out id)
            ? id
            : null;
    }

    private static string KeyOf(string address, int port)
    {
        if (NetworkAddress.IsUnix(address))
        {
            return $"{address[NetworkAddress.UnixPrefix.Length..]} 0";
        }

        return NetworkAddress.TryParseIp(address, out var ip) ? $"{ip} {port}" : $"{address} {port}";
    }

    private static ReadOnlySpan<char> Write(Span<char> key, ReadOnlySpan<char> address, int port)
    {
        address.CopyTo(key);
        key[address.Length] = ' ';
        port.TryFormat(key[(address.Length + 1)..], out var digits);
        return key[..(address.Length + 1 + digits)];
    }
}
