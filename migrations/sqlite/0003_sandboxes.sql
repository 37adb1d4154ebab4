-- Sandboxes: what operators asked for and how it stands, policies by revision, usage and forward tokens.
-- A sandbox's log lines are events whose device is the sandbox's id.

CREATE TABLE sandbox (
  workspace_id INTEGER NOT NULL REFERENCES workspace (id),
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  agent_id INTEGER,
  phase INTEGER NOT NULL CHECK (phase BETWEEN 1 AND 8),
  labels TEXT NOT NULL,
  annotations TEXT NOT NULL,
  spec BLOB NOT NULL,
  cpu_millis INTEGER NOT NULL,
  memory_bytes INTEGER NOT NULL,
  disk_bytes INTEGER NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  message TEXT NOT NULL DEFAULT '',
  exit_code INTEGER,
  instance_id TEXT NOT NULL DEFAULT '',
  report_sequence INTEGER NOT NULL DEFAULT 0,
  policy_version INTEGER NOT NULL,
  policy_loaded INTEGER NOT NULL DEFAULT 0,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  deleting_at INTEGER NOT NULL DEFAULT 0,
  revision INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, name),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;
CREATE INDEX sandbox_agent ON sandbox (workspace_id, agent_id);

CREATE TABLE sandbox_policy (
  workspace_id INTEGER NOT NULL,
  sandbox_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  status INTEGER NOT NULL CHECK (status BETWEEN 1 AND 4),
  policy BLOB NOT NULL,
  hash TEXT NOT NULL,
  load_error TEXT NOT NULL DEFAULT '',
  annotations TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  loaded_at INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (workspace_id, sandbox_id, version),
  FOREIGN KEY (workspace_id, sandbox_id) REFERENCES sandbox (workspace_id, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE sandbox_forward (
  workspace_id INTEGER NOT NULL,
  sandbox_id TEXT NOT NULL,
  token_hash BLOB NOT NULL UNIQUE,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (workspace_id, token_hash),
  FOREIGN KEY (workspace_id, sandbox_id) REFERENCES sandbox (workspace_id, id) ON DELETE CASCADE
) STRICT;

-- What a sandbox used, by interval. It outlives the sandbox: the bill is written later.
CREATE TABLE sandbox_usage (
  workspace_id INTEGER NOT NULL REFERENCES workspace (id),
  sandbox_id TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  agent_id INTEGER NOT NULL,
  owner TEXT NOT NULL,
  from_us INTEGER NOT NULL,
  until_us INTEGER NOT NULL,
  cpu_us INTEGER NOT NULL,
  memory_byte_seconds INTEGER NOT NULL,
  memory_peak_bytes INTEGER NOT NULL,
  read_bytes INTEGER NOT NULL,
  written_bytes INTEGER NOT NULL,
  sent_bytes INTEGER NOT NULL,
  received_bytes INTEGER NOT NULL,
  disk_bytes INTEGER NOT NULL,
  processes_peak INTEGER NOT NULL,
  is_final INTEGER NOT NULL CHECK (is_final IN (0, 1)),
  PRIMARY KEY (workspace_id, sandbox_id, boot_id, sequence),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;
CREATE INDEX sandbox_usage_until ON sandbox_usage (until_us);

-- What agents are asked to open: read by whichever replica holds the agent's control stream, gone with its time.
CREATE TABLE relay (
  workspace_id INTEGER NOT NULL,
  id TEXT NOT NULL,
  agent_id INTEGER NOT NULL,
  packed BLOB NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (workspace_id, agent_id, id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;
