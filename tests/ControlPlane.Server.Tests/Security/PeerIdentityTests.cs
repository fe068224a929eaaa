using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Tests.Security;

public sealed class PeerIdentityTests : IDisposable
{
    private readonly TestCertificates _certificates = new();

    public void Dispose() => _certificates.Dispose();

    [Fact]
    public void A_dns_name_or_a_uri_pins_the_node_by_id_or_cluster()
    {
        using var certificate = _certificates.IssueLoaded(n =>
        {
            n.AddDnsName("edge-1");
            n.AddUri(new Uri("spiffe://example.org/edge"));
            n.AddIpAddress(System.Net.IPAddress.Loopback);
        });

        var peer = PeerIdentity.Of(certificate);

        Assert.Equal(["edge-1", "spiffe://example.org/edge"], peer.Names);
        Assert.Null(peer.Refuse(new NodeIdentity { Id = "edge-1", Cluster = "other" }));
        Assert.Null(peer.Refuse(new NodeIdentity { Id = "any", Cluster = "spiffe://example.org/edge" }));
    }

    [Fact]
    public void Another_node_is_refused_and_told_both_names()
    {
        using var certificate = _certificates.IssueLoaded(n => n.AddDnsName("edge-1"));

        var refusal = PeerIdentity.Of(certificate).Refuse(new NodeIdentity { Id = "edge-2", Cluster = "edge" });

        Assert.Contains("edge-1", refusal, StringComparison.Ordinal);
        Assert.Contains("edge-2", refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void The_common_name_and_an_empty_cluster_count_for_nothing()
    {
        using var certificate = _certificates.IssueLoaded(n => n.AddEmailAddress("edge-1"), "CN=edge-1");

        Assert.NotNull(PeerIdentity.Of(certificate).Refuse(new NodeIdentity { Id = "edge-1", Cluster = "" }));
    }

    [Fact]
    public void Without_certificates_any_node_may_come() => Assert.Null(PeerIdentity.Unknown.Refuse(new NodeIdentity { Id = "edge-2" }));
}
