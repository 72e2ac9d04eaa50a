-- What runs are looked for by, beside their workflow and state. No append writes a column of these.
CREATE INDEX runs_by_creation ON runs (created_at);
CREATE INDEX runs_by_schedule ON runs (schedule, id) WHERE schedule IS NOT NULL;
CREATE INDEX runs_by_parent ON runs (parent, id) WHERE parent IS NOT NULL;
