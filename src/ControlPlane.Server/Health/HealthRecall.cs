using System.Collections.Immutable;
using ControlPlane.Core.Health;
using ControlPlane.Server.HealthIntake.DnsResolution;

namespace ControlPlane.Server.Health;

/// <summary>Reads what an earlier process remembered of the endpoints' health, before the first decision. Null where there is nothing, or nothing that can be read.</summary>
internal delegate Task<HealthMemory?> HealthRecall(CancellationToken cancellationToken);

/// <summary>What is remembered over restarts.</summary>
/// <param name="Fleet">Of the fleet; null where that is not among it.</param>
/// <param name="Upstreams">Of each upstream, by name. Those that are no more are passed over.</param>
internal sealed record HealthMemory(FleetMemory? Fleet, ImmutableDictionary<string, RememberedUpstream> Upstreams);

/// <summary>What is remembered of one upstream.</summary>
/// <param name="Memory">What the model remembers; null if it does not decide about the upstream.</param>
/// <param name="Uid">Which upstream of this name; another one that has the name now is new. Null is any.</param>
/// <param name="IsLarge">What its cluster was compiled with (<see cref="Core.Compilation.UpstreamVerdict.IsLarge"/>).</param>
/// <param name="Names">What its names were answered; null if its endpoints are no names. Of whichever upstream of the name: an answer belongs to the name that was asked for.</param>
internal sealed record RememberedUpstream(UpstreamMemory? Memory, Guid? Uid, bool IsLarge, NameMemory? Names = null);

/// <summary>What one evaluation changed, with the reasons of that moment.</summary>
/// <param name="Changes">What changed.</param>
/// <param name="Reasons">
/// Per transition, in their order: why the endpoint is what it became. Where so many changed at once that nobody will read them all, the later ones have no rows of evidence.
/// </param>
internal sealed record HealthNews(HealthChanges Changes, ImmutableArray<EndpointExplanation?> Reasons)
{
    /// <summary>Upstreams of which the desired state says something else than before, such as an order, whether or not that changes a verdict.</summary>
    public ImmutableArray<string> Redefined { get; init; } = [];
}
