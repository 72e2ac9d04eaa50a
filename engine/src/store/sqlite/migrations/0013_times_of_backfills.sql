-- The definition whose times a backfill has, without its input: an encoded orchestrator.journal.v1.Schedule. Null for one of an
-- earlier release, which has those of its schedule.
ALTER TABLE backfills ADD COLUMN definition BLOB;
