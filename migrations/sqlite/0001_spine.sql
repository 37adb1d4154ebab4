-- The spine: workspaces and everything a tenant owns. Every tenant table carries workspace_id, its
-- foreign keys are composite, so that a row that crosses tenants cannot exist.

CREATE TABLE server_meta (
  name TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT;

CREATE TABLE workspace (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  audit_sequence INTEGER NOT NULL DEFAULT 0,
  audit_hash BLOB NOT NULL DEFAULT x''
) STRICT;
INSERT INTO workspace (id, name, created_at) VALUES (0, 'belay-system', 0), (1, 'default', 0);

CREATE TABLE enrollment (
  workspace_id INTEGER NOT NULL REFERENCES workspace (id),
  id TEXT NOT NULL,
  token_hash BLOB NOT NULL UNIQUE,
  state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 6),
  labels TEXT NOT NULL,
  auto_confirm INTEGER NOT NULL CHECK (auto_confirm IN (0, 1)),
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  agent_id INTEGER,
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;

CREATE TABLE agent (
  workspace_id INTEGER NOT NULL REFERENCES workspace (id),
  id INTEGER NOT NULL UNIQUE,
  name TEXT NOT NULL,
  state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
  labels TEXT NOT NULL,
  cordoned INTEGER NOT NULL DEFAULT 0 CHECK (cordoned IN (0, 1)),
  identity_key BLOB NOT NULL CHECK (length(identity_key) = 32),
  encryption_key BLOB NOT NULL CHECK (length(encryption_key) = 32),
  api_key_hash BLOB,
  next_api_key_hash BLOB,
  sealed_api_key BLOB,
  version TEXT NOT NULL,
  host BLOB NOT NULL,
  enrollment_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  last_seen_at INTEGER NOT NULL DEFAULT 0,
  status BLOB NOT NULL DEFAULT x'',
  telemetry_sequence INTEGER NOT NULL DEFAULT 0,
  events_sequence INTEGER NOT NULL DEFAULT 0,
  session_epoch INTEGER NOT NULL DEFAULT 0,
  command_sequence INTEGER NOT NULL DEFAULT 0,
  hello BLOB NOT NULL DEFAULT x'',
  handshaken INTEGER NOT NULL DEFAULT 0,
  revision INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, enrollment_id) REFERENCES enrollment (workspace_id, id)
) STRICT;
-- A revoked agent's name and key may enroll again; a living one's may not stand twice.
CREATE UNIQUE INDEX agent_name ON agent (workspace_id, name) WHERE state <> 4;
CREATE UNIQUE INDEX agent_identity_key ON agent (identity_key) WHERE state <> 4;
CREATE UNIQUE INDEX agent_api_key ON agent (api_key_hash) WHERE api_key_hash IS NOT NULL;
CREATE UNIQUE INDEX agent_next_api_key ON agent (next_api_key_hash) WHERE next_api_key_hash IS NOT NULL;

CREATE TABLE challenge (
  hash BLOB PRIMARY KEY,
  workspace_id INTEGER NOT NULL,
  agent_id INTEGER NOT NULL,
  api_key_hash BLOB NOT NULL,
  expires_at INTEGER NOT NULL,
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;
CREATE INDEX challenge_agent ON challenge (workspace_id, agent_id);

CREATE TABLE session (
  workspace_id INTEGER NOT NULL,
  agent_id INTEGER NOT NULL,
  token_hash BLOB NOT NULL UNIQUE,
  epoch INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (workspace_id, agent_id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;

CREATE TABLE device (
  workspace_id INTEGER NOT NULL,
  id INTEGER NOT NULL UNIQUE,
  agent_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  labels TEXT NOT NULL,
  facts TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, agent_id, name),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;

CREATE TABLE command (
  workspace_id INTEGER NOT NULL,
  id TEXT NOT NULL,
  agent_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 6),
  kind TEXT NOT NULL,
  payload BLOB NOT NULL,
  actor TEXT NOT NULL,
  signature BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  sent_at INTEGER NOT NULL DEFAULT 0,
  finished_at INTEGER NOT NULL DEFAULT 0,
  code INTEGER NOT NULL DEFAULT 0,
  error_message TEXT NOT NULL DEFAULT '',
  result BLOB NOT NULL DEFAULT x'',
  idempotency_key TEXT,
  revision INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, agent_id, sequence),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;
CREATE UNIQUE INDEX command_idempotency ON command (workspace_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX command_open ON command (workspace_id, agent_id, sequence) WHERE state IN (1, 2);

CREATE TABLE series (
  workspace_id INTEGER NOT NULL,
  id INTEGER NOT NULL UNIQUE,
  agent_id INTEGER NOT NULL,
  metric TEXT NOT NULL,
  device TEXT NOT NULL,
  instance TEXT NOT NULL,
  unit TEXT NOT NULL,
  last_time INTEGER NOT NULL DEFAULT 0,
  last_value REAL NOT NULL DEFAULT 0,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, agent_id, metric, device, instance),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;
CREATE INDEX series_metric ON series (workspace_id, metric);

-- One row per sample. Rows are only ever inserted through a join with their series, which gives them
-- its workspace: a foreign key on this hottest table would check the same thing once more per row.
CREATE TABLE sample (
  workspace_id INTEGER NOT NULL,
  series_id INTEGER NOT NULL,
  time_us INTEGER NOT NULL,
  value REAL NOT NULL,
  PRIMARY KEY (workspace_id, series_id, time_us)
) STRICT, WITHOUT ROWID;

-- Payloads of a format the server does not read, kept as they came.
CREATE TABLE upload (
  workspace_id INTEGER NOT NULL,
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  agent_id INTEGER NOT NULL,
  stream INTEGER NOT NULL CHECK (stream IN (1, 2)),
  sequence INTEGER NOT NULL,
  captured_at INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  payload BLOB NOT NULL,
  UNIQUE (workspace_id, id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;
CREATE INDEX upload_received ON upload (received_at);

CREATE TABLE event (
  workspace_id INTEGER NOT NULL,
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  agent_id INTEGER NOT NULL,
  time_us INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  severity INTEGER NOT NULL,
  kind TEXT NOT NULL,
  device TEXT NOT NULL,
  text TEXT NOT NULL,
  attributes TEXT NOT NULL,
  UNIQUE (workspace_id, id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
) STRICT;
CREATE INDEX event_received ON event (received_at);

CREATE TABLE api_key (
  workspace_id INTEGER NOT NULL REFERENCES workspace (id),
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  scopes TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL DEFAULT 0,
  last_used_at INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (workspace_id, id)
) STRICT;

CREATE TABLE audit (
  workspace_id INTEGER NOT NULL REFERENCES workspace (id),
  sequence INTEGER NOT NULL,
  time_us INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  decision TEXT NOT NULL,
  reason TEXT NOT NULL,
  request_id TEXT NOT NULL,
  source TEXT NOT NULL,
  record TEXT NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (workspace_id, sequence)
) STRICT;
CREATE INDEX audit_time ON audit (time_us);

