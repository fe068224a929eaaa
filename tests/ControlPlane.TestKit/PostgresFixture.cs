using Npgsql;
using Xunit;

namespace ControlPlane.TestKit;

/// <summary>
/// One PostgreSQL server for all tests of a process: register it by <c>[assembly: AssemblyFixture(typeof(PostgresFixture))]</c>. It starts when the first
/// test asks for a database. A class whose tests stop the server has one of its own, by <c>IClassFixture&lt;PostgresFixture&gt;</c>.
/// </summary>
public sealed class PostgresFixture : IAsyncDisposable
{
    private readonly Lazy<Task<PostgresServer>> _server = new(() => PostgresServer.StartAsync());

    /// <summary>Creates an empty database. Skips the test where no server is to be had; in CI that is a failure.</summary>
    /// <returns>An Npgsql connection string.</returns>
    public async Task<string> CreateDatabaseAsync() => await (await _server.Value).CreateDatabaseAsync();

    /// <summary>The server. Skips the test where none is to be had; in CI that is a failure.</summary>
    public Task<PostgresServer> GetServerAsync() => _server.Value;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_server.IsValueCreated)
        {
            // What kept it from starting has been told by the tests.
            await ((Task)_server.Value).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (_server.Value.IsCompletedSuccessfully)
            {
                await (await _server.Value).DisposeAsync();
            }
        }
    }
}

/// <summary>A real PostgreSQL server that a test may stop, kill and start again. Its data goes with it, also if the test process is killed.</summary>
public sealed class PostgresServer : IAsyncDisposable
{
    private readonly IPostgresHost _host;
    private int _databases;

    private PostgresServer(IPostgresHost host) => _host = host;

    /// <summary>
    /// Starts a server: a container where a Docker engine answers, else a private cluster from the machine's own PostgreSQL. Skips the test where there is
    /// neither; in CI that is a failure.
    /// </summary>
    /// <param name="isDurable">Whether it syncs to disk at each commit, for measurements; tests do not need it.</param>
    public static async Task<PostgresServer> StartAsync(bool isDurable = false)
    {
        var missing = new List<string>();
        foreach (var start in new[] { PostgresContainer.TryStartAsync, PostgresCluster.TryStartAsync })
        {
            var (host, reason) = await start(isDurable);
            if (host is not null)
            {
                return new PostgresServer(host);
            }

            missing.Add(reason);
        }

        var message = "No PostgreSQL for this test: " + string.Join("; ", missing);
        if (Environment.GetEnvironmentVariable("CI") == "true")
        {
            Assert.Fail(message);
        }

        Assert.Skip(message);
        throw new InvalidOperationException(message);
    }

    /// <summary>Creates an empty database.</summary>
    /// <returns>An Npgsql connection string; it stays valid when the server is started again.</returns>
    public async Task<string> CreateDatabaseAsync()
    {
        var name = $"test{Interlocked.Increment(ref _databases)}";
        await using var connection = new NpgsqlConnection(_host.ConnectionString + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand($"CREATE DATABASE {name}", connection);
        await command.ExecuteNonQueryAsync();
        return new NpgsqlConnectionStringBuilder(_host.ConnectionString) { Database = name }.ConnectionString;
    }

    /// <summary>Takes a database away from whoever uses it and makes an empty one of the same name.</summary>
    /// <param name="connectionString">The database, as <see cref="CreateDatabaseAsync"/> gave it.</param>
    public async Task EmptyDatabaseAsync(string connectionString)
    {
        var name = new NpgsqlConnectionStringBuilder(connectionString).Database;
        await using var connection = new NpgsqlConnection(_host.ConnectionString + ";Pooling=false");
        await connection.OpenAsync();
        foreach (var sql in (string[])[$"DROP DATABASE {name} WITH (FORCE)", $"CREATE DATABASE {name}"])
        {
            await using var command = new NpgsqlCommand(sql, connection);
            await command.ExecuteNonQueryAsync();
        }
    }

    /// <summary>Shuts the server down as an administrator does: sessions are ended, nothing is lost.</summary>
    public Task StopAsync() => _host.StopAsync(isCrash: false);

    /// <summary>Ends the server as a crash does: the next start recovers from the log.</summary>
    public Task KillAsync() => _host.StopAsync(isCrash: true);

    /// <summary>Starts the server after <see cref="StopAsync"/> or <see cref="KillAsync"/>; returns when it takes connections.</summary>
    public Task StartAgainAsync() => _host.StartAsync();

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _host.DisposeAsync();
}

/// <summary>Where a server runs.</summary>
internal interface IPostgresHost : IAsyncDisposable
{
    /// <summary>For the database <c>postgres</c>, with an account that may do all.</summary>
    string ConnectionString { get; }

    Task StartAsync();

    Task StopAsync(bool isCrash);
}
