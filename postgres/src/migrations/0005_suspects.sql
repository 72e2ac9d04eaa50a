-- Runs of which a replica died that polled them, as it said itself when it came back; who claims one of them takes the row out.
CREATE TABLE suspects (
    run uuid   PRIMARY KEY,
    at  bigint NOT NULL
);
