-- The log lines of one sandbox, found without reading all events.
CREATE INDEX event_device ON event (workspace_id, device, id) WHERE device <> '';
