-- Which stream of a session is the newest, and when a series was last heard of.
ALTER TABLE agent ADD COLUMN stream INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN received_at INTEGER NOT NULL DEFAULT 0;
