-- name: relay_insert
-- $1 workspace, $2 id, $3 agent, $4 packed ControlRelayOpen, $5 expires_at
INSERT INTO relay (workspace_id, id, agent_id, packed, expires_at) VALUES ($1, $2, $3, $4, $5)

-- name: relay_waiting
-- $1 workspace, $2 agent, $3 now, $4 limit
SELECT id, packed, expires_at FROM relay
WHERE workspace_id = $1 AND agent_id = $2 AND expires_at > $3
ORDER BY id
LIMIT $4

-- name: relay_expire
-- $1 now
DELETE FROM relay WHERE expires_at <= $1
