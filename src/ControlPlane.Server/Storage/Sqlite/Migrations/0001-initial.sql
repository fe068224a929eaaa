-- The same tables as for PostgreSQL, where the reasons are given.
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL,
    oldest INTEGER NOT NULL
) STRICT;

INSERT INTO head (id, revision, oldest) VALUES (1, 0, 1);

CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    at TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    notes TEXT NOT NULL
) STRICT;

CREATE TABLE documents (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    uid TEXT NOT NULL,
    generation INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    managed_by TEXT NOT NULL,
    json TEXT NOT NULL CHECK (json_valid(json)),
    PRIMARY KEY (kind, name)
) STRICT;

CREATE INDEX documents_revision ON documents (revision);

CREATE TABLE history (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    uid TEXT NOT NULL,
    generation INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    managed_by TEXT NOT NULL,
    json TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (kind, name, revision)
) STRICT;

CREATE INDEX history_revision ON history (revision);
CREATE INDEX history_until ON history (until);

CREATE VIEW states AS
SELECT kind, name, uid, generation, revision, created_at, updated_at, managed_by, json, NULL AS until FROM documents
UNION ALL
SELECT kind, name, uid, generation, revision, created_at, updated_at, managed_by, json, until FROM history;
