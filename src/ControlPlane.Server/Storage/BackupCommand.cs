using System.Data.Common;
using Microsoft.Extensions.Logging.Abstractions;

namespace ControlPlane.Server.Storage;

/// <summary>The commands <c>backup --to FILE</c> and <c>restore --from FILE</c>.</summary>
internal static class BackupCommand
{
    /// <summary>Writes a backup of the store to a file (mode 0600). An older backup of that name is replaced only when the new one is whole.</summary>
    /// <returns>The process's exit code; what went wrong stands in <paramref name="error"/>.</returns>
    public static Task<int> BackupAsync(
        string store,
        string file,
        TimeProvider time,
        TextWriter output,
        TextWriter error,
        CancellationToken cancellationToken
    ) =>
        RunAsync(
            store,
            time,
            error,
            async source =>
            {
                if (!StoreFactory.IsShared(store) && !File.Exists(store["sqlite:".Length..]))
                {
                    throw new FileNotFoundException($"There is nothing to back up: {source.Description} names a file that does not exist.");
                }

                await PrivateFile.ReplaceAsync(file, destination => source.BackupAsync(destination, cancellationToken));
                await output.WriteLineAsync($"Backed up {source.Description} to {file} ({new FileInfo(file).Length} bytes).");
            }
        );

    /// <summary>Reads a backup into an empty store: a new SQLite file, or a PostgreSQL database that no server has written to.</summary>
    /// <returns>The process's exit code; what went wrong stands in <paramref name="error"/>.</returns>
    public static Task<int> RestoreAsync(
        string store,
        string file,
        TimeProvider time,
        TextWriter output,
        TextWriter error,
        CancellationToken cancellationToken
    ) =>
        RunAsync(
            store,
            time,
            error,
            async destination =>
            {
                await using var source = File.OpenRead(file);
                await destination.MigrateAsync(cancellationToken);
                await destination.RestoreAsync(source, cancellationToken);
                var state = await destination.LoadAsync(cancellationToken);
                await output.WriteLineAsync(
                    $"Restored {state.Documents.Count} objects at revision {state.Revision} from {file} to {destination.Description}."
                );
            }
        );

    private static async Task<int> RunAsync(string store, TimeProvider time, TextWriter error, Func<IDesiredStateStore, Task> run)
    {
        try
        {
            await using var opened = StoreFactory.Parse(store)(time, NullLoggerFactory.Instance);
            await run(opened);
            return 0;
        }
        catch (Exception e)
            when (e
                    is FormatException
                        or StoreUnavailableException
                        or InvalidDataException
                        or InvalidOperationException
                        or IOException
                        or UnauthorizedAccessException
            )
        {
            await error.WriteLineAsync(e.Message);
            return 1;
        }
        catch (DbException e)
        {
            await error.WriteLineAsync($"The database holds no state of this control plane: {e.Message}");
            return 1;
        }
    }
}
