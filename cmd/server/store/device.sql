-- name: device_put [postgres]
-- $1 workspace, $2 agent, $3 name, $4 kind, $5 labels, $6 facts, $7 now
INSERT INTO device (workspace_id, id, agent_id, name, kind, labels, facts, created_at, last_seen_at)
VALUES ($1, nextval('device_id'), $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT (workspace_id, agent_id, name) DO UPDATE SET facts = excluded.facts, last_seen_at = excluded.last_seen_at
-- name: device_put [sqlite]
INSERT INTO device (workspace_id, id, agent_id, name, kind, labels, facts, created_at, last_seen_at)
VALUES ($1, (SELECT COALESCE(MAX(id), 0) + 1 FROM device), $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT (workspace_id, agent_id, name) DO UPDATE SET facts = excluded.facts, last_seen_at = excluded.last_seen_at

-- name: device_by_id
-- $1 workspace, $2 id
SELECT d.workspace_id, d.id, d.agent_id, a.name, d.name, d.kind, d.labels, d.facts, d.created_at, a.last_seen_at, w.name
FROM device d
JOIN agent a ON a.workspace_id = d.workspace_id AND a.id = d.agent_id
JOIN workspace w ON w.id = d.workspace_id
WHERE d.workspace_id = $1 AND d.id = $2 AND a.state <> 4

-- name: device_list
-- $1 workspace, $2 agent (0: any), $3 id after which the page starts, $4 limit
SELECT d.workspace_id, d.id, d.agent_id, a.name, d.name, d.kind, d.labels, d.facts, d.created_at, a.last_seen_at, w.name
FROM device d
JOIN agent a ON a.workspace_id = d.workspace_id AND a.id = d.agent_id
JOIN workspace w ON w.id = d.workspace_id
WHERE d.workspace_id = $1 AND (CAST($2 AS bigint) = 0 OR d.agent_id = $2) AND d.id > $3 AND a.state <> 4
ORDER BY d.id
LIMIT $4
