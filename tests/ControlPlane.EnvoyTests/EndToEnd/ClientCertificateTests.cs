using System.Text;
using ControlPlane.Server.Tests.Security;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>xDS over TLS with client certificates, as the edge bootstrap shows it.</summary>
[Trait("Category", "Slow")]
public sealed class ClientCertificateTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-xds-tls-");
    private readonly TestCertificates _authority = new();

    public void Dispose()
    {
        _authority.Dispose();
        _folder.Delete(recursive: true);
    }

    [Theory]
    [InlineData(EnvoyRelease.Current)]
    [InlineData(EnvoyRelease.Oldest)]
    public async Task An_Envoy_whose_certificate_names_another_node_is_denied_and_shown_as_refused(EnvoyRelease release)
    {
        Issue("server", "xds.internal");
        Issue("tls", "edge-1");
        File.WriteAllText(PathOf("ca.crt"), _authority.AuthorityPem);
        await using var server = await ControlPlaneHost.StartAsync(o =>
            o with
            {
                XdsTlsCert = PathOf("server.crt"),
                XdsTlsKey = PathOf("server.key"),
                XdsClientCa = PathOf("ca.crt"),
            }
        );
        var ports = new Dictionary<int, int> { [18000] = server.Xds.Port };

        // The node that the certificate names is served …
        await using var edge = new EnvoyFixture(release);
        await edge.StartAsync(Bootstrap(), ports, nodeId: "edge-1");
        await edge.ReadyAsync();
        await Eventually.True(
            "the named node to be in step",
            async token => (await server.Client.NodesAsync(token)).Items is [{ Id: "edge-1", Connected: true, State: "synced" }]
        );

        // … and nobody else who has the same certificate.
        await using var other = new EnvoyFixture(release);
        await other.StartAsync(Bootstrap(), ports, nodeId: "edge-2");
        const int permissionDenied = 7;
        await Eventually.Get(
            "the refusal in Envoy's log",
            _ => Task.FromResult(other.Log),
            log => log.Contains($"gRPC config stream to xds_cluster closed: {permissionDenied}, ", StringComparison.Ordinal)
        );
        var nodes = await server.Client.NodesAsync();
        var refused = Assert.Single(nodes.Refused);
        Assert.Equal("edge-2", refused.Node);
        Assert.Contains("edge-1", refused.Reason, StringComparison.Ordinal);
        Assert.Equal("edge-1", Assert.Single(nodes.Items).Id);
        Assert.Equal(0, await other.StatAsync("cluster_manager.cds.update_success"));
    }

    private string PathOf(string name) => Path.Combine(_folder.FullName, name);

    private void Issue(string file, string name)
    {
        var (certificate, key) = _authority.Issue(names => names.AddDnsName(name));
        File.WriteAllText(PathOf(file + ".crt"), certificate);
        File.WriteAllText(PathOf(file + ".key"), key);
    }

    /// <summary>The edge bootstrap with the part in force that it has for TLS.</summary>
    private string Bootstrap()
    {
        var text = new StringBuilder();
        var isTls = false;
        foreach (var line in Edge.Bootstrap("edge.yaml").Split('\n'))
        {
            isTls =
                line.StartsWith("      # transport_socket:", StringComparison.Ordinal)
                || (isTls && line.StartsWith("      # ", StringComparison.Ordinal));
            text.AppendLine(isTls ? line.Replace("      # ", "      ", StringComparison.Ordinal) : line);
        }

        return text.ToString().Replace("/etc/envoy/tls", _folder.FullName, StringComparison.Ordinal);
    }
}
