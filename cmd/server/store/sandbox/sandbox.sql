-- name: sandbox_insert
-- $1 workspace, $2 id, $3 name, $4 agent, $5 phase, $6 labels, $7 annotations, $8 spec, $9 cpu, $10 memory, $11 disk, $12 reason, $13 message, $14 policy version, $15 created_by, $16 created_at
INSERT INTO sandbox (workspace_id, id, name, agent_id, phase, labels, annotations, spec, cpu_millis, memory_bytes, disk_bytes, reason, message,
                     policy_version, created_by, created_at, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16)

-- name: sandbox_by_id
-- $1 workspace, $2 id
SELECT s.workspace_id, s.id, s.name, COALESCE(s.agent_id, 0), s.phase, s.labels, s.annotations, s.spec, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, s.reason, s.message, COALESCE(s.exit_code, -1), s.instance_id, s.report_sequence, s.policy_version, s.policy_loaded,
       s.created_by, s.created_at, s.changed_at, s.deleting_at, s.revision, COALESCE(a.name, ''), COALESCE(a.last_seen_at, 0), w.name
FROM sandbox s
JOIN workspace w ON w.id = s.workspace_id
LEFT JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE s.workspace_id = $1 AND s.id = $2

-- name: sandbox_by_name
-- $1 workspace, $2 name
SELECT s.workspace_id, s.id, s.name, COALESCE(s.agent_id, 0), s.phase, s.labels, s.annotations, s.spec, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, s.reason, s.message, COALESCE(s.exit_code, -1), s.instance_id, s.report_sequence, s.policy_version, s.policy_loaded,
       s.created_by, s.created_at, s.changed_at, s.deleting_at, s.revision, COALESCE(a.name, ''), COALESCE(a.last_seen_at, 0), w.name
FROM sandbox s
JOIN workspace w ON w.id = s.workspace_id
LEFT JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE s.workspace_id = $1 AND s.name = $2

-- name: sandbox_head_list
-- $1 workspace (-1: all), $2 workspace and $3 name after which the page starts, $4 limit
SELECT workspace_id, id, name, labels, length(spec)
FROM sandbox
WHERE (CAST($1 AS bigint) < 0 OR workspace_id = $1) AND (workspace_id > $2 OR (workspace_id = $2 AND name > $3))
ORDER BY workspace_id, name
LIMIT $4

-- name: sandbox_set [postgres]
-- $1 JSON array of [workspace, id]; those of them that are there, by workspace and name
SELECT s.workspace_id, s.id, s.name, COALESCE(s.agent_id, 0), s.phase, s.labels, s.annotations, s.spec, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, s.reason, s.message, COALESCE(s.exit_code, -1), s.instance_id, s.report_sequence, s.policy_version, s.policy_loaded,
       s.created_by, s.created_at, s.changed_at, s.deleting_at, s.revision, COALESCE(a.name, ''), COALESCE(a.last_seen_at, 0), w.name
FROM json_array_elements(CAST($1 AS json)) AS n (pair)
JOIN sandbox s ON s.workspace_id = CAST(n.pair ->> 0 AS bigint) AND s.id = n.pair ->> 1
JOIN workspace w ON w.id = s.workspace_id
LEFT JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
ORDER BY s.workspace_id, s.name
-- name: sandbox_set [sqlite]
SELECT s.workspace_id, s.id, s.name, COALESCE(s.agent_id, 0), s.phase, s.labels, s.annotations, s.spec, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, s.reason, s.message, COALESCE(s.exit_code, -1), s.instance_id, s.report_sequence, s.policy_version, s.policy_loaded,
       s.created_by, s.created_at, s.changed_at, s.deleting_at, s.revision, COALESCE(a.name, ''), COALESCE(a.last_seen_at, 0), w.name
FROM json_each($1) AS n
JOIN sandbox s ON s.workspace_id = json_extract(n.value, '$[0]') AND s.id = json_extract(n.value, '$[1]')
JOIN workspace w ON w.id = s.workspace_id
LEFT JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
ORDER BY s.workspace_id, s.name

-- name: sandbox_loads
-- $1 workspace, $2 agent (0: all): what is promised to sandboxes that run or shall run, by agent
SELECT agent_id, COUNT(*), CAST(SUM(cpu_millis) AS bigint), CAST(SUM(memory_bytes) AS bigint), CAST(SUM(disk_bytes) AS bigint)
FROM sandbox
WHERE workspace_id = $1 AND agent_id IS NOT NULL AND phase IN (1, 2, 4, 5, 6, 8) AND (CAST($2 AS bigint) = 0 OR agent_id = $2)
GROUP BY agent_id
ORDER BY agent_id

-- name: sandbox_update
-- $1 workspace, $2 id, $3 revision as read, $4 phase, $5 reason, $6 message, $7 exit code (null: none), $8 instance, $9 report sequence, $10 policy version, $11 policy loaded, $12 changed_at, $13 deleting_at
UPDATE sandbox SET phase = $4, reason = $5, message = $6, exit_code = $7, instance_id = $8, report_sequence = $9, policy_version = $10,
                   policy_loaded = $11, changed_at = $12, deleting_at = $13, revision = revision + 1
WHERE workspace_id = $1 AND id = $2 AND revision = $3

-- name: sandbox_remove
-- $1 workspace, $2 id
DELETE FROM sandbox WHERE workspace_id = $1 AND id = $2

-- name: sandbox_life
-- $1 workspace, $2 id: without what may be large (labels, annotations, spec), as the two below
SELECT s.workspace_id, s.id, s.name, COALESCE(s.agent_id, 0), s.phase, '', '', NULL, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, s.reason, s.message, COALESCE(s.exit_code, -1), s.instance_id, s.report_sequence, s.policy_version, s.policy_loaded,
       s.created_by, s.created_at, s.changed_at, s.deleting_at, s.revision, a.name, a.last_seen_at, w.name
FROM sandbox s
JOIN workspace w ON w.id = s.workspace_id
JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE s.workspace_id = $1 AND s.id = $2

-- name: sandbox_life_list
-- $1 workspace, $2 agent, $3 id after which the page starts, $4 limit
SELECT s.workspace_id, s.id, s.name, COALESCE(s.agent_id, 0), s.phase, '', '', NULL, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, s.reason, s.message, COALESCE(s.exit_code, -1), s.instance_id, s.report_sequence, s.policy_version, s.policy_loaded,
       s.created_by, s.created_at, s.changed_at, s.deleting_at, s.revision, a.name, a.last_seen_at, w.name
FROM sandbox s
JOIN workspace w ON w.id = s.workspace_id
JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE s.workspace_id = $1 AND s.agent_id = $2 AND s.id > $3
ORDER BY s.id
LIMIT $4

-- name: sandbox_life_overdue
-- $1 agents seen before this, $2 made before this and never reported, $3 limit
SELECT s.workspace_id, s.id, s.name, COALESCE(s.agent_id, 0), s.phase, '', '', NULL, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, s.reason, s.message, COALESCE(s.exit_code, -1), s.instance_id, s.report_sequence, s.policy_version, s.policy_loaded,
       s.created_by, s.created_at, s.changed_at, s.deleting_at, s.revision, a.name, a.last_seen_at, w.name
FROM sandbox s
JOIN workspace w ON w.id = s.workspace_id
JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE (s.phase IN (1, 2) AND s.report_sequence > 0 AND a.last_seen_at < $1)
   OR (s.phase = 1 AND s.report_sequence = 0 AND s.created_at < $2)
ORDER BY s.workspace_id, s.id
LIMIT $3

-- name: sandbox_policy_insert
-- $1 workspace, $2 sandbox, $3 version, $4 status, $5 policy, $6 hash, $7 annotations, $8 created_by, $9 created_at
INSERT INTO sandbox_policy (workspace_id, sandbox_id, version, status, policy, hash, annotations, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: sandbox_policy_by_version
-- $1 workspace, $2 sandbox, $3 version (0: newest)
SELECT sandbox_id, version, status, policy, hash, load_error, annotations, created_by, created_at, loaded_at
FROM sandbox_policy
WHERE workspace_id = $1 AND sandbox_id = $2 AND (CAST($3 AS bigint) = 0 OR version = $3)
ORDER BY version DESC
LIMIT 1

-- name: sandbox_policy_standing
-- $1 workspace, $2 sandbox: the newest that has not failed, or, where all have, the newest
SELECT sandbox_id, version, status, policy, hash, load_error, annotations, created_by, created_at, loaded_at
FROM sandbox_policy
WHERE workspace_id = $1 AND sandbox_id = $2
ORDER BY CASE WHEN status = 3 THEN 1 ELSE 0 END, version DESC
LIMIT 1

-- name: sandbox_policy_list
-- $1 workspace, $2 sandbox, $3 offset, $4 limit
SELECT sandbox_id, version, status, policy, hash, load_error, annotations, created_by, created_at, loaded_at
FROM sandbox_policy
WHERE workspace_id = $1 AND sandbox_id = $2
ORDER BY version DESC
LIMIT $4 OFFSET $3

-- name: sandbox_policy_settle
-- $1 workspace, $2 sandbox, $3 version, $4 status, $5 error, $6 now
UPDATE sandbox_policy SET status = $4, load_error = $5, loaded_at = CASE WHEN CAST($4 AS integer) = 2 THEN $6 ELSE loaded_at END
WHERE workspace_id = $1 AND sandbox_id = $2 AND version = $3 AND status IN (1, 3) AND (status <> $4 OR load_error <> $5)

-- name: sandbox_policy_supersede
-- $1 workspace, $2 sandbox, $3 version loaded
UPDATE sandbox_policy SET status = 4 WHERE workspace_id = $1 AND sandbox_id = $2 AND version < $3 AND status IN (1, 2)

-- name: sandbox_forward_insert
-- $1 workspace, $2 sandbox, $3 token hash, $4 created_by, $5 created_at, $6 expires_at
INSERT INTO sandbox_forward (workspace_id, sandbox_id, token_hash, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)

-- name: sandbox_forward_by_token
-- $1 workspace, $2 token hash, $3 now
SELECT sandbox_id, created_by, created_at, expires_at FROM sandbox_forward
WHERE workspace_id = $1 AND token_hash = $2 AND expires_at > $3

-- name: sandbox_forward_remove
-- $1 workspace, $2 token hash
DELETE FROM sandbox_forward WHERE workspace_id = $1 AND token_hash = $2

-- name: sandbox_forward_expire
-- $1 now
DELETE FROM sandbox_forward WHERE expires_at <= $1
