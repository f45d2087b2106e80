-- Ids are their 16 bytes, times milliseconds since 1970, closed sets the numbers of store/rows.rs, texts as in text.rs.

-- One row: which engine has the store, and until when by this database's clock. The epoch is its key, so that a takeover
-- waits for commits that have the row locked (FOR KEY SHARE), and keeping it does not.
CREATE TABLE lease (
    epoch         BIGINT      NOT NULL PRIMARY KEY,
    owner         TEXT        NOT NULL,
    address       TEXT        NOT NULL,
    until         TIMESTAMPTZ NOT NULL
);
INSERT INTO lease (epoch, owner, address, until) VALUES (0, '', '', to_timestamp(0));

CREATE TABLE run (
    id            BYTEA  NOT NULL PRIMARY KEY,
    workflow      TEXT   NOT NULL,
    version       TEXT   NOT NULL,
    key           TEXT   NOT NULL,
    status        BIGINT NOT NULL,
    parked        BIGINT NOT NULL,
    parent        TEXT,
    parent_command BIGINT,
    root          TEXT,
    detached      BIGINT NOT NULL,
    created       BIGINT NOT NULL,
    closed        BIGINT,
    reason        TEXT   NOT NULL DEFAULT '',
    outcome       BYTEA,
    attributes    JSONB  NOT NULL
);
-- Hashes, because an index takes no key of any length. That two open runs never have one key is decided above the store.
CREATE INDEX run_key ON run (hashtextextended(workflow, 0), hashtextextended(key, 0)) WHERE key <> '' AND status <= 1;
CREATE INDEX run_awake ON run (id) WHERE status <= 1 AND parked = 0;

CREATE TABLE journal (
    run           BYTEA  NOT NULL,
    seq           BIGINT NOT NULL,
    entry         BYTEA  NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE TABLE timer (
    at            BIGINT NOT NULL,
    run           BYTEA  NOT NULL,
    command       BIGINT NOT NULL,
    PRIMARY KEY (at, run, command)
);

-- Tasks that are not over.
CREATE TABLE task (
    id            BYTEA  NOT NULL PRIMARY KEY,
    queue         TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    created       BIGINT NOT NULL,
    due           BIGINT NOT NULL,
    failures      BIGINT NOT NULL,
    losses        BIGINT NOT NULL,
    body          BYTEA  NOT NULL,
    state         BYTEA  NOT NULL
);

-- Those that are.
CREATE TABLE task_done (
    id            BYTEA  NOT NULL PRIMARY KEY,
    queue         TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    status        BIGINT NOT NULL,
    created       BIGINT NOT NULL,
    due           BIGINT NOT NULL,
    failures      BIGINT NOT NULL,
    losses        BIGINT NOT NULL,
    body          BYTEA  NOT NULL,
    state         BYTEA  NOT NULL,
    closed        BIGINT NOT NULL,
    attempt       BIGINT NOT NULL,
    outcome       BYTEA  NOT NULL
);

CREATE TABLE task_log (
    task          BYTEA  NOT NULL,
    at            BIGINT NOT NULL,
    level         TEXT   NOT NULL,
    text          TEXT   NOT NULL
);
CREATE INDEX task_log_of ON task_log (task);
