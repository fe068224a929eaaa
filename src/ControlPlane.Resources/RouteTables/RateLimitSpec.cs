using System.Collections.Immutable;

namespace ControlPlane.Resources.RouteTables;

/// <summary>
/// One descriptor for a rate-limit service. It has an effect only on listeners with the filter <c>envoy.filters.http.ratelimit</c> (or
/// <c>envoy.filters.http.local_ratelimit</c> with descriptors).
/// </summary>
public sealed record RateLimitSpec
{
    /// <summary>Which rate-limit filter this is for, from 0 to 10.</summary>
    public uint Stage { get; init; }

    /// <summary>The runtime key that switches this limit off.</summary>
    public string? DisableKey { get; init; }

    /// <summary>The entries of the descriptor, in this order. If one of them has no value, the descriptor is not sent.</summary>
    public ImmutableArray<RateLimitActionSpec> Actions { get; init; } = [];
}

/// <summary>One entry of a descriptor: exactly one of the members.</summary>
public sealed record RateLimitActionSpec
{
    /// <summary>The proxy's own cluster: <c>source_cluster</c>.</summary>
    public bool SourceCluster { get; init; }

    /// <summary>The upstream that the route chose: <c>destination_cluster</c>.</summary>
    public bool DestinationCluster { get; init; }

    /// <summary>The client's address: <c>remote_address</c>.</summary>
    public bool RemoteAddress { get; init; }

    /// <summary>The client's network: <c>masked_remote_address</c>.</summary>
    public AddressMaskSpec? MaskedRemoteAddress { get; init; }

    /// <summary>The value of a request header.</summary>
    public RequestHeaderEntrySpec? RequestHeader { get; init; }

    /// <summary>A fixed text.</summary>
    public GenericKeyEntrySpec? GenericKey { get; init; }

    /// <summary>A fixed text if headers match.</summary>
    public HeaderValueMatchEntrySpec? HeaderValueMatch { get; init; }

    /// <summary>A fixed text if query parameters match.</summary>
    public QueryParameterValueMatchEntrySpec? QueryParameterValueMatch { get; init; }

    /// <summary>A value from metadata.</summary>
    public MetadataEntrySpec? Metadata { get; init; }
}

/// <summary>How much of an address counts.</summary>
public sealed record AddressMaskSpec
{
    /// <summary>Bits of an IPv4 address, from 0 to 32.</summary>
    public uint V4PrefixLength { get; init; } = 32;

    /// <summary>Bits of an IPv6 address, from 0 to 128.</summary>
    public uint V6PrefixLength { get; init; } = 128;
}

/// <summary>An entry whose value is that of a request header.</summary>
public sealed record RequestHeaderEntrySpec
{
    /// <summary>The header.</summary>
    public required string Name { get; init; }

    /// <summary>The entry's key.</summary>
    public required string Key { get; init; }

    /// <summary>Whether the descriptor is sent without this entry where the header is absent; else it is not sent at all.</summary>
    public bool SkipIfAbsent { get; init; }
}

/// <summary>An entry with a fixed value.</summary>
public sealed record GenericKeyEntrySpec
{
    /// <summary>The entry's key; <c>generic_key</c> when not given.</summary>
    public string? Key { get; init; }

    /// <summary>The entry's value.</summary>
    public required string Value { get; init; }
}

/// <summary>An entry with a fixed value that is there if headers match.</summary>
public sealed record HeaderValueMatchEntrySpec
{
    /// <summary>The entry's key; <c>header_match</c> when not given.</summary>
    public string? Key { get; init; }

    /// <summary>The entry's value.</summary>
    public required string Value { get; init; }

    /// <summary>Whether the headers must match (true) or must not (false).</summary>
    public bool ExpectMatch { get; init; } = true;

    /// <summary>Conditions on headers; all must hold; at least one.</summary>
    public ImmutableArray<HeaderMatchSpec> Headers { get; init; } = [];
}

/// <summary>An entry with a fixed value that is there if query parameters match.</summary>
public sealed record QueryParameterValueMatchEntrySpec
{
    /// <summary>The entry's key; <c>query_match</c> when not given.</summary>
    public string? Key { get; init; }

    /// <summary>The entry's value.</summary>
    public required string Value { get; init; }

    /// <summary>Whether the parameters must match (true) or must not (false).</summary>
    public bool ExpectMatch { get; init; } = true;

    /// <summary>Conditions on query parameters; all must hold; at least one.</summary>
    public ImmutableArray<QueryParameterMatchSpec> QueryParameters { get; init; } = [];
}

/// <summary>Where a value of metadata comes from.</summary>
public enum MetadataSource
{
    /// <summary>What filters wrote for this request, for example claims of a token.</summary>
    Dynamic,

    /// <summary>What stands at the route.</summary>
    RouteEntry,
}

/// <summary>An entry whose value comes from metadata.</summary>
public sealed record MetadataEntrySpec
{
    /// <summary>The entry's key.</summary>
    public required string Key { get; init; }

    /// <summary>The namespace, usually the name of the filter that wrote it, for example <c>envoy.filters.http.jwt_authn</c>.</summary>
    public required string Namespace { get; init; }

    /// <summary>The way to the value inside the namespace; at least one step.</summary>
    public ImmutableArray<string> Path { get; init; } = [];

    /// <summary>The value where metadata has none.</summary>
    public string? DefaultValue { get; init; }

    /// <summary>Which metadata.</summary>
    public MetadataSource Source { get; init; }

    /// <summary>Whether the descriptor is sent without this entry where there is no value; else it is not sent at all.</summary>
    public bool SkipIfAbsent { get; init; }
}
