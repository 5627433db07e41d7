-- Findings in the shape of the agent's line. A query that needs more than the newest adds a generated column
-- over `body` and an index on it; the events themselves need no change. Ids are UUID v7: their order is time's.
CREATE TABLE findings (
    id TEXT NOT NULL PRIMARY KEY,
    run TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- Apart from the findings, because a repeat may come before its finding, or without it.
CREATE TABLE repeats (
    finding TEXT NOT NULL PRIMARY KEY,
    repeats INTEGER NOT NULL
) STRICT;

CREATE TABLE agents (
    run TEXT NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    mode TEXT NOT NULL,
    kernel TEXT NOT NULL,
    hooks TEXT NOT NULL, -- a JSON array
    seen INTEGER NOT NULL -- milliseconds since 1970-01-01 UTC, by the collector's clock
) STRICT;
CREATE INDEX agents_seen ON agents (seen);

-- Totals since the run began; they only grow.
CREATE TABLE losses (
    run TEXT NOT NULL,
    cause TEXT NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (run, cause)
) STRICT, WITHOUT ROWID;

CREATE TABLE notices (
    id TEXT NOT NULL PRIMARY KEY,
    run TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
