-- What runs are looked for by, beside their workflow and state. No append writes a column of these.
CREATE INDEX live_by_creation ON live (created_at);
CREATE INDEX live_by_schedule ON live (schedule, id) WHERE schedule IS NOT NULL;
CREATE INDEX live_by_parent ON live (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX ended_by_creation ON ended (created_at);
CREATE INDEX ended_by_schedule ON ended (schedule, id) WHERE schedule IS NOT NULL;
CREATE INDEX ended_by_parent ON ended (parent, id) WHERE parent IS NOT NULL;
