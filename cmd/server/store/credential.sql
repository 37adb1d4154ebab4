-- What a proof that somebody brought stands for: asked before it is known whose it is, so in a look-up of its own
-- (SQL_OWN_WALL). On PostgreSQL the wall is lifted by the query itself and stands again with its end: the
-- sub-query in the WHERE clause names nothing of the rows, so it runs once and before the first of them is looked at
-- ("One-Time Filter"); were it ever otherwise, no row would be seen.

-- name: credential_session [postgres]
-- $1 token hash, $2 now
SELECT s.workspace_id, s.expires_at, s.agent_id, s.epoch
FROM session s
JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE (SELECT set_config('app.workspace_id', 'all', true)) = 'all'
  AND s.token_hash = $1 AND s.expires_at > $2 AND a.state = 2
-- name: credential_session [sqlite]
SELECT s.workspace_id, s.expires_at, s.agent_id, s.epoch
FROM session s
JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE s.token_hash = $1 AND s.expires_at > $2 AND a.state = 2

-- name: credential_key [postgres]
-- $1 hash, $2 now
SELECT k.workspace_id, k.expires_at, k.id, k.scopes
FROM api_key k
WHERE (SELECT set_config('app.workspace_id', 'all', true)) = 'all'
  AND k.hash = $1 AND k.revoked_at = 0 AND k.expires_at > $2
-- name: credential_key [sqlite]
SELECT k.workspace_id, k.expires_at, k.id, k.scopes
FROM api_key k
WHERE k.hash = $1 AND k.revoked_at = 0 AND k.expires_at > $2
