using System.Net;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Tests.Security;

public sealed class CommandLineTests
{
    private static CommandLine Parse(params string[] arguments) => CommandLine.Parse(arguments, _ => null);

    private static ServerOptions Options(params string[] arguments) => Assert.IsType<CommandLine.Serve>(Parse(arguments)).Options;

    private static string Faults(params string[] arguments) =>
        string.Join('\n', Assert.IsType<CommandLine.Faulty>(Parse(arguments)).Faults);

    [Fact]
    public void Without_arguments_everything_is_on_loopback_with_sqlite_in_the_data_folder()
    {
        var options = Options();

        Assert.Equal(new IPEndPoint(IPAddress.Loopback, 8080), options.AdminListen);
        Assert.Equal(new IPEndPoint(IPAddress.Loopback, 18000), options.XdsListen);
        Assert.Equal("sqlite:data/controlplane.db", options.EffectiveStore);
    }

    [Fact]
    public void A_flag_goes_before_its_environment_variable()
    {
        var environment = new Dictionary<string, string>
        {
            ["CONTROLPLANE_ADMIN_LISTEN"] = "127.0.0.1:1",
            ["CONTROLPLANE_XDS_LISTEN"] = "127.0.0.1:2",
            ["CONTROLPLANE_DEMO"] = "true",
        };

        var line = CommandLine.Parse(["--admin-listen", "[::1]:3"], environment.GetValueOrDefault);

        var options = Assert.IsType<CommandLine.Serve>(line).Options;
        Assert.Equal(new IPEndPoint(IPAddress.IPv6Loopback, 3), options.AdminListen);
        Assert.Equal(new IPEndPoint(IPAddress.Loopback, 2), options.XdsListen);
        Assert.True(options.Demo);
    }

    [Fact]
    public void All_faults_are_told_at_once()
    {
        var faults = Faults("--admin-listn", "127.0.0.1:1", "--history-days=0", "--xds-listen", "nowhere", "--store=mysql:x");

        Assert.Contains("--admin-listn is not an option. Did you mean '--admin-listen'?", faults, StringComparison.Ordinal);
        Assert.Contains("--history-days '0' is not a whole number from 1 to 36500", faults, StringComparison.Ordinal);
        Assert.Contains("--xds-listen 'nowhere' is not an address to listen on", faults, StringComparison.Ordinal);
        Assert.Contains("--store is neither of the forms", faults, StringComparison.Ordinal);
    }

    [Fact]
    public void A_wrong_environment_variable_is_told_by_its_name()
    {
        var line = CommandLine.Parse([], name => name == "CONTROLPLANE_MAX_XDS_CONNECTIONS" ? "many" : null);

        Assert.Contains(
            "CONTROLPLANE_MAX_XDS_CONNECTIONS 'many'",
            Assert.Single(Assert.IsType<CommandLine.Faulty>(line).Faults),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void The_password_in_a_wrong_store_is_not_repeated() =>
        Assert.DoesNotContain("hunter2", Faults("--store", "mysql://user:hunter2@db/x"), StringComparison.Ordinal);

    [Theory]
    [InlineData("sqlite:", "lacks the file's path")]
    [InlineData("sqlite::memory:", "only in memory")]
    [InlineData("postgres://u:hunter2@db:70000/cp", "HOST:PORT")]
    [InlineData("postgres://u:hunter2@db/cp?sslmod=require", "'sslmod'")]
    [InlineData("Host=db;Port=70000;Password=hunter2", "port 70000")]
    [InlineData("Hots=db;Password=hunter2", "key that Npgsql does not know")]
    public void What_is_wrong_with_a_store_is_said_and_where_it_was_given(string store, string what)
    {
        var flag = Faults("--store", store);
        var variable = CommandLine.Parse([], name => name == "CONTROLPLANE_STORE" ? store : null);

        Assert.Contains(what, flag, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", flag, StringComparison.Ordinal);
        Assert.Equal("CONTROLPLANE_STORE: " + flag, Assert.Single(Assert.IsType<CommandLine.Faulty>(variable).Faults));
    }

    [Theory]
    [InlineData("sqlite:/tmp/x.db")]
    [InlineData("postgres://u:p@h/db")]
    [InlineData("postgresql://h/db")]
    [InlineData("Host=db;Database=cp")]
    public void Stores_are_given_as_path_url_or_connection_string(string store) => Assert.Equal(store, Options("--store", store).Store);

    [Theory]
    [InlineData("0.0.0.0:8080")]
    [InlineData(":8080")]
    [InlineData("*:8080")]
    [InlineData("[::]:8080")]
    [InlineData("10.0.0.1:8080")]
    public void A_wide_admin_bind_without_protection_says_what_to_give(string listen)
    {
        var faults = Faults("--admin-listen", listen);

        Assert.Contains("--admin-token-file FILE", faults, StringComparison.Ordinal);
        Assert.Contains("--admin-tls-cert FILE and --admin-tls-key FILE, or --admin-plaintext", faults, StringComparison.Ordinal);
    }

    [Fact]
    public void Plaintext_lifts_tls_and_not_tokens()
    {
        var faults = Faults("--admin-listen", "0.0.0.0:8080", "--admin-plaintext");

        Assert.Contains("--admin-token-file", faults, StringComparison.Ordinal);
        Assert.DoesNotContain("--admin-tls-cert", faults, StringComparison.Ordinal);
        Assert.True(Options("--admin-listen", "0.0.0.0:8080", "--admin-plaintext", "--admin-token-file", "t").AdminPlaintext);
    }

    [Fact]
    public void A_wide_bind_for_other_servers_needs_certificates_or_the_word_plaintext_and_a_database_that_is_shared()
    {
        const string Shared = "postgres://h/db";
        Assert.Contains(
            "--peer-client-ca FILE, or --peer-plaintext",
            Faults("--store", Shared, "--peer-listen", "0.0.0.0:18001"),
            StringComparison.Ordinal
        );
        Assert.Contains("--store names SQLite", Faults("--peer-listen", "127.0.0.1:18001"), StringComparison.Ordinal);
        Assert.Contains("--peer-client-ca too", Faults("--peer-tls-cert", "c", "--peer-tls-key", "k"), StringComparison.Ordinal);
        Assert.Contains("is not a host and a port", Faults("--peer-address", "cp-1.internal"), StringComparison.Ordinal);
        var options = Options("--store", Shared, "--peer-listen", "0.0.0.0:18001", "--peer-plaintext", "--peer-address", "cp-1:18001");
        Assert.Equal(("0.0.0.0:18001", "cp-1:18001"), (options.EffectivePeerListen!.ToString(), options.PeerAddress));
        Assert.Equal("127.0.0.1:0", Options("--store", Shared).EffectivePeerListen!.ToString());
        Assert.Null(Options().EffectivePeerListen);
    }

    [Fact]
    public void A_wide_xds_bind_needs_client_certificates_or_the_word_plaintext()
    {
        Assert.Contains("--xds-client-ca FILE, or --xds-plaintext", Faults("--xds-listen", "0.0.0.0:18000"), StringComparison.Ordinal);
        Assert.True(Options("--xds-listen", "0.0.0.0:18000", "--xds-plaintext").XdsPlaintext);
        Assert.Equal(
            "ca",
            Options("--xds-listen", "0.0.0.0:18000", "--xds-tls-cert", "c", "--xds-tls-key", "k", "--xds-client-ca", "ca").XdsClientCa
        );
    }

    [Fact]
    public void Half_of_a_tls_configuration_is_refused()
    {
        Assert.Contains("--admin-tls-cert needs --admin-tls-key too.", Faults("--admin-tls-cert", "c"), StringComparison.Ordinal);
        Assert.Contains(
            "--xds-tls-cert and --xds-tls-key need --xds-client-ca too.",
            Faults("--xds-tls-cert", "c", "--xds-tls-key", "k"),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("127.0.0.1:8080", true)]
    [InlineData("127.8.9.1:8080", true)]
    [InlineData("localhost:8080", true)]
    [InlineData("[::1]:8080", true)]
    [InlineData("unix:/tmp/s", true)]
    [InlineData("0.0.0.0:8080", false)]
    [InlineData("192.168.1.1:8080", false)]
    [InlineData("[2001:db8::1]:8080", false)]
    public void Loopback_and_unix_sockets_are_local(string text, bool local)
    {
        Assert.True(ListenAddress.TryParse(text, out var endPoint));
        Assert.Equal(local, ListenAddress.IsLocal(endPoint!));
    }

    [Theory]
    [InlineData("8080")]
    [InlineData("127.0.0.1")]
    [InlineData("127.0.0.1:70000")]
    [InlineData("127.0.0.1:-1")]
    [InlineData("1:8080")]
    [InlineData("example.com:8080")]
    [InlineData("::1:8080")]
    [InlineData("[127.0.0.1]:8080")]
    [InlineData("unix:")]
    [InlineData("")]
    public void What_is_no_address_is_refused(string text) => Assert.False(ListenAddress.TryParse(text, out _));

    [Fact]
    public void Verbs_take_their_own_flags()
    {
        Assert.Equal("f", Assert.IsType<CommandLine.Backup>(Parse("backup", "--to", "f")).File);
        Assert.Equal("f", Assert.IsType<CommandLine.Restore>(Parse("restore", "--from=f", "--store", "sqlite:x")).File);
        Assert.Equal(new CommandLine.CreateToken("ci", TokenRole.Write), Parse("token", "create", "ci", "--role", "write"));
        Assert.Contains("--to is missing", Faults("backup"), StringComparison.Ordinal);
        Assert.Contains("--to does not belong to this command", Faults("--to", "f"), StringComparison.Ordinal);
        Assert.Contains(
            "--role is one of read|write|evidence, not 'admin'",
            Faults("token", "create", "ci", "--role", "admin"),
            StringComparison.Ordinal
        );
        Assert.Contains("'bakcup' is not a command. Did you mean 'backup'?", Faults("bakcup"), StringComparison.Ordinal);
    }

    [Fact]
    public void Help_names_every_option_with_its_variable()
    {
        var text = Assert.IsType<CommandLine.Print>(Parse("--help")).Text;

        foreach (var flag in typeof(ServerOptions).GetProperties().Where(p => p.SetMethod is not null).Select(p => p.Name))
        {
            var name = string.Concat(flag.Select((c, i) => i > 0 && char.IsUpper(c) ? "-" + c : c.ToString())).ToLowerInvariant();
            Assert.Contains("--" + name, text, StringComparison.Ordinal);
            Assert.Contains("CONTROLPLANE_" + name.ToUpperInvariant().Replace('-', '_'), text, StringComparison.Ordinal);
        }
    }
}
