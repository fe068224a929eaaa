using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Compilation;

/// <summary>What one object became: its xDS resources, or the reason why it has none.</summary>
public sealed record CompiledObject
{
    /// <summary>The object.</summary>
    public required ResourceKey Owner { get; init; }

    /// <summary>The groups of nodes that get the resources; empty means every node.</summary>
    public required ImmutableArray<string> NodeGroups { get; init; }

    /// <summary>The revision of the object that was compiled.</summary>
    public required long ObjectRevision { get; init; }

    /// <summary>What is in force. Where the newest state does not compile these are those of the last state that did.</summary>
    public required ImmutableArray<EncodedResource> Resources { get; init; }

    /// <summary>Other xDS resources that the object's messages name, with the places.</summary>
    public ImmutableArray<MessageReference> References { get; init; } = [];

    /// <summary>The extensions that a proxy must have for the object's messages.</summary>
    public ImmutableArray<ExtensionUse> Extensions { get; init; } = [];

    /// <summary>The addresses that the object's listener binds, each in one spelling; empty of anything else.</summary>
    public ImmutableArray<string> Addresses { get; init; } = [];

    /// <summary>What is wrong with the newest state, warnings included. What was let past a check stays here though it is in force.</summary>
    public ImmutableArray<ValidationProblem> Problems { get; init; } = [];

    /// <summary>The part of <see cref="Problems"/> that does not depend on endpoints.</summary>
    internal ImmutableArray<ValidationProblem> SpecProblems { get; init; } = [];

    /// <summary>Whether no message could be made of the newest state, so that <see cref="Resources"/> are older.</summary>
    public bool IsRejected { get; init; }

    /// <summary>Number of endpoints that take new requests, of an upstream whose endpoints are ours; null of anything else.</summary>
    public int? ActiveEndpoints { get; init; }

    /// <summary>Of an upstream: the assignments that proxies of some zones get in place of the one in <see cref="Resources"/>, by zone.</summary>
    public ImmutableSortedDictionary<string, EncodedResource> ZoneAssignments { get; init; } =
        ImmutableSortedDictionary<string, EncodedResource>.Empty;

    /// <summary>Of an upstream: what <see cref="UpstreamVerdict.IsLarge"/> its cluster was compiled with.</summary>
    internal bool? IsLarge { get; init; }

    /// <summary>When time alone changes the object: a drain ends, an order expires. Null: never.</summary>
    public DateTimeOffset? NextChangeAt { get; init; }
}

/// <summary>The part of the world outside the desired state that compilation depends on.</summary>
/// <param name="Now">The time at which drains and orders are judged.</param>
/// <param name="Secrets">The bytes that a secret's sources hold.</param>
public sealed record CompilationInputs(DateTimeOffset Now, Func<SecretSpec, SecretMaterial> Secrets)
{
    /// <summary>What the health model has decided about an upstream; null before it has.</summary>
    public Func<string, UpstreamVerdict?> Health { get; init; } = static _ => null;
}

/// <summary>
/// Every object compiled, at one revision. Immutable; <see cref="Recompile"/> does work in proportion to the objects that were touched, whatever the size of the whole.
/// </summary>
public sealed class CompiledState
{
    private readonly ImmutableDictionary<ResourceKey, CompiledObject> _objects;
    private readonly ImmutableDictionary<ResourceReference, ResourceKey> _owners;
    private readonly ImmutableDictionary<ResourceReference, ImmutableHashSet<ResourceKey>> _referrers;

    private CompiledState(
        ImmutableDictionary<ResourceKey, CompiledObject> objects,
        ImmutableDictionary<ResourceReference, ResourceKey> owners,
        ImmutableDictionary<ResourceReference, ImmutableHashSet<ResourceKey>> referrers
    )
    {
        _objects = objects;
        _owners = owners;
        _referrers = referrers;
    }

    /// <summary>The state without objects.</summary>
    public static CompiledState Empty { get; } =
        new(
            ImmutableDictionary<ResourceKey, CompiledObject>.Empty,
            ImmutableDictionary<ResourceReference, ResourceKey>.Empty,
            ImmutableDictionary<ResourceReference, ImmutableHashSet<ResourceKey>>.Empty
        );

    /// <summary>Every compiled object.</summary>
    public IEnumerable<CompiledObject> Objects => _objects.Values;

    /// <summary>The compiled form of an object; null for kinds that compile to nothing.</summary>
    public CompiledObject? Find(ResourceKey owner) => _objects.GetValueOrDefault(owner);

    /// <summary>The object that an xDS resource comes from, or null.</summary>
    public ResourceKey? OwnerOf(ResourceReference resource) => _owners.TryGetValue(resource, out var owner) ? owner : null;

    /// <summary>The xDS resource of a type and name that is in force, or null.</summary>
    public EncodedResource? Find(ResourceReference resource) =>
        _owners.TryGetValue(resource, out var owner)
            ? _objects[owner].Resources.FirstOrDefault(r => r.Type == resource.Type && r.Name == resource.Name)
            : null;

    /// <summary>The objects whose messages name an xDS resource.</summary>
    public ImmutableHashSet<ResourceKey> Referrers(ResourceReference resource) => _referrers.GetValueOrDefault(resource, []);

    /// <summary>
    /// The objects that have to be compiled again after some were touched: an endpoint or an order touches its upstream's assignment, a route table the listeners that hold it inline.
    /// </summary>
    public static IReadOnlySet<ResourceKey> Affected(DesiredState desired, IEnumerable<ResourceKey> touched)
    {
        var affected = new HashSet<ResourceKey>();
        foreach (var key in touched)
        {
            if (DesiredState.IsSubResource(key.Kind))
            {
                affected.Add(new ResourceKey(ResourceKind.Upstream, key.Parent));
                continue;
            }

            affected.Add(key);
            if (key.Kind == ResourceKind.RouteTable)
            {
                affected.UnionWith(desired.Referrers(key).Where(r => r.Kind == ResourceKind.Listener));
            }
        }

        return affected;
    }

    /// <summary>Compiles the objects again that a change affects, or that time or a secret's file did.</summary>
    /// <param name="desired">The desired state after the change.</param>
    /// <param name="affected">The objects, from <see cref="Affected"/>.</param>
    /// <param name="inputs">Time and secrets.</param>
    public CompiledState Recompile(DesiredState desired, IReadOnlyCollection<ResourceKey> affected, CompilationInputs inputs)
    {
        var objects = _objects.ToBuilder();
        var owners = _owners.ToBuilder();
        var referrers = _referrers.ToBuilder();
        var compiled = new List<CompiledObject>(affected.Count);

        foreach (var key in affected)
        {
            var before = _objects.GetValueOrDefault(key);
            var after = desired.Find(key) is { } resource ? ObjectCompiler.Compile(resource, desired, before, inputs) : null;
            foreach (var old in before?.Resources ?? [])
            {
                var reference = new ResourceReference(old.Type, old.Name);
                if (owners.TryGetValue(reference, out var owner) && owner == key)
                {
                    owners.Remove(reference);
                }

                foreach (var target in old.References)
                {
                    var known = referrers.GetValueOrDefault(target, []).Remove(key);
                    if (known.IsEmpty)
                    {
                        referrers.Remove(target);
                    }
                    else
                    {
                        referrers[target] = known;
                    }
                }
            }

            if (after is null)
            {
                objects.Remove(key);
            }
            else
            {
                compiled.Add(after);
            }
        }

        // Names are given out after all were taken back, so that a name can move from one object to another in one change.
        foreach (var after in compiled)
        {
            objects[after.Owner] = after;
            foreach (var resource in after.Resources)
            {
                owners.TryAdd(new ResourceReference(resource.Type, resource.Name), after.Owner);
                foreach (var target in resource.References)
                {
                    referrers[target] = referrers.GetValueOrDefault(target, []).Add(after.Owner);
                }
            }
        }

        return new CompiledState(objects.ToImmutable(), owners.ToImmutable(), referrers.ToImmutable());
    }
}
