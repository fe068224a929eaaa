using System.Net.Sockets;
using Npgsql;

namespace ControlPlane.Server.Storage.Postgres;

/// <summary>Tells faults of availability, which pass, from faults of ours, which do not.</summary>
internal static class PostgresFaults
{
    /// <summary>What an exception says about the server's availability, without credentials; null if it is no matter of availability.</summary>
    public static string? WhyUnavailable(Exception exception) =>
        exception switch
        {
            PostgresException { SqlState: PostgresErrorCodes.ReadOnlySqlTransaction } => "the database is read-only",
            PostgresException { SqlState: PostgresErrorCodes.QueryCanceled or PostgresErrorCodes.LockNotAvailable } =>
                "the database took too long and gave up the request",
            PostgresException e when IsAvailability(e.SqlState) => $"the database refuses: {e.MessageText} (SQLSTATE {e.SqlState})",
            PostgresException => null,
            NpgsqlException { InnerException: TimeoutException } or TimeoutException => "the database did not answer in time",
            NpgsqlException { InnerException: { } inner } => $"the connection failed: {inner.Message}",
            NpgsqlException e => $"the connection failed: {e.Message}",
            SocketException e => $"the database cannot be reached: {e.Message}",
            _ => null,
        };

    /// <summary>Whether an established connection ended, which one from the pool may have done long before.</summary>
    public static bool IsConnectionLost(Exception exception) =>
        exception
            is PostgresException { SqlState: PostgresErrorCodes.AdminShutdown or PostgresErrorCodes.CrashShutdown }
                or NpgsqlException { InnerException: IOException };

    // Classes of SQLSTATE: connections; resources (disk full, too many connections); shutdown and start; input and output;
    // a user or database that is refused; a conflict that a repetition resolves.
    private static bool IsAvailability(string sqlState) =>
        sqlState[..2] is "08" or "53" or "57" or "58" or "28"
        || sqlState
            is PostgresErrorCodes.InvalidCatalogName
                or PostgresErrorCodes.SerializationFailure
                or PostgresErrorCodes.DeadlockDetected;
}
