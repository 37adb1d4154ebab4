-- name: session_put
-- $1 workspace, $2 agent, $3 token hash, $4 epoch, $5 created_at, $6 expires_at: one live session per agent
INSERT INTO session (workspace_id, agent_id, token_hash, epoch, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (workspace_id, agent_id) DO UPDATE
SET token_hash = excluded.token_hash, epoch = excluded.epoch, created_at = excluded.created_at, expires_at = excluded.expires_at

-- name: session_by_token
-- $1 token hash, $2 now
SELECT s.workspace_id, s.agent_id, s.epoch, s.expires_at, a.stream, a.name, w.name
FROM session s
JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
JOIN workspace w ON w.id = s.workspace_id
WHERE s.token_hash = $1 AND s.expires_at > $2 AND a.state = 2

-- name: session_remove
-- $1 workspace, $2 agent
DELETE FROM session WHERE workspace_id = $1 AND agent_id = $2

-- name: challenge_unforced [postgres]
-- A challenge that is lost with the machine is asked for again: its commit does not wait for the disk
SELECT set_config('synchronous_commit', 'off', true)

-- name: challenge_insert
-- $1 hash, $2 workspace, $3 agent, $4 api key hash, $5 expires_at
INSERT INTO challenge (hash, workspace_id, agent_id, api_key_hash, expires_at) VALUES ($1, $2, $3, $4, $5)

-- name: challenge_take
-- $1 hash: deleted when read
DELETE FROM challenge WHERE hash = $1 RETURNING workspace_id, agent_id, api_key_hash, expires_at

-- name: challenge_trim
-- $1 workspace, $2 agent, $3 now, $4 how many may stay: expired ones and the oldest go
DELETE FROM challenge WHERE workspace_id = $1 AND agent_id = $2 AND (expires_at <= $3 OR hash NOT IN (
  SELECT hash FROM challenge WHERE workspace_id = $1 AND agent_id = $2 ORDER BY expires_at DESC, hash LIMIT $4))

-- name: challenge_expire
-- $1 now
DELETE FROM challenge WHERE expires_at <= $1

-- name: challenge_remove
-- $1 workspace, $2 agent
DELETE FROM challenge WHERE workspace_id = $1 AND agent_id = $2
