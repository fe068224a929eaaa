using Npgsql;

namespace ControlPlane.Server.Storage.Postgres;

internal sealed partial class PostgresDesiredStateStore : IHealthLease
{
    private const string PutHealth = """
        INSERT INTO health (upstream, updated_at, json) SELECT u.upstream, u.updated_at, u.json::json FROM unnest($1, $2, $3) AS u (upstream, updated_at, json)
        ON CONFLICT (upstream) DO UPDATE SET updated_at = excluded.updated_at, json = excluded.json WHERE health.updated_at <= excluded.updated_at
        """;

    private const string DeleteHealth = """
        DELETE FROM health h USING unnest($1, $2) AS u (upstream, updated_at) WHERE h.upstream = u.upstream AND h.updated_at <= u.updated_at
        """;

    private const string AddTransitions = """
        INSERT INTO health_transitions (id, upstream, at, json)
        SELECT t.id, t.upstream, t.at, t.json::json FROM unnest($1, $2, $3, $4) AS t (id, upstream, at, json) ON CONFLICT (id) DO NOTHING
        """;

    // The UPDATE and the look at who has it are one statement, but the latter sees the row as it was before: hence the two answers.
    private const string HoldLease = """
        WITH held AS (
            UPDATE health_lease SET holder = $1, address = $2, expires_at = clock_timestamp() + $3,
                term = CASE WHEN holder = $1 THEN term ELSE term + 1 END
            WHERE holder = $1 OR ($4 AND expires_at < clock_timestamp())
            RETURNING holder, address, term
        )
        SELECT holder, address, term, false FROM held
        UNION ALL
        SELECT holder, address, term, expires_at < clock_timestamp() FROM health_lease WHERE NOT EXISTS (SELECT 1 FROM held)
        """;

    /// <inheritdoc/>
    public async Task<LeaseState> HoldLeaseAsync(
        string server,
        string address,
        TimeSpan duration,
        bool mayTake,
        CancellationToken cancellationToken
    )
    {
        await EnsureMigratedAsync(cancellationToken);
        return await TranslateAsync(() =>
            PatientlyAsync(
                async _ =>
                {
                    await using var connection = await _dataSource.OpenConnectionAsync(cancellationToken);
                    await using var command = new NpgsqlCommand(HoldLease, connection)
                    {
                        Parameters =
                        {
                            new NpgsqlParameter { Value = server },
                            new NpgsqlParameter { Value = address },
                            new NpgsqlParameter { Value = duration },
                            new NpgsqlParameter { Value = mayTake },
                        },
                    };
                    await using var row = await command.ExecuteReaderAsync(cancellationToken);
                    await row.ReadAsync(cancellationToken);
                    return new LeaseState(row.GetString(0), row.GetString(1), row.GetInt64(2), row.GetBoolean(3));
                },
                LeasePatience
            )
        );
    }

    /// <inheritdoc/>
    public Task ReleaseLeaseAsync(string server, CancellationToken cancellationToken) =>
        TranslateAsync(() =>
            ExecuteAsync("UPDATE health_lease SET expires_at = '-infinity' WHERE holder = @server", [("server", server)], cancellationToken)
        );

    /// <inheritdoc/>
    protected override async Task WriteStoredHealthAsync(HealthBatch batch, CancellationToken cancellationToken)
    {
        await using var connection = await _dataSource.OpenConnectionAsync(cancellationToken);
        await using var write = new NpgsqlBatch(connection) { Timeout = 30 };
        var kept = batch.Upstreams.Where(u => u.Json is not null).ToList();
        var gone = batch.Upstreams.Where(u => u.Json is null).ToList();
        Add(
            kept.Count,
            PutHealth,
            kept.Select(u => u.Upstream).ToArray(),
            kept.Select(u => u.UpdatedAt).ToArray(),
            kept.Select(u => u.Json!).ToArray()
        );
        Add(gone.Count, DeleteHealth, gone.Select(u => u.Upstream).ToArray(), gone.Select(u => u.UpdatedAt).ToArray());
        var transitions = batch.Transitions;
        Add(
            transitions.Count,
            AddTransitions,
            transitions.Select(t => t.Id).ToArray(),
            transitions.Select(t => t.Upstream).ToArray(),
            transitions.Select(t => t.At).ToArray(),
            transitions.Select(t => t.Json).ToArray()
        );
        if (write.BatchCommands.Count > 0)
        {
            await write.ExecuteNonQueryAsync(cancellationToken);
        }

        void Add(int rows, string sql, params ReadOnlySpan<object> values)
        {
            if (rows == 0)
            {
                return;
            }

            var command = new NpgsqlBatchCommand(sql);
            foreach (var value in values)
            {
                command.Parameters.Add(new NpgsqlParameter { Value = value });
            }

            write.BatchCommands.Add(command);
        }
    }
}
