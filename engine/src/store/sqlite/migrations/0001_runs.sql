-- Who the store is, and who owns it: one row, rewritten by each opening.
CREATE TABLE store (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    id         BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    -- Counts the owners there have been; runs are held by this number.
    generation INTEGER NOT NULL,
    -- Drawn by the owner's process, so that a copy opened elsewhere under the same number is told apart.
    owner      BLOB    NOT NULL
) STRICT;

-- Names and versions that runs have or had, so that runs and their indexes carry a small number instead.
CREATE TABLE workflows (
    id      INTEGER PRIMARY KEY,
    name    TEXT    NOT NULL,
    version INTEGER NOT NULL,
    UNIQUE (name, version)
) STRICT;

-- What is asked of every run, and nothing that can be large. Times are microseconds since the Unix epoch.
CREATE TABLE runs (
    id               BLOB    NOT NULL PRIMARY KEY,
    workflow         INTEGER NOT NULL,
    state            INTEGER NOT NULL,
    -- The generation that holds the run; none where nobody does.
    owner            INTEGER,
    -- When a claim may take the run; none while it is held, and where only a command moves it.
    due_at           INTEGER,
    epoch            INTEGER NOT NULL,
    sequence         INTEGER NOT NULL,
    control          INTEGER NOT NULL,
    steps            INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    deadline         INTEGER NOT NULL,
    ended_at         INTEGER,
    wake_at          INTEGER,
    ending_as        INTEGER,
    reason           TEXT    NOT NULL,
    error_code       INTEGER,
    error_message    TEXT,
    cancel_requested TEXT,
    schedule         TEXT,
    nominal          INTEGER
) STRICT, WITHOUT ROWID;

-- No column of an index is written by an append that keeps the run's state: it changes one row and adds one entry.
CREATE INDEX runs_by_state ON runs (workflow, state, id);
CREATE INDEX runs_due ON runs (workflow, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX runs_held ON runs (workflow, owner) WHERE owner IS NOT NULL;

-- Appends of all runs in the order of their commits, so that a batch fills pages instead of touching one per run.
CREATE TABLE journal (
    run      BLOB    NOT NULL,
    sequence INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    entry    BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX journal_by_run ON journal (run, sequence);

-- Request ids outlive what they created; the order of rows is the order of their age.
CREATE TABLE requests (
    caller     TEXT    NOT NULL,
    method     TEXT    NOT NULL,
    id         BLOB    NOT NULL,
    hash       BLOB    NOT NULL,
    run        BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (id, caller, method)
) STRICT;

CREATE TABLE schedules (
    name       TEXT    NOT NULL PRIMARY KEY,
    uid        BLOB    NOT NULL,
    workflow   TEXT    NOT NULL,
    interval   INTEGER NOT NULL,
    high_water INTEGER,
    last_run   BLOB
) STRICT, WITHOUT ROWID;
