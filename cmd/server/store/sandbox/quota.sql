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
