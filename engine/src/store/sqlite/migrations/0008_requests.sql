-- The name that a caller gives itself is no part of a request's key.
CREATE TABLE requests_by_method (
    method     TEXT    NOT NULL,
    id         BLOB    NOT NULL,
    hash       BLOB    NOT NULL,
    run        BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (id, method)
) STRICT;
INSERT OR IGNORE INTO requests_by_method
    SELECT method, id, hash, run, created_at FROM requests ORDER BY requests.rowid;
DROP TABLE requests;
ALTER TABLE requests_by_method RENAME TO requests;

-- Runs that were removed although requests that name them are still remembered: what those requests are answered.
-- No text of the run is kept. The order of rows is the order of their age.
CREATE TABLE removed_runs (
    id         BLOB    NOT NULL UNIQUE,
    workflow   INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at   INTEGER,
    deadline   INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    control    INTEGER NOT NULL,
    steps      INTEGER NOT NULL,
    parent     BLOB,
    removed_at INTEGER NOT NULL
) STRICT;
