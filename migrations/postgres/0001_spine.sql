-- The spine: workspaces and everything a tenant owns. Every tenant table carries workspace_id, its
-- foreign keys are composite, and row-level security is the second wall: a transaction sees the rows
-- of app.workspace_id alone, or all of them when the server itself works ('all').

CREATE FUNCTION belay_visible(workspace bigint) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE coalesce(current_setting('app.workspace_id', true), '')
         WHEN 'all' THEN true
         WHEN '' THEN false
         ELSE workspace = CAST(current_setting('app.workspace_id', true) AS bigint) END
$$;

CREATE TABLE server_meta (
  name text PRIMARY KEY,
  value bytea NOT NULL
);

CREATE TABLE workspace (
  id bigint PRIMARY KEY,
  name text NOT NULL UNIQUE,
  created_at bigint NOT NULL,
  audit_sequence bigint NOT NULL DEFAULT 0,
  audit_hash bytea NOT NULL DEFAULT ''
);
INSERT INTO workspace (id, name, created_at) VALUES (0, 'belay-system', 0), (1, 'default', 0);

CREATE TABLE enrollment (
  workspace_id bigint NOT NULL REFERENCES workspace (id),
  id text NOT NULL,
  token_hash bytea NOT NULL UNIQUE,
  state integer NOT NULL CHECK (state BETWEEN 1 AND 6),
  labels text NOT NULL,
  auto_confirm integer NOT NULL CHECK (auto_confirm IN (0, 1)),
  created_by text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  agent_id bigint,
  PRIMARY KEY (workspace_id, id)
);

CREATE SEQUENCE agent_id;

CREATE TABLE agent (
  workspace_id bigint NOT NULL REFERENCES workspace (id),
  id bigint NOT NULL UNIQUE,
  name text NOT NULL,
  state integer NOT NULL CHECK (state BETWEEN 1 AND 4),
  labels text NOT NULL,
  cordoned integer NOT NULL DEFAULT 0 CHECK (cordoned IN (0, 1)),
  identity_key bytea NOT NULL CHECK (length(identity_key) = 32),
  encryption_key bytea NOT NULL CHECK (length(encryption_key) = 32),
  api_key_hash bytea,
  next_api_key_hash bytea,
  sealed_api_key bytea,
  version text NOT NULL,
  host bytea NOT NULL,
  enrollment_id text NOT NULL,
  created_at bigint NOT NULL,
  created_by text NOT NULL,
  last_seen_at bigint NOT NULL DEFAULT 0,
  status bytea NOT NULL DEFAULT '',
  telemetry_sequence bigint NOT NULL DEFAULT 0,
  events_sequence bigint NOT NULL DEFAULT 0,
  session_epoch bigint NOT NULL DEFAULT 0,
  command_sequence bigint NOT NULL DEFAULT 0,
  hello bytea NOT NULL DEFAULT '',
  handshaken integer NOT NULL DEFAULT 0,
  revision bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, enrollment_id) REFERENCES enrollment (workspace_id, id)
);
-- A revoked agent's name and key may enroll again; a living one's may not stand twice.
CREATE UNIQUE INDEX agent_name ON agent (workspace_id, name) WHERE state <> 4;
CREATE UNIQUE INDEX agent_identity_key ON agent (identity_key) WHERE state <> 4;
CREATE UNIQUE INDEX agent_api_key ON agent (api_key_hash) WHERE api_key_hash IS NOT NULL;
CREATE UNIQUE INDEX agent_next_api_key ON agent (next_api_key_hash) WHERE next_api_key_hash IS NOT NULL;

ALTER TABLE enrollment ADD FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id);

CREATE TABLE challenge (
  hash bytea PRIMARY KEY,
  workspace_id bigint NOT NULL,
  agent_id bigint NOT NULL,
  api_key_hash bytea NOT NULL,
  expires_at bigint NOT NULL,
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);
CREATE INDEX challenge_agent ON challenge (workspace_id, agent_id);

CREATE TABLE session (
  workspace_id bigint NOT NULL,
  agent_id bigint NOT NULL,
  token_hash bytea NOT NULL UNIQUE,
  epoch bigint NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  PRIMARY KEY (workspace_id, agent_id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);

CREATE SEQUENCE device_id;

CREATE TABLE device (
  workspace_id bigint NOT NULL,
  id bigint NOT NULL UNIQUE,
  agent_id bigint NOT NULL,
  name text NOT NULL,
  kind text NOT NULL,
  labels text NOT NULL,
  facts text NOT NULL,
  created_at bigint NOT NULL,
  last_seen_at bigint NOT NULL,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, agent_id, name),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);

CREATE TABLE command (
  workspace_id bigint NOT NULL,
  id text NOT NULL,
  agent_id bigint NOT NULL,
  sequence bigint NOT NULL,
  state integer NOT NULL CHECK (state BETWEEN 1 AND 6),
  kind text NOT NULL,
  payload bytea NOT NULL,
  actor text NOT NULL,
  signature bytea NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  sent_at bigint NOT NULL DEFAULT 0,
  finished_at bigint NOT NULL DEFAULT 0,
  code integer NOT NULL DEFAULT 0,
  error_message text NOT NULL DEFAULT '',
  result bytea NOT NULL DEFAULT '',
  idempotency_key text,
  revision bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, agent_id, sequence),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);
CREATE UNIQUE INDEX command_idempotency ON command (workspace_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX command_open ON command (workspace_id, agent_id, sequence) WHERE state IN (1, 2);

CREATE SEQUENCE series_id;

CREATE TABLE series (
  workspace_id bigint NOT NULL,
  id bigint NOT NULL DEFAULT nextval('series_id') UNIQUE,
  agent_id bigint NOT NULL,
  metric text NOT NULL,
  device text NOT NULL,
  instance text NOT NULL,
  unit text NOT NULL,
  last_time bigint NOT NULL DEFAULT 0,
  last_value double precision NOT NULL DEFAULT 0,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, agent_id, metric, device, instance),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);
CREATE INDEX series_metric ON series (workspace_id, metric);

-- One row per sample. Rows are only ever inserted through a join with their series, which gives them
-- its workspace: a foreign key on this hottest table would check the same thing once more per row.
CREATE TABLE sample (
  workspace_id bigint NOT NULL,
  series_id bigint NOT NULL,
  time_us bigint NOT NULL,
  value double precision NOT NULL,
  PRIMARY KEY (workspace_id, series_id, time_us)
) PARTITION BY RANGE (time_us);
CREATE INDEX sample_time ON sample USING brin (time_us);
-- Late or wrong clocks must not lose a record: what has no partition of its own lands here.
CREATE TABLE sample_rest PARTITION OF sample DEFAULT;

-- Makes the daily partitions from from_us (cut to its day) for `days` days; returns how many are new.
CREATE FUNCTION belay_sample_partitions(from_us bigint, days integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
  day_us CONSTANT bigint := 86400000000;
  first bigint := from_us / day_us;
  made integer := 0;
  part text;
BEGIN
  FOR day IN first .. first + days - 1 LOOP
    part := 'sample_' || to_char(to_timestamp(day * 86400) AT TIME ZONE 'UTC', 'YYYYMMDD');
    IF to_regclass(part) IS NULL THEN
      -- Rows that reached the default partition for that day would make this fail: then it stays there.
      BEGIN
        EXECUTE format('CREATE TABLE %I PARTITION OF sample FOR VALUES FROM (%s) TO (%s)',
                       part, day * day_us, (day + 1) * day_us);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('CREATE POLICY wall ON %I USING (belay_visible(workspace_id))', part);
        made := made + 1;
      EXCEPTION WHEN check_violation THEN
        NULL;
      END;
    END IF;
  END LOOP;
  RETURN made;
END
$$;

-- Drops the daily partitions that end at or before before_us; returns how many.
CREATE FUNCTION belay_sample_retain(before_us bigint) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
  part text;
  dropped integer := 0;
BEGIN
  FOR part IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST('sample' AS regclass) AND c.relname ~ '^sample_[0-9]{8}$'
      AND c.relname < 'sample_' || to_char(to_timestamp(before_us / 1000000) AT TIME ZONE 'UTC', 'YYYYMMDD')
  LOOP
    EXECUTE format('DROP TABLE %I', part);
    dropped := dropped + 1;
  END LOOP;
  DELETE FROM sample_rest WHERE time_us < before_us;
  RETURN dropped;
END
$$;

-- Payloads of a format the server does not read, kept as they came.
CREATE TABLE upload (
  workspace_id bigint NOT NULL,
  id bigint GENERATED BY DEFAULT AS IDENTITY,
  agent_id bigint NOT NULL,
  stream integer NOT NULL CHECK (stream IN (1, 2)),
  sequence bigint NOT NULL,
  captured_at bigint NOT NULL,
  received_at bigint NOT NULL,
  payload bytea NOT NULL,
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);
CREATE INDEX upload_received ON upload USING brin (received_at);

CREATE TABLE event (
  workspace_id bigint NOT NULL,
  id bigint GENERATED BY DEFAULT AS IDENTITY,
  agent_id bigint NOT NULL,
  time_us bigint NOT NULL,
  received_at bigint NOT NULL,
  severity integer NOT NULL,
  kind text NOT NULL,
  device text NOT NULL,
  text text NOT NULL,
  attributes text NOT NULL,
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);
CREATE INDEX event_received ON event USING brin (received_at);

CREATE TABLE api_key (
  workspace_id bigint NOT NULL REFERENCES workspace (id),
  id text NOT NULL,
  name text NOT NULL,
  hash bytea NOT NULL UNIQUE,
  scopes text NOT NULL,
  created_by text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  revoked_at bigint NOT NULL DEFAULT 0,
  last_used_at bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (workspace_id, id)
);

CREATE TABLE audit (
  workspace_id bigint NOT NULL REFERENCES workspace (id),
  sequence bigint NOT NULL,
  time_us bigint NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  decision text NOT NULL,
  reason text NOT NULL,
  request_id text NOT NULL,
  source text NOT NULL,
  record text NOT NULL,
  hash bytea NOT NULL,
  PRIMARY KEY (workspace_id, sequence)
);
CREATE INDEX audit_time ON audit USING brin (time_us);

-- The wall. server_meta and workspace hold nothing of a tenant's but its name.
DO $$
DECLARE
  noun text;
BEGIN
  FOREACH noun IN ARRAY ARRAY['enrollment', 'agent', 'challenge', 'session', 'device', 'command',
                              'series', 'sample', 'sample_rest', 'upload', 'event', 'api_key', 'audit']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', noun);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', noun);
    EXECUTE format('CREATE POLICY wall ON %I USING (belay_visible(workspace_id))', noun);
  END LOOP;
END
$$;
