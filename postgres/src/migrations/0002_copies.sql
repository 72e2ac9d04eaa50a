-- Whether a copy of another store into this one is under way, of which store, and which of its copies that is. Nothing is
-- claimed until the copy is whole.
ALTER TABLE store ADD COLUMN copying boolean NOT NULL DEFAULT false;
ALTER TABLE store ADD COLUMN origin uuid;
ALTER TABLE store ADD COLUMN fence uuid;

-- When a copy was adopted last, and until when its original is known not to have done more than the copy says.
ALTER TABLE store ADD COLUMN adopted_at bigint;
ALTER TABLE store ADD COLUMN copied_at bigint;

-- How far each table was copied: where its source continues, and what was copied so far.
CREATE TABLE copied_tables (
    name    text    PRIMARY KEY,
    cursor  bytea   NOT NULL,
    rows    bigint  NOT NULL,
    sum     bytea   NOT NULL,
    is_done boolean NOT NULL
);

-- Runs whose original may have continued, with the time until when it is known not to have done more than is stored, and runs
-- over whose journal the clock was set back: facts up to a number were written by a clock that was ahead by so many
-- microseconds, when the next one said this time.
CREATE TABLE restored_runs (
    run             uuid PRIMARY KEY,
    copied_at       bigint,
    set_back_before bigint,
    set_back_by     bigint,
    set_back_to     bigint
);
