-- When and why an operator stopped the run, and whether its deadline waits meanwhile; null where nobody did.
ALTER TABLE runs ADD COLUMN paused_at INTEGER;
ALTER TABLE runs ADD COLUMN pause_reason TEXT;
ALTER TABLE runs ADD COLUMN pause_stops_clock INTEGER;
-- Kept by retention, however long ago the run ended.
ALTER TABLE runs ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
