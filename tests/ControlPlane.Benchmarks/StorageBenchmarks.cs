using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Engines;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using ControlPlane.Resources;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Storage.Postgres;
using ControlPlane.Server.Storage.Sqlite;
using ControlPlane.TestKit;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace ControlPlane.Benchmarks;

/// <summary>
/// How long a durable write takes (fsync on), and a load, on a store that holds 10,000 documents of about 400 bytes. Each measurement is one call, so that
/// the percentiles are those of calls.
/// </summary>
[Config(typeof(OneCallPerMeasurement))]
public class StorageBenchmarks
{
    private const int Documents = 10_000;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-bench-");
    private PostgresServer? _postgres;
    private IDesiredStateStore _store = null!;
    private long _revision;

    /// <summary>The kind of store.</summary>
    [Params("sqlite", "postgres")]
    public string Kind { get; set; } = "";

    [GlobalSetup]
    public async Task SetUpAsync()
    {
        if (Kind == "sqlite")
        {
            _store = new SqliteDesiredStateStore(
                Path.Combine(_folder.FullName, "store.db"),
                TimeProvider.System,
                NullLogger<SqliteDesiredStateStore>.Instance
            );
        }
        else
        {
            _postgres = await PostgresServer.StartAsync(isDurable: true);
            _store = new PostgresDesiredStateStore(
                new NpgsqlConnectionStringBuilder(await _postgres.CreateDatabaseAsync()),
                TimeProvider.System,
                NullLogger<PostgresDesiredStateStore>.Instance
            );
        }

        await _store.MigrateAsync(CancellationToken.None);
        await WriteAsync(0, Documents);
    }

    [GlobalCleanup]
    public async Task CleanUpAsync()
    {
        await _store.DisposeAsync();
        if (_postgres is not null)
        {
            await _postgres.DisposeAsync();
        }

        _folder.Delete(recursive: true);
    }

    [Benchmark]
    public Task CommitOneAsync() => WriteAsync((int)(_revision * 7919 % Documents), 1);

    [Benchmark]
    public Task CommitTenThousandAsync() => WriteAsync(0, Documents);

    [Benchmark]
    public async Task CommitOneAndReadItBackAsync()
    {
        await CommitOneAsync();
        await _store.ReadChangesAsync(_revision - 1, CancellationToken.None);
    }

    [Benchmark]
    public Task<StoredState> LoadTenThousandAsync() => _store.LoadAsync(CancellationToken.None);

    [Benchmark]
    public Task BackupAsync() => _store.BackupAsync(Stream.Null, CancellationToken.None);

    private async Task WriteAsync(int first, int count)
    {
        var at = DateTimeOffset.UnixEpoch;
        var documents = Enumerable
            .Range(first, count)
            .Select(i => new StoredDocument(
                new ResourceKey(ResourceKind.Endpoint, $"upstream-{i / 10}/10.0.{i / 250}.{i % 250}:8080"),
                Guid.Empty,
                1,
                0,
                at,
                at,
                "rest/bench",
                $$$"""{"apiVersion":"controlplane/v1","kind":"Endpoint","metadata":{"name":"e{{{i}}}","labels":{"rack":"r{{{_revision % 97}}}"}},"spec":{"address":"10.0.{{{i / 250}}}.{{{i % 250}}}","port":8080,"weight":{{{_revision % 128}}},"locality":{"region":"eu-west-1","zone":"eu-west-1a"},"metadata":{"filler":"{{{Filler}}}" } } }"""
            ))
            .ToList();
        _ =
            await _store.CommitAsync(new WriteBatch(_revision, "bench", "", at, "", "", documents, []), CancellationToken.None)
            ?? throw new InvalidOperationException("Somebody else wrote.");
        _revision++;
    }

    private static readonly string Filler = new('x', 150);

    private sealed class OneCallPerMeasurement : ManualConfig
    {
        public OneCallPerMeasurement()
        {
            AddJob(
                Job.Default.WithToolchain(new InProcessEmitToolchain(logOutput: false))
                    .WithStrategy(RunStrategy.Monitoring)
                    .WithWarmupCount(20)
                    .WithIterationCount(100)
                    .WithInvocationCount(1)
                    .WithUnrollFactor(1)
            );
            AddColumn(StatisticColumn.P50, StatisticColumn.P95, StatisticColumn.Max);
        }
    }
}
