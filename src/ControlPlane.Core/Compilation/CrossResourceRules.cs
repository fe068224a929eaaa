using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Compilation;

/// <summary>A fault that no object has by itself.</summary>
/// <param name="Owner">The object to tell it on.</param>
/// <param name="Problem">The fault.</param>
/// <param name="IsConflict">Whether another object is in the way, rather than something missing.</param>
public sealed record CrossResourceProblem(ResourceKey Owner, ValidationProblem Problem, bool IsConflict);

/// <summary>What must hold between the resources that a node gets.</summary>
public static class CrossResourceRules
{
    /// <summary>Checks the objects that a change affects against all others.</summary>
    /// <param name="desired">The desired state after the change.</param>
    /// <param name="after">What it compiles to.</param>
    /// <param name="before">What was in force before: finds what is gone.</param>
    /// <param name="affected">The objects that were compiled again.</param>
    public static IEnumerable<CrossResourceProblem> Check(
        DesiredState desired,
        CompiledState after,
        CompiledState before,
        IReadOnlySet<ResourceKey> affected
    ) =>
        Reserved(after, affected)
            .Concat(Unresolved(after, affected))
            .Concat(StillNamed(after, before, affected))
            .Concat(SharedAddresses(desired, affected));

    /// <summary>The static cluster of our bootstraps, through which a proxy reaches this server: Envoy keeps it and ignores ours without a word.</summary>
    private const string BootstrapCluster = "xds_cluster";

    private static IEnumerable<CrossResourceProblem> Reserved(CompiledState after, IReadOnlySet<ResourceKey> affected) =>
        from key in affected
        where after.OwnerOf(new ResourceReference(ResourceType.Cluster, BootstrapCluster)) == key
        select new CrossResourceProblem(
            key,
            new ValidationProblem(
                "/metadata/name",
                "reserved-name",
                $"'{BootstrapCluster}' is the static cluster of the bootstraps; a proxy would ignore another of that name without a word. Choose another name."
            ),
            IsConflict: false
        );

    /// <summary>Names inside messages that no resource has; those of friendly specs are checked as references of the spec.</summary>
    private static IEnumerable<CrossResourceProblem> Unresolved(CompiledState after, IReadOnlySet<ResourceKey> affected) =>
        from key in affected
        let compiled = after.Find(key)
        where compiled is { IsRejected: false }
        from reference in compiled.References
        where after.OwnerOf(new ResourceReference(reference.Type, reference.Name)) is null
        // The assignment of an upstream whose names are being resolved is on its way.
        where !(key.Kind == ResourceKind.Upstream && reference.Type == ResourceType.Endpoints && reference.Name == key.Name)
        select new CrossResourceProblem(
            key,
            new ValidationProblem(
                reference.Pointer,
                "reference-not-found",
                $"There is no {reference.Type.ShortName} resource '{reference.Name}'. Create the object that makes it first, or in the same request to /api/v1/apply."
            ),
            IsConflict: false
        );

    /// <summary>Extensions that an object needs and that connected nodes have not announced: they will refuse it.</summary>
    /// <param name="compiled">The object.</param>
    /// <param name="nodes">The connected nodes; those that announced nothing are not judged.</param>
    public static IEnumerable<ValidationProblem> MissingExtensions(CompiledObject compiled, IReadOnlyCollection<NodeIdentity> nodes)
    {
        // Nodes of one build announce the same, and share the set.
        var builds = nodes.Where(n => n.Extensions is not null).ToLookup(n => n.Extensions!, ReferenceEqualityComparer.Instance);
        foreach (var use in compiled.Extensions.Where(e => !e.IsOptional))
        {
            var lacking = builds
                .Where(b =>
                    !((ImmutableHashSet<string>)b.Key!).Contains(
                        use.TypeUrl.Length > 0 ? use.TypeUrl[(use.TypeUrl.LastIndexOf('/') + 1)..] : use.Name
                    )
                )
                .SelectMany(b => b)
                .Select(n => n.Id)
                .Distinct()
                .Order(StringComparer.Ordinal)
                .ToList();
            if (lacking.Count > 0)
            {
                var shown = string.Join(", ", lacking.Take(5)) + (lacking.Count > 5 ? $" and {lacking.Count - 5} more" : "");
                yield return new ValidationProblem(
                    use.Pointer,
                    "extension-missing",
                    $"The extension {use.Name} ({use.TypeUrl}) was not announced by {shown}: they will refuse this. Give it to a node group of proxies that have it.",
                    ProblemSeverity.Warning
                );
            }
        }
    }

    /// <summary>Resources that are gone and that a message still names.</summary>
    private static IEnumerable<CrossResourceProblem> StillNamed(
        CompiledState after,
        CompiledState before,
        IReadOnlySet<ResourceKey> affected
    ) =>
        from key in affected
        from resource in before.Find(key)?.Resources ?? []
        let reference = new ResourceReference(resource.Type, resource.Name)
        where after.OwnerOf(reference) is null
        from referrer in after.Referrers(reference)
        where !affected.Contains(referrer)
        select new CrossResourceProblem(
            key,
            new ValidationProblem(
                "",
                "still-referenced",
                $"{referrer} names the {resource.Type.ShortName} resource '{resource.Name}', which would be gone. Change or delete that first, or in the same request to /api/v1/apply."
            ),
            IsConflict: true
        );

    /// <summary>
    /// Two listeners on one address: Envoy refuses the second. Only those are compared that can meet on a node, as far as their groups tell.
    /// </summary>
    private static IEnumerable<CrossResourceProblem> SharedAddresses(DesiredState desired, IReadOnlySet<ResourceKey> affected)
    {
        if (!affected.Any(k => k.Kind == ResourceKind.Listener))
        {
            yield break;
        }

        var byAddress = desired
            .List(ResourceKind.Listener)
            .Values.Select(l => (l.Key, Spec: (ListenerSpec)l.Manifest.Spec))
            .Where(l => !string.IsNullOrEmpty(l.Spec.Address))
            .ToLookup(l => (l.Spec.Address, l.Spec.Port));
        foreach (var key in affected.Where(k => k.Kind == ResourceKind.Listener))
        {
            if (desired.Find(key)?.Manifest.Spec is not ListenerSpec { Address: { Length: > 0 } } spec)
            {
                continue;
            }

            foreach (
                var other in byAddress[(spec.Address, spec.Port)].Where(o => o.Key != key && CanMeet(o.Spec.NodeGroups, spec.NodeGroups))
            )
            {
                yield return new CrossResourceProblem(
                    key,
                    new ValidationProblem(
                        "/spec/port",
                        "address-taken",
                        $"{other.Key} listens on {spec.Address}:{spec.Port} already, and a proxy can get both. Choose another port, or give them node groups that no proxy is in together."
                    ),
                    IsConflict: true
                );
            }
        }
    }

    private static bool CanMeet(ImmutableArray<string> a, ImmutableArray<string> b) => a.IsEmpty || b.IsEmpty || a.Intersect(b).Any();
}
