using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Health;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Endpoint.V3;
using HealthStatus = Envoy.Config.Core.V3.HealthStatus;

namespace ControlPlane.Core.Tests.Compilation.Upstreams;

public sealed class UpstreamVerdictTests
{
    private static readonly DateTimeOffset Now = new(2030, 1, 1, 12, 0, 0, TimeSpan.Zero);
    private static readonly ImmutableSortedDictionary<string, double> NoFactors = ImmutableSortedDictionary<string, double>.Empty;

    private static readonly UpstreamSpec Central = new()
    {
        Endpoints = new EndpointsSpec { Static = [Spec(1), Spec(2), Spec(3)] },
        Health = new HealthSpec { Authority = HealthAuthority.Central, Checks = [new HealthCheckSpec { Tcp = new TcpCheckSpec() }] },
    };

    [Fact]
    public void Statuses_and_weights_are_those_of_the_verdict()
    {
        var assignment = Compile(
            Central,
            View([Target(1), Target(2), Target(3)], Healthy(1, 100), Healthy(2, 10), new(Id(3), PublishedStatus.Unhealthy, 100))
        );

        Assert.Equal(
            [(Id(1), HealthStatus.Healthy, 100u), (Id(2), HealthStatus.Healthy, 10u), (Id(3), HealthStatus.Unhealthy, 100u)],
            Read(assignment)
        );
    }

    [Fact]
    public void Shares_of_the_largest_weights_stay_exact()
    {
        const uint full = 4_000_000_000;
        var spec = Central with
        {
            Endpoints = new EndpointsSpec { Static = [Spec(1) with { Weight = full }, Spec(2) with { Weight = full }] },
        };
        var view = View(
            [Target(1) with { Weight = full }, Target(2) with { Weight = full }],
            Healthy(1, full * 100ul),
            Healthy(2, full * 10ul)
        );
        var read = Read(Compile(spec, view));
        Assert.Equal(10, (double)read[0].Weight / read[1].Weight, 3);
    }

    [Theory]
    [InlineData(PublishedStatus.Degraded, HealthStatus.Degraded)]
    [InlineData(PublishedStatus.Draining, HealthStatus.Draining)]
    public void Each_status_has_the_word_that_Envoy_has_for_it(PublishedStatus status, HealthStatus expected)
    {
        var assignment = Compile(Central, View([Target(1), Target(2), Target(3)], Healthy(1, 1), Healthy(2, 1), new(Id(3), status, 1)));
        Assert.Equal(expected, Read(assignment)[2].Status);
    }

    [Fact]
    public void An_untouched_assignment_is_the_same_before_and_after_the_first_verdict()
    {
        var before = UpstreamCompiler.CompileAssignment("cart", Central, States(Central));
        Assert.Equal(before, Compile(Central, View([Target(1), Target(2), Target(3)], Healthy(1, 1), Healthy(2, 1), Healthy(3, 1))));
    }

    [Fact]
    public void An_endpoint_that_the_verdict_leaves_out_is_left_out()
    {
        var assignment = Compile(Central, View([Target(1), Target(2), Target(3)], Healthy(1, 1), Healthy(2, 1)));
        Assert.Equal([Id(1), Id(2)], Read(assignment).Select(e => e.Id));
    }

    [Fact]
    public void An_endpoint_that_is_newer_than_the_verdict_waits_until_it_is_decided_about()
    {
        var assignment = Compile(Central, View([Target(1), Target(2)], Healthy(1, 1), Healthy(2, 1)));
        Assert.Equal([Id(1), Id(2)], Read(assignment).Select(e => e.Id));
    }

    [Fact]
    public void An_endpoint_that_nobody_will_check_does_not_wait_and_has_its_full_share()
    {
        var unchecked_ = Central with { Health = Central.Health with { Checks = [] } };
        var assignment = Compile(unchecked_, View([Target(1), Target(2)], Healthy(1, 100), Healthy(2, 10)));
        Assert.Equal([100u, 10u, 100u], Read(assignment).Select(e => e.Weight));

        var exempt = Central with
        {
            Endpoints = new EndpointsSpec
            {
                Static = [Spec(1), Spec(2), Spec(3) with { HealthCheck = new EndpointHealthCheckSpec { Disabled = true } }],
            },
        };
        Assert.Equal([1u, 1u, 1u], Read(Compile(exempt, View([Target(1), Target(2)], Healthy(1, 1), Healthy(2, 1)))).Select(e => e.Weight));
    }

    [Fact]
    public void An_endpoint_that_is_gone_does_not_come_back_by_an_old_verdict()
    {
        var assignment = Compile(
            Central with
            {
                Endpoints = new EndpointsSpec { Static = [Spec(1), Spec(2)] },
            },
            View([Target(1), Target(2), Target(3)], Healthy(1, 1), Healthy(2, 1), Healthy(3, 1))
        );
        Assert.Equal([Id(1), Id(2)], Read(assignment).Select(e => e.Id));
    }

    [Fact]
    public void When_none_is_left_that_the_verdict_knows_as_usable_the_others_are_published()
    {
        var replaced = Central with { Endpoints = new EndpointsSpec { Static = [Spec(8), Spec(9)] } };
        var assignment = Compile(replaced, View([Target(1), Target(2), Target(8)], Healthy(1, 1), Healthy(2, 1)));
        Assert.Equal([(Id(8), HealthStatus.Healthy, 1u), (Id(9), HealthStatus.Healthy, 1u)], Read(assignment));
    }

    [Fact]
    public void A_weight_that_was_changed_since_the_verdict_counts_at_once_and_the_share_stays()
    {
        var heavier = Central with { Endpoints = new EndpointsSpec { Static = [Spec(1) with { Weight = 4 }, Spec(2), Spec(3)] } };
        var assignment = Compile(heavier, View([Target(1), Target(2), Target(3)], Healthy(1, 50), Healthy(2, 100), Healthy(3, 100)));
        Assert.Equal([200u, 100u, 100u], Read(assignment).Select(e => e.Weight));
    }

    [Fact]
    public void A_person_s_order_counts_before_the_verdict_knows_of_it()
    {
        var orders = new Dictionary<string, OverrideSpec>
        {
            [Id(1)] = Order(OverrideAction.Drain),
            [Id(2)] = Order(OverrideAction.ForceUnhealthy),
        };
        var assignment = Compile(Central, View([Target(1), Target(2), Target(3)], Healthy(1, 1), Healthy(2, 1), Healthy(3, 1)), orders);
        Assert.Equal([HealthStatus.Draining, HealthStatus.Unhealthy, HealthStatus.Healthy], Read(assignment).Select(e => e.Status));
    }

    [Fact]
    public void What_is_frozen_out_stays_out_though_nothing_else_is_left()
    {
        var orders = new Dictionary<string, OverrideSpec> { [Id(1)] = Order(OverrideAction.Freeze) };
        var one = Central with { Endpoints = new EndpointsSpec { Static = [Spec(1)] } };
        Assert.Empty(Read(Compile(one, View([Target(1)]), orders)));
    }

    [Fact]
    public void A_zone_of_demoted_endpoints_gets_a_tenth_of_the_weight_that_was_listed_for_it()
    {
        var spec = Zoned(LocalityMode.Weighted, listed: 7);
        var factors = NoFactors.Add("b", 0.1);
        var assignment = Compile(spec, View([Target(1), Target(2)], Healthy(1, 100), Healthy(2, 10)) with { LocalityFactors = factors });
        Assert.Equal([("a", 700u), ("b", 70u)], assignment.Endpoints.Select(l => (l.Locality.Zone, l.LoadBalancingWeight!.Value)));
    }

    [Fact]
    public void Where_locality_weights_are_the_sum_of_the_endpoints_a_lowered_share_is_part_of_it_once()
    {
        var spec = Zoned(LocalityMode.ZoneAware, listed: null);
        var factors = NoFactors.Add("b", 0.1);
        var assignment = Compile(spec, View([Target(1), Target(2)], Healthy(1, 100), Healthy(2, 10)) with { LocalityFactors = factors });
        Assert.Equal([("a", 100u), ("b", 10u)], assignment.Endpoints.Select(l => (l.Locality.Zone, l.LoadBalancingWeight!.Value)));
    }

    [Fact]
    public void A_verdict_changes_one_assignment_and_neither_the_cluster_nor_anything_else()
    {
        var (desired, before) = Compiled(3, _ => null);
        var verdict = new UpstreamVerdict
        {
            Everyone = View([Target(1), Target(2), Target(3)], Healthy(1, 1), Healthy(2, 1), new(Id(3), PublishedStatus.Unhealthy, 1)),
        };
        var after = before.Recompile(desired, [Key], Inputs(_ => verdict));

        var (old, now) = (before.Find(Key)!, after.Find(Key)!);
        Assert.Same(old.Resources[0], now.Resources[0]);
        Assert.NotEqual(old.Resources[1].Version, now.Resources[1].Version);
        Assert.Equal(3, now.ActiveEndpoints);
    }

    [Fact]
    public void Proxies_of_a_zone_with_a_view_get_their_own_assignment_and_all_others_share_one()
    {
        var (desired, before) = Compiled(2, _ => null);
        var everyone = View([Target(1), Target(2)], Healthy(1, 1), Healthy(2, 1));
        var verdict = new UpstreamVerdict
        {
            Everyone = everyone,
            Zones = ImmutableSortedDictionary<string, VerdictView>.Empty.Add(
                "a",
                View([Target(1), Target(2)], Healthy(1, 1), new(Id(2), PublishedStatus.Unhealthy, 1))
            ),
        };
        var compiled = before.Recompile(desired, [Key], Inputs(_ => verdict));

        EncodedResource Of(string? zone) =>
            new ViewSnapshot([], zone).Advance(Snapshot.Empty, 1, compiled, [Key]).After[ResourceType.Endpoints].Find("cart")!;
        Assert.Same(compiled.Find(Key)!.Resources[1], Of(null));
        Assert.Same(Of(null), Of("b"));
        Assert.Equal(HealthStatus.Unhealthy, Read(ClusterLoadAssignment.Parser.ParseFrom(Of("a").Payload.Span))[1].Status);
    }

    [Fact]
    public void The_reflex_follows_the_size_class_and_not_the_number_of_endpoints()
    {
        Assert.Equal(34u, Ejections(Compiled(9, _ => null).State));
        Assert.Equal(10u, Ejections(Compiled(10, _ => null).State));

        // Nine become ten: the cluster stays as it is, until the verdict says that the upstream is large now.
        var (desired, small) = Compiled(9, _ => null);
        var grown = desired.Apply(2, [Endpoint(10)], []);
        var after = small.Recompile(grown, [Key], Inputs(_ => null));
        Assert.Same(small.Find(Key)!.Resources[0], after.Find(Key)!.Resources[0]);
        Assert.Equal(10, after.Find(Key)!.ActiveEndpoints);

        var large = new UpstreamVerdict
        {
            Everyone = View([.. Enumerable.Range(1, 10).Select(Target)], [.. Enumerable.Range(1, 10).Select(i => Healthy(i, 1))]),
            IsLarge = true,
        };
        Assert.Equal(10u, Ejections(after.Recompile(grown, [Key], Inputs(_ => large))));
    }

    private static ResourceKey Key => new(ResourceKind.Upstream, "cart");

    private static uint Ejections(CompiledState state) =>
        Cluster.Parser.ParseFrom(state.Find(Key)!.Resources[0].Payload.Span).OutlierDetection.MaxEjectionPercent!.Value;

    private static (DesiredState Desired, CompiledState State) Compiled(int endpoints, Func<string, UpstreamVerdict?> verdicts)
    {
        var spec = Central with { Endpoints = new EndpointsSpec { Source = EndpointSource.Registration } };
        var desired = DesiredState.Empty.Apply(1, [TestObject.Stored(Key, spec), .. Enumerable.Range(1, endpoints).Select(Endpoint)], []);
        return (desired, CompiledState.Empty.Recompile(desired, [Key], Inputs(verdicts)));
    }

    private static CompilationInputs Inputs(Func<string, UpstreamVerdict?> verdicts) =>
        new(Now, _ => SecretMaterial.InlineOnly) { Health = verdicts };

    private static StoredResource Endpoint(int i) => TestObject.Stored(ResourceKey.Sub(ResourceKind.Endpoint, "cart", Id(i)), Spec(i));

    private static UpstreamSpec Zoned(LocalityMode mode, uint? listed) =>
        Central with
        {
            Endpoints = new EndpointsSpec
            {
                Static =
                [
                    Spec(1) with
                    {
                        Locality = new LocalitySpec { Zone = "a" },
                    },
                    Spec(2) with
                    {
                        Locality = new LocalitySpec { Zone = "b" },
                    },
                ],
            },
            LoadBalancing = new LoadBalancingSpec
            {
                Locality = new LocalityAwarenessSpec
                {
                    Mode = mode,
                    Weights = listed is { } weight
                        ?
                        [
                            new LocalityWeightSpec
                            {
                                Locality = new LocalitySpec { Zone = "a" },
                                Weight = weight,
                            },
                            new LocalityWeightSpec
                            {
                                Locality = new LocalitySpec { Zone = "b" },
                                Weight = weight,
                            },
                        ]
                        : [],
                },
            },
        };

    private static OverrideSpec Order(OverrideAction action) =>
        new()
        {
            Action = action,
            Reason = "because",
            StartedAt = Now,
        };

    private static ClusterLoadAssignment Compile(UpstreamSpec spec, VerdictView view, Dictionary<string, OverrideSpec>? orders = null) =>
        UpstreamCompiler.CompileAssignment("cart", spec, States(spec, orders), view);

    private static ImmutableArray<EndpointState> States(UpstreamSpec spec, Dictionary<string, OverrideSpec>? orders = null) =>
        EndpointLifecycle.At(spec, new Dictionary<string, EndpointSpec>(), orders ?? [], Now).Endpoints;

    private static VerdictView View(ImmutableArray<HealthTarget> targets, params ImmutableArray<PublishedEndpoint> endpoints) =>
        new(targets, endpoints, NoFactors);

    private static PublishedEndpoint Healthy(int i, ulong weight) => new(Id(i), PublishedStatus.Healthy, weight);

    private static HealthTarget Target(int i) => new() { Id = Id(i) };

    private static EndpointSpec Spec(int i) => new() { Address = $"10.0.1.{i}", Port = 8080 };

    private static string Id(int i) => $"10.0.1.{i}:8080";

    private static List<(string Id, HealthStatus Status, uint Weight)> Read(ClusterLoadAssignment assignment) =>
        [
            .. assignment
                .Endpoints.SelectMany(l => l.LbEndpoints)
                .Select(e =>
                    (
                        $"{e.Endpoint.Address.SocketAddress.Address}:{e.Endpoint.Address.SocketAddress.PortValue}",
                        e.HealthStatus,
                        e.LoadBalancingWeight ?? 1
                    )
                ),
        ];
}
