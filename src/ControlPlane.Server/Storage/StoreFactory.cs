using System.Data.Common;
using ControlPlane.Server.Storage.Postgres;
using ControlPlane.Server.Storage.Sqlite;
using Npgsql;

namespace ControlPlane.Server.Storage;

/// <summary>Makes the store that <c>--store</c> names.</summary>
internal static class StoreFactory
{
    private const string Forms =
        "Give sqlite:PATH, a URL such as postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=require, or an Npgsql connection string such as Host=HOST;Database=DATABASE;Username=USER.";

    /// <summary>Whether other servers can be on the database that <c>--store</c> names.</summary>
    public static bool IsShared(string store) => !store.StartsWith("sqlite:", StringComparison.OrdinalIgnoreCase);

    /// <summary>
    /// Reads <c>sqlite:PATH</c>, a <c>postgres://</c> or <c>postgresql://</c> URL, or an Npgsql connection string. Nothing is opened yet.
    /// </summary>
    /// <returns>Makes the store.</returns>
    /// <exception cref="FormatException">What is wrong and what to give; never with a part of the value that could be a password.</exception>
    public static Func<TimeProvider, ILoggerFactory, IDesiredStateStore> Parse(string store)
    {
        if (store.StartsWith("sqlite:", StringComparison.OrdinalIgnoreCase))
        {
            var path = store["sqlite:".Length..];
            if (path.Length == 0)
            {
                throw new FormatException("--store sqlite: lacks the file's path. Give for example sqlite:data/controlplane.db.");
            }

            if (path.Contains(":memory:", StringComparison.OrdinalIgnoreCase))
            {
                throw new FormatException("--store sqlite: needs a file: what is only in memory is lost with the process.");
            }

            if (Directory.Exists(path))
            {
                throw new FormatException($"--store sqlite:{path} names a folder. Give the path of a file.");
            }

            return (time, loggers) => new SqliteDesiredStateStore(path, time, loggers.CreateLogger<SqliteDesiredStateStore>());
        }

        NpgsqlConnectionStringBuilder connection;
        if (PostgresUrl.IsUrl(store))
        {
            connection = PostgresUrl.Parse(store);
        }
        else if (store.Contains('=', StringComparison.Ordinal))
        {
            connection = ParseConnectionString(store);
        }
        else
        {
            throw new FormatException($"--store is neither of the forms that are known. {Forms}");
        }

        if (string.IsNullOrEmpty(connection.Host))
        {
            throw new FormatException($"--store names no host. {Forms}");
        }

        if (connection.Port is < 1 or > 65535)
        {
            throw new FormatException($"--store has the port {connection.Port}. Ports are 1 to 65535.");
        }

        return (time, loggers) => new PostgresDesiredStateStore(connection, time, loggers.CreateLogger<PostgresDesiredStateStore>());
    }

    private static NpgsqlConnectionStringBuilder ParseConnectionString(string text)
    {
        var connection = new NpgsqlConnectionStringBuilder();
        foreach (var (key, value) in Pairs(text))
        {
            // A password with an unquoted ';' makes a key of its own: only a key of Npgsql's is safe to repeat.
            if (!connection.ContainsKey(key))
            {
                throw new FormatException(
                    "--store has a key that Npgsql does not know. Check the spelling, and put a value with ';' or '=' in it into quotes."
                );
            }

            if (!TrySet(connection, key, value))
            {
                throw new FormatException($"--store has a value for '{key}' that Npgsql does not take.");
            }
        }

        return connection;
    }

    /// <summary>Sets a value; false if it is not allowed. Npgsql's own message may repeat the value and is dropped.</summary>
    internal static bool TrySet(NpgsqlConnectionStringBuilder connection, string keyword, object? value)
    {
        try
        {
            connection[keyword] = value;
            return true;
        }
        catch (Exception e) when (e is ArgumentException or FormatException or InvalidCastException or OverflowException)
        {
            return false;
        }
    }

    private static IEnumerable<(string Key, object? Value)> Pairs(string text)
    {
        var pairs = new DbConnectionStringBuilder();
        try
        {
            pairs.ConnectionString = text;
        }
        catch (ArgumentException e)
        {
            throw new FormatException(
                $"--store is no well-formed connection string: it should be pairs KEY=VALUE with ';' between them. {Forms}",
                e
            );
        }

        return pairs.Keys.Cast<string>().Select(key => (key, pairs[key]))!;
    }
}
