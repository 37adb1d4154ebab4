-- Accounting: whose a sandbox is or was, what was used by hour, and quotas.

-- Outlives the sandbox: the last rows of usage come when the sandbox itself is gone already.
CREATE TABLE sandbox_account (
  workspace_id bigint NOT NULL REFERENCES workspace (id),
  sandbox_id text NOT NULL,
  name text NOT NULL,
  agent_id bigint NOT NULL,
  owner text NOT NULL,
  labels text NOT NULL,
  created_at bigint NOT NULL,
  PRIMARY KEY (workspace_id, sandbox_id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);
SET LOCAL app.workspace_id = 'all';
INSERT INTO sandbox_account (workspace_id, sandbox_id, name, agent_id, owner, labels, created_at)
SELECT workspace_id, id, name, agent_id, created_by, labels, created_at FROM sandbox WHERE agent_id IS NOT NULL;

-- Most that may stand at the same time; null: no limit. Of the owner "": of the workspace as a whole; of "*": of each
-- owner that has no row of its own.
CREATE TABLE quota (
  workspace_id bigint NOT NULL REFERENCES workspace (id),
  owner text NOT NULL,
  sandboxes bigint,
  cpu_millis bigint,
  memory_bytes bigint,
  disk_bytes bigint,
  changed_by text NOT NULL,
  changed_at bigint NOT NULL,
  PRIMARY KEY (workspace_id, owner)
);

DO $$
DECLARE
  noun text;
BEGIN
  FOREACH noun IN ARRAY ARRAY['sandbox_account', 'quota']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', noun);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', noun);
    EXECUTE format('CREATE POLICY wall ON %I USING (belay_visible(workspace_id))', noun);
  END LOOP;
END
$$;

-- By workspace, owner, sandbox and hour (its first microsecond). A row of sandbox_usage counts in the hour in which it
-- ended; amounts are numeric, so that no sum is too large.
CREATE VIEW usage_hour AS
SELECT u.workspace_id, u.owner, u.sandbox_id, a.name, a.labels, (u.until_us - 1) / 3600000000 * 3600000000 AS hour_us,
       SUM(u.until_us - u.from_us) AS running_us, SUM(u.cpu_us) AS cpu_us, SUM(u.memory_byte_seconds) AS memory_byte_seconds,
       SUM(ROUND(CAST(u.disk_bytes AS numeric) * (u.until_us - u.from_us) / 1000000)) AS disk_byte_seconds,
       MAX(u.memory_peak_bytes) AS memory_peak_bytes, MAX(u.processes_peak) AS processes_peak,
       SUM(u.read_bytes) AS read_bytes, SUM(u.written_bytes) AS written_bytes, SUM(u.sent_bytes) AS sent_bytes,
       SUM(u.received_bytes) AS received_bytes, COUNT(*) AS readings, MAX(u.is_final) AS has_ended
FROM sandbox_usage u
JOIN sandbox_account a ON a.workspace_id = u.workspace_id AND a.sandbox_id = u.sandbox_id
GROUP BY u.workspace_id, u.owner, u.sandbox_id, a.name, a.labels, (u.until_us - 1) / 3600000000;
