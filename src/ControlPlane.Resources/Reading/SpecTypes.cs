using System.Collections.Frozen;
using ControlPlane.Resources.Listeners;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Reading;

/// <summary>One table of the kinds: the record that holds a kind's spec, and what checks it. A new kind is one line here.</summary>
public static class SpecTypes
{
    private static readonly FrozenDictionary<ResourceKind, SpecType> Types = Table().ToFrozenDictionary(t => t.Kind);

    /// <summary>The record of a kind's spec.</summary>
    public static Type TypeOf(ResourceKind kind) => Types[kind].Type;

    /// <summary>Runs a kind's own checks on a spec, those that need no other object.</summary>
    public static void Validate(ResourceKind kind, ResourceSpec spec, ProblemCollector problems) => Types[kind].Validate(spec, problems);

    /// <summary>Whether the table has the kind.</summary>
    internal static bool Has(ResourceKind kind) => Types.ContainsKey(kind);

    private static IEnumerable<SpecType> Table() =>
        [
            Row<UpstreamSpec>(ResourceKind.Upstream, UpstreamValidator.Validate),
            Row<EndpointSpec>(ResourceKind.Endpoint, EndpointValidator.Validate),
            Row<OverrideSpec>(ResourceKind.Override, OverrideValidator.Validate),
            Row<SecretSpec>(ResourceKind.Secret, SecretValidator.Validate),
            Row<NodeGroupSpec>(ResourceKind.NodeGroup, NodeGroupValidator.Validate),
            Row<EnvoyResourceSpec>(ResourceKind.EnvoyResource, EnvoyResourceValidator.Validate),
            Row<RouteTableSpec>(ResourceKind.RouteTable, RouteTableValidator.Validate),
            Row<ListenerSpec>(ResourceKind.Listener, ListenerValidator.Validate),
        ];

    private static SpecType Row<T>(ResourceKind kind, Action<T, ProblemCollector> validate)
        where T : ResourceSpec => new(kind, typeof(T), (spec, problems) => validate((T)spec, problems));

    private sealed record SpecType(ResourceKind Kind, Type Type, Action<ResourceSpec, ProblemCollector> Validate);
}
