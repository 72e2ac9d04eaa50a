-- How many messages ever came to a run, and which ones bring it back once nobody holds it (names, one a line).
ALTER TABLE runs ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN awaits TEXT;

-- Messages that no wait of their run has received.
CREATE TABLE inbox (
    run         BLOB    NOT NULL,
    number      INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    payload     BLOB    NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
