using System.Collections.Immutable;
using ControlPlane.Core.Compilation.Rules;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Validation;
using CdsCluster = Envoy.Config.Cluster.V3.Cluster;
using EnvoySecret = Envoy.Extensions.TransportSockets.Tls.V3.Secret;

namespace ControlPlane.Core.Compilation;

/// <summary>A fault that no object has by itself.</summary>
/// <param name="Owner">The object to tell it on.</param>
/// <param name="Problem">The fault.</param>
/// <param name="IsConflict">Whether another object is in the way, rather than something missing.</param>
public sealed record CrossResourceProblem(ResourceKey Owner, ValidationProblem Problem, bool IsConflict)
{
    /// <summary>Whether the author may know better: the name of a cluster that only a proxy's bootstrap has.</summary>
    public bool CanPass { get; init; }
}

/// <summary>What must hold between the resources that a node gets.</summary>
public static class CrossResourceRules
{
    /// <summary>Checks the objects that a change affects against all others.</summary>
    /// <param name="desired">The desired state after the change.</param>
    /// <param name="after">What it compiles to.</param>
    /// <param name="desiredBefore">The desired state before.</param>
    /// <param name="before">What was in force before: finds what is gone.</param>
    /// <param name="affected">The objects that were compiled again.</param>
    /// <param name="nodes">The connected nodes, which show what groups have proxies in common.</param>
    /// <remarks>What was so before is a warning: it must not keep other changes out.</remarks>
    public static IEnumerable<CrossResourceProblem> Check(
        DesiredState desired,
        CompiledState after,
        DesiredState desiredBefore,
        CompiledState before,
        IReadOnlySet<ResourceKey> affected,
        IReadOnlyCollection<NodeIdentity> nodes
    ) =>
        Reserved(after, affected)
            .Concat(Unresolved(after, before, affected))
            .Concat(Misfits(after, before, affected))
            .Concat(StillNamed(after, before, affected))
            .Concat(OutsideGroup(after, before, affected))
            .Concat(SharedAddresses(desired, after, desiredBefore, before, affected, nodes));

    /// <summary>The static cluster of our bootstraps, through which a proxy reaches this server: Envoy keeps it and ignores ours without a word.</summary>
    private const string BootstrapCluster = "xds_cluster";

    private const string BootstrapOnly = "bootstrap-cluster-needed";

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
    private static IEnumerable<CrossResourceProblem> Unresolved(
        CompiledState after,
        CompiledState before,
        IReadOnlySet<ResourceKey> affected
    ) =>
        from key in affected
        let compiled = after.Find(key)
        where compiled is { IsRejected: false }
        from reference in compiled.References
        let target = new ResourceReference(reference.Type, reference.Name)
        where after.OwnerOf(target) is null
        where reference is not { ClusterUse: ClusterUse.ConfigSource, Name: BootstrapCluster }
        // The assignment of an upstream whose names are being resolved is on its way.
        where !(key.Kind == ResourceKind.Upstream && reference.Type == ResourceType.Endpoints && reference.Name == key.Name)
        let isOld = before.OwnerOf(target) is null && before.Find(key) is { IsRejected: false } old && old.References.Contains(reference)
        let isCluster = reference.Type == ResourceType.Cluster
        select new CrossResourceProblem(
            key,
            new ValidationProblem(
                reference.Pointer,
                "reference-not-found",
                reference.ClusterUse == ClusterUse.ConfigSource
                    ? $"Envoy opens a source of configuration only over a cluster of its own bootstrap, and whether the proxies have '{reference.Name}' there is not known here. Write ads: {{}} to have it from this server, name {BootstrapCluster}, or have it taken with ?validation=warn&reason=…"
                    : $"There is no {reference.Type.ShortName} resource '{reference.Name}'. Create the object that makes it first, or in the same request to /api/v1/apply."
                        + (isCluster ? " A cluster of the proxies' own bootstrap is taken with ?validation=warn&reason=…" : ""),
                isOld ? ProblemSeverity.Warning : ProblemSeverity.Error
            ),
            IsConflict: false
        )
        {
            CanPass = isCluster,
        };

    /// <summary>Names of resources that exist and are of no use there: Envoy refuses them, or takes them without a word and then does nothing.</summary>
    private static IEnumerable<CrossResourceProblem> Misfits(CompiledState after, CompiledState before, IReadOnlySet<ResourceKey> affected)
    {
        foreach (var key in affected)
        {
            if (after.Find(key) is not { IsRejected: false } compiled)
            {
                continue;
            }

            var old = before.Find(key);
            foreach (var reference in compiled.References)
            {
                // An upstream that only gets another endpoint is not told again.
                var isSame = old?.References == compiled.References && VersionOf(after, reference) == VersionOf(before, reference);
                if (!isSame && Misfit(after, reference) is { } misfit)
                {
                    var isOld = old?.References.Contains(reference) == true && Misfit(before, reference) is not null;
                    yield return Told(key, misfit, isOld, isConflict: false);
                }
            }

            foreach (var resource in compiled.Resources)
            {
                var target = new ResourceReference(resource.Type, resource.Name);
                if (before.Find(target)?.Version == resource.Version)
                {
                    continue;
                }

                foreach (var referrer in after.Referrers(target).Where(r => !affected.Contains(r)))
                {
                    foreach (var reference in after.Find(referrer)!.References.Where(r => r.Type == target.Type && r.Name == target.Name))
                    {
                        if (Misfit(after, reference) is { } misfit)
                        {
                            misfit = misfit with
                            {
                                Pointer = "/spec",
                                Message = $"{referrer} names this at {misfit.Pointer}: {misfit.Message}",
                            };
                            yield return Told(key, misfit, Misfit(before, reference) is not null, isConflict: true);
                        }
                    }
                }
            }
        }

        static string? VersionOf(CompiledState state, MessageReference reference) =>
            state.Find(new ResourceReference(reference.Type, reference.Name))?.Version;

        static CrossResourceProblem Told(ResourceKey owner, ValidationProblem misfit, bool isOld, bool isConflict) =>
            new(owner, isOld ? misfit with { Severity = ProblemSeverity.Warning } : misfit, isConflict)
            {
                CanPass = misfit.Code == BootstrapOnly,
            };
    }

    /// <summary>Says why the resource that a message names cannot be what it is named for; null if it can, or if there is none.</summary>
    private static ValidationProblem? Misfit(CompiledState state, MessageReference reference)
    {
        var target = new ResourceReference(reference.Type, reference.Name);
        if (
            reference is { Content: null, ClusterUse: ClusterUse.Traffic }
            || state.OwnerOf(target) is not { } owner
            || state.Find(target) is not { } resource
        )
        {
            return null;
        }

        return reference switch
        {
            { Content: { } content } => SecretContents.Misfit(reference.Pointer, owner, content, ContentOf(resource)),
            { ClusterUse: ClusterUse.ConfigSource } => new ValidationProblem(
                reference.Pointer,
                BootstrapOnly,
                $"Envoy opens a source of configuration only over a cluster of its own bootstrap, and '{reference.Name}' is sent by this server ({owner}): every proxy refuses that. Write ads: {{}} to have it from this server, or name a cluster of the bootstrap, such as {BootstrapCluster}."
            ),
            _ when !SpeaksGrpc(resource) => new ValidationProblem(
                reference.Pointer,
                "grpc-needs-http2",
                $"gRPC is spoken over HTTP/2, and {owner} speaks HTTP/1.1 or none: every call fails. "
                    + (
                        owner.Kind == ResourceKind.Upstream
                            ? $"Set /spec/protocol of {owner} to 'grpc', or name another."
                            : $"Give the cluster of {owner} http2ProtocolOptions, or name another."
                    ),
                ProblemSeverity.Warning
            ),
            _ => null,
        };
    }

    private static SecretContent? ContentOf(EncodedResource secret) =>
        EnvoySecret.Parser.ParseFrom(secret.Payload.Span).TypeCase switch
        {
            EnvoySecret.TypeOneofCase.TlsCertificate => SecretContent.Certificate,
            EnvoySecret.TypeOneofCase.ValidationContext => SecretContent.ValidationContext,
            EnvoySecret.TypeOneofCase.SessionTicketKeys => SecretContent.SessionTicketKeys,
            EnvoySecret.TypeOneofCase.GenericSecret => SecretContent.Generic,
            _ => null,
        };

    /// <summary>Of a cluster of clusters it is not known here.</summary>
    private static bool SpeaksGrpc(EncodedResource resource)
    {
        var cluster = CdsCluster.Parser.ParseFrom(resource.Payload.Span);
        return cluster.ClusterDiscoveryTypeCase == CdsCluster.ClusterDiscoveryTypeOneofCase.ClusterType
            || ClusterRules.SpeaksHttp2(cluster);
    }

    /// <summary>Names of resources that not every proxy gets which gets the name.</summary>
    private static IEnumerable<CrossResourceProblem> OutsideGroup(
        CompiledState after,
        CompiledState before,
        IReadOnlySet<ResourceKey> affected
    )
    {
        foreach (var key in affected)
        {
            if (after.Find(key) is not { } compiled)
            {
                continue;
            }

            foreach (var reference in compiled.References.DistinctBy(r => (r.Type, r.Name)))
            {
                if (
                    after.OwnerOf(new ResourceReference(reference.Type, reference.Name)) is { } target
                    && target != key
                    && !Covers(after.Find(target)!.NodeGroups, compiled.NodeGroups)
                )
                {
                    yield return Outside(after, before, key, target, key, reference.Pointer);
                }
            }

            foreach (var resource in compiled.Resources)
            {
                foreach (var referrer in after.Referrers(new ResourceReference(resource.Type, resource.Name)))
                {
                    if (!affected.Contains(referrer) && !Covers(compiled.NodeGroups, after.Find(referrer)!.NodeGroups))
                    {
                        yield return Outside(after, before, referrer, key, key, "/spec/nodeGroups");
                    }
                }
            }
        }
    }

    /// <summary>Whether everyone in one set of groups is in another; no groups are all proxies.</summary>
    private static bool Covers(ImmutableArray<string> target, ImmutableArray<string> referrer) =>
        target.IsEmpty || (!referrer.IsEmpty && referrer.All(target.Contains));

    private static CrossResourceProblem Outside(
        CompiledState after,
        CompiledState before,
        ResourceKey referrer,
        ResourceKey target,
        ResourceKey owner,
        string pointer
    )
    {
        var (from, to) = (after.Find(referrer)!, after.Find(target)!);
        var isOld =
            before.Find(referrer) is { } oldFrom
            && before.Find(target) is { } oldTo
            && oldFrom.NodeGroups.SequenceEqual(from.NodeGroups)
            && oldTo.NodeGroups.SequenceEqual(to.NodeGroups)
            && oldTo.Resources.Any(r => before.Referrers(new ResourceReference(r.Type, r.Name)).Contains(referrer));
        return new CrossResourceProblem(
            owner,
            new ValidationProblem(
                pointer,
                "reference-outside-group",
                $"{referrer} is for {Words(from.NodeGroups)} and names {target}, which is only for {Words(to.NodeGroups)}: the other proxies would look for it in vain. Give {target} no node groups, or all of those of {referrer}; or give {referrer} only groups of {target}.",
                isOld ? ProblemSeverity.Warning : ProblemSeverity.Error
            ),
            IsConflict: owner != referrer
        );
    }

    private static string Words(ImmutableArray<string> groups) =>
        groups.IsEmpty ? "all proxies" : (groups.Length == 1 ? "group " : "groups ") + string.Join(", ", groups);

    /// <summary>Extensions that an object needs and that connected nodes have not announced: they will refuse it.</summary>
    /// <param name="compiled">The object.</param>
    /// <param name="nodes">The connected nodes; those that announced nothing are not judged.</param>
    public static IEnumerable<ValidationProblem> MissingExtensions(CompiledObject compiled, IReadOnlyCollection<NodeIdentity> nodes)
    {
        var needed = compiled.Extensions.Where(e => !e.IsOptional).ToList();
        if (needed.Count == 0)
        {
            yield break;
        }

        // Nodes of one build announce the same, and share the set.
        var builds = nodes.Where(n => n.Extensions is not null).ToLookup(n => n.Extensions!, ReferenceEqualityComparer.Instance);
        foreach (var use in needed)
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
    /// Two listeners on one address: Envoy refuses the second. Only those are compared that can meet on a node, as far as their groups and the connected nodes tell; a change
    /// of a group can bring listeners together that it does not touch.
    /// </summary>
    private static IEnumerable<CrossResourceProblem> SharedAddresses(
        DesiredState desired,
        CompiledState after,
        DesiredState desiredBefore,
        CompiledState before,
        IReadOnlySet<ResourceKey> affected,
        IReadOnlyCollection<NodeIdentity> nodes
    )
    {
        var subjects = affected.Select(key => (Key: key, Group: (ResourceKey?)null)).ToList();
        subjects.AddRange(
            from key in affected
            where key.Kind == ResourceKind.NodeGroup
            from member in desired.Referrers(key)
            where !affected.Contains(member)
            select (member, (ResourceKey?)key)
        );
        subjects.RemoveAll(subject => after.Find(subject.Key) is not { Addresses.IsEmpty: false });
        if (subjects.Count == 0)
        {
            yield break;
        }

        var byAddress = desired
            .List(ResourceKind.Listener)
            .Keys.Select(name => new ResourceKey(ResourceKind.Listener, name))
            .Concat(desired.List(ResourceKind.EnvoyResource).Keys.Select(name => new ResourceKey(ResourceKind.EnvoyResource, name)))
            .Select(after.Find)
            .SelectMany(c => (c?.Addresses ?? []).Select(address => (Address: address, Object: c!)))
            .ToLookup(l => l.Address, l => l.Object);
        var told = new HashSet<(ResourceKey, ResourceKey, string)>();
        foreach (var (key, group) in subjects)
        {
            var subject = after.Find(key)!;
            foreach (var address in subject.Addresses)
            {
                foreach (var other in byAddress[address].Where(o => o.Owner != key))
                {
                    if (Meeting(desired, subject.NodeGroups, other.NodeGroups, nodes) is not { } meeting)
                    {
                        continue;
                    }

                    var had = Had(before, subject, address) && Had(before, other, address);
                    var metBefore = had ? Meeting(desiredBefore, subject.NodeGroups, other.NodeGroups, nodes) : null;
                    if (group is not null && (metBefore?.IsCertain == meeting.IsCertain || !told.Add((key, other.Owner, address))))
                    {
                        // Not by this change, or told already.
                        continue;
                    }

                    told.Add((other.Owner, key, address));
                    yield return new CrossResourceProblem(
                        group ?? key,
                        new ValidationProblem(
                            group is not null ? "/spec/selectors"
                                : key.Kind == ResourceKind.Listener ? "/spec/port"
                                : "/spec/resource/address",
                            "address-taken",
                            group is null
                                ? $"{other.Owner} listens on {address} already, and {meeting.Reason}. Choose another port, or give them node groups that no proxy is in together."
                                : $"{key} and {other.Owner} both listen on {address}, and {meeting.Reason}. Change the port of one of them first, or select proxies that are not in groups of both.",
                            meeting.IsCertain && metBefore is not { IsCertain: true } ? ProblemSeverity.Error : ProblemSeverity.Warning
                        ),
                        IsConflict: true
                    );
                }
            }
        }
    }

    private static bool Had(CompiledState before, CompiledObject listener, string address) =>
        before.Find(listener.Owner) is { } old && old.Addresses.Contains(address) && old.NodeGroups.SequenceEqual(listener.NodeGroups);

    /// <summary>Why a proxy can be in two sets of groups at once; null if none can.</summary>
    private static (string Reason, bool IsCertain)? Meeting(
        DesiredState desired,
        ImmutableArray<string> a,
        ImmutableArray<string> b,
        IReadOnlyCollection<NodeIdentity> nodes
    )
    {
        if (a.IsEmpty || b.IsEmpty || a.Intersect(b).Any())
        {
            return ("a proxy can get both", true);
        }

        var (ones, others) = (GroupsOf(a), GroupsOf(b));
        if (nodes.FirstOrDefault(n => ones.Exists(g => g.Matches(n)) && others.Exists(g => g.Matches(n))) is { } node)
        {
            return ($"the proxy '{node.Id}' gets both", true);
        }

        return ones.TrueForAll(one => others.TrueForAll(other => NodeGroupMatcher.IsDisjoint(one, other)))
            ? null
            : ("a proxy could be in groups of both, though none that is connected is", false);

        List<NodeGroupSpec> GroupsOf(ImmutableArray<string> names) =>
            [.. names.Select(n => desired.Find(new ResourceKey(ResourceKind.NodeGroup, n))?.Manifest.Spec).OfType<NodeGroupSpec>()];
    }
}
