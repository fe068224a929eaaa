-- The same tables as for PostgreSQL, where the reasons are given. There is no lease: a file has one server.
CREATE TABLE health (
    upstream TEXT PRIMARY KEY,
    updated_at TEXT NOT NULL,
    json TEXT NOT NULL CHECK (json_valid(json))
) STRICT;

CREATE TABLE health_transitions (
    id INTEGER PRIMARY KEY,
    upstream TEXT NOT NULL,
    at TEXT NOT NULL,
    json TEXT NOT NULL CHECK (json_valid(json))
) STRICT;

CREATE INDEX health_transitions_upstream ON health_transitions (upstream, id);
CREATE INDEX health_transitions_at ON health_transitions (at);
