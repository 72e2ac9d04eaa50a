-- What a trigger came to: the same request has the same answer.
ALTER TABLE requests ADD COLUMN outcome INTEGER;

-- Schedules that were removed although requests that name them are still remembered: what those requests are answered.
-- Neither inputs nor notes are kept. The order of rows is the order of their age.
CREATE TABLE removed_schedules (
    uid        BLOB    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    source     INTEGER NOT NULL,
    -- An encoded orchestrator.journal.v1.Schedule.
    definition BLOB    NOT NULL,
    generation INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    high_water INTEGER NOT NULL,
    removed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX removed_schedules_by_name ON removed_schedules (name);
