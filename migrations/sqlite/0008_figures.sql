-- What sandboxes use now, one row each, written over while somebody looks; and until when somebody does.
CREATE TABLE sandbox_figures (
  workspace_id INTEGER NOT NULL,
  sandbox_id TEXT NOT NULL,
  interval_us INTEGER NOT NULL,
  taken_at INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  cpu_us INTEGER NOT NULL,
  read_bytes INTEGER NOT NULL,
  written_bytes INTEGER NOT NULL,
  sent_bytes INTEGER NOT NULL,
  received_bytes INTEGER NOT NULL,
  memory_bytes INTEGER NOT NULL,
  disk_bytes INTEGER NOT NULL,
  processes INTEGER NOT NULL,
  PRIMARY KEY (workspace_id, sandbox_id),
  FOREIGN KEY (workspace_id, sandbox_id) REFERENCES sandbox (workspace_id, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE sandbox_watch (
  workspace_id INTEGER NOT NULL PRIMARY KEY REFERENCES workspace (id),
  until_us INTEGER NOT NULL
) STRICT;
