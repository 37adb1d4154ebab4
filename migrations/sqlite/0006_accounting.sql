-- Accounting: whose a sandbox is or was, what was used by hour, and quotas.

-- Outlives the sandbox: the last rows of usage come when the sandbox itself is gone already.
CREATE TABLE sandbox_account (
  workspace_id INTEGER NOT NULL REFERENCES workspace (id),
  sandbox_id TEXT NOT NULL,
  name TEXT NOT NULL,
  agent_id INTEGER NOT NULL,
  owner TEXT NOT NULL,
  labels TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (workspace_id, sandbox_id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agent (workspace_id, id)
);
INSERT INTO sandbox_account (workspace_id, sandbox_id, name, agent_id, owner, labels, created_at)
SELECT workspace_id, id, name, agent_id, created_by, labels, created_at FROM sandbox WHERE agent_id IS NOT NULL;

-- Most that may stand at the same time; null: no limit. Of the owner "": of the workspace as a whole; of "*": of each
-- owner that has no row of its own.
CREATE TABLE quota (
  workspace_id INTEGER NOT NULL REFERENCES workspace (id),
  owner TEXT NOT NULL,
  sandboxes INTEGER,
  cpu_millis INTEGER,
  memory_bytes INTEGER,
  disk_bytes INTEGER,
  changed_by TEXT NOT NULL,
  changed_at INTEGER NOT NULL,
  PRIMARY KEY (workspace_id, owner)
);

-- By workspace, owner, sandbox and hour (its first microsecond). A row of sandbox_usage counts in the hour in which it
-- ended; amounts are real, so that no sum is too large.
CREATE VIEW usage_hour AS
SELECT u.workspace_id, u.owner, u.sandbox_id, a.name, a.labels, (u.until_us - 1) / 3600000000 * 3600000000 AS hour_us,
       TOTAL(u.until_us - u.from_us) AS running_us, TOTAL(u.cpu_us) AS cpu_us, TOTAL(u.memory_byte_seconds) AS memory_byte_seconds,
       TOTAL(ROUND(CAST(u.disk_bytes AS REAL) * (u.until_us - u.from_us) / 1000000)) AS disk_byte_seconds,
       MAX(u.memory_peak_bytes) AS memory_peak_bytes, MAX(u.processes_peak) AS processes_peak,
       TOTAL(u.read_bytes) AS read_bytes, TOTAL(u.written_bytes) AS written_bytes, TOTAL(u.sent_bytes) AS sent_bytes,
       TOTAL(u.received_bytes) AS received_bytes, COUNT(*) AS readings, MAX(u.is_final) AS has_ended
FROM sandbox_usage u
JOIN sandbox_account a ON a.workspace_id = u.workspace_id AND a.sandbox_id = u.sandbox_id
GROUP BY u.workspace_id, u.owner, u.sandbox_id, a.name, a.labels, (u.until_us - 1) / 3600000000;
