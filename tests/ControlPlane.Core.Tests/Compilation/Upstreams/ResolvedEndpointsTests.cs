using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using Envoy.Config.Endpoint.V3;

namespace ControlPlane.Core.Tests.Compilation.Upstreams;

/// <summary>Endpoints that come from names, beside those that people wrote.</summary>
public sealed class ResolvedEndpointsTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly ResourceKey Key = new(ResourceKind.Upstream, "shop");

    private static readonly UpstreamSpec Spec = new()
    {
        Endpoints = new EndpointsSpec
        {
            Source = EndpointSource.Dns,
            Hosts = [new EndpointSpec { Address = "shop.example.com", Port = 80 }],
        },
    };

    [Fact]
    public void Resolved_endpoints_are_those_of_their_upstream_and_are_in_no_store()
    {
        var desired = DesiredState.Empty.Apply(1, [TestObject.Stored(Key, Spec)], []).WithResolved(Resolved("10.0.0.1"));
        Assert.Equal(["10.0.0.1:80"], desired.Children(ResourceKind.Endpoint, "shop").Keys);
        Assert.NotNull(desired.Find(ResourceKey.Sub(ResourceKind.Endpoint, "shop", "10.0.0.1:80")));
        Assert.Empty(desired.StoredChildren(ResourceKind.Endpoint, "shop"));
        Assert.Equal([Key], desired.All.Select(r => r.Key));

        var later = desired.Apply(2, [TestObject.Stored(new ResourceKey(ResourceKind.Upstream, "other"), Spec)], []);
        Assert.Equal(["10.0.0.1:80"], later.Children(ResourceKind.Endpoint, "shop").Keys);
    }

    [Fact]
    public void They_are_compiled_and_what_is_wrong_with_the_names_is_a_warning()
    {
        var warning = new ValidationProblem("/spec/endpoints/hosts/0", "dns-timeout", "No answer.", ProblemSeverity.Warning);
        var compiled = Compile(CompiledState.Empty, Resolved(["10.0.0.1", "10.0.0.2"], warning));
        Assert.Equal(["10.0.0.1", "10.0.0.2"], AddressesOf(compiled));
        Assert.Equal(2, compiled.Find(Key)!.ActiveEndpoints);
        Assert.Contains(warning, compiled.Find(Key)!.Problems);
        Assert.False(compiled.Find(Key)!.IsRejected);
    }

    [Fact]
    public void Names_that_have_no_endpoint_give_an_empty_assignment()
    {
        var compiled = Compile(CompiledState.Empty, Resolved());
        Assert.Empty(AddressesOf(compiled)!);
    }

    [Fact]
    public void Before_names_are_resolved_there_is_no_assignment_and_none_is_taken_away()
    {
        var unresolved = Compile(CompiledState.Empty, ImmutableDictionary<string, ResolvedEndpoints>.Empty);
        Assert.Null(AddressesOf(unresolved));
        Assert.NotNull(unresolved.Find(new ResourceReference(ResourceType.Cluster, "shop")));

        var resolved = Compile(unresolved, Resolved("10.0.0.1"));
        Assert.Equal(["10.0.0.1"], AddressesOf(Compile(resolved, ImmutableDictionary<string, ResolvedEndpoints>.Empty)));
    }

    private static CompiledState Compile(CompiledState before, ImmutableDictionary<string, ResolvedEndpoints> resolved) =>
        before.Recompile(
            DesiredState.Empty.Apply(1, [TestObject.Stored(Key, Spec)], []).WithResolved(resolved),
            [Key],
            new CompilationInputs(Now, _ => SecretMaterial.InlineOnly)
        );

    private static List<string>? AddressesOf(CompiledState state) =>
        state.Find(new ResourceReference(ResourceType.Endpoints, "shop")) is { } resource
            ?
            [
                .. ClusterLoadAssignment
                    .Parser.ParseFrom(resource.Payload.Span)
                    .Endpoints.SelectMany(l => l.LbEndpoints)
                    .Select(e => e.Endpoint.Address.SocketAddress.Address),
            ]
            : null;

    private static ImmutableDictionary<string, ResolvedEndpoints> Resolved(params string[] addresses) => Resolved(addresses, []);

    private static ImmutableDictionary<string, ResolvedEndpoints> Resolved(string[] addresses, params ValidationProblem[] problems) =>
        ImmutableDictionary<string, ResolvedEndpoints>.Empty.Add(
            "shop",
            new ResolvedEndpoints(
                addresses.ToImmutableSortedDictionary(
                    a => a + ":80",
                    a =>
                        TestObject.Stored(
                            ResourceKey.Sub(ResourceKind.Endpoint, "shop", a + ":80"),
                            new EndpointSpec { Address = a, Port = 80 }
                        ) with
                        {
                            Revision = 0,
                        }
                ),
                [.. problems]
            )
        );
}
