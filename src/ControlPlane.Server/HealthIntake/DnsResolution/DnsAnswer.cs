using System.Collections.Immutable;

namespace ControlPlane.Server.HealthIntake.DnsResolution;

/// <summary>What a look-up gave. Envoy and most resolver libraries do not tell these apart, and each has another remedy.</summary>
internal enum DnsResult
{
    /// <summary>Records.</summary>
    Found,

    /// <summary>The name does not exist (NXDOMAIN).</summary>
    NotFound,

    /// <summary>The name exists, and has no record of the type (NODATA).</summary>
    Empty,

    /// <summary>The servers could not or would not answer, for example SERVFAIL or REFUSED.</summary>
    Failure,

    /// <summary>No server answered in time.</summary>
    Timeout,
}

/// <summary>The answer to one question.</summary>
/// <param name="Result">What it is.</param>
/// <param name="Records">The records; none unless <see cref="DnsResult.Found"/>.</param>
/// <param name="Ttl">How long it holds; zero unless <see cref="DnsResult.Found"/>.</param>
/// <param name="Word">The server's word for a failure, for example <c>SERVFAIL</c>.</param>
internal readonly record struct DnsAnswer<T>(DnsResult Result, ImmutableArray<T> Records, TimeSpan Ttl, string Word)
{
    public static DnsAnswer<T> Of(ImmutableArray<T> records, TimeSpan ttl) => new(DnsResult.Found, records, ttl, "");

    public static DnsAnswer<T> Without(DnsResult result, string word) => new(result, [], TimeSpan.Zero, word);

    /// <summary>The same answer in other records.</summary>
    public DnsAnswer<TOther> With<TOther>(Func<IEnumerable<T>, IEnumerable<TOther>> convert) =>
        new(Result, [.. convert(Records)], Ttl, Word);
}
