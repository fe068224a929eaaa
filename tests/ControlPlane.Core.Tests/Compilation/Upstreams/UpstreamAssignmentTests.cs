using System.Globalization;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Upstreams;
using CsCheck;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Endpoint.V3;
using HealthStatus = Envoy.Config.Core.V3.HealthStatus;

namespace ControlPlane.Core.Tests.Compilation.Upstreams;

/// <summary>What must hold of every assignment, whatever the endpoints are.</summary>
public sealed class UpstreamAssignmentTests
{
    private static readonly UpstreamSpec Upstream = new() { Endpoints = new EndpointsSpec { Source = EndpointSource.Registration } };

    private static readonly Gen<EndpointState> Endpoint =
        from last in Gen.Int[1, 40]
        from port in Gen.Int[1, 3]
        from weight in Gen.OneOf(Gen.UInt[1, 100], Gen.UInt[1, uint.MaxValue])
        from zone in Gen.OneOf(Gen.Const(""), Gen.Const("a"), Gen.Const("b"), Gen.Const("c"))
        from priority in Gen.Int[0, 4]
        from draining in Gen.Bool
        select new EndpointState(
            $"{last}:{port}",
            new EndpointSpec
            {
                Address = string.Create(CultureInfo.InvariantCulture, $"10.0.1.{last}"),
                Port = port,
                Weight = weight,
                Locality = zone.Length == 0 ? null : new LocalitySpec { Zone = zone },
                Priority = priority,
            },
            draining ? EndpointStatus.Draining : EndpointStatus.Active
        );

    private static readonly Gen<EndpointState[]> Endpoints = Endpoint.Array[0, 30].Select(e => e.DistinctBy(s => s.Id).ToArray());

    [Fact]
    public void The_order_in_which_endpoints_come_does_not_change_a_byte() =>
        Endpoints
            .SelectMany(e => Gen.Shuffle(e).Select(shuffled => (e, shuffled)))
            .Sample((e, shuffled) => Version(Compile(e)) == Version(Compile(shuffled)));

    /// <summary>Else proxyless gRPC clients refuse the assignment, and with it the upstream.</summary>
    [Fact]
    [Trait("Rule", "G-05")]
    public void Every_assignment_is_one_that_gRPC_clients_take() =>
        Endpoints.Sample(endpoints =>
        {
            var assignment = Compile(endpoints);
            var priorities = assignment.Endpoints.Select(l => l.Priority).Distinct().Order().ToList();
            Assert.Equal(Enumerable.Range(0, priorities.Count).Select(p => (uint)p), priorities);
            Assert.All(assignment.Endpoints, l => Assert.NotNull(l.Locality));
            Assert.All(assignment.Endpoints, l => Assert.True(l.LoadBalancingWeight >= 1));
            Assert.Distinct(assignment.Endpoints.Select(l => (l.Priority, l.Locality)));
            Assert.Distinct(assignment.Endpoints.SelectMany(l => l.LbEndpoints).Select(e => e.Endpoint.Address));
            Assert.Equal(endpoints.Length, assignment.Endpoints.Sum(l => l.LbEndpoints.Count));
            Assert.All(
                assignment.Endpoints.GroupBy(l => l.Priority),
                p => Assert.True(p.Sum(l => (long)l.LoadBalancingWeight!.Value) <= uint.MaxValue)
            );
            Assert.All(assignment.Endpoints, l => Assert.True(l.LbEndpoints.Sum(e => (long)(e.LoadBalancingWeight ?? 1)) <= uint.MaxValue));
        });

    [Fact]
    [Trait("Rule", "G-06")]
    public void A_plain_upstream_is_a_cluster_that_gRPC_clients_take()
    {
        var cluster = UpstreamCompiler.CompileCluster("cart", Upstream);
        Assert.Equal(Cluster.Types.DiscoveryType.Eds, cluster.Type);
        Assert.Equal(Cluster.Types.LbPolicy.RoundRobin, cluster.LbPolicy);
        Assert.NotNull(cluster.EdsClusterConfig.EdsConfig.Ads);
        Assert.Null(cluster.LoadBalancingPolicy);
        Assert.Null(cluster.LrsServer);
        var outliers = cluster.OutlierDetection;
        Assert.True(outliers.MaxEjectionTime.ToTimeSpan() >= outliers.BaseEjectionTime.ToTimeSpan());
    }

    [Fact]
    public void Weights_that_fit_are_published_as_they_were_written() =>
        Endpoints
            .Where(e => e.Sum(s => (long)s.Spec.Weight) <= uint.MaxValue)
            .Sample(endpoints =>
            {
                var published = Compile(endpoints)
                    .Endpoints.SelectMany(l => l.LbEndpoints)
                    .ToDictionary(
                        e => (e.Endpoint.Address.SocketAddress.Address, (int)e.Endpoint.Address.SocketAddress.PortValue),
                        e => e.LoadBalancingWeight ?? 1
                    );
                Assert.All(endpoints, e => Assert.Equal(e.Spec.Weight, published[(e.Spec.Address, e.Spec.Port)]));
            });

    [Fact]
    public void Weights_that_do_not_fit_keep_their_ratio()
    {
        var assignment = Compile([
            new EndpointState(
                "a",
                new EndpointSpec
                {
                    Address = "10.0.1.1",
                    Port = 1,
                    Weight = 4_000_000_000,
                },
                EndpointStatus.Active
            ),
            new EndpointState(
                "b",
                new EndpointSpec
                {
                    Address = "10.0.1.2",
                    Port = 1,
                    Weight = 2_000_000_000,
                },
                EndpointStatus.Active
            ),
            new EndpointState(
                "c",
                new EndpointSpec
                {
                    Address = "10.0.1.3",
                    Port = 1,
                    Weight = 1,
                },
                EndpointStatus.Active
            ),
        ]);
        var weights = assignment.Endpoints.Single().LbEndpoints.Select(e => e.LoadBalancingWeight ?? 1).ToList();
        Assert.Equal(2, (double)weights[0] / weights[1], precision: 6);
        Assert.Equal(1u, weights[2]);
    }

    [Fact]
    public void A_draining_endpoint_takes_no_share_of_its_localitys_weight()
    {
        var assignment = Compile([
            new EndpointState(
                "a",
                new EndpointSpec
                {
                    Address = "10.0.1.1",
                    Port = 1,
                    Weight = 3,
                },
                EndpointStatus.Active
            ),
            new EndpointState(
                "b",
                new EndpointSpec
                {
                    Address = "10.0.1.2",
                    Port = 1,
                    Weight = 5,
                },
                EndpointStatus.Draining
            ),
        ]);
        Assert.Equal(3u, assignment.Endpoints.Single().LoadBalancingWeight);
        Assert.Equal([HealthStatus.Unknown, HealthStatus.Draining], assignment.Endpoints.Single().LbEndpoints.Select(e => e.HealthStatus));
    }

    [Fact]
    public void No_endpoints_are_an_empty_assignment_of_the_name()
    {
        var assignment = Compile([]);
        Assert.Equal("cart", assignment.ClusterName);
        Assert.Empty(assignment.Endpoints);
    }

    private static ClusterLoadAssignment Compile(IReadOnlyList<EndpointState> endpoints) =>
        UpstreamCompiler.CompileAssignment("cart", Upstream, endpoints);

    private static string Version(ClusterLoadAssignment assignment) =>
        EncodedResource.Create(ResourceType.Endpoints, "cart", assignment).Version;
}
