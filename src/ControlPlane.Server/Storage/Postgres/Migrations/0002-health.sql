-- What the health model remembers of each upstream, so that a restart publishes what was published; the empty name is that of the fleet.
-- Rewritten at every change of a verdict: room on each page keeps that from touching the index.
CREATE TABLE health (
    upstream text COLLATE "C" PRIMARY KEY,
    updated_at timestamptz NOT NULL,
    json json NOT NULL
) WITH (fillfactor = 50);

-- Steps of endpoints with the evidence of their moment. Ids are microseconds since 1970, made by the server that decides.
CREATE TABLE health_transitions (
    id bigint PRIMARY KEY,
    upstream text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    json json NOT NULL
);

CREATE INDEX health_transitions_upstream ON health_transitions (upstream, id);
CREATE INDEX health_transitions_at ON health_transitions (at);

-- One row: which of the servers on this database decides about health, and where the others reach it.
CREATE TABLE health_lease (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    holder text NOT NULL,
    address text NOT NULL,
    term bigint NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 10);

INSERT INTO health_lease (holder, address, term, expires_at) VALUES ('', '', 0, '-infinity');
