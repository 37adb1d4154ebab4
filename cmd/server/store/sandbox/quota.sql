-- name: quota_lock
-- $1 workspace: whoever makes a sandbox in a workspace that has quotas waits until the transaction ends
UPDATE quota SET changed_at = changed_at WHERE workspace_id = $1

-- name: quota_of_owner
-- $1 workspace, $2 owner ("": the workspace as a whole)
SELECT owner, COALESCE(sandboxes, -1), COALESCE(cpu_millis, -1), COALESCE(memory_bytes, -1), COALESCE(disk_bytes, -1), changed_by, changed_at
FROM quota WHERE workspace_id = $1 AND (owner = $2 OR (owner = '*' AND CAST($2 AS text) <> ''))
ORDER BY CASE WHEN owner = '*' THEN 1 ELSE 0 END
LIMIT 1

-- name: quota_used
-- $1 workspace, $2 owner ("": the workspace as a whole): all that is not gone
SELECT COUNT(*), CAST(COALESCE(SUM(cpu_millis), 0) AS bigint), CAST(COALESCE(SUM(memory_bytes), 0) AS bigint),
       CAST(COALESCE(SUM(disk_bytes), 0) AS bigint)
FROM sandbox WHERE workspace_id = $1 AND (CAST($2 AS text) = '' OR created_by = $2)

-- name: quota_list
-- $1 workspace, $2 owner after which the page starts, $3 1: the first page, $4 limit
SELECT q.owner, COALESCE(q.sandboxes, -1), COALESCE(q.cpu_millis, -1), COALESCE(q.memory_bytes, -1), COALESCE(q.disk_bytes, -1), q.changed_by,
       q.changed_at, COALESCE(s.sandboxes, 0), COALESCE(s.cpu_millis, 0), COALESCE(s.memory_bytes, 0), COALESCE(s.disk_bytes, 0),
       '/' || q.owner
FROM quota q
LEFT JOIN (SELECT created_by AS owner, COUNT(*) AS sandboxes, CAST(SUM(cpu_millis) AS bigint) AS cpu_millis,
                  CAST(SUM(memory_bytes) AS bigint) AS memory_bytes, CAST(SUM(disk_bytes) AS bigint) AS disk_bytes
           FROM sandbox WHERE workspace_id = $1 GROUP BY created_by
           UNION ALL
           SELECT '', COUNT(*), CAST(SUM(cpu_millis) AS bigint), CAST(SUM(memory_bytes) AS bigint), CAST(SUM(disk_bytes) AS bigint)
           FROM sandbox WHERE workspace_id = $1) s ON s.owner = q.owner
WHERE q.workspace_id = $1 AND (CAST($3 AS bigint) = 1 OR q.owner > $2)
ORDER BY q.owner
LIMIT $4

-- name: quota_put
-- $1 workspace, $2 owner, $3 sandboxes, $4 cpu, $5 memory, $6 disk (null: no limit), $7 changed by, $8 changed at, $9 changed at as read (-1: there was none)
INSERT INTO quota (workspace_id, owner, sandboxes, cpu_millis, memory_bytes, disk_bytes, changed_by, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (workspace_id, owner) DO UPDATE
SET sandboxes = excluded.sandboxes, cpu_millis = excluded.cpu_millis, memory_bytes = excluded.memory_bytes,
    disk_bytes = excluded.disk_bytes, changed_by = excluded.changed_by, changed_at = excluded.changed_at
WHERE quota.changed_at = $9

-- name: quota_remove
-- $1 workspace, $2 owner, $3 changed at as read
DELETE FROM quota WHERE workspace_id = $1 AND owner = $2 AND changed_at = $3
