-- What of its schedule started a run: 0 for one of the schedule's own times, 1 for a trigger, 2 for a backfill, and the id of
-- those. Null where the ledger does not know it any more.
ALTER TABLE runs ADD COLUMN tick_origin INTEGER;
ALTER TABLE runs ADD COLUMN tick_of BLOB;
UPDATE runs SET tick_origin = ticks.origin, tick_of = ticks.of FROM ticks WHERE ticks.outcome = 1 AND runs.id = ticks.run;

-- The last nominal time that started a run and whose row was dropped from the ledger: no set-back clock goes back beyond it.
ALTER TABLE schedules ADD COLUMN dropped INTEGER;
UPDATE schedules SET dropped = (SELECT min(first) - 1 FROM ticks WHERE ticks.schedule = schedules.id AND ticks.origin = 0)
WHERE rows > 500;
