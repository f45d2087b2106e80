-- Ids are their 16 bytes, times milliseconds since 1970, closed sets the numbers of store/rows.rs.

CREATE TABLE run (
    id            BLOB    NOT NULL PRIMARY KEY,
    workflow      TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    status        INTEGER NOT NULL,
    parked        INTEGER NOT NULL,
    parent        TEXT,
    parent_command INTEGER,
    root          TEXT,
    detached      INTEGER NOT NULL,
    created       INTEGER NOT NULL,
    closed        INTEGER,
    reason        TEXT    NOT NULL DEFAULT '',
    outcome       BLOB,
    attributes    TEXT    NOT NULL
) WITHOUT ROWID;
-- Not unique: rows of a batch are not written in the order in which they came about, and the run that had a key may end in
-- the batch in which the next one with it begins. The engine sees to it that one is open.
CREATE INDEX run_key ON run (workflow, key) WHERE key <> '' AND status <= 1;
CREATE INDEX run_awake ON run (id) WHERE status <= 1 AND parked = 0;

CREATE TABLE journal (
    run           BLOB    NOT NULL,
    seq           INTEGER NOT NULL,
    entry         BLOB    NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;

CREATE TABLE timer (
    at            INTEGER NOT NULL,
    run           BLOB    NOT NULL,
    command       INTEGER NOT NULL,
    PRIMARY KEY (at, run, command)
) WITHOUT ROWID;

-- Tasks that are not over.
CREATE TABLE task (
    id            BLOB    NOT NULL PRIMARY KEY,
    queue         TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    created       INTEGER NOT NULL,
    due           INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    losses        INTEGER NOT NULL,
    body          BLOB    NOT NULL,
    state         BLOB    NOT NULL
) WITHOUT ROWID;

-- Those that are.
CREATE TABLE task_done (
    id            BLOB    NOT NULL PRIMARY KEY,
    queue         TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    status        INTEGER NOT NULL,
    created       INTEGER NOT NULL,
    due           INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    losses        INTEGER NOT NULL,
    body          BLOB    NOT NULL,
    state         BLOB    NOT NULL,
    closed        INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    outcome       BLOB    NOT NULL
) WITHOUT ROWID;

CREATE TABLE task_log (
    task          BLOB    NOT NULL,
    at            INTEGER NOT NULL,
    level         TEXT    NOT NULL,
    text          TEXT    NOT NULL
);
CREATE INDEX task_log_of ON task_log (task);

-- One row.
CREATE TABLE engine (
    epoch         INTEGER NOT NULL
);
INSERT INTO engine (epoch) VALUES (0);
