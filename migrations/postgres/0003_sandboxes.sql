-- Sandboxes: what operators asked for and how it stands, policies by revision, usage and forward tokens.
-- A sandbox's log lines are events whose device is the sandbox's id.

CREATE TABLE sandbox (
  workspace_id bigint NOT NULL REFERENCES workspace (id),
  id text NOT NULL,
  name text NOT NULL,
  agent_id bigint,
  phase integer NOT NULL CHECK (phase BETWEEN 1 AND 8),
  labels text NOT NULL,
  annotations text NOT NULL,
  spec bytea NOT NULL,
  cpu_millis bigint NOT NULL,
  memory_bytes bigint NOT NULL,
  disk_bytes bigint NOT NULL,
  reason text NOT NULL DEFAULT '',
  message text NOT NULL DEFAULT '',
  exit_code integer,
  instance_id text NOT NULL DEFAULT '',
  report_sequence bigint NOT NULL DEFAULT 0,
  policy_version bigint NOT NULL,
  policy_loaded bigint NOT NULL DEFAULT 0,
  created_by text NOT NULL,
  created_at bigint NOT NULL,
  changed_at bigint NOT NULL,
  deleting_at bigint NOT NULL DEFAULT 0,
  revision bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, name),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);
CREATE INDEX sandbox_agent ON sandbox (workspace_id, agent_id);

CREATE TABLE sandbox_policy (
  workspace_id bigint NOT NULL,
  sandbox_id text NOT NULL,
  version bigint NOT NULL,
  status integer NOT NULL CHECK (status BETWEEN 1 AND 4),
  policy bytea NOT NULL,
  hash text NOT NULL,
  load_error text NOT NULL DEFAULT '',
  annotations text NOT NULL,
  created_by text NOT NULL,
  created_at bigint NOT NULL,
  loaded_at bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (workspace_id, sandbox_id, version),
  FOREIGN KEY (workspace_id, sandbox_id) REFERENCES sandbox (workspace_id, id) ON DELETE CASCADE
);

CREATE TABLE sandbox_forward (
  workspace_id bigint NOT NULL,
  sandbox_id text NOT NULL,
  token_hash bytea NOT NULL UNIQUE,
  created_by text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  PRIMARY KEY (workspace_id, token_hash),
  FOREIGN KEY (workspace_id, sandbox_id) REFERENCES sandbox (workspace_id, id) ON DELETE CASCADE
);

-- What a sandbox used, by interval. It outlives the sandbox: the bill is written later.
CREATE TABLE sandbox_usage (
  workspace_id bigint NOT NULL REFERENCES workspace (id),
  sandbox_id text NOT NULL,
  boot_id text NOT NULL,
  sequence bigint NOT NULL,
  agent_id bigint NOT NULL,
  owner text NOT NULL,
  from_us bigint NOT NULL,
  until_us bigint NOT NULL,
  cpu_us bigint NOT NULL,
  memory_byte_seconds bigint NOT NULL,
  memory_peak_bytes bigint NOT NULL,
  read_bytes bigint NOT NULL,
  written_bytes bigint NOT NULL,
  sent_bytes bigint NOT NULL,
  received_bytes bigint NOT NULL,
  disk_bytes bigint NOT NULL,
  processes_peak bigint NOT NULL,
  is_final integer NOT NULL CHECK (is_final IN (0, 1)),
  PRIMARY KEY (workspace_id, sandbox_id, boot_id, sequence),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);
CREATE INDEX sandbox_usage_until ON sandbox_usage USING brin (until_us);

-- What agents are asked to open: read by whichever replica holds the agent's control stream, gone with its time.
CREATE TABLE relay (
  workspace_id bigint NOT NULL,
  id text NOT NULL,
  agent_id bigint NOT NULL,
  packed bytea NOT NULL,
  expires_at bigint NOT NULL,
  PRIMARY KEY (workspace_id, agent_id, id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);

DO $$
DECLARE
  noun text;
BEGIN
  FOREACH noun IN ARRAY ARRAY['sandbox', 'sandbox_policy', 'sandbox_forward', 'sandbox_usage', 'relay']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', noun);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', noun);
    EXECUTE format('CREATE POLICY wall ON %I USING (belay_visible(workspace_id))', noun);
  END LOOP;
END
$$;
