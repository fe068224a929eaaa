namespace ControlPlane.Server.Storage;

/// <summary>
/// Keeps a data folder, and a SQLite file that lies elsewhere, to one server: each would not see what the other writes, and both would write the same files. Held by files that
/// are open as long as the server runs; the system closes them when the process ends, however it does. They stay, and hold nothing. Backups need no lock.
/// </summary>
internal sealed class ServerLock : IDisposable
{
    private readonly List<FileStream> _files = [];

    private ServerLock() { }

    /// <summary>Makes the data folder if there is none, and takes the locks.</summary>
    /// <param name="dataDir">The data folder.</param>
    /// <param name="store">The store, as <c>--store</c> names it.</param>
    /// <exception cref="StartupException">The folder cannot be used, or another server runs on it or on the SQLite file.</exception>
    public static ServerLock Take(string dataDir, string store)
    {
        var held = new ServerLock();
        try
        {
            held.Add(Path.Combine(dataDir, "lock"), $"--data-dir {dataDir}");
            if (!StoreFactory.IsShared(store))
            {
                // With the links resolved: one file has one lock, by whatever name it is given.
                var path = Path.GetFullPath(store["sqlite:".Length..]);
                var target = File.Exists(path) ? File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName : null;
                held.Add((target ?? path) + ".lock", $"--store {store}");
            }

            return held;
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    private void Add(string path, string what)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            _files.Add(new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
        }
        catch (IOException e) when (File.Exists(path))
        {
            throw new StartupException(
                $"{what} is in use: another server runs on it and holds {Path.GetFullPath(path)}. Stop that one, or give this one a place of its own. Several servers share a state on PostgreSQL: --store postgres://...",
                e
            );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartupException(
                $"{what} cannot be used: {e.Message.TrimEnd('.')}. Give a folder in which the server may write, or that it may make.",
                e
            );
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var file in _files)
        {
            file.Dispose();
        }
    }
}
