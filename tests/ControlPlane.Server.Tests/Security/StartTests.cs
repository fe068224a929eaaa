using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using ControlPlane.Server.Demo;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage.Sqlite;
using ControlPlane.TestKit;
using Microsoft.Extensions.Logging.Abstractions;

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
    [InlineData("/proc/nope")]
    [InlineData("{folder}/file")]
    [InlineData("{folder}/file/below")]
    public async Task A_data_folder_that_cannot_be_used_ends_the_start_with_one_line_that_says_why(string dataDir)
    {
        await File.WriteAllTextAsync(Path.Combine(_folder, "file"), "text", Cancellation);
        dataDir = dataDir.Replace("{folder}", _folder, StringComparison.Ordinal);
        using var server = Start("--admin-listen", "127.0.0.1:0", "--xds-listen", "127.0.0.1:0", "--data-dir", dataDir);

        var output = server.StandardOutput.ReadToEndAsync(Cancellation);
        var error = await server.StandardError.ReadToEndAsync(Cancellation);
        await server.WaitForExitAsync(Cancellation);

        Assert.Equal(2, server.ExitCode);
        Assert.Empty(await output);
        var line = Assert.Single(error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.StartsWith($"--data-dir {dataDir} cannot be used: ", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_second_server_on_a_data_folder_or_a_SQLite_file_is_refused_until_the_first_is_gone_and_a_backup_is_not()
    {
        var data = Path.Combine(_folder, "data");
        var file = Path.Combine(_folder, "elsewhere", "state.db");
        var first = new ServerOptions { DataDir = data, Store = "sqlite:" + file };
        var elsewhere = first with { DataDir = Path.Combine(_folder, "other") };
        await using (ControlPlaneServer.Build(first))
        {
            var refusal = Assert.Throws<StartupException>(() => ControlPlaneServer.Build(first with { Store = null }));
            Assert.StartsWith($"--data-dir {data} is in use: another server runs on it", refusal.Message, StringComparison.Ordinal);
            refusal = Assert.Throws<StartupException>(() => ControlPlaneServer.Build(elsewhere));
            Assert.StartsWith($"--store sqlite:{file} is in use", refusal.Message, StringComparison.Ordinal);
            await using var store = new SqliteDesiredStateStore(file, TimeProvider.System, NullLogger<SqliteDesiredStateStore>.Instance);
            await store.MigrateAsync(Cancellation);
            Assert.Equal(0, await ControlPlaneServer.RunAsync(["backup", "--store", "sqlite:" + file, "--to", Path.Combine(_folder, "b")]));
        }

        await using var second = ControlPlaneServer.Build(elsewhere);
    }

    [Fact]
    public async Task A_server_that_crashed_leaves_no_lock()
    {
        await using var server = new ServerProcess();
        await server.StartAsync();
        server.Kill();
        await server.StartAsync();
    }

    [Theory]
    [InlineData("127.0.0.1:8080", "http://127.0.0.1:8080")]
    [InlineData("[::1]:8080", "http://[::1]:8080")]
    [InlineData("0.0.0.0:8080", "http://127.0.0.1:8080")]
    [InlineData("*:8080", "http://127.0.0.1:8080")]
    [InlineData("unix:/run/cp.sock", "http://localhost")]
    public void What_is_printed_to_type_reaches_the_server_from_this_machine(string listen, string url) =>
        Assert.Equal(url, FirstSteps.Admin(new ServerOptions { AdminListen = At(listen) }));

    [Theory]
    [InlineData("127.0.0.1:23018", "address: '127.0.0.1', port_value: 23018")]
    [InlineData("[::1]:23018", "address: '::1', port_value: 23018")]
    [InlineData("0.0.0.0:23018", "address: '127.0.0.1', port_value: 23018")]
    [InlineData("192.0.2.1:23018", "address: '192.0.2.1', port_value: 23018")]
    public void The_demos_proxy_connects_to_where_the_server_listens(string listen, string address) =>
        Assert.Contains(
            $"socket_address: {"{"} {address} {"}"}",
            DemoService.Text.Bootstrap(new ServerOptions { XdsListen = At(listen) }),
            StringComparison.Ordinal
        );

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
        foreach (var argument in arguments.Prepend(_folder).Prepend("--data-dir").Prepend(typeof(ControlPlaneServer).Assembly.Location))
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start)!;
    }
}
