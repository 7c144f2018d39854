-- Runs of containers, proofs and alerts. docs/store.md describes the columns.

CREATE TABLE containers (
    key             INTEGER PRIMARY KEY,
    digest          BLOB NOT NULL UNIQUE, -- SHA-256 of the JSON form of the container
    id              TEXT NOT NULL,
    name            TEXT NOT NULL,
    image           TEXT NOT NULL,
    image_id        TEXT NOT NULL,
    image_digest    TEXT NOT NULL,
    compose_project TEXT NOT NULL,
    compose_service TEXT NOT NULL,
    swarm_service   TEXT NOT NULL,
    user            TEXT NOT NULL,
    network_mode    TEXT NOT NULL
) STRICT;

CREATE TABLE labels (
    container INTEGER NOT NULL REFERENCES containers (key) ON DELETE CASCADE,
    label     TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (container, label)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    key           INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    container     INTEGER NOT NULL REFERENCES containers (key),
    digest        BLOB NOT NULL, -- SHA-256 of the JSON form of the run
    moments       TEXT NOT NULL, -- JSON of the times that advance while nothing happens
    observed_from TEXT NOT NULL,
    observed_to   TEXT NOT NULL,
    started       TEXT,
    ended         TEXT NOT NULL,
    seconds       REAL NOT NULL,
    existed       INTEGER NOT NULL,
    running       INTEGER NOT NULL,
    complete      INTEGER NOT NULL,
    granted       TEXT,          -- JSON list of names
    processes     INTEGER NOT NULL,
    checks        INTEGER NOT NULL,
    lost          INTEGER NOT NULL
) STRICT;

CREATE INDEX runs_of_container ON runs (container);
CREATE INDEX runs_by_end ON runs (ended);

CREATE TABLE uses (
    run         INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    capability  TEXT NOT NULL,
    class       TEXT NOT NULL,
    granted     INTEGER NOT NULL,
    alternative TEXT,
    program     TEXT NOT NULL,
    call        TEXT NOT NULL,
    site        TEXT NOT NULL,
    entry       INTEGER NOT NULL,
    user        INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    first       TEXT NOT NULL,
    last        TEXT NOT NULL,
    PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;

-- Complete runs, without the times in runs.moments. The other tables are derived from these documents.
CREATE TABLE documents (
    run          INTEGER PRIMARY KEY REFERENCES runs (key) ON DELETE CASCADE,
    digest       BLOB NOT NULL, -- SHA-256 of json
    json         TEXT NOT NULL,
    setup_digest BLOB NOT NULL, -- SHA-256 of the uncompressed setup
    setup        BLOB NOT NULL  -- JSON of the uses of the runtime setup with their positions, compressed with gzip
) STRICT;

CREATE TABLE proofs (
    id        TEXT PRIMARY KEY,
    container INTEGER NOT NULL REFERENCES containers (key),
    time      TEXT NOT NULL,
    works     INTEGER NOT NULL,
    minimal   INTEGER NOT NULL,
    digest    BLOB NOT NULL, -- SHA-256 of json
    json      TEXT NOT NULL
) STRICT;

CREATE INDEX proofs_of_container ON proofs (container);

CREATE TABLE alerts (
    id              TEXT PRIMARY KEY,
    time            TEXT NOT NULL,
    rule            TEXT NOT NULL,
    severity        TEXT NOT NULL,
    summary         TEXT NOT NULL,
    count           INTEGER NOT NULL,
    capability      TEXT NOT NULL,
    class           TEXT NOT NULL,
    granted         INTEGER NOT NULL,
    program         TEXT NOT NULL,
    container_id    TEXT NOT NULL,
    container_name  TEXT NOT NULL,
    image           TEXT NOT NULL,
    digest          BLOB NOT NULL, -- SHA-256 of json
    json            TEXT NOT NULL
) STRICT;

CREATE INDEX alerts_by_time ON alerts (time);

-- Numbers of removed rows, so that capmon can report that data is missing.
CREATE TABLE pruned (
    kind   TEXT NOT NULL CHECK (kind IN ('run', 'proof', 'alert')),
    image  TEXT NOT NULL, -- '' for several, or if it was unknown
    number INTEGER NOT NULL,
    until  TEXT NOT NULL,
    PRIMARY KEY (kind, image)
) STRICT, WITHOUT ROWID;
