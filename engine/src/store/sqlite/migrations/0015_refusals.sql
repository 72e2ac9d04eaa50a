-- What a caller calls itself, beside who it was proven to be.
ALTER TABLE audit ADD COLUMN said TEXT NOT NULL DEFAULT '';
-- Refused calls: how many, and the minute since the Unix epoch in which an entry counts those of a caller and a method. Such an
-- entry speaks of no workflow (0) and of no run.
ALTER TABLE audit ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN minute INTEGER;
CREATE UNIQUE INDEX audit_refusals ON audit (caller, action, minute) WHERE minute IS NOT NULL;
