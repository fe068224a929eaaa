-- One row. A commit raises the revision in the same transaction as its writes: the lock on this row puts all commits, of all servers,
-- into one order without gaps. History is whole from the oldest revision on.
CREATE TABLE head (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    revision bigint NOT NULL,
    oldest bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO head (revision, oldest) VALUES (0, 1);

-- A table that was never analyzed counts as some thousand rows: plans that begin here would look so costly that each is compiled, for 30 ms.
ANALYZE head;

-- commit_id tells a writer whose connection broke whether it was its own commit that made the revision.
CREATE TABLE revisions (
    revision bigint PRIMARY KEY,
    commit_id uuid NOT NULL,
    author text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    trace_id text NOT NULL,
    notes text NOT NULL
);

-- The state of each object now. The type json keeps the text as it was written; jsonb would not.
CREATE TABLE documents (
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    uid uuid NOT NULL,
    generation bigint NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    managed_by text NOT NULL,
    json json NOT NULL,
    PRIMARY KEY (kind, name)
);

CREATE INDEX documents_revision ON documents (revision);

-- The states before: in force from their revision until (and without) the revision that replaced or deleted the object.
CREATE TABLE history (
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    uid uuid NOT NULL,
    generation bigint NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    managed_by text NOT NULL,
    json json NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (kind, name, revision)
);

CREATE INDEX history_revision ON history (revision);
CREATE INDEX history_until ON history (until);

-- Every state of every object; the one in force has no end.
CREATE VIEW states AS
SELECT kind, name, uid, generation, revision, created_at, updated_at, managed_by, json, NULL::bigint AS until FROM documents
UNION ALL
SELECT kind, name, uid, generation, revision, created_at, updated_at, managed_by, json, until FROM history;
