using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using Google.Protobuf;

namespace ControlPlane.Core.Compilation;

/// <summary>One object → its xDS resources. The table of kinds; each kind's own compiler knows how.</summary>
public static class ObjectCompiler
{
    /// <summary>Compiles an object in its surroundings.</summary>
    /// <param name="resource">The object.</param>
    /// <param name="desired">The state that it is part of.</param>
    /// <param name="before">
    /// What it was compiled to before, or null. Its parts are used again where they cannot differ, and stay in force where the new state does not compile.
    /// </param>
    /// <param name="inputs">Time and secrets.</param>
    /// <returns>Null for kinds that compile to nothing.</returns>
    internal static CompiledObject? Compile(StoredResource resource, DesiredState desired, CompiledObject? before, CompilationInputs inputs)
    {
        var name = resource.Key.Name;
        return resource.Manifest.Spec switch
        {
            UpstreamSpec spec => Upstream(resource, spec, desired, before, inputs),
            RouteTableSpec spec => Single(
                resource,
                before,
                (problems, origins) =>
                    Complete(
                        ResourceType.Route,
                        name,
                        RouteTableCompiler.Compile(name, spec, problems, origins),
                        spec.Envoy,
                        problems,
                        origins
                    )
            ),
            ListenerSpec spec => Single(
                resource,
                before,
                (problems, origins) =>
                    Complete(
                        ResourceType.Listener,
                        name,
                        ListenerCompiler.Compile(name, spec, RouteTable, problems, origins),
                        spec.Envoy,
                        problems,
                        origins
                    )
            ),
            SecretSpec spec => Single(
                resource,
                before,
                (problems, origins) =>
                    Complete(
                        ResourceType.Secret,
                        name,
                        SecretCompiler.Compile(name, spec, inputs.Secrets(spec), inputs.Now, problems),
                        spec.Envoy,
                        problems,
                        origins
                    )
            ),
            EnvoyResourceSpec spec => Single(resource, before, (problems, _) => EnvoyResourceCompiler.Compile(spec, problems)),
            _ => null,
        };

        RouteTableSpec? RouteTable(string table) =>
            desired.Find(new ResourceKey(ResourceKind.RouteTable, table))?.Manifest.Spec as RouteTableSpec;
    }

    /// <summary>Finds what is wrong with the raw parts of a spec by themselves, for one whose rest is too wrong to be compiled, or that is compiled as a part of another.</summary>
    public static void CheckOverlay(ResourceSpec spec, ProblemCollector problems)
    {
        if (spec is EndpointSpec endpoint)
        {
            MessagePipeline.CheckEndpoint(endpoint, "/spec", problems);
        }
        else if (spec is UpstreamSpec upstream)
        {
            CheckEndpoints(upstream, problems);
        }

        (ResourceType Type, JsonObject? Overlay)? raw = spec switch
        {
            UpstreamSpec s => (ResourceType.Cluster, s.Envoy),
            RouteTableSpec s => (ResourceType.Route, s.Envoy),
            ListenerSpec s => (ResourceType.Listener, s.Envoy),
            SecretSpec s => (ResourceType.Secret, s.Envoy),
            _ => null,
        };
        if (raw is ({ } type, { } overlay))
        {
            MessagePipeline.Merge(type, EnvoyTypes.FindByName(type.FullName)!.Parser.ParseFrom(ByteString.Empty), overlay, problems);
        }
    }

    private static void CheckEndpoints(UpstreamSpec spec, ProblemCollector problems)
    {
        foreach (var (at, endpoint) in spec.Endpoints.Static.Index())
        {
            MessagePipeline.CheckEndpoint(endpoint, $"/spec/endpoints/static/{at}", problems);
        }

        foreach (var (at, host) in spec.Endpoints.Hosts.Index())
        {
            MessagePipeline.CheckEndpoint(host, $"/spec/endpoints/hosts/{at}", problems);
        }
    }

    private static CompiledResource? Complete(
        ResourceType type,
        string name,
        IMessage? message,
        JsonObject? overlay,
        ProblemCollector problems,
        MessageOrigins origins
    ) => message is null ? null : MessagePipeline.Complete(type, name, message, overlay, problems, origins);

    private static CompiledObject Single(
        StoredResource resource,
        CompiledObject? before,
        Func<ProblemCollector, MessageOrigins, CompiledResource?> compile
    )
    {
        var problems = new ProblemCollector();
        var compiled = compile(problems, new MessageOrigins());
        return new CompiledObject
        {
            Owner = resource.Key,
            ObjectRevision = resource.Revision,
            NodeGroups = GroupsOf(resource),
            Resources = compiled is null ? before?.Resources ?? [] : [compiled.Encode(problems.Problems)],
            References = compiled is null ? before?.References ?? [] : compiled.References,
            Extensions = compiled is null ? before?.Extensions ?? [] : compiled.Extensions,
            Addresses = compiled is null ? before?.Addresses ?? [] : ListenerAddresses.Of(compiled.Message),
            IsRejected = compiled is null,
            Problems = [.. problems.Problems],
        };
    }

    /// <summary>
    /// An upstream's cluster depends on its spec and its size class alone, so that a change of endpoints or of their health compiles the assignment and nothing else.
    /// </summary>
    private static CompiledObject Upstream(
        StoredResource resource,
        UpstreamSpec spec,
        DesiredState desired,
        CompiledObject? before,
        CompilationInputs inputs
    )
    {
        var name = resource.Key.Name;
        var lifecycle = EndpointLifecycle.At(
            spec,
            desired.Children(ResourceKind.Endpoint, name).ToDictionary(e => e.Key, e => (EndpointSpec)e.Value.Manifest.Spec),
            desired.Children(ResourceKind.Override, name).ToDictionary(o => o.Key, o => (OverrideSpec)o.Value.Manifest.Spec),
            inputs.Now
        );
        var verdict = spec.IsCentral() ? inputs.Health(name) : null;
        var isLarge = verdict?.IsLarge ?? before?.IsLarge ?? lifecycle.Endpoints.Length >= UpstreamCompiler.LargeFrom;
        CompiledObject compiled;
        if (before is { IsRejected: false } known && known.ObjectRevision == resource.Revision && known.IsLarge == isLarge)
        {
            compiled = known with { Resources = [known.Resources[0]], Problems = known.SpecProblems };
        }
        else
        {
            compiled = Single(
                resource,
                before,
                (found, origins) =>
                {
                    CheckEndpoints(spec, found);
                    return Complete(
                        ResourceType.Cluster,
                        name,
                        found.HasErrors ? null : UpstreamCompiler.CompileCluster(name, spec, isLarge, origins),
                        spec.Envoy,
                        found,
                        origins
                    );
                }
            );
            if (compiled.IsRejected)
            {
                return compiled with
                {
                    SpecProblems = compiled.Problems,
                    ZoneAssignments = before?.ZoneAssignments ?? compiled.ZoneAssignments,
                };
            }

            compiled = compiled with { SpecProblems = compiled.Problems, Resources = [.. compiled.Resources.Take(1)], IsLarge = isLarge };
        }

        if (!spec.Endpoints.AreOurs())
        {
            return compiled;
        }

        var problems = new ProblemCollector();
        if (spec.Endpoints.Source == EndpointSource.Dns)
        {
            var resolved = desired.Resolved.GetValueOrDefault(name);
            foreach (var problem in resolved?.Problems ?? [])
            {
                problems.Add(problem);
            }

            if (resolved?.Endpoints is null)
            {
                return compiled with
                {
                    Resources = [compiled.Resources[0], .. before?.Resources.Where(r => r.Type == ResourceType.Endpoints) ?? []],
                    Problems = [.. compiled.SpecProblems, .. problems.Problems],
                    ActiveEndpoints = before?.ActiveEndpoints,
                };
            }
        }

        var assignment = Assignment(verdict?.Everyone, problems);
        return compiled with
        {
            Resources = [compiled.Resources[0], assignment],
            ZoneAssignments = verdict is null
                ? ImmutableSortedDictionary<string, EncodedResource>.Empty
                : verdict.Zones.ToImmutableSortedDictionary(
                    z => z.Key,
                    z => Assignment(z.Value, new ProblemCollector()),
                    StringComparer.Ordinal
                ),
            Problems = [.. compiled.SpecProblems, .. problems.Problems],
            ActiveEndpoints = lifecycle.Endpoints.Count(e => e.Status == EndpointStatus.Active),
            NextChangeAt = lifecycle.NextChange,
        };

        EncodedResource Assignment(VerdictView? view, ProblemCollector found) =>
            MessagePipeline
                .Complete(
                    ResourceType.Endpoints,
                    name,
                    UpstreamCompiler.CompileAssignment(name, spec, lifecycle.Endpoints, view, found),
                    overlay: null,
                    found
                )!
                .Encode(found.Problems);
    }

    private static ImmutableArray<string> GroupsOf(StoredResource resource) =>
        resource.Manifest.Spec is INodeScoped scoped ? scoped.NodeGroups : [];
}
