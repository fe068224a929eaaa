using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using ControlPlane.Server.Security;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Security;

/// <summary>What the operator sees of a start: on the right addresses, or one clear error.</summary>
public sealed class StartTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("cp-start-").FullName;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_port_that_is_taken_ends_the_start_with_one_line_that_says_who_has_it_and_what_to_give()
    {
        using var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();
        using var server = Start("--admin-listen", other.LocalEndpoint.ToString()!, "--xds-listen", "127.0.0.1:0");

        var output = server.StandardOutput.ReadToEndAsync(Cancellation);
        var error = await server.StandardError.ReadToEndAsync(Cancellation);
        await server.WaitForExitAsync(Cancellation);

        Assert.Equal(1, server.ExitCode);
        Assert.Empty(await output);
        var line = Assert.Single(error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.StartsWith($"--admin-listen {other.LocalEndpoint}: another program listens there", line, StringComparison.Ordinal);
        Assert.Contains($"'ss -ltnp sport = :{((IPEndPoint)other.LocalEndpoint).Port}'", line, StringComparison.Ordinal);
        Assert.EndsWith("Or choose another address: --admin-listen ADDRESS.", line, StringComparison.Ordinal);
    }

    [Fact]
    public void Each_address_that_cannot_be_had_is_told_with_its_reason()
    {
        var socket = Path.Combine(_folder, "other.sock");
        using var other = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        other.Bind(new UnixDomainSocketEndPoint(socket));
        other.Listen();
        var file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "text");

        Assert.Contains("'ip address' lists", WhyNot("192.0.2.1:8080"), StringComparison.Ordinal);
        Assert.Contains($"'ss -lxp src {socket}' names it", WhyNot("unix:" + socket), StringComparison.Ordinal);
        Assert.Contains("a file and not a socket", WhyNot("unix:" + file), StringComparison.Ordinal);
        Assert.Contains("no such folder", WhyNot($"unix:{_folder}/none/x.sock"), StringComparison.Ordinal);
        var both = Listeners.WhyNot(new ServerOptions { AdminListen = At("unix:" + file), XdsListen = At("192.0.2.1:0") });
        Assert.Equal(2, both!.Split('\n').Length);
    }

    [Theory]
    [InlineData("127.0.0.1:0")]
    [InlineData("[::1]:0")]
    [InlineData(":0")]
    [InlineData("unix:{folder}/free.sock")]
    public void To_ask_whether_an_address_can_be_had_leaves_it_free(string address)
    {
        address = address.Replace("{folder}", _folder, StringComparison.Ordinal);

        Assert.Null(WhyNot(address));
        Assert.Null(WhyNot(address));
        Assert.Empty(Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public async Task The_commands_that_a_server_on_a_socket_prints_go_through_the_socket()
    {
        var socket = Path.Combine(_folder, "admin.sock");
        using var server = Start("--admin-listen", "unix:" + socket, "--xds-listen", "127.0.0.1:0", "--log-format", "text");
        try
        {
            string? command = null;
            while (command?.Contains("/api/v1/nodes", StringComparison.Ordinal) != true)
            {
                command = await server.StandardOutput.ReadLineAsync(Cancellation);
                Assert.NotNull(command);
            }

            using var shell = Process.Start(
                new ProcessStartInfo("sh") { ArgumentList = { "-c", command }, RedirectStandardOutput = true }
            )!;
            var answer = JsonNode.Parse(await shell.StandardOutput.ReadToEndAsync(Cancellation))!;
            Assert.Empty(answer["items"]!.AsArray());
        }
        finally
        {
            server.Kill();
        }
    }

    [Theory]
    [InlineData("127.0.0.1:8080", "http://127.0.0.1:8080")]
    [InlineData("[::1]:8080", "http://[::1]:8080")]
    [InlineData("0.0.0.0:8080", "http://127.0.0.1:8080")]
    [InlineData("*:8080", "http://127.0.0.1:8080")]
    [InlineData("unix:/run/cp.sock", "http://localhost")]
    public void What_is_printed_to_type_reaches_the_server_from_this_machine(string listen, string url) =>
        Assert.Equal(url, FirstSteps.Admin(new ServerOptions { AdminListen = At(listen) }));

    private static EndPoint At(string address)
    {
        Assert.True(ListenAddress.TryParse(address, out var endPoint));
        return endPoint!;
    }

    private static string? WhyNot(string address) =>
        Listeners.WhyNot(new ServerOptions { AdminListen = At(address), XdsListen = At("127.0.0.1:0") });

    private Process Start(params IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in arguments.Prepend(typeof(ControlPlaneServer).Assembly.Location).Append("--data-dir").Append(_folder))
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start)!;
    }
}
