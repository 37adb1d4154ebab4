-- name: role_passes_wall [postgres]
-- 1: row-level security does not hold for this role
SELECT CAST((rolsuper OR rolbypassrls) AS integer) FROM pg_roles WHERE rolname = current_user
-- name: role_passes_wall [sqlite]
SELECT 0

-- name: workspace_by_name
-- $1 name
SELECT id, name FROM workspace WHERE name = $1

-- name: workspace_of_sandbox
-- $1 sandbox
SELECT w.id, w.name FROM sandbox s JOIN workspace w ON w.id = s.workspace_id WHERE s.id = $1

-- name: workspace_of_forward
-- $1 token hash
SELECT w.id, w.name FROM sandbox_forward f JOIN workspace w ON w.id = f.workspace_id WHERE f.token_hash = $1

-- name: workspace_name
-- $1 id
SELECT name FROM workspace WHERE id = $1

-- name: api_key_insert
-- $1 workspace, $2 id, $3 name, $4 hash, $5 scopes (space separated), $6 created_by, $7 created_at, $8 expires_at
INSERT INTO api_key (workspace_id, id, name, hash, scopes, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: api_key_by_id
-- $1 workspace, $2 id
SELECT k.workspace_id, k.id, k.name, k.scopes, k.created_by, k.created_at, k.expires_at, k.revoked_at, k.last_used_at, w.name
FROM api_key k JOIN workspace w ON w.id = k.workspace_id
WHERE k.workspace_id = $1 AND k.id = $2

-- name: api_key_list
-- $1 workspace, $2 id before which the page starts ('': newest), $3 limit
SELECT k.workspace_id, k.id, k.name, k.scopes, k.created_by, k.created_at, k.expires_at, k.revoked_at, k.last_used_at, w.name
FROM api_key k JOIN workspace w ON w.id = k.workspace_id
WHERE k.workspace_id = $1 AND (CAST($2 AS text) = '' OR k.id < $2)
ORDER BY k.id DESC
LIMIT $3

-- name: api_key_revoke
-- $1 workspace, $2 id, $3 now
UPDATE api_key SET revoked_at = $3 WHERE workspace_id = $1 AND id = $2 AND revoked_at = 0

-- name: api_key_used
-- $1 workspace, $2 id, $3 time
UPDATE api_key SET last_used_at = $3 WHERE workspace_id = $1 AND id = $2 AND last_used_at < $3

-- name: meta_get
-- $1 name
SELECT value FROM server_meta WHERE name = $1

-- name: meta_put
-- $1 name, $2 value: the first one stays
INSERT INTO server_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING
