using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Validation;
using Google.Protobuf;

namespace ControlPlane.Core.Compilation;

/// <summary>One object → its xDS resources. The table of kinds; each kind's own compiler knows how.</summary>
internal static class ObjectCompiler
{
    /// <summary>Compiles an object in its surroundings.</summary>
    /// <param name="resource">The object.</param>
    /// <param name="desired">The state that it is part of.</param>
    /// <param name="before">What it was compiled to before, or null. Its parts are used again where they cannot differ, and stay in force where the new state does not compile.</param>
    /// <param name="inputs">Time and secrets.</param>
    /// <returns>Null for kinds that compile to nothing.</returns>
    public static CompiledObject? Compile(StoredResource resource, DesiredState desired, CompiledObject? before, CompilationInputs inputs) =>
        resource.Manifest.Spec switch
        {
            UpstreamSpec spec => Upstream(resource, spec, desired, before, inputs),
            RouteTableSpec spec => Single(
                resource,
                spec,
                before,
                ResourceType.Route,
                _ => RouteTableCompiler.Compile(resource.Key.Name, spec)
            ),
            ListenerSpec spec => Single(
                resource,
                spec,
                before,
                ResourceType.Listener,
                _ =>
                    ListenerCompiler.Compile(
                        resource.Key.Name,
                        spec,
                        name => desired.Find(new ResourceKey(ResourceKind.RouteTable, name))?.Manifest.Spec as RouteTableSpec
                    )
            ),
            SecretSpec spec => Single(
                resource,
                spec,
                before,
                ResourceType.Secret,
                problems => SecretCompiler.Compile(resource.Key.Name, spec, inputs.Secrets(resource.Key), problems)
            ),
            EnvoyResourceSpec spec => Raw(resource, spec, before),
            _ => null,
        };
}
