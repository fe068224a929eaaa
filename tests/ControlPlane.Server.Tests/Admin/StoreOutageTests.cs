using System.Net.Http.Json;
using System.Text;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Storage;
using ControlPlane.TestKit;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>The API while the database is away, on a PostgreSQL of this class alone.</summary>
public sealed class StoreOutageTests(PostgresFixture postgres) : IClassFixture<PostgresFixture>
{
    [Fact]
    public async Task Reads_go_on_writes_are_503_readiness_is_degraded_and_it_recovers_by_itself()
    {
        var server = await postgres.GetServerAsync();
        var database = await server.CreateDatabaseAsync();
        await using var host = await ControlPlaneHost.StartAsync(o => o with { Store = database });
        await Eventually.True("the start", async stop => (await host.Http.GetAsync("/startupz", stop)).IsSuccessStatusCode);
        var key = new ResourceKey(ResourceKind.Upstream, "cart");
        await host.Client.PutAsync(key, Bodies.Upstream());

        await server.StopAsync();
        try
        {
            using var refused = await host.Http.PutAsync(
                "/api/v1/upstreams/cart",
                new StringContent(Bodies.Upstream(9090), Encoding.UTF8, "application/json")
            );
            Assert.Equal(503, (int)refused.StatusCode);
            Assert.NotNull(refused.Headers.RetryAfter);
            var problem = (await refused.Content.ReadFromJsonAsync<Problem>(ApiJson.Options))!;
            Assert.Equal(Problem.TypePrefix + "store-unavailable", problem.Type);
            Assert.Contains("Nothing was written.", problem.Detail, StringComparison.Ordinal);
            Assert.DoesNotContain("Password", problem.Detail, StringComparison.OrdinalIgnoreCase);

            Assert.NotNull(await host.Client.FindAsync(key));
            Assert.Single((await host.Client.ListAsync(ResourceKind.Upstream)).Items);
            Assert.Equal(200, (int)(await host.Http.GetAsync("/api/v1/upstreams/cart/xds")).StatusCode);
            var history = await Assert.ThrowsAsync<ApiException>(() => host.Client.RevisionsAsync());
            Assert.Equal(503, history.Problem.Status);
            await Eventually.True(
                "degraded",
                async stop =>
                    (await host.Http.GetStringAsync("/readyz?verbose", stop)).Contains("[~]store degraded", StringComparison.Ordinal)
            );
            // A change that changes nothing needs no database.
            await host.Client.PutAsync(key, Bodies.Upstream());
        }
        finally
        {
            await server.StartAgainAsync();
        }

        await Eventually.True(
            "writes to be taken again",
            async stop =>
            {
                try
                {
                    await host.Client.PutAsync(key, Bodies.Upstream(9090), cancellationToken: stop);
                    return true;
                }
                catch (ApiException e) when (e.Problem.Status == 503)
                {
                    return false;
                }
            },
            TimeSpan.FromSeconds(60)
        );
        await Eventually.True("ready", async stop => await host.Http.GetStringAsync("/readyz", stop) == "ok\n", TimeSpan.FromSeconds(60));
    }

    [Fact]
    public async Task A_server_that_began_with_its_last_good_file_makes_the_tables_of_a_database_that_comes_late_and_loses_nothing_to_it()
    {
        using var folder = new DataFolder();
        var server = await postgres.GetServerAsync();
        var filled = await server.CreateDatabaseAsync();
        var empty = await server.CreateDatabaseAsync();
        await using (var before = await StartAsync(filled, folder))
        {
            await before.Client.PutAsync(Cart, Bodies.Upstream());
        }

        await BackupAsync(filled, folder.Backup);
        await server.StopAsync();
        using var log = new LogRecorder();
        ControlPlaneHost host;
        try
        {
            host = await StartAsync(empty, folder, log);
            await log.FirstAsync(LoadedLastGood);
        }
        finally
        {
            await server.StartAgainAsync();
        }

        await using (host)
        {
            await EmptyIsRefusedAsync(host, log);

            await RestoreAsync(empty, folder.Backup);

            await WritesAsync(host);
            Assert.Equal([2L, 1L], (await host.Client.RevisionsAsync()).Items.Select(r => r.Revision));
        }
    }

    [Fact]
    public async Task A_backup_that_is_restored_under_a_running_server_is_followed_and_the_empty_database_before_is_not()
    {
        using var folder = new DataFolder();
        var server = await postgres.GetServerAsync();
        var database = await server.CreateDatabaseAsync();
        using var log = new LogRecorder();
        await using var host = await StartAsync(database, folder, log);
        await host.Client.PutAsync(Cart, Bodies.Upstream());
        await BackupAsync(database, folder.Backup);
        await host.Client.PutAsync(Cart, Bodies.Upstream(9090));
        await host.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, "later"), Bodies.Upstream());

        await server.EmptyDatabaseAsync(database);
        await EmptyIsRefusedAsync(host, log);
        Assert.Equal(2, (await host.Client.ListAsync(ResourceKind.Upstream)).Items.Length);

        await RestoreAsync(database, folder.Backup);

        await Eventually.True(
            "the later object to be gone",
            async stop => (await host.Client.ListAsync(ResourceKind.Upstream, cancellationToken: stop)).Items.Length == 1,
            Patience
        );
        Assert.Contains("8080", await host.Http.GetStringAsync("/api/v1/upstreams/cart/xds"), StringComparison.Ordinal);
        await WritesAsync(host);
    }

    [Fact]
    public async Task A_server_that_starts_on_an_empty_database_serves_what_was_in_force_and_writes_nothing()
    {
        using var folder = new DataFolder();
        var server = await postgres.GetServerAsync();
        var database = await server.CreateDatabaseAsync();
        await using (var before = await StartAsync(database, folder))
        {
            await before.Client.PutAsync(Cart, Bodies.Upstream());
            await BackupAsync(database, folder.Backup);
        }

        await server.EmptyDatabaseAsync(database);
        using var log = new LogRecorder();
        await using var host = await StartAsync(database, folder, log);
        await EmptyIsRefusedAsync(host, log);
        Assert.Single((await host.Client.ListAsync(ResourceKind.Upstream)).Items);
        Assert.Contains("last-good", await host.Http.GetStringAsync("/readyz?verbose"), StringComparison.Ordinal);

        await RestoreAsync(database, folder.Backup);
        await WritesAsync(host);
    }

    private static readonly ResourceKey Cart = new(ResourceKind.Upstream, "cart");
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private const int StoreUnavailable = 1002;
    private const int LoadedLastGood = 1003;

    private static Task<ControlPlaneHost> StartAsync(string database, DataFolder folder, LogRecorder? log = null) =>
        ControlPlaneHost.StartAsync(
            o => o with { Store = database, DataDir = folder.Path },
            builder =>
            {
                if (log is not null)
                {
                    builder.Logging.AddProvider(log);
                }
            }
        );

    private static async Task EmptyIsRefusedAsync(ControlPlaneHost host, LogRecorder log)
    {
        while (!(await log.FirstAsync(StoreUnavailable)).Contains("is empty", StringComparison.Ordinal)) { }

        Assert.NotNull(await host.Client.FindAsync(Cart));
        Assert.Contains("[~]store degraded", await host.Http.GetStringAsync("/readyz?verbose"), StringComparison.Ordinal);
        var refused = await Assert.ThrowsAsync<ApiException>(() => host.Client.PutAsync(Cart, Bodies.Upstream(7070)));
        Assert.Equal(503, refused.Problem.Status);
        Assert.Contains("restore a backup into it", refused.Problem.Detail, StringComparison.Ordinal);
    }

    private static async Task WritesAsync(ControlPlaneHost host)
    {
        await Eventually.True("ready", async stop => await host.Http.GetStringAsync("/readyz", stop) == "ok\n", Patience);
        await host.Client.PutAsync(Cart, Bodies.Upstream(6060));
    }

    private static async Task BackupAsync(string database, string file) =>
        Assert.Equal(
            0,
            await BackupCommand.BackupAsync(database, file, TimeProvider.System, TextWriter.Null, TextWriter.Null, CancellationToken.None)
        );

    private static async Task RestoreAsync(string database, string file)
    {
        using var error = new StringWriter();
        var code = await BackupCommand.RestoreAsync(database, file, TimeProvider.System, TextWriter.Null, error, CancellationToken.None);
        Assert.True(code == 0, error.ToString());
    }

    /// <summary>What stays when a server is started again.</summary>
    private sealed class DataFolder : IDisposable
    {
        public string Path { get; } = Directory.CreateTempSubdirectory("cp-data-").FullName;

        public string Backup => System.IO.Path.Combine(Path, "backup.jsonl");

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
