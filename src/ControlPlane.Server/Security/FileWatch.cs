using System.Security.Cryptography;

namespace ControlPlane.Server.Security;

/// <summary>
/// Tells when the content of any of some files has changed. The file system's own signals make it quick; a slow poll makes it sure, because they are lost on
/// network file systems and where a folder is swapped by a symbolic link, as Kubernetes does with mounted secrets.
/// </summary>
internal sealed class FileWatch : IDisposable
{
    private static readonly TimeSpan PollInterval = TimeSpan.FromSeconds(5);

    /// <summary>A file that is written is empty first: what follows so soon belongs to the same change.</summary>
    private static readonly TimeSpan Settle = TimeSpan.FromMilliseconds(50);

    private readonly string[] _paths;
    private readonly Action _changed;
    private readonly Lock _lock = new();
    private readonly List<FileSystemWatcher> _watchers = [];
    private readonly ITimer _timer;
    private byte[] _digest;

    /// <summary>Starts to watch.</summary>
    /// <param name="paths">The files; they may come and go.</param>
    /// <param name="time">Clock of poll and settling.</param>
    /// <param name="changed">Called after each change, one call at a time. A file may be half-written then: the call repeats when the rest is there.</param>
    public FileWatch(IEnumerable<string> paths, TimeProvider time, Action changed)
    {
        _paths = [.. paths];
        _changed = changed;
        _digest = Digest();
        _timer = time.CreateTimer(_ => Check(), null, PollInterval, PollInterval);
        foreach (var folder in _paths.Select(p => Path.GetDirectoryName(Path.GetFullPath(p))!).Distinct(StringComparer.Ordinal))
        {
            TryWatch(folder);
        }
    }

    public void Dispose()
    {
        _timer.Dispose();
        _watchers.ForEach(w => w.Dispose());
    }

    private void TryWatch(string folder)
    {
        FileSystemWatcher? watcher = null;
        try
        {
            watcher = new FileSystemWatcher(folder);
            watcher.Changed += (_, _) => _timer.Change(Settle, PollInterval);
            watcher.Created += (_, _) => _timer.Change(Settle, PollInterval);
            watcher.Renamed += (_, _) => _timer.Change(Settle, PollInterval);
            watcher.EnableRaisingEvents = true;
            _watchers.Add(watcher);
        }
        catch (Exception e) when (e is IOException or ArgumentException or UnauthorizedAccessException)
        {
            // No such folder yet, or no watch left to give: the poll does it.
            watcher?.Dispose();
        }
    }

    private void Check()
    {
        lock (_lock)
        {
            var digest = Digest();
            if (!digest.AsSpan().SequenceEqual(_digest))
            {
                _digest = digest;
                _changed();
            }
        }
    }

    private byte[] Digest()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var path in _paths)
        {
            try
            {
                // The length keeps bytes that move from one file to the next from going unseen.
                var content = File.ReadAllBytes(path);
                hash.AppendData(BitConverter.GetBytes(content.Length));
                hash.AppendData(content);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                hash.AppendData([0xFF]);
            }
        }

        return hash.GetHashAndReset();
    }
}
