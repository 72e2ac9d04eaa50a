-- Limits that count over all replicas, and how many of the places of each a replica has, as long as its lease lasts. The row of the
-- limit is locked by those who change its places.
CREATE TABLE limits (
    name text PRIMARY KEY
);
CREATE TABLE places (
    name   text    NOT NULL,
    lease  uuid    NOT NULL,
    held   integer NOT NULL,
    wanted integer NOT NULL,
    since  bigint  NOT NULL,
    PRIMARY KEY (name, lease)
);
