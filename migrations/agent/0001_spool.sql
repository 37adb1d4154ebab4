-- The agent's spool: what was captured and is not yet at the server, and the commands it was given.

-- Records wait here until the server has acknowledged their sequence. stream: 1 telemetry, 2 events.
-- stored_at counts the microseconds the agent has run (spool_clock), so that a wall clock that jumps
-- cannot make records look old.
CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL CHECK (stream IN (1, 2)),
    sequence INTEGER NOT NULL,
    captured_at INTEGER NOT NULL,
    stored_at INTEGER NOT NULL,
    format INTEGER NOT NULL,
    compression INTEGER NOT NULL,
    checksum BLOB NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (stream, sequence)
) STRICT;

-- One row per stream; the totals are kept in the transaction that changes the records.
CREATE TABLE stream (
    stream INTEGER PRIMARY KEY CHECK (stream IN (1, 2)),
    next_sequence INTEGER NOT NULL,
    acked_sequence INTEGER NOT NULL,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    dropped_records INTEGER NOT NULL,
    dropped_bytes INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    adopted INTEGER NOT NULL CHECK (adopted IN (0, 1))
) STRICT;

INSERT INTO stream VALUES (1, 1, 0, 0, 0, 0, 0, 0, 0), (2, 1, 0, 0, 0, 0, 0, 0, 0);

-- Records that failed their checksum or that the server refused for good.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    captured_at INTEGER NOT NULL,
    found_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;

-- Every command that was accepted, before it acted. status: 1 running, 2 done, 3 acknowledged.
CREATE TABLE command (
    command_id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    finished_at INTEGER,
    status INTEGER NOT NULL CHECK (status IN (1, 2, 3)),
    succeeded INTEGER NOT NULL CHECK (succeeded IN (0, 1)),
    code INTEGER NOT NULL,
    error TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;

CREATE INDEX command_by_sequence ON command (sequence);

-- Numbers that outlive the process: spool_clock, command_sequence, what set_config changed.
CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
