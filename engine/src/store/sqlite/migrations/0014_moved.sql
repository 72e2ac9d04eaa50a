-- Where the runs continue since the store was copied: when that began, into what, and which copy it is. Null in a store that is
-- in use.
ALTER TABLE store ADD COLUMN moved_at INTEGER;
ALTER TABLE store ADD COLUMN moved_to TEXT;
ALTER TABLE store ADD COLUMN moved_as BLOB;
