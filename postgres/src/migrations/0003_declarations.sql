-- Which replicas declare which schedules, and since when one that lives says the same: the definition that appeared last counts.
-- The definition is a hash; none if the schedule is declared and cannot be kept. The empty name says that its replica has declared.
CREATE TABLE declarations (
    lease      uuid   NOT NULL,
    name       text   NOT NULL,
    definition bytea,
    since      bigint NOT NULL,
    PRIMARY KEY (lease, name)
);

-- The declaration that the schedule is of.
ALTER TABLE schedules ADD COLUMN declared_as bytea;
