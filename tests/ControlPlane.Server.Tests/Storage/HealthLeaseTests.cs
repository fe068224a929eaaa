using ControlPlane.Server.Storage;
using ControlPlane.Server.Storage.Postgres;
using ControlPlane.TestKit;
using Npgsql;

namespace ControlPlane.Server.Tests.Storage;

/// <summary>Who of several servers has the lease.</summary>
public sealed class HealthLeaseTests(PostgresFixture postgres) : IAsyncLifetime
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(10);

    private string _database = "";
    private PostgresDesiredStateStore _store = null!;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _database = await postgres.CreateDatabaseAsync();
        _store = PostgresDesiredStateStoreTests.Open(_database);
        await _store.MigrateAsync(Cancellation);
    }

    public ValueTask DisposeAsync() => _store.DisposeAsync();

    [Fact]
    public async Task A_free_lease_is_taken_by_one_of_many()
    {
        Assert.Equal(new LeaseState("", "", 0, true), await HoldAsync("looker", mayTake: false));

        var states = await Task.WhenAll(Enumerable.Range(0, 10).Select(i => HoldAsync($"s{i}", mayTake: true)));

        var holder = Assert.Single(states.Select(s => s.Holder).Where(h => h.Length > 0).Distinct());
        Assert.Equal(new LeaseState(holder, $"http://{holder}", 1, false), await HoldAsync("looker", mayTake: true));
    }

    [Fact]
    public async Task A_lease_is_renewed_by_its_holder_alone_until_it_expires_or_is_given_back()
    {
        await HoldAsync("a", mayTake: true);
        Assert.Equal(("a", 1), Short(await HoldAsync("b", mayTake: true)));
        Assert.Equal(("a", 1), Short(await HoldAsync("a", mayTake: false)));

        await ExecuteAsync("UPDATE health_lease SET expires_at = now() - interval '1 second'");
        Assert.Equal(new LeaseState("a", "http://a", 1, true), await HoldAsync("b", mayTake: false));
        // Nobody took it meanwhile.
        Assert.Equal(("a", 1), Short(await HoldAsync("a", mayTake: false)));
        Assert.Equal(("a", 1), Short(await HoldAsync("b", mayTake: true)));

        await _store.ReleaseLeaseAsync("b", Cancellation);
        Assert.Equal(("a", 1), Short(await HoldAsync("b", mayTake: true)));
        await _store.ReleaseLeaseAsync("a", Cancellation);
        Assert.Equal(("b", 2), Short(await HoldAsync("b", mayTake: true)));
        Assert.Equal(("b", 2), Short(await HoldAsync("a", mayTake: true)));
    }

    private static (string, long) Short(LeaseState state) => (state.Holder, state.Term);

    private Task<LeaseState> HoldAsync(string server, bool mayTake) =>
        _store.HoldLeaseAsync(server, $"http://{server}", Long, mayTake, Cancellation);

    private async Task ExecuteAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(_database);
        await connection.OpenAsync(Cancellation);
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(Cancellation);
    }
}
