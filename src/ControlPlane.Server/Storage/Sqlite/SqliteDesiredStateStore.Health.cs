using Microsoft.Data.Sqlite;

namespace ControlPlane.Server.Storage.Sqlite;

internal sealed partial class SqliteDesiredStateStore
{
    /// <inheritdoc/>
    protected override async Task WriteStoredHealthAsync(HealthBatch batch, CancellationToken cancellationToken) =>
        await WriteAsync(
            writer =>
            {
                using var transaction = writer.Connection.BeginTransaction();
                using var put = Prepare(
                    """
                    INSERT INTO health (upstream, updated_at, json) VALUES (@upstream, @updated_at, @json)
                    ON CONFLICT (upstream) DO UPDATE SET updated_at = excluded.updated_at, json = excluded.json
                    WHERE health.updated_at <= excluded.updated_at
                    """
                );
                using var delete = Prepare("DELETE FROM health WHERE upstream = @upstream AND updated_at <= @updated_at");
                using var add = Prepare(
                    "INSERT OR IGNORE INTO health_transitions (id, upstream, at, json) VALUES (@id, @upstream, @at, @json)"
                );
                foreach (var upstream in batch.Upstreams)
                {
                    if (upstream.Json is { } json)
                    {
                        Run(put, ("@upstream", upstream.Upstream), ("@updated_at", upstream.UpdatedAt), ("@json", json));
                    }
                    else
                    {
                        Run(delete, ("@upstream", upstream.Upstream), ("@updated_at", upstream.UpdatedAt));
                    }
                }

                foreach (var transition in batch.Transitions)
                {
                    Run(
                        add,
                        ("@id", transition.Id),
                        ("@upstream", transition.Upstream),
                        ("@at", transition.At),
                        ("@json", transition.Json)
                    );
                }

                transaction.Commit();
                return true;

                SqliteCommand Prepare(string sql)
                {
                    var command = writer.Connection.CreateCommand();
                    command.CommandText = sql;
                    command.Transaction = transaction;
                    return command;
                }
            },
            cancellationToken
        );

    private static void Run(SqliteCommand command, params ReadOnlySpan<(string Name, object Value)> values)
    {
        command.Parameters.Clear();
        foreach (var (name, value) in values)
        {
            command.Parameters.AddWithValue(name, value);
        }

        command.ExecuteNonQuery();
    }
}
