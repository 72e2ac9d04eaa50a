-- The run that another one is a child of.
ALTER TABLE runs ADD COLUMN parent BLOB;
