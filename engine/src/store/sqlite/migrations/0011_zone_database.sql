-- Version of the zone database by which schedules were last dealt with.
ALTER TABLE store ADD COLUMN zone_database TEXT;
