-- What was changed by whom and why, in the order of the changes. Rows outlive the runs they speak of.
CREATE TABLE audit (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    caller   TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    run      BLOB    NOT NULL,
    workflow INTEGER NOT NULL,
    request  BLOB
) STRICT;
CREATE INDEX audit_by_run ON audit (run, number);
