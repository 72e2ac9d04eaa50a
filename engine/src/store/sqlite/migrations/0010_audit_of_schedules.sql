-- Finds the audit entries of one schedule.
CREATE INDEX audit_by_schedule ON audit (schedule, number) WHERE schedule IS NOT NULL;
