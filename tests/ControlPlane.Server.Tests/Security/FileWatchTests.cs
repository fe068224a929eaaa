using ControlPlane.Server.Security;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Security;

public sealed class FileWatchTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("cp-watch-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_written_file_is_told_within_moments()
    {
        var path = Path.Combine(_folder, "file");
        await File.WriteAllTextAsync(path, "a");
        var changed = new TaskCompletionSource();
        using var watch = new FileWatch([path], TimeProvider.System, () => changed.TrySetResult());

        await File.WriteAllTextAsync(path, "b");

        // The poll would need five seconds.
        await changed.Task.WaitAsync(TimeSpan.FromSeconds(4));
    }

    [Fact]
    public async Task A_folder_that_is_swapped_by_a_link_is_seen_by_the_poll()
    {
        foreach (var version in (string[])["1", "2"])
        {
            Directory.CreateDirectory(Path.Combine(_folder, version));
            await File.WriteAllTextAsync(Path.Combine(_folder, version, "file"), version);
        }

        // What Kubernetes does: file -> data/file, data -> 1, and then data -> 2.
        var link = Path.Combine(_folder, "data");
        Directory.CreateSymbolicLink(link, "1");
        var time = new FakeTimeProvider();
        var told = 0;
        using var watch = new FileWatch([Path.Combine(link, "file")], time, () => told++);

        Directory.Delete(link);
        Directory.CreateSymbolicLink(link, "2");
        time.Advance(TimeSpan.FromSeconds(5));

        Assert.Equal(1, told);
    }

    [Fact]
    public void What_does_not_change_is_not_told()
    {
        var path = Path.Combine(_folder, "file");
        File.WriteAllText(path, "a");
        var time = new FakeTimeProvider();
        var told = 0;
        using var watch = new FileWatch([path, Path.Combine(_folder, "missing", "file")], time, () => told++);

        File.WriteAllText(path, "a");
        time.Advance(TimeSpan.FromSeconds(50));

        Assert.Equal(0, told);
    }
}
