using System.Collections.Immutable;
using ControlPlane.Resources;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Compilation;

/// <summary>What the names of an upstream resolve to.</summary>
/// <param name="Endpoints">
/// The endpoints by id; null while no server has answered yet: proxies keep what they have then, which an assignment without endpoints would take from them. They are in no
/// store: their revision is 0.
/// </param>
/// <param name="Problems">Names that are gone, empty, or cannot be resolved; warnings, since the last answers stay in force.</param>
public sealed record ResolvedEndpoints(
    ImmutableSortedDictionary<string, StoredResource>? Endpoints,
    ImmutableArray<ValidationProblem> Problems
);
