using System.Collections.Immutable;
using ControlPlane.Server.Storage;
using Microsoft.Extensions.Logging.Abstractions;

namespace ControlPlane.Server.Tests.Storage;

/// <summary>What the health model remembers on disk: written as it changes, and read whatever moment the process ended in.</summary>
public sealed class LastGoodHealthFileTests : IDisposable
{
    private const int Upstreams = 1000;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-");

    private string Whole => Path.Combine(_folder.FullName, "last-good.health.jsonl");

    private string Journal => Path.Combine(_folder.FullName, "last-good.health.journal.jsonl");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task A_change_of_one_upstream_writes_that_one_alone()
    {
        var file = Open();
        var state = Many();
        await file.WriteAsync(state);
        var whole = File.GetLastWriteTimeUtc(Whole);

        await file.WriteAsync(state.SetItem("u7", At("u7", 1)).Remove("u8"));

        Assert.Equal(whole, File.GetLastWriteTimeUtc(Whole));
        Assert.InRange(new FileInfo(Journal).Length, 1, 1000);
        var read = await ReadAsync();
        Assert.Equal(Upstreams - 1, read.Count);
        Assert.Equal(At("u7", 1), read["u7"]);
        Assert.False(read.ContainsKey("u8"));
    }

    [Fact]
    public async Task Of_a_line_that_a_crash_cut_off_nothing_counts_and_the_next_process_goes_on_from_the_rest()
    {
        var file = Open();
        var state = Many();
        await file.WriteAsync(state);
        await file.WriteAsync(state = state.SetItem("u1", At("u1", 1)));
        var length = new FileInfo(Journal).Length;
        await file.WriteAsync(state.SetItem("u2", At("u2", 1)));
        var bytes = await File.ReadAllBytesAsync(Journal);

        for (var cut = length; cut < bytes.Length - 1; cut++)
        {
            await File.WriteAllBytesAsync(Journal, bytes[..(int)cut]);
            var read = await ReadAsync();
            Assert.Equal(At("u1", 1), read["u1"]);
            Assert.Equal(At("u2", 0), read["u2"]);
        }

        var next = Open();
        await next.WriteAsync(state);
        await next.WriteAsync(state.SetItem("u3", At("u3", 2)));
        var after = await ReadAsync();
        Assert.Equal((At("u1", 1), At("u3", 2)), (after["u1"], after["u3"]));
    }

    [Fact]
    public async Task A_journal_that_is_longer_than_the_whole_is_taken_into_it()
    {
        var file = Open();
        var state = Many();
        await file.WriteAsync(state);
        var bound = 2 * Math.Max(new FileInfo(Whole).Length, LastGoodHealthFile.MinJournal);

        for (var round = 1; round <= 10; round++)
        {
            state = state.SetItems(Enumerable.Range(0, Upstreams).Select(i => KeyValuePair.Create($"u{i}", At($"u{i}", round))));
            await file.WriteAsync(state);
            Assert.InRange(new FileInfo(Journal).Length, 0, bound);
            Assert.Equal(At("u5", round), (await ReadAsync())["u5"]);
        }
    }

    [Fact]
    public async Task A_journal_from_before_the_whole_file_was_written_brings_nothing_old_back()
    {
        var file = Open();
        var state = Many();
        await file.WriteAsync(state);
        await file.WriteAsync(state = state.SetItem("u1", At("u1", 1)));
        var old = await File.ReadAllBytesAsync(Journal);

        await Open().WriteAsync(state.SetItem("u1", At("u1", 2)));
        // As if the process had been killed before the journal was emptied.
        await File.WriteAllBytesAsync(Journal, old);

        Assert.Equal(At("u1", 2), (await ReadAsync())["u1"]);
    }

    [Fact]
    public async Task Only_the_servers_user_reads_them()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "There are no modes there.");
        var file = Open();
        await file.WriteAsync(Many());
        foreach (var path in (string[])[Whole, Journal])
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        }
    }

    private LastGoodHealthFile Open() => new(Whole, NullLogger<LastGoodHealthFile>.Instance);

    private async Task<Dictionary<string, StoredHealth>> ReadAsync() =>
        (await Open().LoadAsync(CancellationToken.None)).ToDictionary(s => s.Upstream);

    private static ImmutableDictionary<string, StoredHealth> Many() =>
        Enumerable.Range(0, Upstreams).ToImmutableDictionary(i => $"u{i}", i => At($"u{i}", 0));

    private static StoredHealth At(string upstream, int change) =>
        new(
            upstream,
            new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero).AddSeconds(change),
            $$$"""{"memory":{"endpoints":[{"id":"10.0.0.1:80","ejections":{{{change}}}}]}}"""
        );
}
