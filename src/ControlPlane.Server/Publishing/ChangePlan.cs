using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Telemetry;

namespace ControlPlane.Server.Publishing;

/// <summary>
/// What a request would do to a state: everything that is wrong with it, or the successor that it makes. Pure: the same request on the same state gives the same plan.
/// </summary>
/// <remarks>
/// The checks go from the near to the far: what each object says (field rules), what it names (references), what it compiles to (Envoy's rules), what all objects together
/// amount to (names and addresses taken), what the change does to traffic (guards). All faults are reported at once: an object with a fault that would make a later check
/// speak of what is not so is left out of it, and the others go on.
/// </remarks>
internal sealed class ChangePlan
{
    /// <summary>A change that deletes at least this many upstreams, and more than half of all, is asked to be confirmed.</summary>
    private const int MassDeletion = 10;

    private readonly ChangeRequest _request;
    private readonly StatePair _before;
    private readonly CompilationInputs _inputs;
    private readonly IReadOnlyCollection<NodeIdentity> _nodes;
    private readonly List<ObjectProblem> _problems = [];
    private readonly List<ObjectProblem> _warnings = [];
    private readonly Dictionary<ResourceKey, int> _indexes = [];

    /// <summary>Objects of the request that cannot be read; the name is empty where that cannot either.</summary>
    private readonly HashSet<ResourceKey> _unread = [];
    private readonly HashSet<(int Index, ValidationProblem Warning)> _told = [];
    private Dictionary<string, int>? _firstChildren;
    private readonly Dictionary<string, ILookup<string, string>> _addresses = [];
    private bool _conflict;

    private ChangePlan(ChangeRequest request, StatePair before, CompilationInputs inputs, IReadOnlyCollection<NodeIdentity> nodes)
    {
        _request = request;
        _before = before;
        _inputs = inputs;
        _nodes = nodes;
        After = before;
    }

    /// <summary>How the request ends; of a plan that writes, how it ends if the write succeeds.</summary>
    public required ChangeOutcome Outcome { get; init; }

    /// <summary>The successor.</summary>
    public StatePair After { get; private set; }

    /// <summary>Objects to write, with their canonical form.</summary>
    public ImmutableArray<(StoredResource Resource, string Json)> Written { get; private set; } = [];

    /// <summary>Objects to delete, as they were.</summary>
    public ImmutableArray<StoredResource> Deleted { get; private set; } = [];

    /// <summary>Whether there is anything to commit.</summary>
    public bool Writes => Outcome is ChangeApplied && (!Written.IsEmpty || !Deleted.IsEmpty);

    /// <summary>Works out what a request does.</summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="before">The state in force.</param>
    /// <param name="inputs">Time and secrets.</param>
    /// <param name="nodes">The connected nodes, whose extensions are looked at.</param>
    public static ChangePlan Make(
        ChangeRequest request,
        StatePair before,
        CompilationInputs inputs,
        IReadOnlyCollection<NodeIdentity> nodes
    )
    {
        request = request with { Changes = [.. request.Changes.Select(change => Settle(change, before.Desired))] };
        var draft = new ChangePlan(request, before, inputs, nodes) { Outcome = null! };
        var outcome = draft.Decide();
        return new ChangePlan(request, before, inputs, nodes)
        {
            Outcome = outcome,
            After = draft.After,
            Written = draft.Written,
            Deleted = draft.Deleted,
        };
    }

    private static ObjectChange Settle(ObjectChange change, DesiredState before) =>
        change.Manifest is { } manifest
            ? change with
            {
                Manifest = manifest with { Spec = manifest.Spec.Settle(before.Find(change.Key)?.Manifest.Spec) },
            }
            : change;

    private ChangeOutcome Decide()
    {
        var changes = _request.Changes;
        ChangeOutcome? elsewhere = null;
        for (var index = 0; index < changes.Count; index++)
        {
            var change = changes[index];
            if (!_indexes.TryAdd(change.Key, index) && change.Manifest is not null)
            {
                Fault(
                    index,
                    "",
                    "duplicate-object",
                    $"{change.Key} stands twice in this request, first as object {_indexes[change.Key] + 1}. Keep one of them."
                );
            }

            var current = _before.Desired.Find(change.Key);
            if (change.ExpectedRevision is { } expected && expected != (current?.Revision ?? 0))
            {
                elsewhere ??= new PreconditionFailed(change.Key, expected, current);
            }

            if (change.IsDeletion && current is null)
            {
                elsewhere ??= new ObjectNotFound(change.Key);
            }

            if (!change.Faults.IsEmpty)
            {
                if (change.Manifest is null)
                {
                    _unread.Add(change.Key);
                }

                Take(index, change.Faults);
            }
            else if (change.Manifest is { } manifest)
            {
                var collector = new ProblemCollector();
                SpecTypes.Validate(manifest.Kind, manifest.Spec, collector);
                if (manifest.Kind == ResourceKind.Endpoint)
                {
                    // It is compiled as a part of its upstream, where nobody could tell whose fault is whose.
                    ObjectCompiler.CheckOverlay(manifest.Spec, collector);
                }

                Take(index, collector.Problems);
            }
        }

        // What it says is judged before what it meets (RFC 9110, 13.2.1).
        if (elsewhere is not null && _problems.Count == 0)
        {
            return elsewhere;
        }

        var unsound = _problems.Select(p => p.Key).ToHashSet();
        var results = Apply();
        if (_problems.Count == 0 && Written.IsEmpty && Deleted.IsEmpty)
        {
            return new ChangeApplied(_before.Desired.Revision, results, [.. _warnings], ChangeImpact.None);
        }

        CheckReferences();
        var touched = Written.Select(w => w.Resource.Key).Concat(Deleted.Select(d => d.Key)).ToList();
        var affected = CompiledState.Affected(After.Desired, touched);
        if (_problems.Count > 0)
        {
            CheckRest(affected, unsound);
            return new ChangeInvalid([.. _problems], _conflict);
        }

        After = After with { Compiled = Compile(After.Desired, affected) };
        CheckCompiled(affected, ImmutableHashSet<ResourceKey>.Empty);
        if (_problems.Count > 0)
        {
            return new ChangeInvalid([.. _problems], _conflict);
        }

        var impact = ImpactOf(affected);
        if (Guards(affected) is { Length: > 0 } effects)
        {
            var digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', effects))))[..16];
            if (_request.Confirm != digest)
            {
                return new ConfirmationRequired(digest, effects, impact);
            }
        }

        return new ChangeApplied(After.Desired.Revision, results, [.. _warnings], impact);
    }

    /// <summary>
    /// Of a change that has faults already: finds those that compilation shows. What cannot be compiled for its faults is as if it were not there, and nobody is blamed for naming it.
    /// </summary>
    private void CheckRest(IReadOnlySet<ResourceKey> affected, HashSet<ResourceKey> unsound)
    {
        foreach (var (resource, _) in Written.Where(w => unsound.Contains(w.Resource.Key) && w.Resource.Key.Kind != ResourceKind.Endpoint))
        {
            var collector = new ProblemCollector();
            ObjectCompiler.CheckOverlay(resource.Manifest.Spec, collector);
            Take(_indexes[resource.Key], collector.Problems);
        }

        var left = CompiledState.Affected(After.Desired, unsound);
        After = After with
        {
            Compiled = Compile(
                After.Desired.Apply(After.Desired.Revision, [], [.. left.Where(key => After.Desired.Find(key) is not null)]),
                [.. affected.Union(left)]
            ),
        };
        CheckCompiled(affected.Except(left).ToHashSet(), left);
    }

    /// <summary>Makes the successor of the desired state; leaves out what is the same already.</summary>
    private ImmutableArray<ObjectResult> Apply()
    {
        var revision = _before.Desired.Revision + 1;
        var written = ImmutableArray.CreateBuilder<(StoredResource, string)>();
        var deleted = ImmutableArray.CreateBuilder<StoredResource>();
        var results = ImmutableArray.CreateBuilder<ObjectResult>(_request.Changes.Count);
        foreach (var change in _request.Changes)
        {
            var before = _before.Desired.Find(change.Key);
            if (change.Manifest is not { } manifest)
            {
                if (change.IsDeletion && before is not null)
                {
                    deleted.Add(before);
                    results.Add(new ObjectResult(change.Key, ObjectAction.Deleted, before, null));
                }

                continue;
            }

            var json = CanonicalForm.Write(manifest);
            if (before is not null && CanonicalForm.Write(before.Manifest) == json)
            {
                results.Add(new ObjectResult(change.Key, ObjectAction.Unchanged, before, before));
                continue;
            }

            var specChanged = before is null || CanonicalForm.Write(before.Manifest.Spec) != CanonicalForm.Write(manifest.Spec);
            var after = new StoredResource
            {
                Manifest = manifest,
                Uid = before?.Uid ?? Guid.CreateVersion7(_inputs.Now),
                Generation = (before?.Generation ?? 0) + (specChanged ? 1 : 0),
                Revision = revision,
                CreatedAt = before?.CreatedAt ?? WriteBatch.ToMicrosecond(_inputs.Now),
                UpdatedAt = WriteBatch.ToMicrosecond(_inputs.Now),
                ManagedBy = "rest/" + _request.Author,
            };
            written.Add((after, json));
            results.Add(new ObjectResult(change.Key, before is null ? ObjectAction.Created : ObjectAction.Updated, before, after));
        }

        // What belongs to an upstream goes with it.
        foreach (var upstream in deleted.Where(d => d.Key.Kind == ResourceKind.Upstream).ToList())
        {
            foreach (var kind in (ReadOnlySpan<ResourceKind>)[ResourceKind.Endpoint, ResourceKind.Override])
            {
                deleted.AddRange(_before.Desired.StoredChildren(kind, upstream.Key.Name).Values.Where(c => !_indexes.ContainsKey(c.Key)));
            }
        }

        Written = written.ToImmutable();
        Conclude();
        var touched = Written
            .Select(w => w.Resource.Key)
            .Where(k => k.Kind == ResourceKind.Upstream)
            .Concat(Deleted.Select(d => d.Key).Where(k => k.Kind == ResourceKind.Endpoint));
        deleted.AddRange(touched.Select(k => k.Parent).Distinct().SelectMany(Orphans));
        if (deleted.Count > Deleted.Length)
        {
            Conclude();
        }

        return results.DrainToImmutable();

        void Conclude()
        {
            Deleted = deleted.ToImmutable();
            if (!Written.IsEmpty || !Deleted.IsEmpty)
            {
                After = After with
                {
                    Desired = _before.Desired.Apply(revision, [.. Written.Select(w => w.Resource)], [.. Deleted.Select(d => d.Key)]),
                };
            }
        }
    }

    /// <summary>The orders about endpoints that an upstream no longer has: they go with them. One that the request writes is told as a fault.</summary>
    private IEnumerable<StoredResource> Orphans(string upstream) =>
        After.Desired.Find(new ResourceKey(ResourceKind.Upstream, upstream))?.Manifest.Spec is UpstreamSpec spec
            ? After
                .Desired.Children(ResourceKind.Override, upstream)
                .Values.Where(o => !_indexes.ContainsKey(o.Key) && !HasEndpoint(o.Key, spec))
            : [];

    private void CheckReferences()
    {
        foreach (var (resource, _) in Written)
        {
            var index = _indexes[resource.Key];
            foreach (var reference in resource.Manifest.Spec.References())
            {
                if (After.Desired.Find(reference.Target) is not { } target)
                {
                    if (IsPromised(reference.Target))
                    {
                        continue;
                    }

                    Fault(
                        index,
                        reference.Pointer,
                        "reference-not-found",
                        $"{reference.Target} does not exist. Create it first, or in the same request to /api/v1/apply."
                    );
                }
                else if (reference.Misfit(target.Manifest.Spec) is { } misfit)
                {
                    Fault(index, misfit.Pointer, misfit.Code, misfit.Message);
                }
            }

            if (DesiredState.IsSubResource(resource.Key.Kind))
            {
                CheckParent(index, resource);
            }
            else if (resource.Manifest.Spec is UpstreamSpec { Endpoints.Source: not EndpointSource.Registration })
            {
                WarnOfUnused(index, resource);
            }
        }

        foreach (var gone in Deleted)
        {
            foreach (var referrer in After.Desired.Referrers(gone.Key).Where(r => After.Desired.Find(r) is not null))
            {
                var pointer = After.Desired.Find(referrer)!.Manifest.Spec.References().First(r => r.Target == gone.Key).Pointer;
                Conflict(
                    _indexes.GetValueOrDefault(gone.Key),
                    "",
                    "still-referenced",
                    $"{gone.Key} is named by {referrer} at {pointer}. Change or delete that first."
                );
            }
        }
    }

    /// <summary>Whether an object is in the request, or may be, though it cannot be read.</summary>
    private bool IsPromised(ResourceKey key) => _unread.Contains(key) || _unread.Any(k => k.Name.Length == 0);

    /// <summary>Endpoints that were registered stay when an upstream takes its endpoints from elsewhere: they may be wanted again.</summary>
    private void WarnOfUnused(int index, StoredResource upstream)
    {
        var unused = After.Desired.StoredChildren(ResourceKind.Endpoint, upstream.Key.Name).Count;
        if (unused > 0)
        {
            Take(
                index,
                [
                    new ValidationProblem(
                        "/spec/endpoints/source",
                        "registered-endpoints-unused",
                        $"The upstream has {unused} registered {(unused == 1 ? "endpoint" : "endpoints")}, of which nothing is sent with this source. Delete {(unused == 1 ? "it" : "them")}, or set the source to 'registration'.",
                        ProblemSeverity.Warning
                    ),
                ]
            );
        }
    }

    private void CheckParent(int index, StoredResource resource)
    {
        var upstream = After.Desired.Find(new ResourceKey(ResourceKind.Upstream, resource.Key.Parent));
        if (upstream?.Manifest.Spec is not UpstreamSpec spec)
        {
            if (!IsPromised(new ResourceKey(ResourceKind.Upstream, resource.Key.Parent)))
            {
                Fault(
                    index,
                    "/metadata/name",
                    "upstream-not-found",
                    $"Upstream/{resource.Key.Parent} does not exist. Create it first, or in the same request to /api/v1/apply."
                );
            }

            return;
        }

        if (resource.Key.Kind == ResourceKind.Override)
        {
            if (!HasEndpoint(resource.Key, spec))
            {
                Fault(index, "/metadata/name", "endpoint-not-found", $"Upstream/{resource.Key.Parent} has no endpoint {resource.Key.Id}.");
            }
            else if (
                !spec.IsCentral()
                && resource.Manifest.Spec is OverrideSpec { Action: OverrideAction.ForceHealthy or OverrideAction.Freeze } order
            )
            {
                Conflict(
                    index,
                    "/spec/action",
                    "needs-central-health",
                    $"Every proxy decides by itself about the health of Upstream/{resource.Key.Parent}, and '{JsonNamingPolicy.CamelCase.ConvertName(order.Action.ToString())}' cannot overrule it. Set its /spec/health/authority to 'central', or use 'forceUnhealthy', 'drain' or 'disable'."
                );
            }
        }
        else if (spec.Endpoints.Source != EndpointSource.Registration)
        {
            Conflict(
                index,
                "/metadata/name",
                "endpoints-not-registered",
                $"The endpoints of Upstream/{resource.Key.Parent} come from '{JsonNamingPolicy.CamelCase.ConvertName(spec.Endpoints.Source.ToString())}'. Set its /spec/endpoints/source to 'registration' to register endpoints one by one."
            );
        }
        else
        {
            var taken = AddressesOf(resource.Key.Parent);
            foreach (var (address, pointer) in AddressesOf(resource))
            {
                if (taken[address].FirstOrDefault(id => id != resource.Key.Id) is { } twin)
                {
                    Conflict(
                        index,
                        pointer,
                        "address-taken",
                        $"Endpoint {twin} of the same upstream has this address and port already. An address can be registered once."
                    );
                }
            }
        }
    }

    private bool HasEndpoint(ResourceKey key, UpstreamSpec upstream) =>
        upstream.Endpoints.Source switch
        {
            EndpointSource.Registration or EndpointSource.Dns => After.Desired.Find(key with { Kind = ResourceKind.Endpoint }) is not null,
            EndpointSource.Static => upstream.Endpoints.Static.Any(e => e.DefaultId() == key.Id),
            _ => false,
        };

    private CompiledState Compile(DesiredState desired, IReadOnlyCollection<ResourceKey> affected)
    {
        using var span = Tracing.StartCompile(affected.Count);
        return _before.Compiled.Recompile(desired, affected, _inputs);
    }

    /// <summary>The ids of an upstream's registered endpoints by address; made once per upstream, so that many can be registered in one request.</summary>
    private ILookup<string, string> AddressesOf(string upstream)
    {
        if (!_addresses.TryGetValue(upstream, out var addresses))
        {
            addresses = After
                .Desired.Children(ResourceKind.Endpoint, upstream)
                .SelectMany(e => AddressesOf(e.Value).Select(a => (a.Address, Id: e.Key)))
                .ToLookup(a => a.Address, a => a.Id);
            _addresses[upstream] = addresses;
        }

        return addresses;
    }

    private static IEnumerable<(string Address, string Pointer)> AddressesOf(StoredResource endpoint)
    {
        var spec = (EndpointSpec)endpoint.Manifest.Spec;
        return spec
            .AdditionalAddresses.Select((a, i) => (NetworkAddress.Join(a.Address, a.Port), $"/spec/additionalAddresses/{i}"))
            .Prepend((spec.DefaultId(), "/spec/address"));
    }

    /// <param name="affected">The objects that were compiled.</param>
    /// <param name="left">Those that were left out for their faults.</param>
    private void CheckCompiled(IReadOnlySet<ResourceKey> affected, IReadOnlySet<ResourceKey> left)
    {
        var warnedBySpec = _warnings.ToLookup(w => (w.Key, w.Problem.Code), w => w.Problem.Pointer);
        foreach (var key in affected)
        {
            if (After.Compiled.Find(key) is not { } compiled)
            {
                continue;
            }

            Take(IndexOf(key), CrossResourceRules.MissingExtensions(compiled, _nodes));

            // A fault of an object that is not in the request is told on the first that can have caused it, with its name.
            var index = IndexOf(key);
            foreach (var problem in compiled.Problems)
            {
                // The kind's own rules told it already, there or at a nearer place.
                if (
                    problem.Severity == ProblemSeverity.Warning
                    && warnedBySpec[(key, problem.Code)].Any(p => (p + "/").StartsWith(problem.Pointer + "/", StringComparison.Ordinal))
                )
                {
                    continue;
                }

                var told = _indexes.ContainsKey(key)
                    ? problem
                    : problem with
                    {
                        Pointer = "",
                        Message = $"{key}{problem.Pointer}: {problem.Message}",
                    };
                var passes = IsOld(key, problem) || (!compiled.IsRejected && MayPass(key, problem));
                Take(index, [passes ? told with { Severity = ProblemSeverity.Warning } : told]);
            }

            foreach (var resource in compiled.Resources)
            {
                var reference = new ResourceReference(resource.Type, resource.Name);
                if (After.Compiled.OwnerOf(reference) is { } owner && owner != key)
                {
                    Conflict(
                        index,
                        "",
                        "name-taken",
                        $"{owner} already makes the {resource.Type.ShortName} resource '{resource.Name}'. Give one of them another name."
                    );
                }
            }
        }

        // What is not there may be among what was left out, or could not be read.
        var isIncomplete = left.Count > 0 || _unread.Count > 0;
        // The names of a friendly spec were checked at their own places.
        var toldBySpec = _problems.Select(p => (p.Key, p.Problem.Code)).ToHashSet();
        foreach (
            var problem in CrossResourceRules.Check(After.Desired, After.Compiled, _before.Desired, _before.Compiled, affected, _nodes)
        )
        {
            var index = IndexOf(problem.Owner);
            if (
                (problem.Problem.Code == "reference-not-found" && isIncomplete)
                || (toldBySpec.Contains((problem.Owner, problem.Problem.Code)) && !IsRawName(problem.Owner, problem.Problem))
            )
            {
                continue;
            }

            if (
                problem.Problem.Severity == ProblemSeverity.Warning
                || (problem.CanPass && _request.ValidationWarn && IsRawName(problem.Owner, problem.Problem))
            )
            {
                _warnings.Add(new ObjectProblem(index, problem.Owner, problem.Problem with { Severity = ProblemSeverity.Warning }));
            }
            else
            {
                _conflict |= problem.IsConflict;
                _problems.Add(new ObjectProblem(index, problem.Owner, problem.Problem));
            }
        }
    }

    private ChangeImpact ImpactOf(IEnumerable<ResourceKey> affected)
    {
        var impacts = ImmutableArray.CreateBuilder<ResourceImpact>();
        foreach (var key in affected)
        {
            var before = _before.Compiled.Find(key)?.Resources ?? [];
            var after = After.Compiled.Find(key)?.Resources ?? [];
            foreach (var old in before)
            {
                var now = after.FirstOrDefault(a => a.Type == old.Type && a.Name == old.Name);
                if (now?.Version != old.Version)
                {
                    impacts.Add(new ResourceImpact(old, now));
                }
            }

            impacts.AddRange(
                after.Where(a => !before.Any(b => b.Type == a.Type && b.Name == a.Name)).Select(a => new ResourceImpact(null, a))
            );
        }

        impacts.Sort(
            (a, b) =>
            {
                var (x, y) = ((a.After ?? a.Before)!, (b.After ?? b.Before)!);
                return x.Type != y.Type ? x.Type.Index.CompareTo(y.Type.Index) : string.CompareOrdinal(x.Name, y.Name);
            }
        );
        return new ChangeImpact(impacts.ToImmutable());
    }

    private ImmutableArray<string> Guards(IEnumerable<ResourceKey> affected)
    {
        var effects = new List<string>();
        foreach (var key in affected)
        {
            if (_before.Compiled.Find(key)?.ActiveEndpoints is > 0 and var before && After.Compiled.Find(key)?.ActiveEndpoints == 0)
            {
                effects.Add(
                    $"{key} goes from {before} {(before == 1 ? "endpoint that takes" : "endpoints that take")} requests to none: every request to it will fail with 503."
                );
            }
        }

        var deleted = Deleted.Count(d => d.Key.Kind == ResourceKind.Upstream);
        var all = _before.Desired.List(ResourceKind.Upstream).Count;
        if (deleted >= MassDeletion && deleted * 2 > all)
        {
            effects.Add($"{deleted} of {all} upstreams are deleted.");
        }

        effects.Sort(StringComparer.Ordinal);
        return [.. effects];
    }

    private int IndexOf(ResourceKey key)
    {
        if (_indexes.TryGetValue(key, out var index))
        {
            return index;
        }

        if (_firstChildren is null)
        {
            _firstChildren = new Dictionary<string, int>(StringComparer.Ordinal);
            for (var at = 0; at < _request.Changes.Count; at++)
            {
                _firstChildren.TryAdd(_request.Changes[at].Key.Parent, at);
            }
        }

        return _firstChildren.GetValueOrDefault(key.Name);
    }

    /// <summary>Sorts problems into faults and warnings.</summary>
    /// <param name="index">The change that they are of.</param>
    /// <param name="problems">The problems.</param>
    private void Take(int index, IEnumerable<ValidationProblem> problems)
    {
        var key = _request.Changes[index].Key;
        foreach (var problem in problems)
        {
            if (problem.Severity == ProblemSeverity.Warning)
            {
                var isTold = !_told.Add((index, problem));
                if (!isTold)
                {
                    _warnings.Add(new ObjectProblem(index, key, problem));
                }
            }
            else
            {
                _problems.Add(new ObjectProblem(index, key, problem));
            }
        }
    }

    /// <summary>Whether a fault was there before and the request does not touch its object's spec: what was let past once keeps nothing else out.</summary>
    private bool IsOld(ResourceKey key, ValidationProblem problem) =>
        _before.Compiled.Find(key) is { } old
        && old.Problems.Contains(problem)
        && After.Desired.Find(key)?.Generation == _before.Desired.Find(key)?.Generation;

    /// <summary>
    /// What <c>?validation=warn</c> may let past: Envoy's own rules on a raw resource or an overlay, never ours. An object that is not in the request is affected by
    /// one that is, whose own faults are told there.
    /// </summary>
    private bool MayPass(ResourceKey key, ValidationProblem problem) =>
        _request.ValidationWarn && (!_indexes.ContainsKey(key) || IsRaw(key, problem));

    /// <summary>Whether a problem is in a raw resource or an overlay.</summary>
    private static bool IsRaw(ResourceKey key, ValidationProblem problem) =>
        (key.Kind == ResourceKind.EnvoyResource && problem.Pointer.StartsWith("/spec/", StringComparison.Ordinal))
        || problem.Pointer.StartsWith("/spec/envoy", StringComparison.Ordinal);

    /// <summary>Whether a name is in raw configuration, of a filter for example, and no name of the friendly spec.</summary>
    private static bool IsRawName(ResourceKey key, ValidationProblem problem) =>
        IsRaw(key, problem)
        || problem.Pointer.Contains("/typedConfig/", StringComparison.Ordinal)
        || problem.Pointer.Contains("/typedPerFilterConfig/", StringComparison.Ordinal);

    private void Fault(int index, string pointer, string code, string message) =>
        _problems.Add(new ObjectProblem(index, _request.Changes[index].Key, new ValidationProblem(pointer, code, message)));

    private void Conflict(int index, string pointer, string code, string message)
    {
        _conflict = true;
        Fault(index, pointer, code, message);
    }
}
