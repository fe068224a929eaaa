namespace ControlPlane.Server.Publishing;

/// <summary>The folder that holds the files of secrets. Finds a file by following every link itself, so that none leads out of the folder.</summary>
internal sealed class SecretFolder
{
    /// <summary>As many as Linux follows.</summary>
    private const int MaxLinks = 40;

    private readonly string _below;

    public SecretFolder(string path)
    {
        Path = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path));
        _below = System.IO.Path.EndsInDirectorySeparator(Path) ? Path : Path + System.IO.Path.DirectorySeparatorChar;
    }

    /// <summary>The folder's full path.</summary>
    public string Path { get; }

    /// <summary>The real path of a file, without links.</summary>
    /// <param name="file">A path from the folder, or a full one that begins with the folder's.</param>
    /// <exception cref="SecretPathException">There is no such file in the folder.</exception>
    public string Find(string file)
    {
        var found = new List<string>();
        var rest = new Stack<string>();
        Push(file, found, rest);
        var links = 0;
        while (rest.TryPop(out var part))
        {
            switch (part)
            {
                case "" or ".":
                    continue;
                case ".." when found.Count == 0:
                    throw Outside();
                case "..":
                    found.RemoveAt(found.Count - 1);
                    continue;
            }
            var entry = new FileInfo(System.IO.Path.Combine([Path, .. found, part]));
            if (entry.LinkTarget is { } target)
            {
                if (++links > MaxLinks)
                {
                    throw new SecretPathException("secret-file-cyclic", "The links on the way to this file lead round in a circle.");
                }
                Push(target, found, rest);
                continue;
            }
            if (!entry.Exists && !Directory.Exists(entry.FullName))
            {
                throw new SecretPathException(
                    "secret-file-missing",
                    found.Count == 0 && !Directory.Exists(Path)
                        ? "The server's secret folder does not exist (--secret-dir)."
                        : "There is no such file below the server's secret folder (--secret-dir)."
                );
            }
            found.Add(part);
        }
        var path = System.IO.Path.Combine([Path, .. found]);
        return Directory.Exists(path)
            ? throw new SecretPathException("secret-file-is-folder", "This is a folder: name a file in it.")
            : path;
    }

    /// <summary>Puts a path before what is left to go. A full path begins anew at the folder, if it is in there at all.</summary>
    private void Push(string path, List<string> found, Stack<string> rest)
    {
        if (System.IO.Path.IsPathRooted(path))
        {
            if (!path.StartsWith(_below, StringComparison.Ordinal))
            {
                throw Outside();
            }
            found.Clear();
            path = path[_below.Length..];
        }
        foreach (var part in path.Split(System.IO.Path.DirectorySeparatorChar).Reverse())
        {
            rest.Push(part);
        }
    }

    private static SecretPathException Outside() =>
        new("secret-file-outside", "The path leads out of the server's secret folder, the only one that is read (--secret-dir).");
}

/// <summary>A path that leads to no file which may be read. The message names no place on the server.</summary>
internal sealed class SecretPathException(string code, string message) : Exception(message)
{
    /// <summary>The problem's code.</summary>
    public string Code { get; } = code;
}
