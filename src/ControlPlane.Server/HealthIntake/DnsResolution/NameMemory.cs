using System.Collections.Immutable;
using System.Text.Json.Serialization;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Server.HealthIntake.DnsResolution;

/// <summary>
/// What the names of an upstream were answered last: all that is needed to say what they resolve to. Kept over restarts, and told to the servers that do not ask. Plain values, the same
/// text for the same answers.
/// </summary>
/// <param name="Addresses">Names that were asked for addresses, in ordinal order.</param>
/// <param name="Services">Names that were asked for services, in ordinal order.</param>
/// <param name="Problems">What went wrong in the last round.</param>
internal sealed record NameMemory(
    ImmutableArray<NameAnswer<string>> Addresses,
    ImmutableArray<NameAnswer<ServiceTarget>> Services,
    ImmutableArray<ValidationProblem> Problems
)
{
    /// <summary>Nothing was asked yet.</summary>
    public static NameMemory Nothing { get; } = new([], [], []);
}

/// <summary>The last records of a name.</summary>
/// <param name="Name">The name, in lower case.</param>
/// <param name="Records">The records, in an order of ours; none if there never were any.</param>
/// <param name="Since">When they were answered first, or that there are none; null if no server has answered yet.</param>
internal sealed record NameAnswer<T>(string Name, ImmutableArray<T> Records, DateTimeOffset? Since)
{
    /// <summary>When they were answered last. Not remembered: an answer that is confirmed each second would be written each second.</summary>
    [JsonIgnore]
    public DateTimeOffset? ConfirmedAt { get; init; } = Since;
}

/// <summary>One record of a service (RFC 2782).</summary>
/// <param name="Name">The name that has its addresses.</param>
/// <param name="Port">The port, 0 to 65535.</param>
/// <param name="Weight">The weight, 0 to 65535.</param>
/// <param name="Priority">The priority, 0 to 65535; the lowest is used first.</param>
internal sealed record ServiceTarget(string Name, int Port, uint Weight, int Priority);
