namespace ControlPlane.Server.Storage;

/// <summary>Files for the server's own user alone (mode 0600), since what they hold may contain private keys.</summary>
internal static class PrivateFile
{
    /// <summary>Opens a file to write, with its folder made if need be; the mode is set where the file is created.</summary>
    public static FileStream Open(string path, FileMode mode)
    {
        if (Path.GetDirectoryName(Path.GetFullPath(path)) is { } folder)
        {
            Directory.CreateDirectory(folder);
        }

        var options = new FileStreamOptions
        {
            Mode = mode,
            Access = FileAccess.Write,
            Share = FileShare.ReadWrite,
        };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        return new FileStream(path, options);
    }

    /// <summary>
    /// Replaces a file as a whole: after a crash at any moment there is the old one or the new one. <paramref name="write"/> fills a new file beside it, which is
    /// on the disk before it takes the name.
    /// </summary>
    public static async Task ReplaceAsync(string path, Func<Stream, Task> write)
    {
        var unfinished = path + ".tmp";
        try
        {
            await using (var file = Open(unfinished, FileMode.Create))
            {
                await write(file);
                file.Flush(flushToDisk: true);
            }

            File.Move(unfinished, path, overwrite: true);
        }
        catch
        {
            if (File.Exists(unfinished))
            {
                File.Delete(unfinished);
            }

            throw;
        }
    }
}
