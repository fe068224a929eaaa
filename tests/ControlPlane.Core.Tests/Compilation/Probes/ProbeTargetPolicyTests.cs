using System.Net;
using System.Net.Sockets;
using ControlPlane.Core.Compilation.Probes;

namespace ControlPlane.Core.Tests.Compilation.Probes;

public sealed class ProbeTargetPolicyTests
{
    [Theory]
    [InlineData("169.254.169.254")]
    [InlineData("169.254.0.1")]
    [InlineData("::ffff:169.254.169.254")]
    [InlineData("64:ff9b::169.254.169.254")]
    [InlineData("fe80::1")]
    [InlineData("febf::1")]
    [InlineData("fd00:ec2::254")]
    [InlineData("fd20:ce::254")]
    [InlineData("168.63.129.16")]
    [InlineData("100.100.100.200")]
    [InlineData("192.0.0.192")]
    [InlineData("0.0.0.0")]
    [InlineData("::")]
    [InlineData("224.0.0.1")]
    [InlineData("ff02::1")]
    [InlineData("255.255.255.255")]
    public void What_no_endpoint_can_be_is_never_probed(string address) =>
        Assert.NotNull(new ProbeTargetPolicy(AllowsLocal: true).Refusal(new IPEndPoint(IPAddress.Parse(address), 80)));

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("127.8.8.8")]
    [InlineData("::1")]
    [InlineData("::ffff:127.0.0.1")]
    public void Loopback_is_probed_only_where_it_is_allowed(string address)
    {
        var target = new IPEndPoint(IPAddress.Parse(address), 80);
        Assert.Equal(
            "is a loopback address of the server's own machine, and --probe-loopback is not given",
            new ProbeTargetPolicy(AllowsLocal: false).Refusal(target)
        );
        Assert.Null(new ProbeTargetPolicy(AllowsLocal: true).Refusal(target));
    }

    [Fact]
    public void A_unix_socket_is_local()
    {
        var target = new UnixSocketEndPoint("/run/app.sock");
        Assert.NotNull(new ProbeTargetPolicy(AllowsLocal: false).Refusal(target));
        Assert.Null(new ProbeTargetPolicy(AllowsLocal: true).Refusal(target));
    }

    [Theory]
    [InlineData("10.0.0.1")]
    [InlineData("192.168.1.1")]
    [InlineData("100.64.0.1")]
    [InlineData("8.8.8.8")]
    [InlineData("2001:db8::1")]
    [InlineData("fd00::1")]
    [InlineData("::ffff:10.0.0.1")]
    public void Ordinary_addresses_are_probed(string address) =>
        Assert.Null(new ProbeTargetPolicy(AllowsLocal: false).Refusal(new IPEndPoint(IPAddress.Parse(address), 80)));
}
