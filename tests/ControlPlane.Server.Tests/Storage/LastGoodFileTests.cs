using System.Runtime.Versioning;
using ControlPlane.Resources;
using ControlPlane.Server.Storage;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Storage;

public sealed class LastGoodFileTests : IAsyncDisposable
{
    private static readonly DateTimeOffset Noon = new(2026, 11, 25, 12, 0, 0, TimeSpan.Zero);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-test-");
    private readonly FakeTimeProvider _time = new();
    private readonly LastGoodFile _file;

    public LastGoodFileTests() => _file = Open();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private string FilePath => Path.Combine(_folder.FullName, "data", "last-good.jsonl");

    public ValueTask DisposeAsync()
    {
        _file.Dispose();
        _folder.Delete(recursive: true);
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task What_was_in_force_comes_back_exactly()
    {
        var documents = new[]
        {
            Document("a", """{"z": 1.0,"a":1e3,"text":"\u0000 \ud83d\ude00 😀 ü \\ \""}"""),
            Document("u/1", """{"weight":1}""", ResourceKind.Endpoint) with
            {
                UpdatedAt = Noon.AddTicks(10),
                ManagedBy = "git/edge",
                Generation = 9,
            },
        };

        await StopAfterAsync(() => _file.Offer(42, documents));

        var state = await Open().LoadAsync(Cancellation);
        Assert.Equal(42, state!.Revision);
        Assert.Equal(documents, state.Documents);
    }

    [Fact]
    [UnsupportedOSPlatform("windows")]
    public async Task The_file_is_for_its_owner_alone()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no file modes.");

        await StopAfterAsync(() => _file.Offer(1, [Document("a")]));

        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(FilePath));
        Assert.Equal([Path.GetFileName(FilePath)], new FileInfo(FilePath).Directory!.GetFiles().Select(f => f.Name));
    }

    [Fact]
    public async Task Without_a_file_there_is_nothing_to_load() => Assert.Null(await _file.LoadAsync(Cancellation));

    [Fact]
    public async Task Many_offers_are_written_once_and_the_newest_wins()
    {
        var first = Probe();
        var second = Probe();
        await _file.StartAsync(Cancellation);

        _file.Offer(1, first.Documents);
        await first.Written.WaitAsync(Cancellation);
        var skipped = Enumerable.Range(2, 100).Select(_ => Probe()).ToList();
        foreach (var (probe, i) in skipped.Select((p, i) => (p, i)))
        {
            _file.Offer(i + 2, probe.Documents);
        }

        _file.Offer(1000, second.Documents);
        // The pause after the first write begins a moment after the write itself: advance until it is over.
        await _time.AdvanceUntilAsync(LastGoodFile.MinimumInterval, second.Written);
        await _file.StopAsync(Cancellation);
        Assert.All(skipped, probe => Assert.False(probe.Written.IsCompleted));
        Assert.Equal(1000, (await Open().LoadAsync(Cancellation))!.Revision);
    }

    [Fact]
    public async Task What_was_offered_last_is_written_at_the_end()
    {
        var first = Probe();
        await _file.StartAsync(Cancellation);
        _file.Offer(1, first.Documents);
        await first.Written.WaitAsync(Cancellation);

        _file.Offer(2, [Document("a")]);
        await _file.StopAsync(Cancellation);

        Assert.Equal(2, (await Open().LoadAsync(Cancellation))!.Revision);
    }

    [Theory]
    [InlineData("cut off", 30, "")]
    [InlineData("changed", 0, "weight=weight2")]
    [InlineData("garbage", 0, "{\"type=garbage")]
    [InlineData("a newer version", 0, "\"version\":1=\"version\":2")]
    [InlineData("another file", 0, "controlplane-last-good=controlplane-backup")]
    public async Task A_damaged_file_is_reported_and_not_used(string damage, int cut, string replace)
    {
        await StopAfterAsync(() => _file.Offer(1, [Document("a", """{"weight":1}""")]));
        var text = await File.ReadAllTextAsync(FilePath, Cancellation);
        var damaged = cut > 0 ? text[..^cut] : text.Replace(replace.Split('=')[0], replace.Split('=')[1], StringComparison.Ordinal);
        Assert.NotEqual(text, damaged);
        await File.WriteAllTextAsync(FilePath, damaged, Cancellation);
        using var log = new LogRecorder();
        using var file = Open(log);

        Assert.True(await file.LoadAsync(Cancellation) is null, $"A file that is {damage} was used.");
        Assert.Contains("is not used", await log.FirstAsync(2111), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_folder_that_cannot_be_written_is_reported_and_stops_nothing()
    {
        await File.WriteAllTextAsync(Path.Combine(_folder.FullName, "data"), "a file where the folder should be", Cancellation);
        using var log = new LogRecorder();
        using var file = Open(log);

        await file.StartAsync(Cancellation);
        file.Offer(1, [Document("a")]);
        await file.StopAsync(Cancellation);

        Assert.Contains("could not be written", await log.FirstAsync(2112), StringComparison.Ordinal);
    }

    private LastGoodFile Open(LogRecorder? log = null) =>
        new(FilePath, _time, log is null ? NullLogger<LastGoodFile>.Instance : new LoggerFactory([log]).CreateLogger<LastGoodFile>());

    private async Task StopAfterAsync(Action action)
    {
        await _file.StartAsync(Cancellation);
        action();
        await _file.StopAsync(Cancellation);
    }

    private static StoredDocument Document(string name, string json = """{"n":1}""", ResourceKind kind = ResourceKind.Upstream) =>
        new(new ResourceKey(kind, name), Guid.NewGuid(), 1, 1, Noon, Noon, "rest/test", json);

    // Documents that tell when they are enumerated, which the writer does.
    private static (IEnumerable<StoredDocument> Documents, Task Written) Probe()
    {
        var written = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        return (Enumerate(), written.Task);

        IEnumerable<StoredDocument> Enumerate()
        {
            yield return Document("a");
            written.SetResult();
        }
    }
}
