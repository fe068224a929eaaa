using ControlPlane.Server.Storage;
using ControlPlane.Server.Storage.Postgres;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace ControlPlane.Server.Tests.Storage;

public sealed class StoreFactoryTests
{
    [Theory]
    [InlineData("sqlite:data/controlplane.db", "sqlite:data/controlplane.db")]
    [InlineData("SQLite:/var/lib/x.db", "sqlite:/var/lib/x.db")]
    [InlineData("postgres://u:s3cret@db.example/cp", "postgres://db.example:5432/cp")]
    [InlineData("postgresql://u:s3cret@db:6432/cp?sslmode=require", "postgres://db:6432/cp")]
    [InlineData("Host=db;Port=5433;Database=cp;Username=u;Password=s3cret", "postgres://db:5433/cp")]
    public async Task The_store_that_is_named_is_made_and_described_without_credentials(string store, string description)
    {
        await using var made = StoreFactory.Parse(store)(TimeProvider.System, NullLoggerFactory.Instance);

        Assert.Equal(description, made.Description);
    }

    [Theory]
    [InlineData("", "neither of the forms")]
    [InlineData("s3cret", "neither of the forms")]
    [InlineData("mysql://u:s3cret@db/cp", "neither of the forms")]
    [InlineData("sqlite:", "lacks the file's path")]
    [InlineData("sqlite::memory:", "only in memory")]
    [InlineData("sqlite:/", "names a folder")]
    [InlineData("postgres://", "names no host")]
    [InlineData("postgres:///cp", "names no host")]
    [InlineData("postgres://u:s3cret@db:0/cp", "HOST:PORT")]
    [InlineData("postgres://u:s3cret@db:70000/cp", "HOST:PORT")]
    [InlineData("postgres://u:s3cret@:5432/cp", "HOST:PORT")]
    [InlineData("postgres://u:pa/s3cret@db/cp", "percent-encoded")]
    [InlineData("postgres://u:pa?s3cret@db/cp", "percent-encoded")]
    [InlineData("postgres://u:s3cret@db/cp?sslmod=require", "'sslmod'")]
    [InlineData("postgres://u:s3cret@db/cp?sslmode=s3cret", "'sslmode'")]
    [InlineData("postgres://u:s3cret@db/cp?connect_timeout=s3cret", "'connect_timeout'")]
    [InlineData("Database=cp;Password=s3cret", "names no host")]
    [InlineData("Host=db;Password=pa;s3cret", "pairs KEY=VALUE")]
    [InlineData("Host=db;Password=pa;s3cret=x", "key that Npgsql does not know")]
    [InlineData("Host=db;Port=s3cret", "'port'")]
    [InlineData("Host=db;Port=70000;Password=s3cret", "port 70000")]
    public void Nonsense_is_refused_with_what_to_give_and_never_with_a_password(string store, string message)
    {
        var refused = Assert.Throws<FormatException>(() => StoreFactory.Parse(store));

        Assert.Contains(message, refused.Message, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("--store", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("s3cret", refused.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_URL_means_what_it_means_to_PostgreSQLs_own_tools()
    {
        var url =
            "postgresql://al%40ice:p%2Fa%3Fs%25s@[::1]:6432/my%20db?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=7&application_name=x&target_session_attrs=read-write&Maximum%20Pool%20Size=9";

        Assert.Equivalent(
            new
            {
                Username = "al@ice",
                Password = "p/a?s%s",
                Host = "::1",
                Port = 6432,
                Database = "my db",
                SslMode = SslMode.VerifyFull,
                RootCertificate = "/ca.pem",
                Timeout = 7,
                ApplicationName = "x",
                TargetSessionAttributes = "read-write",
                MaxPoolSize = 9,
            },
            PostgresUrl.Parse(url)
        );
    }

    [Theory]
    [InlineData("postgres://a:1,b,c:3/cp", "a:1,b:5432,c:3")]
    [InlineData("postgres:///cp?host=/run/postgresql&user=u", "/run/postgresql")]
    [InlineData("postgres://%2Frun%2Fpostgresql/cp", "/run/postgresql")]
    [InlineData("postgres://u@db", "db")]
    [InlineData("postgres://u:p:q@r@db/cp", "db")]
    public void Hosts_are_read_from_all_their_places(string url, string host) => Assert.Equal(host, PostgresUrl.Parse(url).Host);
}
