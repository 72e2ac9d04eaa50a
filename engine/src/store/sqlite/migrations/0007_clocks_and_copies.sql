-- The latest time that an owner has seen, about; an owner whose clock is behind it knows that the clock was set back.
ALTER TABLE store ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;
-- Which file the store is in: a copy of it is in another one. Empty in a backup; null where an older release wrote it.
ALTER TABLE store ADD COLUMN file BLOB;
-- When a copy was adopted last, and until when its original is known not to have done more than the copy says.
ALTER TABLE store ADD COLUMN adopted_at INTEGER;
ALTER TABLE store ADD COLUMN copied_at INTEGER;

-- Of a run whose original may have gone on: until when that is known not to have done more than the copy says.
ALTER TABLE runs ADD COLUMN copied_at INTEGER;
-- Where the clock was set back over a restart: facts up to this number were written by a clock that was ahead by so many
-- microseconds, when the next one said this time.
ALTER TABLE runs ADD COLUMN set_back_before INTEGER;
ALTER TABLE runs ADD COLUMN set_back_by INTEGER;
ALTER TABLE runs ADD COLUMN set_back_to INTEGER;
