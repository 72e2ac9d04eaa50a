-- Schedules with whole definitions, and what became of each of their ticks. The old table had intervals only.
CREATE TABLE schedules_of_intervals AS SELECT * FROM schedules;
DROP TABLE schedules;

CREATE TABLE schedules (
    id                   INTEGER PRIMARY KEY,
    name                 TEXT    NOT NULL UNIQUE,
    uid                  BLOB    NOT NULL UNIQUE,
    source               INTEGER NOT NULL,
    workflow             TEXT    NOT NULL,
    -- An encoded orchestrator.journal.v1.Schedule.
    definition           BLOB    NOT NULL,
    generation           INTEGER NOT NULL,
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL,
    -- Nominal time up to which everything was dealt with; it outlives the ledger.
    high_water           INTEGER NOT NULL,
    -- Later nominal times, eight bytes each, that started runs before the clock was set back.
    ahead                BLOB,
    paused_at            INTEGER,
    paused_by            TEXT,
    pause_note           TEXT,
    retired_at           INTEGER,
    rows                 INTEGER NOT NULL DEFAULT 0,
    started              INTEGER NOT NULL DEFAULT 0,
    missed               INTEGER NOT NULL DEFAULT 0,
    last_missed          INTEGER,
    consecutive_skips    INTEGER NOT NULL DEFAULT 0,
    consecutive_failures INTEGER NOT NULL DEFAULT 0,
    last_run             BLOB,
    last_nominal         INTEGER,
    lateness             INTEGER,
    last_success         INTEGER,
    last_success_nominal INTEGER,
    buffered             INTEGER NOT NULL DEFAULT 0,
    problem              TEXT    NOT NULL DEFAULT ''
) STRICT;

-- The ledger: a nominal time, or several in a row to which the same happened.
CREATE TABLE ticks (
    schedule INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    first    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    outcome  INTEGER NOT NULL,
    reason   TEXT    NOT NULL,
    -- 0 for the schedule's own times, 1 for a trigger, 2 for a backfill, and the id of those.
    origin   INTEGER NOT NULL,
    of       BLOB,
    run      BLOB,
    at       INTEGER NOT NULL,
    PRIMARY KEY (schedule, number)
) STRICT, WITHOUT ROWID;

-- Runs of schedules that were not seen to have ended.
CREATE TABLE schedule_runs (
    schedule INTEGER NOT NULL,
    run      BLOB    NOT NULL,
    nominal  INTEGER NOT NULL,
    -- The backfill that it is of.
    backfill BLOB,
    -- Whether it waits for the end of the others.
    behind   INTEGER NOT NULL,
    PRIMARY KEY (schedule, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE backfills (
    id         BLOB    NOT NULL PRIMARY KEY,
    schedule   INTEGER NOT NULL,
    from_time  INTEGER NOT NULL,
    until_time INTEGER NOT NULL,
    at_once    INTEGER NOT NULL,
    per_minute INTEGER NOT NULL,
    total      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    cursor     INTEGER NOT NULL,
    started    INTEGER NOT NULL,
    passed     INTEGER NOT NULL,
    ended_at   INTEGER,
    cancelled  INTEGER NOT NULL,
    last_start INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX backfills_by_schedule ON backfills (schedule, created_at);

-- The schedule that an audit entry speaks of; null where it speaks of a run.
ALTER TABLE audit ADD COLUMN schedule TEXT;
