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

-- name: session_glimpse
-- $1 token hash, $2 now, $3 sequence of the last command sent, $4 control stream: whether anything waits that command_open or
-- relay_waiting would give
SELECT s.workspace_id, s.agent_id, s.epoch, s.expires_at, a.stream,
       CASE WHEN EXISTS (SELECT 1 FROM command c WHERE c.workspace_id = s.workspace_id AND c.agent_id = s.agent_id
                         AND c.state IN (1, 2) AND c.sequence > $3 AND c.expires_at > $2)
              OR EXISTS (SELECT 1 FROM relay r WHERE r.workspace_id = s.workspace_id AND r.agent_id = s.agent_id
                         AND r.expires_at > $2 AND r.stream <> $4)
            THEN 1 ELSE 0 END
FROM session s JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE s.token_hash = $1 AND s.expires_at > $2 AND a.state = 2

-- name: session_remove
-- $1 workspace, $2 agent
DELETE FROM session WHERE workspace_id = $1 AND agent_id = $2

-- name: challenge_add [postgres]
-- As challenge_insert and challenge_trim in one. A challenge that is lost with the machine is asked for again: its commit does
-- not wait for the disk. The new one is not seen by what trims.
WITH unforced AS MATERIALIZED (
  SELECT set_config('synchronous_commit', 'off', true) AS value
), trimmed AS (
  DELETE FROM challenge WHERE workspace_id = $2 AND agent_id = $3 AND (expires_at <= $6 OR hash NOT IN (
    SELECT hash FROM challenge WHERE workspace_id = $2 AND agent_id = $3 ORDER BY expires_at DESC, hash LIMIT CAST($7 AS bigint) - 1))
)
INSERT INTO challenge (hash, workspace_id, agent_id, api_key_hash, expires_at)
SELECT CAST($1 AS bytea), CAST($2 AS bigint), CAST($3 AS bigint), CAST($4 AS bytea), CAST($5 AS bigint) FROM unforced

-- name: challenge_insert [sqlite]
-- $1 hash, $2 workspace, $3 agent, $4 api key hash, $5 expires_at
INSERT INTO challenge (hash, workspace_id, agent_id, api_key_hash, expires_at) VALUES ($1, $2, $3, $4, $5)

-- name: challenge_trim [sqlite]
-- $1 workspace, $2 agent, $3 now, $4 how many may stay: expired ones and the oldest go
DELETE FROM challenge WHERE workspace_id = $1 AND agent_id = $2 AND (expires_at <= $3 OR hash NOT IN (
  SELECT hash FROM challenge WHERE workspace_id = $1 AND agent_id = $2 ORDER BY expires_at DESC, hash LIMIT $4))

-- name: challenge_take [postgres]
-- $1 hash: deleted when read, with what its agent must be asked for; the agent is locked until commit
WITH taken AS (
  DELETE FROM challenge WHERE hash = $1 RETURNING workspace_id, agent_id, api_key_hash, expires_at
)
SELECT t.workspace_id, t.agent_id, t.api_key_hash, t.expires_at, a.state, a.identity_key, a.session_epoch, a.telemetry_sequence,
       a.events_sequence, CASE WHEN a.next_api_key_hash = t.api_key_hash THEN 1 ELSE 0 END
FROM taken t JOIN agent a ON a.workspace_id = t.workspace_id AND a.id = t.agent_id
FOR NO KEY UPDATE OF a
-- name: challenge_take [sqlite]
SELECT c.workspace_id, c.agent_id, c.api_key_hash, c.expires_at, a.state, a.identity_key, a.session_epoch, a.telemetry_sequence,
       a.events_sequence, CASE WHEN a.next_api_key_hash = c.api_key_hash THEN 1 ELSE 0 END
FROM challenge c JOIN agent a ON a.workspace_id = c.workspace_id AND a.id = c.agent_id
WHERE c.hash = $1

-- name: challenge_drop [sqlite]
-- $1 hash
DELETE FROM challenge WHERE hash = $1

-- name: challenge_expire
-- $1 now
DELETE FROM challenge WHERE expires_at <= $1

-- name: challenge_remove
-- $1 workspace, $2 agent
DELETE FROM challenge WHERE workspace_id = $1 AND agent_id = $2
