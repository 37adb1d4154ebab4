-- no-transaction
-- The log lines of one sandbox, found without reading all events; built beside running writers.
DROP INDEX CONCURRENTLY IF EXISTS event_device;
CREATE INDEX CONCURRENTLY event_device ON event (workspace_id, device, id) WHERE device <> '';
